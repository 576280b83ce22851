"""Noise on published counts: the Laplace mechanism for whole numbers, and what follows from it.

One record more or less changes one cell of each table by 1, so that the counts of all tables
together change by the number of tables. Whole-number Laplace noise of that scale over epsilon
(Ghosh, Roughgarden & Sundararajan 2012, Universally utility-maximizing privacy mechanisms) makes
them epsilon-differentially private under adding or removing one record (Dwork et al. 2006). Whole
numbers rather than real ones, since the last digits of real noise betray the count (Mironov 2012).
"""

from __future__ import annotations

import math
import os

import numpy as np

_MANTISSA = 53


def uniforms(count: int, seed: int | None) -> np.ndarray:
    """Return numbers in (0, 1], from the operating system's randomness unless there is a seed."""
    if seed is None:
        bits = np.frombuffer(os.urandom(8 * count), dtype=np.uint64)
    else:
        bits = np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)
    return ((bits >> np.uint64(64 - _MANTISSA)) + 1) * 2.0**-_MANTISSA


def whole_laplace(count: int, scale: float, seed: int | None) -> np.ndarray:
    """Return whole numbers with `P(k)` in proportion to `exp(-|k| / scale)`, float64 `(count,)`.

    Each is the difference of two geometric variables, drawn by inversion.
    """
    drawn = np.floor(-np.log(uniforms(2 * count, seed)) * scale)
    return drawn[:count] - drawn[count:]


def expected_size(scale: float) -> float:
    """Return the mean absolute value of the noise on one count, `1 / sinh(1 / scale)`."""
    return 1 / math.sinh(1 / scale) if 1 / scale < 700 else 0.0


def margin_of_error(scale: float) -> float:
    """Return the margin of error of a count at 90 % confidence, as published tables give it.

    It is 1.645 standard deviations of the noise, `1 / (sqrt(2) sinh(1 / (2 scale)))` each.
    """
    half = 1 / (2 * scale)
    return 1.645 / (math.sqrt(2) * math.sinh(half)) if half < 700 else 0.0


def to_total(noisy: np.ndarray, total: int) -> np.ndarray:
    """Return whole counts of 0 or more that add up to `total`, near to noisy ones of any sign.

    All cells are lowered (or raised) by the same amount and cut at 0, which is the nearest such
    point by least squares, then rounded by largest remainders. Cutting alone would lift the total
    by the noise of all empty cells (Wang et al. 2020, `Norm-Sub`).

    Args:
        noisy: Whole counts with noise, any shape.
        total: What they must add up to, above 0.
    """
    flat = noisy.ravel().astype(np.int64)
    ordered = np.sort(flat)[::-1]
    over, numbers = np.cumsum(ordered) - total, np.arange(1, len(ordered) + 1)
    last = int(np.flatnonzero(ordered * numbers > over)[-1])
    # the shift is over/number: whole-number division keeps the total exact
    counts, left = np.divmod(flat * numbers[last] - over[last], numbers[last])
    counts, left = np.where(counts < 0, 0, counts), np.where(counts < 0, 0, left)
    short = total - int(counts.sum())
    counts[np.argsort(-left, kind="stable")[:short]] += 1
    return counts.reshape(noisy.shape)
