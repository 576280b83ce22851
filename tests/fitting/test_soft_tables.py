from __future__ import annotations

import numpy as np
import pytest
import yaml
from small_job import TABLES, job_content, report

from llmsynthor.cli.main import main
from llmsynthor.fitting.calibrate import calibrate
from llmsynthor.fitting.controls import Controls
from llmsynthor.fitting.whole.pivotal import Balance, choose_scopes, round_pivotal


def test_soft_tables_that_disagree_give_way_in_proportion_to_their_variance():
    """Two tables of one variable want 60 and 40 in its first cell; the second gives way 3 times as much."""
    index = (np.array([0, 1]), np.array([0, 1]))
    target = (np.array([60.0, 40.0]), np.array([40.0, 60.0]))
    variance = (np.full(2, 1.0), np.full(2, 3.0))
    found = calibrate(Controls(index, target, variance), np.array([0.5, 0.5]))
    assert found.converged
    assert found.weights == pytest.approx([55, 45], abs=1e-3)


def test_a_hard_table_holds_and_the_soft_one_gives_way():
    index = (np.array([0, 1]), np.array([0, 1]))
    target = (np.array([60.0, 40.0]), np.array([40.0, 60.0]))
    found = calibrate(Controls(index, target, (None, np.ones(2))), np.array([0.5, 0.5]))
    assert found.converged
    assert found.weights == pytest.approx([60, 40], abs=1e-6)


def test_a_run_says_which_soft_table_gave_way_and_by_how_much(tmp_path):
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "old_mode.csv").write_text("mode,count\ncar,240\nbus,240\nwalk,120\n")
    tables = [
        {"file": "age_work.csv"},
        {"file": "mode.csv"},
        {"file": "old_mode.csv", "weight": 1, "tolerance": 0.2},
    ]
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(job_content(tables=tables), sort_keys=False))
    assert main(["run", str(path), "--out", str(tmp_path / "out"), "-q"]) == 0
    content = report(tmp_path / "out")
    assert content["notes"] == [
        "`old_mode` (soft) gave way: 60 of 600 records are in other cells of it than it says; most "
        "in mode=car, which wants 240.0 records and has 300"
    ]
    assert {t["name"]: t["tae"] for t in content["tables"]}["mode"] == pytest.approx(0, abs=1e-9)


def test_pivotal_rounding_is_unbiased_and_keeps_the_sum():
    random = np.random.default_rng(0)
    codes = np.stack([random.integers(0, 3, 60) for _ in range(3)], axis=1).astype(np.int32)
    share = random.random(60)
    share *= 30 / share.sum()
    balance = Balance(codes, (3, 3, 3), choose_scopes((3, 3, 3), random))
    cell = codes[:, :1].T.astype(np.int32)
    rounds = [
        round_pivotal(share, cell, np.ones(3, bool), np.random.default_rng(s), balance=balance)
        for s in range(600)
    ]
    assert {int(counts.sum()) for counts in rounds} == {30}
    assert all(((c >= np.floor(share)) & (c <= np.ceil(share))).all() for c in rounds)
    assert np.abs(np.mean(rounds, axis=0) - share).max() < 0.12
