"""The two exact distributions that need no model: independent marginals and maximum entropy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.domain import Domain, Variable
from llmsynthor.maxent import MaximumEntropy
from llmsynthor.rules import allowed_share, compile_rules
from llmsynthor.tables import Table, TableSet

if TYPE_CHECKING:
    from peers.interface import TargetTable

    from llmsynthor.job import RuleSpec

Margin = Callable[[tuple[str, ...]], np.ndarray]
"""Scope -> share of each cell over it."""


def make_domain(variables: Mapping[str, Sequence[str]]) -> Domain:
    """Return llmsynthor's domain of categories."""
    return Domain(
        tuple(Variable(name, "category", tuple(labels)) for name, labels in variables.items())
    )


def independent(tables: Sequence[TargetTable]) -> Margin:
    """Return the margins of the distribution with the tables' marginals and nothing else."""
    marginals = {table.scope[0]: table.share for table in tables if len(table.scope) == 1}

    def margin(scope: tuple[str, ...]) -> np.ndarray:
        share = np.ones(())
        for name in scope:
            share = np.multiply.outer(share, marginals[name])
        return share

    return margin


def maximum_entropy(
    domain: Domain, tables: Sequence[TargetTable], rules: Sequence[RuleSpec] = ()
) -> Margin:
    """Return the margins of the maximum-entropy distribution given tables and rules."""
    factors = []
    for rule in compile_rules(rules, domain):
        allowed = allowed_share(rule, domain)
        if allowed is None:
            raise ValueError(f"rule `{rule.name}` speaks of too many cells")
        factors.append((rule.scope, allowed))
    targets = tuple(_table(domain, table.scope, table.counts) for table in tables)
    fitted = MaximumEntropy(TableSet(domain, targets), factors)

    def margin(scope: tuple[str, ...]) -> np.ndarray:
        shape = [domain[name].size for name in scope]
        return fitted.margin(_table(domain, scope, np.ones(shape)))

    return margin


def _table(domain: Domain, scope: tuple[str, ...], figures: np.ndarray) -> Table:
    return Table(
        name="__".join(scope),
        file="",
        role="control",
        scope=scope,
        labels=tuple(domain[name].labels for name in scope),
        groups=tuple(np.arange(domain[name].size, dtype=np.int32) for name in scope),
        figures=figures.astype(float),
        measure="count",
    )


def sample(
    domain: Domain,
    scopes: Sequence[tuple[str, ...]],
    margin: Margin,
    records: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Return codes of records drawn one by one from a distribution that factorizes over `scopes`.

    Variables are eliminated, fewest neighbours first, and drawn in the opposite order: given the
    neighbours that it had then, a variable does not depend on any other that was drawn before it.
    """
    codes = np.zeros((records, len(domain.names)), dtype=np.int64)
    for name, given in reversed(_elimination(domain, scopes)):
        chance = margin((*given, name))
        rows = np.zeros(records, dtype=np.int64)
        for known in given:
            rows = rows * domain[known].size + codes[:, domain.positions[known]]
        chance = np.cumsum(chance.reshape(-1, chance.shape[-1]), axis=1)
        drawn = random.random(records) * chance[rows, -1]
        codes[:, domain.positions[name]] = (drawn[:, None] >= chance[rows]).sum(axis=1)
    return codes


def _elimination(
    domain: Domain, scopes: Sequence[tuple[str, ...]]
) -> list[tuple[str, tuple[str, ...]]]:
    """Return each variable with its neighbours when it is eliminated."""
    near = {name: {n for s in scopes if name in s for n in s} - {name} for name in domain.names}
    order = []
    while near:
        name = min(near, key=lambda n: len(near[n]))
        neighbours = near.pop(name)
        for other in neighbours:
            near[other] = (near[other] | neighbours) - {name, other}
        order.append((name, tuple(sorted(neighbours))))
    return order
