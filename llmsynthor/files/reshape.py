"""Columns of a file into columns of the job: rows chosen, wide tables made long, names mapped."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.rows import TextTable
from llmsynthor.text import clean, did_you_mean, first_of, nearest, quoted

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence

    from llmsynthor.job.tables import TableSpec, WideSpec

FIGURES = ("count", "share")
MOE = "moe"
_SHOWN = 12


def _columns_by_key(spec: TableSpec) -> dict[str, Iterable[str]]:
    """Return the columns of the file that each key of a table's entry names."""
    return {
        "columns": spec.columns,
        "wide.columns": spec.wide.columns if spec.wide is not None else (),
        "bins": [column for pair in spec.bins.values() for column in pair],
        "ignore": spec.ignore if isinstance(spec.ignore, list) else (),
        "where": spec.where,
        "drop": spec.drop,
    }


def named_in(spec: TableSpec) -> set[str]:
    """Return the columns of the file that a table's entry names."""
    return set().union(*_columns_by_key(spec).values())


def shape(spec: TableSpec, text: TextTable, variables: Container[str]) -> TextTable:
    """Return a file's columns under the job's names, in long form, with the rows that are wanted.

    Raises:
        TableError: The entry names what is not in the file, or two things at once.
    """
    _must_be_there(spec, list(text.columns))
    text = _chosen_rows(spec, text)
    if spec.wide is not None:
        text = _long(spec, spec.wide, text, variables)
    columns = _without_ignored(spec, text.columns, variables)
    names = [spec.columns.get(name, name) for name in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError.of([Problem(f"two columns are `{clean(twice[0])}`", spec.file, 1)])
    renamed = dict(zip(names, columns.values(), strict=True))
    for name, (low, high) in spec.bins.items():
        if name in renamed:
            message = f"`bins` makes `{clean(name)}`, which is a column too"
            raise TableError.of([Problem(message, spec.file, 1)])
        ends = zip(text.columns[low], text.columns[high], strict=True)
        renamed[name] = [_bin(a.strip(), b.strip()) for a, b in ends]
    return TextTable(renamed, text.lines, text.headers)


def _must_be_there(spec: TableSpec, columns: Sequence[str]) -> None:
    problems = []
    for key, names in _columns_by_key(spec).items():
        absent = [name for name in names if name not in columns]
        if absent:
            has = f" (it has {first_of([clean(column) for column in columns], _SHOWN)})"
            meant = did_you_mean(absent[0], columns if len(columns) > _SHOWN else (), has)
            message = f"`{key}` names `{clean(absent[0])}`, which the file does not have{meant}"
            problems.append(Problem(message, spec.file, 1))
    if problems:
        raise TableError.of(problems)


def _chosen_rows(spec: TableSpec, text: TextTable) -> TextTable:
    kept = list(range(len(text.lines)))
    for wanted, choice in ((True, spec.where), (False, spec.drop)):
        for name, given in choice.items():
            texts = {given} if isinstance(given, str) else set(given)
            column = text.columns[name]
            there = {column[row].strip() for row in kept}
            absent = sorted(texts - there)
            if absent and kept:
                key = "where" if wanted else "drop"
                message = f"`{key}`: no row has `{clean(absent[0])}` in column `{clean(name)}`"
                near = nearest(absent[0], there)
                shown = ", ".join(quoted([near] if near else sorted(there)[:_SHOWN]))
                raise TableError.of([Problem(f"{message} (there is {shown})", spec.file)])
            kept = [row for row in kept if (column[row].strip() in texts) == wanted]
    if not kept:
        keys = " and ".join(key for key in ("where", "drop") if getattr(spec, key))
        raise TableError.of([Problem(f"`{keys}` leaves no row", spec.file)])
    if len(kept) == len(text.lines):
        return text
    columns = {name: [column[row] for row in kept] for name, column in text.columns.items()}
    headers = None if text.headers is None else [text.headers[row] for row in kept]
    return TextTable(columns, [text.lines[row] for row in kept], headers)


def _without_ignored(
    spec: TableSpec, columns: dict[str, list[str]], variables: Container[str]
) -> dict[str, list[str]]:
    """Return the columns that are read; those that only choose rows or end bins are not."""
    ends = {column for pair in spec.bins.values() for column in pair}

    def is_read(name: str) -> bool:
        if name in spec.columns:
            return True
        if name in ends or (isinstance(spec.ignore, list) and name in spec.ignore):
            return False
        if name in variables or name in FIGURES or name == MOE:
            return True
        if name in spec.where or name in spec.drop or spec.ignore == "others":
            return False
        # a form of a publisher has columns that say the same of every row: unit, place, time
        return not (spec.format is not None and len(set(columns[name])) == 1)

    return {name: column for name, column in columns.items() if is_read(name)}


def _bin(low: str, high: str) -> str:
    """Return the label of a bin with these ends; an empty end is open."""
    if low and high:
        return f"{low}-{high}"
    return f"{low}+" if low else f"<={high}" if high else ""


def _long(spec: TableSpec, wide: WideSpec, text: TextTable, variables: Container[str]) -> TextTable:
    """Return one row for each cell of a wide table, row by row."""
    labels = _headers(spec, wide, text.columns, variables)
    others = {name: column for name, column in text.columns.items() if name not in labels}
    for name in _without_ignored(spec, others, variables):
        meaning = spec.columns.get(name, name)
        if meaning in (*FIGURES, MOE, *wide.variables):
            what = f"column `{clean(name)}`" + (
                f" is `{clean(meaning)}`" if name != meaning else ""
            )
            message = f"`wide` makes the columns of {' and '.join(map(_code, wide.variables))} and the figures; {what} too"
            hint = f"leave it out: `ignore: [{clean(name)}]`"
            raise TableError.of([Problem(message, spec.file, 1, hint=hint)])
    times = len(labels)
    columns = {name: [t for t in column for _ in range(times)] for name, column in others.items()}
    for position, variable in enumerate(wide.variables):
        columns[variable] = [own[position] for own in labels.values()] * len(text.lines)
    cells = zip(*(text.columns[name] for name in labels), strict=True)
    columns[wide.measure] = [cell for row in cells for cell in row]
    lines = [line for line in text.lines for _ in range(times)]
    return TextTable(columns, lines, list(labels) * len(text.lines))


def _code(name: str) -> str:
    return f"`{clean(name)}`"


def _headers(
    spec: TableSpec, wide: WideSpec, columns: Iterable[str], variables: Container[str]
) -> dict[str, list[str]]:
    """Return column -> its label for each variable that runs over the columns."""
    if wide.columns:
        return {name: wide.labels(name) for name in wide.columns}
    free = [
        name
        for name in columns
        if name and name not in (*spec.columns, *spec.where, *spec.drop, *spec.ignore)
        and all(name not in pair for pair in spec.bins.values())
    ]  # fmt: skip
    if wide.pattern is None:
        found = {n: [n] for n in free if n not in variables and n not in (*FIGURES, MOE)}
        if not found:
            message = "no column is left for `wide`: all are something else"
            raise TableError.of([Problem(message, spec.file, 1)])
        return found
    parts = re.split(r"(\{[^{}]*\})", wide.pattern)
    order = [part[1:-1] for part in parts[1::2]]
    form = re.compile("".join("(.+?)" if i % 2 else re.escape(p) for i, p in enumerate(parts)))
    matched = {name: match for name in free if (match := form.fullmatch(name))}
    if not matched:
        message = f"no header is like `{clean(wide.pattern)}` (headers: {', '.join(map(clean, free[:_SHOWN]))})"
        raise TableError.of([Problem(message, spec.file, 1)])
    return {
        name: [match[order.index(variable) + 1].strip() for variable in wide.variables]
        for name, match in matched.items()
    }
