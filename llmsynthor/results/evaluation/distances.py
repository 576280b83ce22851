"""Wasserstein distance of raw numbers: how far values must move, in the variable's own unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.seeds import generator

if TYPE_CHECKING:
    from llmsynthor.results.evaluation.records import Records


def wasserstein(
    first: np.ndarray,
    second: np.ndarray,
    first_weights: np.ndarray | None = None,
    second_weights: np.ndarray | None = None,
) -> float:
    """Return the first Wasserstein distance: the area between two cumulative distributions.

    It is the least mean distance by which values must move to turn one sample into the other
    (Vallender 1974), also called earth mover's distance.

    Args:
        first: Values, shape `(n,)`, at least one.
        second: Values, shape `(m,)`, at least one.
        first_weights: What each value counts; None is 1.
        second_weights: What each value counts; None is 1.

    Example:
        >>> wasserstein(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
        1.0
    """
    points = np.unique(np.concatenate([first, second]))
    apart = _cumulative(first, first_weights, points) - _cumulative(second, second_weights, points)
    return float((np.abs(apart[:-1]) * np.diff(points)).sum())


def _cumulative(values: np.ndarray, weights: np.ndarray | None, points: np.ndarray) -> np.ndarray:
    mass = np.bincount(np.searchsorted(points, values), weights, len(points))
    return np.asarray(np.cumsum(mass) / mass.sum())


def compare_numbers(real: Records, synthetic: Records, seed: int) -> list[dict[str, Any]]:
    """Return mean, deviation and Wasserstein distance of each variable given as raw numbers.

    `halves` is the distance of two random halves of the real records: what chance alone makes.
    """
    entries = []
    for name, values in real.values.items():
        known = ~np.isnan(values)
        if real.weights is not None:
            known &= real.weights > 0
        if not known.any():
            continue
        truth = values[known]
        weights = np.ones(len(truth)) if real.weights is None else real.weights[known]
        made = synthetic.values[name]
        mean, deviation = _moments(truth, weights)
        made_mean, made_deviation = _moments(made, np.ones(len(made)))
        distance = wasserstein(truth, made, weights)
        entries.append(
            {
                "variable": name,
                "unit": real.domain[name].unit,
                "rows": len(truth),
                "wasserstein": distance,
                "share_of_deviation": distance / deviation if deviation > 0 else None,
                "halves": _halves(truth, weights, generator(seed, "evaluate", "numbers", name)),
                "mean": {"real": mean, "synthetic": made_mean},
                "deviation": {"real": deviation, "synthetic": made_deviation},
            }
        )
    return entries


def _moments(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return mean and standard deviation of a population with these weights."""
    mean = float(np.average(values, weights=weights))
    return mean, float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def _halves(values: np.ndarray, weights: np.ndarray, random: np.random.Generator) -> float | None:
    if len(values) < 2:
        return None
    order = random.permutation(len(values))
    first, second = order[: len(values) // 2], order[len(values) // 2 :]
    return wasserstein(values[first], values[second], weights[first], weights[second])
