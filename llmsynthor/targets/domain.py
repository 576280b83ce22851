"""The domain: variables with finitely many categories or bins, and how labels become codes.

A *code* is the position of a category or bin in its variable. Numeric bins are kept as half-open
intervals `[low, high)`: an integer bin published as `20-24` is `[20, 25)`, so that neighbouring
bins share an edge and refinement is the union of edges.

Records may have members, such as persons of households. A record with at most m of them is one row
of codes: the record's variables, then for each of m slots the members' variables, named `age.1`,
`age.2` and so on. The record's size says how many slots are in use; the codes of the others are 0.
Candidates are so whole records, and one calibration serves tables of both levels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.files.bins import gap_above
from llmsynthor.text import distinct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmsynthor.files.bins import Interval, Kind

BACKGROUND = -1
"""Stands in place of a proposal's id for records that came from the background."""


@dataclass(frozen=True)
class Variable:
    """One variable of the domain.

    Attributes:
        name: As in the job.
        kind: `category`, `integer` or `number`.
        labels: Categories, or the labels of the refined bins, in code order.
        edges: For numeric variables the `len(labels) + 1` bin edges, else empty.
        ordered: Whether the order of the labels means something.
        description: For people and for the prompt.
        unit: Unit of a numeric variable.
        decimals: Digits after the point that a number keeps in the records.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    edges: tuple[float, ...] = ()
    ordered: bool = False
    description: str = ""
    unit: str = ""
    decimals: int = 0

    @property
    def size(self) -> int:
        """Return the number of categories or bins."""
        return len(self.labels)

    @property
    def is_numeric(self) -> bool:
        """Return whether values are numbers inside bins."""
        return self.kind != "category"

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """Return the code of each label."""
        return {label: code for code, label in enumerate(self.labels)}

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """Return each label as a model is shown it: printable, cut, no two alike."""
        return distinct(self.labels)

    @cached_property
    def shown_codes(self) -> Mapping[str, int]:
        """Return the code of each label as it is shown."""
        return {label: code for code, label in enumerate(self.shown)}

    @property
    def low(self) -> float:
        """Return the smallest legal value."""
        return self.edges[0]

    @property
    def high(self) -> float:
        """Return the largest legal value (an integer's upper edge is one above it)."""
        return self.last(self.edges[-1])

    @property
    def is_whole(self) -> bool:
        """Return whether values are whole numbers."""
        return self.kind == "integer"

    @property
    def step(self) -> float:
        """Return how far apart values are that the records keep apart."""
        return 1.0 if self.is_whole else 10.0**-self.decimals

    def last(self, edge: float) -> float:
        """Return the largest value of a bin with this upper edge."""
        return edge - gap_above(self.kind)

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the largest value of each bin, each of shape `(size,)`."""
        edges = np.asarray(self.edges)
        return edges[:-1], edges[1:] - gap_above(self.kind)

    def overlap(self, interval: Interval) -> np.ndarray:
        """Return which share of each bin lies inside `interval`, shape `(size,)`."""
        edges = np.asarray(self.edges)
        inside = np.minimum(edges[1:], interval.high) - np.maximum(edges[:-1], interval.low)
        return np.clip(inside, 0.0, None) / np.diff(edges)

    def encode_values(self, values: np.ndarray) -> np.ndarray:
        """Return the bin codes of numeric `values`; a value beyond the limits gets -1."""
        codes = np.searchsorted(np.asarray(self.edges), values, side="right") - 1
        if self.kind == "number":  # the last bin is closed above
            codes = np.where(values == self.edges[-1], self.size - 1, codes)
        return np.where((codes < 0) | (codes >= self.size), -1, codes).astype(np.int32)


@dataclass(frozen=True)
class Domain:
    """An ordered set of variables; the columns of every code matrix follow this order."""

    variables: tuple[Variable, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the variables' names in order."""
        return tuple(variable.name for variable in self.variables)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Return each variable's column."""
        return {name: position for position, name in enumerate(self.names)}

    @cached_property
    def shown(self) -> Mapping[str, str]:
        """Return each variable's name as a model is shown it."""
        return dict(zip(self.names, distinct(self.names), strict=True))

    @cached_property
    def names_of_shown(self) -> Mapping[str, str]:
        """Return the variable of each name that a model may write: the whole or as shown."""
        return {shown: name for name, shown in self.shown.items()} | {n: n for n in self.names}

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Return the number of categories or bins of each variable."""
        return tuple(variable.size for variable in self.variables)

    @cached_property
    def numeric(self) -> tuple[int, ...]:
        """Return the columns of the variables that are numbers, in order."""
        return tuple(i for i, variable in enumerate(self.variables) if variable.is_numeric)

    def __getitem__(self, name: str) -> Variable:
        return self.variables[self.positions[name]]

    def columns(self, scope: Iterable[str]) -> tuple[int, ...]:
        """Return the columns of the variables of `scope`."""
        return tuple(self.positions[name] for name in scope)


@dataclass(frozen=True, eq=False)
class Members:
    """What the members of a job's records are.

    Attributes:
        name: What a member is called, for example `person`.
        of: What a record is called, for example `household`.
        size: Name of the record's variable that is the number of its members.
        number: Number of members for each code of that variable, int64, shape `(codes,)`.
        record: The record's variables.
        own: The members' variables.
    """

    name: str
    of: str
    size: str
    number: np.ndarray
    record: Domain
    own: Domain

    @property
    def key(self) -> str:
        """Return the column that names a record in the data of both levels."""
        return f"{self.of}_id"

    @property
    def ordinal(self) -> str:
        """Return the column with the number of a member within its record, from 1."""
        return f"{self.name}_number"

    @cached_property
    def most(self) -> int:
        """Return the number of slots: of members that a record can have."""
        return int(self.number.max())

    @cached_property
    def wide(self) -> Domain:
        """Return the record's variables and, slot by slot, those of each member."""
        slots = [
            replace(variable, name=self.column(variable.name, slot))
            for slot in range(self.most)
            for variable in self.own.variables
        ]
        return Domain((*self.record.variables, *slots))

    def column(self, name: str, slot: int) -> str:
        """Return the wide name of a variable: a member's has the slot (from 0) behind it."""
        return f"{name}.{slot + 1}" if name in self.own.positions else name

    def columns(self, slot: int) -> slice:
        """Return the columns of one slot in wide codes."""
        start = len(self.record.names) + slot * len(self.own.names)
        return slice(start, start + len(self.own.names))

    def slot_of(self, column: int) -> int | None:
        """Return the slot (from 0) that a column of wide codes belongs to; None for the record's."""
        first = len(self.record.names)
        return None if column < first else (column - first) // len(self.own.names)

    def sizes(self, codes: np.ndarray) -> np.ndarray:
        """Return the number of members of each row of wide codes, shape `(rows,)`."""
        return np.asarray(self.number[codes[:, self.record.positions[self.size]]])

    def present(self, codes: np.ndarray) -> np.ndarray:
        """Return which slots are in use, bool, shape `(slots, rows)`."""
        return np.arange(self.most)[:, None] < self.sizes(codes)

    def each(self, codes: np.ndarray) -> np.ndarray:
        """Return a row for each member of wide codes, slot by slot: its record's codes and its own.

        Returns:
            Shape `(members, record's and members' variables)`.
        """
        record = codes[:, : len(self.record.names)]
        return np.concatenate(
            [
                np.concatenate([record[there], codes[there, self.columns(slot)]], axis=1)
                for slot, there in enumerate(self.present(codes))
            ]
        )

    def emptied(self, codes: np.ndarray) -> np.ndarray:
        """Return wide codes with 0 in every slot that is not in use."""
        shape = (len(codes), self.most, len(self.own.names))
        slots = codes[:, len(self.record.names) :].reshape(shape)
        slots = slots * self.present(codes).T[:, :, None]
        flat = slots.reshape(len(codes), self.most * len(self.own.names))
        return np.concatenate([codes[:, : len(self.record.names)], flat], axis=1)
