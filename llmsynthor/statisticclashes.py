"""Statistics that tables rule out, found before anything is spent: by what tables say of them alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.errors import Problem
from llmsynthor.labels import clean
from llmsynthor.statistic import Group, Statistic

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmsynthor.tables import Table, TableSet

_HINT = (
    "tables are met to the record: correct one of the two, give the statistic `role: validate`, or "
    "the table a `tolerance`"
)
_NOISE = 1e-9


def statistic_clashes(tables: TableSet) -> list[Problem]:
    """Return the means, quantiles and rates that no records can have which meet the hard tables.

    A table that has the number (or the categories of a rate) and the group bounds the statistic. So
    does a table of the number alone, where another says how large the groups are.
    """
    problems = []
    for statistic in tables.statistics:
        if statistic.role != "control" or statistic.measure == "sum":
            continue
        own = [t for t in tables.hard if (t.members is None) == (statistic.members is None)]
        found = [clash for table in own for clash in _clashes(statistic, table, tables)]
        if not found:
            whole = _together(statistic, own)
            if whole is not None:
                sizes, together = whole
                found = [
                    f"with the groups' sizes in {clean(sizes.file)} {clash}"
                    for table in own
                    for clash in _clashes(together, table, tables)
                ]
        problems += [Problem(text, statistic.file, hint=_HINT) for text in found[:1]]
    return problems


def _resolved(table: Table, masks: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """Return a table's figures, 0 in cells outside of masks; None where it cannot tell."""
    figures = table.figures
    for name, mask in masks.items():
        if name not in table.scope:
            return None
        axis = table.scope.index(name)
        group, size = table.groups[axis], figures.shape[axis]
        inside = np.bincount(group, mask, size)
        if ((inside > 0) & (inside < np.bincount(group, minlength=size))).any():
            return None
        shape = [1] * figures.ndim
        shape[axis] = size
        figures = figures * (inside > 0).reshape(shape)
    return figures


def _clashes(statistic: Statistic, table: Table, tables: TableSet) -> Iterator[str]:
    """Yield what a table says against a statistic, group by group."""
    for number, group in enumerate(statistic.groups):
        inside = _resolved(table, group.masks)
        if inside is None or inside.sum() <= 0:
            continue
        figure, room = float(statistic.figures[number]), float(statistic.rounding[number])
        bounds = _bounds(statistic, table, tables, inside, group, figure)
        if bounds is None:
            continue
        low, high = bounds
        about = abs(figure) * statistic.tolerance + room + _NOISE
        value = statistic.level if statistic.measure == "quantile" else figure
        about = _NOISE + 0.5 / inside.sum() if statistic.measure == "quantile" else about
        if low - about <= value <= high + about:
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


def _bounds(
    statistic: Statistic,
    table: Table,
    tables: TableSet,
    inside: np.ndarray,
    group: Group,
    figure: float,
) -> tuple[float, float] | None:
    """Return the least and the most that a table allows; of a quantile, of the share below it."""
    whole = float(inside.sum())
    if statistic.measure == "rate":
        both = dict(group.masks)
        for name, mask in statistic.outcome.items():
            both[name] = both[name] & mask if name in both else mask
        having = _resolved(table, both)
        if having is None:
            return None
        rate = float(having.sum()) / whole
        return rate - 1 / whole, rate + 1 / whole
    if statistic.of not in table.scope:
        return None
    axis = table.scope.index(statistic.of)
    held = inside.sum(axis=tuple(i for i in range(inside.ndim) if i != axis))
    variable = tables.domain[statistic.of]
    edges, place = np.asarray(variable.edges), table.groups[axis]
    low, high = np.full(len(held), np.inf), np.full(len(held), -np.inf)
    np.minimum.at(low, place, edges[:-1])
    np.maximum.at(high, place, edges[1:] - (variable.kind == "integer"))
    if statistic.measure == "mean":
        there = held > 0
        return float(held[there] @ low[there]) / whole, float(held[there] @ high[there]) / whole
    return float(held[high < figure].sum()) / whole, float(held[low <= figure].sum()) / whole


def _together(statistic: Statistic, own: list[Table]) -> tuple[Table, Statistic] | None:
    """Return the statistic of everybody that groups of known sizes make, and who says the sizes."""
    if statistic.measure not in ("mean", "rate") or len(statistic.groups) < 2:
        return None
    for table in own:
        sizes = [_resolved(table, group.masks) for group in statistic.groups]
        if any(size is None for size in sizes):
            continue
        counts = np.stack([size for size in sizes if size is not None])
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
