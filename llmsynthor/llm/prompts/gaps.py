"""Gaps: where the proposals fall short, and on what each of several calls looks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from llmsynthor.llm.prompts.groups import cover
from llmsynthor.targets.measures import tvd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmsynthor.llm.prompts.groups import Coverage
    from llmsynthor.targets.table import Table, TableSet

_Item = TypeVar("_Item")
MOST_GAPS = 24
_MOST_TOO_MANY = 8
_LEAST_GAP = 0.0005
"""Share below which a difference is not worth a line."""
WIDE = 40
"""Labels; a variable with more of them is shown by its most frequent ones."""
_MOST_OF_WIDE = 3
"""Lines for a table with such a variable: its cells are too many and too small to teach by."""


@dataclass(frozen=True, eq=False)
class Statistic:
    """A table whose gaps are shown: a control table, or sums of one over some of its variables."""

    table: Table
    parent: int
    axes: tuple[int, ...] = ()

    @property
    def is_wide(self) -> bool:
        """Return whether a variable of it has very many labels."""
        return max(self.table.share.shape) > WIDE

    def held(self, prior: Sequence[np.ndarray] | None) -> np.ndarray:
        """Return the share that each cell has in `prior` (by control table), shape `(cells,)`."""
        if prior is None:
            return np.zeros(self.table.cells)
        return np.asarray(prior[self.parent].sum(axis=self.axes)).ravel()


@dataclass(frozen=True, eq=False)
class Lack:
    """A cell whose share is off."""

    statistic: Statistic
    cell: int
    held: float

    @property
    def target(self) -> float:
        """Return the share that the cell should have."""
        return float(self.statistic.table.flat_share[self.cell])

    @property
    def apart(self) -> float:
        """Return target minus held."""
        return self.target - self.held


@dataclass(frozen=True)
class Focus:
    """What one call of an iteration should look at: a cell that lacks, or variables together."""

    scope: tuple[str, ...]
    lack: Lack | None = None


def statistics(tables: TableSet, groups: Sequence[Sequence[str]]) -> list[Statistic]:
    """Return what gaps are shown of: the control tables, and what larger ones say by summing up.

    Sums give the marginal of a variable that has no table of its own, the figures of a group of
    dependent variables, and what a table says beside a variable with very many labels.
    """
    found = [Statistic(table, number) for number, table in enumerate(tables.control)]
    shown = {frozenset(s.table.scope) for s in found if s.table in _counting(tables, s.table.scope)}
    scopes: list[tuple[str, ...]] = [(name,) for name in tables.domain.names]
    scopes += [tuple(group) for group in groups]
    scopes += [
        tuple(n for n, size in zip(s.table.scope, s.table.share.shape, strict=True) if size <= WIDE)
        for s in found
        if s.is_wide
    ]
    numbers = {table.name: number for number, table in enumerate(tables.control)}
    for scope in scopes:
        covered = cover(scope, _counting(tables, scope))
        if covered.table is None or not scope or frozenset(scope) in shown:
            continue
        shown.add(frozenset(scope))
        found.append(_summed(tables.control, numbers[covered.table], scope))
    return found


def _counting(tables: TableSet, scope: Sequence[str]) -> list[Table]:
    """Return the control tables that count what a scope is of: records, or members."""
    members = tables.members
    own = members is not None and any(name in members.own.positions for name in scope)
    return [table for table in tables.control if (table.members is not None) == own]


def _summed(tables: Sequence[Table], parent: int, scope: Sequence[str]) -> Statistic:
    table = tables[parent]
    kept = [axis for axis, name in enumerate(table.scope) if name in scope]
    axes = tuple(axis for axis in range(len(table.scope)) if axis not in kept)
    smaller = replace(
        table,
        scope=tuple(table.scope[axis] for axis in kept),
        labels=tuple(table.labels[axis] for axis in kept),
        groups=tuple(table.groups[axis] for axis in kept),
        figures=table.figures.sum(axis=axes),
        moe=None,
    )
    return Statistic(smaller, parent, axes)


def gaps(
    shown: Sequence[Statistic], prior: Sequence[np.ndarray] | None, turn: int = 0
) -> tuple[list[Lack], list[Lack]]:
    """Return cells that lack and cells that are too full, each in the order of how much.

    Most of the places are for those that are furthest off; the others take turns in the rest: over
    the turns each cell that lacks is shown. `prior` is None where the library is empty.
    """
    lacking: list[Lack] = []
    full: list[Lack] = []
    for statistic in shown:
        most = _MOST_OF_WIDE if statistic.is_wide else MOST_GAPS
        lack = _lacking(statistic, prior)
        lacking += in_turn(lack, most, turn) if statistic.is_wide else lack
        ranked = _ranked(statistic, prior)
        full += [cell for cell in ranked[: -most - 1 : -1] if cell.apart < -_LEAST_GAP]
    lacking.sort(key=lambda lack: -lack.apart)
    full.sort(key=lambda lack: lack.apart)
    # a joint's cells are smaller than a marginal's, and say more: they have places of their own
    alone = [lack for lack in lacking if len(lack.statistic.table.scope) == 1]
    single = in_turn(alone, MOST_GAPS // 3, turn)
    joint = [lack for lack in lacking if len(lack.statistic.table.scope) > 1]
    return [*single, *in_turn(joint, MOST_GAPS - len(single), turn)], full[:_MOST_TOO_MANY]


def in_turn(items: Sequence[_Item], places: int, turn: int) -> list[_Item]:
    """Return as many items as there are places: two thirds always the first, then others by turns.

    Example:
        >>> [in_turn("abcdef", 3, turn) for turn in range(3)]
        [['a', 'b', 'c'], ['a', 'b', 'd'], ['a', 'b', 'e']]
    """
    if len(items) <= places:
        return list(items)
    moving = places // 3
    first, rest = items[: places - moving], items[places - moving :]
    shown = {(turn * moving + step) % len(rest) for step in range(moving)}
    return [*first, *(rest[position] for position in sorted(shown))]


def _lacking(statistic: Statistic, prior: Sequence[np.ndarray] | None) -> list[Lack]:
    """Return the cells that lack enough for a line, which are under 2,000, the worst first."""
    held, apart = _apart(statistic, prior)
    order = np.argsort(-apart, kind="stable")
    worth = order[apart[order] > _LEAST_GAP]
    return [Lack(statistic, int(cell), float(held[cell])) for cell in worth]


def _ranked(statistic: Statistic, prior: Sequence[np.ndarray] | None) -> list[Lack]:
    """Return the cells that lack most and least, the middle of a large table left out."""
    held, apart = _apart(statistic, prior)
    order = np.argsort(-apart, kind="stable")
    if len(order) > 2 * MOST_GAPS:
        order = np.concatenate([order[:MOST_GAPS], order[-MOST_GAPS:]])
    return [Lack(statistic, int(cell), float(held[cell])) for cell in order]


def _apart(
    statistic: Statistic, prior: Sequence[np.ndarray] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return what each cell holds, and its target minus that, both of shape `(cells,)`."""
    held = statistic.held(prior)
    return held, np.round(statistic.table.flat_share - held, 12)  # noise must not decide an order


def without_table(
    tables: TableSet, groups: Sequence[Coverage]
) -> tuple[list[tuple[str, ...]], list[tuple[str, str]]]:
    """Return groups and pairs of groups that no table has, then all other uncovered pairs.

    Of the latter those with a variable of members go before.
    """
    first = [group.variables for group in groups if group.how == "none"]
    first += [pair for group in groups for pair in group.missing]
    matter = list({frozenset(scope): scope for scope in first}.values())
    named = {frozenset(scope) for scope in matter}
    others = [pair for pair in tables.uncovered_pairs() if frozenset(pair) not in named]
    if tables.members is not None:  # what members have, and whose they are, is known least
        own = tables.members.own.positions
        others.sort(key=lambda pair: not any(name in own for name in pair))
    return matter, others


def among_members(tables: TableSet, scopes: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return what to look at: scopes by turns with variables of the members of one record.

    Such a variable stands in its scope twice: how one member's goes with another's is what no
    table can say.
    """
    between = [] if tables.members is None else [(name, name) for name in tables.members.own.names]
    return [scope for pair in zip_longest(between, scopes) for scope in pair if scope is not None]


def focuses(
    shown: Sequence[Statistic],
    prior: Sequence[np.ndarray] | None,
    knowledge: Sequence[tuple[str, ...]],
    calls: int,
    iteration: int,
) -> list[Focus]:
    """Return what each call of an iteration looks at, no two the same; fewer where there is less.

    Largest gaps, of different tables first, and variables of which the model should say how they go
    together (`knowledge`) take turns; of the latter each iteration takes the next.
    """
    each = calls // 2
    start = (iteration - 1) * each % len(knowledge) if knowledge and each else 0
    turned = [Focus(scope) for scope in (*knowledge[start:], *knowledge[:start])]
    cells = _worst_cells(shown, prior)
    found: list[Focus] = []
    while len(found) < calls:
        fresh = next(cells, None) if len(found) % 2 == 0 or not turned else None
        if fresh is None and turned:
            fresh = turned.pop(0)
        if fresh is None:
            break
        found.append(fresh)
    return found


def _worst_cells(shown: Sequence[Statistic], prior: Sequence[np.ndarray] | None) -> Iterator[Focus]:
    """Return the worst cell of each table, the worst table first, then the next cell of each."""
    apart = [round(tvd(s.table.flat_share, s.held(prior)), 12) for s in shown]
    order = sorted(range(len(shown)), key=lambda i: (-apart[i], -len(shown[i].table.scope), i))
    most = [_MOST_OF_WIDE if shown[i].is_wide else MOST_GAPS for i in order]
    ranked = [_ranked(shown[i], prior)[:n] for i, n in zip(order, most, strict=True)]
    for depth in range(MOST_GAPS):
        for lacks in ranked:
            if depth < len(lacks) and lacks[depth].apart > _LEAST_GAP:
                yield Focus(lacks[depth].statistic.table.scope, lacks[depth])
