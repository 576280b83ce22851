"""Tables of Nomis, the labour market and census service of the UK's ONS, as CSV.

Source: Nomis downloads. A title, lines such as `"Date","2021"`, the table with its header, and notes,
with blank lines between them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from llmsynthor.csvfile import Row, TextTable, named_columns
from llmsynthor.errors import Problem, TableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.figures import Missing
    from llmsynthor.jobtables import TableSpec

MISSING: dict[str, Missing] = dict.fromkeys(("-", "!", "*", "~", "#"), "unknown")
"""Nomis' marks: not available, no reliable figure, disclosive, too small, not reliable."""
_FIGURE = re.compile(r"\d[\d,.]*%?|[-!*~#]")


def read_form(spec: TableSpec, rows: Sequence[Row]) -> TextTable:
    """Return the table between title and notes, under the header that it has.

    Raises:
        TableError: There is no such table, or its rows differ in length.
    """
    blocks: list[list[Row]] = [[]]
    for row in rows:
        if row.is_blank:
            blocks.append([])
        else:
            blocks[-1].append(Row(row.line, _without_empty_end(row.cells)))
    tables = [block for block in blocks if _is_table(block)]
    if not tables:
        message = "`format: nomis` finds no table: rows of a label and figures below a header"
        hint = "leave `format` out, and say where the table is: `skip_rows`, `footer_rows: blank`"
        raise TableError.of([Problem(message, spec.file, hint=hint)])
    table = max(tables, key=lambda block: (len(block[0].cells) > 1, len(block), block[0].line))
    plain = spec.model_copy(update={"format": None})
    cells = [replace(row, cells=[c.replace(",", "") if _FIGURE.fullmatch(c.strip()) else c for c in row.cells]) for row in table[1:]]  # fmt: skip
    known = {name.strip() for name in table[0].cells}  # the form tells, not the names
    return named_columns(plain, [table[0], *cells], known)


def _without_empty_end(cells: Sequence[str]) -> list[str]:
    last = max((i for i, cell in enumerate(cells) if cell.strip()), default=-1)
    return list(cells[: last + 1])


def _is_table(block: Sequence[Row]) -> bool:
    """Return whether each row below the first ends in a figure, and the first is a header of them."""
    body = [row for row in block[1:] if len(row.cells) == len(block[0].cells)]
    return (
        len(block) > 1
        and len(block[0].cells) > 1
        and len(body) == len(block) - 1
        and all(_FIGURE.fullmatch(row.cells[-1].strip()) for row in body)
    )
