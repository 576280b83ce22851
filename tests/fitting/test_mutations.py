"""Records changed in one variable: tables are met where exchanges of candidates cannot do it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from engine_world import category_domain, tables_of_population
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.fitting.controls import Controls
from llmsynthor.fitting.whole.integerize import Whole, integerize
from llmsynthor.fitting.whole.mutations import Variety

VARIABLES, SIZE, PEOPLE = 12, 4, 600


class World:
    """Twelve variables in a ring of pair tables; candidates that hardly ever agree in eleven."""

    def __init__(self, seed: int, *, forbidden: bool = False) -> None:
        self.random = np.random.default_rng(seed)
        self.domain = category_domain(*[SIZE] * VARIABLES)
        shares = self.random.dirichlet(np.full(SIZE, 2.0), (5, VARIABLES))
        kind = self.random.integers(0, 5, PEOPLE * 2)
        level = self.random.random((PEOPLE * 2, VARIABLES, 1))
        codes = (np.cumsum(shares[kind], axis=2) < level).sum(axis=2).clip(max=SIZE - 1)
        if forbidden:  # a rule over a pair that no table has
            codes = codes[codes[:, 0] != codes[:, 5]]
        people = codes[:PEOPLE]
        scopes = [(f"v{i}", f"v{(i + 1) % VARIABLES}") for i in range(VARIABLES)]
        self.tables = tables_of_population(people, self.domain, scopes).control
        self.records = len(people)
        self.codes = np.unique(people, axis=0).astype(np.int32)
        self.share = tuple(np.full((2, SIZE), 1 / SIZE) for _ in range(VARIABLES))
        self.owner = self.random.integers(0, 2, len(self.codes))
        self.forbidden = forbidden

    def complete(self, codes: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert len(codes) == len(owner)
        lawful = codes[:, 0] != codes[:, 5] if self.forbidden else np.ones(len(codes), dtype=bool)
        return np.empty((len(codes), 0)), lawful

    def round(self, records: int, seed: int = 0) -> Whole:
        controls = Controls(
            tuple(table.cell_index(self.codes, self.domain) for table in self.tables),
            tuple(table.flat_share * records for table in self.tables),
        )
        weights = np.full(len(self.codes), records / len(self.codes))
        variety = Variety(
            self.codes, self.owner, self.share, self.tables, self.domain, self.complete
        )
        return integerize(weights, controls, records, np.random.default_rng(seed), variety=variety)

    def all_codes(self, whole: Whole) -> np.ndarray:
        copies = np.repeat(self.codes, whole.counts, axis=0)
        return np.concatenate([copies, whole.mutants.codes]) if len(whole.mutants) else copies


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 0.5, 0.37, 1.9]))
def test_entangled_tables_are_met_to_less_than_a_record(seed, part):
    world = World(seed)
    records = round(world.records * part)
    codes = world.all_codes(world.round(records))
    assert len(codes) == records
    for table in world.tables:
        held = table.tally(codes, world.domain)
        assert np.abs(held - table.flat_share * records).max() < 1


def test_mutants_keep_the_rules_and_leave_cells_of_nobody_empty():
    world = World(4, forbidden=True)
    whole = world.round(300)
    assert len(whole.mutants)
    assert (whole.counts >= 0).all()
    assert (whole.mutants.codes[:, 0] != whole.mutants.codes[:, 5]).all()
    for table in world.tables:
        held = table.tally(world.all_codes(whole), world.domain)
        assert not held[table.flat_share == 0].any()


def test_mutants_have_values_that_their_owner_may_have_only():
    world = World(5)
    share = [np.full((2, SIZE), 1 / SIZE) for _ in range(VARIABLES)]
    for column in share:
        column[1] = np.eye(SIZE)[0]  # who is of the second owner changes to the first code only
    world.share = tuple(share)
    mutants = world.round(300).mutants
    parents = world.codes[mutants.parent]
    changed = mutants.codes != parents
    assert changed.any()
    second = world.owner[mutants.parent] == 1
    assert (mutants.codes[second][changed[second]] == 0).all()


def test_few_records_are_changed_and_seldom_in_more_than_a_few_variables():
    world = World(6)
    whole = world.round(world.records // 2)
    assert 0 < len(whole.mutants) < world.records / 4
    moved = (whole.mutants.codes != world.codes[whole.mutants.parent]).sum(axis=1)
    assert moved.min() >= 1
    assert moved.mean() < 3


def test_where_nothing_helps_rounding_ends_no_worse_than_it_began_and_changes_few():
    world = World(9)
    low, high = (table.flat_share * 300 for table in world.tables[:2])
    impossible = (low * 0.7 + 0.3 * 300 / len(low), high)  # v1 differs between the two tables
    index = tuple(table.cell_index(world.codes, world.domain) for table in world.tables[:2])
    variety = Variety(
        world.codes, world.owner, world.share, world.tables[:2], world.domain, world.complete
    )
    weights = np.full(len(world.codes), 300 / len(world.codes))

    def wrong(variety: Variety | None) -> int:
        random = np.random.default_rng(1)
        whole = integerize(weights, Controls(index, impossible), 300, random, variety=variety)
        codes = world.all_codes(whole)
        assert len(codes) == 300
        assert len(whole.mutants) <= 300
        held = [table.tally(codes, world.domain) for table in world.tables[:2]]
        return sum(int((np.abs(a - b) >= 1).sum()) for a, b in zip(held, impossible, strict=True))

    assert 0 < wrong(variety) <= wrong(None)


def test_rounding_with_mutants_is_the_same_for_the_same_seed():
    one, two = (World(7).round(211, seed=3) for _ in range(2))
    assert one.counts.tolist() == two.counts.tolist()
    assert one.mutants.codes.tolist() == two.mutants.codes.tolist()


def test_pairs_that_no_table_has_stay_as_the_weights_have_them():
    """Mutations change some records; the pairs outside the tables must not drift for it."""
    world = World(8)
    records, seeds = world.records // 2, 12
    free = [(a, b) for a, b in combinations(range(VARIABLES), 2) if (b - a) not in (1, 11)][:20]
    want = [
        np.bincount(world.codes[:, a] * SIZE + world.codes[:, b], minlength=16) for a, b in free
    ]
    held = np.zeros((len(free), 16))
    for seed in range(seeds):
        codes = world.all_codes(world.round(records, seed))
        for row, (a, b) in zip(held, free, strict=True):
            row += np.bincount(codes[:, a] * SIZE + codes[:, b], minlength=16)
    for row, cells in zip(held, want, strict=True):
        drift = np.abs(row / row.sum() - cells / cells.sum()).sum() / 2
        assert drift == pytest.approx(0, abs=0.05)
