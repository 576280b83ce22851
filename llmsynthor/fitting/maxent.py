"""The exact maximum-entropy distribution given tables and rules: the baseline without a model.

The distribution is a product of one factor per table (and per rule), found by iterative
proportional fitting; margins come from variable elimination, so that no joint array over all
variables is ever made. Where the tables are too entangled for that, `TooLargeError` says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.controls import binding_tables, coarsened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.table import Table, TableSet

_LARGEST = 4_000_000
_SWEEPS = 200
_PRECISION = 1e-9
_NO_NEARER = 1e-12
"""Rounded tables may differ from others: sweeps then end where they change nothing any more."""

Factor = tuple[tuple[str, ...], np.ndarray]
"""Variables and an array over their codes."""


class TooLargeError(Exception):
    """An intermediate array would be too large; use a sample instead."""


class MaximumEntropy:
    """The fitted distribution; `margin` gives its share of each cell of a table."""

    def __init__(
        self,
        tables: TableSet,
        rule_factors: Sequence[Factor] = (),
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Fit the factors.

        Args:
            tables: Control tables and domain.
            rule_factors: Share of each cell that the rules allow, over the rules' scopes.
            check: Called between sweeps; may raise to stop.

        Raises:
            TooLargeError: The tables are too entangled.
        """
        self.domain: Domain = tables.domain
        self._fixed: list[Factor] = [
            *(((name,), tables.marginal(name)) for name in self.domain.names),
            *rule_factors,
        ]
        self._tables = binding_tables(tables.control)
        self._factors = [np.ones_like(table.share) for table in self._tables]
        self._fit(check)

    def margin(self, table: Table) -> np.ndarray:
        """Return the distribution's share of each cell of `table`, in the table's shape."""
        fine = eliminate(self._all_factors(table.scope), table.scope)
        return coarsened(fine / fine.sum(), table.groups, table.share.shape)

    def _fit(self, check: Callable[[], None]) -> None:
        before = np.inf
        for _ in range(_SWEEPS):
            worst = 0.0
            for number, table in enumerate(self._tables):
                check()
                held = self.margin(table)
                worst = max(worst, float(np.abs(held - table.share).max()))
                self._factors[number] *= np.divide(
                    table.share, held, out=np.zeros_like(held), where=held > 0
                )
            if worst < _PRECISION or abs(worst - before) < _NO_NEARER:
                return
            before = worst

    def _all_factors(self, scope: tuple[str, ...]) -> list[Factor]:
        """Return the factors of every component that the scope touches."""
        loose = [
            *self._fixed,
            *(
                (table.scope, factor[np.ix_(*table.groups)])
                for table, factor in zip(self._tables, self._factors, strict=True)
            ),
        ]
        reached = set(scope)
        taken: list[Factor] = []
        while True:
            near = [factor for factor in loose if reached & set(factor[0])]
            if not near:
                return taken
            taken += near
            loose = [factor for factor in loose if not reached & set(factor[0])]
            reached |= {name for names, _ in near for name in names}


def independent_share(table: Table, marginals: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return each cell's share if all variables were independent, in the table's shape."""
    fine = np.ones(())
    for name in table.scope:
        fine = np.multiply.outer(fine, marginals[name])
    return coarsened(fine, table.groups, table.share.shape)


def eliminate(factors: Sequence[Factor], keep: tuple[str, ...]) -> np.ndarray:
    """Return the product of `factors` summed over all variables but `keep`, in that order.

    Variables go in the order of the smallest array that their elimination makes (min-size).

    Raises:
        TooLargeError: Even so an array would be too large.
    """
    left = list(factors)
    sizes = {
        name: size for names, array in left for name, size in zip(names, array.shape, strict=True)
    }
    for name in elimination_order([names for names, _ in left], sizes, keep, _LARGEST):
        near = [factor for factor in left if name in factor[0]]
        names = tuple(sorted({n for scope, _ in near for n in scope} - {name}))
        left = [factor for factor in left if name not in factor[0]]
        left.append((names, _product(near, names)))
    return _product(left, keep)


def elimination_order(
    scopes: Sequence[tuple[str, ...]],
    sizes: Mapping[str, int],
    keep: Sequence[str],
    largest: int,
) -> list[str]:
    """Return the order in which to eliminate the variables that are not kept: smallest array first.

    Args:
        scopes: Variables of each factor.
        sizes: Codes of each variable.
        keep: Variables that stay.
        largest: Entries that an array may have.

    Raises:
        TooLargeError: An array would be larger even so.
    """
    left = [frozenset(scope) for scope in scopes]
    loose = sorted({name for scope in left for name in scope} - set(keep))
    order = []
    while loose:
        made = {n: frozenset().union(*(s for s in left if n in s)) for n in loose}
        size = {n: float(np.prod([float(sizes[m]) for m in made[n]])) for n in loose}
        name = min(loose, key=lambda n: size[n])
        if size[name] > largest:
            raise TooLargeError
        left = [scope for scope in left if name not in scope] + [made[name] - {name}]
        loose.remove(name)
        order.append(name)
    if float(np.prod([float(sizes[n]) for n in keep])) > largest:
        raise TooLargeError
    return order


def _product(factors: Sequence[Factor], keep: Sequence[str]) -> np.ndarray:
    letters: dict[str, int] = {}
    operands: list[object] = []
    for names, array in factors:
        operands += [array, [letters.setdefault(name, len(letters)) for name in names]]
    result = np.einsum(*operands, [letters[name] for name in keep], optimize="greedy")  # type: ignore[call-overload]
    return np.asarray(result)
