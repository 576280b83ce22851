"""Copies: one record of each candidate that has any, with the cells that it is in, to be changed.

A record's variable moves the record in every table that has it, and all its members at once in a
table that counts members; a member's variable moves that member only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from llmsynthor.fitting.whole.mutations import Variety


_FEW_CODES = 256
"""Of a variable, for each pair of which it is kept whether their cells differ."""


@dataclass(frozen=True, eq=False)
class Place:
    """Where a variable stands in a table.

    Attributes:
        rows: Rows of cells that change with the variable: the table's, or that of a slot; those of
            all slots where it is a record's variable and the table counts members.
        span: Cells of the table among those of all.
        offset: What each code of the variable adds to the cell, shape `(size,)`.
        of_all: Whether all members move at once: a record's variable in a table that counts them.
    """

    rows: tuple[int, ...]
    span: slice
    offset: np.ndarray
    of_all: bool = False

    @cached_property
    def moves(self) -> np.ndarray:
        """Return 2 where the cells of two codes differ, else 0, shape `(size, size)`."""
        return np.where(self.offset[:, None] != self.offset, 2.0, 0.0)


class Copies:
    """One copy of each candidate that records have.

    Attributes:
        held: The candidates, shape `(copies,)`.
        codes: Int32, shape `(copies, variables)`.
        owner: As in `Variety`.
        position: Positions inside bins of changed copies, shape `(copies, numeric)`.
        cells, error, closed, by_cell: As given, of the copies.
        places: Per variable where it stands; nowhere if it must not be changed.
        nobody: The cell of slots that are not in use.
    """

    def __init__(
        self,
        variety: Variety,
        cells: np.ndarray,
        counts: np.ndarray,
        error: np.ndarray,
        closed: np.ndarray,
        by_cell: np.ndarray,
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
        """
        self._variety = variety
        self.held = np.flatnonzero(counts > 0)
        self.codes = variety.codes[self.held].copy()
        self.owner = variety.owner[self.held]
        self.cells = cells[:, self.held]
        self.error = error
        self.closed = closed
        self.by_cell = by_cell
        numeric = variety.complete(self.codes[:0], self.owner[:0])[0].shape[1]
        self.position = np.zeros((len(self.held), numeric))
        starts = np.cumsum([0, *(table.cells for table in variety.tables)])
        self.nobody = int(starts[-1])  # only where members are counted there is such a cell
        self.places = _places(variety, starts)

    def changed(self) -> np.ndarray:
        """Return the copies that are not like their candidates any more."""
        return np.flatnonzero((self.codes != self._variety.codes[self.held]).any(axis=1))

    def rises(self, rows: np.ndarray, variable: int, rise: np.ndarray) -> None:
        """Add to `rise` what each value would add to the weighted squared error.

        Args:
            rows: Copies; where the variable is a member's, those that have the member.
            variable: Which variable changes.
            rise: Shape `(rows, size)`; becomes infinite where a cell must stay empty.
        """
        now = self.codes[rows, variable]
        # looked up for every row and value, so one look-up must do: infinite where a cell is closed
        lift = np.where(self.closed, np.inf, 2 * self.error)
        for place in self.places[variable]:
            if place.of_all:
                rise += self._rises_of_all(place, rows, now)
                continue
            old = self.cells[place.rows[0], rows]
            new = (old - place.offset[now])[:, None] + place.offset
            more = lift.take(new)
            more -= 2 * self.error[old][:, None]
            if len(place.offset) <= _FEW_CODES:
                more += place.moves.take(now, axis=0)
            else:
                more += 2 * (new != old[:, None])
            more *= self.by_cell[place.span.start]
            rise += more

    def _rises_of_all(self, place: Place, rows: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Return what `rises` adds for a table where all members of a record move at once."""
        old = self.cells[np.array(place.rows)[:, None], rows]
        there = old != self.nobody
        moves = place.offset - place.offset[now][:, None]
        # n members who move from one cell to another change both errors by n
        rise = 2.0 * _companions(old, there)[:, None] * (moves != 0)
        for cell, present in zip(old, there, strict=True):
            new = np.where(present[:, None], cell[:, None] + moves, self.nobody)
            rise += 2 * (self.error[new] - self.error[cell][:, None])
            rise[self.closed[new]] = np.inf
        return np.asarray(rise * self.by_cell[place.span.start])

    def change(self, row: int, variable: int, value: int, worst: float) -> bool:
        """Change a copy if that makes the squared error rise by less than `worst`."""
        now = self.codes[row, variable]
        error, rise = self.error, 0.0
        moved: list[tuple[int, int, int]] = []
        for place in self.places[variable]:
            step = int(place.offset[value] - place.offset[now])
            if step == 0:
                continue
            own = [(r, int(self.cells[r, row])) for r in place.rows]
            own = [(r, cell) for r, cell in own if cell != self.nobody]
            for _, cell in own:
                together = 1 if len(own) == 1 else sum(cell == other for _, other in own)
                by = self.by_cell[cell]
                rise += by * 2 * (error[cell + step] - error[cell] + together)
            moved += [(r, cell, cell + step) for r, cell in own]
        if rise >= worst:
            return False
        for r, old, new in moved:
            error[old] -= 1
            error[new] += 1
            self.cells[r, row] = new
        self.codes[row, variable] = value
        return True


def _places(variety: Variety, starts: np.ndarray) -> list[list[Place]]:
    """Return the places of each variable; none for the number of members, which never changes."""
    found: list[list[Place]] = [[] for _ in variety.domain.names]
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
                place = Place(rows, span, offset, members is not None)
                found[variety.domain.positions[name]].append(place)
                continue
            for slot, row in enumerate(rows):
                column = variety.domain.positions[members.column(name, slot)]
                found[column].append(Place((row,), span, offset))
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
