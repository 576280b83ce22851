"""Ordered variables: cumulative shares of target and records, and the earth mover's distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmsynthor.targets.domain import Variable
    from llmsynthor.targets.table import Table, TableSet

_PREFERENCE = ("control", "released", "validate")


def earth_movers_distance(target: np.ndarray, held: np.ndarray, positions: np.ndarray) -> float:
    """Return the first Wasserstein distance of two distributions over points of a line.

    In one dimension it is the area between the two cumulative curves (Vallender, Theory of
    Probability and its Applications 18, 1974).

    Args:
        target: Shares, sum 1, shape `(n,)`.
        held: Shares, sum 1, same shape.
        positions: Where each share lies, ascending, same shape.

    Returns:
        In the unit of `positions`.

    Example:
        >>> earth_movers_distance(np.array([1.0, 0.0]), np.array([0.5, 0.5]), np.array([0.0, 1.0]))
        0.5
    """
    apart = np.abs(np.cumsum(held - target))[:-1]
    return float((apart * np.diff(positions)).sum())


def ordered_part(tables: TableSet, held: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return each ordered variable that a table has, with its distance and cumulative shares.

    Args:
        tables: The tables of the job.
        held: Records in each cell by table name, in the table's shape.

    Returns:
        In domain order. `emd` is in steps from one category or bin to the next; `emd_unit` in the
        variable's unit, each bin at its middle, or None for categories. `cumulative_target` and
        `cumulative` are the shares up to and with each category or bin; `edges` are the bins' upper
        ends, or None for categories.
    """
    found = []
    for variable in tables.domain.variables:
        table = _finest_table(tables, variable.name) if variable.ordered else None
        if table is None or not held[table.name].sum():
            continue
        axis = table.scope.index(variable.name)
        target, records = (_margin(cells, axis) for cells in (table.share, held[table.name]))
        edges = _edges(variable, table.groups[axis]) if variable.is_numeric else None
        steps = np.arange(len(target), dtype=float)
        found.append(
            {
                "variable": variable.name,
                "table": table.name,
                "role": table.role,
                "unit": variable.unit,
                "labels": list(table.labels[axis]),
                "edges": None if edges is None else edges[1:].tolist(),
                "low": None if edges is None else float(edges[0]),
                "emd": earth_movers_distance(target, records, steps),
                "emd_unit": None
                if edges is None
                else earth_movers_distance(target, records, (edges[1:] + edges[:-1]) / 2),
                "cumulative_target": np.cumsum(target).tolist(),
                "cumulative": np.cumsum(records).tolist(),
            }
        )
    return found


def _finest_table(tables: TableSet, name: str) -> Table | None:
    """Return the table that cuts a variable finest; control tables first, then the smallest."""
    having = [table for table in tables.tables if name in table.scope]
    return min(
        having,
        key=lambda t: (
            _PREFERENCE.index(t.role),
            -t.share.shape[t.scope.index(name)],
            t.cells,
            t.name,
        ),
        default=None,
    )


def _margin(cells: np.ndarray, axis: int) -> np.ndarray:
    """Return shares of one variable of a table."""
    margin = cells.sum(axis=tuple(i for i in range(cells.ndim) if i != axis))
    return np.asarray(margin / margin.sum())


def _edges(variable: Variable, groups: np.ndarray) -> np.ndarray:
    """Return the edges of a table's own bins; an integer's bin ends where the next begins."""
    edges = np.asarray(variable.edges)
    return np.append(edges[:-1][np.append(True, np.diff(groups) > 0)], edges[-1])
