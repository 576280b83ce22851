"""Margins: what two tables both count, on the finest cells that both can be summed to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.files.bins import cell_label
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.targets.domain import Domain, Variable
    from llmsynthor.targets.table import Table


@dataclass(frozen=True, eq=False)
class Margin:
    """A margin that two tables have in common.

    Attributes:
        names: Its variables.
        groups: Per variable the margin's cell of each of the domain's codes.
        labels: Per variable the names of its cells.
    """

    names: tuple[str, ...]
    groups: tuple[np.ndarray, ...]
    labels: tuple[tuple[str, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return how many cells it has along each variable."""
        return tuple(len(labels) for labels in self.labels)

    @property
    def key(self) -> tuple[tuple[str, bytes], ...]:
        """Return what equals that of another margin over the same cells."""
        pairs = zip(self.names, self.groups, strict=True)
        return tuple(sorted((name, group.astype(np.int64).tobytes()) for name, group in pairs))

    def cell_name(self, cell: Sequence[int]) -> str:
        """Return a cell's name for people."""
        labels = [own[int(place)] for own, place in zip(self.labels, cell, strict=True)]
        return clean(cell_label(list(self.names), labels))

    def summed(self, figures: np.ndarray, table: Table) -> np.ndarray:
        """Return an array over a table's cells, summed to the margin's, in its shape."""
        kept = [table.scope.index(name) for name in self.names]
        margin = figures.sum(axis=tuple(i for i in range(figures.ndim) if i not in kept))
        margin = np.moveaxis(margin, np.argsort(np.argsort(kept)), range(len(kept)))
        for axis, (name, size) in enumerate(zip(self.names, self.shape, strict=True)):
            margin = added(margin, axis, self._along(table, name), size)
        return margin

    def cells(self, table: Table) -> np.ndarray:
        """Return the flat cell of the margin that each cell of a table lies in, its shape."""
        index = np.zeros(table.figures.shape, dtype=np.int64)
        for name, size in zip(self.names, self.shape, strict=True):
            axis = table.scope.index(name)
            line = [-1 if i == axis else 1 for i in range(index.ndim)]
            index = index * size + self._along(table, name).reshape(line)
        return index

    def _along(self, table: Table, name: str) -> np.ndarray:
        """Return the margin's cell of each of a table's labels: every label lies in one."""
        axis = table.scope.index(name)
        coarse = np.zeros(table.figures.shape[axis], dtype=np.int64)
        coarse[table.groups[axis]] = self.groups[self.names.index(name)]
        return coarse


def added(figures: np.ndarray, axis: int, group: np.ndarray, size: int) -> np.ndarray:
    """Return an array with what lies in one of `size` groups along an axis added up."""
    moved = np.moveaxis(figures, axis, 0)
    out = np.zeros((size, *moved.shape[1:]))
    np.add.at(out, group, moved)
    return np.moveaxis(out, 0, axis)


def margin_of(
    domain: Domain, one: Table, other: Table, names: Sequence[str] | None = None
) -> Margin:
    """Return the finest margin that two tables have in common; or of `names`, which both have."""
    shared = [n for n in one.scope if n in other.scope] if names is None else list(names)
    parts = [_common(domain[name], one, other) for name in shared]
    return Margin(
        tuple(shared), tuple(group for group, _ in parts), tuple(tuple(own) for _, own in parts)
    )


def _group(table: Table, name: str) -> np.ndarray:
    return table.groups[table.scope.index(name)]


def _common(variable: Variable, one: Table, other: Table) -> tuple[np.ndarray, list[str]]:
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


def common_groups(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return code -> cell of the finest partition that two groupings of codes can be summed to.

    Codes that share a group in either fall together. Cells are numbered by their first codes.

    Example:
        >>> common_groups(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])).tolist()
        [0, 0, 0, 1]
    """
    least = np.arange(len(first))
    while True:
        before = least
        for own in (first, second):
            smallest = np.full(int(own.max()) + 1, len(first))
            np.minimum.at(smallest, own, least)
            least = smallest[own]
        if (least == before).all():
            return np.unique(least, return_inverse=True)[1]


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
