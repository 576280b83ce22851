"""Linear programs over all lawful records at once, by column generation.

A linear program with one variable for each possible record is far too large to write down. The
restricted program over a few records gives prices for the tables' cells; the record that is worth
most at these prices is found by variable elimination (`maxsum`) and joins the program until none is
worth more (Gilmore & Gomory 1961). The prices are then a proof for all records, and they bound the
optimum from below at every step (Lagrange). Restricted programs are solved with HiGHS (Huangfu &
Hall 2018) through scipy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.maxent import TooLargeError, elimination_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scipy import sparse

    from llmsynthor.feasibility.lawful import Lawful
    from llmsynthor.fitting.maxent import Factor
    from llmsynthor.targets.table import Table


WHOLE = 1000.0
"""All records together weigh this much in a program, so that the solver's tolerance (1e-7) is
far below what counts."""

_STIFF = 1000.0
"""A table that may not give way costs so much more than the one that may."""

NEGLIGIBLE = 1e-6 * WHOLE
"""What is no conflict: a millionth of all records."""

_FLOAT_NOISE = 2e-9
_ROUNDS = 150
_LEAST_ROUNDS = 3
_AFFORDABLE = 4e6
_COLUMNS_PER_TABLE = 150
_COLUMNS_PER_ROUND = 400
_WORTH = 1e-7
_GAP = 1e-6
_NOWHERE = 1e-26
LARGEST = 200_000
"""Entries of the largest array: an elimination then takes some hundredths of a second, and there are
hundreds of them."""


@dataclass(frozen=True)
class Goal:
    """What a program minimises: the weight in wrong cells, of all tables unless told otherwise.

    Attributes:
        giving_way: Number of the only table that may give way, or None.
        dropped: Number of a rule that may be broken at the price of 1 for each record, or None.
        largest: Minimise the largest deviation of a cell instead: its prices are sparse.
        focus: Number of a table and one of its cells: its other cells may deviate freely. Where
            the optimum is not 0, the prices prove what the other tables allow in this one cell.
        proof: Stop as soon as it is settled whether the optimum is 0.
        rounds: Solve so many restricted programs at most; None leaves that to the size.
    """

    giving_way: int | None = None
    dropped: int | None = None
    largest: bool = False
    focus: tuple[int, int] | None = None
    proof: bool = False
    rounds: int | None = None


class RestrictedProgram:
    """The restricted program: a few records, and slack for each cell."""

    def __init__(self, system: System, goal: Goal) -> None:
        self._system, self.goal = system, goal
        self._target, self._room = np.concatenate(system.targets), np.concatenate(system.room)
        self._starts = np.cumsum([0, *(len(target) for target in system.targets)])
        self._atoms = np.zeros((0, len(system.names)), dtype=np.int64)
        self._seen: set[bytes] = set()
        self._weights = np.zeros(0)

    def add(self, atoms: np.ndarray) -> int:
        """Add records; return how many are new."""
        fresh = []
        for row in np.ascontiguousarray(atoms, dtype=np.int64):
            key = row.tobytes()
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(row)
        if fresh:
            self._atoms = np.concatenate([self._atoms, np.array(fresh)])
        return len(fresh)

    def used(self) -> np.ndarray:
        """Return the records with weight in the last optimum."""
        return self._atoms[: len(self._weights)][self._weights > 1e-9 * WHOLE]

    def optimum(self) -> tuple[float, list[np.ndarray], float, float]:
        """Return value, prices per table, price of a record, weight in wrong stiff cells."""
        from scipy.optimize import linprog  # a slow import, only here needed

        rows, cells, slack = len(self._atoms), len(self._target), self._slack_costs()
        breach = np.zeros(rows)
        if self.goal.dropped is not None:
            breach += self._system.breaches(self._atoms, self.goal.dropped)
        cost = np.concatenate([breach, slack, slack, np.zeros(cells)])
        low = np.concatenate([np.zeros(rows + 2 * cells), -self._room])
        high = np.concatenate([np.full(rows + 2 * cells, np.inf), self._room])
        equal, less = self._constraints()
        if self.goal.largest:  # the cost is one number that no cell's deviation exceeds
            cost, low, high = np.append(0 * cost, 1), np.append(low, 0), np.append(high, np.inf)
        found = linprog(  # type: ignore[call-overload]
            cost,
            A_ub=less,
            b_ub=None if less is None else np.zeros(cells),
            A_eq=equal,
            b_eq=np.append(self._target, WHOLE),
            bounds=np.stack([low, high], axis=1),
            method="highs",
        )
        if found.x is None:
            raise TooLargeError
        self._weights = found.x[:rows]
        off = (found.x[rows : rows + cells] + found.x[rows + cells : rows + 2 * cells]) / 2
        stiff = float(off[slack >= _STIFF / 2].sum())
        duals = np.asarray(found.eqlin.marginals)
        return float(found.fun), np.split(duals[:-1], self._starts[1:-1]), float(duals[-1]), stiff

    def _constraints(self) -> tuple[sparse.csc_array, sparse.csc_array | None]:
        """Return the matrices of equalities and inequalities.

        Columns: records, too few in each cell, too many, rounding; where the largest deviation is
        minimised, that too. Rows: cells, and the sum of all records.
        """
        rows, cells, more = len(self._atoms), len(self._target), int(self.goal.largest)
        index = self._system.cells(self._atoms)
        each, cell = np.arange(rows), np.arange(cells)
        entries = [
            *((own + start, each, 1.0) for own, start in zip(index, self._starts, strict=False)),
            (np.full(rows, cells), each, 1.0),
            (cell, rows + cell, 1.0),
            (cell, rows + cells + cell, -1.0),
            (cell, rows + 2 * cells + cell, 1.0),
        ]
        equal = _matrix(entries, (cells + 1, rows + 3 * cells + more))
        if not more:
            return equal, None
        entries = [
            (cell, rows + cell, 1.0),
            (cell, rows + cells + cell, 1.0),
            (cell, np.full(cells, rows + 3 * cells), -1.0),
        ]
        return equal, _matrix(entries, (cells, rows + 3 * cells + 1))

    def _slack_costs(self) -> np.ndarray:
        """Return the price of one too few or too many: half, as one wrong record makes both."""
        goal, starts = self.goal, self._starts
        stiff = goal.giving_way is not None or goal.dropped is not None
        costs = np.full(starts[-1], _STIFF / 2 if stiff else 0.5)
        if goal.giving_way is not None:
            costs[starts[goal.giving_way] : starts[goal.giving_way + 1]] = 0.5
        if goal.focus is not None:
            table, cell = goal.focus
            costs[starts[table] : starts[table + 1]] = 0.0
            costs[starts[table] + cell] = 0.5
        return costs


def _matrix(
    entries: Sequence[tuple[np.ndarray, np.ndarray, float]], shape: tuple[int, int]
) -> sparse.csc_array:
    """Return a matrix of the given rows, columns and values."""
    from scipy import sparse

    values = np.concatenate([np.full(len(rows), value) for rows, _, value in entries])
    places = np.concatenate([np.stack([rows, columns]) for rows, columns, _ in entries], axis=1)
    return sparse.csc_array((values, (places[0], places[1])), shape=shape)


@dataclass(frozen=True, eq=False)
class Solution:
    """An optimum, or as near as the rounds allowed.

    Attributes:
        value: What the found weights cost.
        bound: No weights of any lawful records cost less.
        prices: Per table the price of each cell (the dual), shape `(cells,)`.
        atoms: The records in use, shape `(records, variables of the system)`.
        stiff: How much weight lies in wrong cells of the tables that may not give way.
    """

    value: float
    bound: float
    prices: list[np.ndarray]
    atoms: np.ndarray
    stiff: float

    @property
    def is_impossible(self) -> bool:
        """Return whether it is proven that the tables cannot all be met."""
        return self.bound > NEGLIGIBLE

    @property
    def is_optimal(self) -> bool:
        """Return whether the bound reaches the value."""
        return self.value - self.bound <= NEGLIGIBLE + 1e-6 * self.value

    @property
    def is_possible(self) -> bool:
        """Return whether weights were found that meet all tables."""
        return self.value <= NEGLIGIBLE


def rounding_room(table: Table) -> np.ndarray:
    """Return by how much rounding can move each cell, as a share of all records, `(cells,)`."""
    return table.rounding_room(table.flat_share) + _FLOAT_NOISE


class System:
    """Some tables and some rules, over the variables that they speak of."""

    def __init__(self, lawful: Lawful, tables: Sequence[Table], rules: Sequence[int]) -> None:
        self.lawful = lawful
        self.tables = tuple(tables)
        self.rules = tuple(rules)
        spoken = {n for t in tables for n in t.scope}
        spoken |= {n for r in rules for n in lawful.rules[r].scope}
        self.names = tuple(name for name in lawful.domain.names if name in spoken)
        self._at = {name: i for i, name in enumerate(self.names)}
        self._sizes = {name: len(lawful.bins[name]) for name in self.names}
        self._groups = [
            tuple(g[lawful.bins[n]] for n, g in zip(t.scope, t.groups, strict=True)) for t in tables
        ]
        self.targets = [table.flat_share * WHOLE for table in tables]
        self.room = [rounding_room(table) * WHOLE for table in tables]
        self._orders: dict[tuple[str, ...], list[str]] = {}

    def solve(self, goal: Goal, start: np.ndarray | None = None) -> Solution:
        """Minimise over the weights of all lawful records.

        Args:
            goal: What to minimise.
            start: Atoms of lawful records to begin with, shape `(rows, variables)`.

        Raises:
            TooLargeError: The tables and rules are too entangled to look at all records.
        """
        program = RestrictedProgram(self, goal)
        if start is not None:
            program.add(start)
        likely = [np.log(np.maximum(t / WHOLE, _NOWHERE)) for t in self.targets]
        for number in range(len(self.tables)):
            values, columns = self.best(likely, number)
            program.add(columns[np.isfinite(values)])
        bound, turn = -np.inf, 0
        cells = sum(table.cells for table in self.tables)
        # a restricted program takes about cells squared: so many of them take seconds
        affordable = int(np.clip(_AFFORDABLE / cells**2, _LEAST_ROUNDS, _ROUNDS))
        rounds = goal.rounds or affordable
        while True:
            value, prices, level, stiff = program.optimum()
            most, fresh = self._price(program, prices, level, turn)
            bound = max(bound, self.lower_bound(prices, most))
            turn += 1
            settled = goal.proof and (value <= NEGLIGIBLE or bound > NEGLIGIBLE)
            if settled or not fresh or value - bound <= _GAP or turn == rounds:
                return Solution(value, bound, prices, program.used(), stiff)

    def _price(
        self, program: RestrictedProgram, prices: Sequence[np.ndarray], level: float, turn: int
    ) -> tuple[float, int]:
        """Add the dearest records; return the largest value of a record and how many were added."""
        most, fresh = -np.inf, 0
        for step in range(len(self.tables)):
            number = (turn + step) % len(self.tables)
            values, columns = self.best(prices, number, program.goal.dropped)
            most = max(most, float(values.max()))
            worth = np.flatnonzero(values > _WORTH - level)
            worth = worth[np.argsort(-values[worth], kind="stable")[:_COLUMNS_PER_TABLE]]
            fresh += program.add(columns[worth])
            if fresh >= _COLUMNS_PER_ROUND:
                break
        return most, fresh

    def lower_bound(self, prices: Sequence[np.ndarray], most: float) -> float:
        """Return what no weights can cost less than: the Lagrange bound of these prices."""
        wanted = sum(
            float(own @ target - np.abs(own) @ room)
            for own, target, room in zip(prices, self.targets, self.room, strict=True)
        )
        return wanted - WHOLE * most

    def best(
        self, prices: Sequence[np.ndarray], number: int, dropped: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return for each combination of a table's variables its dearest lawful record.

        Args:
            prices: Per table the price of each cell.
            number: The table; every record lies in one of its combinations, so that the largest
                value is the largest of all.
            dropped: A rule whose breach costs 1 instead of being impossible.

        Returns:
            The values (-inf where no record is lawful), shape `(combinations,)`, and the records'
            atoms, shape `(combinations, variables)`.

        Raises:
            TooLargeError: The tables and rules are too entangled.
        """
        factors: list[Factor] = [
            (t.scope, np.asarray(p.reshape(t.share.shape)[np.ix_(*g)], dtype=float))
            for t, p, g in zip(self.tables, prices, self._groups, strict=True)
        ]
        for rule in self.rules:
            breach = -1.0 if rule == dropped else -np.inf
            factors.append(
                (
                    self.lawful.rules[rule].scope,
                    np.where(self.lawful.allowed[rule], 0.0, breach),
                )
            )
        keep = self.tables[number].scope
        if keep not in self._orders:
            self._orders[keep] = elimination_order(
                [scope for scope, _ in factors], self._sizes, keep, LARGEST
            )
        values, complete = max_out(factors, self._sizes, keep, self._orders[keep])
        records = complete(np.indices(values.shape).reshape(len(keep), -1))
        return values.ravel(), np.stack([records[name] for name in self.names], axis=1)

    def cells(self, atoms: np.ndarray) -> list[np.ndarray]:
        """Return per table the cell of each record."""
        found = []
        for table, groups in zip(self.tables, self._groups, strict=True):
            index = np.zeros(len(atoms), dtype=np.int64)
            for name, group, size in zip(table.scope, groups, table.share.shape, strict=True):
                index = index * size + group[atoms[:, self._at[name]]]
            found.append(index)
        return found

    def breaches(self, atoms: np.ndarray, rule: int) -> np.ndarray:
        """Return which records break a rule of the system, shape `(records,)`."""
        place = tuple(atoms[:, self._at[name]] for name in self.lawful.rules[rule].scope)
        return np.asarray(~self.lawful.allowed[rule][place])


def max_out(
    factors: Sequence[Factor], sizes: Mapping[str, int], keep: Sequence[str], order: Sequence[str]
) -> tuple[np.ndarray, Callable[[np.ndarray], dict[str, np.ndarray]]]:
    """Return the largest sum of `factors` for each combination of the variables `keep`.

    Returns:
        The sums in the shape of `keep`, and a function that completes combinations, shape
        `(len(keep), rows)`, to a best value of every variable.
    """
    left = list(factors)
    steps: list[tuple[str, tuple[str, ...], np.ndarray]] = []
    for name in order:
        near = [factor for factor in left if name in factor[0]]
        names = tuple(sorted({n for scope, _ in near for n in scope} - {name}))
        total = _sum(near, (*names, name), sizes)
        steps.append((name, names, total.argmax(axis=-1)))
        left = [factor for factor in left if name not in factor[0]]
        left.append((names, total.max(axis=-1)))

    def complete(given: np.ndarray) -> dict[str, np.ndarray]:
        values = dict(zip(keep, given, strict=True))
        for name, names, choice in reversed(steps):
            chosen = choice[tuple(values[n] for n in names)]
            values[name] = np.broadcast_to(chosen, given.shape[1:])
        return values

    return _sum(left, tuple(keep), sizes), complete


def _sum(factors: Sequence[Factor], names: tuple[str, ...], sizes: Mapping[str, int]) -> np.ndarray:
    total = np.zeros([sizes[n] for n in names])
    for scope, array in factors:
        order = sorted(range(len(scope)), key=lambda i: names.index(scope[i]))
        shape = [sizes[n] if n in scope else 1 for n in names]
        total += np.transpose(array, order).reshape(shape)
    return total
