"""Mutations: records that get another value of one variable, to mend what rounding left wrong.

Of the candidates hardly two agree in all variables but one where variables are many, so that an
exchange of one for another mends one table and spoils the others. A record that changes in one
variable changes in the tables of that variable only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmsynthor.domain import Domain
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
        domain: Variables of the codes.
        complete: Draws positions for codes of given owners, and says which break no rule.
    """

    codes: np.ndarray
    owner: np.ndarray
    share: tuple[np.ndarray, ...]
    tables: Sequence[Table]
    domain: Domain
    complete: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

    def take(self, rows: np.ndarray) -> Variety:
        """Return the variety of some candidates only."""
        return Variety(
            self.codes[rows],
            self.owner[rows],
            self.share,
            self.tables,
            self.domain,
            self.complete,
        )


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
            cells: Cell of each candidate by table, shape `(tables, candidates)`.
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
        self._places = _all_places(variety, starts)
        members = next((t.members for t in variety.tables if t.members is not None), None)
        columns = range(len(variety.domain.names))
        self._slot_of = [None if members is None else members.slot_of(i) for i in columns]
        self._present = (
            np.ones((0, 0), dtype=bool) if members is None else members.present(self._codes)
        )

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
            np.maximum(worst, self._error[self._cells[place.table]], out=worst)
        if self._slot_of[variable] is not None:  # slots without a member stay as they are
            worst[~self._present[self._slot_of[variable]]] = -np.inf
        rows = np.flatnonzero(worst > threshold)
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
            old = self._cells[place.table, rows]
            new = (old - place.offset[now])[:, None] + place.offset
            more = 2 * (self._error[new] - self._error[old][:, None]) + 2 * (new != old[:, None])
            rise += self._by_cell[old][:, None] * more
            rise[self._closed[new]] = np.inf
        rise[here, now] = np.inf
        return rise

    def _apply(self, row: int, variable: int, value: int, worst: float) -> bool:
        """Change a copy if that makes the squared error rise by less than `worst`."""
        now = self._codes[row, variable]
        old = [int(self._cells[place.table, row]) for place in self._places[variable]]
        new = [
            int(cell - place.offset[now] + place.offset[value])
            for cell, place in zip(old, self._places[variable], strict=True)
        ]
        error, rise = self._error, 0.0
        for a, b in zip(old, new, strict=True):
            rise += self._by_cell[a] * 2 * (error[b] - error[a] + 1) if a != b else 0.0
        if rise >= worst:
            return False
        for a, b, place in zip(old, new, self._places[variable], strict=True):
            error[a] -= 1
            error[b] += 1
            self._cells[place.table, row] = b
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
        table: Row of cells that the table has, or a slot of a table that counts members.
        span: Cells of the table among those of all.
        offset: What each code of the variable adds to the cell, shape `(size,)`.
    """

    table: int
    span: slice
    offset: np.ndarray


def _all_places(variety: Variety, starts: np.ndarray) -> list[list[_Place]]:
    """Return the places of each variable; none for one that may not be changed.

    That is the number of members, and a record's variable that a table of members has: all members
    would change their cells with it.
    """
    found: list[list[_Place]] = [[] for _ in variety.domain.names]
    row = 0
    frozen: set[str] = set()
    for number, table in enumerate(variety.tables):
        members = table.members
        span = slice(int(starts[number]), int(starts[number + 1]))
        for slot in range(1 if members is None else members.most):
            for axis, name in enumerate(table.scope):
                stride = int(np.prod(table.share.shape[axis + 1 :], dtype=np.int64))
                wide = name if members is None else members.column(name, slot)
                if members is not None and wide == name:
                    frozen.add(name)
                place = _Place(row, span, table.groups[axis].astype(np.int64) * stride)
                found[variety.domain.positions[wide]].append(place)
            row += 1
        if members is not None:
            frozen.add(members.size)
    return [
        [] if name in frozen else places
        for name, places in zip(variety.domain.names, found, strict=True)
    ]
