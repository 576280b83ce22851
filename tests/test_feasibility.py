"""Conflicts of tables and rules: found where there are any, never where there are none."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from engine_world import category_domain, table_of, tables_of_population
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.columns import System
from llmsynthor.feasibility import diagnose
from llmsynthor.job import RuleSpec
from llmsynthor.lawful import tabulate
from llmsynthor.restricted import WHOLE, Goal
from llmsynthor.rules import compile_rules
from llmsynthor.tables import TableSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.domain import Domain
    from llmsynthor.rules import Rule
    from llmsynthor.tables import Table

SEEDS = st.integers(0, 100_000)
PAIRS = list(itertools.combinations(range(4), 2))


def all_records(domain: Domain) -> np.ndarray:
    return np.array(list(itertools.product(*(range(size) for size in domain.sizes))))


def random_rules(domain: Domain, random: np.random.Generator, most: int = 4) -> tuple[Rule, ...]:
    specs = []
    for number in range(random.integers(0, most + 1)):
        a, b = random.choice(len(domain.names), 2, replace=False)
        x, y = random.integers(domain.sizes[a]), random.integers(domain.sizes[b])
        verb, sign = [("forbid", "="), ("require", "<>")][random.integers(2)]
        text = f"v{a} {sign} 'c{x}' {'AND' if verb == 'forbid' else 'OR'} v{b} = 'c{y}'"
        specs.append(RuleSpec(**{"name": f"r{number}", verb: text}))
    return compile_rules(specs, domain)


def lawful_mask(rules: Sequence[Rule], domain: Domain, codes: np.ndarray) -> np.ndarray:
    """Return which records keep all rules, read off one by one."""
    frame = tabulate(rules, domain)
    good = np.ones(len(codes), dtype=bool)
    for number, rule in enumerate(rules):
        good &= frame.allowed[number][tuple(codes[:, c] for c in domain.columns(rule.scope))]
    return good


def clashing_tables(random: np.random.Generator, domain: Domain) -> TableSet:
    """Return tables of several populations that agree on all margins of one variable."""
    base = random.dirichlet(np.ones(8))
    kinds = all_records(domain)[random.choice(int(np.prod(domain.sizes)), 8, replace=False)]
    tables = []
    for a, b in random.permutation(PAIRS)[: random.integers(2, 5)]:
        share = np.zeros((domain.sizes[a], domain.sizes[b]))
        np.add.at(share, (kinds[:, a], kinds[:, b]), base)
        mixing = random.random() * (random.random() < 0.7)
        share = (1 - mixing) * share + mixing * np.outer(share.sum(1), share.sum(0))
        tables.append(table_of(domain, (f"v{a}", f"v{b}"), share))
    return TableSet(domain, tuple(tables))


def brute_force(
    tables: Sequence[Table],
    rules: Sequence[Rule],
    domain: Domain,
    giving_way: Table | None = None,
    dropped: Rule | None = None,
) -> float | None:
    """Solve over all records at once: the share in wrong cells; None where nothing is lawful.

    With `giving_way` or `dropped` all other tables must be met: None where they cannot be.
    """
    from scipy.optimize import linprog

    codes = all_records(domain)
    codes = codes[lawful_mask([r for r in rules if r is not dropped], domain, codes)]
    if not len(codes):
        return None
    one = giving_way is not None or dropped is not None
    cost = np.zeros(len(codes))
    if dropped is not None:
        cost += ~lawful_mask([dropped], domain, codes)
    rows, wants, slack = [], [], []
    for table in tables:
        rows.append(np.eye(table.cells)[table.cell_index(codes, domain)].T)
        wants.append(table.flat_share)
        slack.append(np.full(table.cells, 0.0 if one and table is not giving_way else np.inf))
    if not tables:
        return 0.0
    design, most = np.concatenate(rows), np.concatenate(slack)
    unit = np.eye(len(design))
    found = linprog(
        np.concatenate([cost, np.full(2 * len(design), 0.5)]),
        A_eq=np.block([[design, unit, -unit], [np.ones(len(codes)), np.zeros(2 * len(design))]]),
        b_eq=np.append(np.concatenate(wants), 1.0),
        bounds=[(0, None)] * len(codes) + [(0, m if m == 0 else None) for m in [*most, *most]],
    )
    return float(found.fun) if found.status == 0 else None


def clash(tables: Sequence[Table], rules: Sequence[Rule], domain: Domain) -> bool:
    share = brute_force(tables, rules, domain)
    return share is None or share > 1e-6


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_column_generation_finds_the_optimum_over_all_records(seed):
    random = np.random.default_rng(seed)
    domain = category_domain(*random.integers(2, 5, size=4))
    tables, rules = clashing_tables(random, domain), random_rules(domain, random)
    want = brute_force(tables.tables, rules, domain)
    if want is None:
        return
    system = System(tabulate(rules, domain), tables.tables, range(len(rules)))
    found = system.solve(Goal())
    assert found.value / WHOLE == pytest.approx(want, abs=1e-6)
    assert found.bound / WHOLE == pytest.approx(want, abs=1e-6)
    assert system.solve(Goal(proof=True)).is_impossible == (want > 1e-6)


@settings(max_examples=60, deadline=None)
@given(SEEDS)
def test_conflicts_are_minimal_proven_and_priced_as_by_brute_force(seed):
    random = np.random.default_rng(seed)
    domain = category_domain(*random.integers(2, 4, size=4))
    tables, rules = clashing_tables(random, domain), random_rules(domain, random)
    whole = brute_force(tables.tables, rules, domain)
    found = diagnose(tables, rules, 1000, np.zeros((0, 4), np.int32))
    if whole is None or whole > 1e-6:
        assert found.conflicts
    else:
        assert found.exact
        assert not found.conflicts
        assert len(found.codes)
    for conflict in found.conflicts:
        own = [rule for _, rule in conflict.rules]
        assert clash(conflict.tables, own, domain)
        for gone in [*conflict.tables, *own]:
            assert not clash(
                [table for table in conflict.tables if table is not gone],
                [rule for rule in own if rule is not gone],
                domain,
            )
        counted = [(cell.times, cell.wanted) for cell in conflict.cells]
        if conflict.tables:
            assert sum(times * wanted for times, wanted in counted) > 1000 * conflict.most
    if len(found.conflicts) == 1 and found.conflicts[0].tables:
        for cost in found.conflicts[0].costs:
            table = cost.member if cost.member in tables.tables else None
            rule = cost.member if table is None else None
            want = brute_force(tables.tables, rules, domain, table, rule)
            assert (cost.records is None) == (want is None)
            if want is not None:
                assert cost.records == pytest.approx(1000 * want, abs=0.02)


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.sampled_from([None, 2, 3]))
def test_tables_of_a_real_population_are_never_refused(seed, digits):
    random = np.random.default_rng(seed)
    domain = category_domain(*random.integers(2, 5, size=4))
    rules = random_rules(domain, random)
    codes = all_records(domain)
    codes = codes[lawful_mask(rules, domain, codes)]
    if not len(codes):
        return
    people = codes[random.integers(0, len(codes), size=random.integers(5, 300))]
    scopes = [(f"v{a}", f"v{b}") for a, b in random.permutation(PAIRS)[: random.integers(1, 7)]]
    tables = tables_of_population(people, domain, scopes)
    if digits:
        tables = TableSet(domain, tuple(published(table, digits) for table in tables.tables))
    found = diagnose(tables, rules, len(people), np.zeros((0, 4), np.int32))
    assert not found.conflicts
    assert found.exact


def published(table: Table, digits: int) -> Table:
    shares = np.round(table.share, digits)
    return replace(table, figures=shares, measure="share", rounding=0.5 * 10.0**-digits)
