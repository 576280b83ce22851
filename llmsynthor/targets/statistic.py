"""A statistic: the mean, sum or quantile of a number, or a rate, of groups of records or members."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.levels import Members

Measure = Literal["mean", "sum", "quantile", "rate"]
Masks = "Mapping[str, np.ndarray]"


@dataclass(frozen=True, eq=False)
class Group:
    """Some of the records or members.

    Attributes:
        label: In words, "" for all.
        masks: Variable -> which of its codes belong, bool, shape `(size,)`; variables that do not
            matter are left out.
    """

    label: str
    masks: Mapping[str, np.ndarray]

    def inside(self, codes: np.ndarray, domain: Domain, members: Members | None) -> np.ndarray:
        """Return who belongs to the group.

        Args:
            codes: Of records, by the columns of `domain`.
            domain: Variables of the codes, those of members slot by slot.
            members: Whose members the group is of; None where it is of records.

        Returns:
            Bool, shape `(slots, rows)`; one slot where the group is of records.
        """
        everybody = np.ones((1, len(codes)), dtype=bool)
        there = everybody if members is None else members.present(codes)
        for name, mask in self.masks.items():
            for slot, own in enumerate(there):
                own &= mask[codes[:, column_of(name, slot, domain, members)]]
        return there


def column_of(name: str, slot: int, domain: Domain, members: Members | None) -> int:
    """Return the column of a variable in codes: a member's has one for each slot."""
    return domain.positions[name if members is None else members.column(name, slot)]


@dataclass(frozen=True, eq=False)
class Statistic:
    """One published statistic of some groups.

    Attributes:
        name: In the job; several statistics of one file share it.
        file: As written in the job, or what it is called where it has none.
        role: `control` or `validate`.
        measure: What it is.
        of: The variable whose mean, sum or quantile it is; for a rate, its categories in words.
        groups: Of whom.
        figures: Per group, shape `(groups,)`.
        rounding: Largest rounding error of each figure, shape `(groups,)`.
        tolerance: By how much of itself it may be missed.
        level: Of a quantile, a share between 0 and 1.
        outcome: For a rate, variable -> which of its codes it is the share of.
        members: Whose members it is of; None where it is of records.
        scope: Variables of the groups.
    """

    name: str
    file: str
    role: Literal["control", "validate"]
    measure: Measure
    of: str
    groups: tuple[Group, ...]
    figures: np.ndarray
    rounding: np.ndarray
    tolerance: float
    level: float = 0.0
    outcome: Mapping[str, np.ndarray] = field(default_factory=dict)
    members: Members | None = None
    scope: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """Return the column that it is published in: `mean`, `sum`, `median`, `q10` or `rate`."""
        if self.measure != "quantile":
            return self.measure
        return "median" if self.level == 0.5 else f"q{100 * self.level:g}"

    @property
    def counted(self) -> str:
        """Return whom it is of, in words."""
        return "records" if self.members is None else f"{self.members.name}s"

    @property
    def words(self) -> str:
        """Return what it is, in words, for example `mean of miles`."""
        return f"{self.column} of {self.of}"

    @property
    def variables(self) -> tuple[str, ...]:
        """Return all variables that it speaks of, each once."""
        masked = {name: None for group in self.groups for name in group.masks}
        own = () if self.measure == "rate" else (self.of,)
        return tuple({**dict.fromkeys(own), **dict.fromkeys(self.outcome), **masked})

    def columns(self, domain: Domain) -> list[int]:
        """Return the columns of its number in codes: one, or one for each slot of members."""
        slots = range(1 if self.members is None else self.members.most)
        return [column_of(self.of, slot, domain, self.members) for slot in slots]

    def label(self, group: int) -> str:
        """Return a group in words: `purpose=Work`, or `all records`."""
        return self.groups[group].label or f"all {self.counted}"

    def outcome_inside(self, codes: np.ndarray, domain: Domain) -> np.ndarray:
        """Return who has the categories that a rate counts, bool, shape `(slots, rows)`."""
        return Group("", self.outcome).inside(codes, domain, self.members)
