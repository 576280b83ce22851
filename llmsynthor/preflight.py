"""Checks before anything is spent: do the tables that must be met agree with each other?"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.domain import cell_label
from llmsynthor.errors import Problem, TableError
from llmsynthor.grouping import common_groups
from llmsynthor.labels import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.domain import Variable
    from llmsynthor.members import Members
    from llmsynthor.tables import Table, TableSet

_MOST_PER_PAIR = 5
_FLOAT_NOISE = 1e-9


_HINT = (
    "tables that are met must agree; correct them, or give one a `weight` or `tolerance` "
    "(it then gives way), or `role: validate`"
)


def check_agreement(tables: TableSet) -> None:
    """Refuse hard control tables that differ in totals or in margins by more than rounding.

    Raises:
        TableError: Names files, cells and both numbers of every disagreement.
    """
    problems = disagreements(tables)
    if problems:
        raise TableError.of(problems)


def disagreements(tables: TableSet) -> list[Problem]:
    """Return where hard control tables differ in totals or in margins by more than rounding.

    Totals are compared where both tables give counts; margins of the variables that two tables
    share are compared as shares, on the finest bins that both can be summed to.
    """
    problems: list[Problem] = []
    members = tables.members
    for counts_members in (False, True):
        own = [table for table in tables.hard if (table.members is not None) == counts_members]
        problems += _different_totals(own)
        for first, second in combinations(own, 2):
            problems += _different_margins(tables, first, second)
    return problems if members is None else [*problems, *_wrong_sizes(tables, members)]


def _wrong_sizes(tables: TableSet, members: Members) -> list[Problem]:
    """Return where the sizes of the records say another number of members than is published.

    Tables of members have one total among them, or `_different_totals` says so: the first stands
    for all.
    """
    counted = [table for table in tables.hard if table.measure == "count"]
    own = next((table for table in counted if table.members is not None), None)
    if own is None:
        return []
    found = []
    for table in counted:
        if table.members is not None or members.size not in table.scope:
            continue
        axis = table.scope.index(members.size)
        records = table.figures.sum(axis=tuple(i for i in range(table.figures.ndim) if i != axis))
        inside = [members.number[table.groups[axis] == group] for group in range(len(records))]
        low = float(records @ [numbers.min() for numbers in inside])
        high = float(records @ [numbers.max() for numbers in inside])
        room = 1e-6 * max(1.0, own.total)
        if low - room <= own.total <= high + room:
            continue
        says = _figure(low) if low == high else f"{_figure(low)} to {_figure(high)}"
        message = (
            f"the counts add up to {_figure(own.total)}, and the sizes in {table.file} to "
            f"{says} {members.name}s"
        )
        found.append(Problem(message, own.file, hint=_HINT))
    return found


def _different_totals(tables: Sequence[Table]) -> list[Problem]:
    counted = [table for table in tables if table.measure == "count"]
    if not counted:
        return []
    first = counted[0]
    return [
        Problem(
            f"the counts add up to {_figure(other.total)}, those of {first.file} to "
            f"{_figure(first.total)}",
            other.file,
            hint=_HINT,
        )
        for other in counted[1:]
        if abs(other.total - first.total) > 1e-6 * max(1.0, first.total)
    ]


def _different_margins(tables: TableSet, first: Table, second: Table) -> list[Problem]:
    shared = [name for name in first.scope if name in second.scope]
    if not shared:
        return []
    if (
        first.measure == second.measure == "count"
        and abs(first.total - second.total) > 1e-6 * first.total
    ):
        return []  # the totals are named already; every margin would differ for that reason alone
    common = [_common_groups(tables.domain[n], first, second) for n in shared]
    margins = [_margin(table, shared, common) for table in (first, second)]
    allowed = sum(
        _rounding(table, shared, common, margin)
        for table, margin in zip((first, second), margins, strict=True)
    )
    apart = np.argwhere(np.abs(margins[0] - margins[1]) > allowed + _FLOAT_NOISE)
    counted = first.measure == second.measure == "count"
    found = []
    for cell in apart[:_MOST_PER_PAIR]:
        labels = [groups[1][int(position)] for groups, position in zip(common, cell, strict=True)]
        a, b = (
            _figure(margin[tuple(cell)] * (table.total if counted else 1.0))
            for table, margin in zip((first, second), margins, strict=True)
        )
        message = f"{clean(cell_label(shared, labels))} has {b}, and {a} in {first.file}"
        found.append(Problem(message, second.file, hint=_HINT))
    if len(apart) > _MOST_PER_PAIR:
        message = f"and {len(apart) - _MOST_PER_PAIR} more cells that {first.file} has otherwise"
        found.append(Problem(message, second.file, hint=_HINT))
    return found


def _group(table: Table, name: str) -> np.ndarray:
    return table.groups[table.scope.index(name)]


def _common_groups(variable: Variable, one: Table, other: Table) -> tuple[np.ndarray, list[str]]:
    """Return domain code -> cell of the finest partition that both tables can be summed to."""
    first, second = _group(one, variable.name), _group(other, variable.name)
    if not variable.is_numeric:
        return _common_categories(variable, one, other)
    new = np.ones(variable.size, dtype=bool)
    new[1:] = (np.diff(first) != 0) & (np.diff(second) != 0)
    group = np.cumsum(new) - 1
    labels = []
    for code in range(int(group[-1]) + 1):
        inside = [label for label, g in zip(variable.labels, group, strict=True) if g == code]
        labels.append(inside[0] if len(inside) == 1 else f"{inside[0]} to {inside[-1]}")
    return group, labels


def _common_categories(
    variable: Variable, one: Table, other: Table
) -> tuple[np.ndarray, list[str]]:
    """Return the same for categories: those that share a group in either table fall together."""
    if not (one.coarsens(variable) or other.coarsens(variable)):
        return np.arange(variable.size), list(variable.labels)
    # in the order of their first categories, as tables have them
    group = common_groups(_group(one, variable.name), _group(other, variable.name))
    start = np.unique(group, return_index=True)[1]
    labels: list[str | None] = [
        variable.labels[first] if size == 1 else None
        for first, size in zip(start, np.bincount(group), strict=True)
    ]
    for table in (one, other):
        own, names = _group(table, variable.name), table.labels[table.scope.index(variable.name)]
        alone = np.ones(len(start), dtype=bool)
        np.logical_and.at(alone, group, own == own[start][group])
        for code in np.flatnonzero(alone):
            labels[code] = labels[code] or names[own[start[code]]]
    nameless = [code for code, label in enumerate(labels) if label is None]
    for place in nameless:
        inside = [variable.labels[position] for position in np.flatnonzero(group == place)]
        labels[place] = " or ".join(inside)
    return group, [str(label) for label in labels]


def _margin(
    table: Table, shared: Sequence[str], common: Sequence[tuple[np.ndarray, list[str]]]
) -> np.ndarray:
    return _summed(table.share, table, shared, common)


def _rounding(
    table: Table,
    shared: Sequence[str],
    common: Sequence[tuple[np.ndarray, list[str]]],
    margin: np.ndarray,
) -> np.ndarray:
    """Return by how much rounding of a table's figures can move each cell of its margin."""
    return table.rounding_room(margin, _summed(np.ones_like(table.share), table, shared, common))


def _summed(
    figures: np.ndarray,
    table: Table,
    shared: Sequence[str],
    common: Sequence[tuple[np.ndarray, list[str]]],
) -> np.ndarray:
    """Return an array over a table's cells, summed to the shared variables on common bins."""
    kept = [table.scope.index(name) for name in shared]
    margin = figures.sum(axis=tuple(i for i in range(figures.ndim) if i not in kept))
    margin = np.moveaxis(margin, np.argsort(np.argsort(kept)), range(len(kept)))
    for axis, (name, (groups, labels)) in enumerate(zip(shared, common, strict=True)):
        coarse = np.zeros(table.share.shape[table.scope.index(name)], dtype=np.int64)
        coarse[_group(table, name)] = groups  # every table bin lies in one common group
        summed = np.zeros((len(labels), *np.delete(margin.shape, axis)))
        np.add.at(summed, coarse, np.moveaxis(margin, axis, 0))
        margin = np.moveaxis(summed, 0, axis)
    return margin


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 1e-6 and value >= 1 else f"{value:.6g}"
