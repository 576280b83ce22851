"""The record of largest value, where its value is a sum of one number for each of its combinations.

Variable elimination in the max-sum algebra (Dechter 1999, "Bucket elimination"): as in `maxent`, but
with maxima in place of sums, and with a way back to the record that attains the maximum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmsynthor.fitting.maxent import Factor

LARGEST = 200_000
"""Entries of the largest array: an elimination then takes some hundredths of a second, and there are
hundreds of them."""


def max_out(
    factors: Sequence[Factor], sizes: Mapping[str, int], keep: Sequence[str], order: Sequence[str]
) -> tuple[np.ndarray, Callable[[np.ndarray], dict[str, np.ndarray]]]:
    """Return the largest sum of `factors` for each combination of the variables `keep`.

    Returns:
        The sums in the shape of `keep`, and a function that completes combinations, shape
        `(len(keep), rows)`, to a best value of every variable.
    """
    left = list(factors)
    steps: list[tuple[str, tuple[str, ...], np.ndarray]] = []
    for name in order:
        near = [factor for factor in left if name in factor[0]]
        names = tuple(sorted({n for scope, _ in near for n in scope} - {name}))
        total = _sum(near, (*names, name), sizes)
        steps.append((name, names, total.argmax(axis=-1)))
        left = [factor for factor in left if name not in factor[0]]
        left.append((names, total.max(axis=-1)))

    def complete(given: np.ndarray) -> dict[str, np.ndarray]:
        values = dict(zip(keep, given, strict=True))
        for name, names, choice in reversed(steps):
            chosen = choice[tuple(values[n] for n in names)]
            values[name] = np.broadcast_to(chosen, given.shape[1:])
        return values

    return _sum(left, tuple(keep), sizes), complete


def _sum(factors: Sequence[Factor], names: tuple[str, ...], sizes: Mapping[str, int]) -> np.ndarray:
    total = np.zeros([sizes[n] for n in names])
    for scope, array in factors:
        order = sorted(range(len(scope)), key=lambda i: names.index(scope[i]))
        shape = [sizes[n] if n in scope else 1 for n in names]
        total += np.transpose(array, order).reshape(shape)
    return total
