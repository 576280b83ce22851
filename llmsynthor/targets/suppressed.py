"""Cells that a publisher does not give: filled by maximum entropy from all that is known of them.

A cell that is not known lies in a range. What the table's total, its own subtotals and the other
tables leave for it is shared out by iterative proportional fitting within the ranges, from an even
start. The margin of error of a filled cell spans all that it can be, so that it gives way, and the
known cells of a table that must be met do not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.errors import Problem
from llmsynthor.targets.margins import margin_of
from llmsynthor.text import clean, listed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.read_table import RawTable
    from llmsynthor.targets.table import Table

_OWN = "its own totals"
_WHOLE, _GIVEN = "the whole being 1", "`total`"
_OF_ITSELF = (_OWN, _WHOLE, _GIVEN)
_ROUNDS = 300
_TIGHTENINGS = 20
_BISECTIONS = 100
_DETERMINED = 1e-6
"""A cell whose range is narrower than this share of the table's total is known after all."""
_MOST_PROBLEMS = 5
_MOST_SUSPECTS = 50
_HINT = (
    "write `total:` in the table's entry, keep the file's own row of the total, or give another "
    "table with counts"
)


@dataclass(frozen=True, eq=False)
class _Limit:
    """What some cells that are not known add up to.

    Attributes:
        cells: Which of them, positions among the unknown.
        left: What is left for them.
        known: What the known cells of the same sum hold.
        cell: The sum's name for people.
        source: Who says so.
        room: By how much rounding may move it.
        other: Whether another table says so.
    """

    cells: np.ndarray
    left: float
    known: float
    cell: str
    source: str
    room: float = 0.0
    other: bool = False


def fill_unknown(
    raws: Sequence[RawTable], tables: Sequence[Table], domain: Domain, *, may_differ: bool = False
) -> tuple[list[Table], list[Problem]]:
    """Return the tables with all cells filled, without those that cannot be, and why not.

    Args:
        raws: The tables as read.
        tables: The same over the domain, NaN where a figure is not known.
        domain: Their domain.
        may_differ: Whether other tables may say what the known cells exclude: they are made to
            agree afterwards.
    """
    whole = [t for raw, t in zip(raws, tables, strict=True) if not raw.rows.ranges]
    filled: list[Table] = []
    problems: list[Problem] = []
    for raw, table in zip(raws, tables, strict=True):
        if not raw.rows.ranges:
            filled.append(table)
            continue
        made = _fill(raw, table, _like(table, whole), domain, may_differ=may_differ)
        if isinstance(made, list):
            problems += made
        else:
            filled.append(made)
    return filled, problems


def _like(table: Table, others: Sequence[Table]) -> list[Table]:
    """Return the tables that must be met and count the same as `table`: records or members."""
    return [
        other
        for other in others
        if other.role == "control"
        and not other.is_soft
        and (other.members is None) == (table.members is None)
    ]


def _fill(
    raw: RawTable, table: Table, others: Sequence[Table], domain: Domain, *, may_differ: bool
) -> Table | list[Problem]:
    figures = table.figures.ravel().copy()
    rows = np.ravel_multi_index(raw.cells(table.labels), table.figures.shape)
    unknown = np.array([rows[row] for row in sorted(raw.rows.ranges)])
    low = np.array([raw.rows.ranges[row][0] for row in sorted(raw.rows.ranges)])
    high = np.array([raw.rows.ranges[row][1] for row in sorted(raw.rows.ranges)])
    limits = _limits(raw, table, others, rows, unknown, figures, domain)
    covered = np.zeros(len(unknown), dtype=bool)
    for limit in limits:
        covered[limit.cells] = True
    if not covered.all():
        number = int((~covered).sum())
        message = (
            f"{number} of {table.cells} cells are not known, and nothing says what all add up to"
        )
        return [Problem(message, raw.spec.file, hint=_HINT)]
    wrong = {limit: _impossible(raw, limit, low, high) for limit in limits}
    problems = [p for m, found in wrong.items() if not (may_differ and m.other) for p in found]
    problems = problems or _together_impossible(raw, [m for m in limits if not m.other], low, high)
    if problems:
        return problems[:_MOST_PROBLEMS]
    clash = any(wrong.values())
    limits = [
        replace(m, left=float(np.clip(m.left, low[m.cells].sum(), high[m.cells].sum())))
        for m in limits
    ]
    narrow = _tightened(limits, low, high)
    filling = _fitted(limits, *narrow, _widths(table, domain)[unknown])
    if clash:  # others are wrong, or the known cells are: they determine nothing
        high = np.minimum(high, max(limit.left + limit.known for limit in limits))
        narrow = _tightened([limit for limit in limits if not limit.other], low, high)
    return _with(table, figures, unknown, filling, narrow, limits)


def _limits(
    raw: RawTable,
    table: Table,
    others: Sequence[Table],
    rows: np.ndarray,
    unknown: np.ndarray,
    figures: np.ndarray,
    domain: Domain,
) -> list[_Limit]:
    """Return what sums of unknown cells are: as the table says, as others do, and of all."""
    total, source = _total(raw, others)
    limits = list(_own_sums(raw, rows, unknown, figures))
    if total is not None:
        for other in others:
            limits += _margins(table, other, total, unknown, figures, domain)
        known, every = float(np.nansum(figures)), np.arange(len(unknown))
        of_others = source not in _OF_ITSELF
        limits.append(_Limit(every, total - known, known, "the total", source, other=of_others))
    return limits


def _with(
    table: Table,
    figures: np.ndarray,
    unknown: np.ndarray,
    filling: np.ndarray,
    ranges: tuple[np.ndarray, np.ndarray],
    limits: Sequence[_Limit],
) -> Table:
    figures[unknown] = filling
    span = np.maximum(filling - ranges[0], ranges[1] - filling)
    moe = table.moe
    is_open = span > _DETERMINED * max(1.0, float(figures.sum()))
    if is_open.any():
        margins = np.zeros(table.cells) if moe is None else moe.ravel().copy()
        margins[unknown] = np.where(is_open, span, 0.0)
        moe = margins.reshape(table.figures.shape)
    sources = list(dict.fromkeys(limit.source for limit in limits))
    return replace(
        table,
        figures=figures.reshape(table.figures.shape),
        moe=moe,
        filled_cells=tuple(unknown.tolist()),
        filled_from=listed(sources),
        known_hold=not table.is_soft,
    )


def _total(raw: RawTable, others: Sequence[Table]) -> tuple[float | None, str]:
    """Return what all cells of a table add up to, and who says so."""
    if raw.measure == "share":
        return 1.0, _WHOLE
    if raw.spec.total is not None:
        return raw.spec.total, _GIVEN
    for found in raw.sums:
        if len(found.rows) == len(raw.rows.keys):
            return found.figure, _OWN
    counted = next((t for t in others if t.measure == "count"), None)
    return (None, "") if counted is None else (counted.total, f"the total of {clean(counted.file)}")


def _own_sums(
    raw: RawTable, rows: np.ndarray, unknown: np.ndarray, figures: np.ndarray
) -> Iterator[_Limit]:
    position = {int(cell): i for i, cell in enumerate(unknown)}
    for found in raw.sums:
        cells = [int(rows[row]) for row in found.rows]
        inside = np.array([position[c] for c in cells if c in position], dtype=np.int64)
        known = math.fsum(figures[c] for c in cells if c not in position)
        if len(inside):
            room = raw.rounding * (len(cells) + 1)
            yield _Limit(inside, found.figure - known, known, found.cell, _OWN, room)


def _margins(
    table: Table,
    other: Table,
    total: float,
    unknown: np.ndarray,
    figures: np.ndarray,
    domain: Domain,
) -> Iterator[_Limit]:
    """Yield what another table says of the variables that both have."""
    margin = margin_of(domain, table, other)
    if not margin.names:
        return
    number = int(np.prod(margin.shape))
    flat, theirs = margin.cells(table).ravel(), margin.cells(other).ravel()
    wanted = np.bincount(theirs, other.flat_share * total, number)
    known = np.bincount(flat, np.nan_to_num(figures), number)
    room = other.rounding_room(wanted / total, np.bincount(theirs, minlength=number)) * total
    for group in np.unique(flat[unknown]):
        cells = np.flatnonzero(flat[unknown] == group)
        left = float(wanted[group] - known[group])
        yield _Limit(
            cells,
            left,
            float(known[group]),
            margin.cell_name(np.unravel_index(group, margin.shape)),
            f"the table {clean(other.file)}",
            float(room[group]),
            other=True,
        )


def _impossible(raw: RawTable, limit: _Limit, low: np.ndarray, high: np.ndarray) -> list[Problem]:
    least, most = float(low[limit.cells].sum()), float(high[limit.cells].sum())
    room = limit.room + 1e-6 * max(1.0, abs(limit.left + limit.known))
    wanted = f"{limit.left + limit.known:.10g} ({limit.source})"
    if limit.left < least - room:
        message = f"{clean(limit.cell)} is {wanted}, and its cells hold at least {limit.known + least:.10g}"
    elif limit.left > most + room:
        message = (
            f"{clean(limit.cell)} is {wanted}, and its cells hold at most {limit.known + most:.10g}"
        )
    else:
        return []
    hint = "correct the figures, or the ranges in `missing`"
    return [Problem(message, raw.spec.file, hint=hint)]


def _together_impossible(
    raw: RawTable, limits: Sequence[_Limit], low: np.ndarray, high: np.ndarray
) -> list[Problem]:
    """Return which sums of a table cannot be, given what its other sums leave for the cells."""

    def wrong(of: Sequence[_Limit], given: Sequence[_Limit]) -> list[tuple[_Limit, Problem]]:
        narrow = _tightened(given, low, high)
        return [(limit, problem) for limit in of for problem in _impossible(raw, limit, *narrow)]

    # all at once is quick, but one that is wrong makes others look so
    for limit, _ in (suspects := wrong(limits, limits)[:_MOST_SUSPECTS]):
        found = wrong([limit], [other for other in limits if other is not limit])
        if found:
            return [problem for _, problem in found]
    return [problem for _, problem in suspects]


def _tightened(
    limits: Sequence[_Limit], low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ranges of the cells, narrowed to what the sums leave open."""
    low, high = low.copy(), high.copy()
    for _ in range(_TIGHTENINGS):
        before = low.copy(), high.copy()
        for limit in limits:
            at = limit.cells
            most = np.maximum(limit.left + limit.room - (low[at].sum() - low[at]), low[at])
            high[at] = np.minimum(high[at], most)
            if np.isfinite(high[at]).all():
                least = limit.left - limit.room - (high[at].sum() - high[at])
                low[at] = np.minimum(np.maximum(low[at], least), high[at])
        if np.array_equal(before[0], low) and np.array_equal(before[1], high):
            break
    return low, high


def _widths(table: Table, domain: Domain) -> np.ndarray:
    """Return how wide each cell is: a bin of ten years may hold twice as many as one of five."""
    widths = np.ones(())
    for name, group, labels in zip(table.scope, table.groups, table.labels, strict=True):
        variable = domain[name]
        own = np.diff(variable.edges) if variable.is_numeric else np.ones(variable.size)
        widths = np.multiply.outer(widths, np.bincount(group, own, len(labels)))
    return widths.ravel()


def _fitted(
    limits: Sequence[_Limit], low: np.ndarray, high: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Return figures within their ranges that meet the sums, the last one exactly."""
    values = start.astype(float)
    for _ in range(_ROUNDS):
        before = values.copy()
        for limit in limits:
            at = limit.cells
            values[at] = _scaled(values[at], low[at], high[at], limit.left)
        if np.abs(values - before).max() <= 1e-10 * max(1.0, values.max()):
            break
    return values


def _scaled(values: np.ndarray, low: np.ndarray, high: np.ndarray, total: float) -> np.ndarray:
    """Return the values times one factor, within their ranges, so that they add up to `total`."""
    if total <= low.sum():
        return low.copy()
    if total >= high.sum():
        return high.copy()
    values = np.where(values > 0, values, 1e-12)
    plain = values * (total / values.sum())
    if (plain >= low).all() and (plain <= high).all():
        return plain
    least, most = 0.0, 1.0
    while np.clip(values * most, low, high).sum() < total:
        most *= 2.0
    for _ in range(_BISECTIONS):
        middle = (least + most) / 2
        if np.clip(values * middle, low, high).sum() < total:
            least = middle
        else:
            most = middle
    return np.clip(values * most, low, high)
