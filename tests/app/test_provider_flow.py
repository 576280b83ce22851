"""Whole runs through the real litellm client and real HTTP to a scripted server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from scripted_server import ScriptedServer, error, half, hang, reply
from small_job import data_hash, plan, plan_for, proposal, provider, report, write_job

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


def run(folder: Path, server: ScriptedServer, *options: str, **more) -> int:
    job = write_job(folder, provider=provider(server.base_url, **more))
    return main(["run", str(job), "--out", str(folder / "out"), "-q", *options])


def lines(folder: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (folder / "out" / name).read_text().splitlines()]


@pytest.mark.slow
def test_a_run_survives_what_providers_do(tmp_path):
    bad = [
        proposal(4, work="maybe"),
        proposal(5, age=[10, 200]),
        {"reason": "no values", "count": 3},
    ]
    good = [proposal(i) for i in range(6, 11)]
    steps = [
        error(429, retry_after=1),
        reply(plan(proposal(1))),
        error(500),
        reply(plan(proposal(2))),
        hang(600),
        reply(plan(proposal(3))),
        half(plan(*(proposal(i) for i in range(20, 28)))),
        reply(plan(*bad, *good)),
        reply("Sorry, I cannot."),
        reply(plan(proposal(30))),
    ]
    with ScriptedServer(steps, default=plan_for) as server:
        assert run(tmp_path, server, concurrency=1, timeout_s=3.0) == 0
        assert len(server.requests) == 10
    found = report(tmp_path / "out")
    refused = [
        line["problem"] for line in lines(tmp_path, "proposals.jsonl") if not line["accepted"]
    ]
    assert "work: `maybe` is no category; use one of yes, no" in refused
    assert "age: the range 10 to 200 reaches outside 18 to 90" in refused
    assert "a proposal needs `reason`, `count` and an object `values`" in refused
    assert found["pass"] is True
    assert found["records"]["made"] == 600
    assert found["llm"]["calls"] == 7  # six plans and one repair
    assert found["llm"]["cost_usd"] is None
    assert found["llm"]["prompt_tokens"] == 7 * 11
    assert [line["calls"] for line in lines(tmp_path, "iterations.jsonl") if line["iteration"]] == [
        2,
        2,
        3,
    ]


def test_the_prompt_shows_gaps_with_both_shares_and_what_was_refused(tmp_path):
    steps = [reply(plan(proposal(1, work="maybe"), proposal(2)))]
    with ScriptedServer(steps, default=plan_for) as server:
        assert run(tmp_path, server, concurrency=1) == 0
        prompts = [body["messages"][-1]["content"] for body in server.bodies]
    assert "- work=yes: target 66.7 %\n" in prompts[0]
    assert "- age with mode\n- work with mode\n" in prompts[0]
    assert "the old do not drive: forbid: age > 85 AND mode = 'car'" in prompts[0]
    assert "work: `maybe` is no category; use one of yes, no" in prompts[2]
    assert all("work_mode" not in prompt and "target 43.3 %" not in prompt for prompt in prompts)
    assert server.bodies[0]["response_format"]["type"] == "json_schema"


def test_variables_left_open_follow_the_tables_and_records_are_explained(tmp_path, capsys):
    kinds = [proposal(n, age="*") | {"count": 100} for n in range(4)]
    kinds.append(
        {"reason": "anybody", "count": 1, "values": dict.fromkeys(("age", "work", "mode"), "*")}
    )
    with ScriptedServer(default=lambda _: reply(plan(*kinds))) as server:
        assert run(tmp_path, server, concurrency=1) == 0
        prompt = server.bodies[2]["messages"][-1]["content"]
    found = report(tmp_path / "out")
    assert {t["tvd"] for t in found["tables"] if t["role"] == "control"} == {0.0}
    assert found["llm"]["proposals"]["rejected"] == 0
    gaps = [
        line for line in prompt.splitlines() if line.startswith("- age=") and "work" not in line
    ]
    assert gaps == []  # open in every proposal, age lacks nothing
    told = []
    for number in range(20):
        capsys.readouterr()
        assert main(["explain", str(tmp_path / "out"), "--record", str(number), "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out)["proposal"])
    from_proposals = [words for words in told if words]
    assert from_proposals
    assert all(words["inside"]["age"] is True for words in from_proposals)


def test_concurrency_does_not_change_the_data(tmp_path):
    hashes = []
    for name, concurrency in (("one", 1), ("two", 2)):
        with ScriptedServer(default=plan_for) as server:
            assert run(tmp_path / name, server, concurrency=concurrency) == 0
        hashes.append(data_hash(tmp_path / name / "out"))
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize(
    ("limit", "stop"), [("calls=3", "budget.calls 3"), ("tokens=9000", "budget.tokens 9000")]
)
def test_a_limit_stops_asking_and_the_records_are_made_all_the_same(tmp_path, limit, stop):
    with ScriptedServer(default=plan_for) as server:
        assert run(tmp_path, server, "--set", f"budget.{limit}") == 0
        assert 0 < len(server.requests) <= 3
    found = report(tmp_path / "out")
    assert found["stop_reason"] == stop
    assert found["records"]["made"] == 600


def test_a_cost_limit_without_a_price_is_refused(tmp_path, capsys):
    with ScriptedServer(default=plan_for) as server:
        assert run(tmp_path, server, "--set", "budget.cost_usd=1") == 2
        assert not server.requests
    assert "budget.cost_usd: the price of this model is unknown" in capsys.readouterr().err


def test_a_refusing_provider_ends_with_4_and_keeps_the_replies(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TINY_KEY", "sk-secret-123456")
    steps = [
        reply(plan(proposal(1))),
        reply(plan(proposal(2))),
        error(401, message="bad key sk-secret-123456"),
    ]
    with ScriptedServer(steps, default=lambda _: error(401)) as server:
        assert run(tmp_path, server, concurrency=1, api_key_env="TINY_KEY") == 4
    assert len(lines(tmp_path, "replies.jsonl")) == 2
    assert "sk-secret" not in capsys.readouterr().err
    written = [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert not any(b"sk-secret" in p.read_bytes() for p in written)
    with ScriptedServer(default=plan_for) as server:
        job = tmp_path / "job.yaml"
        job.write_text(job.read_text().replace("TINY_KEY", "TINY_KEY"))
        address = f"provider.api_base={server.base_url}"
        assert (
            main(["run", str(job), "--out", str(tmp_path / "out"), "--resume", "--set", address])
            == 2
        )


def test_a_dead_server_ends_with_75(tmp_path):
    with ScriptedServer() as server:
        address = server.base_url
    job = write_job(tmp_path, provider=provider(address, retries=0))
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 75


def test_dependency_groups_reach_the_prompts_and_the_report(tmp_path):
    groups = reply('{"groups": [["mode", "age"], ["age", "moon"]]}')
    with ScriptedServer([groups], default=plan_for) as server:
        assert run(tmp_path, server, "--set", "dependencies=infer", concurrency=1) == 0
        prompts = [body["messages"][-1]["content"] for body in server.bodies]
    found = report(tmp_path / "out")
    assert found["dependencies"] == [
        {
            "variables": ["age", "mode"],
            "how": "none",
            "table": None,
            "pairs_without_table": [["age", "mode"]],
        }
    ]
    assert "- no table is given for (age, mode): rely on how the world is\n" in prompts[1]
    assert "left out of the groups of dependent variables: `moon`, no variable" in found["notes"]
