"""Statistics in the report: what means, sums, quantiles and rates the records have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.fitting.values.aims import values_of

if TYPE_CHECKING:
    import polars as pl

    from llmsynthor.targets.domain import Variable
    from llmsynthor.targets.statistic import Statistic
    from llmsynthor.targets.table import TableSet

_NOISE = 1e-9


class HeldStatistics:
    """What the records hold of each statistic's groups, file by file."""

    def __init__(self, tables: TableSet) -> None:
        self._tables = tables
        self._sums = [np.zeros((len(s.groups), 2)) for s in tables.statistics]
        self._values: list[list[tuple[np.ndarray, np.ndarray]]] = [
            [(np.empty(0), np.empty(0)) for _ in s.groups] for s in tables.statistics
        ]

    def add(self, frame: pl.DataFrame, codes: np.ndarray) -> None:
        """Take up the records of one file, with their members beside them, and their codes."""
        domain = self._tables.wide
        for number, statistic in enumerate(self._tables.statistics):
            of_number = statistic.measure != "rate"
            held = (
                values_of(frame, statistic, domain)
                if of_number
                else statistic.outcome_inside(codes, domain)
            )
            for place, group in enumerate(statistic.groups):
                inside = group.inside(codes, domain, statistic.members)
                own = held[inside]
                self._sums[number][place] += own.sum(), len(own)
                if statistic.measure == "quantile":
                    self._values[number][place] = _together(self._values[number][place], own)

    def part(self, records: int) -> list[dict[str, Any]]:
        """Return the report's part on statistics, each with its groups.

        Args:
            records: How many there are; sums are published for the tables' number of them.
        """
        population = self._tables.population or float(max(records, 1))
        return [
            self._entry(number, statistic, records / population)
            for number, statistic in enumerate(self._tables.statistics)
        ]

    def _entry(self, number: int, statistic: Statistic, scale: float) -> dict[str, Any]:
        groups: list[dict[str, Any]] = []
        for place, figure in enumerate(statistic.figures):
            target = float(figure) * (scale if statistic.measure == "sum" else 1.0)
            found = self._found(number, place, statistic, target)
            held = int(self._sums[number][place, 1])
            groups.append(
                {
                    "group": statistic.label(place),
                    "number": held,
                    "target": target,
                    "records": found,
                    "error": _error(found, target),
                    "pass": self._passes(number, place, held, found, target)
                    if statistic.role == "control"
                    else None,
                }
            )
        errors = [float(e) for g in groups if (e := g["error"]) is not None]
        return {
            "name": statistic.name,
            "file": statistic.file,
            "role": statistic.role,
            "measure": statistic.column,
            "of": statistic.of,
            "scope": list(statistic.scope),
            "counts": statistic.counted,
            "tolerance": statistic.tolerance if statistic.role == "control" else None,
            "groups": groups,
            "max_error": max(errors, default=None),
            "pass": all(g["pass"] for g in groups) if statistic.role == "control" else None,
        }

    def _found(self, number: int, place: int, statistic: Statistic, target: float) -> float | None:
        total, held = (float(x) for x in self._sums[number][place])
        if statistic.measure == "sum":
            return total
        if held == 0:
            return None
        if statistic.measure in ("mean", "rate"):
            return total / held
        values, counts = self._values[number][place]
        variable = self._tables.domain[statistic.of]
        return quantile_near(values, counts, statistic.level, target, variable)

    def _passes(
        self, number: int, place: int, held: int, found: float | None, target: float
    ) -> bool:
        """Return whether a statistic is met within its tolerance, or as near as records can be.

        One record more or less moves a rate, and a median that is read between whole numbers; one
        unit of the last digit of one value moves a mean, half a unit is the rounding of a sum.
        """
        statistic = self._tables.statistics[number]
        if found is None:
            return False
        apart = abs(found - target)
        if apart <= statistic.tolerance * abs(target) + _NOISE:
            return True
        if statistic.measure == "rate":
            return apart * held <= 1 + _NOISE
        variable = self._tables.domain[statistic.of]
        unit = variable.step
        if statistic.measure == "quantile" and variable.kind == "number":
            return apart <= unit
        if statistic.measure == "quantile":
            values, counts = self._values[number][place]
            return apart * float(counts[values == np.floor(found)].sum()) <= 1 + _NOISE
        return apart * held <= unit if statistic.measure == "mean" else apart <= unit / 2


def _together(
    held: tuple[np.ndarray, np.ndarray], more: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return distinct values and how many there are of each, with more of them."""
    values, place = np.unique(np.concatenate([held[0], more]), return_inverse=True)
    weights = np.concatenate([held[1], np.ones(len(more))])
    return values, np.bincount(place, weights, len(values))


def quantile_near(
    values: np.ndarray, counts: np.ndarray, level: float, target: float, variable: Variable
) -> float:
    """Return that quantile of the values which is nearest to a target.

    A quantile of level p is any x with at most p of the values below it and at least p at or below
    it. Where the target of a whole number is not whole, as census offices publish medians, each
    whole number is taken as spread evenly over the width of one.

    Args:
        values: Distinct, rising.
        counts: Of each.
        level: p.
        target: As published.
        variable: What the values are of.
    """
    upto = np.cumsum(counts)
    rank = level * upto[-1]
    first = int(np.searchsorted(upto, rank - _NOISE * upto[-1]))
    if variable.is_whole and not float(target).is_integer():
        below = float(upto[first] - counts[first])
        return float(values[first] + (rank - below) / counts[first])
    last = int(np.searchsorted(upto, rank + _NOISE * upto[-1], side="right"))
    return float(np.clip(target, values[first], values[min(last, len(values) - 1)]))


def _error(found: float | None, target: float) -> float | None:
    """Return by how much of itself a statistic is missed; None where that cannot be said."""
    if found is None or (target == 0 and found != 0):
        return None
    return 0.0 if found == target else abs(found - target) / abs(target)


def missed_statistics(entries: list[dict[str, Any]]) -> list[str]:
    """Return a sentence for each statistic that was to be met and is not, with its worst group."""
    notes = []
    for entry in entries:
        missed = [g for g in entry["groups"] if g["pass"] is False]
        if not missed:
            continue
        errors = [math.inf if g["error"] is None else float(g["error"]) for g in missed]
        worst = missed[errors.index(max(errors))]
        has = (
            "there is nobody"
            if worst["records"] is None
            else f"records have {worst['records']:.6g}"
        )
        notes.append(
            f"`{entry['name']}`: {len(missed)} of {len(entry['groups'])} figures of {entry['measure']} "
            f"of {entry['of']} are missed; most {worst['group']}: {worst['target']:.6g} is wanted, {has}"
        )
    return notes
