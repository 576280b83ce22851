"""Focus style: code fixes the cell and the count, the model completes one proposal a call."""

from __future__ import annotations

import json

import pytest
from scripted_server import ScriptedServer, reply
from small_job import data_hash, job_content, local_answer, provider, report, write_job
from stand_in_library import install

from llmsynthor.cli.main import main
from llmsynthor.llm.prompts.focus import Target, completed

FOCUS = {"engine": {**job_content()["engine"], "plan_style": "focus"}}


def complete(body):
    """Complete any target, differently for each request."""
    seed = sum(map(ord, json.dumps(body["messages"])))
    return reply(local_answer({}, seed))


def run(folder, *options, engine=FOCUS, respond=complete, **more):
    with ScriptedServer(default=respond) as server:
        job = write_job(folder, provider=provider(server.base_url, **more), **engine)
        code = main(["run", str(job), "--out", str(folder / "out"), "-q", *options])
    return code, server.bodies


def proposals(folder):
    return [json.loads(line) for line in (folder / "out/proposals.jsonl").read_text().splitlines()]


def test_the_first_prompt_of_a_cell_and_of_a_pair_without_a_table(tmp_path):
    code, bodies = run(tmp_path, concurrency=1)
    assert code == 0
    cell, pair = (body["messages"][-1]["content"] for body in bodies[:2])
    assert "# The kind of record that is wanted\n- mode: car\n\n" in cell
    assert "- age: 18-39 50%, 40-64 38%, 65+ 12%\n" in cell
    assert "- age: 18-39\n" in pair
    assert "# No table says how this goes with the wanted kind\nmode\n" in pair
    assert "work_mode" not in cell + pair
    asked = bodies[0]["response_format"]["json_schema"]["schema"]
    assert asked["properties"]["values"]["required"] == ["age", "work"]
    # what no table says must not be left to the tables
    listed = [
        body["response_format"]["json_schema"]["schema"]["properties"]["values"]["properties"]
        for body in bodies[:2]
    ]
    assert listed[0]["work"]["items"]["enum"] == ["yes", "no", "*"]
    assert listed[1]["mode"]["items"]["enum"] == ["car", "bus", "walk"]


def test_counts_and_the_cell_are_ours_whatever_the_model_says(tmp_path):
    values = {"age": ["65+"], "work": ["no"], "mode": ["walk"]}
    boast = json.dumps({"reason": "r", "count": 99999, "values": values})
    code, _ = run(tmp_path, respond=lambda _: reply(boast), concurrency=1)
    assert code == 0
    first, second, third, *_ = proposals(tmp_path)
    assert (first["count"], first["values"]) == (300, {**values, "mode": ["car"]})
    assert (second["count"], second["values"]["age"]) == (300, ["18-39"])
    assert third["values"]["mode"] != ["car"] or third["values"]["age"] != ["65+"]
    assert len(proposals(tmp_path)) == 6


def test_whole_plans_and_text_that_is_no_json(tmp_path):
    words = iter(
        ["I cannot.", json.dumps({"proposals": [{"values": {"age": ["65+"], "work": "no"}}]})]
    )
    code, bodies = run(
        tmp_path, "--set", "budget.calls=2", respond=lambda _: reply(next(words)), concurrency=1
    )
    assert code == 0
    assert len(bodies) == 2  # no repair: another target costs no more
    assert report(tmp_path / "out")["llm"]["unread_replies"] == 1


def test_concurrency_and_a_resume_do_not_change_the_data(tmp_path):
    assert run(tmp_path / "one", concurrency=1)[0] == 0
    assert run(tmp_path / "two", concurrency=4)[0] == 0
    assert data_hash(tmp_path / "one/out") == data_hash(tmp_path / "two/out")
    job, out = str(tmp_path / "two/job.yaml"), tmp_path / "two/out"
    assert main(["run", job, "--out", str(out), "--replay", "-q"]) == 0
    assert data_hash(tmp_path / "one/out") == data_hash(out)


def test_the_style_cannot_change_amid_a_run(tmp_path, capsys):
    assert run(tmp_path)[0] == 0
    options = ["--resume", "--set", "engine.plan_style=plan"]
    assert main(["run", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "out"), *options]) == 2
    assert "engine.plan_style" in capsys.readouterr().err


@pytest.mark.parametrize(("style", "focus"), [("auto", True), ("focus", True), ("plan", False)])
def test_local_models_are_asked_in_focus_unless_told_otherwise(tmp_path, monkeypatch, style, focus):
    library = install(tmp_path / "library", monkeypatch)
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    engine = {**job_content()["engine"], "plan_style": style}
    job = write_job(tmp_path, provider={"model": "local:m.gguf"}, engine=engine)
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    prompts = [line["messages"][1]["content"] for line in library.lines("requests")]
    assert all(("The kind of record that is wanted" in prompt) == focus for prompt in prompts)


def test_a_list_is_read_as_a_completion_and_what_is_none_as_nothing():
    target = Target({"mode": ["car"]}, 40)
    entry = {"reason": "r", "count": 99999, "values": {"mode": ["walk"], "work": ["no"]}}
    for text in (json.dumps([entry]), json.dumps({"proposals": [entry]}), json.dumps(entry)):
        (proposal,) = json.loads(completed(text, target))["proposals"]
        assert proposal["count"] == 40
        assert proposal["values"] == {"mode": ["car"], "work": ["no"]}
    assert completed('[{"count": 99999}]', target) == ""
