"""Integers: whole counts of candidates whose table errors are as near to 0 as can be.

Never independent draws: systematic rounding on an order that follows the tables leaves small
errors; exchanges of one record for another, with kicks out of dead ends, remove nearly all; a small integer
program removes what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmsynthor.controls import Controls

_POOL = 256
_GREEDY_ROUNDS = 400
_KICKS = 100
_KICK_CANDIDATES = 40_000
_PROGRAM_COLUMNS = 3000
_PROGRAM_TRIES = 2
_PROGRAM_NODES = 200
_EXTRA_COPIES = 1
"""How many copies more than its weight, rounded up, an exchange may give a candidate."""


def integerize(
    weights: np.ndarray,
    controls: Controls,
    records: int,
    random: np.random.Generator,
    *,
    check: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return whole counts that add up to `records` and follow the controls.

    Args:
        weights: Calibrated weights, shape `(candidates,)`; rescaled to add up to `records`.
        controls: Cells and targets; targets that add up to `records` can be met.
        records: How many records to make.
        random: Breaks ties; the same generator gives the same counts.
        check: Called between rounds; may raise to stop.

    Returns:
        Int64, shape `(candidates,)`; 0 wherever the weight is 0.
    """
    live = np.flatnonzero(weights > 0)
    counts = np.zeros(len(weights), dtype=np.int64)
    if records == 0 or not len(live):
        return counts
    share = weights[live] * (records / weights[live].sum())
    rounding = _Rounding(controls.take(live), share, records, random)
    rounding.exchange_pools(check)
    rounding.kick(check)
    rounding.solve_rest(check)
    counts[live] = rounding.counts
    return counts


class _Rounding:
    """Counts while they are being mended; `error` is held minus wanted, all tables in a row."""

    def __init__(
        self, controls: Controls, share: np.ndarray, records: int, random: np.random.Generator
    ) -> None:
        self.random = random
        self.share = share
        starts = np.cumsum([0, *(len(target) for target in controls.target)])
        self.cell = np.stack(
            [index + start for index, start in zip(controls.index, starts[:-1], strict=True)],
            axis=1,
        )
        self.target = np.concatenate(controls.target)
        self.tables = self.cell.shape[1]
        self.most = np.ceil(share).astype(np.int64) + _EXTRA_COPIES
        self.counts = self._systematic(records)
        self.error = (
            np.bincount(self.cell.ravel(), np.repeat(self.counts, self.tables), len(self.target))
            - self.target
        )

    def _systematic(self, records: int) -> np.ndarray:
        """Return counts by systematic rounding, so that every stretch of the order is right."""
        whole = np.floor(self.share).astype(np.int64)
        part = self.share - whole
        # shuffled within ties: a fixed order would correlate variables that have no table
        order = np.lexsort((self.random.random(len(part)), *self.cell.T[::-1]))
        left = records - int(whole.sum())
        ends = np.cumsum(part[order])
        ends *= left / ends[-1] if left else 0.0
        picked = np.floor(ends + self.random.random() - 1e-12)
        extra = np.diff(np.concatenate([[0.0], picked])).astype(np.int64)
        extra[-1] += left - int(extra.sum())
        counts = whole
        counts[order] += extra
        return counts

    @property
    def done(self) -> bool:
        """Return whether no cell is a whole record away from its target."""
        return bool((np.abs(self.error) < 1 - 1e-6).all())

    def _apply(self, out: int, into: int) -> None:
        self.counts[out] -= 1
        self.counts[into] += 1
        self.error[self.cell[out]] -= 1
        self.error[self.cell[into]] += 1

    def exchange_pools(self, check: Callable[[], None], among: np.ndarray | None = None) -> None:
        """Exchange records in over-full cells for candidates in cells that lack some.

        Args:
            check: Called between rounds.
            among: Candidates to look at; all where None.
        """
        rows = np.arange(len(self.counts)) if among is None else among
        cell, share, most = self.cell[rows], self.share[rows], self.most[rows]
        for _ in range(_GREEDY_ROUNDS):
            if self.done:
                return
            check()
            counts = self.counts[rows]
            score = self.error[cell].sum(axis=1) + self.random.random(len(rows)) * 0.5
            outs = rows[_largest(np.where(counts > 0, score, -np.inf), _POOL)]
            preference = score - np.clip(share - counts, -1.0, 1.0)
            pool = rows[_largest(np.where(counts < most, -preference, -np.inf), _POOL)]
            if not self._exchange_between(outs, pool):
                return

    def _exchange_between(self, outs: np.ndarray, pool: np.ndarray) -> bool:
        """Do every exchange that lowers the squared error; return whether there was one."""
        moved = False
        cells = self.cell[pool]
        for out in outs:
            if self.counts[out] < 1:
                continue
            own = self.cell[out]
            same = (cells == own).sum(axis=1)
            gain = self.error[cells].sum(axis=1) - self.error[own].sum() + self.tables - same
            gain[self.counts[pool] >= self.most[pool]] = np.inf
            best = int(np.argmin(gain))
            if gain[best] < -1e-9:
                self._apply(int(out), int(pool[best]))
                moved = True
        return moved

    def kick(self, check: Callable[[], None]) -> None:
        """Get out of a dead end: disturb a few records near the errors, mend again, keep the better.

        An equally good outcome is kept too, so that errors wander until they cancel.
        """
        for _ in range(_KICKS):
            if self.done:
                return
            before = self.counts.copy(), self.error.copy()
            rows = self._near_errors()
            outs = self._some(rows[self.counts[rows] > 0])
            into = self._some(rows[self.counts[rows] < self.most[rows]])
            for out, to in zip(outs, into, strict=False):
                self._apply(int(out), int(to))
            self.exchange_pools(check, self._some(np.arange(len(self.counts)), _KICK_CANDIDATES))
            if (self.error**2).sum() > (before[1] ** 2).sum() + 1e-9:
                self.counts, self.error = before

    def _near_errors(self) -> np.ndarray:
        wrong = np.abs(self.error) >= 1 - 1e-6
        return np.flatnonzero(wrong[self.cell].any(axis=1))

    def _some(self, rows: np.ndarray, most: int = 8) -> np.ndarray:
        return self.random.choice(rows, min(most, len(rows)), replace=False)

    def solve_rest(self, check: Callable[[], None]) -> None:
        """Remove what is left by integer programs over some of the candidates."""
        for attempt in range(_PROGRAM_TRIES):
            if self.done:
                return
            check()
            self._solve_program(_PROGRAM_COLUMNS * (attempt + 1))

    def _solve_program(self, columns: int) -> None:
        from scipy.optimize import Bounds, LinearConstraint, milp  # a slow import, rarely needed
        from scipy.sparse import csc_array, hstack, identity

        pool = self._program_pool(columns)
        wide, cells = len(pool), len(self.target)
        ones = np.ones(wide * self.tables)
        matrix = csc_array(
            (ones, self.cell[pool].ravel(), np.arange(0, wide * self.tables + 1, self.tables)),
            shape=(cells, wide),
        )
        slack = identity(cells, format="csc")
        system = hstack([matrix, -matrix, slack, -slack], format="csc")
        cost = np.concatenate([np.full(2 * wide, 1e-3), np.ones(2 * cells)])
        cost[: 2 * wide] += self.random.random(2 * wide) * 1e-4
        upper = np.concatenate(
            [self.most[pool] - self.counts[pool], self.counts[pool], np.full(2 * cells, np.inf)]
        )
        whole = np.concatenate([np.ones(2 * wide), np.zeros(2 * cells)])
        total = csc_array(
            np.concatenate([np.ones(wide), -np.ones(wide), np.zeros(2 * cells)])[None, :]
        )
        found = milp(
            cost,
            integrality=whole,
            bounds=Bounds(0, np.maximum(upper, 0)),
            constraints=[
                LinearConstraint(system, -self.error, -self.error),
                LinearConstraint(total, 0, 0),
            ],
            options={"node_limit": _PROGRAM_NODES, "mip_rel_gap": 1e-3},
        )
        if found.x is None:
            return
        change = np.round(found.x[:wide] - found.x[wide : 2 * wide]).astype(np.int64)
        error = self.error + np.bincount(
            self.cell[pool].ravel(), np.repeat(change, self.tables), cells
        )
        if np.abs(error).sum() < np.abs(self.error).sum() - 1e-9:
            self.counts[pool] += change
            self.error = error

    def _program_pool(self, columns: int) -> np.ndarray:
        """Return candidates near the errors, and some at random."""
        near = np.abs(self.error)[self.cell].sum(axis=1)
        near = near + self.random.random(len(near)) * 0.5
        held = _largest(np.where(self.counts > 0, near, -np.inf), columns // 3)
        others = _largest(near, columns // 3)
        some = self._some(np.arange(len(near)), columns // 3)
        return np.unique(np.concatenate([held, others, some]))


def _largest(score: np.ndarray, most: int) -> np.ndarray:
    """Return the rows with the largest finite scores, best first."""
    most = min(most, int(np.isfinite(score).sum()))
    rows = np.argpartition(-score, most - 1)[:most] if most else np.empty(0, dtype=np.int64)
    return np.asarray(rows[np.argsort(-score[rows], kind="stable")])
