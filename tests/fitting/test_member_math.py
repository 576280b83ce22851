"""Weights and whole counts of households with persons, against independent formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from member_world import MemberWorld

from llmsynthor.fitting import dual
from llmsynthor.fitting.calibrate import calibrate
from llmsynthor.fitting.controls import (
    CountMatrix,
    binding_tables,
    controls_for,
    implies,
    rounding_importance,
)
from llmsynthor.fitting.whole.integerize import integerize
from llmsynthor.fitting.whole.pivotal import Balance, choose_scopes

SMALL = {
    "records": 300,
    "candidates": 1500,
    "most": 4,
    "record": ("size", "tenure", "cars"),
    "own": ("age", "sex"),
    "record_scopes": [("size", "tenure"), ("cars",)],
    "member_scopes": [("age", "sex"), ("age", "tenure")],
    "known": True,
}


def asked(world: MemberWorld, tables):
    targets = [table.wanted(world.records).ravel() for table in tables]
    return controls_for(tables, targets, world.codes, world.wide, world.records)


def by_hand(world: MemberWorld, tables) -> np.ndarray:
    """Count each candidate in each cell, one at a time."""
    columns = []
    for table in tables:
        count = np.zeros((len(world.codes), *table.figures.shape))
        for row, codes in enumerate(world.codes):
            slots = 1 if table.members is None else world.members.sizes(codes[None])[0]
            for slot in range(slots):
                names = [world.members.column(name, slot) for name in table.scope]
                count[(row, *(codes[world.wide.positions[name]] for name in names))] += 1
        columns.append(count.reshape(len(count), -1))
    return np.concatenate(columns, axis=1)


@settings(max_examples=12)
@given(st.integers(0, 10_000))
def test_weights_give_a_population_its_tables_of_both_levels_back(seed):
    world = MemberWorld(seed=seed, **SMALL)
    tables = binding_tables(world.tables.control)
    found = calibrate(asked(world, tables), world.prior)
    assert found.converged
    assert found.weights.sum() == pytest.approx(world.records)
    held = found.weights @ by_hand(world, tables)
    want = np.concatenate([table.figures.ravel() for table in tables])
    assert np.abs(held - want).max() <= 2e-9 * world.records


def test_the_weights_are_those_of_another_solver():
    from scipy.optimize import minimize

    world = MemberWorld(seed=3, **(SMALL | {"records": 60, "candidates": 300}))
    tables = binding_tables(world.tables.control)
    count, prior = by_hand(world, tables), world.prior
    tilted = prior * np.exp(count @ (0.1 * np.sin(np.arange(count.shape[1]))))
    target = (tilted / tilted.sum() * 60) @ count
    ends = np.cumsum([table.cells for table in tables])[:-1]
    controls = controls_for(tables, np.split(target, ends), world.codes, world.wide, 60)
    found = calibrate(controls, prior)
    assert found.converged

    def dual(multiplier: np.ndarray) -> tuple[float, np.ndarray]:
        weights = prior * 60 * np.exp(count @ multiplier)
        return weights.sum() - target @ multiplier, weights @ count - target

    best = minimize(
        dual,
        np.zeros(len(target)),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-9},
    )
    weights = prior * 60 * np.exp(count @ best.x)
    assert found.weights == pytest.approx(weights, abs=1e-5)


def test_tables_of_members_alone_leave_the_number_of_records_as_asked():
    world = MemberWorld(seed=4, **SMALL)
    tables = [table for table in world.tables.control if table.members is not None]
    found = calibrate(asked(world, tables), world.prior)
    assert found.converged
    assert found.weights.sum() == pytest.approx(world.records)
    assert len(found.fitted) == len(tables)


def test_conjugate_gradients_with_a_sample_end_where_the_factored_hessian_does(monkeypatch):
    world = MemberWorld(seed=5, **SMALL)
    controls = asked(world, binding_tables(world.tables.control))
    exact = calibrate(controls, world.prior)
    monkeypatch.setattr(dual, "_SAMPLED", 200)
    sampled = calibrate(controls, world.prior)
    assert sampled.converged
    assert sampled.weights == pytest.approx(exact.weights, abs=1e-5)


def test_the_sparse_matrix_counts_members_as_one_does_by_hand():
    world = MemberWorld(seed=6, **SMALL)
    tables = binding_tables(world.tables.control)
    controls = asked(world, tables)
    starts = np.cumsum([0, *(table.cells for table in tables)])
    matrix, count = CountMatrix(controls.index, controls.target, starts), by_hand(world, tables)
    assert count.max() > 1  # two members of one household in one cell
    weights = world.prior
    assert matrix.sums(weights) == pytest.approx(weights @ count)
    assert matrix.squares(weights) == pytest.approx(weights @ count**2)
    assert matrix.hessian(weights) == pytest.approx(count.T @ (weights[:, None] * count))
    assert matrix.spread(starts[-1] + np.arange(starts[-1])) == pytest.approx(
        count @ (starts[-1] + np.arange(starts[-1]))
    )


def test_a_household_with_one_person_in_a_cell_of_nobody_gets_no_weight():
    world = MemberWorld(seed=7, **SMALL)
    tables = binding_tables(world.tables.control)
    controls = asked(world, tables)
    count = by_hand(world, tables)
    empty = np.concatenate(controls.target) == 0
    assert (controls.fillable() == ~(count[:, empty] > 0).any(axis=1)).all()


def test_a_table_implies_only_what_counts_the_same():
    world = MemberWorld(seed=8, **SMALL)
    table = next(t for t in world.tables.control if t.name == "age_tenure_persons")
    tenure = replace(
        table,
        scope=("tenure",),
        labels=table.labels[1:],
        groups=table.groups[1:],
        figures=table.figures.sum(axis=0),
    )
    assert implies(table, tenure)
    assert not implies(table, replace(tenure, members=None))


def whole_of(world: MemberWorld, seed: int = 1):
    tables = binding_tables(world.tables.control)
    controls = asked(world, tables)
    weights = calibrate(controls, world.prior).weights
    random = np.random.default_rng(seed)
    sizes = world.wide.sizes
    whole = integerize(
        weights,
        controls,
        world.records,
        random,
        balance=Balance(world.codes, sizes, choose_scopes(sizes, random, world.members)),
        variety=replace(world.variety, tables=tables),
        importance=rounding_importance(tables),
    )
    codes = np.repeat(world.codes, whole.counts, axis=0)
    if len(whole.mutants):
        codes = np.concatenate([codes, whole.mutants.codes])
    return tables, whole, codes


def tae(world: MemberWorld, tables, codes: np.ndarray) -> float:
    return sum(np.abs(t.tally(codes, world.wide) - t.figures.ravel()).sum() for t in tables)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2])
def test_whole_households_meet_the_tables_of_both_levels(seed):
    world = MemberWorld(seed=seed, records=600, candidates=8000, known=True)
    tables, whole, codes = whole_of(world)
    assert len(codes) == world.records
    assert (codes == world.members.emptied(codes)).all()
    assert tae(world, tables, codes) <= 8
    assert len(whole.mutants) < world.records / 3


@pytest.mark.slow
def test_mutants_keep_the_size_of_their_parents():
    world = MemberWorld(seed=3, records=600, candidates=8000, known=True)
    _, whole, _ = whole_of(world)
    assert len(whole.mutants)
    parents = world.codes[whole.mutants.parent]
    assert (world.members.sizes(parents) == world.members.sizes(whole.mutants.codes)).all()
    assert (parents != whole.mutants.codes).any(axis=1).all()
