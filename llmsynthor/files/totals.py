"""Totals and subtotals in a table: found, held against the sum of their cells, and not counted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmsynthor.errors import Problem
from llmsynthor.files.bins import Interval, cell_label, parse_bin
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from llmsynthor.job.variables import VariableSpec

_WORDS = {
    "total", "all", "all ages", "all persons", "all people", "all categories", "both sexes",
    "both", "all sexes", "sum", "overall", "grand total", "totals", "persons, total", "total population",
}  # fmt: skip
_HINT = (
    "correct the file, say `rounded_to` where each count was rounded by itself, or leave the "
    "rows out with `drop`"
)
Meaning = frozenset[str] | None
"""The labels that a subtotal sums; None: all of them."""


@dataclass(frozen=True)
class Sum:
    """What some cells of a table add up to, as the table itself says.

    Attributes:
        rows: Which rows.
        figure: Their sum.
        line: Where the file says so.
        cell: The cell's name for people.
    """

    rows: tuple[int, ...]
    figure: float
    line: int
    cell: str


@dataclass(frozen=True)
class Cells:
    """The rows of a table.

    Attributes:
        scope: Its variables.
        keys: Per row the labels.
        values: Per row the figure, NaN where it is not known.
        lines: Per row its line.
        ranges: Row -> the least and the most of a figure that is not known.
        room: Row numbers -> by how much rounding may move their sum.
    """

    scope: tuple[str, ...]
    keys: Sequence[tuple[str, ...]]
    values: Sequence[float]
    lines: Sequence[int]
    ranges: Mapping[int, tuple[float, float]]
    room: Callable[[Sequence[int]], float]


def is_total_word(label: str, declared: Iterable[str]) -> bool:
    """Return whether a label that is no category stands for a total."""
    return label in declared or label.strip(" :.").casefold() in _WORDS


def split_totals(
    file: str, cells: Cells, meanings: Sequence[Mapping[str, Meaning]]
) -> tuple[list[int], list[Sum], list[Problem]]:
    """Return the rows that are no totals, what those that are say, and where they do not add up.

    Args:
        file: For messages.
        cells: All rows.
        meanings: Per variable the labels that are totals, each with the labels that it sums.
    """
    is_total = [any(k in m for k, m in zip(key, meanings, strict=True)) for key in cells.keys]
    kept = [row for row, total in enumerate(is_total) if not total]
    place = {row: i for i, row in enumerate(kept)}
    sums: list[Sum] = []
    problems: list[Problem] = []
    index: dict[tuple[int, ...], dict[tuple[str, ...], list[int]]] = {}
    for row, total in enumerate(is_total):
        if not total:
            continue
        key = cells.keys[row]
        summed = tuple(i for i, k in enumerate(key) if k in meanings[i])
        if summed not in index:
            index[summed] = _index(cells.keys, kept, summed)
        near = index[summed].get(tuple(k for i, k in enumerate(key) if i not in summed), [])
        inside = [
            r for r in near if all(_has(meanings[i][key[i]], cells.keys[r][i]) for i in summed)
        ]
        found = Sum(
            tuple(place[r] for r in inside),
            cells.values[row],
            cells.lines[row],
            cell_label(cells.scope, key),
        )
        if math.isnan(found.figure):
            continue
        problems += _differs(file, cells, found, inside, row)
        sums.append(found)
    return kept, sums, _only_totals(file, cells, meanings) or problems


def _index(
    keys: Sequence[tuple[str, ...]], rows: Iterable[int], summed: Sequence[int]
) -> dict[tuple[str, ...], list[int]]:
    found: dict[tuple[str, ...], list[int]] = {}
    for row in rows:
        rest = tuple(k for i, k in enumerate(keys[row]) if i not in summed)
        found.setdefault(rest, []).append(row)
    return found


def _has(meaning: Meaning, label: str) -> bool:
    return meaning is None or label in meaning


def _differs(file: str, cells: Cells, found: Sum, inside: Sequence[int], row: int) -> list[Problem]:
    """Return that a total is not the sum of its cells, if it cannot be."""
    known = math.fsum(cells.values[r] for r in inside if r not in cells.ranges)
    bounds = [cells.ranges[r] for r in inside if r in cells.ranges]
    low = known + math.fsum(b[0] for b in bounds)
    high = known + math.fsum(b[1] for b in bounds)
    room = cells.room([*inside, row]) + 1e-9 * max(1.0, abs(found.figure))
    if low - room <= found.figure <= high + room:
        return []
    say = f"at least {low:.10g}" if found.figure < low and bounds else f"at most {high:.10g}"
    what = say if bounds else f"{known:.10g}"
    message = f"{clean(found.cell)} is {found.figure:.10g}, and its cells add up to {what}"
    return [Problem(message, file, found.line, hint=_HINT)]


def _only_totals(
    file: str, cells: Cells, meanings: Sequence[Mapping[str, Meaning]]
) -> list[Problem]:
    found = []
    for i, name in enumerate(cells.scope):
        labels = {key[i] for key in cells.keys}
        if labels and labels <= set(meanings[i]):
            shown = ", ".join(f"`{clean(label)}`" for label in sorted(labels)[:3])
            message = f"every row is a total of `{clean(name)}` ({shown})"
            hint = f"leave the column out: `ignore: [{clean(name)}]`, by its name in the file"
            found.append(Problem(message, file, hint=hint))
    return found


def totals_of(
    labels: Iterable[str],
    variable: VariableSpec | None,
    groups: Iterable[str] | None,
    declared: Sequence[str],
) -> dict[str, Meaning]:
    """Return which of a variable's labels are totals, each with the labels that it sums.

    Args:
        labels: As they stand in the file, mapped.
        variable: The variable, None where the job describes it wrongly.
        groups: The groups that the table counts instead of categories.
        declared: Labels that the job calls totals.
    """
    labels = list(dict.fromkeys(labels))
    if variable is None:
        return {}
    if variable.type == "category":
        known = set(variable.values if groups is None else groups)
        return {x: None for x in labels if x not in known and is_total_word(x, declared)}
    bins: dict[str, Interval] = {}
    found: dict[str, Meaning] = {}
    for label in labels:
        try:
            bins[label] = parse_bin(label, variable.type, variable.min, variable.max)
        except ValueError:
            if is_total_word(label, declared):
                found[label] = None
    return {**found, **_unions(bins, declared)}


def _unions(bins: Mapping[str, Interval], declared: Sequence[str]) -> dict[str, Meaning]:
    """Return the bins that are exact unions of the finest bins inside them."""
    ordered = sorted(bins.items(), key=lambda item: (item[1].low, item[1].high))
    finest: list[tuple[str, Interval]] = []
    wide: list[tuple[str, Interval]] = []
    for label, own in ordered:
        holds = any(
            o.low >= own.low and o.high <= own.high and o != own for _, o in ordered
        )  # fmt: skip
        (wide if holds else finest).append((label, own))
    found: dict[str, Meaning] = {}
    for label, own in wide:
        inside = [(n, o) for n, o in finest if o.low >= own.low and o.high <= own.high]
        ends = [own.low, *(o.high for _, o in inside)]
        tiled = all(o.low == end for (_, o), end in zip(inside, ends, strict=False))
        if (tiled and ends[-1] == own.high) or label in declared:
            found[label] = frozenset(n for n, _ in inside)
    return found
