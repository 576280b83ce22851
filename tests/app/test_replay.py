"""`--replay` and recordings: no model, no file of one, the same records and the same stop reason."""

from __future__ import annotations

import importlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from scripted_server import ScriptedServer
from small_job import data_hash, job_content, plan, plan_for, proposal, provider, report, write_job
from stand_in_library import install

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


def run(job: Path, *options: str) -> int:
    return main(["run", str(job), "--out", str(job.parent / "out"), "-q", *options])


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "manifest.json").read_text())


@pytest.fixture
def local_run(tmp_path, monkeypatch) -> Path:
    """Return the job of a finished run with a local model, whose library is gone since."""
    install(tmp_path / "library", monkeypatch)
    (tmp_path / "m.gguf").write_bytes(b"GGUF and more")
    job = write_job(tmp_path, provider={"model": "local:m.gguf"})
    assert run(job) == 0
    shutil.rmtree(tmp_path / "library")
    importlib.invalidate_caches()
    return job


def test_a_local_run_is_replayed_without_the_file_and_the_extra(local_run, capsys):
    folder = local_run.parent
    before, first, began = data_hash(folder / "out"), report(folder / "out"), manifest(folder)
    (folder / "m.gguf").unlink()
    assert run(local_run, "--replay") == 0
    again = report(folder / "out")
    assert data_hash(folder / "out") == before
    of_the_attempt = dict.fromkeys(("attempts", "created", "seconds"))
    assert {**again, **of_the_attempt} == {**first, **of_the_attempt}
    assert manifest(folder)["inputs"] == began["inputs"]
    assert "m.gguf" in began["inputs"]
    assert run(local_run, "--replay") == 0  # the hash is kept, so it can be done again
    assert run(local_run, "--overwrite") == 2  # a run that asks needs the file
    assert "provider.model: m.gguf: no such file" in capsys.readouterr().err


def test_a_model_file_that_is_there_is_checked_by_a_replay(local_run, capsys):
    before = data_hash(local_run.parent / "out")
    (local_run.parent / "m.gguf").write_bytes(b"GGUF and other")
    assert run(local_run, "--replay") == 2
    assert "the job has changed since this run began: m.gguf (content)" in capsys.readouterr().err
    assert data_hash(local_run.parent / "out") == before


def recording(folder: Path, texts: list[str]) -> None:
    lines = [
        {"purpose": "plan", "sequence": i, "reply": {"text": text, "model": "m"}}
        for i, text in enumerate(texts)
    ]
    (folder / "rec.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


RECORDING = {"model": "replay", "replies": "rec.jsonl"}


def test_a_recording_that_is_gone_is_not_missed_by_a_replay(tmp_path):
    job = write_job(tmp_path, provider=RECORDING)
    recording(tmp_path, [plan(proposal(i), proposal(i + 7)) for i in range(4)])
    assert run(job) == 0
    before, reason = data_hash(tmp_path / "out"), report(tmp_path / "out")["stop_reason"]
    (tmp_path / "rec.jsonl").unlink()
    assert run(job, "--replay") == 0
    assert data_hash(tmp_path / "out") == before
    assert report(tmp_path / "out")["stop_reason"] == reason == "the recording has no more replies"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"tokens": 6_000}, "budget.tokens 6000"),
        ({"calls": 3}, "budget.calls 3"),
        ({"calls": 0}, "budget.calls 0"),
        ({"cost_usd": 0.009}, "budget.cost_usd 0.009"),
        ({"minutes": 1e-6}, "budget.minutes 1e-06"),
        ({}, "all iterations done"),
    ],
)
def test_a_replay_has_the_stop_reason_of_the_run(tmp_path, budget, reason):
    price = {"price_per_mtok": {"input": 1.0, "output": 2.0}}
    with ScriptedServer(default=plan_for) as server:
        given = provider(server.base_url, concurrency=1, max_output_tokens=2000, **price)
        job = write_job(tmp_path, provider=given, budget=budget)
        assert run(job) == 0
    before = data_hash(tmp_path / "out")
    assert report(tmp_path / "out")["stop_reason"] == reason
    for _ in range(2):
        assert run(job, "--replay") == 0
        assert data_hash(tmp_path / "out") == before
        assert report(tmp_path / "out")["stop_reason"] == reason
        assert manifest(tmp_path)["stop_reason"] == reason


def test_no_words_say_to_a_replay_what_ended_the_run(tmp_path):
    with ScriptedServer(default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url), budget={"calls": 3})
        assert run(job) == 0
    before, path = data_hash(tmp_path / "out"), tmp_path / "out" / "manifest.json"
    assert manifest(tmp_path)["stop_kind"] == "budget"
    path.write_text(json.dumps(manifest(tmp_path) | {"stop_reason": "no more money"}))
    assert run(job, "--replay") == 0
    assert data_hash(tmp_path / "out") == before
    kept = manifest(tmp_path)
    assert (kept["stop_kind"], kept["stop_reason"]) == ("budget", "no more money")
    older = {name: value for name, value in kept.items() if not name.endswith("_kind")}
    path.write_text(json.dumps(older))
    assert run(job, "--replay") == 0
    assert data_hash(tmp_path / "out") == before
    assert manifest(tmp_path)["stop_reason"] == "no more money"


def test_what_a_later_version_wrote_is_no_damage_and_stays(tmp_path):
    with ScriptedServer(default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url), budget={"calls": 3})
        assert run(job) == 0
    before = data_hash(tmp_path / "out")
    for name in ("manifest.json", "replies.jsonl", "prompts.jsonl", "proposals.jsonl"):
        path = tmp_path / "out" / name
        lines = path.read_text().splitlines() if name.endswith("l") else [path.read_text()]
        path.write_text("".join(json.dumps(json.loads(x) | {"new": 1}) + "\n" for x in lines))
    assert run(job, "--replay") == 0
    assert data_hash(tmp_path / "out") == before
    assert manifest(tmp_path)["new"] == 1


def test_a_replay_that_was_stopped_still_knows_why_the_run_ended(tmp_path):
    with ScriptedServer(default=plan_for) as server:
        given = provider(server.base_url)
        job = write_job(tmp_path, provider=given, budget={"calls": 3})
        assert run(job) == 0
    path = tmp_path / "out" / "manifest.json"
    stopped = {**manifest(tmp_path), "status": "partial", "asking_ended": "budget.calls 3"}
    path.write_text(json.dumps(stopped | {"stop_reason": "SIGTERM"}))
    (tmp_path / "out" / "iterations.jsonl").unlink()
    assert run(job, "--replay") == 0
    assert report(tmp_path / "out")["stop_reason"] == "budget.calls 3"


def test_a_reply_log_without_its_first_reply_is_refused(tmp_path, capsys):
    with ScriptedServer(default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url), budget={"calls": 3})
        assert run(job) == 0
    log = tmp_path / "out" / "replies.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[2:]))
    assert run(job, "--replay") == 2
    assert "the reply log has no reply to the first request of this job" in capsys.readouterr().err


FOCUS = json.dumps(
    {
        "reason": "r",
        "values": {"age": ["18-39", "40-64"], "work": ["yes", "no"], "mode": ["walk", "bus"]},
    }
)


@pytest.mark.parametrize("command", ["validate", "run", "preview"])
@pytest.mark.parametrize(
    ("texts", "style", "told"),
    [
        (
            [FOCUS] * 6,
            "auto",
            "provider.replies: rec.jsonl: its replies are what completes one cell each (plan style "
            "`focus`), and the job asks for lists of proposals (plan style `plan`)\n\n"
            "hint: write `engine: {plan_style: focus}`, or `--set engine.plan_style=focus`\n",
        ),
        (
            [plan(proposal(i)) for i in range(6)],
            "focus",
            "provider.replies: rec.jsonl: its replies are lists of proposals (plan style `plan`), "
            "and the job asks for what completes one cell each (plan style `focus`)\n\n"
            "hint: write `engine: {plan_style: plan}`, or `--set engine.plan_style=plan`\n",
        ),
    ],
)
def test_a_recording_of_the_other_style_is_refused(tmp_path, capsys, command, texts, style, told):
    engine = job_content()["engine"] | {"plan_style": style}
    job = write_job(tmp_path, provider=RECORDING, engine=engine)
    recording(tmp_path, texts)
    assert main([command, str(job)]) == 2
    assert capsys.readouterr().err == f"error: {told}"


def test_a_focus_recording_is_used_where_the_job_says_so(tmp_path):
    engine = job_content()["engine"] | {"plan_style": "focus"}
    job = write_job(tmp_path, provider=RECORDING, engine=engine)
    recording(tmp_path, ["no JSON", FOCUS, FOCUS, plan(proposal(1)), FOCUS, FOCUS])
    assert run(job) == 0
    found = report(tmp_path / "out")["llm"]["proposals"]
    assert found == {"accepted": 5, "rejected": 0}
