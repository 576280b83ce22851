"""Bytes of a file into text: the characters of a text file, the cells of an XLSX file (extra `excel`)."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from llmsynthor.errors import Problem, TableError
from llmsynthor.text import clean, first_of, quoted

if TYPE_CHECKING:
    from llmsynthor.job.file_form import Form

_MAGIC = {
    b"PK\x03\x04": "an Excel workbook or a zip archive; let its name end in .xlsx, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"\x1f\x8b": "compressed (gzip); unpack it first",
    b"PAR1\x15": "parquet; let its name end in .parquet",
    b"%PDF": "a PDF document; a table must be CSV, XLSX or parquet",
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAVE = "save the file as UTF-8"
_LOOKED_AT = 4096
"""Bytes that tell whether a file is text."""
_LEAST_WIDE = 0.6
"""Share of every other byte that is 0 in UTF-16 without a mark."""
_INSTALL = (
    "install the reader: pip install 'llmsynthor[excel]' (in a clone: pip install '.[excel]')"
)
_SHOWN = 12


def decoded(file: str, content: bytes, form: Form) -> str:
    """Return the characters of a text file.

    Raises:
        TableError: The file is empty, is no text, or is stored otherwise.
    """
    if not content.strip():
        raise TableError.of([Problem("the file is empty", file)])
    for magic, words in _MAGIC.items():
        if content.startswith(magic):
            raise TableError.of([Problem(f"this is no CSV file: it is {words}", file)])
    encoding = form.encoding
    mark = next((name for bytes_, name in _MARKS if content.startswith(bytes_)), None)
    if mark is not None and encoding not in (None, mark):
        message = (
            f"the file begins with the mark of {mark}, and the "
            f"{'option is' if form.said_in is None else 'job says'} {form.key('encoding', encoding)}"
        )
        hint = f"leave {form.key('encoding')} out"
        raise TableError.of([Problem(message, file, hint=hint)])
    return _decoded(file, content, mark or encoding, form)


def _decoded(file: str, content: bytes, encoding: str | None, form: Form) -> str:
    if encoding != "utf-16":
        _must_be_text(file, content[:_LOOKED_AT], form)
    try:
        text = content.decode("utf-8-sig" if encoding in (None, "utf-8") else encoding)
    except UnicodeDecodeError as error:
        if encoding in (None, "utf-8"):
            raise TableError.of([_not_utf8(file, content, error.start, form)]) from None
        message = f"byte {error.start + 1} of the file is not {encoding} ({error.reason})"
        hint = f"correct {form.key('encoding')}, or leave it out if the file is UTF-8"
        raise TableError.of([Problem(message, file, hint=hint)]) from None
    return text.removeprefix("\ufeff")


def _must_be_text(file: str, start: bytes, form: Form) -> None:
    """Refuse a file of which more than one byte in twenty is a control character, white space apart."""
    wide = max((start[i::2].count(0) / max(len(start) // 2, 1) for i in (0, 1)), default=0.0)
    if wide > _LEAST_WIDE:
        hint = form.way_out("say so{place}: {key}", "encoding", "utf-16", _SAVE)
        raise TableError.of(
            [Problem("the file looks like UTF-16 without its mark", file, hint=hint)]
        )
    if 20 * sum(byte < 32 and byte not in b"\t\n\r\x0b\x0c\x1b" for byte in start) > len(start):
        hint = "a table must be a text file (CSV, TSV), XLSX or parquet"
        raise TableError.of([Problem("this is no text file", file, hint=hint)])


def _not_utf8(file: str, content: bytes, start: int, form: Form) -> Problem:
    byte = content[start]
    line = content.count(b"\n", 0, start) + 1
    begin = content.rfind(b"\n", 0, start) + 1
    character = bytes([byte]).decode("cp1252", errors="replace")
    shown = f"; in Latin-1 it is `{character}`" if character.isalnum() else ""
    return Problem(
        f"byte {start - begin + 1} of this line (0x{byte:02X}) is not UTF-8{shown}",
        file,
        line,
        hint=form.way_out(
            "say how it is stored{place}, for example {key}", "encoding", "latin-1", _SAVE
        ),
    )


def read_sheet(file: str, content: bytes, form: Form) -> list[list[str]]:
    """Return the rows of a sheet from its first line on, "" where a cell is empty.

    Raises:
        TableError: The reader is not installed, or the file, or its sheet, cannot be read.
    """
    try:
        import fastexcel
    except ImportError:
        message = "reading .xlsx files needs a package that is not installed"
        raise TableError.of([Problem(message, file, hint=_INSTALL)]) from None
    try:
        book = fastexcel.read_excel(content)
        name = _sheet(file, book.sheet_names, form)
        frame = book.load_sheet(name, header_row=None, skip_rows=0, dtypes="string").to_polars()
    except fastexcel.FastExcelError as error:
        reason = clean((str(error).splitlines() or ["damaged"])[0])
        raise TableError.of([Problem(f"not a readable .xlsx file ({reason})", file)]) from None
    return [["" if cell is None else str(cell) for cell in row] for row in frame.iter_rows()]


def _sheet(file: str, names: list[str], form: Form) -> str:
    wanted = form.sheet
    shown = first_of(quoted(names), _SHOWN)
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None:
        message = f"the file has {len(names)} sheets: {shown}"
        first = clean(names[0]) if names else ""
        hint = form.way_out(
            "name one{place}, for example {key}",
            "sheet",
            first,
            "save the one that is meant as CSV",
        )
        raise TableError.of([Problem(message, file, hint=hint if names else None)])
    if wanted not in names:
        message = f"there is no sheet `{clean(wanted)}` (there are {shown})"
        raise TableError.of([Problem(message, file)])
    return wanted
