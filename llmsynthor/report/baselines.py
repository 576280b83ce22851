"""What can be had without a model: the maximum-entropy share of each cell of each table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.calibration import calibrate
from llmsynthor.controls import controls_of_all
from llmsynthor.maxent import Factor, MaximumEntropy, TooLargeError
from llmsynthor.rules import allowed_share

if TYPE_CHECKING:
    from llmsynthor.sampling import Sampler
    from llmsynthor.tables import Table

_SAMPLE = 300_000


def maxent_shares(sampler: Sampler, records: int) -> list[np.ndarray]:
    """Return the maximum-entropy share of each cell, by table, given the control tables and rules.

    Exact where no table is soft and the tables are not too entangled, else from a large sample
    calibrated to them.

    Args:
        sampler: Tables and rules of the job.
        records: How many records the job asks for.
    """
    if any(table.is_soft for table in sampler.tables.control):
        return _sampled_maxent(sampler, records)
    factors: list[Factor] = []
    for rule in sampler.rules:
        allowed = allowed_share(rule, sampler.domain)
        if allowed is None:
            return _sampled_maxent(sampler, records)
        factors.append((rule.scope, allowed))
    try:
        fitted = MaximumEntropy(sampler.tables, factors)
        return [fitted.margin(table) for table in sampler.tables.tables]
    except TooLargeError:
        return _sampled_maxent(sampler, records)


def _sampled_maxent(sampler: Sampler, records: int) -> list[np.ndarray]:
    candidates, _ = sampler.candidates([], 1.0, _SAMPLE, 0)
    controls = controls_of_all(sampler.tables.control, records, candidates.codes, sampler.domain)
    weights = calibrate(controls, candidates.prior).weights
    return [_weighted(table, candidates.codes, weights, sampler) for table in sampler.tables.tables]


def _weighted(table: Table, codes: np.ndarray, weights: np.ndarray, sampler: Sampler) -> np.ndarray:
    held = table.tally(codes, sampler.domain, weights)
    return np.asarray((held / held.sum()).reshape(table.share.shape))
