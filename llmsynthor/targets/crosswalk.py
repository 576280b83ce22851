"""Reading the crosswalk: which zones there are, and what each lies within."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import polars as pl

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.rows import named_columns, read_rows
from llmsynthor.job.tables import TableSpec
from llmsynthor.targets.zones import Level, Zones, ranks_of
from llmsynthor.text import clean, count_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from llmsynthor.job.variables import VariableSpec
    from llmsynthor.job.zones import ZonesSpec

_MOST_PROBLEMS = 8
MOST_NAMED = 5
"""Zones named in one message."""


def read_crosswalk(spec: ZonesSpec, path: Path, variables: Mapping[str, VariableSpec]) -> Zones:
    """Read the zones of a job.

    A zone that is listed twice must lie within the same places both times.

    Args:
        spec: The job's key `zones`.
        path: Where the crosswalk is.
        variables: The job's variables; where the zone variable is one of them, its categories
            must be the zones, and their order holds.

    Raises:
        TableError: With every problem, each with its line.
    """
    names = (spec.variable, *spec.within)
    entry = TableSpec(file=spec.crosswalk, separator=spec.separator)
    text = named_columns(entry, read_rows(entry, path), {*names, *spec.columns})
    frame = _columns(spec, pl.DataFrame(text.columns), names)
    columns = {name: [value.strip() for value in frame[name].to_list()] for name in names}
    problems = _empty(spec.crosswalk, columns, text.lines)
    rows = _distinct(spec, columns, text.lines, problems)
    zones = [columns[spec.variable][row] for row in rows]
    given = variables.get(spec.variable)
    if given is not None and given.type == "category" and not problems:
        problems += _other_than_listed(spec, given.values, zones)
    if problems:
        raise TableError.of(_few(problems, spec.crosswalk))
    if given is not None and given.type == "category":
        place = dict(zip(zones, rows, strict=True))
        rows = [place[zone] for zone in given.values]
    levels = tuple(
        Level(name, *ranks_of([columns[name][row] for row in rows])) for name in spec.within
    )
    labels = tuple(columns[spec.variable][row] for row in rows)
    return Zones(spec.variable, labels, levels, spec.crosswalk)


def check_zones(
    file: str, name: str, zones: Zones, keys: Sequence[str], lines: Sequence[int]
) -> None:
    """Refuse a table's column that has not just the places of the crosswalk.

    Args:
        file: The table's file, as the job names it.
        name: The zone variable or a level.
        zones: The zones of the job.
        keys: The place of each row.
        lines: Its line.

    Raises:
        TableError: Names a few of the places that are unknown or missing, and how many there are.
    """
    known = set(zones.places(name))
    first: dict[str, int] = {}
    for key, line in zip(keys, lines, strict=True):
        first.setdefault(key, line)
    unknown = [key for key in first if key not in known]
    problems = []
    if unknown:
        message = f"{named(name, unknown)} {'is' if len(unknown) == 1 else 'are'} not in {clean(zones.file)}"
        problems.append(Problem(message, file, first[unknown[0]]))
    missing = [place for place in zones.places(name) if place not in first]
    if missing:
        message = f"{named(name, missing)} of {clean(zones.file)} {'is' if len(missing) == 1 else 'are'} missing"
        hint = f"list each `{clean(name)}`, with 0 where nobody is"
        problems.append(Problem(message, file, hint=hint))
    if problems:
        raise TableError.of(problems)


def named(name: str, places: Sequence[str]) -> str:
    """Return a few places in words, and how many there are.

    Example:
        >>> named("taz", ["1", "2"])
        '2 places of `taz` (`1`, `2`)'
    """
    shown = ", ".join(f"`{clean(place)}`" for place in places[:MOST_NAMED])
    more = ", ..." if len(places) > MOST_NAMED else ""
    return f"{count_of(len(places), 'place')} of `{clean(name)}` ({shown}{more})"


def _columns(spec: ZonesSpec, frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    absent = [name for name in spec.columns if name not in frame.columns]
    if absent:
        message = (
            f"`zones.columns` names `{clean(absent[0])}`, which the file does not have "
            f"(it has {', '.join(map(clean, frame.columns))})"
        )
        raise TableError.of([Problem(message, spec.crosswalk, 1)])
    there, taken = frame.columns, set(spec.columns.values())
    kept = [c for c in frame.columns if c in spec.columns or (c in names and c not in taken)]
    frame = frame.select(kept).rename(spec.columns) if kept else frame
    lacking = [name for name in names if name not in frame.columns]
    if lacking:
        near = get_close_matches(lacking[0], there, n=1, cutoff=0.6)
        message = (
            f"there is no column `{clean(lacking[0])}`"
            + (f"; did you mean `{clean(near[0])}`?" if near else "")
            + f" (columns: {', '.join(map(clean, there))})"
        )
        hint = "`zones.columns: {NAME IN THE FILE: name}` renames a column"
        raise TableError.of([Problem(message, spec.crosswalk, 1, hint=hint)])
    return frame


def _empty(file: str, columns: Mapping[str, Sequence[str]], lines: Sequence[int]) -> list[Problem]:
    return [
        Problem(f"column `{clean(name)}` is empty", file, line)
        for name, values in columns.items()
        for value, line in zip(values, lines, strict=True)
        if not value
    ]


def _distinct(
    spec: ZonesSpec,
    columns: Mapping[str, Sequence[str]],
    lines: Sequence[int],
    problems: list[Problem],
) -> list[int]:
    """Return the first row of each zone; a further row must say the same."""
    first: dict[str, int] = {}
    for row, zone in enumerate(columns[spec.variable]):
        before = first.setdefault(zone, row)
        for name in spec.within if before != row else ():
            here, there = columns[name][row], columns[name][before]
            if here != there:
                message = (
                    f"{clean(spec.variable)} `{clean(zone)}` lies in {clean(name)} `{clean(here)}`, "
                    f"and in `{clean(there)}` on line {lines[before]}"
                )
                hint = "a zone lies within one place of each geography"
                problems.append(Problem(message, spec.crosswalk, lines[row], hint=hint))
    return list(first.values())


def _other_than_listed(
    spec: ZonesSpec, listed: Sequence[str], zones: Sequence[str]
) -> list[Problem]:
    known, there = set(listed), set(zones)
    problems = []
    stray = [zone for zone in zones if zone not in known]
    if stray:
        words = "is" if len(stray) == 1 else "are"
        message = f"{named(spec.variable, stray)} {words} not in `variables.{spec.variable}.values`"
        problems.append(Problem(message, spec.crosswalk))
    missing = [zone for zone in listed if zone not in there]
    if missing:
        words = "is" if len(missing) == 1 else "are"
        message = f"{named(spec.variable, missing)} of the job {words} missing"
        problems.append(Problem(message, spec.crosswalk))
    return problems


def _few(problems: Sequence[Problem], file: str) -> list[Problem]:
    ordered = sorted(problems, key=lambda p: p.line or 0)
    more = len(ordered) - _MOST_PROBLEMS
    return [
        *ordered[:_MOST_PROBLEMS],
        *([Problem(f"and {more} more problems", file)] if more > 0 else []),
    ]
