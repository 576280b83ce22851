"""Reading one table file into labels and figures, every problem with its line."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.bins import parse_bin, plain_bin
from llmsynthor.files.numbers import check_sum, read_numbers, rounding, rounding_of_sum
from llmsynthor.files.offices import form_of
from llmsynthor.files.reshape import FIGURES, MOE, named_in, shape
from llmsynthor.files.rows import TextTable, named_columns, read_rows
from llmsynthor.files.totals import Rows, Sum, is_total_word, split_totals, totals_of
from llmsynthor.files.unknown_names import (
    check_headers,
    no_label_hint,
    suggestion,
    unknown_columns,
    wrong_groups,
)
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from llmsynthor.files.inputs import Inputs
    from llmsynthor.job.tables import TableSpec
    from llmsynthor.job.variables import IntegerVariable, NumberVariable, VariableSpec

_MOST_PROBLEMS = 8


@dataclass(frozen=True)
class RawTable:
    """A table as its file gives it, with the job's names and categories.

    Attributes:
        spec: Its entry in the job.
        scope: Variables, in the file's column order.
        rows: Its rows, without totals; shares rescaled, where the job says so.
        measure: Whether figures are counts or shares.
        rounding: Largest rounding error of a figure.
        sums: What the file itself says that some cells add up to.
    """

    spec: TableSpec
    scope: tuple[str, ...]
    rows: Rows
    measure: Literal["count", "share"]
    rounding: float
    sums: Sequence[Sum]

    def cells(self, labels: Sequence[Sequence[str]]) -> tuple[np.ndarray, ...]:
        """Return the position of each row along each variable, whose labels these are."""
        places = [{label: i for i, label in enumerate(own)} for own in labels]
        return tuple(
            np.array([place[key[axis]] for key in self.rows.keys])
            for axis, place in enumerate(places)
        )


def read_raw_table(
    spec: TableSpec,
    inputs: Inputs,
    variables: Mapping[str, VariableSpec],
    unsure: Container[str] = (),
    places: Sequence[str] = (),
) -> RawTable:
    """Read one table.

    Args:
        spec: The table's entry in the job.
        inputs: The job's files.
        variables: The job's variables.
        unsure: Names that may be variables, though the job describes them wrongly: columns of
            these names are not looked into.
        places: The zone variable and what zones lie within, if the job has zones.

    Raises:
        TableError: With every problem of the file, each with its line.
    """
    text = shape(spec, read_columns(spec, inputs, variables), variables)
    check_headers(spec, text, variables)
    columns, lines = text.columns, text.lines
    figure = _figure_column(spec, text, variables)
    scope = tuple(name for name in columns if name not in (figure, MOE))
    problems = unknown_columns(spec.file, scope, {*variables, *places}, unsure)
    problems += wrong_groups(spec, scope, variables)
    keys = labels_of_rows(spec, columns, lines, scope, variables, problems)
    missing = form_of(spec.format).MISSING if spec.format else {}
    missing = {**missing, **spec.missing}
    figures = read_numbers(spec, figure, columns[figure], lines, problems, missing, text.headers)
    moes = None
    if MOE in columns:
        margins = read_numbers(spec, MOE, columns[MOE], lines, problems, spec.missing)
        moes = [0.0 if row in figures.ranges else moe for row, moe in enumerate(margins.values)]
        problems += [
            Problem(
                "`moe` is not known where the figure is; write 0 where it is exact",
                spec.file,
                lines[row],
            )
            for row in margins.ranges
            if row not in figures.ranges
        ]
    raise_all(spec.file, problems)
    rows = Rows(keys, figures.values, figures.texts, lines, figures.ranges, moes)
    if spec.add_up:
        rows = _added_up(rows)
    else:
        raise_all(spec.file, repeated(spec.file, scope, keys, lines))
    rows, sums = _without_totals(spec, scope, rows, variables, figure, problems)
    if not problems:
        labels = {name: [key[i] for key in rows.keys] for i, name in enumerate(scope)}
        problems += check_sum(spec, figure, rows.texts, rows.values, labels)
    raise_all(spec.file, problems)
    scale = sum(rows.values) if spec.normalize else 1.0
    scaled = replace(
        rows,
        values=[value / scale for value in rows.values],
        moes=rows.moes and [value / scale for value in rows.moes],
    )
    if figure == "share":
        return RawTable(spec, scope, scaled, "share", rounding(rows.texts) / scale, sums)
    return RawTable(spec, scope, scaled, "count", (spec.rounded_to or 0.0) / 2, sums)


def raise_all(file: str, problems: list[Problem]) -> None:
    """Raise a `TableError` with the problems, if there are any; of very many only the first."""
    if not problems:
        return
    more = len(problems) - _MOST_PROBLEMS
    if more > 1:
        problems[_MOST_PROBLEMS:] = [Problem(f"and {more} more problems", file)]
    raise TableError.of(problems)


def read_columns(
    spec: TableSpec, inputs: Inputs, variables: Mapping[str, VariableSpec]
) -> TextTable:
    """Return the columns of a file as they stand there, whatever its form."""
    rows = read_rows(spec, inputs)
    known = {*variables, *FIGURES, MOE, *named_in(spec)}
    if spec.format is not None:
        return form_of(spec.format).read_form(spec, rows)
    return named_columns(spec, rows, known)


def _added_up(rows: Rows) -> Rows:
    """Return one row for each cell; what is not known stays in its range."""
    cells: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(rows.keys):
        cells.setdefault(key, []).append(row)
    values, ranges = [], {}
    for number, inside in enumerate(cells.values()):
        known = math.fsum(rows.values[r] for r in inside if r not in rows.ranges)
        open_ = [rows.ranges[r] for r in inside if r in rows.ranges]
        values.append(math.nan if open_ else known)
        if open_:
            ranges[number] = (known + sum(o[0] for o in open_), known + sum(o[1] for o in open_))
    moes = rows.moes
    return Rows(
        list(cells),
        values,
        [
            rows.texts[i[0]] if len(i) == 1 else f"{v!r}"
            for i, v in zip(cells.values(), values, strict=True)
        ],
        [rows.lines[inside[0]] for inside in cells.values()],
        ranges,
        None if moes is None else [math.hypot(*(moes[r] for r in i)) for i in cells.values()],
    )


def _without_totals(
    spec: TableSpec,
    scope: tuple[str, ...],
    rows: Rows,
    variables: Mapping[str, VariableSpec],
    figure: str,
    problems: list[Problem],
) -> tuple[Rows, list[Sum]]:
    """Return the rows that are no totals, and what the totals say; add what does not add up."""
    meanings = [
        totals_of(
            (k[i] for k in rows.keys), variables.get(name), spec.groups.get(name), spec.totals
        )
        for i, name in enumerate(scope)
    ]
    unused = [label for label in spec.totals if not any(label in own for own in meanings)]
    if unused:
        message = (
            f"`totals` names `{clean(unused[0])}`, which is no label of the file, or a category"
        )
        problems.append(Problem(message, spec.file))
    if not any(meanings):
        return rows, []

    def room(inside: Sequence[int]) -> float:
        texts = [rows.texts[row] for row in inside]
        if figure == "share":
            return rounding_of_sum(texts)
        if spec.rounded_to is not None:
            return len(inside) * spec.rounded_to / 2
        return rounding_of_sum(texts) if any("." in text for text in texts) else 0.0

    rows, sums, wrong = split_totals(spec.file, scope, rows, meanings, room)
    problems += wrong
    return rows, sums


def _figure_column(spec: TableSpec, text: TextTable, variables: Mapping[str, VariableSpec]) -> str:
    columns = list(text.columns)
    found = [name for name in columns if name in FIGURES]
    if len(found) == 1:
        return found[0]
    if found:
        what = "both `count` and `share`"
        hint = "leave one out in the table's entry, for example `ignore: [share]`"
    else:
        what = "neither `count` nor `share`"
        hint = "`columns: {NAME IN THE FILE: count}` in the table's entry renames a column"
        heads = {name.casefold() for name in columns}
        for name, variable in variables.items():
            if (
                variable.type == "category"
                and len(heads & {v.casefold() for v in variable.values}) > 1
            ):
                hint += f"; where columns are categories, `wide: {{variable: {clean(name)}}}`"
                break
    message = (
        f"the file has {what}; one column must hold the figures "
        f"(columns: {', '.join(map(clean, columns))})"
    )
    header = max(text.lines[0] - 1, 1) if text.lines else 1
    raise TableError.of([Problem(message, spec.file, header, hint=hint)])


def labels_of_rows(
    spec: TableSpec,
    frame: Mapping[str, list[str]],
    lines: Sequence[int],
    scope: Sequence[str],
    variables: Mapping[str, VariableSpec],
    problems: list[Problem],
) -> list[tuple[str, ...]]:
    """Return per row the categories or bins of the scope; add those that are not known."""
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
        if variable is not None and variable.type != "category":
            plain = {label: _bin(label, variable) for label in dict.fromkeys(labels)}
            labels = [plain[label] for label in labels]
        seen: set[str] = set()
        for line, label in zip(lines, labels, strict=True):
            if (
                known is None
                or label in known
                or label in seen
                or is_total_word(label, spec.totals)
            ):
                continue
            seen.add(label)
            what = f"`{clean(label)}` is no {'group' if name in spec.groups else 'category'} of `{clean(name)}`" if label else (
                f"there is no category in column `{clean(name)}`"
            )  # fmt: skip
            hint = no_label_hint(label, known)
            problems.append(
                Problem(f"{what}{suggestion(label, known)}", spec.file, line, hint=hint)
            )
        columns.append(labels)
    stray = sorted(set(spec.values) - set(scope))
    if stray:
        message = f"`values` maps `{clean(stray[0])}`, which is no column of the file"
        problems.append(Problem(message, spec.file))
    return list(zip(*columns, strict=True))


def _bin(label: str, variable: IntegerVariable | NumberVariable) -> str:
    """Return a bin's label as it stands, or in plain form where only that can be read."""
    try:
        parse_bin(label, variable.type, variable.min, variable.max)
    except ValueError:
        return plain_bin(label)
    return label


def repeated(
    file: str, scope: Sequence[str], keys: Sequence[tuple[str, ...]], lines: Sequence[int]
) -> list[Problem]:
    """Return the rows whose labels stand on an earlier line too."""
    first: dict[tuple[str, ...], int] = {}
    problems = []
    for line, key in zip(lines, keys, strict=True):
        if key in first:
            cell = ", ".join(f"{name}={label}" for name, label in zip(scope, key, strict=True))
            message = f"{clean(cell) or 'all records'} is given twice, first on line {first[key]}"
            problems.append(Problem(message, file, line))
        first.setdefault(key, line)
    return problems
