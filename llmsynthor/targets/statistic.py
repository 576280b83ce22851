"""A statistic: the mean, sum or quantile of a number, or a rate, of groups of records or members."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmsynthor.targets.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.levels import Members
    from llmsynthor.targets.table import TableSet

Measure = Literal["mean", "sum", "quantile", "rate"]
_RECORDS_A_CELL = 8
"""Where there are fewer, cells are followed but need not be met: rounding could not meet so many."""
_MOST_CELLS = 20_000


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


def statistic_tables(tables: TableSet, records: int) -> tuple[Table, ...]:
    """Return a table for the rates or quantiles of each entry of the job's statistics.

    Its cells are the groups by the categories of the rate, or by the bins that the quantiles cut.
    What they want is not known before weights are there: the figures are all 1.
    """
    by_name: dict[str, list[Statistic]] = {}
    for statistic in tables.statistics:
        if statistic.role == "control" and statistic.measure in ("rate", "quantile"):
            by_name.setdefault(statistic.name, []).append(statistic)
    found = (_table(own, tables, records) for own in by_name.values())
    return tuple(table for table in found if table.cells <= _MOST_CELLS)


def _table(own: Sequence[Statistic], tables: TableSet, records: int) -> Table:
    masks: dict[str, list[np.ndarray]] = {}
    for statistic in own:
        for group in statistic.groups:
            for name, mask in group.masks.items():
                masks.setdefault(name, []).append(mask)
        for name, mask in statistic.outcome.items():
            masks.setdefault(name, []).append(mask)
        if statistic.measure == "quantile":
            variable = tables.domain[statistic.of]
            for figure in statistic.figures:
                cuts = (np.floor(figure), np.floor(figure) + 1) if variable.is_whole else (figure,)
                masks.setdefault(statistic.of, []).extend(
                    np.asarray(variable.edges[1:]) <= cut for cut in cuts
                )
    groups = {name: _parts(given) for name, given in masks.items()}
    shape = [int(group.max()) + 1 for group in groups.values()]
    return Table(
        name=own[0].name,
        file=own[0].file,
        role="control",
        scope=tuple(groups),
        labels=tuple(tuple(str(i) for i in range(size)) for size in shape),
        groups=tuple(groups.values()),
        figures=np.ones(shape),
        measure="count",
        tolerance=1.0 if np.prod(shape) * _RECORDS_A_CELL > records else None,
        members=own[0].members,
    )


def _parts(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the finest parts of codes that every mask is made of, in the codes' order, int32."""
    _, first, part = np.unique(np.stack(masks), axis=1, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return np.asarray(rank[part.ravel()], dtype=np.int32)
