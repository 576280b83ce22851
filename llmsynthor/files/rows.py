"""Reading a table file into rows of text, and these into named columns, each row with its line."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import PurePath
from typing import TYPE_CHECKING

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.decoding import decoded, read_sheet
from llmsynthor.files.records import SEPARATORS, TEXT_KINDS
from llmsynthor.text import clean, count_of

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from llmsynthor.files.inputs import Inputs
    from llmsynthor.job.tables import TableSpec

_OTHER_KINDS = {
    ".xls": "save the sheet as .xlsx or CSV",
    ".ods": "save the sheet as .xlsx or CSV",
    ".xlsb": "save the sheet as .xlsx or CSV",
    ".gz": "unpack it first",
    ".zip": "unpack it first",
}
_MOST_ROWS_SHOWN = 8
_SHOWN = 12
_OPEN = re.compile(r"^\s*[\[(]\s*[^\])]*$")
_CLOSE = re.compile(r"^[^\[(]*[\])]\s*$")


@dataclass(frozen=True)
class Row:
    """One row of a file.

    Attributes:
        line: Its line (parquet: its row, counted from 2 as in a CSV).
        cells: Its texts, as the file has them.
    """

    line: int
    cells: list[str]

    @property
    def is_blank(self) -> bool:
        """Return whether all cells are empty."""
        return not any(cell.strip() for cell in self.cells)


@dataclass(frozen=True)
class TextTable:
    """A table file as text.

    Attributes:
        columns: Every column by its name, "" where a value is missing.
        lines: Per row its line in the file (parquet: its row, counted from 2 as in a CSV).
        headers: Per row the header that its figure stands under; None where all are in one column.
    """

    columns: dict[str, list[str]]
    lines: list[int]
    headers: list[str] | None = None


def read_rows(spec: TableSpec, inputs: Inputs) -> list[Row]:
    """Return the rows of a CSV, parquet or XLSX file, blank ones too, header first.

    Raises:
        TableError: With what is wrong with the file.
    """
    content, kind = inputs.read(spec.file), PurePath(spec.file).suffix.lower()
    if kind == ".parquet":
        return _parquet_rows(spec.file, content)
    if kind == ".xlsx":
        rows = enumerate(read_sheet(spec.file, content, spec.form), start=1)
        return [Row(line, cells) for line, cells in rows if line > spec.skip_rows]
    if kind not in TEXT_KINDS:
        message = "the file name must end in .csv, .tsv, .txt, .xlsx or .parquet"
        raise TableError.of([Problem(message, spec.file, hint=_OTHER_KINDS.get(kind))])
    return list(_text_rows(spec, decoded(spec.file, content, spec.form)))


def named_columns(spec: TableSpec, rows: Sequence[Row], known: Container[str]) -> TextTable:
    """Return the rows below the header as columns, without blank rows and notes at the end.

    Names that are `known` tell a wrong separator.

    Raises:
        TableError: With every problem, each with its line.
    """
    file, given = spec.file, [row for row in rows if not row.is_blank]
    if not given:
        below = f" below the {spec.skip_rows} lines that are skipped" if spec.skip_rows else ""
        raise TableError.of([Problem(f"the file is empty{below}", file)])
    header, kept = given[0], _without_notes(spec, rows)
    names = [name.strip() for name in header.cells]
    longest = max((len(row.cells) for row in kept), default=0)
    while len(names) > 1 and not names[-1] and not _is_used(kept, len(names) - 1):
        names.pop()  # Excel writes empty columns behind the table
    _check_header(spec, header.line, names, known, kept)
    if longest > len(names) and not _is_used(kept, len(names)):
        kept = [Row(row.line, row.cells[: len(names)]) for row in kept]
    _check_widths(spec, kept, len(names))
    if not kept:
        raise TableError.of([Problem("there are no rows below the header", file)])
    columns = {name: [row.cells[i] for row in kept] for i, name in enumerate(names)}
    return TextTable(columns, [row.line for row in kept])


def _is_used(rows: Sequence[Row], column: int) -> bool:
    """Return whether any row has a text in a column or to the right of it."""
    return any("".join(row.cells[column:]).strip() for row in rows)


def _check_widths(spec: TableSpec, rows: Sequence[Row], width: int) -> None:
    file = spec.file
    is_ragged = [len(row.cells) != width for row in rows]
    if not any(is_ragged):
        return
    _refuse_title(spec, rows, width)
    ragged = [_ragged(file, row.line, row.cells, width) for row in rows if len(row.cells) != width]
    first = is_ragged.index(True)
    if first > 0 and all(is_ragged[first:]) and not all(len(r.cells) > width for r in rows[first:]):
        hint = spec.form.way_out(
            "say so{place}: {key}", "footer_rows", len(ragged), "take them out"
        )
        ragged[0] = replace(ragged[0], hint=f"if these are notes, {hint}")
    more = len(ragged) - _MOST_ROWS_SHOWN
    if more > 0:
        ragged[_MOST_ROWS_SHOWN:] = [Problem(f"and {more} more rows like these", file)]
    raise TableError.of(ragged)


def _refuse_title(spec: TableSpec, rows: Sequence[Row], width: int) -> None:
    """Refuse a file whose first line is no header but a title, as most rows below tell."""
    widths = [len(row.cells) for row in rows]
    usual = max(set(widths), key=lambda w: (widths.count(w), w))
    if usual == width or 2 * widths.count(usual) <= len(widths) or usual == 1:
        return
    line = rows[widths.index(usual)].line
    if line == rows[0].line:
        return  # the header is one short: that is another slip
    message = (
        f"the first line has {count_of(width, 'field')}, and most rows have {usual}; line {line} "
        "looks like the header"
    )
    hint = spec.form.way_out(
        "skip what stands above it: {key}{place}",
        "skip_rows",
        line - 1,
        "take out what is above it",
    )
    raise TableError.of([Problem(message, spec.file, 1, hint=hint)])


def _without_notes(spec: TableSpec, rows: Sequence[Row]) -> list[Row]:
    """Return the rows below the header that are neither blank nor notes at the end."""
    start = next(i for i, row in enumerate(rows) if not row.is_blank) + 1
    below = list(rows[start:])
    if spec.footer_rows == "blank":
        first = next((i for i, row in enumerate(below) if not row.is_blank), len(below))
        end = next((i for i, row in enumerate(below) if i > first and row.is_blank), len(below))
        return [row for row in below[:end] if not row.is_blank]
    given = [row for row in below if not row.is_blank]
    if spec.footer_rows > len(given):
        message = f"`footer_rows` is {spec.footer_rows}, and there are {len(given)} rows"
        raise TableError.of([Problem(message, spec.file)])
    return given[: len(given) - spec.footer_rows]


def _parquet_rows(file: str, content: bytes) -> list[Row]:
    import polars as pl

    try:
        frame = pl.read_parquet(io.BytesIO(content))
        frame = frame.with_columns(pl.all().cast(pl.String).fill_null(""))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = clean((str(error).splitlines() or ["damaged"])[0])
        raise TableError.of([Problem(f"not a readable parquet file ({reason})", file)]) from None
    if frame.height == 0:
        raise TableError.of([Problem("the file has no rows", file)])
    rows = enumerate(frame.iter_rows(), start=2)
    return [Row(1, list(frame.columns)), *(Row(line, list(row)) for line, row in rows)]


def _text_rows(spec: TableSpec, text: str) -> Iterator[Row]:
    """Yield each row with the line on which it begins."""
    lines = [
        (number, line)
        for number, line in enumerate(io.StringIO(text, newline=""), start=1)
        if number > spec.skip_rows
        and not (spec.comment is not None and line.lstrip().startswith(spec.comment))
    ]
    reader = csv.reader((line for _, line in lines), delimiter=spec.separated_by, strict=True)
    begin = 0
    try:
        for row in reader:
            yield Row(lines[begin][0], row)
            begin = reader.line_num
    except csv.Error as error:
        raise TableError.of([_bad_quotes(spec.file, lines[begin][0], str(error))]) from None


def _bad_quotes(file: str, line: int, reason: str) -> Problem:
    if "unexpected end" in reason:
        message = 'a quote (") opens here and is never closed'
    elif "expected after" in reason:
        message = 'text follows a closing quote (")'
    else:
        message = f"this row cannot be read ({reason})"
    return Problem(message, file, line, hint='inside a quoted label, write a quote twice ("")')


def _check_header(
    spec: TableSpec, line: int, columns: Sequence[str], known: Container[str], rows: Sequence[Row]
) -> None:
    if not any(name in known for name in columns):
        _check_separator(spec, line, columns, known)
    _check_title(spec, line, columns, known, rows)
    others = spec.ignore == "others"
    for position, name in enumerate(columns, start=1):
        if not name and not (others or "" in spec.columns or "" in spec.ignore):
            message = f"column {position} has no name in the header"
            hint = "delete the column, if it only numbers the rows, or name it"
            raise TableError.of([Problem(message, spec.file, line, hint=hint)])
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise TableError.of([Problem(f"two columns are `{clean(twice[0])}`", spec.file, line)])


def _check_title(
    spec: TableSpec, line: int, columns: Sequence[str], known: Container[str], rows: Sequence[Row]
) -> None:
    """Refuse a header that holds one text only, where a row below it names what the job knows."""
    if sum(map(bool, columns)) > 1 or any(name in known for name in columns):
        return
    for row in rows[:_SHOWN]:
        if len(row.cells) > 1 and any(cell.strip() in known for cell in row.cells):
            message = (
                f"the header seems to be on line {row.line}; here is `{clean(columns[0], 40)}`"
            )
            hint = spec.form.way_out(
                "say so{place}: {key}", "skip_rows", row.line - 1, "take out what is above it"
            )
            raise TableError.of([Problem(message, spec.file, line, hint=hint)])


def _check_separator(
    spec: TableSpec, line: int, columns: Sequence[str], known: Container[str]
) -> None:
    """Refuse a header that is nothing at this separator, and something at another."""
    file, separator = spec.file, spec.separated_by
    if file.lower().endswith((".xlsx", ".parquet")):
        return
    text = separator.join(columns)
    for other in SEPARATORS:
        parts = [part.strip().strip('"').strip() for part in text.split(other)]
        if other == separator or len(parts) == 1:
            continue
        if len(columns) == 1 or any(part in known for part in parts):
            key = spec.form.key("separator", other)
            advice = f"say so in {spec.form.said_in}: {key}"
            if other == ",":
                advice = "leave `separator` out"
            elif "file" in spec.form.keys:
                advice = f"say so in the job: `- {{file: {file}, {key[1:-1]}}}`"
            message = (
                f"the columns are separated by {SEPARATORS[other]}, and read as if by "
                f"{SEPARATORS.get(separator, separator)}"
            )
            raise TableError.of([Problem(message, file, line, hint=advice)])


def _ragged(file: str, line: int, row: Sequence[str], wanted: int) -> Problem:
    message = f"this row has {_fields(len(row))}, the header has {wanted}"
    if len(row) < wanted:
        return Problem(message, file, line)
    for first, second in zip_longest(row, row[1:], fillvalue=""):
        if _OPEN.match(first) and _CLOSE.match(second):
            label = f'"{clean(first.strip())}, {clean(second.strip())}"'
            return Problem(f"{message}; quote the label: {label}", file, line)
    tail = [field.strip() for field in row[-2:]]
    if len(row) == wanted + 1 and all(part.isdigit() for part in tail):
        way = "".join(tail) if len(tail[1]) == 3 else ".".join(tail)
        return Problem(f"{message}; if `{','.join(tail)}` is one number, write {way}", file, line)
    return Problem(f'{message}; a label with a comma in it must stand in quotes (")', file, line)


def _fields(number: int) -> str:
    return "1 field" if number == 1 else f"{number} fields"
