"""What a conflict between tables and rules is, and how it is told to the person who must decide."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.files.bins import cell_label
from llmsynthor.text import count_of, listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.rules import Rule
    from llmsynthor.targets.table import Table

_MOST_LINES = 8


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells of one table that count alike in a conflict, summed where that loses nothing.

    Attributes:
        table: The table.
        label: The cell in words.
        wanted: Records that the table wants there.
        times: How often a record there counts; negative: it counts on the other side.
    """

    table: Table
    label: str
    wanted: float
    times: float


@dataclass(frozen=True)
class Cost:
    """What it costs at least if one table gives way, or one rule is dropped, and all else holds.

    Attributes:
        member: The table or the rule.
        records: At least so many records are in wrong cells or break the rule; None where it
            does not help by itself.
    """

    member: Table | Rule
    records: float | None


@dataclass(frozen=True, eq=False)
class Conflict:
    """Tables and rules that no records can meet together, none of which could be left out.

    By Farkas' lemma there are multipliers `times` of the cells such that every lawful record
    counts at most `most`, while the tables want more than `records` times `most`.

    Attributes:
        records: All records.
        tables: The tables; none where the rules alone allow no record.
        rules: The rules, with their numbers in the job.
        cells: The cells that count.
        most: What a lawful record counts at most.
        alone: Whether no lawful record is in two of the cells that count on the first side.
        costs: What giving way would cost, one entry for each table and rule.
    """

    records: int
    tables: tuple[Table, ...]
    rules: tuple[tuple[int, Rule], ...]
    cells: tuple[Cells, ...] = ()
    most: float = 0.0
    alone: bool = True
    costs: tuple[Cost, ...] = ()


def describe(conflict: Conflict) -> str:
    """Return the conflict in words: what cannot be, why, with both numbers, and ways out."""
    if not conflict.tables:
        return _impossible_rules(conflict)
    first = [c for c in conflict.cells if c.times > 0]
    second = [c for c in conflict.cells if c.times < 0]
    if not second and conflict.most == 0:
        lines = _empty_cells(conflict)
    else:
        lines = [*_headline(conflict), *_sides(conflict, first, second)]
    return "\n".join([*lines, *_ways_out(conflict)])


def _impossible_rules(conflict: Conflict) -> str:
    if len(conflict.rules) == 1:
        number, rule = conflict.rules[0]
        what = "value" if len(rule.scope) == 1 else "combination of values"
        return (
            f"rules.{number} `{rule.name}` ({rule.text}) allows no {what} of {listed(rule.scope)}"
        )
    head = "no record can keep these rules together; each could be kept if one of the others went:"
    return "\n".join([head, *_rule_lines(conflict)])


def _rule_lines(conflict: Conflict) -> list[str]:
    return [f"  rules.{number} `{rule.name}` ({rule.text})" for number, rule in conflict.rules]


def _empty_cells(conflict: Conflict) -> list[str]:
    allow = "allows" if len(conflict.rules) == 1 else "together allow"
    lines = [
        f"{cell.table.file}: {cell.label} wants {figure(cell.wanted)} of {conflict.records:,} "
        f"records, and {_rules(conflict)} {allow} 0"
        for cell in conflict.cells[:_MOST_LINES]
    ]
    rest = conflict.cells[_MOST_LINES:]
    if rest:
        wanted = figure(sum(cell.wanted for cell in rest))
        lines.append(
            f"{rest[0].table.file}: and {count_of(len(rest), 'more such cell')}, with {wanted} records"
        )
    return [*lines, *_rule_lines(conflict)]


def _headline(conflict: Conflict) -> list[str]:
    files = listed([table.file for table in conflict.tables])
    every = " all" if len(conflict.tables) > 1 else ""
    holds = "holds" if len(conflict.rules) == 1 else "hold"
    under = f" while {_rules(conflict)} {holds}" if conflict.rules else ""
    return [f"{files} cannot{every} be met{under}:", *_rule_lines(conflict)]


def _sides(conflict: Conflict, first: list[Cells], second: list[Cells]) -> list[str]:
    """Return the certificate: cells, what every record does, and the two numbers."""
    a = "lawful " if conflict.rules else ""
    n, most = conflict.records, conflict.most
    wanted, other = (sum(abs(c.times) * c.wanted for c in side) for side in (first, second))
    if not second:
        return [*_listed(conflict, first), _filled(a, n, most, wanted)]
    if not first:
        return [*_listed(conflict, second), _needed(a, n, -most, other)]
    possible = figure(other + most * n)
    if most == 0 and conflict.alone:
        here = "this cell" if len(first) == 1 else "one of these cells"
        there = "this one" if len(second) == 1 else "one of these"
        middle = f"  every {a}record in {here} is also in {there}:"
    elif most == 0:
        middle = f"  every {a}record is in as many of these cells as of those above, or in more:"
    elif most > 0:
        middle = f"  no {a}record is in over {most:g} more of the cells above than of these:"
    else:
        middle = (
            f"  every {a}record is in at least {-most:g} more of these cells than of those above:"
        )
    plus = f" ({figure(other)} {'+' if most > 0 else '-'} {figure(abs(most) * n)})" if most else ""
    return [
        *_listed(conflict, first),
        middle,
        *_listed(conflict, second),
        f"  {figure(wanted)} are wanted above, and at most {possible}{plus} can be there",
    ]


def _filled(a: str, records: int, most: float, wanted: float) -> str:
    if most == 1:
        return (
            f"  no {a}record is in two of these cells: {figure(wanted)} records are wanted in them, "
            f"and there are {records:,}"
        )
    return (
        f"  no {a}record is in more than {most:g} of these cells, so {records:,} records can be in "
        f"them {figure(most * records)} times: {figure(wanted)} times is wanted"
    )


def _needed(a: str, records: int, least: float, wanted: float) -> str:
    if least == 1:
        return (
            f"  every {a}record is in one of these cells: the tables want {figure(wanted)} records "
            f"in them, and there are {records:,}"
        )
    return (
        f"  every {a}record is in at least {least:g} of these cells, so {records:,} records are in "
        f"them {figure(least * records)} times: {figure(wanted)} times is wanted"
    )


def _listed(conflict: Conflict, cells: Sequence[Cells]) -> list[str]:
    shown = cells[:_MOST_LINES] if len(cells) > _MOST_LINES + 1 else cells
    wide = max(len(f"{c.table.file}: {c.label}") for c in shown)
    figures = [figure(c.wanted) for c in shown]
    digits = max(len(text) for text in figures)
    lines = []
    for cell, text in zip(shown, figures, strict=True):
        name = f"{cell.table.file}: {cell.label}"
        often = "" if abs(cell.times) == 1 else f", each counted {_times(abs(cell.times))}"
        lines.append(f"    {name:<{wide}}  {text:>{digits}} of {conflict.records:,} records{often}")
    rest = cells[len(shown) :]
    if rest:
        more = figure(sum(c.wanted for c in rest))
        lines.append(f"    and {count_of(len(rest), 'more cell')}, with {more} records")
    return lines


def _ways_out(conflict: Conflict) -> list[str]:
    lines, useless = [], []
    for cost in conflict.costs:
        is_table = any(cost.member is table for table in conflict.tables)
        name = (
            cost.member.file if hasattr(cost.member, "file") else f"the rule `{cost.member.name}`"
        )
        if cost.records is None:
            useless.append(name)
            continue
        least = max(1, int(np.ceil(cost.records - 0.01)))
        lines.append(
            f"  if only {name} gave way: at least {least:,} of its {conflict.records:,} "
            "records would be in other cells"
            if is_table
            else f"  if only {name} were dropped: at least {least:,} of {conflict.records:,} "
            "records would break it"
        )
    if useless and not lines:
        lines.append("  none of them helps if it gives way alone: other tables and rules clash too")
    return lines


def _rules(conflict: Conflict) -> str:
    named = [f"`{rule.name}`" for _, rule in conflict.rules]
    return f"the rule{'s' if len(named) > 1 else ''} {listed(named)}"


def _times(number: float) -> str:
    return {1.0: "once", 2.0: "twice"}.get(number, f"{number:g} times")


def figure(value: float) -> str:
    """Return a number of records for people."""
    if abs(value - round(value)) < 0.005 and (round(value) or value < 1e-9):
        return f"{round(value):,}"
    return f"{value:,.1f}" if value >= 1 else f"{value:.2g}"


def summed_cells(table: Table, times: np.ndarray, records: int) -> list[Cells]:
    """Return the cells with a multiplier, summed over variables that make no difference.

    Args:
        table: The table.
        times: Multiplier of each cell, shape `(cells,)`.
        records: All records.
    """
    grid = times.reshape(table.share.shape)
    wanted = table.share * records
    scope, labels = list(table.scope), list(table.labels)
    for axis in reversed(range(grid.ndim)):
        if grid.ndim > 1 and np.ptp(grid, axis=axis).max() == 0:
            grid, wanted = grid.take(0, axis=axis), wanted.sum(axis=axis)
            del scope[axis], labels[axis]
    cells = []
    for place in np.argwhere(grid != 0):
        names = [own[int(p)] for own, p in zip(labels, place, strict=True)]
        at = tuple(place)
        cells.append(Cells(table, cell_label(scope, names), float(wanted[at]), float(grid[at])))
    return cells


def joined(conflicts: Sequence[Conflict]) -> str:
    """Return all conflicts in words, the longer ones set apart by an empty line."""
    texts = [describe(conflict) for conflict in conflicts]
    blocks = [list(group) for _, group in groupby(texts, key=lambda text: "\n" in text)]
    return "\n\n".join(
        text for block in blocks for text in (block if "\n" in block[0] else ["\n".join(block)])
    )
