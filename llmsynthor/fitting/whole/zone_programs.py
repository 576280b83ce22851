"""Local programs: the records of one zone at a time are exchanged by an integer program.

Households with persons count in many cells of their zone, so that no exchange of a few records
mends one cell and leaves the others. But a zone has few cells: which copies to add and to take away
so that all of them come as near as can be is a small integer program over some of the zone's
candidates. Cells that several zones share, such as a tract's, are in the programs of all of them.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.whole.hash_search import some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_POOL = 250
"""Candidates of one zone that may lose a copy, and as many that may gain one."""
_NODES = 20
"""Of one program's search tree; a limit in seconds would not give the same records twice."""
_TOGETHER = (1, 1, 2, 3)
"""Zones with wrong cells in one program, by pass."""
_WRONG = 1 - 1e-6
_RECORDS = 0.1
"""What a record too many or too few costs, where a wrong cell costs 1: the next zones make up for it."""


class LocalPrograms:
    """Copies of candidates that are exchanged inside zones until no cell is wrong."""

    def __init__(
        self,
        cells: np.ndarray,
        by_cell: np.ndarray,
        zones: np.ndarray,
        random: np.random.Generator,
    ) -> None:
        """Prepare.

        Args:
            cells: Cells of each candidate, shape `(rows, candidates)`.
            by_cell: How much an error in each cell counts; 0 for slots without a member.
            zones: Zone of each candidate.
            random: Draws candidates for the programs.
        """
        self._cells, self._random = cells, random
        self._cost = np.minimum(by_cell, 1.0)
        self._records = 0
        order = np.argsort(zones, kind="stable")
        names, first = np.unique(zones[order], return_index=True)
        self._rows = dict(zip(names.tolist(), np.split(order, first[1:]), strict=True))

    def mend(
        self, error: np.ndarray, counts: np.ndarray, most: np.ndarray, check: Callable[[], None]
    ) -> None:
        """Exchange copies; changes `error` and `counts`.

        Args:
            error: Held minus wanted, shape `(cells,)`.
            counts: Copies of each candidate; in the end they are as many.
            most: Most copies of each.
            check: Called between programs; may raise to stop.
        """
        self._records = int(counts.sum())
        for together in _TOGETHER:
            zones = self._wrong(error)
            if not zones:
                break
            gained = False
            for start in range(0, len(zones), together):
                check()
                gained |= self._solve(zones[start : start + together], error, counts, most)
            if not gained and together > 1:
                break
        if counts.sum() != self._records:
            self._solve(list(self._rows), error, counts, most, must=True)

    def _wrong(self, error: np.ndarray) -> list[int]:
        """Return the zones that have candidates in a wrong cell."""
        wrong = (np.abs(error) >= _WRONG) & (self._cost > 0)
        touched = np.zeros(self._cells.shape[1], dtype=bool)
        for row in self._cells:
            touched |= wrong[row]
        return [zone for zone, rows in self._rows.items() if touched[rows].any()]

    def _pool(self, zones: list[int], counts: np.ndarray, most: np.ndarray) -> np.ndarray:
        able: list[np.ndarray] = []
        size = max(1, 2 * _POOL // (1 + len(zones)))
        for zone in zones:
            rows = self._rows[zone]
            able += [rows[counts[rows] > 0], rows[counts[rows] < most[rows]]]
        return np.unique(np.concatenate([some(rows, size, self._random) for rows in able]))

    def _solve(
        self,
        zones: list[int],
        error: np.ndarray,
        counts: np.ndarray,
        most: np.ndarray,
        *,
        must: bool = False,
    ) -> bool:
        """Exchange copies in some zones; return whether their cells are nearer than before.

        Args:
            zones: Which.
            error: Changes with the copies.
            counts: Changes.
            most: Most copies of each candidate.
            must: Whether the number of records must be right then, whatever the cells say.
        """
        pool = self._pool(zones, counts, most)
        cells = self._cells[:, pool]
        own = np.unique(cells)
        own = own[self._cost[own] > 0]
        off = float(counts.sum() - self._records)
        before = np.append(error[own], off)
        cost = np.append(self._cost[own], _RECORDS)
        matrix = _matrix(cells, own, len(error))
        low = -np.minimum(counts[pool], 1)
        high = np.minimum(most[pool] - counts[pool], 1)
        change = _program(matrix, before, cost, low, high, must=must)
        if change is None:
            return False
        after = before + matrix @ change
        if not must and cost @ np.abs(after) > cost @ np.abs(before) - 1e-6:
            return False
        counts[pool] += change
        error[own] = after[:-1]
        return True


def _matrix(cells: np.ndarray, own: np.ndarray, number: int) -> np.ndarray:
    """Return how often each candidate counts in each own cell, and behind them once as a record."""
    place = np.full(number, len(own), dtype=np.int64)
    place[own] = np.arange(len(own))
    matrix = np.zeros((len(own) + 1, cells.shape[1]))
    for row in place[cells]:
        np.add.at(matrix, (row, np.arange(len(row))), 1.0)
    matrix[-1] = 1.0  # what counted in no own cell stood here
    return matrix


def _program(
    matrix: np.ndarray,
    before: np.ndarray,
    cost: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    must: bool,
) -> np.ndarray | None:
    """Return the changes of copies that leave the least sum of absolute errors, as far as is found."""
    from scipy.optimize import Bounds, LinearConstraint, milp  # a slow import, only here needed
    from scipy.sparse import csc_array, eye_array, hstack

    cells, candidates = matrix.shape
    apart = eye_array(cells)
    most = np.full(2 * cells, np.inf)
    if must:
        most[[cells - 1, 2 * cells - 1]] = 0.0
    with _silent():
        found = milp(
            np.concatenate([np.zeros(candidates), cost, cost]),
            constraints=LinearConstraint(
                hstack([csc_array(matrix), -apart, apart]), -before, -before
            ),
            integrality=np.concatenate([np.ones(candidates), np.zeros(2 * cells)]),
            bounds=Bounds(np.concatenate([low, np.zeros(2 * cells)]), np.concatenate([high, most])),
            options={"node_limit": _NODES},
        )
    return None if found.x is None else np.round(found.x[:candidates]).astype(np.int64)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep from stdout what the solver says there at times, past Python."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
    except OSError:  # there is no stdout
        yield
        return
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        os.close(nothing)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
