"""Whole sums: exchanges of one or two records for as many others that mend all wrong cells at once.

Where records count several times in a table, as households do in tables of their persons, hardly
any exchange mends one cell and leaves the others alone. Two records for two others nearly always
can, and are found by their hashes: each candidate has one, the sum of a random number for each cell
that it counts in, so that what takes out and puts in what is wrong has equal sums. Of the two
exchanges the first is one of many likely ones, and the second is looked up for each; or both are
found at once among the pairs of some candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.whole.hash_search import HashSearch, some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.fitting.whole.mutations import Variety

_NUDGES = 8
"""Exchanges that bring a block nearer, each followed by a search."""
_MOST_BETWEEN = 60
"""Records that may move between blocks."""
_SIDE = 400
"""Candidates on either side of an exchange between two blocks."""


def blocks_of(variety: Variety | None, candidates: int) -> np.ndarray:
    """Return a number for each candidate: those with different ones share no cell of any table.

    That is the code of a variable of the record which all tables have, such as the zone; else 0.
    """
    if variety is not None:
        for name in variety.domain.names:
            if all(name in table.scope for table in variety.tables):
                return np.asarray(variety.codes[:, variety.domain.positions[name]], dtype=np.int64)
    return np.zeros(candidates, dtype=np.int64)


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
        whole = np.iinfo(np.int64)
        self._number = random.integers(whole.min, whole.max, len(strict)) * strict
        self._hash = np.zeros(cells.shape[1], dtype=np.int64)
        for cell in cells:
            self._hash += self._number[cell]  # wraps around, as a hash may

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
                self._apply(error, counts, out, into)
            if found is not None:
                return True
        return False

    def _apply(self, error: np.ndarray, counts: np.ndarray, out: int, into: int) -> None:
        counts[out] -= 1
        counts[into] += 1
        np.subtract.at(error, self._cells[:, out], 1)
        np.add.at(error, self._cells[:, into], 1)

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
            self._apply(error, counts, *best)
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
