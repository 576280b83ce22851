"""Conflicts of tables and rules: found where there are any, never where there are none.

What the messages say is in `test_conflict_messages.py`.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from engine_world import category_domain, table_of, tables_of_population
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.candidates.rules import broken_mask, category_series, compile_rules
from llmsynthor.feasibility.check import diagnose
from llmsynthor.feasibility.columns import WHOLE, Goal, System
from llmsynthor.feasibility.lawful import tabulate
from llmsynthor.job.model import RuleSpec
from llmsynthor.targets.domain import Domain, Variable
from llmsynthor.targets.table import TableSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.rules import Rule
    from llmsynthor.targets.table import Table

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


@settings(max_examples=60)
@given(SEEDS)
@pytest.mark.slow
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


@pytest.mark.slow
@settings(max_examples=60)
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


@settings(max_examples=60)
@given(SEEDS, st.sampled_from([None, 2, 3]))
@pytest.mark.slow
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


NUMBERS = Domain(
    (
        Variable("age", "integer", ("0-17", "18-89"), (0.0, 18.0, 90.0)),
        Variable("income", "integer", ("low", "high"), (0.0, 20_000.0, 1_000_000.0)),
        Variable("km", "number", ("0-5", "5-50"), (0.0, 5.0, 50.0), decimals=1),
        Variable("hours", "number", ("0-3",), (0.0, 3.0), decimals=1),
        Variable("mode", "category", ("car", "walk")),
    )
)
TRIED = [
    ("forbid: mode = 'walk' AND km > 7.5", True),
    ("require: income = 123456 OR mode = 'car'", True),
    ("require: km >= 49.95 OR hours < 0.5", True),
    ("forbid: NOT (km BETWEEN -3 AND 4.9)", True),
    ("require: age * 2 > 150 AND mode IN ('walk')", True),
    ("require: income IN (1, 2, 999999)", True),
    ("require: 6 <= km AND km < 6.5", True),
    ("require: km / hours < 6", False),
    ("forbid: km < hours", False),
    ("forbid: (km) > (hours)", False),
    ("require: km BETWEEN 0 AND hours", False),
    ("require: income > age * 1000", False),
]


@pytest.mark.parametrize(("text", "sure"), TRIED)
def test_what_a_rule_allows_is_found_for_certain_or_not_at_all(text, sure):
    verb, _, condition = text.partition(": ")
    rules = compile_rules([RuleSpec(**{"name": "r", verb: condition})], NUMBERS)
    lawful = tabulate(rules, NUMBERS)
    assert lawful.is_complete == sure
    if not sure:
        return
    random = np.random.default_rng(0)
    special = {"age": range(90), "income": [1, 2, 123456, 999_999], "km": np.arange(0, 50.05, 0.1)}
    special |= {"hours": np.arange(0, 3.05, 0.1)}
    columns, codes = [], []
    for variable in NUMBERS.variables:
        if variable.is_numeric:
            values = np.asarray(list(special[variable.name]), dtype=float)
            values = random.choice(np.append(values, random.uniform(0, variable.high, 200)), 40_000)
            values = np.floor(values) if variable.kind == "integer" else values.round(3)
            codes.append(variable.encode_values(values))
            columns.append(
                pl.Series(
                    variable.name, values.astype(int if variable.kind == "integer" else float)
                )
            )
        else:
            codes.append(random.integers(0, variable.size, 40_000))
            columns.append(category_series(variable, codes[-1]))
    kept = ~broken_mask(rules, pl.DataFrame(columns))
    scope = NUMBERS.columns(rules[0].scope)
    seen = {tuple(int(codes[c][row]) for c in scope) for row in np.flatnonzero(kept)}
    allowed = np.argwhere(lawful.allowed[0])
    bins = [lawful.bins[name] for name in rules[0].scope]
    assert {tuple(int(b[i]) for b, i in zip(bins, row, strict=True)) for row in allowed} == seen


def entangled(random: np.random.Generator, size: int) -> tuple[np.ndarray, TableSet]:
    """Return 5000 people with 40 variables and 60 tables of pairs of them."""
    domain = category_domain(*[size] * 40)
    kinds = random.integers(0, size, (60, 40))
    people = kinds[random.integers(0, 60, 5000)]
    other = random.random(people.shape) < 0.3
    people[other] = random.integers(0, size, other.sum())
    pairs = [random.choice(40, 2, replace=False) for _ in range(60)]
    return people, tables_of_population(people, domain, [(f"v{a}", f"v{b}") for a, b in pairs])


def test_tables_too_entangled_for_all_records_take_seconds_and_claim_nothing():
    people, tables = entangled(np.random.default_rng(0), 6)
    found = diagnose(tables, (), 5000, people[:2000])
    assert not found.conflicts
    assert not found.exact


@pytest.mark.slow
def test_a_small_conflict_is_proven_among_tables_too_entangled_for_all_records():
    people, tables = entangled(np.random.default_rng(0), 6)
    trio = {"v0", "v1", "v2"}
    others = [table for table in tables.tables if not trio & set(table.scope)]
    linked = [
        table_of(
            tables.domain,
            (f"v{i}", f"v{i + 3}"),
            np.outer(np.ones(6), np.bincount(people[:, i + 3], minlength=6)),
        )
        for i in range(3)
    ]
    same, next_one = np.eye(6), np.roll(np.eye(6), 1, axis=0)
    clashing = [
        table_of(tables.domain, ("v0", "v1"), same),
        table_of(tables.domain, ("v1", "v2"), same),
        table_of(tables.domain, ("v0", "v2"), next_one),
    ]
    whole = TableSet(tables.domain, (*others[:50], *clashing, *linked))
    found = diagnose(whole, (), 5000, people[:2000])
    assert [set(conflict.tables) for conflict in found.conflicts] == [set(clashing)]
    assert [cost.records for cost in found.conflicts[0].costs] == pytest.approx([5000] * 3, abs=1)
