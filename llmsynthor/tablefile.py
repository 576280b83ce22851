"""Reading one table file (CSV or parquet) into labels and figures, every problem with its line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal

import polars as pl

from llmsynthor.errors import TableError
from llmsynthor.labels import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from llmsynthor.job import TableSpec, VariableSpec

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


def read_raw_table(spec: TableSpec, path: Path, variables: Mapping[str, VariableSpec]) -> RawTable:
    """Read one table.

    Args:
        spec: The table's entry in the job.
        path: Where the file is.
        variables: The job's variables.

    Raises:
        TableError: With every problem of the file, each with its line.
    """
    frame = _mapped_columns(spec, _read(spec.file, path))
    figure = _figure_column(spec.file, frame.columns)
    scope = tuple(name for name in frame.columns if name not in (figure, _MOE))
    unknown = [name for name in scope if name not in variables]
    if unknown:
        raise TableError(
            f"{spec.file}:1: column `{unknown[0]}` is no variable of the job{_suggest(unknown[0], variables)}",
            hint="`columns: {NAME IN THE FILE: variable}` renames a column",
        )
    if not scope:
        raise TableError(f"{spec.file}:1: there is no column with a variable, only `{figure}`")
    problems: list[str] = []
    lines = list(range(2, frame.height + 2))
    keys = _keys(spec, frame, scope, variables, problems)
    figures = [
        _number(spec.file, n, text, figure, problems)
        for n, text in zip(lines, frame[figure], strict=True)
    ]
    moes = None
    if _MOE in frame.columns:
        moes = [
            _number(spec.file, n, text, _MOE, problems)
            for n, text in zip(lines, frame[_MOE], strict=True)
        ]
    _repeated(spec.file, scope, keys, lines, problems)
    _whole(spec.file, figure, figures, problems)
    if problems:
        more = (
            [f"{spec.file}: and {len(problems) - _MOST_PROBLEMS} more"]
            if len(problems) > _MOST_PROBLEMS
            else []
        )
        raise TableError("\n".join([*problems[:_MOST_PROBLEMS], *more]))
    rounding = _rounding(frame[figure]) if figure == "share" else 0.0
    return RawTable(
        name=spec.known_as,
        file=spec.file,
        role=spec.role,
        scope=scope,
        keys=keys,
        figures=figures,
        measure="share" if figure == "share" else "count",
        lines=lines,
        rounding=rounding,
        moes=moes,
        tolerance=spec.tolerance,
        weight=spec.weight,
    )


def _read(file: str, path: Path) -> pl.DataFrame:
    """Return the file with every value as text."""
    try:
        if path.suffix.lower() == ".csv":
            frame = pl.read_csv(path, infer_schema=False, empty_string_is_null=False, glob=False)
        elif path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path).with_columns(pl.all().cast(pl.String).fill_null(""))
        else:
            raise TableError(f"{file}: the file name must end in .csv or .parquet")
    except FileNotFoundError:
        raise TableError(f"{file}: no such file (looked for {path})") from None
    except OSError as error:
        raise TableError(f"{file}: cannot be read ({error.strerror or error})") from None
    except pl.exceptions.NoDataError:
        raise TableError(f"{file}: the file is empty") from None
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0][:160]
        raise TableError(f"{file}: not a readable {path.suffix[1:]} file ({reason})") from None
    if frame.height == 0:
        raise TableError(f"{file}: there are no rows below the header")
    return frame.rename({name: name.strip().removeprefix("\ufeff") for name in frame.columns})


def _mapped_columns(spec: TableSpec, frame: pl.DataFrame) -> pl.DataFrame:
    absent = [name for name in spec.columns if name not in frame.columns]
    if absent:
        raise TableError(
            f"{spec.file}:1: `columns` names `{absent[0]}`, which the file does not have "
            f"(it has {', '.join(frame.columns)})"
        )
    names = [spec.columns.get(name, name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(f"{spec.file}:1: two columns are `{twice[0]}`")
    return frame.rename(spec.columns)


def _figure_column(file: str, columns: Sequence[str]) -> str:
    found = [name for name in columns if name in _FIGURES]
    if len(found) != 1:
        what = "both `count` and `share`" if found else "neither `count` nor `share`"
        raise TableError(
            f"{file}:1: the file has {what}; one column must hold the figures "
            f"(columns: {', '.join(columns)})",
            hint="`columns: {NAME IN THE FILE: count}` renames a column",
        )
    return found[0]


def _keys(
    spec: TableSpec,
    frame: pl.DataFrame,
    scope: Sequence[str],
    variables: Mapping[str, VariableSpec],
    problems: list[str],
) -> list[tuple[str, ...]]:
    columns = []
    for name in scope:
        mapping = spec.values.get(name, {})
        variable = variables[name]
        known = set(variable.values) if variable.type == "category" else None
        labels = [
            mapping.get(text, mapping.get(text.strip(), text.strip())) for text in frame[name]
        ]
        seen: set[str] = set()
        for line, label in enumerate(labels, start=2):
            if known is None or label in known or label in seen:
                continue
            seen.add(label)
            problems.append(
                f"{spec.file}:{line}: `{label}` is no category of `{name}`{_suggest(label, known)}"
            )
        columns.append(labels)
    stray = sorted(set(spec.values) - set(scope))
    if stray:
        problems.append(f"{spec.file}: `values` maps `{stray[0]}`, which is no column of the file")
    return list(zip(*columns, strict=True))


def _suggest(given: str, known: Mapping[str, object] | set[str]) -> str:
    near = get_close_matches(given, list(known), n=1, cutoff=0.6)
    if near:
        return f"; did you mean `{clean(near[0])}`?"
    listed = sorted(known)
    shown = ", ".join(clean(name) for name in listed[:12]) + (", ..." if len(listed) > 12 else "")
    return f" (known: {shown})"


def _number(file: str, line: int, text: str, column: str, problems: list[str]) -> float:
    if not text.strip():
        meaning = "where it is exact" if column == _MOE else "where nobody is"
        problems.append(f"{file}:{line}: `{column}` is missing; write 0 {meaning}")
        return 0.0
    try:
        value = float(text.replace("_", "?"))  # Python alone reads 1_000 as a number
    except ValueError:
        problems.append(f"{file}:{line}: `{column}` is `{text[:40]}`, which is not a number")
        return 0.0
    if not math.isfinite(value) or value < 0:
        problems.append(f"{file}:{line}: `{column}` is {text.strip()}; it must be 0 or more")
        return 0.0
    return value


def _repeated(
    file: str,
    scope: Sequence[str],
    keys: Sequence[tuple[str, ...]],
    lines: Sequence[int],
    problems: list[str],
) -> None:
    first: dict[tuple[str, ...], int] = {}
    for line, key in zip(lines, keys, strict=True):
        if key in first:
            cell = ", ".join(f"{name}={label}" for name, label in zip(scope, key, strict=True))
            problems.append(f"{file}:{line}: {cell} is given twice, first on line {first[key]}")
        first.setdefault(key, line)


def _whole(file: str, column: str, figures: Sequence[float], problems: list[str]) -> None:
    total = sum(figures)
    if problems:
        return
    if total <= 0:
        problems.append(f"{file}: every `{column}` is 0, so the table says nothing")
    if column == "share" and not 0.98 <= total <= 1.02:
        advice = "; divide percentages by 100" if 98 <= total <= 102 else ""
        problems.append(f"{file}: the shares add up to {total:.6g}, not to 1{advice}")


def _rounding(texts: pl.Series) -> float:
    """Return half a unit of the last digit that the figures show."""
    digits = max(
        (len(text.strip().partition(".")[2]) for text in texts if "e" not in text.lower()),
        default=12,
    )
    return 0.5 * 10.0 ** -min(digits, 15)
