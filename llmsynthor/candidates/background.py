"""The background: draws from the tables alone, variable by variable, needing no model.

Each next variable is drawn given those already drawn that stand with it in some table, the most
informative table first. Where the tables form a forest this is the maximum-entropy distribution;
elsewhere its logarithm is still a sum of functions on the tables' scopes, so that its KL projection
onto the tables is the maximum-entropy distribution all the same.

Members are drawn given their record, and independently of each other: no table says how they go
together. Rules across levels ("exactly one head") then refuse most records, so that these are not
thrown away but get other members, one at a time, until the rules hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmsynthor.targets.domain import Members
    from llmsynthor.targets.table import Table, TableSet

_REPAIRS = 40
_IDLE_REPAIRS = 8
"""Repairs in a row that mend no record; then none that is left can be mended."""
_TRIED_AT_ONCE = 4000
"""Records."""
_MOST_WAYS = 24
_ALL_ANEW = 10
"""Of so many repairs of an unlawful record's members one draws all of them anew."""


class Background:
    """Draws records that follow the control tables as far as one pass can."""

    def __init__(self, tables: TableSet) -> None:
        self.tables = tables
        self.marginals = {name: tables.marginal(name) for name in tables.domain.names}
        self._orders: dict[tuple[str, ...], list[tuple[str, Table | None, tuple[str, ...]]]] = {}

    def draw(
        self, rows: int, random: np.random.Generator, fixed: Mapping[str, np.ndarray] | None = None
    ) -> np.ndarray:
        """Return codes of `rows` records, int32, shape `(rows, variables)`.

        Codes of the variables in `fixed` are given, each of shape `(rows,)`.
        """
        domain = self.tables.domain
        codes = np.zeros((rows, len(domain.names)), dtype=np.int32)
        fixed = fixed or {}
        for name, values in fixed.items():
            codes[:, domain.positions[name]] = values
        known = tuple(sorted(fixed))
        if known not in self._orders:
            self._orders[known] = self._plan_order(list(known))
        for name, table, given in self._orders[known]:
            drawn = self._draw_variable(name, table, given, codes, random)
            codes[:, domain.positions[name]] = drawn
        return codes

    def _plan_order(self, known: list[str]) -> list[tuple[str, Table | None, tuple[str, ...]]]:
        """Return which variables to draw in turn: by a table, given variables of its scope."""
        steps: list[tuple[str, Table | None, tuple[str, ...]]] = []
        left = [name for name in self.tables.domain.names if name not in known]
        while left:
            options = [
                (_information(table, name, given), name, table, given)
                for table in self.tables.control
                for name in left
                if name in table.scope
                and (given := tuple(n for n in table.scope if n in known and n != name))
            ]
            if options:
                _, name, table, given = max(options, key=lambda o: o[0])
                steps.append((name, table, given))
            else:
                name = left[0]
                steps.append((name, None, ()))
            known.append(name)
            left.remove(name)
        return steps

    def _draw_variable(
        self,
        name: str,
        table: Table | None,
        given: Sequence[str],
        codes: np.ndarray,
        random: np.random.Generator,
    ) -> np.ndarray:
        marginal = self.marginals[name]
        if table is None:
            return stratified_draw(marginal[None, :], np.zeros(len(codes), np.int64), random)
        conditional = _conditional(table, name, given)
        axes = [table.scope.index(n) for n in given]
        columns = [self.tables.domain.positions[n] for n in given]
        parent = np.ravel_multi_index(
            [table.groups[a][codes[:, c]] for a, c in zip(axes, columns, strict=True)],
            [table.share.shape[a] for a in axes],
        )
        group = table.groups[table.scope.index(name)]
        mass = np.bincount(group, weights=marginal, minlength=conditional.shape[1])
        inside = np.divide(
            marginal, mass[group], out=np.zeros_like(marginal), where=mass[group] > 0
        )
        fine = conditional[:, group] * inside
        empty = fine.sum(axis=1) <= 0  # nobody is there: whatever is drawn gets weight 0 later
        fine[empty] = marginal
        return stratified_draw(fine / fine.sum(axis=1, keepdims=True), parent, random)


class MemberBackground:
    """Draws wide records that follow the control tables of both levels as far as one pass can."""

    def __init__(self, tables: TableSet, members: Members) -> None:
        self.members = members
        self._records = Background(tables.of_records)
        self._own = Background(tables.of_members)
        given = {n for table in tables.of_members.control for n in table.scope}
        self._given = [name for name in members.record.names if name in given]
        own = {name: tables.marginal(name) for name in members.own.names}
        self.marginals = {
            members.column(name, slot): share
            for slot in range(members.most)
            for name, share in own.items()
        } | {name: tables.marginal(name) for name in tables.domain.names}

    def draw(
        self, rows: int, random: np.random.Generator, fixed: Mapping[str, np.ndarray] | None = None
    ) -> np.ndarray:
        """Return wide codes of `rows` records, int32, shape `(rows, wide variables)`.

        Codes of the wide variables in `fixed` are given, each of shape `(rows,)`. A record with a
        variable of a slot given has a member in that slot.
        """
        members, fixed = self.members, fixed or {}
        own = {name: codes for name, codes in fixed.items() if name not in members.record.positions}
        least = 1 + max(
            ((members.slot_of(members.wide.positions[n]) or 0) for n in own), default=-1
        )
        record = {name: codes for name, codes in fixed.items() if name not in own}
        if least and members.size not in record:
            record[members.size] = self._sizes(rows, least, random)
        wide = np.zeros((rows, len(members.wide.names)), dtype=np.int32)
        wide[:, : len(members.record.names)] = self._records.draw(rows, random, record)
        present = members.present(wide)
        for slot, there in enumerate(present):
            self._draw_slot(wide, slot, there, fixed, random)
        return wide

    def _sizes(self, rows: int, least: int, random: np.random.Generator) -> np.ndarray:
        """Return codes of sizes of at least `least`, as often as members have them."""
        number = self.members.number
        share = self.marginals[self.members.size] * number * (number >= least)
        if not share.sum() > 0:
            share = (number >= least).astype(float)
        return stratified_draw((share / share.sum())[None, :], np.zeros(rows, np.int64), random)

    def repair(
        self,
        codes: np.ndarray,
        position: np.ndarray,
        fixed: Mapping[str, np.ndarray],
        random: np.random.Generator,
        places: Callable[[np.ndarray, np.random.Generator], np.ndarray],
        lawful: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> None:
        """Draw members anew, mostly one at a time, in the records that break a rule.

        Where few records are left, each is tried in several ways at once.

        Args:
            codes: Wide codes; those of mended records change.
            position: Positions of the numbers inside their bins; they change with the codes.
            fixed: As in `draw`.
            random: Source of randomness.
            places: Draws positions for codes.
            lawful: Says which codes and positions break no rule.
        """
        wrong = np.flatnonzero(~lawful(codes, position))
        idle = 0
        for attempt in range(_REPAIRS):
            if not len(wrong) or idle > _IDLE_REPAIRS:
                return
            ways = int(np.clip(_TRIED_AT_ONCE // len(wrong), 1, _MOST_WAYS))
            rows = np.repeat(wrong, ways)
            some = codes[rows]
            given = {name: values[rows] for name, values in fixed.items()}
            sizes = self.members.sizes(some)
            chosen = (random.random(len(some)) * sizes).astype(np.int64)
            for slot in range(self.members.most):
                anew = (sizes > slot) & ((attempt % _ALL_ANEW == 0) | (chosen == slot))
                self._draw_slot(some, slot, anew, given, random)
            there = places(some, random)
            kept = lawful(some, there).reshape(-1, ways)
            first = np.arange(len(wrong)) * ways + kept.argmax(axis=1)
            codes[wrong], position[wrong] = some[first], there[first]
            idle = 0 if kept.any() else idle + 1
            wrong = wrong[~kept.any(axis=1)]

    def _draw_slot(
        self,
        wide: np.ndarray,
        slot: int,
        there: np.ndarray,
        fixed: Mapping[str, np.ndarray],
        random: np.random.Generator,
    ) -> None:
        """Draw the members of one slot in the records `there`; changes `wide`.

        What the records have decides which members are likely.
        """
        codes, record = wide[there], self.members.record.positions
        given = {name: codes[:, record[name]] for name in self._given}
        for name in self.members.own.names:
            column = self.members.column(name, slot)
            if column in fixed:
                given[name] = fixed[column][there]
        drawn = self._own.draw(len(codes), random, given)
        wide[there, self.members.columns(slot)] = drawn[:, len(record) :]


def _conditional(table: Table, name: str, given: Sequence[str]) -> np.ndarray:
    """Return the table's joint as (flattened given) x (its bins of `name`)."""
    kept = [table.scope.index(n) for n in (*given, name)]
    joint = table.share.sum(axis=tuple(i for i in range(table.share.ndim) if i not in kept))
    ranks = np.argsort(np.argsort(kept))
    joint = np.transpose(joint, ranks)
    return joint.reshape(-1, joint.shape[-1])


def _information(table: Table, name: str, given: Sequence[str]) -> float:
    """Return the mutual information of `name` and `given` in the table, in nats."""
    joint = _conditional(table, name, given)
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / product[there])).sum())


def stratified_draw(
    probabilities: np.ndarray, row: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Draw one code per record, as evenly as can be among records with the same row.

    Args:
        probabilities: Shape `(rows, codes)`, each row sums to 1.
        row: Which row of `probabilities` each record uses, shape `(records,)`.
        random: Source of randomness.

    Returns:
        Codes, int32, shape `(records,)`: within each row every code occurs as often as its
        probability says, give or take one, in random order.
    """
    records = len(row)
    order = np.argsort(row + random.random(records))  # by row, shuffled within
    sizes = np.bincount(row, minlength=len(probabilities))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    ranked = row[order]
    rank = np.arange(records) - starts[ranked]
    # one offset per row keeps the spacing exact: systematic sampling within the row
    position = (rank + random.random(len(probabilities))[ranked]) / sizes[ranked]
    ends = np.cumsum(probabilities, axis=1)
    ends /= ends[:, -1:]
    flat = (ends + np.arange(len(probabilities))[:, None]).ravel()
    found = np.searchsorted(flat, ranked + np.minimum(position, 1 - 1e-9), side="right")
    width = probabilities.shape[1]
    drawn = np.empty(records, dtype=np.int32)
    drawn[order] = np.minimum(found - ranked * width, width - 1)
    return drawn
