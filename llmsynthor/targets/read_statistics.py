"""Statistics: files with means, sums, quantiles, rates or shares within groups, read and put into codes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.bins import cell_label, parse_bin
from llmsynthor.files.numbers import SUPPRESSED, plain_number, rounding
from llmsynthor.files.reshape import shape
from llmsynthor.files.totals import is_total_word
from llmsynthor.files.unknown_names import check_headers, unknown_columns
from llmsynthor.job.file_form import FileSpec
from llmsynthor.job.statistics import MEAN, RATE, SHARE, SUM, is_of_number, listed, quantile_level
from llmsynthor.job.tables import TableSpec
from llmsynthor.targets.read_table import labels_of_rows, raise_all, read_columns, repeated
from llmsynthor.targets.statistic import Group, Measure, Statistic
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from llmsynthor.files.inputs import Inputs
    from llmsynthor.job.statistics import StatisticSpec
    from llmsynthor.job.variables import VariableSpec
    from llmsynthor.targets.domain import Domain, Members

_KINDS = "`mean`, `sum`, `median` or a quantile such as `q10`"
_ROOM = 1e-9


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
    """Read one entry of a job's statistics, which stands at `at`; `unsure` as in `gather_tables`.

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


def build_statistics(
    raws: Sequence[RawStatistics], domain: Domain, members: Members | None
) -> tuple[tuple[Statistic, ...], list[Problem]]:
    """Return the statistics over a domain whose bins end where theirs do; and what is wrong."""
    found: list[Statistic] = []
    problems: list[Problem] = []
    for raw in raws:
        own = _Builder(raw, domain, members)
        found += own.shares(problems) if raw.spec.given else own.of_columns()
    return tuple(found), problems


class _Builder:
    """Builds the statistics of one entry."""

    def __init__(self, raw: RawStatistics, domain: Domain, members: Members | None) -> None:
        self.raw = raw
        self.spec = raw.spec
        self.domain = domain
        named = {*raw.scope, *self.spec.among}
        named |= {self.spec.of} if isinstance(self.spec.of, str) else set(self.spec.of or {})
        own = members is not None and any(n in members.own.positions for n in named)
        counts = self.spec.counts
        of_members = own if counts is None else counts == "members"
        self.members = members if of_members else None
        self.among = {n: self._mask(n, labels) for n, labels in self.spec.among.items()}

    def _mask(self, name: str, labels: str | Sequence[str]) -> np.ndarray:
        """Return which codes of a variable have one of some labels, bool, shape `(size,)`."""
        variable = self.domain[name]
        mask = np.zeros(variable.size, dtype=bool)
        for label in listed(labels):
            if not variable.is_numeric:
                inside = self.raw.groups.get(name, {}).get(label, [label])
                mask[[variable.codes[c] for c in inside]] = True
                continue
            interval = parse_bin(label, variable.kind, variable.low, variable.high)
            edges = np.asarray(variable.edges)
            mask |= (edges[:-1] >= interval.low) & (edges[1:] <= interval.high)
        return mask

    def _group(self, names: Sequence[str], key: Sequence[str]) -> Group:
        shown, masks = [], dict(self.among)
        for name, label in zip(names, key, strict=True):
            if is_total_word(label, ()) and label not in self.domain[name].labels:
                continue
            shown.append((name, label))
            own = self._mask(name, label)
            masks[name] = own & masks[name] if name in masks else own
        words = cell_label([n for n, _ in shown], [label for _, label in shown])
        if self.among:
            among = _words(self.spec.among)
            words = f"{words} among {among}" if words else among
        return Group(words, masks)

    def of_columns(self) -> list[Statistic]:
        """Return the statistics of the columns of means, sums, quantiles or rates."""
        found = []
        for column in self.raw.columns:
            rows = [row for row, value in enumerate(column.values) if not math.isnan(value)]
            if rows:
                found.append(self._statistic(column, rows, self.raw.scope, self.spec.of or {}))
        return found

    def shares(self, problems: list[Problem]) -> list[Statistic]:
        """Return a rate for each combination of categories that shares within groups are of."""
        raw, given = self.raw, self.spec.given
        column = next(c for c in raw.columns if c.name == SHARE)
        others = [name for name in raw.scope if name not in given]
        by_outcome: dict[tuple[str, ...], list[int]] = {}
        by_group: dict[tuple[str, ...], list[int]] = {}
        for row, value in enumerate(column.values):
            if not math.isnan(value):
                by_outcome.setdefault(self._key(row, others), []).append(row)
                by_group.setdefault(self._key(row, given), []).append(row)
        self._check_sums(column, by_group, len(by_outcome), others, problems)
        return [
            self._statistic(column, rows, given, dict(zip(others, outcome, strict=True)))
            for outcome, rows in by_outcome.items()
        ]

    def _key(self, row: int, names: Sequence[str]) -> tuple[str, ...]:
        """Return the labels of some of the scope's variables."""
        return tuple(self.raw.keys[row][self.raw.scope.index(name)] for name in names)

    def _check_sums(
        self,
        column: Column,
        totals: Mapping[tuple[str, ...], Sequence[int]],
        outcomes: int,
        others: Sequence[str],
        problems: list[Problem],
    ) -> None:
        """Add the groups whose shares add up to more than 1, or to less though all are given."""
        whole = all(
            np.logical_or.reduce(
                [
                    self._mask(n, label)
                    for label in {key[self.raw.scope.index(n)] for key in self.raw.keys}
                ]
            ).all()
            for n in others
        )
        for group, rows in totals.items():
            total = math.fsum(column.values[row] for row in rows)
            room = len(rows) * column.rounding + _ROOM
            complete = whole and len(rows) == outcomes
            if total > 1 + room or (complete and total < 1 - room):
                cell = clean(cell_label(self.spec.given, group))
                message = f"the shares of {cell} add up to {total:.6g}, not to 1"
                problems.append(self.raw.problem(message, rows[0]))

    def _statistic(
        self,
        column: Column,
        rows: Sequence[int],
        scope: Sequence[str],
        of: str | Mapping[str, str | list[str]],
    ) -> Statistic:
        """Return what some rows of a column say of groups by the variables in `scope`.

        `of` is a variable, or the categories that a rate counts.
        """
        measures: dict[str, Measure] = {MEAN: "mean", SUM: "sum", RATE: "rate", SHARE: "rate"}
        return Statistic(
            name=self.spec.known_as,
            file=self.raw.file,
            role=self.spec.role,
            measure=measures.get(column.name, "quantile"),
            of=of if isinstance(of, str) else _words(of),
            groups=tuple(self._group(scope, self._key(row, scope)) for row in rows),
            figures=np.array([column.values[row] for row in rows]),
            rounding=np.full(len(rows), column.rounding),
            tolerance=self.spec.tolerance,
            level=quantile_level(column.name) or 0.0,
            outcome={} if isinstance(of, str) else {n: self._mask(n, x) for n, x in of.items()},
            members=self.members,
            scope=tuple(scope),
        )


def _words(chosen: Mapping[str, str | Sequence[str]]) -> str:
    return ", ".join(f"{name}={' or '.join(listed(labels))}" for name, labels in chosen.items())
