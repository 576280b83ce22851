"""Whole sums: exchanges of one or two records for as many others that mend all wrong cells at once.

Where records count several times in a table, as households do in tables of their persons, hardly
any exchange mends one cell and leaves the others alone. Two records for two others nearly always
can, and are found by sorting: each candidate has a hash, the sum of a random number for each cell
that it counts in, so that pairs that take out and put in what is wrong have equal sums.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from llmsynthor.mutations import Variety

_POOL = 2000
"""Candidates on either side; their pairs are sorted."""
_POOLS = 4
"""Random choices of them, for each block."""
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
        once: int | None,
        random: np.random.Generator,
    ) -> None:
        """Hash the candidates.

        Args:
            cells: Cells of each candidate, shape `(rows, candidates)`; the last number of all is
                for slots without a member.
            strict: Which cells must be met, shape `(cells,)`, False for the last.
            blocks: As `blocks_of` gives them.
            once: A row of `cells` in which each candidate counts once, or None.
            random: Draws the hash and the pools.
        """
        self._cells, self._strict, self._blocks, self._random = cells, strict, blocks, random
        self._once = once
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
            wrong = np.round(error[own]).astype(np.int64) * self._strict[own]
            if not wrong.any():
                continue
            target = int((wrong * self._number[own]).sum())
            found = self._exchange(rows, target, counts, most)
            if found is not None:
                changed = True
                for out, into in zip(*found, strict=True):
                    self._apply(error, counts, out, into)
        return (counts, error) if changed else None

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
            outs = self._some(np.flatnonzero((self._blocks == full) & (counts > 0)), _SIDE)
            into = self._some(np.flatnonzero((self._blocks == lacking) & (counts < most)), _SIDE)
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

    def _some(self, rows: np.ndarray, number: int) -> np.ndarray:
        if len(rows) <= number:
            return rows
        return np.sort(self._random.choice(rows, number, replace=False))

    def _pool(self, rows: np.ndarray) -> np.ndarray:
        """Return candidates that differ in their cells: one half the smallest, the rest by chance.

        Pairs of small records lie close together: they differ by little, as what is wrong does.
        """
        _, first = np.unique(self._hash[rows], return_index=True)
        distinct = rows[first]
        if len(distinct) <= _POOL:
            return distinct
        size = (self._cells[:, distinct] < len(self._strict) - 1).sum(axis=0)
        order = np.argsort(size + self._random.random(len(distinct)), kind="stable")
        small, others = distinct[order[: _POOL // 2]], distinct[order[_POOL // 2 :]]
        return np.concatenate([small, self._some(others, _POOL - len(small))])

    def _exchange(
        self, rows: np.ndarray, target: int, counts: np.ndarray, most: np.ndarray
    ) -> tuple[list[int], list[int]] | None:
        """Return candidates that lose and that gain a copy, so that the hashes differ by `target`."""
        held, able = rows[counts[rows] > 0], rows[counts[rows] < most[rows]]
        goal = np.int64(np.uint64(target % 2**64).astype(np.int64))
        match = _match(self._hash[held] - goal, self._hash[able])
        if match is not None:
            return [int(held[match[0]])], [int(able[match[1]])]
        for _ in range(_POOLS):
            outs, into = self._pool(held), self._pool(able)
            a, b = _pairs(counts[outs])
            c, d = _pairs((most - counts)[into])
            out_sums = self._hash[outs[a]] + self._hash[outs[b]] - goal
            match = _match(out_sums, self._hash[into[c]] + self._hash[into[d]])
            if match is not None:
                one, two = match
                return (
                    [int(outs[a[one]]), int(outs[b[one]])],
                    [int(into[c[two]]), int(into[d[two]])],
                )
        return None


def _pairs(copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs, those of one with itself where it has two copies."""
    first, second = np.triu_indices(len(copies))
    able = (first != second) | (copies[first] > 1)
    return first[able], second[able]


def _match(one: np.ndarray, two: np.ndarray) -> tuple[int, int] | None:
    """Return positions of equal values, or None."""
    _, first, second = np.intersect1d(one, two, return_indices=True)
    return (int(first[0]), int(second[0])) if len(first) else None
