"""The proof that tables and rules clash, in as few and as simple numbers as can be found.

By Farkas' lemma there is a multiplier for each cell such that the cells want more, so counted,
than all lawful records can count. Any prices of the linear program with a bound above 0 are such
multipliers; here the clearest of them are picked, and each choice is proven anew.
"""

from __future__ import annotations

from functools import partial
from itertools import islice, product
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.feasibility.columns import NEGLIGIBLE, Goal, System
from llmsynthor.feasibility.words import Cells, summed_cells

if TYPE_CHECKING:
    from collections.abc import Sequence

_SUPPORT = 1e-7
_LARGEST_FACTOR = 12
_MOST_FOCUSED = 12
_MOST_THINNED = 60
_MOST_MOVES = 64


def clearest_multipliers(system: System) -> list[np.ndarray]:
    """Return the multipliers that prove the conflict with the fewest cells."""
    best = _simple(system, system.solve(Goal(largest=True)).prices)
    known = [(n, int(c)) for n, own in enumerate(best) for c in np.flatnonzero(own)]
    for focus in known[:_MOST_FOCUSED]:
        solution = system.solve(Goal(focus=focus))
        if solution.is_impossible:
            times = _simple(system, solution.prices)
            best = min(best, times, key=partial(_length, system))
    return best


def _length(system: System, times: Sequence[np.ndarray]) -> tuple[int, float, int]:
    """Return how hard the proof is to read."""
    signs = [np.sign(cell.times) for cell in counted_cells(system, times, 1)]
    odd = sum(float(np.abs(own).max()) > 1 for own in times)
    return len(signs) + odd, abs(most_counted(system, times)), len(set(signs))


def counted_cells(system: System, times: Sequence[np.ndarray], records: int) -> list[Cells]:
    """Return the cells that count, in the tables' order."""
    return [
        cell
        for table, own in zip(system.tables, times, strict=True)
        for cell in summed_cells(table, own, records)
    ]


def _simple(system: System, prices: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return multipliers as simple as can be that still prove the conflict, whole where possible."""
    peak = max(float(np.abs(own).max()) for own in prices)
    scaled = [np.where(np.abs(own) < _SUPPORT * peak, 0.0, own / peak) for own in prices]
    whole = range(1, _LARGEST_FACTOR + 1)
    tries = [
        [np.sign(own) for own in scaled],
        *([np.round(own * factor) for own in scaled] for factor in whole),
        [np.round(own, 3) for own in scaled],
    ]
    for times in tries:
        if _surplus(system, times) > NEGLIGIBLE:
            return _broadened(system, _thinned(system, times))
    return scaled


def _thinned(system: System, times: list[np.ndarray]) -> list[np.ndarray]:
    """Return the multipliers without those that add nothing, each table's commonest made 0.

    A number added to all cells of a table changes nothing, as every record is in one of them.
    """
    least = _surplus(system, times) - NEGLIGIBLE / 2
    options = [_commonest(own) for own in times]
    moves = islice(product(*options), _MOST_MOVES)
    moved = [[own - by for own, by in zip(times, move, strict=True)] for move in moves]
    proven = [some for some in moved if _surplus(system, some) >= least]
    times = min(proven, key=partial(_length, system), default=times)
    cells = [(n, c) for n, own in enumerate(times) for c in np.flatnonzero(own)]
    surplus = _surplus(system, times)
    for number, cell in cells[:_MOST_THINNED]:
        own = times[number].copy()
        own[cell] = 0.0
        fewer = [*times[:number], own, *times[number + 1 :]]
        if _surplus(system, fewer) >= surplus - NEGLIGIBLE / 2:
            times = fewer
    return times


def _broadened(system: System, times: list[np.ndarray]) -> list[np.ndarray]:
    """Return the multipliers made the same along a variable of a table wherever that loses nothing.

    It brings in small cells that the program left out, and the cells can then be told as one.
    """
    for number, table in enumerate(system.tables):
        for axis in range(len(table.scope)):
            grid = times[number].reshape(table.share.shape)
            high, low = grid.max(axis=axis, keepdims=True), grid.min(axis=axis, keepdims=True)
            wide = np.broadcast_to(np.where(high > 0, high, low), grid.shape).ravel()
            tried = [*times[:number], wide, *times[number + 1 :]]
            if _surplus(system, tried) >= _surplus(system, times) - NEGLIGIBLE / 2:
                times = tried
    return times


def _commonest(own: np.ndarray) -> list[float]:
    values, often = np.unique(own, return_counts=True)
    return [float(value) for value in values[often == often.max()]]


def _surplus(system: System, times: Sequence[np.ndarray]) -> float:
    """Return how much more the cells so counted want than all records can count."""
    return system.lower_bound(times, most_counted(system, times))


def most_counted(system: System, times: Sequence[np.ndarray]) -> float:
    """Return what a lawful record counts at most."""
    return float(system.best(times, 0)[0].max())
