"""Ticks of an axis: round figures, evenly apart."""

from __future__ import annotations

import math

_ROUND = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_NEAR = 1e-9
"""What arithmetic may leave between a figure and a multiple of the step."""


def round_step(span: float, most: int, *, whole: bool = False) -> float:
    """Return the smallest round figure that goes into `span` at most `most` times.

    Args:
        span: Above 0.
        most: At least 1.
        whole: Whether the step must be a whole number.
    """
    least = max(span / most, 1.0) if whole else span / most
    scale = 10.0 ** math.floor(math.log10(least))
    steps = (scale * step for step in _ROUND)
    return next(s for s in steps if s >= least * (1 - _NEAR) and not (whole and s % 1))


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Return the multiples of a round step between two figures, both included; `low` where they are equal.

    Args:
        low: The lower one.
        high: The higher one.
        most: Most steps.
        whole: Whether the step must be a whole number.
    """
    if not high > low:
        return [low]
    step = round_step(high - low, most, whole=whole)
    first, last = math.ceil(low / step - _NEAR), math.floor(high / step + _NEAR)
    return [step * number for number in range(first, last + 1)]
