"""Property tests of the conditions that statistics put on weights, and of values moved inside bins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from llmsynthor.fitting.calibrate import calibrate
from llmsynthor.fitting.controls import Controls
from llmsynthor.fitting.moments import Moments
from llmsynthor.fitting.values.shift import Elements, round_values, shift_to
from llmsynthor.results.report.statistics import quantile_near
from llmsynthor.targets.bins import tilt_to
from llmsynthor.targets.domain import Variable

RECORDS = 1000.0


def world(seed: int, candidates: int = 300):
    """Return candidates in two tables, a number of each, and weights that say what is published."""
    random = np.random.default_rng(seed)
    cells = [random.integers(0, size, candidates) for size in (4, 3)]
    number = random.gamma(2.0, 5.0, candidates) + 4 * cells[0]
    true = random.exponential(1.0, candidates)
    true *= RECORDS / true.sum()
    target = tuple(np.bincount(c, true, s) for c, s in zip(cells, (4, 3), strict=True))
    controls = Controls(tuple(c.astype(np.int64) for c in cells), target)
    return random, cells, number, true, controls


def conditions(rows: list[np.ndarray], low: list[float], high: list[float]) -> Moments:
    count = len(rows)
    return Moments(
        csr_array(np.stack(rows)), np.array(low), np.array(high), np.ones(count), ("x",) * count
    )


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.booleans())
def test_means_and_rates_are_met_beside_the_tables_at_the_least_distance(seed, members):
    random, cells, number, true, controls = world(seed)
    inside = cells[1] == 0
    mean = float((true * number)[inside].sum() / true[inside].sum())
    has = random.random(len(number)) < 0.4
    rate = float(true[has].sum() / true.sum())
    rows = [inside * (number - mean) / number.std(), has - rate]
    if members:  # the same tables, as counted by the members of records with one member each
        index = tuple(i[None, :] if n else i for n, i in enumerate(controls.index))
        controls = replace(controls, index=index)
    moments = conditions(rows, [0, 0], [0, 0])
    prior = random.exponential(1.0, len(number))
    found = calibrate(replace(controls, moments=moments), prior / prior.sum())
    w = found.weights
    assert found.converged
    assert np.isclose((w * number)[inside].sum() / w[inside].sum(), mean, rtol=1e-6)
    assert np.isclose(w[has].sum() / w.sum(), rate, rtol=1e-6)
    for cell, target in zip(cells, controls.target, strict=True):
        np.testing.assert_allclose(np.bincount(cell, w), target, atol=1e-4)
    # nearest in KL: the logarithm of weight / prior is a sum of multiples of the conditions
    basis = np.stack(
        [*rows, *(cells[0] == c for c in range(4)), *(cells[1] == c for c in range(3))]
    )
    log = np.log(w / prior)
    fitted = np.linalg.lstsq(basis.T.astype(float), log, rcond=None)[0]
    np.testing.assert_allclose(basis.T @ fitted, log, atol=1e-5)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.floats(-0.2, 0.2), st.floats(0.0, 0.1))
def test_a_condition_that_leaves_a_choice_binds_only_where_it_must(seed, shift, width):
    random, _, number, _, controls = world(seed)
    prior = random.exponential(1.0, len(number))
    prior /= prior.sum()
    row = (number - number.mean()) / number.std()
    free = calibrate(controls, prior).weights
    middle = float(row @ free) + shift * RECORDS
    low, high = middle - width * RECORDS, middle + width * RECORDS
    found = calibrate(replace(controls, moments=conditions([row], [low], [high])), prior).weights
    held = float(row @ found)
    assert low - 1e-3 <= held <= high + 1e-3
    if low <= float(row @ free) <= high:
        np.testing.assert_allclose(found, free, atol=1e-6)
    else:
        assert min(abs(held - low), abs(held - high)) < 1e-3


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0.05, 0.95))
def test_values_keep_their_bins_and_order_and_get_the_sums_that_are_wanted(seed, groups, level):
    random = np.random.default_rng(seed)
    count = 400
    low = random.integers(0, 50, count).astype(float)
    high = low + random.integers(0, 30, count)
    x = low + random.random(count) * (high - low)
    found = Elements([0], [0], 1.0, x[None, :].copy(), low[None, :], high[None, :])
    inside = [(random.random(count) < 0.6)[None, :] for _ in range(groups)]
    # what some values inside the bins have can be had
    other = np.round(low + (high - low) * np.clip(random.normal(level, 0.2, count), 0, 1))
    wanted = [float(other[own[0]].sum()) for own in inside]
    shift_to(found, inside, wanted)
    shifted = found.x[0].copy()
    round_values(found, inside, wanted, random)
    assert (found.x >= found.low).all()
    assert (found.x <= found.high).all()
    assert (found.x == np.round(found.x)).all()
    for own, total in zip(inside, wanted, strict=True):
        assert abs(float(found.x[own].sum()) - total) <= 1 + 1e-3 * total
    if groups == 1:  # all alike move alike: nobody overtakes in the same bin
        alike = inside[0][0] & (low == low[0]) & (high == high[0])
        order = np.argsort(x[alike], kind="stable")
        assert (np.diff(shifted[alike][order]) >= -1e-6).all()


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=60), st.floats(0.01, 0.99), st.integers(0, 30)
)
def test_a_quantile_is_the_nearest_of_those_that_the_definition_allows(values, level, target):
    variable = Variable("x", "integer", ("0-30",), (0.0, 31.0))
    distinct, counts = np.unique(values, return_counts=True)
    found = quantile_near(distinct, counts, level, float(target), variable)
    below = np.mean(np.array(values) < found)
    upto = np.mean(np.array(values) <= found)
    assert below <= level + 1e-9
    assert upto >= level - 1e-9
    allowed = [
        v
        for v in np.arange(0, 31)
        if np.mean(np.array(values) < v) <= level + 1e-9
        and np.mean(np.array(values) <= v) >= level - 1e-9
    ]
    assert abs(found - target) == min(abs(v - target) for v in allowed)


@given(st.floats(0.02, 0.98))
def test_a_tilted_distribution_has_the_mean(mean):
    values = np.linspace(0, 1, 200)
    rate = tilt_to(values, np.ones(200), mean)
    weight = np.exp(rate * (values - 0.5))
    assert np.isclose(weight @ values / weight.sum(), mean, atol=1e-6)
