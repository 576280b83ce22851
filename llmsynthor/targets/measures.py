"""Measures of how far records are from a table, what chance alone would give, and why a table passes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z90 = 1.645
"""Standard errors in a margin of error: the US Census Bureau publishes them at 90 % confidence."""
_WHOLE = 1e-6
"""A number so near to a whole one is whole: shares come from a division."""
NEAR_BY = {
    "margin of error": "its margin of error",
    "whole records": "one record of its target",
    "rounding": "the rounding of its published figure",
}
"""What `passes_by` says -> what each cell of the table is within."""


@dataclass(frozen=True)
class Discrepancy:
    """Distances between a target and what is there.

    Attributes:
        tvd: Total variation distance of the shares: half the sum of absolute differences.
        srmse: Root mean squared error over the mean target cell.
        tae: Total absolute error in records.
        max_abs_share: Largest absolute difference of a cell's share.
    """

    tvd: float
    srmse: float
    tae: float
    max_abs_share: float


def tvd(target: np.ndarray, held: np.ndarray) -> float:
    """Return the total variation distance of two arrays of shares of the same shape."""
    return float(np.abs(target - held).sum() / 2)


def discrepancy(target: np.ndarray, counts: np.ndarray, wanted: float | None = None) -> Discrepancy:
    """Return the measures of `counts` against target shares.

    Args:
        target: Shares, sum 1, any shape.
        counts: Records in each cell, same shape; may be all 0.
        wanted: How many there should be in all, for `tae`; as many as there are where it is None.
    """
    records = float(counts.sum())
    held = counts / records if records else np.zeros_like(target)
    apart = held - target
    return Discrepancy(
        tvd=tvd(target, held),
        srmse=float(np.sqrt(np.mean(apart**2)) / np.mean(target)),
        tae=round(float(np.abs(counts - target * (records if wanted is None else wanted)).sum()), 9)
        if records
        else 0.0,
        max_abs_share=float(np.abs(apart).max()),
    )


def least_tae(target: np.ndarray, records: int) -> float:
    """Return the total absolute error that whole records must have: `records` times a share is not whole.

    The least is reached by rounding down and giving what is left to the largest fractions.

    Args:
        target: Shares, sum 1, any shape.
        records: How many records there are.

    Example:
        >>> least_tae(np.array([0.5, 0.25, 0.25]), 2)
        1.0
    """
    wanted = np.sort((target * records).ravel() % 1.0)[::-1]
    wanted = np.where(wanted > 1 - _WHOLE, 0.0, wanted)
    up = round(float(wanted.sum()))
    wanted = np.sort(wanted)[::-1]
    return float((1 - wanted[:up]).sum() + wanted[up:].sum())


def noise_floor_tvd(target: np.ndarray, records: int) -> float:
    """Return the expected TVD of a true random sample of `records` records from `target`.

    Half the sum of the cells' mean absolute deviations, by De Moivre's closed form for the
    binomial: E|X - np| = 2 m (1 - p) P(X = m) with m = floor(np) + 1 (Diaconis & Zabell 1991).
    """
    share = target.ravel()
    share = share[(share > 0) & (share < 1)]  # others cannot deviate
    m = np.floor(records * share) + 1
    log_factorial = np.vectorize(lambda n: math.lgamma(n + 1), otypes=[float])
    choices = math.lgamma(records + 1) - log_factorial(m) - log_factorial(records - m)
    mass = np.exp(choices + m * np.log(share) + (records - m) * np.log1p(-share))
    return float((m * (1 - share) * mass).sum() / records)


def entropy(share: np.ndarray) -> float:
    """Return the entropy of an array of shares, in nats."""
    there = share[share > 0]
    return float(-(there * np.log(there)).sum())
