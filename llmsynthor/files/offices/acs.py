"""Tables of the US Census Bureau, of the American Community Survey above all, as CSV.

Three layouts, told by their first row:

- `Label (Grouping)`, the "Table" download of data.census.gov: rows are labels, nested by indents or
  `!!`; columns are places, each with `!!Estimate` and `!!Margin of Error`, or, in tables of a
  decennial census, without either.
- `GEO_ID,NAME,B01001_001E,...`, the ZIP download of data.census.gov (`...-Data.csv`, before 2021
  `..._data_with_overlays_...csv`): rows are places; a second row has the labels of the columns.
- `GEO.id,GEO.id2,...`, that of American FactFinder until 2020 (`..._with_ann.csv`): the same, with
  labels such as `Estimate; Male: - Under 5 years`.

Source: such files, and the Bureau's notes on annotation values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.rows import Row, TextTable
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmsynthor.files.numbers import Missing
    from llmsynthor.job.tables import TableSpec

MISSING: dict[str, Missing] = dict.fromkeys(("N", "-", "(X)", "**", "null"), "unknown")
"""The Census Bureau's marks where an estimate is not shown."""
_HEAD = "Label (Grouping)"
_CODES = {"GEO_ID": "NAME", "GEO.id": "GEO.display-label"}
"""First column of files with a place a row -> the column with its name."""
_ESTIMATE, _MARGIN = "Estimate", "Margin of Error"
_INDENT = 4
"""Spaces, mostly unbreakable, of one level."""
_EXACT = {"*****", ""}
"""A margin of an estimate that is controlled: it has no sampling error."""
_NUMBERS_FOR_MARKS = {
    "-666666666": "-", "-999999999": "N", "-888888888": "(X)", "-555555555": "*****",
    "-333333333": "***", "-222222222": "**",
}  # fmt: skip
"""What stands in columns of numbers where an annotation says why there is none."""
_AFF = re.compile(r"(Estimate|Margin of Error); (.*)", re.DOTALL)


@dataclass(frozen=True)
class _Figure:
    """One estimate: its line, its place, its label below those above it, its text and margin's."""

    line: int
    place: str
    code: str
    path: tuple[str, ...]
    estimate: str
    margin: str | None


def read_form(spec: TableSpec, rows: Sequence[Row]) -> TextTable:
    """Return columns `place`, `level 1`, `level 2` ..., `count` and, if there are any, `moe`.

    A label above others says `Total` in the levels below it. Where the job names the column
    `label`, it holds the innermost labels only, without levels; where it names `geo_id`, it holds
    the Bureau's code of the place.

    Raises:
        TableError: The file has another form.
    """
    given = [row for row in rows if not row.is_blank]
    first = given[0].cells[0].strip() if given else ""
    figures = list((_by_place if first in _CODES else _by_label)(spec, given))
    if not figures:
        raise TableError.of([Problem("there are no rows below the header", spec.file)])
    return _columns(spec, figures)


def _columns(spec: TableSpec, figures: Sequence[_Figure]) -> TextTable:
    paths = dict.fromkeys(figure.path for figure in figures)
    parents = {path[:depth] for path in paths for depth in range(1, len(path))}
    has_top = len({path[0] for path in paths}) == 1 and max(map(len, paths)) > 1
    depth = max(map(len, paths)) - has_top
    asked = {*spec.columns, *spec.where, *spec.drop}
    inner = "label" in asked
    kept = [f for f in figures if not (inner and f.path in parents) and f.estimate]
    columns: dict[str, list[str]] = {"place": [figure.place for figure in kept]}
    if "geo_id" in asked:
        columns["geo_id"] = [figure.code for figure in kept]
    if inner:
        columns["label"] = [figure.path[-1] for figure in kept]
    else:
        levels = [_levels(f.path[has_top:], depth, f.path in parents) for f in kept]
        for i in range(depth):
            columns[f"level {i + 1}"] = [own[i] for own in levels]
    columns["count"] = [figure.estimate for figure in kept]
    if any(figure.margin is not None for figure in kept):
        columns["moe"] = [_margin(figure) for figure in kept]
    return TextTable(columns, [figure.line for figure in kept])


def _by_label(spec: TableSpec, given: Sequence[Row]) -> Iterator[_Figure]:
    """Yield the figures of a file with a label a row."""
    places = _places(spec, given[0] if given else None)
    rows = list(zip(given[1:], _paths(given[1:]), strict=True))
    for place, (estimate, margin) in places.items():
        for row, path in rows:
            cells = [*row.cells, *[""] * (max(estimate, margin or 0) + 1 - len(row.cells))]
            beside = None if margin is None else cells[margin].strip()
            yield _Figure(row.line, place, "", path, _plain(cells[estimate]), beside)


def _places(spec: TableSpec, header: Row | None) -> dict[str, tuple[int, int | None]]:
    """Return place -> its columns of estimates and of margins of error."""
    cells = [cell.strip() for cell in header.cells] if header is not None else []
    if not cells or cells[0] != _HEAD:
        message = f"`format: acs` needs a first column `{_HEAD}` or `GEO_ID`" + (
            f", here is `{clean(cells[0], 40)}`" if cells else ""
        )
        hint = "download it from data.census.gov as CSV of the table, or leave `format` out"
        raise TableError.of(
            [Problem(message, spec.file, header.line if header else None, hint=hint)]
        )
    found: dict[str, tuple[int, int | None]] = {}
    for column, cell in enumerate(cells):
        place, _, what = cell.rpartition("!!")
        if what == _ESTIMATE:
            margin = f"{place}!!{_MARGIN}"
            found[place] = (column, cells.index(margin) if margin in cells else None)
    if not found:  # a decennial census counts, and has no margins
        found = {cell: (i, None) for i, cell in enumerate(cells) if i and cell and "!!" not in cell}
    if not found:
        message = f"no column ends in `!!{_ESTIMATE}`"
        raise TableError.of([Problem(message, spec.file, header.line if header else None)])
    return found


def _paths(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Return each row's label below those that it is nested in."""
    found: list[tuple[str, ...]] = []
    above: list[tuple[int, str]] = []
    for row in rows:
        parts = [part.strip(" \u00a0:") for part in row.cells[0].split("!!")]
        parts = [part for part in parts if part]
        indent = len(row.cells[0]) - len(row.cells[0].lstrip(" \u00a0"))
        level = indent // _INDENT + len(parts) - 1
        if len(parts) > 1:
            found.append(tuple(parts))
            continue
        above = [(i, label) for i, label in above if i < level]
        above.append((level, parts[0] if parts else ""))
        found.append(tuple(label for _, label in above))
    return found


def _by_place(spec: TableSpec, given: Sequence[Row]) -> Iterator[_Figure]:
    """Yield the figures of a file with a place a row and the labels of its columns in the second."""
    codes = [cell.strip() for cell in given[0].cells]
    labels = [cell.strip() for cell in given[1].cells] if len(given) > 1 else []
    columns = {label: i for i, label in enumerate(labels) if label}
    estimates = [
        (i, _label_path(label), columns.get(label.replace(_ESTIMATE, _MARGIN, 1)))
        for label, i in columns.items()
        if label.startswith(_ESTIMATE)
    ]
    if not estimates:
        message = (
            "the row below the codes should say what they count, such as `Estimate!!Total:`"
            + (f", and begins with `{clean(labels[0], 40)}`" if labels else "")
        )
        hint = "take the CSV of the ZIP download of data.census.gov, with both its header rows"
        line = given[1].line if len(given) > 1 else given[0].line
        raise TableError.of([Problem(message, spec.file, line, hint=hint)])
    whole = ("Total",) if ("Total",) in [path for _, path, _ in estimates] else ()
    name = codes.index(_CODES[codes[0]]) if _CODES[codes[0]] in codes else 0
    for row in given[2:]:
        cells = [cell.strip() for cell in row.cells] + [""] * (len(labels) - len(row.cells))
        for column, path, margin in estimates:
            nested = path if path[: len(whole)] == whole else (*whole, *path)
            beside = None if margin is None else _marked(cells[margin])
            estimate = _plain(_marked(cells[column]))
            yield _Figure(row.line, cells[name], cells[0], nested, estimate, beside)


def _label_path(label: str) -> tuple[str, ...]:
    """Return what a column counts, outermost first.

    Example:
        >>> _label_path("Estimate!!Total:!!Male:"), _label_path("Estimate; Male: - Under 5 years")
        (('Total', 'Male'), ('Male', 'Under 5 years'))
    """
    old = _AFF.fullmatch(label)
    parts = re.split(r":\s*-\s+", old[2]) if old else label.split("!!")[1:]
    return tuple(part.strip(" :") for part in parts if part.strip(" :")) or ("Total",)


def _marked(text: str) -> str:
    """Return a number that stands for an annotation as that."""
    return _NUMBERS_FOR_MARKS.get(text.partition(".")[0], text)


def _plain(text: str) -> str:
    return text.strip().replace(",", "")


def _levels(path: tuple[str, ...], number: int, is_parent: bool) -> list[str]:
    """Return a label for each level: below a parent all together, below a shorter one none."""
    return [*path, *["Total" if is_parent or not path else ""] * (number - len(path))]


def _margin(figure: _Figure) -> str:
    """Return a margin of error; where it cannot be computed, the estimate itself."""
    if figure.margin is None or figure.margin in _EXACT:
        return "0"
    text = figure.margin.lstrip("\u00b1+/-").replace(",", "")
    estimate = figure.estimate
    return text if text.replace(".", "").isdigit() else estimate if estimate.isdigit() else "0"
