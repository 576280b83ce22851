"""Pivotal rounding: fractions become 0 or 1 in duels that keep sums and balance many tables at once.

In the pivotal method (Deville & Tille 1998) two fractional weights meet, and one of them becomes 0
or 1 at the expense of the other, with the probabilities that keep both expectations. Here the coin
of each duel leans against the imbalance so far, as in the self-balancing walk (Alweiss, Liu &
Sawhney 2021), so that the counts stay near the weights in every pair and triple of variables, in
tables that nobody published too: whole numbers then cost no more than a trace of the accuracy of
the weights. Without a lean each weight is rounded up with exactly its fraction as probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmsynthor.targets.domain import Members

LEAN = 5e-3
"""How strongly a duel's coin leans against one unit of imbalance."""
_CONTROL_IMPORTANCE = 16.0
"""Imbalance of a control table counts so much more than that of a pair or triple."""
_BLOCKS = 256
"""Blocks in one round of duels. The duels of a block see the same imbalance, so that more blocks
balance better and take longer; the last rounds, which matter most, get the smallest."""
_SMALLEST_BLOCK = 16
_LARGEST_BLOCK = 512
_CROWD = 2.5
"""Fractions for each record that they make together; where there are more, the first duels are
between neighbours, who are alike, and look at no imbalance: as good, in two thirds of the time."""
_TINY = 1e-9
_MOST_SCOPES = 240
_MOST_CELLS = 400_000


@dataclass(frozen=True, eq=False)
class Balance:
    """Pairs and triples of variables whose tables rounding should not disturb.

    Attributes:
        codes: Codes of the candidates, int32, shape `(candidates, variables)`.
        sizes: Codes of each variable.
        scopes: Variables (columns of `codes`) of each table to balance, two or three each.
    """

    codes: np.ndarray
    sizes: tuple[int, ...]
    scopes: tuple[tuple[int, ...], ...]

    def take(self, rows: np.ndarray) -> Balance:
        """Return the balance of some candidates only."""
        return Balance(self.codes[rows], self.sizes, self.scopes)


def choose_scopes(
    sizes: Sequence[int], random: np.random.Generator, members: Members | None = None
) -> tuple[tuple[int, ...], ...]:
    """Return pairs, then triples of variables, as many as time and memory allow.

    Where there are too many, a random choice of them. Of members' variables, those of the first
    two slots are taken: further slots are seldom in use.
    """
    chosen: list[tuple[int, ...]] = []
    cells = 0
    columns = range(
        len(sizes) if members is None else members.columns(min(members.most, 2) - 1).stop
    )
    for order in (2, 3):
        scopes = list(combinations(columns, order))
        shuffled = [scopes[i] for i in random.permutation(len(scopes))]
        for scope in shuffled:
            size = int(np.prod([sizes[v] for v in scope]))
            if len(chosen) < _MOST_SCOPES and cells + size <= _MOST_CELLS:
                chosen.append(scope)
                cells += size
    return tuple(sorted(chosen))


def round_pivotal(
    share: np.ndarray,
    cell: np.ndarray,
    counts_in: np.ndarray,
    random: np.random.Generator,
    *,
    balance: Balance | None = None,
    check: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return whole counts near `share` with the same sum.

    Args:
        share: Records of each candidate, shape `(candidates,)`; the sum is whole. Neighbours are
            best alike.
        cell: Cells of the control tables that each candidate is in, int32, shape
            `(tables, candidates)`.
        counts_in: Whether each cell of all control tables counts, bool, shape `(cells,)`.
        random: Decides the duels.
        balance: Further tables to keep near.
        check: Called between rounds; may raise to stop.

    Returns:
        Int64, shape `(candidates,)`; each is its share rounded down or up.
    """
    counts = np.floor(share).astype(np.int64)
    part = share - counts
    arena = _Arena(part, cell, counts_in, balance, random)
    live = np.flatnonzero(part > _TINY)
    most = max(1.0, _CROWD * part.sum())
    crowded = len(live) > most
    while len(live) > most:
        check()
        arena.thin(live)
        live = _leave(live, part, counts)
    if crowded:
        arena.weigh(counts + part - share)
    live = random.permutation(live)
    while len(live) > 1:
        check()
        arena.fight(live)
        live = _leave(live, part, counts)
    if len(live) and part[live[0]] > 0.5:
        counts[live[0]] += 1
    return counts


def _leave(live: np.ndarray, part: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Count those in `live` who have become 1, and return those who are neither 0 nor 1."""
    won = live[part[live] > 1 - _TINY]
    counts[won] += 1
    part[won] = 0.0
    return live[part[live] > _TINY]


class _Arena:
    """Where duels are fought; keeps the imbalance of every cell."""

    def __init__(
        self,
        part: np.ndarray,
        cell: np.ndarray,
        counts_in: np.ndarray,
        balance: Balance | None,
        random: np.random.Generator,
    ) -> None:
        self.part = part
        self._cell = cell
        self._random = random
        cells = len(counts_in)
        self._features = None if balance is None else _Features(balance, cells)
        size = cells if self._features is None else self._features.cells
        self._imbalance = np.zeros(size)
        self._importance = np.ones(size)
        self._importance[:cells] = _CONTROL_IMPORTANCE * counts_in

    def fight(self, live: np.ndarray) -> None:
        """Let neighbours in `live` duel, block by block; changes `part`."""
        duels = len(live) // 2
        block = min(max(duels // _BLOCKS, _SMALLEST_BLOCK), _LARGEST_BLOCK)
        for start in range(0, duels, block):
            end = min(start + block, duels)
            self._block(live[2 * start : 2 * end : 2], live[2 * start + 1 : 2 * end : 2])

    def thin(self, live: np.ndarray) -> None:
        """Let neighbours in `live` duel without a lean; changes `part`."""
        even = len(live) // 2 * 2
        self._duel(live[:even:2], live[1:even:2], 0.0)

    def weigh(self, change: np.ndarray) -> None:
        """Take in what changed so far without being looked at, shape `(candidates,)`."""
        rows = np.flatnonzero(change)
        for start in range(0, len(rows), _LARGEST_BLOCK):
            some = rows[start : start + _LARGEST_BLOCK]
            self._tally(self._cells(some), change[some])

    def _block(self, one: np.ndarray, two: np.ndarray) -> None:
        cells = self._cells(np.concatenate([one, two]))
        pull = (self._imbalance * self._importance).take(cells).sum(axis=0)
        moved = self._duel(one, two, LEAN * (pull[: len(one)] - pull[len(one) :]))
        self._tally(cells, np.concatenate([moved, -moved]))

    def _duel(self, one: np.ndarray, two: np.ndarray, lean: np.ndarray | float) -> np.ndarray:
        """Decide duels; return what each of `one` wins from its `two`."""
        a, b = self.part[one], self.part[two]
        together = a + b
        up = np.where(together < 1, b, 1 - a)  # what `one` wins, or
        down = np.where(together < 1, a, 1 - b)  # what it loses
        wins = self._random.random(len(one)) < down / (up + down) - lean
        moved = np.where(wins, up, -down)
        self.part[one] = a + moved
        self.part[two] = b - moved
        return moved

    def _tally(self, cells: np.ndarray, change: np.ndarray) -> None:
        every = np.broadcast_to(change, cells.shape).ravel()
        self._imbalance += np.bincount(cells.ravel(), every, len(self._imbalance))

    def _cells(self, rows: np.ndarray) -> np.ndarray:
        if self._features is None:
            return self._cell.take(rows, axis=1)
        return np.concatenate([self._cell.take(rows, axis=1), self._features.cells_of(rows)])


class _Features:
    """Cells of pairs and triples, worked out for a few candidates at a time to save memory."""

    def __init__(self, balance: Balance, first: int) -> None:
        # a pair is a triple whose third variable, put behind the others, has one code
        none = len(balance.sizes)
        self._codes = np.zeros((none + 1, len(balance.codes)), dtype=np.int32)
        self._codes[:none] = balance.codes.T
        sizes = np.array([*balance.sizes, 1], dtype=np.int32)[:, None]
        scopes = [(*scope, none)[:3] for scope in balance.scopes]
        self._one, self._two, self._three = np.array(scopes, dtype=np.int64).reshape(-1, 3).T
        self._size_two, self._size_three = sizes[self._two], sizes[self._three]
        per_scope = (sizes[self._one].astype(np.int64) * self._size_two * self._size_three)[:, 0]
        ends = first + np.cumsum(per_scope)
        self._start = (ends - per_scope).astype(np.int32)[:, None]
        self.cells = int(ends[-1]) if len(ends) else first

    def cells_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the cells of some candidates, shape `(scopes, rows)`."""
        codes = self._codes.take(rows, axis=1)
        cell = codes.take(self._one, axis=0)
        cell *= self._size_two
        cell += codes.take(self._two, axis=0)
        cell *= self._size_three
        cell += codes.take(self._three, axis=0)
        cell += self._start
        return cell
