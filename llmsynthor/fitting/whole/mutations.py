"""Mutations: records that get another value of one variable, to mend what rounding left wrong.

Of the candidates hardly two agree in all variables but one where variables are many, so that an
exchange of one for another mends one table and spoils the others. A record that changes in one
variable changes in the tables of that variable only.

Swaps follow: two records, or two members, exchange their values of one variable. Where both agree
in every table of the variable but one, the others keep what they hold, whatever is exchanged. Errors
that stay in one table so wander through it until they meet one of the other sign. A single change
could not do that: it moves a cell in each table of its variable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmsynthor.fitting.whole.copies import Copies, Place
    from llmsynthor.targets.domain import Domain, Members
    from llmsynthor.targets.table import Table

_WALKS = 6
"""Rounds of changes that lower the error, and between them of some that may raise it."""
_COLD_ROUNDS = 60
_SLACK = 0.3
"""Squared records; how much a change may raise the error, on average and at heat 1."""
_FULL = 0.5
"""Records too many; cells below are left alone at first."""
_MOST_ROWS = 2000
_MOST_CELLS = 1_000_000
"""Records, and records times values, looked at for one variable in one round."""
_MOST_CHANGES = 200
_WALK_CHANGES = 12
_LIKING = 0.05
"""What a value e times as likely, to its proposal, is worth in squared records."""
_LEAST_GAIN = 1e-9
_TINY = 1e-9
_MOST_WRONG = 60
"""Wrong cells; where there are more, single changes mend them at less cost."""
_MOST_UNITS = 400_000
"""Records times slots; where there are more, sums of whole records mend the cells at less cost."""
_STEPS = 30
"""Swaps in one table for one variable."""
_TRIES = 12
"""Pairs looked at for one swap."""
_ONE = 1 - 1e-6


@dataclass(frozen=True, eq=False)
class Variety:
    """In what candidates may change.

    Attributes:
        codes: Codes of the candidates, int32, shape `(candidates, variables)`.
        owner: Row of `share` that says which values each candidate may have, shape `(candidates,)`.
        share: Per variable the probability of each code, shape `(owners, size)`.
        tables: The tables that count the candidates, in the order of the controls.
        domain: Variables of the codes, with those of members slot by slot.
        complete: Draws positions for codes of given owners, and says which break no rule.
        members: What the members are, if candidates have any; how many there are never changes.
    """

    codes: np.ndarray
    owner: np.ndarray
    share: tuple[np.ndarray, ...]
    tables: Sequence[Table]
    domain: Domain
    complete: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    members: Members | None = None

    def take(self, rows: np.ndarray) -> Variety:
        """Return the variety of some candidates only."""
        return replace(self, codes=self.codes[rows], owner=self.owner[rows])


@dataclass(frozen=True, eq=False)
class Mutants:
    """Records that are like no candidate.

    Attributes:
        codes: Int32, shape `(mutants, variables)`.
        position: Positions inside bins at which every rule holds, shape `(mutants, numeric)`.
        parent: Candidate that each was made of, shape `(mutants,)`.
    """

    codes: np.ndarray
    position: np.ndarray
    parent: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def together(cls, some: Sequence[Mutants]) -> Mutants:
        """Return all mutants of several turns."""
        if not some:
            none = np.empty((0, 0))
            return cls(none.astype(np.int32), none, np.empty(0, dtype=np.int64))
        return cls(
            np.concatenate([mutants.codes for mutants in some]),
            np.concatenate([mutants.position for mutants in some]),
            np.concatenate([mutants.parent for mutants in some]),
        )

    def of(self, rows: np.ndarray) -> Mutants:
        """Return the same with parents in an array of which theirs are the `rows`."""
        return Mutants(self.codes, self.position, rows[self.parent])


class Mutations:
    """One copy of each candidate that records have, while it is changed."""

    def __init__(self, copies: Copies, variety: Variety, random: np.random.Generator) -> None:
        """Prepare to change the copies, in what `variety` says; `random` breaks ties."""
        self._variety = variety
        self._copies = copies
        self._random = random
        self._liked: dict[int, np.ndarray] = {}

    def mend(
        self, check: Callable[[], None], wrong: Callable[[], np.ndarray], heat: float = 1.0
    ) -> None:
        """Change records as long as that lowers the weighted squared error.

        Where nothing lowers it any more, a few changes that cost a little follow, and what lowers
        it then: errors wander until they meet one of the other sign.

        Args:
            check: Called between rounds; may raise to stop.
            wrong: Says which cells are a whole record away from their target.
            heat: How much a change may cost then, as a multiple of the usual.
        """
        for walk in range(_WALKS):
            for _ in range(_COLD_ROUNDS):
                if not self._round(check, np.abs(self._copies.error) > _FULL, 0.0):
                    break
            if self._variety.members is not None and wrong().any():
                swap(self._copies, self._variety, self._random, check)
            if walk == _WALKS - 1 or not wrong().any():
                return
            self._round(check, wrong(), heat)

    def _round(self, check: Callable[[], None], cells: np.ndarray, heat: float) -> int:
        """Change records in each variable that has a table with one of `cells`; return how many."""
        changed = 0
        for variable in self._random.permutation(len(self._copies.places)):
            if any(cells[place.span].any() for place in self._copies.places[variable]):
                check()
                changed += self._change(int(variable), heat)
        return changed

    def _change(self, variable: int, heat: float) -> int:
        """Change records in one variable; return how many."""
        rows = self._rows(variable, 0.0 if heat else _FULL)
        gain = self._gains(rows, variable)
        slack = self._random.exponential(heat * _SLACK) if heat else 0.0
        gain -= slack * self._random.random(gain.shape)
        value = gain.argmin(axis=1)
        gain = gain[np.arange(len(rows)), value]
        best = np.argsort(gain, kind="stable")[: _WALK_CHANGES if heat else _MOST_CHANGES]
        best = best[gain[best] < 0]
        rows, value = rows[best], value[best]
        if not len(rows):
            return 0
        codes = self._copies.codes[rows]
        codes[:, variable] = value
        position, lawful = self._variety.complete(codes, self._copies.owner[rows])
        done = 0
        for i in np.flatnonzero(lawful):
            if self._copies.change(int(rows[i]), variable, int(value[i]), slack - _LEAST_GAIN):
                self._copies.position[rows[i]] = position[i]
                done += 1
        return done

    def _rows(self, variable: int, threshold: float) -> np.ndarray:
        """Return copies in cells of the variable's tables that hold too many, the worst first."""
        most = min(_MOST_ROWS, max(1, _MOST_CELLS // len(self._variety.share[variable][0])))
        worst = np.zeros(len(self._copies.codes))
        for place in self._copies.places[variable]:
            if not (self._copies.error[place.span] > threshold).any():
                continue
            for row in place.rows:
                np.maximum(worst, self._copies.error[self._copies.cells[row]], out=worst)
        rows = np.flatnonzero(worst > threshold)  # nobody's cell is never too full
        if len(rows) <= most:
            return rows
        urgent = worst[rows] + self._random.random(len(rows)) * _FULL
        return np.sort(rows[np.argpartition(-urgent, most)[:most]])

    def _gains(self, rows: np.ndarray, variable: int) -> np.ndarray:
        """Return by how much the weighted squared error rises for each value, `(rows, size)`."""
        now, owner = self._copies.codes[rows, variable], self._copies.owner[rows]
        share = self._variety.share[variable]
        if share.size * share.shape[1] <= _MOST_CELLS:
            rise = self._likings(variable)[owner, now]
        else:
            rise = _liking(share[owner], share[owner, now])
        self._copies.rises(rows, variable, rise)
        rise[np.arange(len(rows)), now] = np.inf
        return rise

    def _likings(self, variable: int) -> np.ndarray:
        """Return what `_liking` gives for each owner and value that a record may have had before."""
        if variable not in self._liked:
            share = self._variety.share[variable]
            self._liked[variable] = _liking(share[:, None, :], share)
        return self._liked[variable]

    def settle(self, counts: np.ndarray) -> Mutants:
        """Take the changed copies out of `counts` and return them."""
        copies = self._copies
        changed = copies.changed()
        counts[copies.held[changed]] -= 1
        return Mutants(copies.codes[changed], copies.position[changed], copies.held[changed])


def _liking(share: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Return what each value costs for being less likely than the present one, in squared records.

    Args:
        share: Probability of each value, shape `(..., size)`.
        now: Probability of the present one, shape `(...)`.
    """
    likely = np.log(np.maximum(share, _TINY) / np.maximum(now, _TINY)[..., None])
    return np.where(share > 0, -_LIKING * np.clip(likely, -4, 4), np.inf)


@dataclass(frozen=True, eq=False)
class _Units:
    """What has a variable: copies, or the members of copies in one row.

    Attributes:
        row: Copy of each.
        column: Column of the variable.
        code: Its value.
        cell: Cell in the table that is to be mended.
        rest: Hash of where the unit stands in the variable's other tables, but for its value.
    """

    row: np.ndarray
    column: np.ndarray
    code: np.ndarray
    cell: np.ndarray
    rest: np.ndarray


def swap(
    copies: Copies, variety: Variety, random: np.random.Generator, check: Callable[[], None]
) -> int:
    """Do swaps that lower the errors of a table, or move them inside it; return how many."""
    full = np.abs(copies.error) > _ONE
    slots = 1 if variety.members is None else variety.members.most
    if full.sum() > _MOST_WRONG or len(copies.codes) * slots > _MOST_UNITS:
        return 0
    whole = np.iinfo(np.int64)
    number = random.integers(whole.min, whole.max, len(copies.error))
    done = 0
    for columns in _same_variable(variety):
        spans = {(p.span.start, p.span.stop) for p in copies.places[columns[0]] if not p.of_all}
        for start, end in sorted(spans):
            check()
            for _ in range(_STEPS):
                if not (np.abs(copies.error[start:end]) > _ONE).any():
                    break
                if not _step(copies, variety, columns, start, number, random):
                    break
                done += 1
    return done


def _same_variable(variety: Variety) -> list[list[int]]:
    """Return the columns of each variable: one of a record's, one a slot of a member's."""
    members = variety.members
    if members is None:
        return [[column] for column in range(len(variety.domain.names))]
    positions = variety.domain.positions
    own = [
        [positions[members.column(name, slot)] for slot in range(members.most)]
        for name in members.own.names
    ]
    return [[positions[name]] for name in members.record.names if name != members.size] + own


def _units(copies: Copies, columns: list[int], start: int, number: np.ndarray) -> _Units:
    """Return all that have a variable; `start` is the first cell of the table to be mended."""
    parts = []
    for column in columns:
        codes = copies.codes[:, column]
        rest = np.zeros(len(codes), dtype=np.int64)
        cell = np.full(len(codes), copies.nobody)
        for place in copies.places[column]:
            if place.span.start == start:
                cell = copies.cells[place.rows[0]].astype(np.int64)
            else:
                rest += _hash(copies, place, codes, number)
        rows = np.flatnonzero(cell != copies.nobody)
        at = np.full(len(rows), column)
        parts.append((rows, at, codes[rows], cell[rows], rest[rows]))
    return _Units(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _hash(copies: Copies, place: Place, codes: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return the sum of the numbers of the cells that copies would be in with the first code."""
    found = np.zeros(len(codes), dtype=np.int64)
    for row in place.rows:
        cell = copies.cells[row]
        there = cell != copies.nobody
        base = np.where(there, cell - place.offset[codes] + place.offset[0], 0)
        found += number[base] * there  # wraps around, as a hash may
    return found


def _step(
    copies: Copies,
    variety: Variety,
    columns: list[int],
    start: int,
    number: np.ndarray,
    random: np.random.Generator,
) -> bool:
    """Do one swap; return whether there was one."""
    place = next(p for p in copies.places[columns[0]] if p.span.start == start)
    units = _units(copies, columns, start, number)
    offset, error = place.offset, copies.error
    line = units.cell - offset[units.code]  # the cell but for the variable
    for full in random.permutation(np.flatnonzero(error[place.span] > _ONE)) + start:
        first = np.flatnonzero(units.cell == full)
        if not len(first):
            continue
        one = random.permutation(first)
        _, where = np.unique(units.rest[one], return_index=True)
        one = one[where]  # one for each rest is enough
        found = np.searchsorted(units.rest[one], units.rest)
        mate = one[np.minimum(found, len(one) - 1)]
        base = line[mate]
        lacks = base + offset[units.code]
        back = line + offset[units.code[mate]]
        able = (units.rest[mate] == units.rest) & (line != base) & (units.cell != lacks)
        able &= (units.row != units.row[mate]) & (error[lacks] < -_ONE) & ~copies.closed[back]
        able &= back != units.cell
        two = np.flatnonzero(able)
        if not len(two):
            continue
        rise = error[lacks[two]] - error[full] + error[back[two]] - error[units.cell[two]] + 2
        order = np.argsort(rise + 0.5 * random.random(len(two)), kind="stable")[:_TRIES]
        for other in two[order]:
            if _exchange(copies, variety, units, int(mate[other]), int(other)):
                return True
    return False


def _exchange(copies: Copies, variety: Variety, units: _Units, one: int, two: int) -> bool:
    """Swap the values of two units, if that is lawful and makes no error larger."""
    rows, columns = units.row[[one, two]], units.column[[one, two]]
    values = units.code[[two, one]]
    codes, owner = copies.codes[rows], copies.owner[rows]
    codes[[0, 1], columns] = values
    likely = [
        variety.share[column][who, value]
        for column, who, value in zip(columns, owner, values, strict=True)
    ]
    position, lawful = variety.complete(codes, owner)
    if not (lawful.all() and all(likely)):
        return False
    before = float((copies.by_cell * copies.error**2).sum())
    for row, column, value in zip(rows, columns, values, strict=True):
        copies.change(int(row), int(column), int(value), np.inf)
    if float((copies.by_cell * copies.error**2).sum()) > before + 1e-6:
        for row, column, value in zip(rows, columns, values[::-1], strict=True):
            copies.change(int(row), int(column), int(value), np.inf)
        return False
    copies.position[rows] = position
    return True
