"""Finding what clashes: small sets of tables and rules that no records can meet together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.columns import (
    NEGLIGIBLE,
    WHOLE,
    Goal,
    Solution,
    System,
    deviations,
    rounding_room,
)
from llmsynthor.conflict import Conflict, Cost, summed_cells
from llmsynthor.lawful import Lawful
from llmsynthor.maxent import TooLargeError
from llmsynthor.maxsum import elimination_order, max_out

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from llmsynthor.tables import Table

_MOST_CONFLICTS = 3
"""Of one component; what else clashes shows when these are mended."""

_SUPPORT = 1e-7
_LARGEST_FACTOR = 12
_SAMPLE = 3000
_PARTS = 3
_PART_LIMIT = 30_000


def impossible_rules(lawful: Lawful, records: int) -> list[Conflict]:
    """Return each rule that allows nothing, or else sets of rules that allow nothing together."""
    found = [
        Conflict(records, (), ((n, lawful.rules[n]),))
        for n, allowed in sorted(lawful.allowed.items())
        if not allowed.any()
    ]
    if found:
        return found
    for _, rules in components((), lawful):
        if not _reach(lawful, rules, ()).any():
            least = _shrunk(rules, lambda some: not _reach(lawful, some, ()).any())
            found.append(Conflict(records, (), tuple((n, lawful.rules[n]) for n in least)))
    return found


def components(
    tables: Sequence[Table], lawful: Lawful
) -> list[tuple[tuple[Table, ...], tuple[int, ...]]]:
    """Return tables and tabulated rules, apart where no variable links them."""
    parts: list[tuple[set[str], list[Table | int]]] = []
    members: list[Table | int] = [*tables, *sorted(lawful.allowed)]
    for member in members:
        scope = set(lawful.rules[member].scope if isinstance(member, int) else member.scope)
        near = [part for part in parts if part[0] & scope]
        parts = [part for part in parts if not part[0] & scope]
        linked = [m for part in near for m in part[1]]
        parts.append((scope.union(*(part[0] for part in near)), [*linked, member]))
    return [
        (
            tuple(m for m in own if not isinstance(m, int)),
            tuple(sorted(m for m in own if isinstance(m, int))),
        )
        for _, own in parts
    ]


class Search:
    """Looks for conflicts among the tables and rules of one component."""

    def __init__(
        self, lawful: Lawful, tables: Sequence[Table], rules: Sequence[int], records: int
    ) -> None:
        self._lawful = lawful
        self._tables = tuple(tables)
        self._rules = tuple(rules)
        self._records = records

    def run(self) -> tuple[list[Conflict], np.ndarray]:
        """Return the conflicts, or else codes of records that meet the tables (-1: left open).

        Raises:
            TooLargeError: Tables and rules are too entangled to settle it.
        """
        nobody = np.zeros((0, len(self._lawful.domain.names)), dtype=np.int32)
        if not self._tables:
            return [], nobody
        conflicts = self._empty_cells()
        if not conflicts:
            system = self._system(self._tables, self._rules)
            solution = system.solve(Goal(proof=True))
            if solution.is_possible:
                return [], self._lawful.codes(system.names, solution.atoms)
            if not solution.is_impossible:
                raise TooLargeError
            conflicts = self._all_conflicts(solution)
        return [self._with_costs(conflict, conflicts) for conflict in conflicts], nobody

    def run_on_part(self, start_codes: np.ndarray) -> list[Conflict]:
        """Return conflicts among tables of which all records can be looked at; there may be more.

        Tables that the records `start_codes` fail to meet are looked at first.
        """
        everything = [t.cells for t in self._tables]
        trouble = (
            _trouble(self._lawful, self._tables, start_codes) if len(start_codes) else everything
        )
        order = np.argsort(-np.asarray(trouble, dtype=float), kind="stable")
        for first in order[:_PARTS]:
            tables = self._grown(int(first), order)
            spoken = {name for table in tables for name in table.scope}
            rules = [r for r in self._rules if set(self._lawful.rules[r].scope) <= spoken]
            try:
                conflicts, _ = Search(self._lawful, tables, rules, self._records).run()
            except TooLargeError:
                continue
            if conflicts:
                return conflicts
        return []

    def _grown(self, first: int, order: np.ndarray) -> list[Table]:
        """Return a table and others that it is linked to, as many as can be handled at once."""
        part = [self._tables[first]]
        sizes = {name: len(codes) for name, codes in self._lawful.bins.items()}
        for number in order:
            table = self._tables[number]
            spoken = {name for member in part for name in member.scope}
            if number == first or not spoken & set(table.scope):
                continue
            scopes = [member.scope for member in [*part, table]]
            within = spoken | set(table.scope)
            scopes += [s for r in self._rules if within >= set(s := self._lawful.rules[r].scope)]
            try:
                for scope in scopes[: len(part) + 1]:
                    elimination_order(scopes, sizes, scope, _PART_LIMIT)
            except TooLargeError:
                continue
            part.append(table)
        return part

    def _system(self, tables: Sequence[Table], rules: Sequence[int]) -> System:
        return System(self._lawful, tables, rules)

    def _is_impossible(self, tables: Sequence[Table], rules: Sequence[int]) -> bool:
        return bool(tables) and (self._system(tables, rules).solve(Goal(proof=True)).is_impossible)

    def _empty_cells(self) -> list[Conflict]:
        """Return a conflict for each table and rules that leave wanted cells without any record."""
        conflicts: list[Conflict] = []
        for table in self._tables:
            wanted = table.flat_share > rounding_room(table) + NEGLIGIBLE / WHOLE
            empty = wanted & ~self._fillable(table, self._rules)
            while empty.any():
                cell = int(np.flatnonzero(empty)[0])
                rules = _shrunk(self._rules, partial(self._leaves_empty, table, cell))
                own = empty & ~self._fillable(table, rules)
                empty &= ~own
                conflicts.append(
                    Conflict(
                        self._records,
                        (table,),
                        tuple((n, self._lawful.rules[n]) for n in rules),
                        tuple(summed_cells(table, own.astype(float), self._records)),
                    )
                )
        return conflicts

    def _leaves_empty(self, table: Table, cell: int, rules: Sequence[int]) -> bool:
        return not self._fillable(table, rules)[cell]

    def _fillable(self, table: Table, rules: Sequence[int]) -> np.ndarray:
        """Return which cells some record that keeps `rules` can be in, shape `(cells,)`."""
        near = next(rules for own, rules in components([table], self._lawful) if own)
        reached = _reach(self._lawful, set(near) & set(rules), table.scope)
        place = np.zeros(reached.shape, dtype=np.int64)
        for axis, (name, group) in enumerate(zip(table.scope, table.groups, strict=True)):
            shape = [-1 if i == axis else 1 for i in range(reached.ndim)]
            place = place * table.share.shape[axis] + group[self._lawful.bins[name]].reshape(shape)
        return np.bincount(place[reached], minlength=table.cells) > 0

    def _all_conflicts(self, solution: Solution) -> list[Conflict]:
        """Return conflicts that have no member in common."""
        tables, rules = self._tables, self._rules
        conflicts: list[Conflict] = []
        while solution.is_impossible and len(conflicts) < _MOST_CONFLICTS:
            conflict = self._smallest(tables, rules, solution)
            conflicts.append(conflict)
            numbers = {number for number, _ in conflict.rules}
            tables = tuple(t for t in tables if t not in conflict.tables)
            rules = tuple(r for r in rules if r not in numbers)
            if not tables:
                break
            solution = self._system(tables, rules).solve(Goal(proof=True))
        return conflicts

    def _smallest(
        self, tables: Sequence[Table], rules: Sequence[int], solution: Solution
    ) -> Conflict:
        """Return a conflict of which no table and no rule can be left out."""
        # a table whose cells all have one price adds nothing to the proof
        used = [t for t, p in zip(tables, solution.prices, strict=True) if np.ptp(p) > _SUPPORT]
        least = _shrunk(rules, lambda some: self._is_impossible(used, some))
        by_size = sorted(range(len(used)), key=lambda i: -used[i].cells)
        kept = sorted(
            _shrunk(by_size, lambda some: self._is_impossible([used[i] for i in some], least))
        )
        system = self._system([used[i] for i in kept], least)
        times = _simple(system, system.solve(Goal(largest=True)).prices)
        cells = [
            cell
            for table, own in zip(system.tables, times, strict=True)
            for cell in summed_cells(table, own, self._records)
        ]
        above = [np.maximum(own, 0.0) for own in times]
        return Conflict(
            self._records,
            system.tables,
            tuple((n, self._lawful.rules[n]) for n in least),
            tuple(cells),
            most=_most(system, times),
            alone=_most(system, above) <= 1,
        )

    def _with_costs(self, conflict: Conflict, conflicts: Sequence[Conflict]) -> Conflict:
        """Return the conflict with what it costs if one member gives way and all others hold.

        Members of the other conflicts are left out: each conflict has its own ways out.
        """
        own_rules = {number for number, _ in conflict.rules}
        others = [other for other in conflicts if other is not conflict]
        gone = {id(t) for o in others for t in o.tables} - {id(t) for t in conflict.tables}
        broken = {number for o in others for number, _ in o.rules} - own_rules
        tables = [t for t in self._tables if id(t) not in gone]
        system = self._system(tables, [r for r in self._rules if r not in broken])
        goals: list[tuple[Table | int, Goal]] = [
            *((t, Goal(giving_way=i)) for i, t in enumerate(tables) if t in conflict.tables),
            *((number, Goal(dropped=number)) for number in sorted(own_rules)),
        ]
        costs = []
        for member, goal in goals:
            solution = system.solve(goal)
            records = max(solution.bound, 0.0) / WHOLE * self._records
            costs.append(
                Cost(
                    self._lawful.rules[member] if isinstance(member, int) else member,
                    records if solution.stiff <= NEGLIGIBLE else None,
                )
            )
        return replace(conflict, costs=tuple(costs))


def _simple(system: System, prices: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return multipliers as simple as can be that still prove the conflict, whole where possible."""
    peak = max(float(np.abs(own).max()) for own in prices)
    scaled = [np.where(np.abs(own) < _SUPPORT * peak, 0.0, own / peak) for own in prices]
    whole = range(1, _LARGEST_FACTOR + 1)
    tries = [
        [np.sign(own) for own in scaled],
        *([np.round(own * factor) for own in scaled] for factor in whole),
        [np.round(own, 3) for own in scaled],
    ]
    for times in tries:
        if _proves(system, times):
            return times
    return scaled


def _proves(system: System, times: Sequence[np.ndarray]) -> bool:
    """Return whether the cells so counted want more than all records can be counted."""
    wanted = sum(
        float(own @ target - np.abs(own) @ room)
        for own, target, room in zip(times, system.targets, system.room, strict=True)
    )
    return wanted - WHOLE * _most(system, times) > NEGLIGIBLE


def _most(system: System, times: Sequence[np.ndarray]) -> float:
    return float(system.best(times, 0)[0].max())


def _trouble(lawful: Lawful, tables: Sequence[Table], codes: np.ndarray) -> list[float]:
    """Return how much weight is in wrong cells of each table, with drawn records alone."""
    domain = lawful.domain
    bins = {v.name: np.arange(v.size) for v in domain.variables}
    system = System(Lawful(domain, (), bins, {}), tables, ())
    rows = np.unique(np.linspace(0, len(codes) - 1, _SAMPLE).astype(np.int64))
    return deviations(system, codes[rows][:, list(domain.columns(system.names))])


def _reach(lawful: Lawful, rules: Iterable[int], keep: tuple[str, ...]) -> np.ndarray:
    """Return which combinations of atoms of `keep` some record has that keeps all `rules`.

    All are, where the rules are too entangled to tell.
    """
    factors = [
        (lawful.rules[n].scope, np.where(lawful.allowed[n], 0.0, -np.inf)) for n in sorted(rules)
    ]
    sizes = {name: len(codes) for name, codes in lawful.bins.items()}
    try:
        order = elimination_order([scope for scope, _ in factors], sizes, keep)
    except TooLargeError:
        return np.ones([sizes[name] for name in keep], dtype=bool)
    return np.asarray(max_out(factors, sizes, keep, order)[0] > -np.inf)


def _shrunk(members: Sequence[int], still: Callable[[Sequence[int]], bool]) -> list[int]:
    """Return members of which none can be left out without losing the conflict (deletion filter)."""
    kept = list(members)
    for member in members:
        fewer = [m for m in kept if m != member]
        if still(fewer):
            kept = fewer
    return kept
