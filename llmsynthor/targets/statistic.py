"""A statistic: the mean, sum or quantile of a number, or a rate, of groups of records or members.

Statistics that tables rule out are found before anything is spent, by what tables say of them alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmsynthor.errors import Problem
from llmsynthor.targets.table import Table
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmsynthor.targets.domain import Domain, Members
    from llmsynthor.targets.table import TableSet

Measure = Literal["mean", "sum", "quantile", "rate"]
_RECORDS_A_CELL = 8
"""Where there are fewer, cells are followed but need not be met: rounding could not meet so many."""
_MOST_CELLS = 20_000
_HINT = (
    "tables are met to the record: correct one of the two, give the statistic `role: validate`, or "
    "the table a `tolerance`"
)
_NOISE = 1e-9
_Bounds = tuple[float, float, float]
"""The least, the most, and by how much rounding of a table may move them."""


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


def statistic_clashes(tables: TableSet, records: int) -> list[Problem]:
    """Return the means, sums, quantiles and rates that no records can have which meet the hard tables.

    A table that has the number (or the categories of a rate) and the group bounds the statistic. So
    does a table of the number alone, where another says how large the groups are.
    """
    problems = []
    for statistic in tables.statistics:
        if statistic.role != "control":
            continue
        own = [t for t in tables.hard if (t.members is None) == (statistic.members is None)]
        found = [clash for table in own for clash in _clashes(statistic, table, tables, records)]
        if not found:
            whole = _together(statistic, own)
            if whole is not None:
                sizes, together = whole
                found = [
                    f"with the groups' sizes in {clean(sizes.file)} {clash}"
                    for table in own
                    for clash in _clashes(together, table, tables, records)
                ]
        problems += [Problem(text, statistic.file, hint=_HINT) for text in found[:1]]
    return problems


def _chosen(table: Table, masks: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return which cells of a table are inside of masks, bool; None where it cannot tell."""
    chosen = np.ones(table.figures.shape, dtype=bool)
    for name, mask in masks.items():
        if name not in table.scope:
            return None
        axis = table.scope.index(name)
        group, size = table.groups[axis], table.figures.shape[axis]
        inside = np.bincount(group, mask, size)
        if ((inside > 0) & (inside < np.bincount(group, minlength=size))).any():
            return None
        shape = [1] * chosen.ndim
        shape[axis] = size
        chosen = chosen & (inside > 0).reshape(shape)
    return chosen


def _clashes(statistic: Statistic, table: Table, tables: TableSet, records: int) -> Iterator[str]:
    """Yield what a table says against a statistic, group by group."""
    for number, group in enumerate(statistic.groups):
        inside = _chosen(table, group.masks)
        if inside is None:
            continue
        figure = float(statistic.figures[number])
        if table.figures[inside].sum() <= 0:
            if statistic.measure != "sum" or figure:
                yield (
                    f"the {statistic.words} of {statistic.label(number)} is {figure:g}, and "
                    f"{clean(table.file)} has nobody there"
                )
            continue
        near = abs(figure) * statistic.tolerance + float(statistic.rounding[number])
        if statistic.measure == "rate":
            bounds = _rate_bounds(statistic, table, inside, group, records)
        elif statistic.measure == "sum":
            bounds = _sum_bounds(statistic, table, tables, inside, records)
        elif statistic.of not in table.scope:
            continue
        elif statistic.measure == "mean":
            bounds = _mean_bounds(statistic, table, tables, inside)
        else:
            bounds = _bounds_below(statistic, table, tables, inside, (figure, near))
        if bounds is None:
            continue
        low, high, room = bounds
        value = figure
        if statistic.measure == "quantile":
            value, near = statistic.level, 0.5 * _one(table, inside, records)
        if low - room - near <= value + _NOISE and value - _NOISE <= high + room + near:
            continue
        what = f"the {statistic.words} of {statistic.label(number)}"
        says = f"{low:.6g}" if high - low < _NOISE else f"{low:.6g} to {high:.6g}"
        if statistic.measure == "quantile":
            yield (
                f"{what} is {figure:g}, but {clean(table.file)} has {says} of them below it or at "
                f"it, not {statistic.level:g}"
            )
        else:
            yield f"{what} is {figure:g}, and {clean(table.file)} allows {says}"


def _rounding(table: Table) -> float:
    """Return the rounding of a table's figures; counts with all their digits are exact."""
    return table.rounding if table.is_rounded or table.measure == "share" else 0.0


def _one(table: Table, inside: np.ndarray, records: int) -> float:
    """Return the share that one of the records, or members, is of a group."""
    return float(1 / table.wanted(records)[inside].sum())


def _rate_bounds(
    statistic: Statistic, table: Table, inside: np.ndarray, group: Group, records: int
) -> _Bounds | None:
    both = dict(group.masks)
    for name, mask in statistic.outcome.items():
        both[name] = both[name] & mask if name in both else mask
    having = _chosen(table, both)
    if having is None:
        return None
    whole = float(table.figures[inside].sum())
    rate = float(table.figures[having].sum()) / whole
    one = _one(table, inside, records)
    room = _rounding(table) * (int(having.sum()) + rate * int(inside.sum())) / whole
    return max(rate - one, 0.0), min(rate + one, 1.0), room


def _ends(
    statistic: Statistic, table: Table, tables: TableSet, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return of each bin of a table what it holds of a group, its cells, its least and its most."""
    axis = table.scope.index(statistic.of)
    others = tuple(i for i in range(inside.ndim) if i != axis)
    held, cells = (table.figures * inside).sum(axis=others), inside.sum(axis=others)
    (least, most), place = tables.domain[statistic.of].ends, table.groups[axis]
    low, high = np.full(len(held), np.inf), np.full(len(held), -np.inf)
    np.minimum.at(low, place, least)
    np.maximum.at(high, place, most)
    return held, cells, low, high


def _mean_bounds(
    statistic: Statistic, table: Table, tables: TableSet, inside: np.ndarray
) -> _Bounds:
    held, cells, low, high = _ends(statistic, table, tables, inside)
    whole = float(held.sum())
    least, most = (float(held @ np.where(held > 0, end, 0.0)) / whole for end in (low, high))
    far = np.maximum(np.abs(low - most), np.abs(high - least))
    return least, most, _rounding(table) * float(cells @ far) / whole


def _sum_bounds(
    statistic: Statistic, table: Table, tables: TableSet, inside: np.ndarray, records: int
) -> _Bounds:
    """Return the least and the most of a sum: by the table's bins, or the variable's limits."""
    size = float(table.wanted(tables.population or records)[inside].sum())
    if statistic.of in table.scope:
        least, most, room = _mean_bounds(statistic, table, tables, inside)
    else:
        variable = tables.domain[statistic.of]
        least, most, room = float(variable.low), float(variable.high), 0.0
    rounded = _rounding(table) * int(inside.sum()) / float(table.figures[inside].sum())
    room += rounded * max(abs(least), abs(most))
    return least * size, most * size, room * size


def _bounds_below(
    statistic: Statistic,
    table: Table,
    tables: TableSet,
    inside: np.ndarray,
    cut: tuple[float, float],
) -> _Bounds:
    """Return the least and the most share of a group below a quantile, which has some room.

    Of a quantile between whole numbers, each of these counts as spread over the width of one.
    """
    held, cells, low, high = _ends(statistic, table, tables, inside)
    whole, (figure, near) = float(held.sum()), cut
    room = _rounding(table) * float(cells.sum()) / whole
    if not tables.domain[statistic.of].is_whole or figure == np.floor(figure):
        below = held @ (high < figure), held @ (low <= figure)
    else:
        single = low == high
        least, most = (np.clip(figure + way - low, 0.0, 1.0) for way in (-near, near))
        least = np.where(single, least, high + 1 <= figure - near)
        most = np.where(single, most, low < figure + near)
        below = held @ least, held @ most
    return float(below[0]) / whole, float(below[1]) / whole, room


def _together(statistic: Statistic, own: list[Table]) -> tuple[Table, Statistic] | None:
    """Return the statistic of everybody that groups of known sizes make, and who says the sizes."""
    if statistic.measure not in ("mean", "rate") or len(statistic.groups) < 2:
        return None
    for table in own:
        chosen = [_chosen(table, group.masks) for group in statistic.groups]
        if any(own is None for own in chosen):
            continue
        counts = np.stack([table.figures * own for own in chosen if own is not None])
        if (np.count_nonzero(counts, axis=0) > 1).any() or abs(counts.sum() - table.total) > 1e-6:
            continue
        weight = counts.reshape(len(counts), -1).sum(axis=1) / table.total
        return table, replace(
            statistic,
            groups=(Group("", {}),),
            figures=np.array([weight @ statistic.figures]),
            rounding=np.array([statistic.rounding.max()]),
        )
    return None
