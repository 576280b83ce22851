"""Value swaps: two records swap a number, where its bins are too narrow to shift means inside them.

A table with the number keeps what it holds, for the two agree in all else that a table has together
with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.candidates.drawn import row_keys
from llmsynthor.fitting.whole.mutations import Mutants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.engine.choose import Chosen
    from llmsynthor.fitting.values.aims import Aim
    from llmsynthor.targets.table import Table

_MOST_COPIES = 60_000
_LOOKED_AT = 500
_TRIED = 24
_ROUNDS = 1500
_IDLE = 12
_GOOD = 0.2
"""Of what a mean may be missed by: nearer is near enough."""


@dataclass(eq=False)
class _Units:
    """Values of a number that may be swapped, one row each.

    Attributes:
        row: Copy that each belongs to, shape `(units,)`.
        slot: Its slot.
        key: Units with the same key agree in all that a table has together with the number.
        x: Values.
        inside: Which aims each counts for, float, shape `(units, aims)`.
    """

    row: np.ndarray
    slot: np.ndarray
    key: np.ndarray
    x: np.ndarray
    inside: np.ndarray


def swap_values(
    chosen: Chosen,
    aims: Sequence[Aim],
    tables: Sequence[Table],
    sampler: Sampler,
    random: np.random.Generator,
) -> Chosen:
    """Return the records with numbers swapped until bins allow the means that are aimed at.

    What `tables` hold stays as it is.
    """
    for key in dict.fromkeys((aim.statistic.of, aim.statistic.members is not None) for aim in aims):
        own = [a for a in aims if (a.statistic.of, a.statistic.members is not None) == key]
        swaps = _Swaps(chosen, own, tables, sampler, random)
        if swaps.can_help and swaps.are_needed:
            chosen = swaps.done()
    return chosen


class _Swaps:
    """The swaps of one number."""

    def __init__(
        self,
        chosen: Chosen,
        aims: Sequence[Aim],
        tables: Sequence[Table],
        sampler: Sampler,
        random: np.random.Generator,
    ) -> None:
        self._chosen = chosen
        self._sampler = sampler
        self._random = random
        self._domain = domain = sampler.tables.wide
        self._members = aims[0].statistic.members
        self._of = aims[0].statistic.of
        self._columns = aims[0].statistic.columns(domain)
        self._places = [domain.numeric.index(column) for column in self._columns]
        self._aims = aims
        self._tables = [table for table in tables if self._of in table.scope]
        self._excess = self._excesses()
        wanted = np.array([abs(aim.mean) for aim in aims])
        self._scale = np.maximum(wanted * self._numbers, 1e-9)
        self._near = np.array([aim.statistic.tolerance for aim in aims]) * _GOOD

    @property
    def can_help(self) -> bool:
        """Return whether swapping leaves tables and the number of members as they are."""
        record = self._sampler.members
        if record is None or self._members is not None:
            return True
        counted = any(table.members is not None for table in self._tables)
        return self._of != record.size and not counted

    @property
    def are_needed(self) -> bool:
        """Return whether a mean cannot be met by shifting values inside their bins."""
        return bool((np.abs(self._excess) > self._near * self._scale).any())

    def _excesses(self) -> np.ndarray:
        """Return by how much the sum of each aim misses what bins allow, signed."""
        codes, counts = self._chosen.candidates.codes, self._chosen.counts
        variable = self._domain.variables[self._columns[0]]
        least, most = variable.ends
        own = np.stack([codes[:, column] for column in self._columns])
        found, numbers = [], []
        for aim in self._aims:
            inside = aim.group.inside(codes, self._domain, self._members) * counts
            number = float(inside.sum())
            wanted = aim.mean * number
            low, high = (
                float((inside * least[own]).sum()),
                float((inside * most[own]).sum()),
            )
            found.append(max(low - wanted, 0.0) or min(high - wanted, 0.0))
            numbers.append(number)
        self._numbers = np.array(numbers)
        return np.array(found)

    def done(self) -> Chosen:
        """Return the records after the swaps."""
        candidates, counts = self._chosen.candidates, self._chosen.counts
        held = np.flatnonzero(counts > 0)
        if len(held) > _MOST_COPIES:
            held = np.sort(self._random.choice(held, _MOST_COPIES, replace=False))
        self._codes = candidates.codes[held].copy()
        self._position = candidates.position[held].copy()
        self._units = self._all_units()
        idle = 0
        for _ in range(_ROUNDS):
            if not self.are_needed or idle > _IDLE:
                break
            idle = 0 if self._swap() else idle + 1
        changed = np.flatnonzero((self._codes != candidates.codes[held]).any(axis=1))
        left = counts.copy()
        left[held[changed]] -= 1
        mutants = Mutants(self._codes[changed], self._position[changed], held[changed])
        sample = self._sampler.sample
        return replace(
            self._chosen,
            candidates=candidates.with_mutants(mutants, None if sample is None else sample.present),
            counts=np.concatenate([left, np.ones(len(changed), dtype=np.int64)]),
            mutants=self._chosen.mutants + len(changed),
        )

    def _all_units(self) -> _Units:
        codes, members = self._codes, self._members
        inside = [aim.group.inside(codes, self._domain, members) for aim in self._aims]
        there = np.ones((1, len(codes)), bool) if members is None else members.present(codes)
        slot, row = np.nonzero(there)
        curve = self._sampler.curves
        x = np.stack(
            [
                curve[place].values(codes[:, column], self._position[:, place])
                for column, place in zip(self._columns, self._places, strict=True)
            ]
        ).astype(float)
        keys = np.stack([self._keys(s) for s in range(len(self._columns))])
        counted = np.stack([own[slot, row] for own in inside], axis=1).astype(float)
        return _Units(row, slot, keys[slot, row], x[slot, row], counted)

    def _keys(self, slot: int) -> np.ndarray:
        """Return what the unit of a slot must agree in, one number for each copy."""
        names = {name for table in self._tables for name in table.scope} - {self._of}
        members = self._sampler.members
        columns = sorted(
            self._domain.positions[name if members is None else members.column(name, slot)]
            for name in names
        )
        sizes = [self._domain.sizes[column] for column in columns]
        return row_keys(self._codes[:, columns], sizes)

    def _swap(self) -> bool:
        """Swap one number, or a few, where that brings the means nearer; return whether it did."""
        units, worth = self._units, 1.0 / self._scale**2
        worst = int(np.argmax(np.abs(self._excess) / self._scale))
        above = self._excess[worst] > 0
        counts = units.inside[:, worst] > 0
        mine, theirs = np.flatnonzero(counts), np.flatnonzero(~counts)
        if not len(mine) or not len(theirs):
            return False
        mine = self._some(mine, above)
        theirs = self._some(theirs, not above)
        step = units.x[theirs] - units.x[mine][:, None]
        a, b = units.inside[mine], units.inside[theirs]
        pull = self._excess * worth
        apart = (a * worth).sum(axis=1)[:, None] + (b * worth).sum(axis=1) - 2 * (a * worth) @ b.T
        change = 2 * step * ((a @ pull)[:, None] - b @ pull) + step**2 * apart
        change[units.key[mine][:, None] != units.key[theirs]] = np.inf
        best = np.argsort(change, axis=None, kind="stable")[:_TRIED]
        best = best[change.ravel()[best] < -1e-15]
        for place in best:
            one, other = divmod(int(place), len(theirs))
            if self._try(int(mine[one]), int(theirs[other])):
                return True
        return False

    def _some(self, units: np.ndarray, large: bool) -> np.ndarray:
        """Return some of the units, those with large numbers (or small ones) more often."""
        if len(units) <= _LOOKED_AT:
            return units
        some = self._random.choice(units, min(len(units), 4 * _LOOKED_AT), replace=False)
        order = np.argsort(self._units.x[some], kind="stable")
        return some[order[-_LOOKED_AT:] if large else order[:_LOOKED_AT]]

    def _try(self, one: int, other: int) -> bool:
        """Swap the numbers of two units if no rule forbids that."""
        units = self._units
        rows = np.array([units.row[one], units.row[other]])
        if rows[0] == rows[1]:
            return False
        codes, position = self._codes[rows].copy(), self._position[rows].copy()
        here = [(self._columns[s], self._places[s]) for s in (units.slot[one], units.slot[other])]
        (column, place), (column2, place2) = here
        codes[0, column], codes[1, column2] = codes[1, column2], codes[0, column]
        position[0, place], position[1, place2] = position[1, place2], position[0, place]
        if not self._sampler.lawful(codes, position).all():
            return False
        self._codes[rows], self._position[rows] = codes, position
        step = units.x[other] - units.x[one]
        self._excess = self._excess + step * (units.inside[one] - units.inside[other])
        units.x[one], units.x[other] = units.x[other], units.x[one]
        return True
