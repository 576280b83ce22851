"""The restricted program: a linear program over a few records, with slack for each cell.

Solved with HiGHS (Huangfu & Hall 2018) through scipy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.maxent import TooLargeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy import sparse

    from llmsynthor.feasibility.columns import System

WHOLE = 1000.0
"""All records together weigh this much in a program, so that the solver's tolerance (1e-7) is
far below what counts."""

_STIFF = 1000.0
"""A table that may not give way costs so much more than the one that may."""


@dataclass(frozen=True)
class Goal:
    """What a program minimises: the weight in wrong cells, of all tables unless told otherwise.

    Attributes:
        giving_way: Number of the only table that may give way, or None.
        dropped: Number of a rule that may be broken at the price of 1 for each record, or None.
        largest: Minimise the largest deviation of a cell instead: its prices are sparse.
        focus: Number of a table and one of its cells: its other cells may deviate freely. Where
            the optimum is not 0, the prices prove what the other tables allow in this one cell.
        proof: Stop as soon as it is settled whether the optimum is 0.
        rounds: Solve so many restricted programs at most; None leaves that to the size.
    """

    giving_way: int | None = None
    dropped: int | None = None
    largest: bool = False
    focus: tuple[int, int] | None = None
    proof: bool = False
    rounds: int | None = None


class RestrictedProgram:
    """The restricted program: a few records, and slack for each cell."""

    def __init__(self, system: System, goal: Goal) -> None:
        self._system, self.goal = system, goal
        self._target, self._room = np.concatenate(system.targets), np.concatenate(system.room)
        self._starts = np.cumsum([0, *(len(target) for target in system.targets)])
        self._atoms = np.zeros((0, len(system.names)), dtype=np.int64)
        self._seen: set[bytes] = set()
        self._weights = np.zeros(0)

    def add(self, atoms: np.ndarray) -> int:
        """Add records; return how many are new."""
        fresh = []
        for row in np.ascontiguousarray(atoms, dtype=np.int64):
            key = row.tobytes()
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(row)
        if fresh:
            self._atoms = np.concatenate([self._atoms, np.array(fresh)])
        return len(fresh)

    def used(self) -> np.ndarray:
        """Return the records with weight in the last optimum."""
        return self._atoms[: len(self._weights)][self._weights > 1e-9 * WHOLE]

    def optimum(self) -> tuple[float, list[np.ndarray], float, float]:
        """Return value, prices per table, price of a record, weight in wrong stiff cells."""
        from scipy.optimize import linprog  # a slow import, only here needed

        rows, cells, slack = len(self._atoms), len(self._target), self._slack_costs()
        breach = np.zeros(rows)
        if self.goal.dropped is not None:
            breach += self._system.breaches(self._atoms, self.goal.dropped)
        cost = np.concatenate([breach, slack, slack, np.zeros(cells)])
        low = np.concatenate([np.zeros(rows + 2 * cells), -self._room])
        high = np.concatenate([np.full(rows + 2 * cells, np.inf), self._room])
        equal, less = self._constraints()
        if self.goal.largest:  # the cost is one number that no cell's deviation exceeds
            cost, low, high = np.append(0 * cost, 1), np.append(low, 0), np.append(high, np.inf)
        found = linprog(  # type: ignore[call-overload]
            cost,
            A_ub=less,
            b_ub=None if less is None else np.zeros(cells),
            A_eq=equal,
            b_eq=np.append(self._target, WHOLE),
            bounds=np.stack([low, high], axis=1),
            method="highs",
        )
        if found.x is None:
            raise TooLargeError
        self._weights = found.x[:rows]
        off = (found.x[rows : rows + cells] + found.x[rows + cells : rows + 2 * cells]) / 2
        stiff = float(off[slack >= _STIFF / 2].sum())
        duals = np.asarray(found.eqlin.marginals)
        return float(found.fun), np.split(duals[:-1], self._starts[1:-1]), float(duals[-1]), stiff

    def _constraints(self) -> tuple[sparse.csc_array, sparse.csc_array | None]:
        """Return the matrices of equalities and inequalities.

        Columns: records, too few in each cell, too many, rounding; where the largest deviation is
        minimised, that too. Rows: cells, and the sum of all records.
        """
        rows, cells, more = len(self._atoms), len(self._target), int(self.goal.largest)
        index = self._system.cells(self._atoms)
        each, cell = np.arange(rows), np.arange(cells)
        entries = [
            *((own + start, each, 1.0) for own, start in zip(index, self._starts, strict=False)),
            (np.full(rows, cells), each, 1.0),
            (cell, rows + cell, 1.0),
            (cell, rows + cells + cell, -1.0),
            (cell, rows + 2 * cells + cell, 1.0),
        ]
        equal = _matrix(entries, (cells + 1, rows + 3 * cells + more))
        if not more:
            return equal, None
        entries = [
            (cell, rows + cell, 1.0),
            (cell, rows + cells + cell, 1.0),
            (cell, np.full(cells, rows + 3 * cells), -1.0),
        ]
        return equal, _matrix(entries, (cells, rows + 3 * cells + 1))

    def _slack_costs(self) -> np.ndarray:
        """Return the price of one too few or too many: half, as one wrong record makes both."""
        goal, starts = self.goal, self._starts
        stiff = goal.giving_way is not None or goal.dropped is not None
        costs = np.full(starts[-1], _STIFF / 2 if stiff else 0.5)
        if goal.giving_way is not None:
            costs[starts[goal.giving_way] : starts[goal.giving_way + 1]] = 0.5
        if goal.focus is not None:
            table, cell = goal.focus
            costs[starts[table] : starts[table + 1]] = 0.0
            costs[starts[table] + cell] = 0.5
        return costs


def _matrix(
    entries: Sequence[tuple[np.ndarray, np.ndarray, float]], shape: tuple[int, int]
) -> sparse.csc_array:
    """Return a matrix of the given rows, columns and values."""
    from scipy import sparse

    values = np.concatenate([np.full(len(rows), value) for rows, _, value in entries])
    places = np.concatenate([np.stack([rows, columns]) for rows, columns, _ in entries], axis=1)
    return sparse.csc_array((values, (places[0], places[1])), shape=shape)
