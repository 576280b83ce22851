"""Swaps: two records, or two members, exchange their values of one variable.

Where both agree in every table of the variable but one, the others keep what they hold, whatever
is exchanged. Errors that stay in one table so wander through it until they meet one of the other
sign. A single change could not do that: it moves a cell in each table of its variable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmsynthor.fitting.whole.copies import Copies, Place
    from llmsynthor.fitting.whole.mutations import Variety

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
