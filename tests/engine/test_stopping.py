"""When asking stops: the rule by itself, and whole runs against a scripted model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from scripted_server import ScriptedServer, reply
from small_job import data_hash, plan, plan_for, proposal, provider, report, write_job

from llmsynthor.cli.main import main
from llmsynthor.engine.stopping import Effort, levelled_off

if TYPE_CHECKING:
    from pathlib import Path

EASY = Effort(0.10, 0.80, 0.05)


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "iterations.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("last", "goes_on"),
    [
        (EASY, False),
        (Effort(0.098, 0.81, 0.048), False),  # better by less than chance
        (Effort(0.09, 0.80, 0.05), True),
        (Effort(0.10, 0.85, 0.05), True),
        (Effort(0.10, 0.80, 0.04), True),
        (Effort(0.30, 0.40, 0.30), False),
    ],
)
def test_any_figure_of_the_effort_that_improves_keeps_asking_on(last, goes_on):
    found = levelled_off([0.2, 0.1, 0.1, 0.1], [EASY, EASY, EASY, last], 2)
    assert (found is None) == goes_on


@pytest.mark.parametrize(
    ("priors", "goes_on"),
    [
        ([0.1, 0.1], True),  # not yet `patience` iterations after the first
        ([0.1, 0.1, 0.1], False),
        ([0.1, 0.1, 0.098], True),
        ([0.1, 0.1, 0.0995], False),
        ([0.01, 0.01, 0.0096], False),  # 4 %, but nothing that the prompt could show
        ([0.1, 0.2, 0.15], False),  # not better than the best before
    ],
)
def test_without_pilot_batches_the_prior_alone_decides(priors, goes_on):
    found = levelled_off(priors, [None] * len(priors), 2)
    assert (found is None) == goes_on
    assert found is None or "calibration" not in found.words


def engine(**more) -> dict:
    base = {"calls_per_iteration": 1, "candidates": 4000, "pilot_share": 0.05, "patience": 2}
    return {"engine": base | more}


def test_a_model_that_repeats_itself_is_soon_not_asked_any_more(tmp_path):
    same = plan(*(proposal(seed) for seed in range(4)))
    with ScriptedServer(default=lambda _: reply(same)) as server:
        job = write_job(tmp_path, provider=provider(server.base_url), **engine(iterations=12))
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
        assert len(server.requests) <= 5
    reason = report(tmp_path / "out")["stop_reason"]
    assert reason.startswith("in the last 2 iterations the proposals came no nearer to the tables")
    assert "calibration became no easier" in reason
    assert lines(tmp_path / "out")[-1]["stop_reason"] == reason


def test_a_model_that_still_improves_is_asked_on(tmp_path):
    # all in one corner first, then like the tables: the TVD of the whole falls as 1 / iterations
    corner = {"age": ["18-39"], "work": "no", "mode": "walk"}
    good = {"age": [18, 90], "work": {"yes": 2, "no": 1}, "mode": ["car", "bus", "walk"]}
    plans = [corner] + [good] * 7
    steps = [reply(plan({"reason": "r", "count": 100, "values": values})) for values in plans]
    with ScriptedServer(steps) as server:
        job = write_job(
            tmp_path,
            provider=provider(server.base_url),
            **engine(iterations=8),
            rules=[],
        )
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
        assert len(server.requests) == 8
    assert report(tmp_path / "out")["stop_reason"] == "all iterations done"
    found = lines(tmp_path / "out")
    priors = [line["prior_tvd"] for line in found if line["iteration"]]
    assert priors == sorted(priors, reverse=True)
    assert all({"kl", "effective_share", "background_share"} <= line.keys() for line in found[:8])
    assert found[7]["kl"] < found[0]["kl"]


def without_seconds(out: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if not k.startswith("seconds")} for line in lines(out)]


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_run_killed_between_a_batch_and_its_line_stops_where_the_unbroken_run_does(
    tmp_path, kept
):
    out = tmp_path / "out"
    with ScriptedServer(default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url), **engine(iterations=6))
        assert main(["run", str(job), "--out", str(out), "-q"]) == 0
        before, told = data_hash(out), without_seconds(out)
        log = (out / "iterations.jsonl").read_text().splitlines(keepends=True)
        (out / "iterations.jsonl").write_text("".join(log[:kept]))
        for later in sorted((out / "data").iterdir())[kept + 1 :]:
            later.unlink()
        manifest = json.loads((out / "manifest.json").read_text())
        (out / "manifest.json").write_text(json.dumps({**manifest, "status": "partial"}))
        asked = len(server.requests)
        assert main(["run", str(job), "--out", str(out), "--resume", "-q"]) == 0
        assert len(server.requests) == asked
    assert data_hash(out) == before
    assert without_seconds(out) == told
