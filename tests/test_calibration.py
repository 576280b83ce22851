"""Laws of calibration, integers and the maximum-entropy baseline, on random populations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.calibration import Controls, binding_tables, calibrate, controls_for
from llmsynthor.domain import Domain, Variable
from llmsynthor.integerize import integerize
from llmsynthor.maxent import MaximumEntropy, TooLargeError, eliminate
from llmsynthor.tables import Table, TableSet

SIZES = (3, 4, 2, 3)
NAMES = ("a", "b", "c", "d")
SCOPES = (("a", "b"), ("b", "c"), ("c", "d"), ("a", "d"))  # a cycle: no forest


def domain() -> Domain:
    return Domain(
        tuple(
            Variable(n, "category", tuple(map(str, range(s))))
            for n, s in zip(NAMES, SIZES, strict=True)
        )
    )


def table(scope: tuple[str, ...], codes: np.ndarray) -> Table:
    columns = [NAMES.index(name) for name in scope]
    shape = [SIZES[c] for c in columns]
    counts = np.zeros(shape)
    np.add.at(counts, tuple(codes[:, c] for c in columns), 1.0)
    labels = tuple(tuple(map(str, range(s))) for s in shape)
    groups = tuple(np.arange(s, dtype=np.int32) for s in shape)
    return Table("_".join(scope), "x.csv", "control", scope, labels, groups, counts, "count")


def population(seed: int, rows: int = 400) -> np.ndarray:
    random = np.random.default_rng(seed)
    skew = [random.dirichlet(np.ones(s)) for s in SIZES]
    return np.stack([random.choice(s, rows, p=p) for s, p in zip(SIZES, skew, strict=True)], axis=1)


def setup(seed: int) -> tuple[list[Table], np.ndarray, Controls, np.ndarray]:
    codes = population(seed)
    tables = [table(scope, codes) for scope in SCOPES]
    candidates = np.stack(np.meshgrid(*map(np.arange, SIZES), indexing="ij"), -1).reshape(-1, 4)
    targets = [t.figures.ravel() for t in tables]
    prior = np.random.default_rng(seed + 1).dirichlet(np.ones(len(candidates)))
    return tables, candidates, controls_for(tables, targets, candidates, domain()), prior


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_consistent_tables_are_met_and_the_weights_are_the_nearest_to_the_prior(seed):
    _, _, controls, prior = setup(seed)
    found = calibrate(controls, prior)
    assert (found.weights >= 0).all()
    for held, target in zip(controls.sums(found.weights), controls.target, strict=True):
        assert held == pytest.approx(target, abs=400 * 1e-6)
    # the KL projection's log-ratio is a sum of one number per cell
    there = found.weights > 1e-9
    ratio = np.log(found.weights[there] / prior[there])
    cells = np.cumsum([0, *map(len, controls.target)])
    design = np.zeros((there.sum(), cells[-1]))
    for start, index in zip(cells, controls.index, strict=False):
        design[np.arange(there.sum()), start + index[there]] = 1
    left = ratio - design @ np.linalg.lstsq(design, ratio, rcond=None)[0]
    if there.all():
        assert np.abs(left).max() < 1e-4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_integers_add_up_and_meet_whole_tables_exactly(seed):
    _, _, controls, prior = setup(seed)
    weights = calibrate(controls, prior).weights
    counts = integerize(weights, controls, 400, np.random.default_rng(seed))
    assert counts.sum() == 400
    assert (counts[weights == 0] == 0).all()
    assert (counts <= np.ceil(weights * 400 / weights.sum()) + 1).all()
    for held, target in zip(controls.sums(counts.astype(float)), controls.target, strict=True):
        assert np.abs(held - target).sum() == 0


def test_cells_that_are_not_whole_are_within_one_record():
    _, _, controls, prior = setup(3)
    scaled = Controls(controls.index, tuple(t * 777 / 400 for t in controls.target))
    counts = integerize(calibrate(scaled, prior).weights, scaled, 777, np.random.default_rng(0))
    assert counts.sum() == 777
    assert (
        max(
            np.abs(h - t).max()
            for h, t in zip(scaled.sums(counts * 1.0), scaled.target, strict=True)
        )
        < 1
    )


def test_rounding_makes_no_dependence_that_the_weights_do_not_have():
    random = np.random.default_rng(0)
    codes = np.stack([random.integers(0, 4, 20000) for _ in range(3)], axis=1)
    index = tuple(codes[:, i].astype(np.int64) for i in range(3))
    controls = Controls(index, tuple(np.bincount(i, minlength=4) / 20.0 for i in index))
    weights = calibrate(controls, np.full(20000, 1 / 20000)).weights
    wanted = np.bincount(codes[:, 0] * 4 + codes[:, 1], weights, 16)
    runs = [integerize(weights, controls, 1000, np.random.default_rng(s)) for s in range(30)]
    held = np.mean([np.bincount(codes[:, 0] * 4 + codes[:, 1], r, 16) for r in runs], axis=0)
    assert np.abs(held - wanted).max() < 5 * np.sqrt(wanted.max() / 30)


def test_tables_without_a_solution_are_never_called_converged():
    index = (np.array([0, 1]), np.array([0, 1]))
    found = calibrate(
        Controls(index, (np.array([30.0, 70.0]), np.array([60.0, 40.0]))), np.full(2, 0.5)
    )
    assert not found.converged
    assert found.error > 0.1


def test_a_table_inside_another_binds_nothing():
    codes = population(1)
    assert [t.name for t in binding_tables([table(("a",), codes), table(("a", "b"), codes)])] == [
        "a_b"
    ]


@pytest.mark.parametrize("seed", range(3))
def test_maximum_entropy_equals_fitting_the_whole_joint(seed):
    codes = population(seed)
    tables = [table(scope, codes) for scope in SCOPES]
    joint = np.full(SIZES, 1 / np.prod(SIZES))
    allowed = np.ones((SIZES[1], SIZES[3]))
    for _ in range(3000):
        for found in tables:
            axes = tuple(NAMES.index(n) for n in found.scope)
            other = tuple(i for i in range(4) if i not in axes)
            held = joint.sum(axis=other, keepdims=True)
            wanted = np.transpose(found.share, np.argsort(np.argsort(axes))).reshape(held.shape)
            joint = joint * np.divide(wanted, held, out=np.zeros_like(held), where=held > 0)
    fitted = MaximumEntropy(TableSet(domain(), tuple(tables)), [(("b", "d"), allowed)])
    held_out = table(("b", "d"), codes)
    assert fitted.margin(held_out) == pytest.approx(joint.sum(axis=(0, 2)), abs=1e-6)


def test_elimination_refuses_what_is_too_large():
    factors = [((f"v{i}", "hub"), np.ones((60, 60))) for i in range(6)]
    keep = tuple(f"v{i}" for i in range(6))
    with pytest.raises(TooLargeError):
        eliminate(factors, keep)
