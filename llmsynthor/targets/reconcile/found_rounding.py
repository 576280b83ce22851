"""Counts that were rounded though nobody says so: found where that explains why tables differ."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.errors import Problem
from llmsynthor.targets.agreement import clashes

if TYPE_CHECKING:
    from llmsynthor.targets.table import Table, TableSet

_UNITS = (1_000_000, 100_000, 10_000, 1000)
"""Smaller ones are found by chance too often: people write round numbers."""
_CHANCE = 1e-6
"""How likely it may be that counts which nobody rounded all are multiples of the unit."""


def rounding_unit(table: Table) -> int | None:
    """Return the largest unit that all counts of a table are multiples of, and not by chance.

    Example:
        >>> from types import SimpleNamespace as N
        >>> rounding_unit(N(figures=np.array([1000.0, 25000.0, 0.0])))
        1000
        >>> rounding_unit(N(figures=np.array([300.0, 180.0, 120.0])))
    """
    counts = table.figures[table.figures > 0]
    for unit in _UNITS:
        if float(unit) ** -len(counts) <= _CHANCE and not np.remainder(counts, unit).any():
            return unit
    return None


def with_found_rounding(tables: TableSet) -> tuple[TableSet, list[Problem]]:
    """Return the tables with the rounding of those that differ from others, and what was found.

    A table's counts are taken as rounded only where the job does not say so, where all of them are
    multiples of one unit, and where a table that must be met differs from it by no more than that.
    """
    found = clashes(tables)
    units = {
        table.name: unit
        for clash in found
        for table in clash.tables
        if table.measure == "count" and not table.rounding and (unit := rounding_unit(table))
    }
    if not units:
        return tables, []
    rounded = _with(tables, units)
    left = {clash.names for clash in clashes(rounded)}
    settled = {name for clash in found if clash.names not in left for name in clash.names}
    kept = {name: unit for name, unit in units.items() if name in settled}
    notes = [
        Problem(
            f"all counts are multiples of {kept[table.name]:,}, and taken as rounded to that; "
            f"`rounded_to: {kept[table.name]}` in the table's entry says so",
            table.file,
        )
        for table in tables.tables
        if table.name in kept
    ]
    return _with(tables, kept), notes


def _with(tables: TableSet, units: dict[str, int]) -> TableSet:
    changed = tuple(
        replace(table, rounding=units[table.name] / 2) if table.name in units else table
        for table in tables.tables
    )
    return replace(tables, tables=changed)
