"""Reading statistics: files with means, sums, quantiles, rates or shares within groups."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.numbers import SUPPRESSED, plain_number, rounding
from llmsynthor.files.reshape import shape
from llmsynthor.files.unknown_names import check_headers, unknown_columns
from llmsynthor.job.file_form import FileSpec
from llmsynthor.job.statistics import RATE, SHARE, is_of_number
from llmsynthor.job.tables import TableSpec
from llmsynthor.targets.read_table import labels_of_rows, raise_all, read_columns, repeated
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from llmsynthor.files.inputs import Inputs
    from llmsynthor.job.statistics import StatisticSpec
    from llmsynthor.job.variables import VariableSpec

_KINDS = "`mean`, `sum`, `median` or a quantile such as `q10`"


@dataclass(frozen=True)
class Column:
    """One statistic, row by row.

    Attributes:
        name: `mean`, `sum`, `median`, `q10`, `rate` or `share`.
        values: NaN where none is given.
        rounding: Largest rounding error of a value.
    """

    name: str
    values: list[float]
    rounding: float


@dataclass(frozen=True)
class RawStatistics:
    """A file of statistics, with the job's names and categories.

    Attributes:
        spec: Its entry in the job.
        at: Where the entry stands in the job.
        file: As written in the job, or what the entry is called where it has none.
        scope: Variables of the groups (and of the shares), in the file's order.
        keys: Per row the labels of these variables.
        lines: Per row its line; empty where there is no file.
        columns: The statistics.
        groups: Variable -> (label -> categories) where labels are groups of categories.
    """

    spec: StatisticSpec
    at: tuple[str | int, ...]
    file: str
    scope: tuple[str, ...]
    keys: list[tuple[str, ...]]
    lines: list[int]
    columns: list[Column]
    groups: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    def problem(self, message: str, row: int | None = None, hint: str | None = None) -> Problem:
        """Return a problem of a row, or of the whole entry."""
        if not self.lines:
            return Problem(f"statistics.{self.at[1]}: {message}", at=self.at, hint=hint)
        return Problem(message, self.file, None if row is None else self.lines[row], hint=hint)


@dataclass(frozen=True)
class _Figures:
    """Names that a file's columns may have: variables, and the statistics that its entry is about."""

    spec: StatisticSpec
    variables: Container[str]

    def __contains__(self, name: object) -> bool:
        return name in self.variables or self.holds(str(name))

    def holds(self, name: str) -> bool:
        """Return whether a column holds statistics."""
        if self.spec.given:
            return name == SHARE
        return name == RATE if isinstance(self.spec.of, dict) else is_of_number(name)

    @property
    def words(self) -> str:
        """Return which columns of statistics there may be."""
        if self.spec.given:
            return "`share`"
        return "`rate`" if isinstance(self.spec.of, dict) else _KINDS


def read_statistics(
    spec: StatisticSpec,
    at: tuple[str | int, ...],
    inputs: Inputs,
    variables: Mapping[str, VariableSpec],
    unsure: Container[str] = (),
) -> RawStatistics:
    """Read one entry of a job's statistics.

    Args:
        spec: The entry.
        at: Where it stands in the job.
        inputs: The job's files.
        variables: The job's variables.
        unsure: Names that may be variables, though the job describes them wrongly.

    Raises:
        TableError: With every problem of the file.
    """
    if not spec.file:
        return _inline(spec, at)
    shared: dict[str, Any] = {name: getattr(spec, name) for name in FileSpec.model_fields}
    entry = TableSpec(**shared, columns=spec.columns)
    entry = entry.model_copy(update={"wide": spec.read_wide})
    known = _Figures(spec, variables)
    text = shape(entry, read_columns(entry, inputs, dict(variables)), known)
    check_headers(entry, text, variables)
    held = [name for name in text.columns if known.holds(name)]
    if not held:
        listed = ", ".join(map(clean, text.columns))
        message = f"there is no column {known.words} (columns: {listed})"
        hint = f"in its entry, `columns: {{NAME IN THE FILE: {'mean' if isinstance(spec.of, str) else known.words.strip('`')}}}` renames one"
        raise TableError.of([Problem(message, spec.file, 1, hint=hint)])
    scope = tuple(name for name in text.columns if name not in held)
    problems = unknown_columns(spec.file, scope, variables, unsure) if scope else []
    keys = labels_of_rows(entry, text.columns, text.lines, scope, variables, problems)
    if not scope:
        keys = [()] * len(text.lines)
    columns = [_column(entry, name, text.columns[name], text.lines, problems) for name in held]
    problems += repeated(spec.file, scope, keys, text.lines)
    raise_all(spec.file, problems)
    return RawStatistics(spec, at, spec.file, scope, keys, text.lines, columns, spec.groups)


def _inline(spec: StatisticSpec, at: tuple[str | int, ...]) -> RawStatistics:
    """Return the statistics that stand in the job itself."""
    found = RawStatistics(spec, at, spec.known_as, (), [()], [], [])
    for name, given in spec.figures.items():
        value = given / 100 if spec.percent else given
        if name == RATE and not 0 <= value <= 1:
            hint = "`percent: true` where it is 0 to 100"
            raise TableError.of(
                [found.problem(f"`{name}` is {given:g}; it must be 0 to 1", hint=hint)]
            )
        found.columns.append(Column(name, [value], rounding([repr(value)])))
    return found


def _column(
    entry: TableSpec, name: str, texts: list[str], lines: list[int], problems: list[Problem]
) -> Column:
    """Return a column's figures; what is not published, or suppressed, is not given."""
    column = name if name in (RATE, SHARE) else "count"  # a mean is no percentage
    values, plain = [], []
    for text, line in zip(texts, lines, strict=True):
        written = plain_number(text.strip(), entry, column)
        try:
            value = float(written.replace("_", "?"))
        except ValueError:
            value = math.nan
        if math.isnan(value) and text.strip() and not SUPPRESSED.fullmatch(text.strip()):
            message = f"`{name}` is `{clean(text.strip(), 40)}`, which is not a number"
            problems.append(
                Problem(
                    message,
                    entry.file,
                    line,
                    hint="leave it empty where nothing is published; `thousands`, `decimal` and "
                    "`percent` say how numbers are written",
                )
            )
        if math.isinf(value):
            problems.append(Problem(f"`{name}` is {clean(text)}, no number", entry.file, line))
        if column != "count" and not (math.isnan(value) or 0 <= value <= 1):
            message = f"`{name}` is {clean(text.strip(), 40)}; it must be 0 to 1"
            problems.append(
                Problem(message, entry.file, line, hint="`percent: true` where it is 0 to 100")
            )
        values.append(value)
        plain.append("" if math.isnan(value) else written)
    return Column(name, values, rounding(plain))
