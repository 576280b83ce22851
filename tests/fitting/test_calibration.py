from __future__ import annotations

import itertools

import numpy as np
import pytest
from engine_world import category_domain, table_of, tables_of_population, tally
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.fitting import maxent
from llmsynthor.fitting.calibrate import calibrate
from llmsynthor.fitting.controls import Controls, binding_tables, controls_for
from llmsynthor.fitting.dual import PRECISION
from llmsynthor.fitting.maxent import MaximumEntropy, TooLargeError, eliminate, independent_share
from llmsynthor.fitting.whole.integerize import integerize
from llmsynthor.fitting.whole.mutations import Variety
from llmsynthor.fitting.whole.pivotal import round_pivotal
from llmsynthor.targets.domain import Domain, Variable
from llmsynthor.targets.table import TableSet

SCOPES = [("v0", "v1"), ("v1", "v2"), ("v3",), ("v0", "v3"), ("v2",)]


class World:
    """A random population, tables of it, and candidates that contain it."""

    def __init__(self, seed: int, people: int = 400, extra: int = 200) -> None:
        random = np.random.default_rng(seed)
        self.random = random
        self.domain = category_domain(*random.integers(2, 5, size=4))
        shapes = [random.dirichlet(np.ones(size)) for size in self.domain.sizes]
        types = np.stack([random.choice(len(p), size=30, p=p) for p in shapes], axis=1)
        self.population = types[random.integers(0, 30, size=people)]
        chosen = [SCOPES[i] for i in random.permutation(len(SCOPES))[: random.integers(1, 6)]]
        self.tables = tables_of_population(self.population, self.domain, chosen)
        others = np.stack([random.integers(0, s, extra) for s in self.domain.sizes], axis=1)
        self.codes = np.unique(np.concatenate([self.population, others]), axis=0)
        self.prior = random.dirichlet(np.ones(len(self.codes)))
        self.binding = binding_tables(self.tables.control)

    def controls(self, records: float) -> Controls:
        targets = [table.flat_share * records for table in self.binding]
        return controls_for(self.binding, targets, self.codes, self.domain)

    def variety(self) -> Variety:
        """Let every candidate take every value of each variable."""
        share = tuple(np.full((1, size), 1 / size) for size in self.domain.sizes)
        owner = np.zeros(len(self.codes), dtype=np.int64)

        def complete(codes: np.ndarray, _owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.empty((len(codes), 0)), np.ones(len(codes), dtype=bool)

        return Variety(
            self.codes.astype(np.int32), owner, share, self.binding, self.domain, complete
        )


SEEDS = st.integers(0, 10_000)


@settings(max_examples=40)
@given(SEEDS)
def test_calibration_meets_consistent_tables(seed):
    world = World(seed)
    found = calibrate(world.controls(400), world.prior)
    assert (found.weights >= 0).all()
    assert found.weights.sum() == pytest.approx(400)
    for table in world.tables.tables:  # also those that others imply
        held = np.bincount(table.cell_index(world.codes, world.domain), found.weights, table.cells)
        assert np.abs(held - table.figures.ravel()).max() / 400 <= 2e-9
    assert found.converged
    assert found.error <= PRECISION
    assert found.kl >= 0
    assert 0 < found.effective_sample_size <= len(world.codes)


@settings(max_examples=40)
@given(SEEDS)
def test_calibration_converges_where_every_cell_has_room(seed):
    world = World(seed)
    weights = world.random.dirichlet(np.ones(len(world.codes))) + 0.1 / len(world.codes)
    weights /= weights.sum()  # a full-support solution exists, so the optimum is inside
    targets = [
        np.bincount(table.cell_index(world.codes, world.domain), weights, table.cells) * 400
        for table in world.binding
    ]
    controls = controls_for(world.binding, targets, world.codes, world.domain)
    found = calibrate(controls, world.prior)
    assert found.converged
    assert found.error <= PRECISION
    # KL optimum: log(weights / prior) is a sum of one number for each cell that a candidate is in
    design = np.concatenate(
        [np.eye(len(t))[index] for index, t in zip(controls.index, targets, strict=True)], axis=1
    )
    ratio = np.log(found.weights / world.prior)
    fitted = design @ np.linalg.lstsq(design, ratio, rcond=None)[0]
    assert fitted == pytest.approx(ratio, abs=1e-6)


def test_calibration_changes_nothing_where_the_prior_already_fits():
    world = World(1)
    weights = np.full(len(world.codes), 1 / len(world.codes))
    targets = [
        np.bincount(t.cell_index(world.codes, world.domain), weights, t.cells)
        for t in world.binding
    ]
    controls = controls_for(world.binding, targets, world.codes, world.domain)
    found = calibrate(controls, weights)
    assert found.weights == pytest.approx(weights)
    assert found.kl == pytest.approx(0, abs=1e-12)
    assert found.effective_sample_size == pytest.approx(len(weights))


def test_a_cell_that_nobody_can_fill_is_an_error_that_stays():
    controls = Controls((np.array([0, 0]),), (np.array([6.0, 4.0]),))
    found = calibrate(controls, np.array([0.5, 0.5]))
    assert not found.converged
    assert found.error == pytest.approx(0.4)
    assert found.weights.sum() == pytest.approx(6)


def test_candidates_in_a_cell_of_nobody_get_no_weight():
    controls = Controls((np.array([0, 1]),), (np.array([5.0, 0.0]),))
    assert calibrate(controls, np.array([0.1, 0.9])).weights.tolist() == pytest.approx([5, 0])


def test_only_tables_that_no_other_implies_are_met_by_name():
    domain = Domain((Variable("a", "integer", ("0", "1", "2"), (0, 1, 2, 3)),))
    fine = table_of(domain, ("a",), np.ones(3))
    coarse = table_of(domain, ("a",), np.array([2, 1]), [np.array([0, 0, 1])])
    across = table_of(domain, ("a",), np.array([1, 2]), [np.array([0, 1, 1])])
    assert binding_tables([coarse, fine]) == (fine,)
    assert set(binding_tables([coarse, across])) == {coarse, across}


@settings(max_examples=25)
@given(SEEDS)
def test_whole_counts_meet_whole_tables_exactly(seed):
    world = World(seed)
    controls = world.controls(400)
    weights = calibrate(controls, world.prior).weights
    random = np.random.default_rng(seed)
    whole = integerize(weights, controls, 400, random, variety=world.variety())
    counts = whole.counts
    assert counts.sum() + len(whole.mutants) == 400
    codes = np.repeat(world.codes, counts, axis=0)
    if len(whole.mutants):
        codes = np.concatenate([codes, whole.mutants.codes])
    held = [table.tally(codes, world.domain) for table in world.binding]
    assert sum(
        np.abs(a - b).sum() for a, b in zip(held, controls.target, strict=True)
    ) == pytest.approx(0, abs=1e-6)
    assert (counts >= 0).all()
    assert not counts[weights == 0].any()
    assert (counts <= np.ceil(weights) + 1).all()


@settings(max_examples=25)
@given(SEEDS, st.integers(50, 700))
def test_whole_counts_are_less_than_one_record_off_where_tables_are_not_whole(seed, records):
    world = World(seed)
    controls = world.controls(records)
    weights = calibrate(controls, world.prior).weights
    random = np.random.default_rng(seed)
    whole = integerize(weights, controls, records, random, variety=world.variety())
    assert not whole.counts[weights == 0].any()
    codes = np.repeat(world.codes, whole.counts, axis=0)
    if len(whole.mutants):
        codes = np.concatenate([codes, whole.mutants.codes])
    assert len(codes) == records
    for table, target in zip(world.binding, controls.target, strict=True):
        assert np.abs(table.tally(codes, world.domain) - target).max() < 1


def test_the_same_seed_makes_the_same_counts():
    world = World(3)
    controls = world.controls(133)
    weights = calibrate(controls, world.prior).weights
    one, two = (
        integerize(weights, controls, 133, np.random.default_rng(5)).counts for _ in range(2)
    )
    assert one.tolist() == two.tolist()


def test_shares_that_are_whole_but_for_noise_are_rounded_at_once():
    share = np.array([8.5e6 + 2e-9, 1.5e6])
    cell = np.zeros((1, 2), dtype=np.int32)
    counts = round_pivotal(share, cell, np.ones(1, bool), np.random.default_rng(0))
    assert counts.tolist() == [8_500_000, 1_500_000]


def test_a_crowd_of_small_fractions_is_rounded_without_bias():
    """Many more fractions than records: the first duels are between neighbours."""
    random = np.random.default_rng(2)
    share = random.dirichlet(np.ones(400)) * 40
    cell = (np.arange(400) // 100)[None, :].astype(np.int32)
    rounds = np.array(
        [
            round_pivotal(share, cell, np.ones(4, bool), np.random.default_rng(seed))
            for seed in range(600)
        ]
    )
    assert (rounds.sum(axis=1) == 40).all()
    assert (np.abs(rounds - share) < 1).all()
    noise = np.sqrt(np.maximum(share % 1 * (1 - share % 1), 1e-4) / len(rounds))
    assert (np.abs(rounds.mean(axis=0) - share) < 5.5 * noise + 0.02).all()


def test_no_records_make_no_counts():
    world = World(3)
    assert not integerize(world.prior, world.controls(0), 0, np.random.default_rng(0)).counts.any()


def test_rounding_brings_no_correlation_into_variables_without_a_table():
    """Tables know v0 and v1 alone; v2 and v3 must stay as the weights have them, with each other."""
    domain = category_domain(4, 3, 4, 4)
    random = np.random.default_rng(0)
    codes = np.array(list(itertools.product(*(range(s) for s in domain.sizes))))
    weights = random.dirichlet(np.ones(len(codes)))
    records, seeds = 150, 60
    tables = [
        table_of(domain, (n,), np.bincount(codes[:, i], weights))
        for i, n in enumerate(("v0", "v1"))
    ]
    controls = controls_for(tables, [t.flat_share * records for t in tables], codes, domain)
    weights = calibrate(controls, weights).weights
    pair = codes[:, 2] * 4 + codes[:, 3]
    want = np.bincount(pair, weights, 16)
    shown = np.array(
        [
            np.bincount(
                pair, integerize(weights, controls, records, np.random.default_rng(s)).counts, 16
            )
            for s in range(seeds)
        ]
    )
    noise = np.sqrt(want * (1 - want / records) / seeds)
    assert (np.abs(shown.mean(axis=0) - want) < 4.5 * noise).all()
    # and one rounding is no further away than a random sample would be
    chi2 = ((shown - want) ** 2 / want).sum(axis=1).mean()
    assert chi2 < 15


def brute_force(tables: TableSet, rule: np.ndarray | None = None) -> np.ndarray:
    """Fit the full joint by iterative proportional fitting, cell by cell."""
    joint = (
        np.ones(tables.domain.sizes)
        if rule is None
        else np.broadcast_to(rule, tables.domain.sizes).copy()
    )
    for _ in range(3000):
        for table in tables.control:
            axes = tables.domain.columns(table.scope)
            others = tuple(i for i in range(joint.ndim) if i not in axes)
            held = joint.sum(axis=others)
            held = np.transpose(held, np.argsort(np.argsort(axes)))
            factor = np.divide(table.share, held, out=np.zeros_like(held), where=held > 0)
            shape = [tables.domain.sizes[i] if i in axes else 1 for i in range(joint.ndim)]
            joint *= np.transpose(factor, np.argsort(axes)).reshape(shape)
    return joint


@pytest.mark.slow
@pytest.mark.parametrize("with_rule", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_maximum_entropy_is_the_fit_of_the_full_joint(seed, with_rule):
    random = np.random.default_rng(seed)
    domain = category_domain(3, 2, 4, 3)
    joint = random.dirichlet(np.ones(72)).reshape(domain.sizes)
    rule = np.ones((3, 1, 1, 3))
    if with_rule:
        rule[0, 0, 0, 1] = 0.0
        rule[2, 0, 0, 2] = 0.5
        joint = joint * rule
        joint /= joint.sum()
    tables = TableSet(
        domain,
        (
            table_of(domain, ("v0", "v1"), joint.sum(axis=(2, 3))),
            table_of(domain, ("v2", "v1"), joint.sum(axis=(0, 3)).T),
            table_of(domain, ("v0", "v2"), joint.sum(axis=(1, 3))),
            table_of(domain, ("v3",), joint.sum(axis=(0, 1, 2))),
        ),
    )
    factors = [(("v0", "v3"), rule[:, 0, 0, :])] if with_rule else []
    fitted = MaximumEntropy(tables, factors)
    want = brute_force(tables, rule if with_rule else None)
    for a, b in itertools.permutations(range(4), 2):
        scope = (f"v{a}", f"v{b}")
        others = tuple(i for i in range(4) if i not in (a, b))
        margin = want.sum(axis=others)
        margin = margin if a < b else margin.T
        table = table_of(domain, scope, margin)
        assert fitted.margin(table) == pytest.approx(margin, abs=1e-7)


def test_elimination_equals_the_product_of_all_factors():
    random = np.random.default_rng(4)
    factors = [
        (("a", "b"), random.random((2, 3))),
        (("b", "c"), random.random((3, 4))),
        (("c", "d", "a"), random.random((4, 2, 2))),
        (("e",), random.random(3)),
    ]
    want = np.einsum("ab,bc,cda,e->abcde", *(array for _, array in factors))
    assert eliminate(factors, ("d", "b")) == pytest.approx(want.sum(axis=(0, 2, 4)).T)
    assert eliminate(factors, ("e",)) == pytest.approx(want.sum(axis=(0, 1, 2, 3)))
    assert eliminate(factors, ("a", "b", "c", "d", "e")) == pytest.approx(want)


def test_tables_too_entangled_to_be_summed_say_so(monkeypatch):
    monkeypatch.setattr(maxent, "_LARGEST", 20)
    factors = [(pair, np.ones((3, 3))) for pair in itertools.combinations("abcd", 2)]
    with pytest.raises(TooLargeError):
        eliminate(factors, ("a",))
    with pytest.raises(TooLargeError):
        eliminate(factors, ("a", "b", "c"))


def test_independence_is_the_product_of_the_marginals():
    domain = category_domain(2, 3)
    table = table_of(domain, ("v1", "v0"), np.ones((3, 2)))
    shares = {"v0": np.array([0.4, 0.6]), "v1": np.array([0.2, 0.3, 0.5])}
    assert independent_share(table, shares) == pytest.approx(np.outer(shares["v1"], shares["v0"]))


def test_a_tally_of_the_population_is_its_table():
    world = World(7)
    for table in world.tables.tables:
        assert tally(world.population, world.domain, table.scope).tolist() == table.figures.tolist()
