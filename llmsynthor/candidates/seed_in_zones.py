"""Which records of a seed sample each zone gets as candidates: those that fit what its tables say.

A zone has few households, and most cells of its tables hold nobody: of real records drawn at random
hardly one could be in it. So each zone draws its own, in proportion to weight times how much more
often the zone has what the record has than the sample has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.seed_sample import SeedSample
    from llmsynthor.targets.table import Table, TableSet

POWER = 0.5
"""Of that ratio, for each table: several tables say much the same of a record."""
_EVEN = 0.5
"""Share of the draws that zones get alike, small ones or large."""
_SOFT = 0.02
"""Share of a soft table's zone that is as in all zones: what it has at 0 is rare, not impossible."""


@dataclass(frozen=True, eq=False)
class InZones:
    """Records of a seed sample in zones.

    Attributes:
        column: Of the zone in the codes.
        record: Record of each draw.
        zone: Its zone.
        share: Its share of the prior; all together have those of the zones that anybody fits.
    """

    column: int
    record: np.ndarray
    zone: np.ndarray
    share: np.ndarray


@dataclass(frozen=True, eq=False)
class _Fit:
    """How well records fit the zones, by one table.

    Attributes:
        group: Place of each zone.
        score: Logarithm of the ratio, shape `(places, cells but for the zone, and 0 for nobody)`.
        cell: Cell of each record, or of its members, shape `(slots, records)`.
        each: What a slot counts for a record, shape `(records,)`.
    """

    group: np.ndarray
    score: np.ndarray
    cell: np.ndarray
    each: np.ndarray

    def of(self, zone: int) -> np.ndarray:
        """Return the score of each record in a zone, minus infinity where none can be."""
        row = self.score[self.group[zone]]
        total = np.zeros(self.cell.shape[1])
        for cell in self.cell:
            total += row[cell]
        return np.asarray(total * self.each)


def draw_in_zones(
    sample: SeedSample, tables: TableSet, column: int, rows: int, random: np.random.Generator
) -> InZones:
    """Return records of a seed sample in the zones that they fit.

    Args:
        sample: Whose codes leave the zone open.
        tables: With zones, or parts of chunks in their place.
        column: Of the zone in the codes.
        rows: About how many to draw.
        random: Source of randomness.
    """
    name = tables.wide.names[column]
    share = tables.marginal(name)
    fits = _fits(sample, tables, name)
    wanted = rows * (_EVEN / np.count_nonzero(share) + (1 - _EVEN) * share)
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for zone in np.flatnonzero(share > 0):
        score = np.log(sample.weight)
        for fit in fits:
            score = score + POWER * fit.of(int(zone))
        fitting = np.flatnonzero(np.isfinite(score))
        if not len(fitting):
            continue
        likely = np.exp(score[fitting] - score[fitting].max())
        taken, mass = _taken(likely / likely.sum(), int(np.ceil(wanted[zone])), random)
        found.append((fitting[taken], np.full(len(taken), zone), share[zone] * mass))
    nobody = np.empty(0, dtype=np.int64)
    found.append((nobody, nobody, np.empty(0)))
    return InZones(column, *(np.concatenate(part) for part in zip(*found, strict=True)))


def _taken(
    likely: np.ndarray, number: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return all records where they are few, else a systematic draw; and the share of each."""
    if len(likely) <= number:
        return np.arange(len(likely)), likely
    level = (np.arange(number) + random.random()) / number
    taken = np.minimum(np.searchsorted(np.cumsum(likely), level, side="right"), len(likely) - 1)
    return taken, np.full(number, 1.0 / number)


def _fits(sample: SeedSample, tables: TableSet, zone: str) -> list[_Fit]:
    """Return how records fit, for each control table over zones whose variables the sample has."""
    there = {n for n, has in zip(tables.wide.names, sample.present, strict=True) if has}
    found = []
    for table in tables.control:
        others = [name for name in table.scope if name != zone]
        if zone in table.scope and others and {_first(tables, n) for n in others} <= there:
            found.append(_fit(sample, tables, table, others))
    return found


def _first(tables: TableSet, name: str) -> str:
    """Return the column of a variable, a member's for its first slot."""
    return name if tables.members is None else tables.members.column(name, 0)


def _fit(sample: SeedSample, tables: TableSet, table: Table, others: Sequence[str]) -> _Fit:
    axis = next(i for i, name in enumerate(table.scope) if name not in others)
    places = np.moveaxis(table.figures, axis, 0).reshape(table.share.shape[axis], -1)
    cells = places.shape[1]
    # the sample leaves the zone open, at 0: what is left of a cell's number is its other variables
    index = np.atleast_2d(table.cell_index(sample.codes, tables.wide))
    nobody = index >= table.cells
    inside = np.unravel_index(np.where(nobody, 0, index), table.share.shape)
    rest = [part for i, part in enumerate(inside) if i != axis]
    shape = [size for i, size in enumerate(table.share.shape) if i != axis]
    cell = np.where(nobody, cells, np.ravel_multi_index(rest, shape))
    held = np.zeros(cells + 1)
    for slot in cell:
        held += np.bincount(slot, sample.weight, cells + 1)
    own = held[:cells] / held[:cells].sum()
    of_place = places / np.maximum(places.sum(axis=1, keepdims=True), 1e-300)
    if table.is_soft:
        of_place = (1 - _SOFT) * of_place + _SOFT * places.sum(axis=0) / places.sum()
    with np.errstate(divide="ignore"):
        score = np.log(of_place) - np.log(np.maximum(own, 1e-300))
    score = np.concatenate([score, np.zeros((len(score), 1))], axis=1)
    counted = np.maximum((~nobody).sum(axis=0), 1)
    return _Fit(table.groups[axis], score, cell, 1.0 / counted)
