"""What can be had without a model: the maximum-entropy share of each cell of each table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.candidates.sampler import Sampler
from llmsynthor.fitting.maxent import TooLargeError
from llmsynthor.results.evaluation.baselines import SAMPLE, SampledMaximumEntropy, maximum_entropy
from llmsynthor.targets.by_zone import summed, without_zones

if TYPE_CHECKING:
    from llmsynthor.targets.table import Table

_SAMPLE_OF_MEMBERS = 100_000
"""Candidates, where records have members: these take longest to draw and to calibrate, and with
another seed as many of them move a held-out table's TVD of .15 by .003."""


def maxent_shares(sampler: Sampler, records: int) -> list[np.ndarray]:
    """Return the maximum-entropy share of each cell, by table, given the control tables and rules.

    Exact where no table is soft and the tables are not too entangled, else from a large sample
    calibrated to them.

    Args:
        sampler: Tables and rules of the job.
        records: How many records the job asks for.
    """
    if sampler.tables.zones is not None:
        return _shares_in_zones(sampler, records, sampler.tables.zones.variable)
    tables = sampler.tables.tables
    sample = SAMPLE if sampler.members is None else _SAMPLE_OF_MEMBERS
    baseline = maximum_entropy(sampler, records, sample)
    try:
        return [baseline.share(table) for table in tables]
    except TooLargeError:  # it fits, but a table's margin cannot be had
        sampled = SampledMaximumEntropy(sampler, records)
        return [sampled.share(table) for table in tables]


def _shares_in_zones(sampler: Sampler, records: int, zone: str) -> list[np.ndarray]:
    """Return the same where there are zones: maximum entropy without them, and zones besides.

    A control table with zones is met. A held-out one is taken as if each zone had what all have:
    the exact baseline over zones would take more memory than the job.
    """
    shared = Sampler(without_zones(sampler.tables), sampler.rules, sampler.seed)
    fewer = [summed(table, zone) for table in sampler.tables.tables]
    known = [table for table in fewer if table.scope]
    baseline = maximum_entropy(shared, records)
    try:
        found = [baseline.share(table) for table in known]
    except TooLargeError:
        sampled = SampledMaximumEntropy(shared, records)
        found = [sampled.share(table) for table in known]
    of_table = {id(table): share for table, share in zip(known, found, strict=True)}
    return [
        _with_zones(table, of_table.get(id(small), np.ones(())), sampler.marginals[zone], zone)
        for table, small in zip(sampler.tables.tables, fewer, strict=True)
    ]


def _with_zones(table: Table, share: np.ndarray, marginal: np.ndarray, zone: str) -> np.ndarray:
    if zone not in table.scope:
        return share
    if table.role == "control":
        return table.share
    axis = table.scope.index(zone)
    places = np.bincount(table.groups[axis], marginal, table.share.shape[axis])
    return np.moveaxis(np.multiply.outer(places, share), 0, axis)
