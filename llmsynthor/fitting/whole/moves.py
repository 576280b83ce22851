"""Exact moves: exchanges of one record for another that agree in every table but one or two.

Each candidate has a hash: the sum of one random number for each cell that it is in. Two candidates
agree outside a table when their hashes, less that table's numbers, are equal, so that all partners
of all records are found by sorting and searching.
"""

from __future__ import annotations

from itertools import islice, product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST_PAIRS = 40
"""Combinations of errors tried in one search of one table, and of two tables."""

Exchange = tuple[int, int]
"""A candidate that loses a copy, and one that gains it."""


class ExactMoves:
    """Finds exchanges that mend cells and disturb no other."""

    def __init__(
        self,
        cells: np.ndarray,
        starts: np.ndarray,
        strict: np.ndarray,
        random: np.random.Generator,
    ) -> None:
        """Hash the candidates.

        Args:
            cells: Cell of each candidate by table, int32, shape `(tables, candidates)`.
            starts: Number of the first cell of each table, and behind them that of all cells.
            strict: Whether a move may not disturb a cell, shape `(cells,)`.
            random: Draws the hash.
        """
        self._cells = cells
        self._starts = starts
        whole = np.iinfo(np.int64)
        self._number = random.integers(whole.min, whole.max, int(starts[-1])) * strict
        self._hash = np.zeros(cells.shape[1], dtype=np.int64)
        for cell in cells:
            self._hash += self._number[cell]  # wraps around, as a hash may

    def find(self, error: np.ndarray, held: np.ndarray, able: np.ndarray) -> list[Exchange]:
        """Return exchanges, to be done together, that bring cells nearer to their targets.

        Args:
            error: Held minus wanted of each cell.
            held: Which candidates have a copy to lose, shape `(candidates,)`.
            able: Which candidates may gain one.

        Returns:
            One exchange, or two of one table that go through a third cell; empty where none helps.
        """
        wrong = [
            _wrong(error, a, b) for a, b in zip(self._starts[:-1], self._starts[1:], strict=True)
        ]
        for table, pairs in enumerate(wrong):
            for full, lacking in islice(pairs, _MOST_PAIRS):
                found = self._direct((table,), (full,), (lacking,), held, able)
                found = found or self._through_third(table, full, lacking, held, able)
                if found:
                    return found
        for tables, both_full, both_lacking in islice(_in_two_tables(wrong), _MOST_PAIRS):
            found = self._direct(tables, both_full, both_lacking, held, able)
            if found:
                return found
        return []

    def _rest(self, tables: tuple[int, ...], rows: np.ndarray) -> np.ndarray:
        """Return the hash of rows without what these tables add to it."""
        rest = self._hash[rows]
        for table in tables:
            rest = rest - self._number[self._cells[table, rows]]
        return np.asarray(rest)

    def _inside(
        self, tables: tuple[int, ...], cells: tuple[int, ...], of: np.ndarray
    ) -> np.ndarray:
        inside = of.copy()
        for table, cell in zip(tables, cells, strict=True):
            inside &= self._cells[table] == cell
        return np.flatnonzero(inside)

    def _direct(
        self,
        tables: tuple[int, ...],
        full: tuple[int, ...],
        lacking: tuple[int, ...],
        held: np.ndarray,
        able: np.ndarray,
    ) -> list[Exchange]:
        """Return an exchange from the full cells into the lacking ones, or none."""
        out = self._inside(tables, full, held)
        into = self._inside(tables, lacking, able)
        match = _match(self._rest(tables, out), self._rest(tables, into))
        return [] if match is None else [(int(out[match[0]]), int(into[match[1]]))]

    def _through_third(
        self, table: int, full: int, lacking: int, held: np.ndarray, able: np.ndarray
    ) -> list[Exchange]:
        """Return two exchanges: from the full cell into a third, and from there into the lacking."""
        first_out = self._inside((table,), (full,), held)
        last_into = self._inside((table,), (lacking,), able)
        if not (len(first_out) and len(last_into)):
            return []
        all_held, all_able = np.flatnonzero(held), np.flatnonzero(able)
        out_rest, into_rest = self._rest((table,), first_out), self._rest((table,), last_into)
        first_into = all_able[np.isin(self._rest((table,), all_able), out_rest)]
        last_out = all_held[np.isin(self._rest((table,), all_held), into_rest)]
        for third in np.intersect1d(self._cells[table, first_into], self._cells[table, last_out]):
            if third in (full, lacking):
                continue
            into = first_into[self._cells[table, first_into] == third]
            out = last_out[self._cells[table, last_out] == third]
            one = _match(out_rest, self._rest((table,), into))
            two = _match(self._rest((table,), out), into_rest)
            if one is not None and two is not None:
                return [
                    (int(first_out[one[0]]), int(into[one[1]])),
                    (int(out[two[0]]), int(last_into[two[1]])),
                ]
        return []


def _wrong(error: np.ndarray, start: int, end: int) -> list[tuple[int, int]]:
    """Return pairs of one table's cells that are too full and that lack some."""
    full = start + np.flatnonzero(error[start:end] > 1 - 1e-6)
    lacking = start + np.flatnonzero(error[start:end] < -1 + 1e-6)
    return [(int(a), int(b)) for a, b in product(full, lacking)]


def _in_two_tables(
    wrong: list[list[tuple[int, int]]],
) -> Iterator[tuple[tuple[int, int], tuple[int, int], tuple[int, int]]]:
    for one, first in enumerate(wrong):
        for two in range(one + 1, len(wrong)):
            for (a, b), (c, d) in product(first, wrong[two]):
                yield (one, two), (a, c), (b, d)


def _match(one: np.ndarray, two: np.ndarray) -> tuple[int, int] | None:
    """Return positions of equal values, or None."""
    _, first, second = np.intersect1d(one, two, return_indices=True)
    return (int(first[0]), int(second[0])) if len(first) else None
