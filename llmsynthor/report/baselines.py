"""What can be had without a model: the maximum-entropy share of each cell of each table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsynthor.evaluation.baselines import SampledMaximumEntropy, maximum_entropy
from llmsynthor.maxent import TooLargeError

if TYPE_CHECKING:
    import numpy as np

    from llmsynthor.sampling import Sampler


def maxent_shares(sampler: Sampler, records: int) -> list[np.ndarray]:
    """Return the maximum-entropy share of each cell, by table, given the control tables and rules.

    Exact where no table is soft and the tables are not too entangled, else from a large sample
    calibrated to them.

    Args:
        sampler: Tables and rules of the job.
        records: How many records the job asks for.
    """
    tables = sampler.tables.tables
    baseline = maximum_entropy(sampler, records)
    try:
        return [baseline.share(table) for table in tables]
    except TooLargeError:  # it fits, but a table's margin cannot be had
        sampled = SampledMaximumEntropy(sampler, records)
        return [sampled.share(table) for table in tables]
