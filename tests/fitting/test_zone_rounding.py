"""Households in zones: which seed records a zone gets, weights near what cannot be met, local programs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.candidates.seed_sample import SeedSample, draw_in_zones
from llmsynthor.fitting.calibrate import calibrate
from llmsynthor.fitting.controls import Controls
from llmsynthor.fitting.dual import PRECISION
from llmsynthor.fitting.whole.zone_programs import LocalPrograms
from llmsynthor.targets.domain import Domain, Variable
from llmsynthor.targets.table import Table, TableSet

ZONES = ("z0", "z1", "z2")
KINDS = ("a", "b", "c")


def _sampled(figures: list[list[float]], rows: int, weight: float = 1.0):
    domain = Domain((Variable("zone", "category", ZONES), Variable("kind", "category", KINDS)))
    both = (np.arange(3, dtype=np.int32), np.arange(3, dtype=np.int32))
    table = Table("t", "t.csv", "control", ("zone", "kind"), (ZONES, KINDS), both, np.array(figures), "count")  # fmt: skip
    codes = np.repeat(np.arange(3, dtype=np.int32), 50)[:, None]
    weights = np.where(codes[:, 0] == 2, weight, 1.0)
    sample = SeedSample(
        codes, np.array([True]), np.empty((150, 2, 0)), weights, [str(i) for i in range(150)]
    )
    tables = TableSet(domain, (table,))
    found = draw_in_zones(sample.with_zone(0), tables, 0, rows, np.random.default_rng(0))
    return found, codes[found.record, 0]


@pytest.mark.parametrize("rows", [90, 10_000])
def test_a_zone_gets_only_records_that_it_can_have(rows):
    found, kind = _sampled([[10, 0, 0], [5, 5, 0], [0, 0, 0]], rows)
    assert set(kind[found.zone == 0]) == {0}
    assert set(kind[found.zone == 1]) == {0, 1}
    assert 2 not in found.zone
    assert found.share[found.zone == 0].sum() == pytest.approx(0.5)
    assert found.share.sum() == pytest.approx(1)


def test_what_a_zone_has_more_often_is_drawn_more_often():
    found, kind = _sampled([[16, 4, 0], [4, 16, 0], [1, 1, 1]], 10_000)
    mass = [found.share[(found.zone == 0) & (kind == code)].sum() for code in range(2)]
    assert mass[0] / mass[1] == pytest.approx(2)  # the root of 4
    _, heavy = _sampled([[1, 1, 1]] * 3, 90, weight=50.0)
    assert (heavy == 2).mean() > 0.6


def test_a_zone_that_cannot_be_met_leaves_the_others_alone():
    """Two zones: of the second, no candidate has the one person who is wanted there."""
    cells = np.array([[0, 0, 2, 2], [1, 4, 4, 4]])  # persons of a kind; 4 is nobody
    households = np.array([0, 0, 1, 1])
    controls = Controls(
        (households, cells), (np.array([30.0, 10.0]), np.array([30.0, 12.0, 20.0, 1.0])),
        (None, None), 40.0,
    )  # fmt: skip
    found = calibrate(controls, np.full(4, 0.25))
    assert not found.converged
    assert found.error > PRECISION
    assert found.fitted[1][:2] == pytest.approx([30, 12], abs=0.2)
    assert found.fitted[0][0] == pytest.approx(30, abs=0.2)


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_local_programs_meet_what_some_records_meet(seed):
    """Records exist that meet all cells: hidden counts say what is wanted."""
    random = np.random.default_rng(seed)
    zones = np.repeat(np.arange(3), 40)
    nobody = 3 * 8
    cells = np.stack([zones * 8 + random.integers(0, 3, 120)] + [
        np.where(random.random(120) < 0.7, zones * 8 + 3 + random.integers(0, 5, 120), nobody)
        for _ in range(3)
    ])  # fmt: skip
    hidden, counts = (random.multinomial(60, np.full(120, 1 / 120)) for _ in range(2))
    held = [
        np.sum([np.bincount(row, n, nobody + 1) for row in cells], axis=0) for n in (hidden, counts)
    ]
    error = held[1] - held[0]
    by_cell = np.append(np.ones(nobody), 0.0)
    most = np.maximum(counts, hidden) + 1
    before = np.abs(error[:-1]).sum()
    programs = LocalPrograms(cells, by_cell, zones, random)
    programs.mend(error, counts, most, lambda: None)
    assert counts.sum() == 60
    assert (counts >= 0).all()
    assert (counts <= most).all()
    now = np.sum([np.bincount(row, counts, nobody + 1) for row in cells], axis=0) - held[0]
    assert now[:-1] == pytest.approx(error[:-1])
    assert np.abs(now[:-1]).sum() <= 0.2 * before


def test_the_solver_says_nothing_on_stdout(capfd):
    random = np.random.default_rng(0)
    cells = np.array([[0, 0, 1, 1], [2, 3, 2, 3]])
    error, counts = np.array([1.0, -1.0, 0.0, 0.0, 0.0]), np.array([1, 1, 0, 0])
    LocalPrograms(cells, np.append(np.ones(4), 0), np.array([0, 0, 1, 1]), random).mend(
        error, counts, np.full(4, 2), lambda: None
    )
    assert capfd.readouterr().out == ""
    assert counts.tolist().count(1) == 2
    assert np.abs(error[:4]).sum() == 0
