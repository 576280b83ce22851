"""Variables in the report: which go together, those in order, and those of many categories.

Of variables with many categories, such as zones, errors are spread over the categories, where
PopulationSim's users look first: for each control the mean percentage difference over the zones, its
standard deviation and the percentage root mean square error
(https://activitysim.github.io/populationsim/validation.html).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.files.bins import cell_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmsynthor.targets.domain import Variable
    from llmsynthor.targets.table import Table, TableSet

_PREFERENCE = ("control", "released", "validate")
MANY_CATEGORIES = 30
"""A variable with more categories than this is reported on category by category."""
THRESHOLD_PERCENT = 5.0
"""A category whose table is off by more than this share of its records is counted as beyond."""
WORST = 20
_BINS = 20
_NO_ERROR_PERCENT = 1e-6
"""A smaller error is the rounding of a division."""


def cramers_v(counts: np.ndarray) -> float | None:
    """Return Cramér's V of a contingency table, 0 (independent) to 1 (one variable gives the other).

    V = sqrt((chi2 / n) / (min(r, c) - 1)) over the rows and columns in which there is anybody,
    without a correction for small samples (Cramér, Mathematical Methods of Statistics, 1946).

    Args:
        counts: Counts or shares, shape `(r, c)`.

    Returns:
        None where fewer than two rows or columns are occupied: then nothing can go together.

    Example:
        >>> cramers_v(np.array([[5.0, 0.0], [0.0, 5.0]]))
        1.0
    """
    there = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(there.shape) < 2:
        return None
    share = there / there.sum()
    expected = np.outer(share.sum(axis=1), share.sum(axis=0))
    square = float(((share - expected) ** 2 / expected).sum()) / (min(there.shape) - 1)
    return min(float(np.sqrt(square)), 1.0)


def association_part(
    tables: TableSet, pairs: Mapping[tuple[int, int], np.ndarray], held: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Return each pair of variables with its V, and the target's V where a table has the pair.

    Args:
        tables: The tables of the job.
        pairs: Records in each combination of two variables, by their columns in the domain.
        held: Records in each cell by table name, in the table's shape.

    Returns:
        In domain order. `v` is over the domain's categories and bins. `target` is None or tells of
        the smallest table that has the pair, control tables first: its V, and the records' V over
        the same categories and bins (which may be coarser than the domain's).
    """
    names = tables.domain.names
    found = []
    for (a, b), counts in pairs.items():
        table = _best_table(tables, names[a], names[b])
        found.append(
            {
                "variables": [names[a], names[b]],
                "v": cramers_v(counts),
                "target": None
                if table is None
                else {
                    "table": table.name,
                    "role": table.role,
                    "v": cramers_v(_margin(table, table.share, names[a], names[b])),
                    "v_synthetic": cramers_v(_margin(table, held[table.name], names[a], names[b])),
                },
            }
        )
    return found


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

    Returns:
        In domain order. `emd` is in steps from one category or bin to the next; `emd_unit` in the
        variable's unit, each bin at its middle, or None for categories. `cumulative_target` and
        `cumulative` are the shares up to and with each category or bin; `edges` are the bins' upper
        ends, or None for categories.
    """
    found = []
    for variable in tables.domain.variables:
        table = _best_table(tables, variable.name) if variable.ordered else None
        if table is None or not held[table.name].sum():
            continue
        axis = table.scope.index(variable.name)
        both = (table.share, held[table.name])
        margins = (_margin(table, cells, variable.name) for cells in both)
        target, records = (margin / margin.sum() for margin in margins)
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


def _edges(variable: Variable, groups: np.ndarray) -> np.ndarray:
    """Return the edges of a table's own bins; an integer's bin ends where the next begins."""
    edges = np.asarray(variable.edges)
    return np.append(edges[:-1][np.append(True, np.diff(groups) > 0)], edges[-1])


def _best_table(tables: TableSet, *names: str) -> Table | None:
    """Return the table that has some variables: control tables first, then the best.

    Of those with one variable it is the one that cuts it finest, else, as of those with two, the
    smallest.
    """

    def rank(table: Table) -> tuple[int, int, int, str]:
        cuts = table.share.shape[table.scope.index(names[0])] if len(names) == 1 else 0
        return _PREFERENCE.index(table.role), -cuts, table.cells, table.name

    having = [table for table in tables.tables if set(names) <= set(table.scope)]
    return min(having, key=rank, default=None)


def _margin(table: Table, cells: np.ndarray, *names: str) -> np.ndarray:
    """Return the cells summed to one or two variables, the first along the rows."""
    kept = [table.scope.index(name) for name in names]
    margin = cells.sum(axis=tuple(axis for axis in range(cells.ndim) if axis not in kept))
    return np.asarray(margin if kept == sorted(kept) else margin.T)


def percent_differences(target: np.ndarray, held: np.ndarray) -> dict[str, Any]:
    """Return PopulationSim's validation figures of one control over its zones.

    The means are over the zones whose target is not 0: a percentage of nothing is none.

    Args:
        target: Records wanted in each zone, shape `(zones,)`.
        held: Records made in each zone, same shape.

    Returns:
        `zones` (those with a target), `mean_percent` of (held - target) / target, `sd_percent` of it
        (n - 1), `rmse_percent`: the root of the mean square difference (n - 1) over the mean
        target, as PopulationSim has it. None where there are too few zones.
    """
    there = target > 0
    target, held = target[there], held[there]
    number = len(target)
    percent = 100 * (held - target) / target
    square = float(((held - target) ** 2).sum())
    return {
        "zones": number,
        "target": float(target.sum()),
        "synthetic": float(held.sum()),
        "mean_percent": float(percent.mean()) if number else None,
        "sd_percent": float(percent.std(ddof=1)) if number > 1 else None,
        "rmse_percent": 100 * float(np.sqrt(square / (number - 1)) / target.mean())
        if number > 1
        else None,
    }


def zones_part(tables: TableSet, held: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the report's part on each variable with many categories."""
    found = []
    for variable in tables.domain.variables:
        is_zone = tables.zones is not None and tables.zones.variable == variable.name
        having = [
            table
            for table in tables.tables
            if variable.name in table.scope and (is_zone or not table.coarsens(variable))
        ]
        few = variable.size <= MANY_CATEGORIES and not is_zone
        if variable.is_numeric or few or not having:
            continue
        found.append(
            {
                "variable": variable.name,
                "categories": variable.size,
                "threshold_percent": THRESHOLD_PERCENT,
                "tables": [_table_part(table, variable, held[table.name]) for table in having],
            }
        )
    return found


def _table_part(table: Table, variable: Variable, held: np.ndarray) -> dict[str, Any]:
    """Return errors of one table over its categories of `variable`: of zones, what they lie within."""
    axis = table.scope.index(variable.name)
    shape = (table.share.shape[axis], -1)
    wanted = np.moveaxis(table.figures * (held.sum() / table.total), axis, 0).reshape(shape)
    made = np.moveaxis(held, axis, 0).reshape(shape)
    others = [i for i in range(len(table.scope)) if i != axis]
    names = _control_names(table, others)
    error = _error_percent(wanted, made)
    known = error[np.isfinite(error)]
    counts, edges = np.histogram(
        known, bins=_BINS, range=(0.0, max(float(known.max(initial=0)), 1e-9))
    )
    beyond = np.flatnonzero(error > THRESHOLD_PERCENT)
    worst = np.argsort(-np.where(np.isnan(error), -1.0, error), kind="stable")[:WORST]
    return {
        "table": table.name,
        "role": table.role,
        "cells": percent_differences(wanted.ravel(), made.ravel()),
        "controls": [
            {"control": name, **percent_differences(wanted[:, i], made[:, i])}
            for i, name in enumerate(names)
        ],
        "error_percent": {
            "median": _quantile(known, 0.5),
            "p95": _quantile(known, 0.95),
            "max": _quantile(known, 1.0),
            "counts": counts.tolist(),
            "edges": edges.tolist(),
        },
        "beyond": len(beyond),
        "worst": [
            {
                "category": table.labels[axis][i],
                "target": float(wanted[i].sum()),
                "synthetic": float(made[i].sum()),
                "error_percent": float(error[i]) if np.isfinite(error[i]) else None,
            }
            for i in worst
            if error[i] > _NO_ERROR_PERCENT
        ],
    }


def _control_names(table: Table, others: list[int]) -> list[str]:
    """Return what each control of a table is called: its cell but for the zone."""
    if not others:
        return ["all records"]
    shape = [len(table.labels[i]) for i in others]
    scope = [table.scope[i] for i in others]
    return [
        cell_label(scope, [table.labels[i][p] for i, p in zip(others, place, strict=True)])
        for place in np.ndindex(*shape)
    ]


def _error_percent(wanted: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Return the error of each category: its absolute differences in percent of its target.

    Infinite where somebody is where nobody is wanted, not a number where both are 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(100 * np.abs(made - wanted).sum(axis=1) / wanted.sum(axis=1))


def _quantile(values: np.ndarray, level: float) -> float | None:
    return float(np.quantile(values, level)) if len(values) else None
