"""Cells of an XLSX file as text (extra `excel`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsynthor.errors import Problem, TableError
from llmsynthor.text import clean

if TYPE_CHECKING:
    from llmsynthor.job.file_form import Form

_INSTALL = (
    "install the reader: pip install 'llmsynthor[excel]' (in a clone: pip install '.[excel]')"
)
_SHOWN = 12


def read_sheet(file: str, content: bytes, form: Form) -> list[list[str]]:
    """Return the rows of a sheet from its first line on, "" where a cell is empty.

    Args:
        file: The path as the job writes it, for messages.
        content: The file's bytes.
        form: Names the sheet, if it is not the only one.

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
    shown = ", ".join(f"`{clean(name)}`" for name in names[:_SHOWN])
    shown += ", ..." if len(names) > _SHOWN else ""
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
