"""Tables of the American Community Survey as data.census.gov gives them (CSV, `Label (Grouping)`).

Source: the downloads of data.census.gov ("Table", CSV). Rows are labels, nested by indents or `!!`;
columns are places, each with `!!Estimate` and `!!Margin of Error`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsynthor.csvfile import Row, TextTable
from llmsynthor.errors import Problem, TableError
from llmsynthor.labels import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.figures import Missing
    from llmsynthor.jobtables import TableSpec

MISSING: dict[str, Missing] = dict.fromkeys(("N", "-", "(X)", "**", "null"), "unknown")
"""The Census Bureau's marks where an estimate is not shown."""
_HEAD = "Label (Grouping)"
_ESTIMATE, _MARGIN = "Estimate", "Margin of Error"
_INDENT = 4
"""Spaces, mostly unbreakable, of one level."""
_EXACT = {"*****", ""}
"""A margin of an estimate that is controlled: it has no sampling error."""


def read_form(spec: TableSpec, rows: Sequence[Row]) -> TextTable:
    """Return columns `place`, `level 1`, `level 2` ..., `count` and `moe`.

    A label above others says `Total` in the levels below it. Where the job maps the column `label`,
    it holds the innermost labels only, without levels.

    Raises:
        TableError: The file has another form.
    """
    given = [row for row in rows if not row.is_blank]
    places = _places(spec, given[0] if given else None)
    paths = _paths(given[1:])
    if not paths:
        raise TableError.of([Problem("there are no rows below the header", spec.file)])
    parents = {path[:depth] for path in paths for depth in range(1, len(path))}
    has_top = len({path[0] for path in paths}) == 1 and max(map(len, paths)) > 1
    depth = max(map(len, paths))
    inner = "label" in spec.columns
    columns: dict[str, list[str]] = {"place": []}
    levels = ["label"] if inner else [f"level {i}" for i in range(1, depth + 1 - has_top)]
    columns |= {name: [] for name in (*levels, "count", "moe")}
    lines = []
    for place, (estimate, margin) in places.items():
        for row, path in zip(given[1:], paths, strict=True):
            cells = [*row.cells, *[""] * (max(estimate, margin or 0) + 1 - len(row.cells))]
            if (inner and path in parents) or not cells[estimate].strip():
                continue  # headings without figures
            own = [path[-1]] if inner else _levels(path[has_top:], len(levels), path in parents)
            columns["place"].append(place)
            for name, label in zip(levels, own, strict=True):
                columns[name].append(label)
            columns["count"].append(cells[estimate].strip().replace(",", ""))
            columns["moe"].append(_margin(cells, estimate, margin))
            lines.append(row.line)
    return TextTable(columns, lines)


def _places(spec: TableSpec, header: Row | None) -> dict[str, tuple[int, int | None]]:
    """Return place -> its columns of estimates and of margins of error."""
    cells = [cell.strip() for cell in header.cells] if header is not None else []
    if not cells or cells[0] != _HEAD:
        message = f"`format: acs` needs a first column `{_HEAD}`" + (
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


def _levels(path: tuple[str, ...], number: int, is_parent: bool) -> list[str]:
    """Return a label for each level: below a parent all together, below a shorter one none."""
    return [*path, *["Total" if is_parent or not path else ""] * (number - len(path))]


def _margin(cells: Sequence[str], estimate: int, margin: int | None) -> str:
    """Return a margin of error; where it cannot be computed, the estimate itself."""
    text = cells[margin].strip().lstrip("\u00b1+/-").replace(",", "") if margin is not None else ""
    if margin is None or cells[margin].strip() in _EXACT:
        return "0"
    number = cells[estimate].strip().replace(",", "")
    return text if text.replace(".", "").isdigit() else number if number.isdigit() else "0"
