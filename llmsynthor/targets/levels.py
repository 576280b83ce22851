"""Members of records: persons of households, as columns that stand beside the record's own.

A record with at most m members is one row of codes: the record's variables, then for each of m
slots the members' variables, named `age.1`, `age.2` and so on. The record's size says how many
slots are in use; the codes of the others are 0. Candidates are so whole records, and one
calibration serves tables of both levels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from llmsynthor.targets.domain import Domain


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
        """Return a row for each member, slot by slot: its record's codes and its own.

        Args:
            codes: Wide codes.

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
