"""`llmsynthor preview`: what a run would ask and cost, without asking."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from scripted_server import ScriptedServer, reply
from small_job import plan, proposal, provider, write_job

from llmsynthor.cli import main

if TYPE_CHECKING:
    from pathlib import Path

PRICE = {"price_per_mtok": {"input": 1.0, "output": 10.0}}


def shown(job: Path, capsys, *options: str) -> dict:
    capsys.readouterr()
    assert main(["preview", str(job), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def text(job: Path, capsys, *options: str) -> str:
    capsys.readouterr()
    assert main(["preview", str(job), *options]) == 0
    return capsys.readouterr().out


def test_shows_the_prompt_that_a_run_sends_first_and_makes_no_call(tmp_path, capsys):
    with ScriptedServer(default=lambda _: reply("Sorry.")) as server:
        job = write_job(tmp_path, provider=provider(server.base_url, concurrency=1))
        found = shown(job, capsys)
        assert not server.requests
        assert not (tmp_path / "runs").exists()
        main(["run", str(job), "--out", str(tmp_path / "out"), "-q"])
        system, user = (message["content"] for message in server.bodies[0]["messages"])
    assert (found["prompt"]["system"], found["prompt"]["prompt"]) == (system, user)
    assert len(user) / 5 < found["prompt"]["tokens"] < len(user)


def test_a_run_that_goes_as_badly_as_can_be_makes_just_the_calls_and_stays_below_the_tokens(
    tmp_path, capsys
):
    with ScriptedServer(default=lambda _: reply("Sorry. " * 2000)) as server:
        job = write_job(tmp_path, provider=provider(server.base_url, **PRICE), dependencies="infer")
        most = shown(job, capsys)["most"]
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
        assert len(server.requests) == most["calls"] == 3 * 2 * 2 + 1
        sent = sum(
            len(message["content"]) for body in server.bodies for message in body["messages"]
        )
    assert sent / 4 + 13 * 4096 < most["tokens"]
    prompts = most["tokens"] - 13 * 4096
    assert most["cost_usd"] == pytest.approx((prompts * 1.0 + 13 * 4096 * 10.0) / 1e6)


@pytest.mark.parametrize(
    ("limit", "key", "most"),
    [("calls=5", "calls", 5), ("tokens=9000", "tokens", 9000), ("cost_usd=0.01", "cost_usd", 0.01)],
)
def test_the_budget_cuts_the_most(tmp_path, capsys, limit, key, most):
    job = write_job(tmp_path, provider=provider("http://127.0.0.1:9/v1", **PRICE))
    free, cut = shown(job, capsys)["most"], shown(job, capsys, "--set", f"budget.{limit}")["most"]
    assert cut[key] == most < free[key]
    assert cut["cut_by"] == ["budget." + limit.replace("=", " ")]
    assert cut["tokens"] <= free["tokens"]
    assert cut["cost_usd"] <= free["cost_usd"]


def test_an_unknown_price_is_unknown_with_the_key_to_give(tmp_path, capsys):
    job = write_job(tmp_path, provider=provider("http://127.0.0.1:9/v1"))
    out = text(job, capsys, "--set", "budget.cost_usd=1")
    assert (
        "  cost: unknown; litellm knows no price of this model: give `provider.price_per_mtok"
        in out
    )
    assert "`run` will refuse: `budget.cost_usd` cannot be kept without a price" in out
    assert shown(job, capsys)["most"]["cost_usd"] is None


def test_ask_makes_one_call_and_shows_what_came_of_it(tmp_path, capsys):
    said = plan(proposal(2), proposal(4, work="maybe"), proposal(7))
    with ScriptedServer([reply(said)]) as server:  # a second request would be refused
        job = write_job(tmp_path, provider=provider(server.base_url), dependencies="infer")
        out = text(job, capsys, "--ask")
        assert len(server.requests) == 1
    assert "one plan: 2 proposals, 1 rejected, 11 + 7 tokens, cost unknown\n" in out
    assert "  1: rejected: work: `maybe` is no category; use one of yes, no\n" in out
    assert "kind 7 (count 27)" in out
    assert "20 records from the proposals of the plan" in out


def test_ask_makes_one_call_even_when_nothing_can_be_read(tmp_path, capsys):
    with ScriptedServer([reply("Sorry.")]) as server:
        job = write_job(tmp_path, provider=provider(server.base_url))
        found = shown(job, capsys, "--ask")
        assert len(server.requests) == 1
    assert found["plan"]["proposals"] == []
    assert found["plan"]["problem"]
    assert found["records_from"] == "background"


def test_records_keep_the_rules_and_tables_say_what_they_are(tmp_path, capsys):
    job = write_job(tmp_path, tables=[
        {"file": "age_work.csv"},
        {"file": "mode.csv", "weight": 2.0},
        {"file": "work_mode.csv", "role": "validate"},
    ])  # fmt: skip
    found = shown(job, capsys)
    assert len(found["records"]) == 20
    assert not any(r["age"] > 85 and r["mode"] == "car" for r in found["records"])
    assert [(t["name"], t["scope"], t["cells"], t["role"], t["soft"]) for t in found["tables"]] == [
        ("age_work", ["age", "work"], 6, "control", False),
        ("mode", ["mode"], 3, "control", True),
        ("work_mode", ["work", "mode"], 6, "validate", False),
    ]
    assert found == shown(job, capsys)  # the same seed, the same records


def test_without_a_model_there_is_nothing_to_ask(tmp_path, capsys):
    job = write_job(tmp_path)
    out = text(job, capsys)
    assert "no model is asked: there is no prompt" in out
    assert "the most that a run can use\n  no calls, no tokens, no cost\n" in out
    assert main(["preview", str(job), "--ask"]) == 2
    assert capsys.readouterr().err == (
        "error: `--ask`: the job names no model (`provider.model: none`)\n"
    )


def test_append_is_previewed_with_its_own_calls(tmp_path, capsys):
    job = write_job(tmp_path, provider=provider("http://127.0.0.1:9/v1"))
    most = shown(job, capsys, "--set", "engine.method=append")["most"]
    assert (most["plan_calls"], most["repair_calls"]) == (6, 6)


def test_help_has_an_example(capsys):
    assert main(["preview", "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example: llmsynthor preview configs/trips.yaml" in out
