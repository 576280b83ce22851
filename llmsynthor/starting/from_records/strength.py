"""Which pairs of variables depend on each other most: mutual information, corrected for chance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.starting.from_records.columns import Published

MOST_PAIR_CELLS = 10_000
"""A pair with more cells is not chosen: its table would be longer than most data sets."""

_FEW_PER_CELL = 5
"""Records a cell, below which the first-order correction for chance is too small or too large."""
_SHUFFLES = 8
_SHUFFLE_SEED = 20_250_515
"""Fixed, so that the same records give the same job."""
_CLEAR = 3.0
"""Standard deviations above chance: about one in a thousand independent pairs is beyond it."""


@dataclass(frozen=True)
class Pair:
    """Two variables, in the order of the columns, with how much one says about the other.

    Attributes:
        names: Their names in the job.
        information: Mutual information in nats, corrected for chance; may be a little below 0.
        is_clear: Whether it is more than chance would show.
    """

    names: tuple[str, str]
    information: float
    is_clear: bool = True


def mutual_information(counts: np.ndarray) -> float:
    """Return the mutual information in nats of a table as it stands (the plug-in estimate).

    Args:
        counts: Records or weights, 0 or more, `(rows, columns)`, not all 0.
    """
    share = counts / counts.sum()
    apart = share.sum(axis=1, keepdims=True) * share.sum(axis=0, keepdims=True)
    there = share > 0
    return float((share[there] * np.log(share[there] / apart[there])).sum())


def chance(counts: np.ndarray, sample: float) -> tuple[float, float]:
    """Return mean and standard deviation of the estimate where the variables are independent.

    To first order `2 n I` is chi-squared with `(r-1)(c-1)` degrees of freedom (r rows and c columns
    that hold anybody), so that the mean is Miller & Madow's correction of both margins and the joint
    (Miller 1955, Note on the bias of information estimates).

    Args:
        counts: Records or weights, `(rows, columns)`.
        sample: How many records stand behind them, `n`.
    """
    rows, columns = (int((counts.sum(axis=axis) > 0).sum()) for axis in (1, 0))
    freedom = (rows - 1) * (columns - 1)
    return freedom / (2 * sample), math.sqrt(2 * freedom) / (2 * sample)


def _pair(first: Published, second: Published, weights: np.ndarray | None, sample: float) -> Pair:
    counts = count_cells([first, second], weights)
    mean, deviation = chance(counts, sample)
    if counts.size * _FEW_PER_CELL > sample:
        # too few records a cell for the first order: what shuffled records show is exact
        generator = np.random.default_rng(_SHUFFLE_SEED)
        mixed = (
            replace(second, codes=generator.permutation(second.codes)) for _ in range(_SHUFFLES)
        )
        shuffled = [mutual_information(count_cells([first, other], weights)) for other in mixed]
        mean, deviation = float(np.mean(shuffled)), max(deviation, float(np.std(shuffled)))
    information = mutual_information(counts) - mean
    return Pair((first.name, second.name), information, information > _CLEAR * deviation)


def effective_sample(weights: np.ndarray | None, rows: int) -> float:
    """Return Kish's effective sample size `(sum w)^2 / sum w^2`; the rows where nothing is weighted."""
    if weights is None:
        return float(rows)
    return float(weights.sum() ** 2 / (weights**2).sum())


def count_cells(variables: Sequence[Published], weights: np.ndarray | None) -> np.ndarray:
    """Return records or weights in each cell of the variables' joint table, one axis each."""
    shape = tuple(variable.size for variable in variables)
    index = np.ravel_multi_index([variable.codes for variable in variables], shape)
    return np.bincount(index, weights, int(np.prod(shape))).reshape(shape)


def rank_pairs(
    variables: Sequence[Published], weights: np.ndarray | None
) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Return the pairs of variables, strongest first, and those with too many cells to be chosen."""
    sample = effective_sample(weights, len(variables[0].codes))
    ranked, large = [], []
    for first, second in combinations(variables, 2):
        if first.size * second.size > MOST_PAIR_CELLS:
            large.append((first.name, second.name))
            continue
        ranked.append(_pair(first, second, weights, sample))
    return sorted(ranked, key=lambda pair: -pair.information), large


def choose(
    ranked: Sequence[Pair],
    joints: Sequence[tuple[str, ...]],
    strongest: int,
    hold_out: int,
) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to be met and the pairs held out: the next strongest in no control table.

    Pairs that are no more dependent than chance would show, and those in a joint table that is there
    already, are never chosen; there may be fewer than asked for.
    """
    free = [p for p in ranked if p.is_clear and not any(set(p.names) <= set(j) for j in joints)]
    return free[:strongest], free[strongest : strongest + hold_out]
