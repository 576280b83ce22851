"""The two exact distributions that need no model: independent marginals and maximum entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.candidates.rules import allowed_share, compile_rules
from llmsynthor.fitting.maxent import MaximumEntropy
from llmsynthor.results.baselines import Margin, table_over
from llmsynthor.targets.domain import Domain, Variable
from llmsynthor.targets.table import TableSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from peers.interface import TargetTable

    from llmsynthor.job.model import RuleSpec


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
    targets = tuple(table_over(domain, table.scope, table.counts) for table in tables)
    fitted = MaximumEntropy(TableSet(domain, targets), factors)

    def margin(scope: tuple[str, ...]) -> np.ndarray:
        return fitted.margin(table_over(domain, scope))

    return margin
