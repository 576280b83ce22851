"""Tables cut from one population and published in any form, each with the job's entry that reads it."""

from __future__ import annotations

import csv
import io
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from hypothesis import strategies as st
from made_workbook import write_workbook

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Draw = Callable[[st.SearchStrategy[Any]], Any]

PLACES = ("north", "Île", "west, far")
SEXES = ("female", "male")
AGES = (0, 5, 18, 40, 65, 90)
"""Where the population's bins of age begin, and the end of the last."""
VARIABLES = {
    "place": {"type": "category", "values": list(PLACES)},
    "sex": {"type": "category", "values": list(SEXES)},
    "age": {"type": "integer", "min": 0, "max": 89},
}
SHAPE = (len(PLACES), len(SEXES), len(AGES) - 1)
ENCODINGS = {"utf-8": None, "utf-8-sig": None, "utf-16": None, "latin-1": "latin-1", "cp1252": "windows-1252"}  # fmt: skip
THOUSANDS = {None: "", ",": ",", ".": ".", " ": "\u00a0", "'": "'", "_": "_"}
"""What the job says and what stands in the file."""


@dataclass
class Axis:
    """One variable of a table.

    Attributes:
        name: The variable.
        groups: Per label the positions in the population's categories or bins that it counts.
        labels: As they stand in the file.
        ends: The low and the high end of each bin, where it stands in two columns.
    """

    name: str
    groups: list[list[int]]
    labels: list[str]
    ends: list[tuple[str, str]] | None = None


def published(draw: Draw, folder: Path, number: int, joint: np.ndarray) -> dict[str, Any]:
    """Write one table of the population in a form that is drawn; return its entry in a job."""
    kind = draw(st.sampled_from(["csv", "csv", "csv", "tsv", "parquet", "xlsx"]))
    entry: dict[str, Any] = {"file": f"t{number}.{kind}"}
    scope = draw(st.permutations(list(VARIABLES)))[: draw(st.integers(1, 3))]
    axes = [_axis(draw, name, entry) for name in scope]
    counts = _summed(joint, axes)
    is_share = draw(st.booleans())
    figures = counts / counts.sum() if is_share else counts
    written = _writer(draw, entry, kind, is_share=is_share)
    plain = [axis for axis in axes if axis.ends is None]
    wide = draw(st.sampled_from([None, *plain])) if len(axes) > 1 and plain else None
    if wide is not None:
        rows = _wide(draw, entry, axes, figures, wide, written, "share" if is_share else "count")
    else:
        rows = _long(draw, entry, axes, figures, written, "share" if is_share else "count")
    _more_columns(draw, entry, rows, wide is None)
    _WRITERS[kind](draw, folder / entry["file"], entry, rows)
    return entry


def _axis(draw: Draw, name: str, entry: dict[str, Any]) -> Axis:
    if name == "age":
        return _bins(draw, entry)
    categories = VARIABLES[name]["values"]
    groups = [[i] for i in range(len(categories))]
    if name == "place" and draw(st.booleans()):
        groups = draw(st.sampled_from([[[0, 1], [2]], [[2, 0], [1]], [[0, 1, 2]]]))
        labels = [f"group {i}" for i in range(len(groups))]
        inside = [[categories[i] for i in own] for own in groups]
        entry.setdefault("groups", {})[name] = dict(zip(labels, inside, strict=True))
        return Axis(name, groups, labels)
    if draw(st.booleans()):
        codes = [str(i + 1) for i in range(len(categories))]
        entry.setdefault("values", {})[name] = dict(zip(codes, categories, strict=True))
        return Axis(name, groups, codes)
    return Axis(name, groups, list(categories))


def _bins(draw: Draw, entry: dict[str, Any]) -> Axis:
    cuts = [0, *sorted(draw(st.sets(st.integers(1, len(AGES) - 2)))), len(AGES) - 1]
    groups = [list(range(a, b)) for a, b in itertools.pairwise(cuts)]
    ends = [(AGES[a], AGES[b] - 1) for a, b in itertools.pairwise(cuts)]
    form = draw(st.sampled_from(["plain", "half open", "words", "code", "two columns"]))
    if form == "two columns":
        entry["bins"] = {"age": ["age from", "age to"]}
        is_open = len(ends) > 1 and draw(st.booleans())
        texts = [("" if is_open and a == 0 else str(a), "" if is_open and b == 89 else str(b)) for a, b in ends]  # fmt: skip
        return Axis("age", groups, [f"{a}-{b}" for a, b in ends], texts)
    return Axis("age", groups, [_bin_label(form, a, b) for a, b in ends])


def _bin_label(form: str, low: int, high: int) -> str:
    if form == "half open":
        return f"[{low}, {high + 1})"
    if high == 89 and low > 0:
        return {"plain": f"{low}+", "words": f"{low} years and over", "code": f"Y_GE{low}"}[form]
    if low == 0:
        return {"plain": f"<{high + 1}", "words": f"Under {high + 1} years", "code": f"Y_LT{high + 1}"}[form]  # fmt: skip
    return {
        "plain": f"{low}-{high}",
        "words": f"Aged {low} to {high}",
        "code": f"Y{low}-{high}",
    }[form]


def _summed(joint: np.ndarray, axes: Sequence[Axis]) -> np.ndarray:
    places = [list(VARIABLES).index(axis.name) for axis in axes]
    kept = joint.sum(axis=tuple(i for i in range(3) if i not in places))
    kept = np.moveaxis(kept, np.argsort(np.argsort(places)), range(len(axes)))
    for place, axis in enumerate(axes):
        parts = [kept.take(own, axis=place).sum(axis=place) for own in axis.groups]
        kept = np.stack(parts, axis=place)
    return kept


def _writer(
    draw: Draw, entry: dict[str, Any], kind: str, *, is_share: bool
) -> Callable[[float], object]:
    """Return what writes a figure, as text or, in files that have numbers, as one."""
    percent = is_share and draw(st.booleans())
    if percent:
        entry["percent"] = True
    scale = 100.0 if percent else 1.0
    if kind in ("parquet", "xlsx"):
        return lambda x: float(x * scale) if is_share else int(x)
    thousands = draw(st.sampled_from(list(THOUSANDS)))
    decimal = draw(st.sampled_from([d for d in (".", ",") if d != thousands]))
    sign = draw(st.sampled_from(["", "%", " %"])) if percent else ""
    if thousands is not None:
        entry["thousands"] = thousands
    if decimal == ",":
        entry["decimal"] = decimal

    def written(x: float) -> str:
        text = f"{x * scale:,.12f}" if is_share else f"{int(x):,}"
        whole, _, parts = text.partition(".")
        whole = whole.replace(",", THOUSANDS[thousands])
        return whole + (decimal + parts if parts else "") + sign

    return written


def _wide(
    draw: Draw,
    entry: dict[str, Any],
    axes: Sequence[Axis],
    figures: np.ndarray,
    wide: Axis,
    written: Callable[[float], object],
    measure: str,
) -> list[list[object]]:
    """Return rows with the labels of one variable as columns."""
    place = list(axes).index(wide)
    rest = [axis for axis in axes if axis is not wide]
    entry["wide"] = {"variable": wide.name} | ({} if measure == "count" else {"measure": "share"})
    headers = list(wide.labels)
    form = draw(st.sampled_from(["plain", "named", "with total", "pattern"]))
    if form in ("named", "with total"):
        headers = [f"C{i}" for i in range(len(wide.labels))]
        entry["wide"]["columns"] = dict(zip(headers, wide.labels, strict=True))
    if form == "with total":
        headers.append("ALL")
        entry["wide"]["columns"]["ALL"] = "Total"
    if form == "pattern":
        headers = [f"of {label}" for label in wide.labels]
        entry["wide"]["pattern"] = f"of {{{wide.name}}}"
    rows: list[list[object]] = [[*_headers(draw, entry, rest), *headers]]
    moved = np.moveaxis(figures, place, -1)
    for cell in np.ndindex(moved.shape[:-1]):
        own = [*moved[cell], moved[cell].sum()] if form == "with total" else moved[cell]
        rows.append([*_texts(rest, cell), *(written(x) for x in own)])
    return rows


def _long(
    draw: Draw,
    entry: dict[str, Any],
    axes: Sequence[Axis],
    figures: np.ndarray,
    written: Callable[[float], object],
    measure: str,
) -> list[list[object]]:
    """Return a row for each cell, in any order, perhaps without empty ones, perhaps with totals."""
    header = _headers(draw, entry, axes)
    name = draw(st.sampled_from([measure, "N"]))
    if name != measure:
        entry.setdefault("columns", {})[name] = measure
    cells = list(np.ndindex(figures.shape))
    if draw(st.booleans()):
        cells = [cell for cell in cells if figures[cell] > 0]
    rows: list[list[object]] = [[*_texts(axes, cell), written(figures[cell])] for cell in cells]
    summed = [i for i, axis in enumerate(axes) if axis.ends is None and draw(st.booleans())]
    if summed:
        word = draw(st.sampled_from(["Total", "All", "Ensemble"]))
        entry |= {"totals": ["Ensemble"]} if word == "Ensemble" else {}
        sums = figures.sum(axis=tuple(summed), keepdims=True)
        for cell in np.ndindex(sums.shape):
            texts = _texts([a for i, a in enumerate(axes) if i not in summed], [c for i, c in enumerate(cell) if i not in summed])  # fmt: skip
            for i in summed:
                texts.insert(sum(2 if a.ends else 1 for a in axes[:i]), word)
            if sums[cell] > 0 or len(cells) == figures.size:
                rows.append([*texts, written(sums[cell])])
    if draw(st.booleans()):
        rows.reverse()
    return [[*header, name], *rows]


def _headers(draw: Draw, entry: dict[str, Any], axes: Sequence[Axis]) -> list[str]:
    found = []
    for axis in axes:
        if axis.ends is not None:
            found += ["age from", "age to"]
        elif draw(st.booleans()):
            found.append(f"VAR {axis.name}")
            entry.setdefault("columns", {})[f"VAR {axis.name}"] = axis.name
        else:
            found.append(axis.name)
    return found


def _texts(axes: Sequence[Axis], cell: Sequence[int]) -> list[object]:
    found: list[object] = []
    for axis, place in zip(axes, cell, strict=True):
        found += [axis.labels[place]] if axis.ends is None else axis.ends[place]
    return found


def _more_columns(
    draw: Draw, entry: dict[str, Any], rows: list[list[object]], is_long: bool
) -> None:
    """Add a column that says nothing, and rows of another unit."""
    if draw(st.booleans()):
        entry["ignore"] = ["remark"]
        for number, row in enumerate(rows):
            row.append("remark" if number == 0 else "r")
    if is_long and draw(st.booleans()):
        key = draw(st.sampled_from(["where", "drop"]))
        entry[key] = {"unit": "NR" if key == "where" else "PC"}
        for number, row in enumerate(rows):
            row.append("unit" if number == 0 else "NR")
        rows.insert(2, [*rows[1][:-1], "PC"])


def _text(draw: Draw, path: Path, entry: dict[str, Any], rows: list[list[object]]) -> None:
    separator = "\t" if path.suffix == ".tsv" else draw(st.sampled_from([",", ";", "|", "\t"]))
    if separator not in (",", "\t") or (separator == "\t" and path.suffix == ".csv"):
        entry["separator"] = separator
    stream = io.StringIO()
    end = draw(st.sampled_from(["\n", "\r\n"]))
    csv.writer(stream, delimiter=separator, lineterminator=end).writerows(rows)
    lines = stream.getvalue().split(end)[:-1]
    if draw(st.booleans()):
        entry["comment"] = "#"
        lines.insert(1, f"# a note{separator}{separator}{separator}{separator}")
    title = draw(st.integers(0, 2))
    if title:
        entry["skip_rows"] = title
        lines = ["A title, with a comma", "1 of; 2"][:title] + lines
    lines += _footer(draw, entry, "")
    encoding = draw(st.sampled_from(list(ENCODINGS)))
    if ENCODINGS[encoding] is not None:
        entry["encoding"] = ENCODINGS[encoding]
    path.write_bytes((end.join(lines) + end).encode(encoding))


def _footer(draw: Draw, entry: dict[str, Any], blank: Any) -> list[Any]:
    footer = draw(st.sampled_from([0, 1, 2, "blank"]))
    if footer:
        entry["footer_rows"] = footer
    notes = ["Source: the office, 2020", "1,2"]
    return [blank, *notes] if footer == "blank" else notes[: int(footer)]


def _workbook(draw: Draw, path: Path, entry: dict[str, Any], rows: list[list[object]]) -> None:
    title = draw(st.integers(0, 2))
    if title:
        entry["skip_rows"] = title
    content: list[list[object]] = [["A title"], ["more"]][:title] + rows
    content += [row if isinstance(row, list) else [row] for row in _footer(draw, entry, [])]
    sheets = {"data": content}
    if draw(st.booleans()):
        entry["sheet"] = "data"
        sheets = {"notes": [["x"]], "data": content}
    write_workbook(path, sheets)


def _parquet(draw: Draw, path: Path, entry: dict[str, Any], rows: list[list[object]]) -> None:
    names, *content = rows
    columns = {str(n): [row[i] for row in content] for i, n in enumerate(names)}
    pl.DataFrame(columns).write_parquet(path)


_WRITERS = {"csv": _text, "tsv": _text, "parquet": _parquet, "xlsx": _workbook}
