"""Tables of Nomis, the labour market and census service of the UK's ONS, as CSV.

A download has a title, lines such as `"Date","2021"`, the table with its header, and notes, with
blank lines between them, often one below the header too. It may hold several tables of one form,
which those lines tell apart. The bulk files of a census (`date,geography,geography code,...`) and
what the API gives (`DATE_NAME,GEOGRAPHY_NAME,...,OBS_VALUE,...`) are a header and rows, without more.

Source: such files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.rows import Row, TextTable, named_columns

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmsynthor.files.numbers import Missing
    from llmsynthor.job.tables import TableSpec

MISSING: dict[str, Missing] = dict.fromkeys(("-", "!", "*", "~", "#"), "unknown")
"""Nomis' marks: not available, no reliable figure, disclosive, too small, not reliable."""
_FIGURE = re.compile(r"\d[\d,.]*%?|[-!*~#]")
_SELECTIONS = {
    "date", "units", "population", "area type", "area name", "geography", "measures", "measure",
    "value type", "variable", "cell", "time period",
}  # fmt: skip
"""What the lines above a table say, where they have the width of a table of two columns."""


@dataclass(frozen=True)
class _Found:
    """One table of a download: what the lines above it select, its header and its rows."""

    selected: Mapping[str, str]
    header: Row
    rows: list[Row]


def read_form(spec: TableSpec, rows: Sequence[Row]) -> TextTable:
    """Return the table between title and notes, under the header that it has.

    Several tables under one header become one, with a column for each selection that differs.

    Raises:
        TableError: There is no such table, there are several that differ, or rows differ in length.
    """
    found = list(_tables(rows))
    if not found:
        message = "`format: nomis` finds no table: rows of a label and figures below a header"
        hint = "leave `format` out, and say where the table is: `skip_rows`, `footer_rows: blank`"
        raise TableError.of([Problem(message, spec.file, hint=hint)])
    first = found[0]
    other = next((t for t in found if t.header.cells != first.header.cells), None)
    if other is not None:
        message = f"this table has other columns than the one on line {first.header.line}"
        hint = "put each table into a file of its own"
        raise TableError.of([Problem(message, spec.file, other.header.line, hint=hint)])
    taken = {cell.strip() for cell in first.header.cells}
    names = dict.fromkeys(name for table in found for name in table.selected)
    differing = [
        name
        for name in names
        if name not in taken and len({table.selected.get(name) for table in found}) > 1
    ]
    header = replace(first.header, cells=[*differing, *first.header.cells])
    body = [
        replace(
            row, cells=[*(table.selected.get(n, "") for n in differing), *map(_plain, row.cells)]
        )
        for table in found
        for row in table.rows
    ]
    plain = spec.model_copy(update={"format": None})
    known = {name.strip() for name in header.cells}  # the form tells, not the names
    return named_columns(plain, [header, *body], known)


def _tables(rows: Sequence[Row]) -> Iterator[_Found]:
    blocks: list[list[Row]] = [[]]
    for row in rows:
        if row.is_blank:
            blocks.append([])
        else:
            blocks[-1].append(Row(row.line, _without_empty_end(row.cells)))
    selected: dict[str, str] = {}
    alone: Row | None = None
    last: _Found | None = None
    for block in filter(None, blocks):
        if last is not None and not selected and _goes_on(last, block):
            last.rows.extend(block)
            continue
        if alone is not None and _are_rows(alone, block):
            last = _Found(selected, alone, list(block))
        elif len(block[0].cells) > 1 and _are_rows(block[0], block[1:]):
            last = _Found(selected, block[0], list(block[1:]))
        else:
            selected |= {
                row.cells[0].strip(" :"): row.cells[1].strip()
                for row in block
                if len(row.cells) == 2
            }
            alone = block[0] if len(block) == 1 and _may_be_header(block[0]) else None
            continue
        yield last
        selected, alone = {}, None


def _goes_on(table: _Found, block: Sequence[Row]) -> bool:
    """Return whether a block is further rows of a table, which a blank line parts."""
    return block[0].cells != table.header.cells and _are_rows(table.header, block)


def _are_rows(header: Row, rows: Sequence[Row]) -> bool:
    """Return whether there are rows as wide as the header, each with a figure.

    It is the last cell, or the one that the API names so.
    """
    names = [cell.strip().upper() for cell in header.cells]
    at = names.index("OBS_VALUE") if "OBS_VALUE" in names else -1
    return bool(rows) and all(
        len(row.cells) == len(names) and _FIGURE.fullmatch(row.cells[at].strip()) for row in rows
    )


def _may_be_header(row: Row) -> bool:
    return len(row.cells) > 2 or (
        len(row.cells) == 2 and row.cells[0].strip(" :").lower() not in _SELECTIONS
    )


def _without_empty_end(cells: Sequence[str]) -> list[str]:
    last = max((i for i, cell in enumerate(cells) if cell.strip()), default=-1)
    return list(cells[: last + 1])


def _plain(cell: str) -> str:
    """Return a figure without commas between its thousands, another text as it is."""
    return cell.replace(",", "") if _FIGURE.fullmatch(cell.strip()) else cell
