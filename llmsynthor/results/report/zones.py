"""Variables with many categories, such as zones: how errors spread over the categories.

Where PopulationSim's users look first: for each control the mean percentage difference over the
zones, its standard deviation and the percentage root mean square error
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

MANY_CATEGORIES = 30
"""A variable with more categories than this is reported on category by category."""
THRESHOLD_PERCENT = 5.0
"""A category whose table is off by more than this share of its records is counted as beyond."""
WORST = 20
_BINS = 20
_NO_ERROR_PERCENT = 1e-6
"""A smaller error is the rounding of a division."""


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
    """Return the report's part on each variable with many categories.

    Args:
        tables: The tables of the job.
        held: Records in each cell by table name, in the table's shape.
    """
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
