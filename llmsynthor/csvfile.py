"""Reading the bytes of a table file into columns of text, each row with its line."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import zip_longest
from typing import TYPE_CHECKING

import polars as pl

from llmsynthor.errors import Problem, TableError
from llmsynthor.labels import clean

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence
    from pathlib import Path

SEPARATORS = {",": "commas", ";": "`;`", "\t": "tabs", "|": "`|`"}
_WRITTEN = {"\t": '"\\t"', ";": '";"', ",": '","', "|": '"|"'}
"""Each separator as a YAML text."""
_MAGIC = {
    b"PK": "an Excel workbook or a zip archive; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"\x1f\x8b": "compressed (gzip); unpack it first",
    b"PAR1": "parquet; let its name end in .parquet",
    b"%PDF": "a PDF document; a table must be CSV or parquet",
}
_OTHER_KINDS = {
    ".xlsx": "save the sheet as CSV (in Excel: CSV UTF-8)",
    ".xls": "save the sheet as CSV (in Excel: CSV UTF-8)",
    ".tsv": 'say in the job what separates its columns: `separator: "\\t"`',
    ".tab": 'say in the job what separates its columns: `separator: "\\t"`',
    ".txt": 'say in the job what separates its columns, for example `separator: ";"`',
}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_LOOKED_AT = 4096
"""Bytes that tell whether a file is text."""
_MOST_ROWS_SHOWN = 8
_SHOWN = 12
_OPEN = re.compile(r"^\s*[\[(]\s*[^\])]*$")
_CLOSE = re.compile(r"^[^\[(]*[\])]\s*$")


@dataclass(frozen=True)
class TextTable:
    """A table file as text.

    Attributes:
        frame: Every column as strings, "" where a value is missing.
        lines: Per row its line in the file (parquet: its row, counted from 2 as in a CSV).
    """

    frame: pl.DataFrame
    lines: list[int]


def read_text_table(
    file: str, path: Path, separator: str | None, known: Container[str]
) -> TextTable:
    """Read a CSV or parquet file.

    Args:
        file: The path as the job writes it, for messages.
        path: Where the file is.
        separator: What the job says stands between columns; None is a comma.
        known: Names of columns that the job knows: they tell a wrong separator.

    Raises:
        TableError: With every problem, each with its line.
    """
    _must_be_a_file(file, path)
    kind = path.suffix.lower()
    if kind == ".parquet":
        return _read_parquet(file, path)
    if kind != ".csv" and not (separator and kind in {".tsv", ".txt", ".tab"}):
        message = "the file name must end in .csv or .parquet"
        raise TableError.of([Problem(message, file, hint=_OTHER_KINDS.get(kind))])
    return _parse(file, _text(file, path), separator or ",", known)


def _must_be_a_file(file: str, path: Path) -> None:
    if path.is_dir():
        raise TableError.of([Problem("this is a folder, not a table file", file)])
    if path.exists():
        return
    folder = path.parent
    if not folder.is_dir():
        message = f"no such file: there is no folder {folder}"
        raise TableError.of([Problem(message, file)])
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    tables = [name for name in names if name.lower().endswith((".csv", ".parquet", ".tsv"))]
    stems = {name.lower().rpartition(".")[0]: name for name in tables}  # `.csv` makes all alike
    near = get_close_matches(path.stem.lower(), list(stems), n=1, cutoff=0.6)
    if near:
        advice = f"; did you mean `{clean(stems[near[0]])}`?"
    elif tables:
        shown = ", ".join(clean(name) for name in tables[:_SHOWN])
        advice = f"; there are {shown}{', ...' if len(tables) > _SHOWN else ''}"
    else:
        advice = ""
    raise TableError.of([Problem(f"no such file (looked for {path}){advice}", file)])


def _read_parquet(file: str, path: Path) -> TextTable:
    try:
        frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
        frame = frame.with_columns(pl.all().cast(pl.String).fill_null(""))
    except OSError as error:
        raise TableError.of([Problem(_unreadable(error), file)]) from None
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = clean((str(error).splitlines() or ["damaged"])[0])
        raise TableError.of([Problem(f"not a readable parquet file ({reason})", file)]) from None
    if frame.height == 0:
        raise TableError.of([Problem("the file has no rows", file)])
    return TextTable(frame, list(range(2, frame.height + 2)))


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({error.strerror or error})"


def _text(file: str, path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TableError.of([Problem(_unreadable(error), file)]) from None
    if not content.strip():
        raise TableError.of([Problem("the file is empty", file)])
    for magic, words in _MAGIC.items():
        if content.startswith(magic):
            raise TableError.of([Problem(f"this is no CSV file: it is {words}", file)])
    if content.startswith(_UTF16):
        raise TableError.of([_utf16(file)])
    if _is_binary(content[:_LOOKED_AT]):
        hint = "a table must be a CSV file in UTF-8, or parquet"
        raise TableError.of([Problem("this is no text file", file, hint=hint)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError.of([_not_utf8(file, content, error.start)]) from None


def _is_binary(start: bytes) -> bool:
    """Return whether more than one byte in twenty is a control character other than white space."""
    return 20 * sum(byte < 32 and byte not in b"\t\n\r\x0b\x0c\x1b" for byte in start) > len(start)


def _utf16(file: str) -> Problem:
    return Problem(
        "the file is UTF-16; it must be UTF-8",
        file,
        hint="save it as UTF-8 (in Excel: CSV UTF-8), or: iconv -f UTF-16 -t UTF-8 OLD > NEW",
    )


def _not_utf8(file: str, content: bytes, start: int) -> Problem:
    byte = content[start]
    line = content.count(b"\n", 0, start) + 1
    begin = content.rfind(b"\n", 0, start) + 1
    character = bytes([byte]).decode("cp1252", errors="replace")
    shown = f"; in Latin-1 it is `{character}`" if character.isalnum() else ""
    return Problem(
        f"byte {start - begin + 1} of this line (0x{byte:02X}) is not UTF-8{shown}",
        file,
        line,
        hint="save it as UTF-8 (in Excel: CSV UTF-8), or: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW",
    )


def _parse(file: str, text: str, separator: str, known: Container[str]) -> TextTable:
    rows = _rows(file, text, separator)
    line, header = next(rows, (1, []))
    columns = [name.strip() for name in header]
    if not columns:
        raise TableError.of([Problem("the file is empty", file)])
    _check_header(file, line, columns, separator, known)
    kept: list[list[str]] = []
    lines: list[int] = []
    problems: list[Problem] = []
    for number, row in rows:
        if len(row) != len(columns):
            problems.append(_ragged(file, number, row, len(columns)))
        kept.append(row)
        lines.append(number)
    if problems:
        more = len(problems) - _MOST_ROWS_SHOWN
        if more > 0:
            problems[_MOST_ROWS_SHOWN:] = [Problem(f"and {more} more rows like these", file)]
        raise TableError.of(problems)
    if not kept:
        raise TableError.of([Problem("there are no rows below the header", file)])
    data = {name: [row[i] for row in kept] for i, name in enumerate(columns)}
    return TextTable(pl.DataFrame(data, schema=dict.fromkeys(columns, pl.String)), lines)


def _rows(file: str, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is not blank with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    start = 1
    try:
        for row in reader:
            if any(field.strip() for field in row):
                yield start, row
            start = reader.line_num + 1
    except csv.Error as error:
        raise TableError.of([_bad_quotes(file, start, str(error))]) from None


def _bad_quotes(file: str, line: int, reason: str) -> Problem:
    if "unexpected end" in reason:
        message = 'a quote (") opens here and is never closed'
    elif "expected after" in reason:
        message = 'text follows a closing quote (")'
    else:
        message = f"this row cannot be read ({reason})"
    return Problem(message, file, line, hint='inside a quoted label, write a quote twice ("")')


def _check_header(
    file: str, line: int, columns: Sequence[str], separator: str, known: Container[str]
) -> None:
    if not any(name in known for name in columns):
        _check_separator(file, line, columns, separator, known)
    for position, name in enumerate(columns, start=1):
        if not name:
            message = f"column {position} has no name in the header"
            hint = "delete the column, if it only numbers the rows, or name it"
            raise TableError.of([Problem(message, file, line, hint=hint)])
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise TableError.of([Problem(f"two columns are `{clean(twice[0])}`", file, line)])


def _check_separator(
    file: str, line: int, columns: Sequence[str], separator: str, known: Container[str]
) -> None:
    """Refuse a header that is nothing at this separator, and something at another."""
    text = separator.join(columns)
    for other in SEPARATORS:
        parts = [part.strip().strip('"').strip() for part in text.split(other)]
        alone = len(columns) == 1 and len(parts) > 1
        if other != separator and len(parts) > 1 and (alone or any(p in known for p in parts)):
            written = _WRITTEN[other]
            advice = (
                "leave `separator` out"
                if other == ","
                else f"say so in the job: `- {{file: {file}, separator: {written}}}`"
            )
            raise TableError.of(
                [
                    Problem(
                        f"the columns are separated by {SEPARATORS[other]}, "
                        f"and read as if by {SEPARATORS.get(separator, separator)}",
                        file,
                        line,
                        hint=advice,
                    )
                ]
            )


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
