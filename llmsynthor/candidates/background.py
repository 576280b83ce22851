"""The background: draws from the tables alone, variable by variable, needing no model.

Each next variable is drawn given those already drawn that stand with it in some table, the most
informative table first. Where the tables form a forest this is the maximum-entropy distribution;
elsewhere its logarithm is still a sum of functions on the tables' scopes, so that its KL projection
onto the tables is the maximum-entropy distribution all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.targets.table import Table, TableSet


@dataclass(frozen=True, eq=False)
class _Step:
    """How one variable is drawn: by `table`, given the variables `given` of its scope."""

    name: str
    table: Table | None
    given: tuple[str, ...]


class Background:
    """Draws records that follow the control tables as far as one pass can."""

    def __init__(self, tables: TableSet) -> None:
        self.tables = tables
        self.marginals = {name: tables.marginal(name) for name in tables.domain.names}
        self._orders: dict[tuple[str, ...], tuple[_Step, ...]] = {}

    def draw(
        self, rows: int, random: np.random.Generator, fixed: Mapping[str, np.ndarray] | None = None
    ) -> np.ndarray:
        """Return codes of `rows` records, int32, shape `(rows, variables)`.

        Args:
            rows: How many.
            random: Source of randomness.
            fixed: Variables whose codes are given, each of shape `(rows,)`.
        """
        domain = self.tables.domain
        codes = np.zeros((rows, len(domain.names)), dtype=np.int32)
        fixed = fixed or {}
        for name, values in fixed.items():
            codes[:, domain.positions[name]] = values
        for step in self._order(tuple(sorted(fixed))):
            codes[:, domain.positions[step.name]] = self._draw_step(step, codes, random)
        return codes

    def _order(self, known: tuple[str, ...]) -> tuple[_Step, ...]:
        if known not in self._orders:
            self._orders[known] = tuple(self._plan_order(list(known)))
        return self._orders[known]

    def _plan_order(self, known: list[str]) -> list[_Step]:
        steps: list[_Step] = []
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
                steps.append(_Step(name, table, given))
            else:
                name = left[0]
                steps.append(_Step(name, None, ()))
            known.append(name)
            left.remove(name)
        return steps

    def _draw_step(self, step: _Step, codes: np.ndarray, random: np.random.Generator) -> np.ndarray:
        marginal = self.marginals[step.name]
        if step.table is None:
            return stratified_draw(marginal[None, :], np.zeros(len(codes), np.int64), random)
        table, domain = step.table, self.tables.domain
        conditional = _conditional(table, step.name, step.given)
        parent = np.zeros(len(codes), dtype=np.int64)
        for name in step.given:
            axis = table.scope.index(name)
            parent = (
                parent * table.share.shape[axis]
                + table.groups[axis][codes[:, domain.positions[name]]]
            )
        group = table.groups[table.scope.index(step.name)]
        mass = np.bincount(group, weights=marginal, minlength=conditional.shape[1])
        inside = np.divide(
            marginal, mass[group], out=np.zeros_like(marginal), where=mass[group] > 0
        )
        fine = conditional[:, group] * inside
        empty = fine.sum(axis=1) <= 0  # nobody is there: whatever is drawn gets weight 0 later
        fine[empty] = marginal
        return stratified_draw(fine / fine.sum(axis=1, keepdims=True), parent, random)


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
