"""Zones: the categories of the zone variable, and the coarser geographies that they lie within."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.targets.domain import Variable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, eq=False)
class Level:
    """One coarser geography.

    Attributes:
        name: As in the job.
        labels: Its places, in the order in which zones name them first.
        group: Place of each zone, int32, shape `(zones,)`.
    """

    name: str
    labels: tuple[str, ...]
    group: np.ndarray

    def take(self, zones: np.ndarray) -> Level:
        """Return the level of some zones only, with the places that these lie in."""
        kept, group = renumbered(self.group[zones])
        return Level(self.name, tuple(self.labels[k] for k in kept), group)


@dataclass(frozen=True, eq=False)
class Zones:
    """The zones of a job.

    Attributes:
        variable: The zone variable.
        labels: The zones, in the crosswalk's order: the codes of the variable.
        levels: What they lie within.
        file: The crosswalk, as the job names it.
    """

    variable: str
    labels: tuple[str, ...]
    levels: tuple[Level, ...]
    file: str

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """Return the code of each zone."""
        return {label: code for code, label in enumerate(self.labels)}

    @cached_property
    def by_name(self) -> Mapping[str, Level]:
        """Return the levels by name."""
        return {level.name: level for level in self.levels}

    def names(self) -> tuple[str, ...]:
        """Return the columns that a table may have: the zone variable and the levels."""
        return (self.variable, *self.by_name)

    def places(self, name: str) -> tuple[str, ...]:
        """Return the zones, or the places of a level."""
        return self.labels if name == self.variable else self.by_name[name].labels

    def group(self, name: str) -> np.ndarray:
        """Return the place of each zone, int32, shape `(zones,)`; of the zone variable itself."""
        if name == self.variable:
            return np.arange(len(self.labels), dtype=np.int32)
        return self.by_name[name].group

    def take(self, zones: np.ndarray) -> Zones:
        """Return some zones only, in the order given."""
        labels = tuple(self.labels[z] for z in zones)
        return replace(self, labels=labels, levels=tuple(v.take(zones) for v in self.levels))

    def level_variables(self) -> tuple[Variable, ...]:
        """Return the levels as variables: what the further columns of records hold."""
        return tuple(
            Variable(
                level.name,
                "category",
                level.labels,
                description=f"what {self.variable} lies within",
            )
            for level in self.levels
        )

    def located(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return records with a column for each level, and zones as text.

        Files of different zones can so be read together: none lists the zones of the others.
        """
        zones = records.get_column(self.variable).cast(pl.String)
        codes = zones.cast(pl.Enum(self.labels)).to_physical().to_numpy()
        columns = [
            zones if name == self.variable else records.get_column(name) for name in records.columns
        ]
        columns += [
            pl.Series(
                level.name, np.array(level.labels, dtype=object)[level.group[codes]], pl.String
            )
            for level in self.levels
        ]
        return pl.DataFrame(columns)


def renumbered(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of `group` in the order of their first place, and each one's rank in it.

    Example:
        >>> renumbered(np.array([7, 7, 3]))
        (array([7, 3]), array([0, 0, 1], dtype=int32))
    """
    values, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return values[order], rank[inverse]


def ranks_of(labels: Sequence[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Return distinct labels in the order of their first place, and each row's position in them."""
    known: dict[str, int] = {}
    group = np.array([known.setdefault(label, len(known)) for label in labels], dtype=np.int32)
    return tuple(known), group
