"""A seed sample: real records as candidates, each a copy, and which of them each zone gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.targets.domain import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmsynthor.targets.table import Table, TableSet

SEED_RECORD = "seed_record"
"""Column of the provenance: what the record is called that another is a copy of."""
FIRST = BACKGROUND - 1
"""Source of the sample's first record; that of record r is `FIRST - r`."""
AS_MANY = 3000
"""Records of a sample that are worth as much as a model's proposals; see `docs/seed-sample.md`."""
FILLING = 0.02
"""Least share of the background: it fills the cells that no record of the sample is in, and where
there are some is left alone by calibration."""
_MOST_DRAWS = 400
"""Of one record that leaves variables open."""
POWER = 0.5
"""Of that ratio, for each table: several tables say much the same of a record."""
_EVEN = 0.5
"""Share of the draws that zones get alike, small ones or large."""
_SOFT = 0.02
"""Share of a soft table's zone that is as in all zones: what it has at 0 is rare, not impossible."""


@dataclass(frozen=True, eq=False)
class SeedSample:
    """Real records over the columns of a job's codes.

    Attributes:
        codes: Int32, shape `(records, variables)`; 0 in variables that the sample lacks.
        present: Which variables the sample has, bool, shape `(variables,)`.
        limits: Lower and upper limits of the values, shape `(records, 2, numeric variables)`:
            so narrow that a value keeps all its digits; infinite where nothing is known.
        weight: Above 0, shape `(records,)`.
        keys: What each record is called.
        share: As in the job; None is `auto`.
        zone: Column of the zone, which the sample does not have; None where there are no zones.
    """

    codes: np.ndarray
    present: np.ndarray
    limits: np.ndarray
    weight: np.ndarray
    keys: Sequence[str]
    share: float | None = None
    zone: int | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def with_zone(self, column: int) -> SeedSample:
        """Return the sample over codes with one more column, the zone, which it leaves open."""
        return replace(
            self,
            codes=np.insert(self.codes, column, 0, axis=1),
            present=np.insert(self.present, column, values=False),
            zone=column,
        )

    @property
    def is_whole(self) -> bool:
        """Return whether the sample has every variable."""
        return bool(self.present.all())

    def share_beside(self, proposals: int) -> float:
        """Return the sample's share of what of the prior is not background."""
        if not proposals:
            return 1.0
        if self.share is not None:
            return self.share
        effective = float(self.weight.sum() ** 2 / (self.weight**2).sum())  # Kish 1965
        return effective / (effective + AS_MANY)

    def draws(self, rows: int) -> np.ndarray:
        """Return which records to draw, about `rows` in all: each once if none has to be filled."""
        each = 1 if self.is_whole else int(np.clip(-(-rows // len(self)), 1, _MOST_DRAWS))
        return np.repeat(np.arange(len(self)), each)

    def masses(self, drawn: np.ndarray, mass: float) -> np.ndarray:
        """Return the prior probability of each drawn row: each record keeps that of its weight."""
        rows = np.bincount(drawn, minlength=len(self))
        there = self.weight * (rows > 0)
        return np.asarray(mass * (there / there.sum() / np.maximum(rows, 1))[drawn])

    @staticmethod
    def sources(drawn: np.ndarray) -> np.ndarray:
        """Return the sources of candidates that are copies of these records."""
        return FIRST - drawn


def seed_records(source: np.ndarray) -> np.ndarray:
    """Return the seed record of each source, -1 for those that are none."""
    return np.where(source <= FIRST, FIRST - source, -1)


@dataclass(frozen=True, eq=False)
class InZones:
    """Records of a seed sample in zones.

    Attributes:
        record: Record of each draw.
        zone: Its zone.
        share: Its share of the prior; all together have those of the zones that anybody fits.
    """

    record: np.ndarray
    zone: np.ndarray
    share: np.ndarray


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
            score = score + POWER * fit(int(zone))
        fitting = np.flatnonzero(np.isfinite(score))
        if not len(fitting):
            continue
        likely = np.exp(score[fitting] - score[fitting].max())
        taken, mass = _taken(likely / likely.sum(), int(np.ceil(wanted[zone])), random)
        found.append((fitting[taken], np.full(len(taken), zone), share[zone] * mass))
    nobody = np.empty(0, dtype=np.int64)
    found.append((nobody, nobody, np.empty(0)))
    return InZones(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _taken(
    likely: np.ndarray, number: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return all records where they are few, else a systematic draw; and the share of each."""
    if len(likely) <= number:
        return np.arange(len(likely)), likely
    level = (np.arange(number) + random.random()) / number
    taken = np.minimum(np.searchsorted(np.cumsum(likely), level, side="right"), len(likely) - 1)
    return taken, np.full(number, 1.0 / number)


def _fits(sample: SeedSample, tables: TableSet, zone: str) -> list[Callable[[int], np.ndarray]]:
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


def _fit(
    sample: SeedSample, tables: TableSet, table: Table, others: Sequence[str]
) -> Callable[[int], np.ndarray]:
    """Return what gives the score of each record in a zone by one table, minus infinity where none can be."""
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
    each = 1.0 / counted

    def of(zone: int) -> np.ndarray:
        row = score[table.groups[axis][zone]]
        total = np.zeros(cell.shape[1])
        for slot in cell:
            total += row[slot]
        return np.asarray(total * each)

    return of
