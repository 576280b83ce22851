"""Checks before anything is spent: do the tables that must be met agree with each other?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmsynthor.errors import Problem
from llmsynthor.files.bins import parse_bin
from llmsynthor.targets.margins import margin_of
from llmsynthor.text import and_more, clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmsynthor.job.tables import Reconcile, ScaleTo
    from llmsynthor.targets.domain import Domain, Members
    from llmsynthor.targets.margins import Margin
    from llmsynthor.targets.table import Table, TableSet

_MOST_PER_PAIR = 5
_MOST_LEFT_OUT = 3
_FLOAT_NOISE = 1e-9


_ADVICE = (
    "tables that are met must agree; correct them, or give one a `weight` or `tolerance` "
    "(it then gives way), or `role: validate`, or let the job make them agree: "
    "`reconcile: least_squares`, or `reconcile: {scale_to: NAME}`"
)


@dataclass(frozen=True)
class Clash:
    """Two tables that differ, and how.

    Attributes:
        tables: Both.
        problem: How; its hint says only what settles this very difference, if something does.
    """

    tables: tuple[Table, Table]
    problem: Problem

    @property
    def names(self) -> tuple[str, str]:
        """Return the names of the tables."""
        return self.tables[0].name, self.tables[1].name


def disagreements(tables: TableSet, policy: Reconcile = "error") -> list[Problem]:
    """Return where hard control tables differ in totals or in margins by more than rounding.

    A table with cells that are not known is compared where its margins are. Totals are compared
    where both tables give counts; margins of the variables that two tables share are compared as
    shares, on the finest bins that both can be summed to.
    """
    advice = _ADVICE if policy == "error" else _advice_after(policy)
    found = [clash.problem for clash in clashes(tables)]
    return [replace(p, hint=f"{p.hint}; or: {advice}" if p.hint else advice) for p in found]


def _advice_after(policy: Literal["least_squares"] | ScaleTo) -> str:
    """Return what to do where a policy has been followed, and tables still differ."""
    words, other = ("least_squares", "")
    if not isinstance(policy, str):
        words, other = f"{{scale_to: {policy.scale_to}}}", ", or try `reconcile: least_squares`"
    return (
        f"`reconcile: {words}` finds no figures with which these agree (shown are those that it "
        "comes to, not the files'); correct a table, or give one a `weight` or `tolerance` (it then "
        f"gives way), or `role: validate`{other}"
    )


def clashes(tables: TableSet) -> list[Clash]:
    """Return the same with the tables that differ."""
    found: list[Clash] = []
    members = tables.members
    for counts_members in (False, True):
        own = [
            table
            for table in tables.control
            if table.firm.any() and (table.members is not None) == counts_members
        ]
        found += _different_totals(tables.domain, own)
        for first, second in combinations(own, 2):
            found += different_margins(tables.domain, first, second)
    return found if members is None else [*found, *_wrong_sizes(tables, members)]


def _wrong_sizes(tables: TableSet, members: Members) -> list[Clash]:
    """Return where the sizes of the records say another number of members than is published.

    Tables of members have one total among them, or `_different_totals` says so: the first stands
    for all.
    """
    counted = [table for table in tables.hard if table.measure == "count"]
    own = next((table for table in counted if table.members is not None), None)
    if own is None:
        return []
    found = []
    for table in counted:
        if table.members is not None or members.size not in table.scope:
            continue
        low, high = members_of_sizes(table, members)
        room = 1e-6 * max(1.0, own.total)
        if low - room <= own.total <= high + room:
            continue
        says = _figure(low) if low == high else f"{_figure(low)} to {_figure(high)}"
        message = (
            f"the counts add up to {_figure(own.total)}, and the sizes in {table.file} to "
            f"{says} {members.name}s"
        )
        more = larger_sizes(table, members, own.total)
        found.append(Clash((table, own), Problem(message, own.file, hint=more or None)))
    return found


def larger_sizes(table: Table, members: Members, total: float) -> str:
    """Return which `max` of the size would allow so many members, "" where that is not the cause."""
    variable = members.record[members.size]
    axis = table.scope.index(members.size)
    last = int(table.groups[axis][-1])
    label, (_, high) = table.labels[axis][last], members_of_sizes(table, members)
    records = float(np.moveaxis(table.figures, axis, 0)[last].sum())
    if not variable.is_numeric or total <= high or records <= 0:
        return ""
    ends, least = int(members.number.max()), float(members.number.min())
    larger = ends + int(np.ceil((total - high) / records - _FLOAT_NOISE))
    try:
        is_open = parse_bin(label, "integer", least, larger).high > larger
    except ValueError:
        return ""
    if not is_open:
        return ""
    return (
        f"`{clean(members.size)}` has `max: {ends}`, so `{clean(label)}` of {table.file} is {ends} at "
        f"most; `max: {larger}` would allow {_figure(high + (larger - ends) * records)} "
        f"{members.name}s"
    )


def members_of_sizes(table: Table, members: Members) -> tuple[float, float]:
    """Return the least and the most members that the sizes in a table of records allow."""
    axis = table.scope.index(members.size)
    records = table.figures.sum(axis=tuple(i for i in range(table.figures.ndim) if i != axis))
    inside = [members.number[table.groups[axis] == group] for group in range(len(records))]
    low = float(records @ [numbers.min() for numbers in inside])
    high = float(records @ [numbers.max() for numbers in inside])
    return low, high


def sizes_in_parts(tables: TableSet) -> list[Problem]:
    """Return where a part of the records (a zone, a tenure) has members that its sizes do not allow.

    That the sums over all parts fit is not enough. Each part is named once, by the first pair of
    hard tables with counts that tells.
    """
    members = tables.members
    if members is None:
        return []
    counted = [t for t in tables.hard if t.measure == "count" and t.firm.all()]
    of_records = [table for table in counted if table.members is None]
    of_records.sort(key=lambda table: members.size not in table.scope)
    found: dict[str, Problem] = {}
    for own in (table for table in counted if table.members is not None):
        for table in of_records:
            for name, problem in _parts_apart(tables.domain, table, own, members):
                found.setdefault(name, problem)
    return list(found.values())


def _parts_apart(
    domain: Domain, table: Table, own: Table, members: Members
) -> Iterator[tuple[str, Problem]]:
    """Yield the parts that a table of records and one of members tell otherwise, with their names."""
    shared = [name for name in table.scope if name in own.scope and name != members.size]
    if not shared:
        return
    margin = margin_of(domain, table, own, shared)
    least, most = _sizes_of_cells(table, members)
    low, high = (margin.summed(table.figures * each, table) for each in (least, most))
    held = margin.summed(own.figures, own)
    room = margin.summed(np.full(own.figures.shape, own.rounding), own)
    room += margin.summed(table.rounding * np.broadcast_to(most, table.figures.shape), table)
    room += 1e-6 * np.maximum(held, 1.0)
    for cell in np.argwhere((held < low - room) | (held > high + room)):
        name, place = margin.cell_name(cell.tolist()), tuple(cell)
        few, many = _figure(low[place]), _figure(high[place])
        message = (
            f"{name} has {_figure(held[place])} {members.name}s, and the {members.of}s that "
            f"{table.file} has there hold {few if few == many else f'{few} to {many}'}: they "
            "cannot both be met there"
        )
        yield name, Problem(message, own.file)


def _sizes_of_cells(table: Table, members: Members) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the most members of a record in each cell, to multiply figures by."""
    if members.size not in table.scope:
        return np.array(members.number.min()), np.array(members.number.max())
    axis = table.scope.index(members.size)
    inside = [members.number[table.groups[axis] == g] for g in range(table.figures.shape[axis])]
    line = [-1 if i == axis else 1 for i in range(table.figures.ndim)]
    least = np.array([numbers.min() for numbers in inside]).reshape(line)
    return least, np.array([numbers.max() for numbers in inside]).reshape(line)


def same_total(first: Table, second: Table) -> bool:
    """Return whether the counts of two tables add up to the same, but for rounding."""
    room = first.rounding * first.cells + second.rounding * second.cells
    return abs(second.total - first.total) <= room + 1e-6 * max(1.0, first.total)


def _different_totals(domain: Domain, tables: Sequence[Table]) -> list[Clash]:
    counted = [table for table in tables if table.measure == "count"]
    found = []
    for other in counted[1:]:
        first = counted[0]
        if not same_total(first, other):
            message = (
                f"the counts add up to {_figure(other.total)}, those of {first.file} to "
                f"{_figure(first.total)}{_left_out(domain, first, other)}"
            )
            found.append(Clash((first, other), Problem(message, other.file)))
    return found


def _left_out(domain: Domain, first: Table, other: Table) -> str:
    """Return which cells of what two tables share one of them leaves out, to follow a message."""
    found = []
    for name in (name for name in other.scope if name in first.scope):
        margin = margin_of(domain, first, other, [name])
        held = [margin.summed(table.share, table) for table in (first, other)]
        for place in np.flatnonzero((held[0] > 0) != (held[1] > 0)):
            where = "here" if held[0][place] > 0 else f"in {first.file}"
            found.append(f"{margin.cell_name([int(place)])} is 0 or not listed {where}")
    return f"; {and_more(found, _MOST_LEFT_OUT, '; ')}" if found else ""


def different_margins(domain: Domain, first: Table, second: Table) -> list[Clash]:
    """Return where two tables differ in the margins that they share, but for cells not known."""
    if not set(first.scope) & set(second.scope):
        return []
    counted = first.measure == second.measure == "count"
    if counted and not same_total(first, second):
        return []  # the totals are named already; every margin would differ for that reason alone
    margin = margin_of(domain, first, second)
    shares = [margin.summed(table.share, table) for table in (first, second)]
    known = [margin.summed(_open(table), table) == 0 for table in (first, second)]
    apart = np.argwhere(differs(margin, (first, second), shares) & known[0] & known[1])
    problems = []
    for cell in apart[:_MOST_PER_PAIR]:
        a, b = (
            _figure(share[tuple(cell)] * (table.total if counted else 1.0))
            for table, share in zip((first, second), shares, strict=True)
        )
        message = f"{margin.cell_name(cell)} has {b}, and {a} in {first.file}"
        problems.append(Problem(message, second.file))
    if len(apart) > _MOST_PER_PAIR:
        message = f"and {len(apart) - _MOST_PER_PAIR} more cells that {first.file} has otherwise"
        problems.append(Problem(message, second.file))
    return [Clash((first, second), problem) for problem in problems]


def _open(table: Table) -> np.ndarray:
    """Return which cells are estimates, in the shape of the table."""
    return (~table.firm & table.firm.any()).reshape(table.share.shape)


def differs(margin: Margin, tables: Sequence[Table], shares: Sequence[np.ndarray]) -> np.ndarray:
    """Return which cells of a margin two tables, with these shares, give otherwise beyond rounding."""
    allowed = sum(
        table.rounding_room(share, margin.summed(np.ones_like(table.share), table))
        for table, share in zip(tables, shares, strict=True)
    )
    return np.asarray(np.abs(shares[0] - shares[1]) > allowed + _FLOAT_NOISE)


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 1e-6 and value >= 1 else f"{value:.6g}"
