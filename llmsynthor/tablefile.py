"""Reading one table file (CSV or parquet) into labels and figures, every problem with its line."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

from llmsynthor.csvfile import read_text_table
from llmsynthor.errors import Problem, TableError
from llmsynthor.figures import check_sum, read_numbers, rounding
from llmsynthor.grouping import wrong_groups
from llmsynthor.labels import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from llmsynthor.job import TableSpec
    from llmsynthor.jobvariables import VariableSpec

_FIGURES = ("count", "share")
_MOE = "moe"
_MOST_PROBLEMS = 8


@dataclass(frozen=True)
class RawTable:
    """A table as its file gives it, with the job's names and categories.

    Attributes:
        name: Unique name in the job.
        file: The path as written in the job.
        role: `control` or `validate`.
        scope: Variables, in the file's column order.
        keys: Per row the labels of the scope's variables.
        figures: Per row the count or share.
        measure: Which of the two.
        lines: Per row its line in the file (parquet: its row).
        rounding: Largest rounding error of a figure.
        moes: Per row the published margin of error, in the figures' unit; None where the file
            has no column `moe`.
        tolerance: As in the job.
        weight: As in the job.
        groups: Variable -> (label -> categories) where the labels are groups of categories.
    """

    name: str
    file: str
    role: Literal["control", "validate"]
    scope: tuple[str, ...]
    keys: list[tuple[str, ...]]
    figures: list[float]
    measure: Literal["count", "share"]
    lines: list[int]
    rounding: float
    moes: list[float] | None = None
    tolerance: float | None = None
    weight: float | None = None
    groups: Mapping[str, Mapping[str, Collection[str]]] = field(default_factory=dict)


def read_raw_table(
    spec: TableSpec,
    path: Path,
    variables: Mapping[str, VariableSpec],
    unsure: Container[str] = (),
) -> RawTable:
    """Read one table.

    Args:
        spec: The table's entry in the job.
        path: Where the file is.
        variables: The job's variables.
        unsure: Names that may be variables, though the job describes them wrongly: columns of
            these names are not looked into.

    Raises:
        TableError: With every problem of the file, each with its line.
    """
    known = {*variables, *_FIGURES, _MOE, *spec.columns}
    text = read_text_table(spec.file, path, spec.separator, known)
    frame, lines = _mapped_columns(spec, text.frame), text.lines
    figure = _figure_column(spec.file, frame.columns)
    scope = tuple(name for name in frame.columns if name not in (figure, _MOE))
    problems = _unknown_columns(spec.file, scope, variables, unsure)
    problems += wrong_groups(spec, scope, variables)
    columns = {name: frame[name].to_list() for name in frame.columns}
    keys = _keys(spec, columns, lines, scope, variables, problems)
    figures = read_numbers(spec.file, figure, columns[figure], lines, problems)
    moes = None
    if _MOE in columns:
        moes = read_numbers(spec.file, _MOE, columns[_MOE], lines, problems)
    if not problems:
        _repeated(spec.file, scope, keys, lines, problems)
        problems += check_sum(spec, figure, columns[figure], figures)
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        if more > 1:
            problems[_MOST_PROBLEMS:] = [Problem(f"and {more} more problems", spec.file)]
        raise TableError.of(problems)
    scale = sum(figures) if spec.normalize else 1.0
    return RawTable(
        name=spec.known_as,
        file=spec.file,
        role=spec.role,
        scope=scope,
        keys=keys,
        figures=[value / scale for value in figures],
        measure="share" if figure == "share" else "count",
        lines=lines,
        rounding=rounding(columns[figure]) / scale if figure == "share" else 0.0,
        moes=None if moes is None else [value / scale for value in moes],
        tolerance=spec.tolerance,
        weight=spec.weight,
        groups=spec.groups,
    )


def _unknown_columns(
    file: str,
    scope: Sequence[str],
    variables: Mapping[str, VariableSpec],
    unsure: Container[str],
) -> list[Problem]:
    if not scope:
        return [Problem("there is no column with a variable, only figures", file, 1)]
    return [
        Problem(
            f"column `{clean(name)}` is no variable of the job{_suggest(name, variables)}",
            file,
            1,
            hint="`columns: {NAME IN THE FILE: variable}` in the table's entry renames a column",
        )
        for name in scope
        if name not in variables and name not in unsure
    ]


def _mapped_columns(spec: TableSpec, frame: pl.DataFrame) -> pl.DataFrame:
    absent = [name for name in spec.columns if name not in frame.columns]
    if absent:
        message = (
            f"`columns` names `{clean(absent[0])}`, which the file does not have "
            f"(it has {', '.join(map(clean, frame.columns))})"
        )
        raise TableError.of([Problem(message, spec.file, 1)])
    names = [spec.columns.get(name, name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError.of([Problem(f"two columns are `{clean(twice[0])}`", spec.file, 1)])
    return frame.rename(spec.columns)


def _figure_column(file: str, columns: Sequence[str]) -> str:
    found = [name for name in columns if name in _FIGURES]
    if len(found) != 1:
        what = "both `count` and `share`" if found else "neither `count` nor `share`"
        message = (
            f"the file has {what}; one column must hold the figures "
            f"(columns: {', '.join(map(clean, columns))})"
        )
        hint = (
            "delete one of the two columns"
            if found
            else "`columns: {NAME IN THE FILE: count}` in the table's entry renames a column"
        )
        raise TableError.of([Problem(message, file, 1, hint=hint)])
    return found[0]


def _keys(
    spec: TableSpec,
    frame: Mapping[str, list[str]],
    lines: Sequence[int],
    scope: Sequence[str],
    variables: Mapping[str, VariableSpec],
    problems: list[Problem],
) -> list[tuple[str, ...]]:
    columns = []
    for name in scope:
        mapping = spec.values.get(name, {})
        variable = variables.get(name)
        known = set(variable.values) if variable and variable.type == "category" else None
        if known is not None and name in spec.groups:
            known = set(spec.groups[name])
        labels = [
            mapping.get(text, mapping.get(text.strip(), text.strip())) for text in frame[name]
        ]
        seen: set[str] = set()
        for line, label in zip(lines, labels, strict=True):
            if known is None or label in known or label in seen:
                continue
            seen.add(label)
            what = f"`{clean(label)}` is no {'group' if name in spec.groups else 'category'} of `{clean(name)}`" if label else (
                f"there is no category in column `{clean(name)}`"
            )  # fmt: skip
            problems.append(Problem(f"{what}{_suggest(label, known)}", spec.file, line))
        columns.append(labels)
    stray = sorted(set(spec.values) - set(scope))
    if stray:
        message = f"`values` maps `{clean(stray[0])}`, which is no column of the file"
        problems.append(Problem(message, spec.file))
    return list(zip(*columns, strict=True))


def _suggest(given: str, known: Mapping[str, object] | set[str]) -> str:
    near = get_close_matches(given, list(known), n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{clean(near[0])}`?"
    listed = sorted(known)
    shown = ", ".join(clean(name) for name in listed[:12]) + (", ..." if len(listed) > 12 else "")
    return f" (known: {shown})"


def _repeated(
    file: str,
    scope: Sequence[str],
    keys: Sequence[tuple[str, ...]],
    lines: Sequence[int],
    problems: list[Problem],
) -> None:
    first: dict[tuple[str, ...], int] = {}
    for line, key in zip(lines, keys, strict=True):
        if key in first:
            cell = ", ".join(f"{name}={label}" for name, label in zip(scope, key, strict=True))
            message = f"{clean(cell)} is given twice, first on line {first[key]}"
            problems.append(Problem(message, file, line))
        first.setdefault(key, line)
