"""Mutations: records that get another value of one variable, to mend what rounding left wrong.

Of the candidates hardly two agree in all variables but one where variables are many, so that an
exchange of one for another mends one table and spoils the others. A record that changes in one
variable changes in the tables of that variable only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmsynthor.domain import Domain
    from llmsynthor.members import Members
    from llmsynthor.tables import Table

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

    def __init__(
        self,
        variety: Variety,
        cells: np.ndarray,
        counts: np.ndarray,
        error: np.ndarray,
        closed: np.ndarray,
        by_cell: np.ndarray,
        random: np.random.Generator,
    ) -> None:
        """Take a copy of each candidate that has one.

        Args:
            variety: In what candidates may change.
            cells: Cell of each candidate by table, shape `(tables, candidates)`; a table that
                counts members has a row for each slot, with the last cell for nobody.
            counts: Copies of each candidate, shape `(candidates,)`.
            error: Held minus wanted, shape `(cells,)`; changes with the records.
            closed: Cells that must stay empty, shape `(cells,)`.
            by_cell: How much a squared error counts in each cell.
            random: Breaks ties.
        """
        self._variety = variety
        self._held = np.flatnonzero(counts > 0)
        self._codes = variety.codes[self._held].copy()
        self._owner = variety.owner[self._held]
        self._cells = cells[:, self._held]
        self._error = error
        self._closed = closed
        self._by_cell = by_cell
        self._random = random
        self._numeric = variety.complete(self._codes[:0], self._owner[:0])[0].shape[1]
        self._position = np.zeros((len(self._held), self._numeric))
        starts = np.cumsum([0, *(table.cells for table in variety.tables)])
        self._nobody = int(starts[-1])  # only where members are counted there is such a cell
        self._places = _places(variety, starts)

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
                if not self._round(check, np.abs(self._error) > _FULL, 0.0):
                    break
            if walk == _WALKS - 1 or not wrong().any():
                return
            self._round(check, wrong(), heat)

    def _round(self, check: Callable[[], None], cells: np.ndarray, heat: float) -> int:
        """Change records in each variable that has a table with one of `cells`; return how many."""
        changed = 0
        for variable in self._random.permutation(len(self._places)):
            if any(cells[place.span].any() for place in self._places[variable]):
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
        codes = self._codes[rows]
        codes[:, variable] = value
        position, lawful = self._variety.complete(codes, self._owner[rows])
        done = 0
        for i in np.flatnonzero(lawful):
            if self._apply(int(rows[i]), variable, int(value[i]), slack - _LEAST_GAIN):
                self._position[rows[i]] = position[i]
                done += 1
        return done

    def _rows(self, variable: int, threshold: float) -> np.ndarray:
        """Return copies in cells of the variable's tables that hold too many, the worst first."""
        most = min(_MOST_ROWS, max(1, _MOST_CELLS // len(self._variety.share[variable][0])))
        worst = np.zeros(len(self._codes))
        for place in self._places[variable]:
            for row in place.rows:
                np.maximum(worst, self._error[self._cells[row]], out=worst)
        rows = np.flatnonzero(worst > threshold)  # nobody's cell is never too full
        if len(rows) <= most:
            return rows
        urgent = worst[rows] + self._random.random(len(rows)) * _FULL
        return np.sort(rows[np.argpartition(-urgent, most)[:most]])

    def _gains(self, rows: np.ndarray, variable: int) -> np.ndarray:
        """Return by how much the weighted squared error rises for each value, `(rows, size)`."""
        now = self._codes[rows, variable]
        here = np.arange(len(rows))
        share = self._variety.share[variable][self._owner[rows]]
        likely = np.log(np.maximum(share, _TINY) / np.maximum(share[here, now], _TINY)[:, None])
        rise = np.where(share > 0, -_LIKING * np.clip(likely, -4, 4), np.inf)
        for place in self._places[variable]:
            if len(place.rows) > 1:
                rise += self._gains_of_all(place, rows, now)
                continue
            old = self._cells[place.rows[0], rows]
            new = (old - place.offset[now])[:, None] + place.offset
            more = 2 * (self._error[new] - self._error[old][:, None]) + 2 * (new != old[:, None])
            rise += self._by_cell[old][:, None] * more
            rise[self._closed[new]] = np.inf
        rise[here, now] = np.inf
        return rise

    def _gains_of_all(self, place: _Place, rows: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Return what `_gains` does for a table where all members of a record move at once."""
        old = self._cells[np.array(place.rows)[:, None], rows]
        there = old != self._nobody
        moves = place.offset - place.offset[now][:, None]
        # n members who move from one cell to another change both errors by n
        rise = 2.0 * _companions(old, there)[:, None] * (moves != 0)
        for cell, present in zip(old, there, strict=True):
            new = np.where(present[:, None], cell[:, None] + moves, self._nobody)
            rise += 2 * (self._error[new] - self._error[cell][:, None])
            rise[self._closed[new]] = np.inf
        return np.asarray(rise * self._by_cell[place.span.start])

    def _apply(self, row: int, variable: int, value: int, worst: float) -> bool:
        """Change a copy if that makes the squared error rise by less than `worst`."""
        now = self._codes[row, variable]
        error, rise = self._error, 0.0
        moved: list[tuple[int, int, int]] = []
        for place in self._places[variable]:
            step = int(place.offset[value] - place.offset[now])
            if not step:
                continue
            own = [(r, int(self._cells[r, row])) for r in place.rows]
            own = [(r, cell) for r, cell in own if cell != self._nobody]
            for _, cell in own:
                together = 1 if len(own) == 1 else sum(cell == other for _, other in own)
                by = self._by_cell[cell]
                rise += by * 2 * (error[cell + step] - error[cell] + together)
            moved += [(r, cell, cell + step) for r, cell in own]
        if rise >= worst:
            return False
        for r, old, new in moved:
            error[old] -= 1
            error[new] += 1
            self._cells[r, row] = new
        self._codes[row, variable] = value
        return True

    def settle(self, counts: np.ndarray) -> Mutants:
        """Take the changed copies out of `counts` and return them."""
        changed = np.flatnonzero((self._codes != self._variety.codes[self._held]).any(axis=1))
        counts[self._held[changed]] -= 1
        return Mutants(self._codes[changed], self._position[changed], self._held[changed])


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a variable stands in a table.

    Attributes:
        rows: Rows of cells that change with the variable: the table's, or that of a slot; those of
            all slots where it is a record's variable and the table counts members.
        span: Cells of the table among those of all.
        offset: What each code of the variable adds to the cell, shape `(size,)`.
    """

    rows: tuple[int, ...]
    span: slice
    offset: np.ndarray


def _places(variety: Variety, starts: np.ndarray) -> list[list[_Place]]:
    """Return the places of each variable; none for the number of members, which never changes."""
    found: list[list[_Place]] = [[] for _ in variety.domain.names]
    first = 0
    for number, table in enumerate(variety.tables):
        span = slice(int(starts[number]), int(starts[number + 1]))
        members = table.members
        rows = tuple(range(first, first + (1 if members is None else members.most)))
        first = rows[-1] + 1
        for axis, name in enumerate(table.scope):
            stride = int(np.prod(table.share.shape[axis + 1 :], dtype=np.int64))
            offset = table.groups[axis].astype(np.int64) * stride
            if members is None or name in members.record.positions:
                found[variety.domain.positions[name]].append(_Place(rows, span, offset))
                continue
            for slot, row in enumerate(rows):
                column = variety.domain.positions[members.column(name, slot)]
                found[column].append(_Place((row,), span, offset))
    if variety.members is not None:
        found[variety.domain.positions[variety.members.size]] = []
    return found


def _companions(cells: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return how many pairs of members of each record share a cell, each with itself included.

    Args:
        cells: Shape `(slots, records)`.
        there: Which slots are in use, of that shape.
    """
    pairs = np.zeros(cells.shape[1])
    for cell, present in zip(cells, there, strict=True):
        pairs += ((cells == cell) & present).sum(axis=0)
    return pairs
