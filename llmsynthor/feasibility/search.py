"""Finding what clashes: small sets of tables and rules that no records can meet together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.feasibility.certificate import clearest_multipliers, counted_cells, most_counted
from llmsynthor.feasibility.columns import NEGLIGIBLE, WHOLE, Goal, Solution, System, rounding_room
from llmsynthor.feasibility.lawful import components, reach, shrunk
from llmsynthor.feasibility.words import Conflict, Cost, summed_cells
from llmsynthor.fitting.maxent import TooLargeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.rules import Rule
    from llmsynthor.feasibility.lawful import Lawful
    from llmsynthor.targets.table import Table

_MOST_CONFLICTS = 3
"""Of one component; what else clashes shows when these are mended."""

_SUPPORT = 1e-7
_SAMPLE = 1500
_RAKING_ROUNDS = 20
_PART_TABLES = 6
_AFFORDABLE = 5e5
"""Parts are looked at until their cells squared, which is about what they cost, add up to this."""

_MOST_CELLS = 1500
"""A linear program with more cells takes minutes; then only parts are looked at."""

_MOST_COST_CELLS = 500


class Search:
    """Looks for conflicts among the tables and rules of one component.

    Attributes:
        is_settled: Whether the tables are known to be met by some records, or to clash.
    """

    def __init__(
        self,
        lawful: Lawful,
        tables: Sequence[Table],
        rules: Sequence[int],
        records: int,
        start_codes: np.ndarray,
    ) -> None:
        self._lawful = lawful
        self._tables = tuple(tables)
        self._rules = tuple(rules)
        self._records = records
        self._start = start_codes[_spread(len(start_codes), _SAMPLE)]
        self.is_settled = True

    def run(self) -> tuple[list[Conflict], np.ndarray]:
        """Return the conflicts, or else codes of records that meet the tables (-1: left open)."""
        nobody = np.zeros((0, len(self._lawful.domain.names)), dtype=np.int32)
        if not self._tables:
            return [], nobody
        conflicts = self._empty_cells()
        if not conflicts:
            solution = self._solve(Goal(proof=True, rounds=1))
            few = len(self._tables) <= _PART_TABLES
            if not few and not (solution and solution.is_possible):
                conflicts = self._conflicts_of_parts()
            if not conflicts and not (solution and solution.is_possible):
                solution = self._solve(Goal(proof=True))
            if not conflicts and solution and solution.is_possible:
                system = System(self._lawful, self._tables, self._rules)
                return [], self._lawful.codes(system.names, solution.atoms)
            if not conflicts and solution and solution.is_impossible:
                conflicts = self._all_conflicts(self._tables, self._rules, solution)
        self.is_settled = bool(conflicts)
        return [self._with_costs(conflict, conflicts) for conflict in conflicts], nobody

    def _solve(self, goal: Goal) -> Solution | None:
        """Return a solution of the whole component, or None where it is too large."""
        if sum(table.cells for table in self._tables) > _MOST_CELLS:
            return None
        try:
            return self._solution(self._tables, self._rules, goal)
        except TooLargeError:
            return None

    def _start_atoms(self, system: System) -> np.ndarray:
        """Return atoms of those drawn records that the rules still allow, as the system has them."""
        domain, random = self._lawful.domain, np.random.default_rng(0)
        atoms = np.zeros((len(self._start), len(system.names)), dtype=np.int64)
        for column, name in enumerate(system.names):
            bins, codes = self._lawful.bins[name], self._start[:, domain.positions[name]]
            order = np.argsort(bins, kind="stable")
            low, high = (np.searchsorted(bins[order], codes, side=s) for s in ("left", "right"))
            atoms[:, column] = order[low + (random.random(len(codes)) * (high - low)).astype(int)]
        for rule in system.rules:
            atoms = atoms[~system.breaches(atoms, rule)]
        return atoms

    def _conflicts_of_parts(self) -> list[Conflict]:
        """Return conflicts among a few tables that are linked: most conflicts are so small.

        Tables that the drawn records fail to meet are looked at first.
        """
        trouble = _trouble(self._tables, self._start, self._lawful)
        order = np.argsort(-np.asarray(trouble), kind="stable")
        conflicts: list[Conflict] = []
        cells = np.sort([table.cells for table in self._tables])[-_PART_TABLES:].sum()
        for first in order[: int(np.clip(_AFFORDABLE / cells**2, 5, len(order)))]:
            known = {id(table) for conflict in conflicts for table in conflict.tables}
            if len(conflicts) == _MOST_CONFLICTS or id(self._tables[first]) in known:
                continue
            tables = self._part(int(first), [n for n in order if id(self._tables[n]) not in known])
            spoken = {name for table in tables for name in table.scope}
            rules = [r for r in self._rules if spoken & set(self._lawful.rules[r].scope)]
            try:
                solution = self._proof(tables, rules)
                if solution.is_impossible:
                    conflicts += self._all_conflicts(tables, rules, solution)
            except TooLargeError:
                continue
        return conflicts[:_MOST_CONFLICTS]

    def _part(self, first: int, order: Sequence[int]) -> list[Table]:
        """Return a table and a few that share variables with it, those first that share most."""
        part = [self._tables[first]]
        left = [self._tables[n] for n in order if n != first]
        while left and len(part) < _PART_TABLES:
            spoken = {name for member in part for name in member.scope}
            near = max(left, key=lambda t: len(spoken & set(t.scope)) / len(t.scope))
            if not spoken & set(near.scope):
                break
            left.remove(near)
            part.append(near)
        return part

    def _is_impossible(self, tables: Sequence[Table], rules: Sequence[int]) -> bool:
        return bool(tables) and self._proof(tables, rules).is_impossible

    def _proof(self, tables: Sequence[Table], rules: Sequence[int]) -> Solution:
        return self._solution(tables, rules, Goal(proof=True))

    def _solution(self, tables: Sequence[Table], rules: Sequence[int], goal: Goal) -> Solution:
        system = System(self._lawful, tables, rules)
        return system.solve(goal, self._start_atoms(system))

    def _empty_cells(self) -> list[Conflict]:
        """Return a conflict for each table and rules that leave wanted cells without any record."""
        conflicts: list[Conflict] = []
        for table in self._tables:
            wanted = table.flat_share > rounding_room(table) + NEGLIGIBLE / WHOLE
            empty = wanted & ~self._fillable(table, self._rules)
            while empty.any():
                cell = int(np.flatnonzero(empty)[0])
                rules = shrunk(self._rules, partial(self._leaves_empty, table, cell))
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
        reached = reach(self._lawful, set(near) & set(rules), table.scope)
        place = np.zeros(reached.shape, dtype=np.int64)
        for axis, (name, group) in enumerate(zip(table.scope, table.groups, strict=True)):
            shape = [-1 if i == axis else 1 for i in range(reached.ndim)]
            place = place * table.share.shape[axis] + group[self._lawful.bins[name]].reshape(shape)
        return np.bincount(place[reached], minlength=table.cells) > 0

    def _all_conflicts(
        self, tables: Sequence[Table], rules: Sequence[int], solution: Solution
    ) -> list[Conflict]:
        """Return conflicts that have no member in common."""
        conflicts: list[Conflict] = []
        while solution.is_impossible and len(conflicts) < _MOST_CONFLICTS:
            conflict = self._smallest(tables, rules, solution)
            conflicts.append(conflict)
            numbers = {number for number, _ in conflict.rules}
            tables = [t for t in tables if t not in conflict.tables]
            rules = [r for r in rules if r not in numbers]
            if not tables:
                break
            solution = self._proof(tables, rules)
        return conflicts

    def _smallest(
        self, tables: Sequence[Table], rules: Sequence[int], solution: Solution
    ) -> Conflict:
        """Return a conflict of which no table and no rule can be left out."""
        place = {id(table): number for number, table in enumerate(self._tables)}
        # a table whose cells all have one price adds nothing to the proof
        used = [t for t, p in zip(tables, solution.prices, strict=True) if np.ptp(p) > _SUPPORT]
        least = shrunk(rules, lambda some: self._is_impossible(used, some))
        by_size = sorted(range(len(used)), key=lambda i: -used[i].cells)
        kept = shrunk(by_size, lambda some: self._is_impossible([used[i] for i in some], least))
        own = sorted((used[i] for i in kept), key=lambda t: place[id(t)])
        system = System(self._lawful, own, least)
        times = clearest_multipliers(system)
        cells = counted_cells(system, times, self._records)
        above = [np.maximum(own, 0.0) for own in times]
        return Conflict(
            self._records,
            system.tables,
            tuple((n, self._lawful.rules[n]) for n in least),
            tuple(cells),
            most=most_counted(system, times),
            alone=most_counted(system, above) <= 1,
        )

    def _with_costs(self, conflict: Conflict, conflicts: Sequence[Conflict]) -> Conflict:
        """Return the conflict with what it costs if one member gives way and all others hold.

        Members of the other conflicts are left out, as each conflict has its own ways out; and in
        large components all other tables and rules: the costs hold as the least then too.
        """
        own_rules = [number for number, _ in conflict.rules]
        others = [other for other in conflicts if other is not conflict]
        gone = {id(t) for o in others for t in o.tables} - {id(t) for t in conflict.tables}
        broken = {number for o in others for number, _ in o.rules} - set(own_rules)
        tables = [t for t in self._tables if id(t) not in gone]
        rules = [r for r in self._rules if r not in broken]
        costs = None
        if sum(table.cells for table in tables) <= _MOST_COST_CELLS:
            costs = self._costs(conflict, System(self._lawful, tables, rules))
        if costs is None:
            costs = self._costs(conflict, System(self._lawful, conflict.tables, own_rules))
        return replace(conflict, costs=tuple(costs or ()))

    def _costs(self, conflict: Conflict, system: System) -> list[Cost] | None:
        """Return what each member of the conflict costs; None where that is out of reach."""
        goals: list[tuple[Table | Rule, Goal]] = [
            *((t, Goal(giving_way=system.tables.index(t))) for t in conflict.tables),
            *((rule, Goal(dropped=number)) for number, rule in conflict.rules),
        ]
        costs = []
        for member, goal in goals:
            try:
                solution = system.solve(goal)
            except TooLargeError:
                return None
            if not solution.is_optimal:
                return None
            records = max(solution.bound, 0.0) / WHOLE * self._records
            costs.append(Cost(member, records if solution.stiff <= NEGLIGIBLE else None))
        return costs


def _trouble(tables: Sequence[Table], codes: np.ndarray, lawful: Lawful) -> list[float]:
    """Return which share of drawn records stays in wrong cells of each table when they are raked."""
    if not len(codes):
        return [1.0] * len(tables)
    index = [table.cell_index(codes, lawful.domain) for table in tables]
    weights = np.full(len(codes), 1.0 / len(codes))
    for _ in range(_RAKING_ROUNDS):
        for table, own in zip(tables, index, strict=True):
            held = np.bincount(own, weights, table.cells)
            factor = np.divide(table.flat_share, held, out=np.ones(table.cells), where=held > 0)
            weights *= np.clip(factor, 0.3, 3.0)[own]  # no table takes all from another at once
    return [
        float(np.abs(np.bincount(own, weights, table.cells) - table.flat_share).sum())
        for table, own in zip(tables, index, strict=True)
    ]


def _spread(rows: int, most: int) -> np.ndarray:
    """Return numbers of at most `most` of some rows, evenly spread over them."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).astype(np.int64))
