"""A seed sample: real records as candidates, each a copy to the last digit of what it tells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.targets.domain import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

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
