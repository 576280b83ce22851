"""Options that can have no effect beside others: refused where they are given, never as defaults."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from scripted_server import ScriptedServer
from small_job import job_content, plan, plan_for, proposal, provider, report, write_job

from llmsynthor.cli.main import main
from llmsynthor.errors import JobError
from llmsynthor.job.load import dump_job, load_job

if TYPE_CHECKING:
    from pathlib import Path

APPEND = {"iterations": 3, "calls_per_iteration": 2, "method": "append"}


def place(job: Path, key: str) -> str:
    """Return line and column of a key's value in the job file."""
    for number, line in enumerate(job.read_text().splitlines(), start=1):
        if line.strip().startswith(f"{key}: "):
            return f"{job}:{number}:{line.index(': ') + 3}"
    raise AssertionError(key)


@pytest.mark.parametrize(
    ("part", "option", "value", "why"),
    [
        ("engine", "patience", 3, "has no effect with `engine.method: append`"),
        ("engine", "background", 0.1, "has no effect with `engine.method: append`"),
        ("engine", "pilot_share", 0.01, "has no effect with `engine.method: append`"),
        ("engine", "candidates", 5000, "has no effect with `engine.method: append`"),
        ("output", "row_group", 5000, "has no effect with `engine.method: append`"),
        (
            "engine",
            "proposals_per_call",
            8,
            "is 8, and `engine.method: append` takes at most 5 in an iteration",
        ),
    ],
)
def test_append_takes_nothing_that_it_does_not_use(tmp_path, capsys, part, option, value, why):
    content: dict[str, Any] = {"engine": dict(APPEND), "output": {}}
    content[part][option] = value
    job = write_job(tmp_path, **content)
    assert main(["validate", str(job)]) == 2
    told = capsys.readouterr().err.splitlines()
    advice = f"leave it out, or `--set {part}.{option}=null`"
    assert told[0] == f"error: {place(job, option)}: {part}.{option}: {why}; {advice}"
    assert main(["validate", str(job), "--set", f"{part}.{option}=null"]) == 0
    job = write_job(tmp_path, engine=APPEND)
    assert main(["validate", str(job)]) == 0
    assert main(["validate", str(job), "--set", f"{part}.{option}={value}"]) == 2
    assert f"error: --set {part}.{option}={value}: {part}.{option}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("engine", "model", "other"),
    [
        ({"plan_style": "focus"}, "tiny", "`engine.plan_style: focus`"),
        ({}, "local:m.gguf", "`provider.model: local:`, which is asked in the style `focus`"),
    ],
)
def test_one_proposal_a_call_leaves_no_number_to_choose(tmp_path, capsys, engine, model, other):
    engine = job_content()["engine"] | engine
    job = write_job(tmp_path, engine=engine | {"proposals_per_call": 8}, provider={"model": model})
    with pytest.raises(JobError, match=r"engine\.proposals_per_call: has no effect") as caught:
        load_job(job)
    assert str(caught.value).startswith(place(job, "proposals_per_call"))
    assert other in str(caught.value)
    load_job(job, ["engine.proposals_per_call=null"])
    load_job(job, ["engine.plan_style=plan"])


@pytest.mark.parametrize(
    ("engine", "model"),
    [(APPEND, "none"), ({"plan_style": "focus"}, "tiny"), ({}, "local:m.gguf")],
)
def test_a_job_as_a_run_writes_it_can_be_run(tmp_path, engine, model):
    loaded = load_job(write_job(tmp_path, engine=engine, provider={"model": model}))
    again = tmp_path / "again.yaml"
    again.write_text(dump_job(loaded.job))
    assert load_job(again).job == loaded.job
    assert (
        yaml.safe_load(dump_job(loaded.job))["engine"]["iterations"] == loaded.job.engine.iterations
    )


def test_a_run_of_the_papers_loop_is_reported_and_resumed(tmp_path):
    job = write_job(tmp_path, engine=APPEND, provider={"model": "replay", "replies": "r.jsonl"})
    text = plan(*(proposal(i) for i in range(3)))
    line = {"purpose": "plan", "sequence": 0, "reply": {"text": text, "model": "m"}}
    (tmp_path / "r.jsonl").write_text(json.dumps(line) + "\n")
    out = str(tmp_path / "out")
    assert main(["run", str(job), "--out", out, "-q"]) == 3
    assert main(["run", str(job), "--out", out, "-q", "--resume"]) == 3
    assert main(["report", out]) in (0, 3)


def test_a_variable_left_open_is_drawn_as_the_tables_have_it_in_the_papers_loop(tmp_path):
    kind = {
        "reason": "r",
        "count": 600,
        "values": {"age": "*", "work": ["yes", "no"], "mode": "*"},
    }
    job = write_job(tmp_path, engine=APPEND, provider={"model": "replay", "replies": "r.jsonl"})
    line = {"purpose": "plan", "sequence": 0, "reply": {"text": plan(kind), "model": "m"}}
    (tmp_path / "r.jsonl").write_text(json.dumps(line) + "\n")
    main(["run", str(job), "--out", str(tmp_path / "out"), "-q"])
    tvd = {t["name"]: t["tvd"] for t in report(tmp_path / "out")["tables"]}
    assert tvd["mode"] < 0.06
    assert tvd["work"] == pytest.approx(1 / 3)  # of a list, the paper's loop takes one


def test_null_gives_an_option_its_default_and_a_needed_key_is_missed(tmp_path, capsys):
    job = write_job(tmp_path, provider=provider("http://localhost", temperature=0.5))
    assert (
        load_job(job, ["engine.iterations=null", "provider.temperature=null"]).job.engine.iterations
        == 12
    )
    assert main(["validate", str(job), "--set", "records=null"]) == 2
    assert "--set records=null: records: this key is needed" in capsys.readouterr().err
    with ScriptedServer(default=plan_for) as server:
        options = ["--set", f"provider.api_base={server.base_url}", "--set", "budget=null"]
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q", *options]) == 0
