"""Integers: whole counts of candidates whose table errors are as near to 0 as can be.

Never independent draws: pivotal rounding leaves a few hundred records in wrong cells. Mutations,
which change a record in one variable, exchanges of one record for another, and exact moves, which
change one or two tables and nothing else, take turns to mend them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.whole.copies import Copies
from llmsynthor.fitting.whole.exchanges import ExactMoves, WholeSums, blocks_of, exchange
from llmsynthor.fitting.whole.mutations import Mutants, Mutations
from llmsynthor.fitting.whole.pivotal import round_pivotal
from llmsynthor.fitting.whole.zone_programs import LocalPrograms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmsynthor.fitting.controls import Controls
    from llmsynthor.fitting.whole.mutations import Variety
    from llmsynthor.fitting.whole.pivotal import Balance

_POOL = 256
_GREEDY_ROUNDS = 400
_PATIENCE = 2
_MOST_TO_MOVE = 60
"""Wrong cells; where there are more, exchanges mend them at less cost than exact moves."""
_MOST_TO_SUM = 100
"""Wrong cells; where there are more, whole sums are not tried."""
_TURNS = 40
"""Rounds of mutations, exchanges and moves."""
_IDLE_TURNS = 12
"""Turns in a row that bring nothing, after which no more are tried."""
_MOST_HEAT = 8.0
_LAST_RESORTS = 2
"""Times that rounding is begun again where more may be changed."""
_EXCHANGE_EVERY = 8
"""Exchanges take longest, and what one turn of them leaves the next does too."""
_EXTRA_COPIES = 1
"""How many copies more than its weight, rounded up, an exchange may give a candidate."""
_NEARLY_WHOLE = 1e-6
_NOISE = 4e-9
"""What calibration and arithmetic may leave of a cell that is whole, as a share of all records."""


@dataclass(frozen=True, eq=False)
class Whole:
    """Whole records.

    Attributes:
        counts: Copies of each candidate, int64, shape `(candidates,)`; 0 wherever the weight is 0.
        mutants: Records besides, one each.
    """

    counts: np.ndarray
    mutants: Mutants


def integerize(
    weights: np.ndarray,
    controls: Controls,
    records: int,
    random: np.random.Generator,
    *,
    balance: Balance | None = None,
    variety: Variety | None = None,
    last_resort: Variety | None = None,
    zones: np.ndarray | None = None,
    importance: Sequence[float | np.ndarray] | None = None,
    thorough: bool = True,
    check: Callable[[], None] = lambda: None,
) -> Whole:
    """Return counts and mutants, `records` together, that follow the controls.

    Args:
        weights: Calibrated weights, shape `(candidates,)`; rescaled to add up to `records`.
        controls: Cells and targets; targets that add up to `records` can be met.
        records: How many records to make.
        random: Breaks ties; the same generator gives the same counts.
        balance: Pairs and triples of variables that rounding should leave as the weights have
            them.
        variety: In what candidates may be changed; None where records must be candidates.
        last_resort: In what they may be changed where that leaves errors, from the start again;
            None: in nothing more.
        zones: Zone of each candidate, shape `(candidates,)`, where they have zones and members:
            wrong cells are then mended zone by zone.
        importance: How much an error in each table counts (`controls.rounding_importance`), or in
            each of its cells; what is below 1 is followed but need not be met to the record.
        thorough: Whether to try all that can be tried where errors stay; of no use for a batch
            whose errors later batches make up for.
        check: Called between rounds; may raise to stop.
    """
    live = np.flatnonzero(weights > 0)
    counts = np.zeros(len(weights), dtype=np.int64)
    if records == 0 or not len(live):
        return Whole(counts, Mutants.together([]))
    share = weights[live] * (records / weights[live].sum())
    taken = controls.take(live)
    even = None if balance is None else balance.take(live)

    def rounded(allowed: Variety | None) -> _Rounding:
        found = _Rounding(
            taken, share, importance, None if allowed is None else allowed.take(live), random
        )
        found.zones = None if zones is None or found.once else zones[live]
        found.start(even, check)
        found.mend(_TURNS if thorough else 1, check)
        return found

    rounding = rounded(variety)
    for _ in range(0 if last_resort is None else _LAST_RESORTS):
        if rounding.done or rounding.badness[0] > _MOST_TO_MOVE:
            break
        if rounding.zones is not None:  # few cells are left: go on from there
            rounding.variety = None if last_resort is None else last_resort.take(live)
            rounding.mend(_TURNS, check)
            break
        rounding = min(rounding, rounded(last_resort), key=lambda found: found.badness)
    counts[live] = rounding.counts
    mutants = Mutants.together(rounding.mutants)
    return Whole(counts, mutants.of(live))


@dataclass(frozen=True, eq=False)
class _State:
    """Counts to return to: how bad, copies and errors, and how many turns of mutants belong to it."""

    badness: tuple[int, float]
    counts: np.ndarray
    error: np.ndarray
    turns: int


class _Rounding:
    """Counts while they are being mended.

    Attributes:
        counts: Copies of each candidate.
        error: Held minus wanted, the cells of all tables in a row.
        most: Most copies that a candidate may have.
        mutants: What mutations made of copies, turn by turn.
        once: Whether each record counts once in every table, for want of members.
        variety: In what candidates may change.
        zones: Of each candidate, where wrong cells are mended zone by zone.
    """

    def __init__(
        self,
        controls: Controls,
        share: np.ndarray,
        importance: Sequence[float | np.ndarray] | None,
        variety: Variety | None,
        random: np.random.Generator,
    ) -> None:
        self.random = random
        self.mutants: list[Mutants] = []
        self.variety = variety
        self.share = share
        self._starts = np.cumsum([0, *(len(target) for target in controls.target)])
        self._cells = all_cells(controls, self._starts)
        self.once = all(index.ndim == 1 for index in controls.index)
        slots = [1 if index.ndim == 1 else len(index) for index in controls.index]
        first = [0, *np.cumsum(slots).tolist()]
        of_records = [i for i, index in enumerate(controls.index) if index.ndim == 1]
        self._once_rows = [first[i] for i in of_records]
        target = np.concatenate(controls.target)
        whole = np.round(target)
        noise = float(np.clip(_NOISE * share.sum(), _NEARLY_WHOLE, 0.01))
        self._target = np.where(np.abs(target - whole) < noise, whole, target)
        given = importance or [1.0] * len(controls.index)
        self._by_cell = np.concatenate(
            [np.broadcast_to(i, size) for i, size in zip(given, np.diff(self._starts), strict=True)]
        )
        even = all(np.ndim(i) == 0 for i in given)
        self._importance = np.array(given) if even else None
        if not self.once:  # a cell of no importance for those who are not there
            self._target = np.append(self._target, 1.0)
            self._by_cell = np.append(self._by_cell, 0.0)
            self._square = _squares(self._cells, np.cumsum([0, *slots]), self._by_cell)
        self._strict = self._by_cell >= 1
        self.zones: np.ndarray | None = None
        self._moves: ExactMoves | None = None
        self._local: LocalPrograms | None = None
        self._sums: WholeSums | None = None
        self._hopeless = b""
        self.most = np.ceil(share).astype(np.int64) + _EXTRA_COPIES
        self.counts = np.zeros(len(share), dtype=np.int64)
        self.error = -self._target

    def mend(self, turns: int, check: Callable[[], None]) -> None:
        """Mutate, exchange and move in turns; keep the best of what they lead to."""
        if self.zones is not None:
            self.mend_zones(check)
        elif not self.once:  # mutations cannot mend how many members there are
            self.exchange_pools(check)
        best = self._state()
        idle = 0
        for turn in range(turns):
            if self.done or idle >= _IDLE_TURNS:
                break
            self.mutate(check, heat=min(1.0 + turn, _MOST_HEAT))
            if turn % _EXCHANGE_EVERY == 0:
                self.exchange_pools(check)
            self.move(check)
            if self.zones is None:
                self.settle_sums(check)
            else:
                self.mend_zones(check)
            found = self._state()
            idle = 0 if found.badness < best.badness else idle + 1
            best = found if found.badness < best.badness else best
        self.counts, self.error = best.counts, best.error
        del self.mutants[best.turns :]

    @property
    def badness(self) -> tuple[int, float]:
        """Return how many cells are a whole record wrong, and the weighted squared errors."""
        return int(self._wrong().sum()), float((self._by_cell * self.error**2).sum())

    def _state(self) -> _State:
        return _State(self.badness, self.counts.copy(), self.error.copy(), len(self.mutants))

    def start(self, balance: Balance | None, check: Callable[[], None]) -> None:
        """Take the counts of pivotal rounding."""
        cells = len(self._target)
        self.counts = round_pivotal(
            self.share, self._cells, self._by_cell > 0, self.random, balance=balance, check=check
        )
        held = [np.bincount(cell, self.counts, cells) for cell in self._cells]
        self.error = np.sum(held, axis=0) - self._target
        if not self.once:
            self.error[-1] = 0.0

    @property
    def done(self) -> bool:
        """Return whether no cell that must be met is a whole record away from its target."""
        return not self._wrong().any()

    def _wrong(self) -> np.ndarray:
        return np.asarray(self._strict & (np.abs(self.error) >= 1 - _NEARLY_WHOLE))

    def _apply(self, out: int, into: int) -> None:
        exchange(self._cells, self.error, self.counts, out, into)
        if not self.once:
            self.error[-1] = 0.0

    def _score(self) -> np.ndarray:
        """Return the weighted sum of the errors of the cells that each candidate is in."""
        pull = self.error * self._by_cell
        score = np.zeros(len(self.counts))
        for cell in self._cells:  # one by one, for all at once take much memory
            score += pull[cell]
        return score

    def exchange_pools(self, check: Callable[[], None]) -> None:
        """Exchange records in over-full cells for candidates in cells that lack some."""
        failures = 0
        for _ in range(_GREEDY_ROUNDS):
            if self.done or failures > _PATIENCE:
                return
            check()
            counts = self.counts
            score = self._score()
            # the same pool again would fail again: look further away each time
            score += self.random.random(len(score)) * max(0.5, failures * float(np.ptp(score)) / 2)
            outs = _largest(np.where(counts > 0, score, -np.inf), _POOL)
            preference = score - np.clip(self.share - counts, -1.0, 1.0)
            pool = _largest(np.where(counts < self.most, -preference, -np.inf), _POOL)
            failures = 0 if self._exchange_between(outs, pool) else failures + 1

    def _exchange_between(self, outs: np.ndarray, pool: np.ndarray) -> bool:
        """Do every exchange that lowers the weighted squared error; return whether there was one."""
        moved = False
        cells = self._cells[:, pool].T
        pull = self.error * self._by_cell
        for out in outs:
            if self.counts[out] < 1:
                continue
            own = self._cells[:, out]
            gain = pull[cells].sum(axis=1) - pull[own].sum() + self._turbulence(int(out), pool)
            gain[self.counts[pool] >= self.most[pool]] = np.inf
            best = int(np.argmin(gain))
            if gain[best] < -1e-9:
                self._apply(int(out), int(pool[best]))
                pull = self.error * self._by_cell
                moved = True
        return moved

    def _turbulence(self, out: int, pool: np.ndarray) -> np.ndarray:
        """Return half the weighted square of what an exchange changes, for each of `pool`."""
        cells, own = self._cells[:, pool].T, self._cells[:, out]
        if self.once and self._importance is not None:
            return np.asarray((cells != own) @ self._importance)
        if self.once:
            both = (self._by_cell[cells] + self._by_cell[own]) / 2
            return np.asarray(np.where(cells != own, both, 0.0).sum(axis=1))
        shared = (self._by_cell * np.bincount(own, minlength=len(self._by_cell)))[cells].sum(axis=1)
        return np.asarray((self._square[pool] + self._square[out]) / 2 - shared)

    def mend_zones(self, check: Callable[[], None]) -> None:
        """Exchange records inside zones until all their cells are met, or no exchange helps."""
        if self.zones is None or self.done:
            return
        self._local = self._local or LocalPrograms(
            self._cells, self._by_cell, self.zones, self.random
        )
        self._local.mend(self.error, self.counts, self.most, check)

    def settle_sums(self, check: Callable[[], None]) -> None:
        """Mend all wrong cells at once where records count several times in a table."""
        errors = np.where(self._strict, self.error, 0.0).round(3).tobytes()
        if self.once or self.done or errors == self._hopeless:
            return
        check()
        wrong = self.error[self._strict]
        self._hopeless = errors
        if (
            np.abs(wrong - np.round(wrong)).max() > _NEARLY_WHOLE
            or self._wrong().sum() > _MOST_TO_SUM
        ):
            return
        self._sums = self._sums or WholeSums(
            self._cells,
            self._strict,
            blocks_of(self.variety, len(self.share)),
            self._once_rows,
            self.random,
        )
        found = self._sums.find(self.error, self.counts, self.most)
        if found is not None:
            self.counts, self.error = found
            self.error[-1] = 0.0

    def move(self, check: Callable[[], None]) -> None:
        """Remove errors by exact moves, as long as there are some that help."""
        while self.once and 0 < self._wrong().sum() <= _MOST_TO_MOVE:
            check()
            errors = np.where(self._wrong(), self.error, 0.0).round(3).tobytes()
            if errors == self._hopeless:
                return
            self._moves = self._moves or ExactMoves(
                self._cells, self._starts, self._strict, self.random
            )
            error = np.where(self._strict, self.error, 0.0)
            found = self._moves.find(error, self.counts > 0, self.counts < self.most)
            if not found:
                self._hopeless = errors
                return
            for out, into in found:
                self._apply(out, into)

    def mutate(self, check: Callable[[], None], heat: float) -> None:
        """Change one copy of some candidates in a variable or more."""
        if self.variety is None or self.done:
            return
        closed = (self._target <= 0) & (self._by_cell > 0)
        by_cell = np.minimum(self._by_cell, 1.0)
        copies = Copies(self.variety, self._cells, self.counts, self.error, closed, by_cell)
        mutations = Mutations(copies, self.variety, self.random)
        mutations.mend(check, self._wrong, heat)
        self.mutants.append(mutations.settle(self.counts))


def all_cells(controls: Controls, starts: np.ndarray) -> np.ndarray:
    """Return the cells of all tables in a row that each candidate is in.

    Args:
        controls: The tables.
        starts: Number of the first cell of each table, and behind them that of all cells.

    Returns:
        Int32, shape `(tables, candidates)`; a table that counts members has a row for each slot,
        with the number of all cells where there is no member.
    """
    rows = []
    for index, target, start in zip(controls.index, controls.target, starts[:-1], strict=True):
        for slot in np.atleast_2d(index):
            row = (slot + start).astype(np.int32)
            if index.ndim > 1:
                row[slot >= len(target)] = starts[-1]
            rows.append(row)
    return np.stack(rows)


def _squares(cells: np.ndarray, spans: np.ndarray, by_cell: np.ndarray) -> np.ndarray:
    """Return the weighted sum of squares of how often each candidate is in each cell.

    Args:
        cells: As `all_cells` gives them.
        spans: Number of the first row of each table, and behind them that of all rows.
        by_cell: Weight of each cell.
    """
    square = np.zeros(cells.shape[1])
    for first, end in pairwise(spans):
        for one in cells[first:end]:
            for other in cells[first:end]:
                square += by_cell[one] * (one == other)
    return square


def _largest(score: np.ndarray, most: int) -> np.ndarray:
    """Return the rows with the largest finite scores, best first."""
    most = min(most, int(np.isfinite(score).sum()))
    rows = np.argpartition(-score, most - 1)[:most] if most else np.empty(0, dtype=np.int64)
    return np.asarray(rows[np.argsort(-score[rows], kind="stable")])
