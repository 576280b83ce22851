"""Integers: whole counts of candidates whose table errors are as near to 0 as can be.

Never independent draws: pivotal rounding leaves a few hundred records in wrong cells, exchanges of
one record for another bring that to a handful, and exact moves, which change one or two tables and
nothing else, remove the rest. Where tables are too entangled for these, kicks out of dead ends and
at last a small integer program follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.moves import ExactMoves
from llmsynthor.pivotal import round_pivotal
from llmsynthor.rounding_program import solve_program

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmsynthor.controls import Controls
    from llmsynthor.pivotal import Balance

_POOL = 256
_GREEDY_ROUNDS = 400
_PATIENCE = 2
_MOST_TO_MOVE = 60
"""Wrong cells; where there are more, exchanges mend them at less cost than exact moves."""
_KICKS = 100
_KICK_CANDIDATES = 40_000
_IDLE_KICKS = 30
"""Kicks in a row that gain nothing, after which no more are tried."""
_PROGRAM_COLUMNS = 300
_PROGRAM_TRIES = 1
_PROGRAM_NODES = 20
_EXTRA_COPIES = 1
"""How many copies more than its weight, rounded up, an exchange may give a candidate."""
_NEARLY_WHOLE = 1e-6


def integerize(
    weights: np.ndarray,
    controls: Controls,
    records: int,
    random: np.random.Generator,
    *,
    balance: Balance | None = None,
    importance: Sequence[float] | None = None,
    thorough: bool = True,
    check: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return whole counts that add up to `records` and follow the controls.

    Args:
        weights: Calibrated weights, shape `(candidates,)`; rescaled to add up to `records`.
        controls: Cells and targets; targets that add up to `records` can be met.
        records: How many records to make.
        random: Breaks ties; the same generator gives the same counts.
        balance: Pairs and triples of variables that rounding should leave as the weights have
            them.
        importance: How much an error in each table counts (`controls.rounding_importance`); a
            table below 1 is followed but need not be met to the record.
        thorough: Whether to try all that can be tried where errors stay; of no use for a batch
            whose errors later batches make up for.
        check: Called between rounds; may raise to stop.

    Returns:
        Int64, shape `(candidates,)`; 0 wherever the weight is 0.
    """
    live = np.flatnonzero(weights > 0)
    counts = np.zeros(len(weights), dtype=np.int64)
    if records == 0 or not len(live):
        return counts
    share = weights[live] * (records / weights[live].sum())
    rounding = _Rounding(controls.take(live), share, importance, random)
    rounding.start(None if balance is None else balance.take(live), check)
    rounding.exchange_pools(check)
    rounding.move(check)
    if thorough:
        rounding.kick(check)
        rounding.solve_rest(check)
    counts[live] = rounding.counts
    return counts


class _Rounding:
    """Counts while they are being mended.

    Attributes:
        counts: Copies of each candidate.
        error: Held minus wanted, the cells of all tables in a row.
        most: Most copies that a candidate may have.
    """

    def __init__(
        self,
        controls: Controls,
        share: np.ndarray,
        importance: Sequence[float] | None,
        random: np.random.Generator,
    ) -> None:
        self.random = random
        self.share = share
        self._starts = np.cumsum([0, *(len(target) for target in controls.target)])
        self._cells = np.stack(
            [index + start for index, start in zip(controls.index, self._starts, strict=False)]
        ).astype(np.int32)
        self._cell = np.ascontiguousarray(self._cells.T)
        target = np.concatenate(controls.target)
        whole = np.round(target)
        self._target = np.where(np.abs(target - whole) < _NEARLY_WHOLE * len(target), whole, target)
        self._tables = len(self._cells)
        self._importance = np.array(importance if importance else [1.0] * self._tables)
        self._by_cell = np.repeat(self._importance, np.diff(self._starts))
        self._strict = self._by_cell >= 1
        self._moves: ExactMoves | None = None
        self.most = np.ceil(share).astype(np.int64) + _EXTRA_COPIES
        self.counts = np.zeros(len(share), dtype=np.int64)
        self.error = -self._target

    def start(self, balance: Balance | None, check: Callable[[], None]) -> None:
        """Take the counts of pivotal rounding."""
        cells = len(self._target)
        self.counts = round_pivotal(
            self.share, self._cells, cells, self.random, balance=balance, check=check
        )
        held = [np.bincount(cell, self.counts, cells) for cell in self._cells]
        self.error = np.sum(held, axis=0) - self._target

    @property
    def done(self) -> bool:
        """Return whether no cell that must be met is a whole record away from its target."""
        return not self._wrong().any()

    def _wrong(self) -> np.ndarray:
        return np.asarray(self._strict & (np.abs(self.error) >= 1 - _NEARLY_WHOLE))

    def _apply(self, out: int, into: int) -> None:
        self.counts[out] -= 1
        self.counts[into] += 1
        self.error[self._cell[out]] -= 1
        self.error[self._cell[into]] += 1

    def _score(self, cells: np.ndarray) -> np.ndarray:
        """Return the weighted sum of the errors of the cells that each candidate is in."""
        return np.asarray((self.error * self._by_cell).take(cells).sum(axis=0))

    def _badness(self) -> float:
        return float((self._by_cell * self.error**2).sum())

    def exchange_pools(
        self,
        check: Callable[[], None],
        among: np.ndarray | None = None,
        *,
        patience: int = _PATIENCE,
    ) -> None:
        """Exchange records in over-full cells for candidates in cells that lack some.

        Args:
            check: Called between rounds.
            among: Candidates to look at; all where None.
            patience: Rounds in a row that may gain nothing.
        """
        rows = np.arange(len(self.counts)) if among is None else among
        cells = self._cells if among is None else self._cells[:, among]
        share, most = self.share[rows], self.most[rows]
        failures = 0
        for _ in range(_GREEDY_ROUNDS):
            if self.done or failures > patience:
                return
            check()
            counts = self.counts[rows]
            score = self._score(cells)
            # the same pool again would fail again: look further away each time
            score += self.random.random(len(rows)) * max(0.5, failures * float(np.ptp(score)) / 2)
            outs = rows[_largest(np.where(counts > 0, score, -np.inf), _POOL)]
            preference = score - np.clip(share - counts, -1.0, 1.0)
            pool = rows[_largest(np.where(counts < most, -preference, -np.inf), _POOL)]
            failures = 0 if self._exchange_between(outs, pool) else failures + 1

    def _exchange_between(self, outs: np.ndarray, pool: np.ndarray) -> bool:
        """Do every exchange that lowers the weighted squared error; return whether there was one."""
        moved = False
        cells = self._cell[pool]
        pull = self.error * self._by_cell
        for out in outs:
            if self.counts[out] < 1:
                continue
            own = self._cell[out]
            gain = pull[cells].sum(axis=1) - pull[own].sum() + (cells != own) @ self._importance
            gain[self.counts[pool] >= self.most[pool]] = np.inf
            best = int(np.argmin(gain))
            if gain[best] < -1e-9:
                self._apply(int(out), int(pool[best]))
                pull = self.error * self._by_cell
                moved = True
        return moved

    def move(self, check: Callable[[], None]) -> None:
        """Remove errors by exact moves, as long as there are some that help."""
        while 0 < self._wrong().sum() <= _MOST_TO_MOVE:
            check()
            self._moves = self._moves or ExactMoves(
                self._cells, self._starts, self._strict, self.random
            )
            error = np.where(self._strict, self.error, 0.0)
            found = self._moves.find(error, self.counts > 0, self.counts < self.most)
            if not found:
                return
            for out, into in found:
                self._apply(out, into)

    def kick(self, check: Callable[[], None]) -> None:
        """Get out of a dead end: disturb a few records near the errors, mend again, keep the better.

        An equally good outcome is kept too, so that errors wander until they cancel.
        """
        idle = 0
        for _ in range(_KICKS):
            if self.done or idle >= _IDLE_KICKS:
                return
            before = self.counts.copy(), self.error.copy(), self._badness()
            rows = self._near_errors()
            outs = self._some(rows[self.counts[rows] > 0])
            into = self._some(rows[self.counts[rows] < self.most[rows]])
            for out, to in zip(outs, into, strict=False):
                self._apply(int(out), int(to))
            among = self._some(np.arange(len(self.counts)), _KICK_CANDIDATES)
            self.exchange_pools(check, among, patience=0)
            self.move(check)
            idle = 0 if self._badness() < before[2] - 1e-9 else idle + 1
            if self._badness() > before[2] + 1e-9:
                self.counts, self.error = before[:2]

    def _near_errors(self) -> np.ndarray:
        return np.flatnonzero(self._wrong()[self._cells].any(axis=0))

    def _some(self, rows: np.ndarray, most: int = 8) -> np.ndarray:
        return self.random.choice(rows, min(most, len(rows)), replace=False)

    def solve_rest(self, check: Callable[[], None]) -> None:
        """Remove what is left by integer programs over some of the candidates."""
        for _ in range(_PROGRAM_TRIES):
            if self.done:
                return
            check()
            pool = self._program_pool(_PROGRAM_COLUMNS)
            change = solve_program(
                self._cell[pool],
                self.error,
                np.minimum(self._by_cell, 1.0),
                self.counts[pool],
                self.most[pool] - self.counts[pool],
                self.random,
                nodes=_PROGRAM_NODES,
            )
            moved = np.repeat(change, self._tables)
            error = self.error + np.bincount(self._cell[pool].ravel(), moved, len(self.error))
            if self._by_cell @ np.abs(error) < self._by_cell @ np.abs(self.error) - 1e-9:
                self.counts[pool] += change
                self.error = error

    def _program_pool(self, columns: int) -> np.ndarray:
        """Return candidates near the errors, and some at random."""
        near = np.abs(self.error)[self._cells].sum(axis=0)
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
