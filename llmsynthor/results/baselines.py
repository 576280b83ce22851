"""What can be had without a model: independent marginals, and maximum entropy given the tables.

Each gives the share of every cell of any table, and draws records. Maximum entropy is exact where
no table is soft and the tables are not too entangled, else a large sample calibrated to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from llmsynthor.candidates.rules import allowed_share
from llmsynthor.candidates.sampler import Sampler
from llmsynthor.fitting.calibrate import calibrate
from llmsynthor.fitting.controls import controls_of_all
from llmsynthor.fitting.maxent import Factor, MaximumEntropy, TooLargeError, independent_share
from llmsynthor.results.evaluation.records import cell_counts, code_type
from llmsynthor.targets.by_zone import summed, without_zones
from llmsynthor.targets.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.targets.domain import Domain, Members

Scope = tuple[str, ...]
Margin = Callable[[Scope], np.ndarray]
"""Scope -> share of each cell over the domain's categories and bins."""
SAMPLE = 300_000
"""Candidates that stand for maximum entropy where it cannot be had exactly."""
_AT_ONCE = 100_000
"""Records drawn at once, each with a row of chances."""
_SAMPLE_OF_MEMBERS = 100_000
"""Candidates, where records have members: these take longest to draw and to calibrate, and with
another seed as many of them move a held-out table's TVD of .15 by .003."""


class Shares(Protocol):
    """What gives the share of each cell of a table."""

    def share(self, table: Table) -> np.ndarray:
        """Return the share of each cell of a table, in its shape; may raise `TooLargeError`."""
        ...


class Baseline(Shares, Protocol):
    """A distribution over the domain."""

    method: Literal["exact", "sample"]

    def draw(self, records: int, random: np.random.Generator) -> np.ndarray:
        """Return codes, int32, shape `(records, variables)`; may raise `TooLargeError`."""
        ...


class Independent:
    """Every variable by itself, from its target marginal."""

    method: Literal["exact", "sample"] = "exact"

    def __init__(self, domain: Domain, marginals: Mapping[str, np.ndarray]) -> None:
        self._domain = domain
        self._marginals = marginals

    def share(self, table: Table) -> np.ndarray:
        """Return the product of the marginals."""
        return independent_share(table, self._marginals)

    def draw(self, records: int, random: np.random.Generator) -> np.ndarray:
        """Draw each variable from its marginal."""
        columns = [
            random.choice(len(self._marginals[name]), records, p=self._marginals[name])
            for name in self._domain.names
        ]
        return np.column_stack(columns).astype(np.int32)


class ExactMaximumEntropy:
    """The fitted product of factors."""

    method: Literal["exact", "sample"] = "exact"

    def __init__(self, sampler: Sampler, rule_factors: Sequence[Factor]) -> None:
        """Fit it.

        Raises:
            TooLargeError: The tables are too entangled.
        """
        self._domain = sampler.domain
        self._fitted = MaximumEntropy(sampler.tables, rule_factors)
        self._scopes = [table.scope for table in sampler.tables.control]
        self._scopes += [scope for scope, _ in rule_factors]

    def share(self, table: Table) -> np.ndarray:
        """Return the distribution's share of each cell."""
        return self._fitted.margin(table)

    def draw(self, records: int, random: np.random.Generator) -> np.ndarray:
        """Draw records one by one."""
        return draw_from(
            self._domain, self._scopes, margins_of(self, self._domain), records, random
        )


class SampledMaximumEntropy:
    """Weighted candidates: the background's draws, calibrated to the tables."""

    method: Literal["exact", "sample"] = "sample"

    def __init__(self, sampler: Sampler, records: int, sample: int = SAMPLE) -> None:
        """Draw and calibrate `sample` candidates for a job of `records` records."""
        self._domain = sampler.domain
        self._members = sampler.members
        candidates, _ = sampler.candidates([], 1.0, sample, 0)
        tables = sampler.tables.control
        controls = controls_of_all(tables, records, candidates.codes, sampler.domain)
        self._weights = calibrate(controls, candidates.prior).weights
        self._all = candidates.codes
        # column by column: thousands of scopes read two or three columns each
        self._codes = {
            variable.name: candidates.codes[:, position].astype(code_type(variable))
            for position, variable in enumerate(sampler.domain.variables)
        }

    def share(self, table: Table) -> np.ndarray:
        """Return the share of the candidates' weight in each cell."""
        if table.members is not None:
            held = table.tally(self._all, self._domain, self._weights)
            return np.asarray(held / held.sum()).reshape(table.share.shape)
        columns = [
            self._codes[name] if len(group) == size else group[self._codes[name]]
            for name, group, size in zip(table.scope, table.groups, table.share.shape, strict=True)
        ]
        held = cell_counts(columns, table.share.shape, self._weights)
        return np.asarray(held / held.sum())

    def draw(self, records: int, random: np.random.Generator) -> np.ndarray:
        """Draw candidates by their weight."""
        chance = self._weights / self._weights.sum()
        rows = random.choice(len(chance), records, p=chance)
        return np.column_stack([self._codes[n][rows] for n in self._domain.names]).astype(np.int32)

    def between(self, name: str) -> np.ndarray:
        """Return the joint share of a member's variable and another member's of the same record.

        Over all ordered pairs of different members, shape `(size, size)`.

        Raises:
            ValueError: The records have no members.
        """
        members = self._members
        if members is None:
            raise ValueError("the records have no members")
        size = members.own[name].size
        present = members.present(self._all)
        held = np.zeros((size, size))
        for one, two in combinations(range(members.most), 2):
            rows = np.flatnonzero(present[two])  # slots fill from the first
            columns = [self._codes[members.column(name, slot)][rows] for slot in (one, two)]
            cells = cell_counts(columns, (size, size), self._weights[rows])
            held += cells + cells.T
        return held / max(held.sum(), 1e-300)


class OfMembers:
    """A baseline's members, as if each were a record."""

    def __init__(self, baseline: Baseline, members: Members) -> None:
        self._baseline = baseline
        self._members = members

    def share(self, table: Table) -> np.ndarray:
        """Return the share of each cell of a table, of members."""
        return self._baseline.share(replace(table, members=self._members))


class BetweenMembers:
    """Pairs of a baseline's members of one record; a table's first variable is meant, twice."""

    def __init__(self, baseline: SampledMaximumEntropy) -> None:
        self._baseline = baseline

    def share(self, table: Table) -> np.ndarray:
        """Return the share of each cell of a table."""
        return self._baseline.between(table.scope[0])


def maximum_entropy(sampler: Sampler, records: int, sample: int = SAMPLE) -> Baseline:
    """Return maximum entropy given the control tables and rules.

    Args:
        sampler: Tables and rules.
        records: How many records the job asks for.
        sample: How many candidates stand for it where it cannot be had exactly.
    """
    if sampler.members is not None or any(table.is_soft for table in sampler.tables.control):
        return SampledMaximumEntropy(sampler, records, sample)
    factors: list[Factor] = []
    for rule in sampler.rules:
        allowed = allowed_share(rule, sampler.domain)
        if allowed is None:
            return SampledMaximumEntropy(sampler, records, sample)
        factors.append((rule.scope, allowed))
    try:
        return ExactMaximumEntropy(sampler, factors)
    except TooLargeError:
        return SampledMaximumEntropy(sampler, records, sample)


def table_over(domain: Domain, scope: Scope, figures: np.ndarray | None = None) -> Table:
    """Return a table over all categories and bins of a scope, with these counts (or 1 in each cell)."""
    shape = [domain[name].size for name in scope]
    return Table(
        name="__".join(scope),
        file="",
        role="control",
        scope=scope,
        labels=tuple(domain[name].labels for name in scope),
        groups=tuple(np.arange(size, dtype=np.int32) for size in shape),
        figures=np.ones(shape) if figures is None else figures.astype(float),
        measure="count",
    )


def margins_of(baseline: Baseline, domain: Domain) -> Margin:
    """Return the margins of a baseline over any scope."""
    return lambda scope: baseline.share(table_over(domain, scope))


def draw_from(
    domain: Domain,
    scopes: Sequence[Scope],
    margin: Margin,
    records: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Return codes of records drawn one by one from a distribution that factorizes over `scopes`.

    Variables are eliminated, fewest neighbours first, and drawn in the opposite order: given the
    neighbours that it had then, a variable does not depend on any other that was drawn before it.

    Returns:
        Codes, int32, shape `(records, variables)`.
    """
    codes = np.zeros((records, len(domain.names)), dtype=np.int32)
    for name, given in reversed(_elimination(domain, scopes)):
        chance = margin((*given, name))
        chance = np.cumsum(chance.reshape(-1, chance.shape[-1]), axis=1)
        for start in range(0, records, _AT_ONCE):
            part = codes[start : start + _AT_ONCE]
            rows = np.zeros(len(part), dtype=np.int64)
            for known in given:
                rows = rows * domain[known].size + part[:, domain.positions[known]]
            level = random.random(len(part)) * chance[rows, -1]
            part[:, domain.positions[name]] = (level[:, None] >= chance[rows]).sum(axis=1)
    return codes


def _elimination(domain: Domain, scopes: Sequence[Scope]) -> list[tuple[str, Scope]]:
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


def maxent_shares(sampler: Sampler, records: int) -> list[np.ndarray]:
    """Return the maximum-entropy share of each cell, by table, given the control tables and rules.

    Exact where no table is soft and the tables are not too entangled, else from a large sample
    calibrated to them.

    Args:
        sampler: Tables and rules of the job.
        records: How many records the job asks for.
    """
    if sampler.tables.zones is not None:
        return _shares_in_zones(sampler, records, sampler.tables.zones.variable)
    tables = sampler.tables.tables
    sample = SAMPLE if sampler.members is None else _SAMPLE_OF_MEMBERS
    baseline = maximum_entropy(sampler, records, sample)
    try:
        return [baseline.share(table) for table in tables]
    except TooLargeError:  # it fits, but a table's margin cannot be had
        sampled = SampledMaximumEntropy(sampler, records)
        return [sampled.share(table) for table in tables]


def _shares_in_zones(sampler: Sampler, records: int, zone: str) -> list[np.ndarray]:
    """Return the same where there are zones: maximum entropy without them, and zones besides.

    A control table with zones is met. A held-out one is taken as if each zone had what all have:
    the exact baseline over zones would take more memory than the job.
    """
    shared = Sampler(without_zones(sampler.tables), sampler.rules, sampler.seed)
    fewer = [summed(table, zone) for table in sampler.tables.tables]
    known = [table for table in fewer if table.scope]
    baseline = maximum_entropy(shared, records)
    try:
        found = [baseline.share(table) for table in known]
    except TooLargeError:
        sampled = SampledMaximumEntropy(shared, records)
        found = [sampled.share(table) for table in known]
    of_table = {id(table): share for table, share in zip(known, found, strict=True)}
    return [
        _with_zones(table, of_table.get(id(small), np.ones(())), sampler.marginals[zone], zone)
        for table, small in zip(sampler.tables.tables, fewer, strict=True)
    ]


def _with_zones(table: Table, share: np.ndarray, marginal: np.ndarray, zone: str) -> np.ndarray:
    if zone not in table.scope:
        return share
    if table.role == "control":
        return table.share
    axis = table.scope.index(zone)
    places = np.bincount(table.groups[axis], marginal, table.share.shape[axis])
    return np.moveaxis(np.multiply.outer(places, share), 0, axis)
