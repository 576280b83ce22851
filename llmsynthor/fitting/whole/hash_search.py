"""A search by hashes: one or two records for as many others, so that nothing is wrong any more.

Each candidate's hash is the sum of a random number for each cell that it counts in. What takes out
and puts in exactly what is wrong is found by looking hashes up, whatever the cells are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_POOL = 2000
"""Candidates on either side; their pairs are looked up."""
_SIDE = 400
"""Candidates that lose a copy in a first exchange; `_POOL` may gain one."""
_FIRST = 256
"""First exchanges of either kind for which a second is looked up."""
_AT_ONCE = 32
"""First exchanges that are looked up together."""
_MOST_COUNTED = 4_000_000
"""Candidates times cells; where there were more, fewer candidates take part in first exchanges."""
_BITS = 22
"""Of a hash, that say whether it may be among others: few that are not must be compared in full."""

Exchanges = tuple[list[int], list[int]]
"""Candidates that lose a copy, and those that gain one in their place."""


@dataclass(frozen=True, eq=False)
class HashSearch:
    """What is wrong in some cells, and the candidates that may mend it.

    Attributes:
        cells: Cells of each candidate, shape `(rows, candidates)`; the last number of all is for
            slots without a member.
        hashes: Of each candidate, shape `(candidates,)`.
        goal: The hash of what is wrong.
        error: Held minus wanted of all cells.
        strict: The cells that must be met.
        alone: Whether a candidate counts in a cell no more than once, for each of all cells.
        rows: Candidates.
        counts: Copies of each candidate.
        most: Most copies of each.
        random: Chooses some of many.
    """

    cells: np.ndarray
    hashes: np.ndarray
    goal: np.int64
    error: np.ndarray
    strict: np.ndarray
    alone: np.ndarray
    rows: np.ndarray
    counts: np.ndarray
    most: np.ndarray
    random: np.random.Generator

    def single(self) -> Exchanges | None:
        """Return one candidate for one, or None."""
        found = match(self.hashes[self._held] - self.goal, self.hashes[self._able])
        if found is None:
            return None
        return [int(self._held[found[0]])], [int(self._able[found[1]])]

    def in_two(self) -> Exchanges | None:
        """Return two for two: one of the likeliest exchanges, and what mends the rest; or None."""
        outs, into = self._firsts
        able = _Lookup(self.hashes[self._able])
        for start in range(0, len(outs), _AT_ONCE):
            out, gain = outs[start : start + _AT_ONCE], into[start : start + _AT_ONCE]
            left = self.hashes[out] - self.hashes[gain] - self.goal
            for first, second, place in able.find(self.hashes[self._held] + left[:, None]):
                found = (
                    [int(out[first]), int(self._held[second])],
                    [int(gain[first]), int(self._able[place])],
                )
                if self._can(*found):
                    return found
        return None

    def pairs(self) -> Exchanges | None:
        """Return two for two among all pairs of some candidates, or None."""
        outs, into = self._pool(self._held), self._pool(self._able)
        a, b = _pairs(self.counts[outs])
        c, d = _pairs((self.most - self.counts)[into])
        out_sums = self.hashes[outs[a]] + self.hashes[outs[b]] - self.goal
        found = match(out_sums, self.hashes[into[c]] + self.hashes[into[d]])
        if found is None:
            return None
        one, two = found
        return (
            [int(outs[a[one]]), int(outs[b[one]])],
            [int(into[c[two]]), int(into[d[two]])],
        )

    def nearest(self) -> Exchanges:
        """Return the exchange, of many, that leaves the least squared error."""
        outs, into = self._firsts
        return outs[:1].tolist(), into[:1].tolist()

    @cached_property
    def _held(self) -> np.ndarray:
        """Return candidates with a copy to lose that differ in their cells."""
        return self._distinct(self.rows[self.counts[self.rows] > 0])

    @cached_property
    def _able(self) -> np.ndarray:
        """Return candidates that may gain a copy and differ in their cells."""
        return self._distinct(self.rows[self.counts[self.rows] < self.most[self.rows]])

    @cached_property
    def _firsts(self) -> tuple[np.ndarray, np.ndarray]:
        """Return exchanges to begin with, nearest first: who loses a copy and who gains one.

        One half leaves the least squared error; the other leaves it in the cells where candidates
        count once, whatever it does to the others: those a second exchange mends with ease.
        """
        size = max(_MOST_COUNTED // max(len(self.strict), 1), 50)
        outs, into = (
            some(self._held, min(_SIDE, size), self.random),
            some(self._able, min(_POOL, size), self.random),
        )
        if not (len(outs) and len(into)):
            return outs[:0], into[:0]
        lost, gained = self._counted(outs), self._counted(into)
        near = self._left(lost, gained, np.ones(len(self.strict), dtype=bool))
        once = self._left(lost, gained, self.alone[self.strict])
        once += 0.5 * self.random.random(once.shape)
        alike = self.hashes[outs][:, None] == self.hashes[into]  # such an exchange changes nothing
        near[alike] = once[alike] = np.inf
        chosen = np.concatenate([_least(near, _FIRST), _least(once, _FIRST)])
        first, second = np.unravel_index(chosen, near.shape)
        return outs[first], into[second]

    def _counted(self, rows: np.ndarray) -> np.ndarray:
        """Return how often each candidate is in each of the strict cells, `(rows, cells)`."""
        place = np.full(len(self.error), len(self.strict))
        place[self.strict] = np.arange(len(self.strict))
        found = np.zeros((len(rows), len(self.strict) + 1), dtype=np.float32)
        here = np.arange(len(rows))
        for cell in self.cells[:, rows]:
            found[here, place[cell]] += 1
        return found[:, :-1]

    def _left(self, lost: np.ndarray, gained: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """Return the squared error of some cells after each exchange, `(lost, gained)`."""
        left = (self.error[self.strict] - lost)[:, cells].astype(np.float32)
        more = gained[:, cells]
        return np.asarray(
            (left**2).sum(axis=1)[:, None] + (more**2).sum(axis=1) + 2 * (left @ more.T)
        )

    def _can(self, outs: list[int], into: list[int]) -> bool:
        """Return whether two may lose a copy and two gain one, at once."""
        twice_out, twice_in = outs[0] == outs[1], into[0] == into[1]
        return not (
            (twice_out and self.counts[outs[0]] < 2)
            or (twice_in and self.most[into[0]] - self.counts[into[0]] < 2)
        )

    def _distinct(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(rows[np.unique(self.hashes[rows], return_index=True)[1]])

    def _pool(self, distinct: np.ndarray) -> np.ndarray:
        """Return some candidates: one half the smallest, the rest by chance.

        Pairs of small records lie close together: they differ by little, as what is wrong does.
        """
        if len(distinct) <= _POOL:
            return distinct
        size = (self.cells[:, distinct] < len(self.error) - 1).sum(axis=0)
        order = np.argsort(size + self.random.random(len(distinct)), kind="stable")
        small, others = distinct[order[: _POOL // 2]], distinct[order[_POOL // 2 :]]
        return np.concatenate([small, some(others, _POOL - len(small), self.random)])


def hashed(
    cells: np.ndarray, strict: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a random number for each cell, 0 where it is not strict, and each candidate's hash.

    Args:
        cells: Cells of each candidate, shape `(rows, candidates)`.
        strict: Shape `(cells,)`.
        random: Draws the numbers.
    """
    whole = np.iinfo(np.int64)
    number = random.integers(whole.min, whole.max, len(strict)) * strict
    found = np.zeros(cells.shape[1], dtype=np.int64)
    for cell in cells:
        found += number[cell]  # wraps around, as a hash may
    return number, found


def some(rows: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
    """Return so many of the rows by chance, in order; all of them where there are no more."""
    if len(rows) <= number:
        return rows
    return np.sort(random.choice(rows, number, replace=False))


class _Marks:
    """Says of nearly all hashes that are not among others that they are not."""

    def __init__(self, hashes: np.ndarray) -> None:
        self._marked = np.zeros(1 << _BITS, dtype=bool)
        self._marked[_place(hashes)] = True

    def may_hold(self, wanted: np.ndarray) -> np.ndarray:
        """Return False for what is surely not there."""
        return np.asarray(self._marked[_place(wanted)])


class _Lookup:
    """Says where hashes are among others; most that are not there need no search."""

    def __init__(self, hashes: np.ndarray) -> None:
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]
        self._marks = _Marks(hashes)

    def find(self, wanted: np.ndarray) -> Iterator[tuple[int, int, int]]:
        """Yield row, column and place of each wanted hash that is there."""
        rows, columns = np.nonzero(self._marks.may_hold(wanted))
        values = wanted[rows, columns]
        at = np.minimum(np.searchsorted(self._hashes, values), len(self._hashes) - 1)
        for hit in np.flatnonzero(self._hashes[at] == values):
            yield int(rows[hit]), int(columns[hit]), int(self._order[at[hit]])


def _place(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> (64 - _BITS)) & ((1 << _BITS) - 1)


def _least(values: np.ndarray, number: int) -> np.ndarray:
    """Return the flat positions of the smallest values, in order."""
    flat = values.ravel()
    number = min(number, len(flat))
    chosen = np.argpartition(flat, number - 1)[:number]
    return np.asarray(chosen[np.argsort(flat[chosen], kind="stable")])


def _pairs(copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs, those of one with itself where it has two copies."""
    first, second = np.triu_indices(len(copies))
    able = (first != second) | (copies[first] > 1)
    return first[able], second[able]


def match(one: np.ndarray, two: np.ndarray) -> tuple[int, int] | None:
    """Return positions of equal values, or None."""
    if not (len(one) and len(two)):
        return None
    kept = np.flatnonzero(_Marks(two).may_hold(one))
    back = np.flatnonzero(_Marks(one[kept]).may_hold(two))
    _, first, second = np.intersect1d(one[kept], two[back], return_indices=True)
    return (int(kept[first[0]]), int(back[second[0]])) if len(first) else None
