"""Zones: their file, the categories of the zone variable, and the coarser geographies they lie within."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.rows import named_columns, read_rows
from llmsynthor.job.tables import TableSpec
from llmsynthor.targets.domain import Variable
from llmsynthor.targets.margins import renumbered
from llmsynthor.text import clean, count_of, did_you_mean, first_of, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmsynthor.files.inputs import Inputs
    from llmsynthor.job.file_form import Form
    from llmsynthor.job.variables import VariableSpec
    from llmsynthor.job.zones import ZonesSpec

_MOST_PROBLEMS = 8
MOST_NAMED = 5
"""Zones named in one message."""


@dataclass(frozen=True, eq=False)
class Level:
    """One coarser geography.

    Attributes:
        name: As in the job.
        labels: Its places, in the order in which zones name them first.
        group: Place of each zone, int32, shape `(zones,)`.
    """

    name: str
    labels: tuple[str, ...]
    group: np.ndarray

    def take(self, zones: np.ndarray) -> Level:
        """Return the level of some zones only, with the places that these lie in."""
        kept, group = renumbered(self.group[zones])
        return Level(self.name, tuple(self.labels[k] for k in kept), group)


@dataclass(frozen=True, eq=False)
class Zones:
    """The zones of a job.

    Attributes:
        variable: The zone variable.
        labels: The zones, in the crosswalk's order: the codes of the variable.
        levels: What they lie within.
        file: The crosswalk, as the job names it.
    """

    variable: str
    labels: tuple[str, ...]
    levels: tuple[Level, ...]
    file: str

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """Return the code of each zone."""
        return {label: code for code, label in enumerate(self.labels)}

    @cached_property
    def by_name(self) -> Mapping[str, Level]:
        """Return the levels by name."""
        return {level.name: level for level in self.levels}

    def names(self) -> tuple[str, ...]:
        """Return the columns that a table may have: the zone variable and the levels."""
        return (self.variable, *self.by_name)

    def places(self, name: str) -> tuple[str, ...]:
        """Return the zones, or the places of a level."""
        return self.labels if name == self.variable else self.by_name[name].labels

    def group(self, name: str) -> np.ndarray:
        """Return the place of each zone, int32, shape `(zones,)`; of the zone variable itself."""
        if name == self.variable:
            return np.arange(len(self.labels), dtype=np.int32)
        return self.by_name[name].group

    def take(self, zones: np.ndarray) -> Zones:
        """Return some zones only, in the order given."""
        labels = tuple(self.labels[z] for z in zones)
        return replace(self, labels=labels, levels=tuple(v.take(zones) for v in self.levels))

    def level_variables(self) -> tuple[Variable, ...]:
        """Return the levels as variables: what the further columns of records hold."""
        return tuple(
            Variable(
                level.name,
                "category",
                level.labels,
                description=f"what {self.variable} lies within",
            )
            for level in self.levels
        )

    def located(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return records with a column for each level, and zones as text.

        Files of different zones can so be read together: none lists the zones of the others.
        """
        zones = records.get_column(self.variable).cast(pl.String)
        codes = zones.cast(pl.Enum(self.labels)).to_physical().to_numpy()
        columns = [
            zones if name == self.variable else records.get_column(name) for name in records.columns
        ]
        columns += [
            pl.Series(
                level.name, np.array(level.labels, dtype=object)[level.group[codes]], pl.String
            )
            for level in self.levels
        ]
        return pl.DataFrame(columns)


class _Crosswalk(TableSpec):
    """A crosswalk read as a table is: what is said of its form stands in `zones`."""

    @property
    def form(self) -> Form:
        keys = frozenset({"separator", "encoding", "sheet"})
        return replace(super().form, said_in="`zones`", keys=keys)


def read_crosswalk(spec: ZonesSpec, inputs: Inputs, variables: Mapping[str, VariableSpec]) -> Zones:
    """Read the zones of a job.

    A zone that is listed twice must lie within the same places both times.

    Args:
        spec: The job's key `zones`.
        inputs: The job's files.
        variables: The job's variables; where the zone variable is one of them, its categories
            must be the zones, and their order holds.

    Raises:
        TableError: With every problem, each with its line.
    """
    names = (spec.variable, *spec.within)
    entry = _Crosswalk(
        file=spec.crosswalk, separator=spec.separator, encoding=spec.encoding, sheet=spec.sheet
    )
    text = named_columns(entry, read_rows(entry, inputs), {*names, *spec.columns})
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
    levels = []
    for name in spec.within:
        places, group = renumbered(np.array([columns[name][row] for row in rows], dtype=object))
        levels.append(Level(name, tuple(places), group))
    labels = tuple(columns[spec.variable][row] for row in rows)
    return Zones(spec.variable, labels, tuple(levels), spec.crosswalk)


def check_zones(
    file: str, name: str, zones: Zones, keys: Sequence[str], lines: Sequence[int]
) -> None:
    """Refuse a table's column that has not just the places of the crosswalk.

    Raises:
        TableError: Names a few of the places that are unknown or missing, and how many there are.
    """
    first: dict[str, int] = {}
    for key, line in zip(keys, lines, strict=True):
        first.setdefault(key, line)
    problems = []
    unknown = _lacking(first, zones.places(name))
    if unknown:
        message = f"{named(name, unknown)} {_are(unknown)} not in {clean(zones.file)}"
        problems.append(Problem(message, file, first[unknown[0]]))
    missing = _lacking(zones.places(name), first)
    if missing:
        message = f"{named(name, missing)} of {clean(zones.file)} {_are(missing)} missing"
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
    shown = first_of(quoted(places), MOST_NAMED)
    return f"{count_of(len(places), 'place')} of `{clean(name)}` ({shown})"


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
        message = (
            f"there is no column `{clean(lacking[0])}`"
            + did_you_mean(lacking[0], there)
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
    problems = []
    stray = _lacking(zones, listed)
    if stray:
        message = (
            f"{named(spec.variable, stray)} {_are(stray)} not in `variables.{spec.variable}.values`"
        )
        problems.append(Problem(message, spec.crosswalk))
    missing = _lacking(listed, zones)
    if missing:
        message = f"{named(spec.variable, missing)} of the job {_are(missing)} missing"
        problems.append(Problem(message, spec.crosswalk))
    return problems


def _lacking(places: Iterable[str], known: Iterable[str]) -> list[str]:
    known = frozenset(known)
    return [place for place in places if place not in known]


def _are(places: Sequence[str]) -> str:
    return "is" if len(places) == 1 else "are"


def _few(problems: Sequence[Problem], file: str) -> list[Problem]:
    ordered = sorted(problems, key=lambda p: p.line or 0)
    more = len(ordered) - _MOST_PROBLEMS
    rest = [Problem(f"and {more} more problems", file)] if more > 0 else []
    return ordered[:_MOST_PROBLEMS] + rest
