"""By how much weights of drawn candidates must miss tables: a linear program, and its proof.

Records with members are too many to list, so that nothing is said of all of them: the bound is for
the candidates, whatever weights they are given. Candidates are added to the program while their
reduced cost says that they could help (column generation); the bound is Lagrange's, true at any
prices of the cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.incidence import CountMatrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.table import Table

_START = 2000
_FRESH = 2000
_ROUNDS = 40
_WORTH = 1e-7


@dataclass(frozen=True, eq=False)
class Shortfall:
    """What weights of the candidates cannot do.

    Attributes:
        least: Records and members that are in wrong cells, at least, over all tables; 0 where
            they can be met.
        fitted: Per table what the best weights put in each cell.
    """

    least: float
    fitted: tuple[np.ndarray, ...]


class Weighing:
    """Candidates whose weights should meet tables, for `records` records."""

    def __init__(
        self, tables: Sequence[Table], codes: np.ndarray, domain: Domain, records: int
    ) -> None:
        """Count how often each candidate is in each cell.

        Args:
            tables: The tables that should be met.
            codes: Of the candidates, by the columns of `domain`.
            domain: Variables of the codes.
            records: What the weights must add up to.
        """
        self.tables, self.records = tuple(tables), records
        index = [table.cell_index(codes, domain) for table in tables]
        self._targets = [table.wanted(records).ravel() for table in tables]
        self._starts = np.concatenate([[0], np.cumsum([len(t) for t in self._targets])])
        self._matrix = CountMatrix(index, self._targets, self._starts)
        self._room = [
            np.full(table.cells, table.rounding * records * table.per_record / table.total)
            for table in tables
        ]
        step = max(1, len(codes) // _START)
        self._used = np.arange(0, len(codes), step)

    def shortfall(self, chosen: Sequence[int] | None = None) -> Shortfall:
        """Return by how much the best weights miss some of the tables.

        Args:
            chosen: Positions of the tables; None: all of them.
        """
        chosen = range(len(self.tables)) if chosen is None else chosen
        rows = np.concatenate([np.arange(*self._starts[t : t + 2]) for t in chosen])
        target = np.concatenate([self._targets[t] for t in chosen])
        room = np.concatenate([self._room[t] for t in chosen])
        least, fitted = 0.0, target
        for _ in range(_ROUNDS):
            prices, level, fitted = self._solve(rows, target, room)
            every = np.zeros(self._starts[-1])
            every[rows] = prices
            worth = self._matrix.spread(every) + level
            top = max(float(worth.max()), 0.0)
            bound = prices @ target - np.abs(prices) @ room + self.records * (level - top)
            least = max(least, float(bound))
            fresh = np.flatnonzero(worth > _WORTH)
            fresh = np.setdiff1d(fresh, self._used)
            if not len(fresh):
                break
            best = fresh[np.argsort(-worth[fresh], kind="stable")[:_FRESH]]
            self._used = np.sort(np.concatenate([self._used, best]))
        ends = np.cumsum([len(self._targets[t]) for t in chosen])[:-1]
        return Shortfall(least, tuple(np.split(fitted, ends)))

    def _solve(
        self, rows: np.ndarray, target: np.ndarray, room: np.ndarray
    ) -> tuple[np.ndarray, float, np.ndarray]:
        """Return the prices of the cells and of a record, and what the cells hold."""
        from scipy.optimize import linprog  # slow imports, only here needed
        from scipy.sparse import coo_array, csc_array, eye_array, hstack, vstack

        counts = self._matrix.of_candidates(self._used)[:, rows].T
        cells, columns = counts.shape
        one = eye_array(cells)
        ones = coo_array(np.ones((1, columns)))
        matrix = csc_array(
            vstack([hstack([counts, one, -one, one]), hstack([ones, coo_array((1, 3 * cells))])])
        )
        # half, as one in a wrong cell is too many there and too few elsewhere
        cost = np.concatenate([np.zeros(columns), np.full(2 * cells, 0.5), np.zeros(cells)])
        bounds = np.zeros((len(cost), 2))
        bounds[:, 1] = np.inf
        bounds[-cells:] = np.stack([-room, room], axis=1)
        wanted = np.append(target, self.records)
        found = linprog(  # type: ignore[call-overload]
            cost, A_eq=matrix, b_eq=wanted, bounds=bounds, method="highs"
        )
        if found.x is None:
            return np.zeros(cells), 0.0, target
        prices = np.clip(found.eqlin.marginals[:-1], -0.5, 0.5)
        return prices, float(found.eqlin.marginals[-1]), counts @ found.x[:columns]
