"""Linear programs over all lawful records at once, by column generation.

A linear program with one variable for each possible record is far too large to write down. The
restricted program over a few records gives prices for the tables' cells; the record that is worth
most at these prices is found by variable elimination (`maxsum`) and joins the program until none is
worth more (Gilmore & Gomory 1961). The prices are then a proof for all records, and they bound the
optimum from below at every step (Lagrange).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.feasibility.program import WHOLE, Goal, RestrictedProgram
from llmsynthor.fitting.maxent import elimination_order

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmsynthor.feasibility.lawful import Lawful
    from llmsynthor.fitting.maxent import Factor
    from llmsynthor.targets.table import Table


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
        rounds = goal.rounds or self._affordable_rounds()
        while True:
            value, prices, level, stiff = program.optimum()
            most, fresh = self._price(program, prices, level, turn)
            bound = max(bound, self.lower_bound(prices, most))
            turn += 1
            settled = goal.proof and (value <= NEGLIGIBLE or bound > NEGLIGIBLE)
            if settled or not fresh or value - bound <= _GAP or turn == rounds:
                return Solution(value, bound, prices, program.used(), stiff)

    def _affordable_rounds(self) -> int:
        """Return how many restricted programs take seconds: each takes about cells squared."""
        cells = sum(table.cells for table in self.tables)
        return int(np.clip(_AFFORDABLE / cells**2, _LEAST_ROUNDS, _ROUNDS))

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
