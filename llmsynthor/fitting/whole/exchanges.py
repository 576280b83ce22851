"""Exchanges of one or two records for as many others that mend wrong cells, and those that break none.

Where records count several times in a table, as households do in tables of their persons, hardly
any exchange mends one cell and leaves the others alone. Two records for two others nearly always
can, and are found by their hashes: each candidate has one, the sum of a random number for each cell
that it counts in, so that what takes out and puts in what is wrong has equal sums. Of the two
exchanges the first is one of many likely ones, and the second is looked up for each; or both are
found at once among the pairs of some candidates.
"""

from __future__ import annotations

from itertools import islice, product
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.whole.hash_search import HashSearch, hashed, match, some

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmsynthor.fitting.whole.mutations import Variety

_NUDGES = 8
"""Exchanges that bring a block nearer, each followed by a search."""
_MOST_BETWEEN = 60
"""Records that may move between blocks."""
_SIDE = 400
"""Candidates on either side of an exchange between two blocks."""
_MOST_PAIRS = 40
"""Combinations of errors tried in one search of one table, and of two tables."""

Exchange = tuple[int, int]
"""A candidate that loses a copy, and one that gains it."""


def blocks_of(variety: Variety | None, candidates: int) -> np.ndarray:
    """Return a number for each candidate: those with different ones share no cell of any table.

    That is the code of a variable of the record which all tables have, such as the zone; else 0.
    """
    if variety is not None:
        for name in variety.domain.names:
            if all(name in table.scope for table in variety.tables):
                return np.asarray(variety.codes[:, variety.domain.positions[name]], dtype=np.int64)
    return np.zeros(candidates, dtype=np.int64)


def exchange(cells: np.ndarray, error: np.ndarray, counts: np.ndarray, out: int, into: int) -> None:
    """Take a copy from candidate `out` and give one to `into`, in `counts` and in `error` of `cells`."""
    counts[out] -= 1
    counts[into] += 1
    np.subtract.at(error, cells[:, out], 1)
    np.add.at(error, cells[:, into], 1)


class WholeSums:
    """Copies of candidates that are exchanged until no cell is wrong."""

    def __init__(
        self,
        cells: np.ndarray,
        strict: np.ndarray,
        blocks: np.ndarray,
        once: Sequence[int],
        random: np.random.Generator,
    ) -> None:
        """Hash the candidates.

        Args:
            cells: Cells of each candidate, shape `(rows, candidates)`; the last number of all is
                for slots without a member.
            strict: Which cells must be met, shape `(cells,)`, False for the last.
            blocks: As `blocks_of` gives them.
            once: Rows of `cells` in which each candidate counts once.
            random: Draws the hash and the pools.
        """
        self._cells, self._strict, self._blocks, self._random = cells, strict, blocks, random
        self._once = once[0] if once else None
        self._alone = np.zeros(len(strict), dtype=bool)
        self._alone[np.unique(cells[list(once)])] = True
        self._number, self._hash = hashed(cells, strict, random)

    def find(
        self, error: np.ndarray, counts: np.ndarray, most: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return new counts and their errors, with no more wrong cells than before, or None.

        Args:
            error: Held minus wanted, shape `(cells,)`; whole numbers in the strict cells.
            counts: Copies of each candidate.
            most: Most copies of each.
        """
        counts, error = counts.copy(), error.copy()
        if not self._between(error, counts, most):
            return None
        changed = False
        for block in np.unique(self._blocks):
            rows = np.flatnonzero(self._blocks == block)
            own = np.unique(self._cells[:, rows])
            if not self._wrong(error, own).any():
                continue
            before = counts.copy(), error.copy()
            if self._settle(rows, own, error, counts, most):
                changed = True
            else:
                counts, error = before
        return (counts, error) if changed else None

    def _wrong(self, error: np.ndarray, own: np.ndarray) -> np.ndarray:
        """Return the whole errors of the cells `own`, 0 where they need not be met."""
        return np.asarray(np.round(error[own]).astype(np.int64) * self._strict[own])

    def _settle(
        self,
        rows: np.ndarray,
        own: np.ndarray,
        error: np.ndarray,
        counts: np.ndarray,
        most: np.ndarray,
    ) -> bool:
        """Mend all cells of one block, if need be after a few exchanges that only bring it nearer."""
        for turn in range(_NUDGES):
            search = self._search(rows, own, error, counts, most)
            found = search.single() or search.in_two()
            if found is None and turn == _NUDGES - 1:  # takes longest
                found = search.pairs()
            for out, into in zip(*(found or search.nearest()), strict=True):
                exchange(self._cells, error, counts, out, into)
            if found is not None:
                return True
        return False

    def _between(self, error: np.ndarray, counts: np.ndarray, most: np.ndarray) -> bool:
        """Move records between blocks until each has as many as it wants; say whether it has."""
        names = np.unique(self._blocks)
        if len(names) == 1:
            return True
        for _ in range(_MOST_BETWEEN):
            off = self._off(names, error)
            if not off.any():
                return True
            full, lacking = names[int(off.argmax())], names[int(off.argmin())]
            outs = some(np.flatnonzero((self._blocks == full) & (counts > 0)), _SIDE, self._random)
            into = some(
                np.flatnonzero((self._blocks == lacking) & (counts < most)), _SIDE, self._random
            )
            if off.max() <= 0 or off.min() >= 0 or not (len(outs) and len(into)):
                return False
            best = self._nearest(error, outs, -1), self._nearest(error, into, 1)
            exchange(self._cells, error, counts, *best)
        return False

    def _off(self, names: np.ndarray, error: np.ndarray) -> np.ndarray:
        """Return how many records each block has too many: by a table that counts them once."""
        if self._once is None:
            return np.zeros(len(names))
        row = self._cells[self._once]
        return np.array(
            [round(error[np.unique(row[self._blocks == name])].sum()) for name in names]
        )

    def _nearest(self, error: np.ndarray, rows: np.ndarray, step: int) -> int:
        """Return the row whose copy, put in or taken out, leaves the least squared error."""
        pull = error * self._strict
        return int(rows[np.argmin(step * pull[self._cells[:, rows]].sum(axis=0))])

    def _search(
        self,
        rows: np.ndarray,
        own: np.ndarray,
        error: np.ndarray,
        counts: np.ndarray,
        most: np.ndarray,
    ) -> HashSearch:
        goal = int((self._wrong(error, own) * self._number[own]).sum())
        return HashSearch(
            cells=self._cells,
            hashes=self._hash,
            goal=np.int64(np.uint64(goal % 2**64).astype(np.int64)),
            error=error,
            strict=own[self._strict[own]],
            alone=self._alone,
            rows=rows,
            counts=counts,
            most=most,
            random=self._random,
        )


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
        self._number, self._hash = hashed(cells, strict, random)

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
        found = match(self._rest(tables, out), self._rest(tables, into))
        return [] if found is None else [(int(out[found[0]]), int(into[found[1]]))]

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
            one = match(out_rest, self._rest((table,), into))
            two = match(self._rest((table,), out), into_rest)
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
