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
class Rows:
    """The rows of a table.

    Attributes:
        keys: Per row the labels of the table's variables.
        values: Per row the figure, NaN where it is not known.
        texts: The figures as plain numbers.
        lines: Per row its line in the file (parquet: its row).
        ranges: Row -> the least and the most of a figure that is not known.
        moes: Per row the published margin of error; None where the file has no column `moe`.
    """

    keys: list[tuple[str, ...]]
    values: list[float]
    texts: list[str]
    lines: list[int]
    ranges: Mapping[int, tuple[float, float]]
    moes: list[float] | None

    def take(self, kept: Sequence[int]) -> Rows:
        """Return some of the rows."""
        return Rows(
            [self.keys[row] for row in kept],
            [self.values[row] for row in kept],
            [self.texts[row] for row in kept],
            [self.lines[row] for row in kept],
            {i: self.ranges[row] for i, row in enumerate(kept) if row in self.ranges},
            self.moes and [self.moes[row] for row in kept],
        )


def is_total_word(label: str, declared: Iterable[str]) -> bool:
    """Return whether a label that is no category stands for a total."""
    return label in declared or label.strip(" :.").casefold() in _WORDS


def split_totals(
    file: str,
    scope: Sequence[str],
    rows: Rows,
    meanings: Sequence[Mapping[str, Meaning]],
    room: Callable[[Sequence[int]], float],
) -> tuple[Rows, list[Sum], list[Problem]]:
    """Return the rows that are no totals, what those that are say, and where they do not add up.

    Args:
        file: For messages.
        scope: The table's variables.
        rows: All rows.
        meanings: Per variable the labels that are totals, each with the labels that it sums.
        room: Row numbers -> by how much rounding may move their sum.
    """
    is_total = [any(k in m for k, m in zip(key, meanings, strict=True)) for key in rows.keys]
    kept = [row for row, total in enumerate(is_total) if not total]
    sums: list[Sum] = []
    problems: list[Problem] = []
    index: dict[tuple[int, ...], dict[tuple[str, ...], list[int]]] = {}
    for row, key in enumerate(rows.keys):
        if not is_total[row] or math.isnan(rows.values[row]):
            continue
        summed = tuple(i for i, k in enumerate(key) if k in meanings[i])
        if summed not in index:
            by_rest = index[summed] = {}
            for i, r in enumerate(kept):
                by_rest.setdefault(_without(rows.keys[r], summed), []).append(i)
        inside = tuple(
            i
            for i in index[summed].get(_without(key, summed), ())
            if all(_has(meanings[at][key[at]], rows.keys[kept[i]][at]) for at in summed)
        )
        found = Sum(inside, rows.values[row], rows.lines[row], cell_label(scope, key))
        cells = [kept[i] for i in inside]
        problems += _differs(file, rows, found, cells, room([*cells, row]))
        sums.append(found)
    return rows.take(kept), sums, _only_totals(file, scope, rows, meanings) or problems


def _without(key: Sequence[str], summed: Sequence[int]) -> tuple[str, ...]:
    return tuple(label for i, label in enumerate(key) if i not in summed)


def _has(meaning: Meaning, label: str) -> bool:
    return meaning is None or label in meaning


def _differs(
    file: str, rows: Rows, found: Sum, inside: Sequence[int], room: float
) -> list[Problem]:
    """Return that a total is not the sum of its cells, if it cannot be."""
    known = math.fsum(rows.values[r] for r in inside if r not in rows.ranges)
    bounds = [rows.ranges[r] for r in inside if r in rows.ranges]
    low = known + math.fsum(b[0] for b in bounds)
    high = known + math.fsum(b[1] for b in bounds)
    room += 1e-9 * max(1.0, abs(found.figure))
    if low - room <= found.figure <= high + room:
        return []
    say = f"at least {low:.10g}" if found.figure < low and bounds else f"at most {high:.10g}"
    what = say if bounds else f"{known:.10g}"
    message = f"{clean(found.cell)} is {found.figure:.10g}, and its cells add up to {what}"
    return [Problem(message, file, found.line, hint=_HINT)]


def _only_totals(
    file: str, scope: Sequence[str], rows: Rows, meanings: Sequence[Mapping[str, Meaning]]
) -> list[Problem]:
    found = []
    for i, name in enumerate(scope):
        labels = {key[i] for key in rows.keys}
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
    """Return which of a variable's labels are totals, each with the labels that it sums."""
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
