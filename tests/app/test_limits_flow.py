"""Whole runs at their limits: budgets, hopeless providers, gaps in the replies, forms refused."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from scripted_server import ScriptedServer, Step, error, reply
from small_job import data_hash, job_content, plan, plan_for, proposal, provider, report, write_job

from llmsynthor.cli.main import main
from llmsynthor.errors import ProviderUnavailableError
from llmsynthor.llm.ask import HOPELESS, LEAST_SEEN, Outlook
from llmsynthor.llm.providers.base import Reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REPLY = Reply(text="{}", model="tiny")
PRICE = {"input": 1.0, "output": 2.0}


def engine(**changes: Any) -> dict[str, Any]:
    return job_content()["engine"] | changes


def run(folder: Path, server: ScriptedServer, *options: str, **more: Any) -> int:
    shape = more.pop("engine", engine())
    budget = more.pop("budget", {})
    given = provider(server.base_url, retries=0, **more)
    job = write_job(folder, provider=given, engine=shape, budget=budget)
    return main(["run", str(job), "--out", str(folder / "out"), *options])


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out" / name).read_text().splitlines()]


def manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "manifest.json").read_text())


def costly(prompt: int, completion: int, *, usage: bool = True) -> Callable[[dict], Step]:
    """Answer with a plan that says it used so many tokens."""

    def answer(body: dict) -> Step:
        text = plan_for(body).body["choices"][0]["message"]["content"]
        return reply(text, prompt_tokens=prompt, completion_tokens=completion, usage=usage)

    return answer


@pytest.mark.slow
def test_concurrency_and_order_of_arrival_change_nothing(tmp_path):
    seen = []
    for name, concurrency in (("one", 1), ("eight", 8), ("eight again", 8)):
        delays = random.Random(name)

        def late(body: dict, delays: random.Random = delays) -> Step:
            time.sleep(delays.random() * 0.06)
            return plan_for(body)

        crowded = [error(429)] if concurrency == 8 else []
        with ScriptedServer(crowded, default=late) as server:
            shape = engine(calls_per_iteration=8, iterations=2)
            given = provider(server.base_url, concurrency=concurrency)
            job = write_job(tmp_path / name, provider=given, engine=shape)
            assert main(["run", str(job), "--out", str(tmp_path / name / "out"), "-q"]) == 0
        proposals = (tmp_path / name / "out" / "proposals.jsonl").read_bytes()
        seen.append((data_hash(tmp_path / name / "out"), proposals))
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.parametrize(
    ("budget", "stop", "calls"),
    [
        ({"calls": 5}, "budget.calls 5", 5),
        ({"calls": 0}, "budget.calls 0", 0),
        ({"tokens": 20_000}, "budget.tokens 20000", 5),
        ({"cost_usd": 0.01}, "budget.cost_usd 0.01", 1),
    ],
)
@pytest.mark.slow
def test_a_limit_is_not_crossed_and_all_records_are_aligned(tmp_path, budget, stop, calls):
    with ScriptedServer(default=costly(1500, 1400)) as server:
        shape = engine(iterations=30)
        code = run(
            tmp_path, server, "-q", budget=budget, engine=shape,
            price_per_mtok=PRICE, max_output_tokens=2000,
        )  # fmt: skip
        assert len(server.requests) == calls
    found = report(tmp_path / "out")
    assert code == 0
    assert found["stop_reason"] == stop
    assert found["records"] == {"asked": 600, "made": 600}
    assert found["pass"] is True
    assert found["llm"]["prompt_tokens"] + found["llm"]["completion_tokens"] <= 20_000
    assert found["llm"]["cost_usd"] == pytest.approx(calls * (1500 + 2 * 1400) / 1e6)


def test_litellm_knows_the_price_of_a_known_model(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-0123456789")
    with ScriptedServer(default=costly(20_000, 2000)) as server:
        given = {"model": "openai/gpt-4.1-nano", "api_key_env": "SOME_KEY", "concurrency": 1}
        assert run(tmp_path, server, "-q", budget={"cost_usd": 0.01}, **given) == 0
    found = report(tmp_path / "out")
    assert found["stop_reason"] == "budget.cost_usd 0.01"
    assert found["llm"]["calls"] == 3  # the two first were longer than estimated, so it learns
    assert 0 < found["llm"]["cost_usd"] <= 0.01


def test_a_server_that_does_not_say_its_use_is_taken_at_the_most(tmp_path, capsys):
    with ScriptedServer(default=costly(0, 0, usage=False)) as server:
        shape = engine(iterations=30)
        assert run(tmp_path, server, budget={"tokens": 20_000}, engine=shape) == 0
        assert 0 < len(server.requests) <= 4
    found = report(tmp_path / "out")
    assert found["llm"]["cost_usd"] is None
    assert "cost_usd=unknown" in capsys.readouterr().err


def again(folder: Path, *options: str) -> int:
    return main(["run", str(folder / "job.yaml"), "--out", str(folder / "out"), "-q", *options])


def test_a_limit_holds_when_a_run_was_cut_in_the_middle_of_an_iteration(tmp_path):
    shape = engine(calls_per_iteration=4)
    steps = [plan_step(1), plan_step(2), error(401)]
    with ScriptedServer(steps, default=plan_for) as server:
        assert run(tmp_path, server, "-q", engine=shape, budget={"calls": 3}, concurrency=1) == 4
        assert len(lines(tmp_path, "replies.jsonl")) == 2
        assert again(tmp_path, "--resume") == 0
        assert len(server.requests) == 4
    found = report(tmp_path / "out")
    assert (found["llm"]["calls"], found["stop_reason"]) == (3, "budget.calls 3")


def plan_step(seed: int) -> Step:
    return reply(plan(proposal(seed)))


def test_a_provider_that_refuses_is_not_asked_the_rest(tmp_path):
    shape = engine(calls_per_iteration=40)
    with ScriptedServer([plan_step(1)], default=lambda _: error(401)) as server:
        assert run(tmp_path, server, "-q", engine=shape, concurrency=2) == 4
        assert len(server.requests) <= 4
    assert len(lines(tmp_path, "replies.jsonl")) == 1
    assert manifest(tmp_path)["exit_code"] == 4


def test_a_hopeless_provider_ends_the_run_with_75_and_a_resumed_run_goes_on(tmp_path, capsys):
    shape = engine(calls_per_iteration=40, iterations=1)
    steps = [plan_step(1), *[error(502)] * HOPELESS]
    with ScriptedServer(steps, default=plan_for) as server:
        assert run(tmp_path, server, "-q", engine=shape, concurrency=1) == 75
        assert len(server.requests) == 1 + HOPELESS
        told = capsys.readouterr().err
        assert f"error: {HOPELESS} calls in a row brought no reply: `tiny` at " in told
        assert "run the same command with `--resume` later" in told
        assert len(lines(tmp_path, "replies.jsonl")) == 1
        assert again(tmp_path, "--resume") == 0
        assert len(server.requests) == 1 + HOPELESS + 39
    assert report(tmp_path / "out")["llm"]["failed_calls"] == 0


def test_failures_in_a_row_are_counted_over_iterations(tmp_path):
    shape = engine(calls_per_iteration=4, iterations=9)
    # two failures, a reply, then six: the first of those two are not in a row with them
    steps = [plan_step(1), plan_step(2), error(502), error(502), plan_step(3)]
    with ScriptedServer(steps, default=lambda _: error(502)) as server:
        assert run(tmp_path, server, "-q", engine=shape, concurrency=1) == 75
        assert len(server.requests) == 5 + HOPELESS
    made = lines(tmp_path, "iterations.jsonl")
    assert [line["failed_calls"] for line in made] == [2, 3]
    assert (tmp_path / "out" / "data" / "00000.parquet").exists()


def test_a_provider_that_mostly_fails_ends_the_run_and_what_came_is_kept(tmp_path, capsys):
    shape = engine(calls_per_iteration=40, iterations=1)
    steps = [step for n in range(2) for step in (plan_step(n), *[error(502)] * 4)]
    with ScriptedServer(steps, default=plan_for) as server:
        assert run(tmp_path, server, "-q", engine=shape, concurrency=1) == 75
        assert len(server.requests) == LEAST_SEEN
        told = capsys.readouterr().err
        assert "error: 8 of the last 10 calls brought no reply: `tiny` at " in told
        assert len(lines(tmp_path, "replies.jsonl")) == 2
        assert again(tmp_path, "--resume") == 0
        assert len(server.requests) == LEAST_SEEN + 38


def test_only_the_last_calls_say_whether_a_run_is_hopeless():
    """A good beginning does not hide that hardly anything comes any more, nor a bad one the reverse."""
    down = ProviderUnavailableError("down")
    good, bad = [REPLY] * 40, [down, down, down, down, REPLY]
    hears = [*good, *bad * 4]
    outlook = Outlook()
    for outcome in hears[:-2]:
        outlook.hear(outcome)
    assert outlook.halt is None
    outlook = Outlook()
    for outcome in [*hears, down]:
        outlook.hear(outcome)
    assert str(outlook.halt) == "16 of the last 20 calls brought no reply: down"
    outlook = Outlook()
    for outcome in [REPLY, *([down] * 3 + [REPLY]) * 20]:
        outlook.hear(outcome)
    assert outlook.halt is None


def test_a_run_without_some_replies_is_the_same_when_resumed_or_replayed(tmp_path):
    """A reply that comes later must not shift the proposals that records point to."""
    steps = [plan_step(1), error(502), error(502), error(502)]
    with ScriptedServer(steps, default=plan_for) as server:
        assert run(tmp_path, server, "-q", concurrency=1) == 75  # iteration 2 had no reply at all
        batch = (tmp_path / "out" / "provenance" / "00000.parquet").read_bytes()
        assert again(tmp_path, "--resume") == 0
        assert len(server.requests) == 4 + 4  # the second request of iteration 1 is given up
    assert (tmp_path / "out" / "provenance" / "00000.parquet").read_bytes() == batch
    whole = data_hash(tmp_path / "out"), (tmp_path / "out" / "proposals.jsonl").read_bytes()
    assert again(tmp_path, "--replay") == 0
    assert (
        data_hash(tmp_path / "out"),
        (tmp_path / "out" / "proposals.jsonl").read_bytes(),
    ) == whole
    assert [r["given_up"] for r in lines(tmp_path, "replies.jsonl") if "given_up" in r] != []
    assert report(tmp_path / "out")["llm"]["failed_calls"] == 1


def test_the_form_that_a_server_takes_is_found_once_and_written_down(tmp_path):
    def picky(body: dict) -> Step:
        if body.get("response_format", {}).get("type") == "json_schema":
            return error(400, message="response_format json_schema is not supported")
        return plan_for(body)

    refused = [error(400, message="json_schema is not supported"), plan_step(1), error(401)]
    with ScriptedServer(refused, default=picky) as server:
        assert run(tmp_path, server, "-q", concurrency=1) == 4
        assert manifest(tmp_path)["structured"] == "json"
        before = len(server.requests)
        assert again(tmp_path, "--resume") == 0
        forms = [body["response_format"]["type"] for body in server.bodies]
    assert forms[0] == "json_schema"
    assert set(forms[1:before]) == {"json_object"}
    assert set(forms[before:]) == {"json_object"}
    assert manifest(tmp_path)["structured"] == "json"
    assert report(tmp_path / "out")["llm"]["structured"] == "json"
    assert "<code>structured: json</code>" in (tmp_path / "out" / "report.html").read_text()


def test_what_was_wrong_with_replies_is_counted_and_shown(tmp_path, capsys):
    wrong = [proposal(1, work="maybe"), proposal(2, age=[10, 200])]
    slips = [proposal(3, age=[60, 20]), proposal(4, mode="CAR"), proposal(5) | {"count": 10**9}]
    steps = [
        reply("Sorry, I cannot."),  # not readable; the repair is
        reply(plan(*wrong)),  # nothing usable; the repair mends it
        plan_step(6),
        reply(plan(*slips)),
    ]
    with ScriptedServer(steps) as server:
        shape = engine(iterations=1)
        assert run(tmp_path, server, engine=shape, concurrency=1) == 0
        assert len(server.requests) == 4
    found = report(tmp_path / "out")["llm"]
    assert found["calls"] == 4
    assert found["repair_calls"] == 2
    assert (found["unread_replies"], found["parse_failure_rate"]) == (1, 0.25)
    assert found["proposals"] == {"accepted": 4, "rejected": 2}
    assert found["rejection_rate"] == pytest.approx(1 / 3)
    assert found["mended"] == 3
    keys = {line["key"]: line["purpose"] for line in lines(tmp_path, "replies.jsonl")}
    asked = {p["id"]: keys[p["request"]] for p in lines(tmp_path, "proposals.jsonl")}
    repaired = dict.fromkeys((0, 3, 4, 5), "repair")
    assert asked == repaired | {1: "plan", 2: "plan"}  # where the refused ones stood
    accepted = [p for p in lines(tmp_path, "proposals.jsonl") if p["accepted"]]
    assert [p["id"] for p in accepted] == [0, 3, 4, 5]
    assert accepted[-1]["count"] == 600
    page = (tmp_path / "out" / "report.html").read_text()
    assert "2 rejected (33.3 %)" in page
    assert "1 reply could not be read (25.0 %)" in page
    assert "2 calls asked for a repair, 3 small slips" in page
    assert "tokens=72 cost_usd=unknown" in capsys.readouterr().err


def test_the_meter_goes_on_where_a_resumed_run_left_it(tmp_path, capsys):
    steps = [plan_step(1), plan_step(2), error(401)]
    with ScriptedServer(steps, default=plan_for) as server:
        given = {"concurrency": 1, "price_per_mtok": {"input": 1000.0, "output": 2000.0}}
        assert run(tmp_path, server, **given) == 4
        assert "calls=2 tokens=36 cost_usd=0.0500" in capsys.readouterr().err
        command = ["run", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "out"), "--resume"]
        assert main(command) == 0
    told = capsys.readouterr().err
    assert "calls=2 tokens=36 cost_usd=0.0500" in told
    assert "calls=6 tokens=108 cost_usd=0.1500" in told


def told(folder: Path) -> list[tuple[int, str]]:
    """Return id and reason of each proposal that a run accepted."""
    found = [json.loads(text) for text in (folder / "proposals.jsonl").read_text().splitlines()]
    return [(line["id"], line["reason"]) for line in found if line["accepted"]]


def test_a_recording_with_a_gap_is_replayed_to_its_end(tmp_path):
    steps = [reply(plan(proposal(1))), error(502)]
    with ScriptedServer(steps, default=plan_for) as server:
        assert run(tmp_path / "first", server, "-q", concurrency=1) == 0
    log = tmp_path / "first" / "out" / "replies.jsonl"
    assert "given_up" in log.read_text()
    recorded = {"model": "replay", "replies": str(log)}
    job = write_job(tmp_path / "second", provider=recorded)
    assert main(["run", str(job), "--out", str(tmp_path / "second" / "out"), "-q"]) == 0
    again = tmp_path / "second" / "out"
    assert told(again) == told(tmp_path / "first" / "out")
    assert len(told(again)) > 1
    assert report(again)["stop_reason"] == report(tmp_path / "first" / "out")["stop_reason"]
    assert data_hash(again) == data_hash(tmp_path / "first" / "out")


def test_a_repair_that_the_budget_refused_is_not_asked_after_all(tmp_path):
    """A resume with a larger budget must not shift the proposals that written records point to."""
    steps = [reply("I would rather not."), reply(plan(proposal(2)))]
    with ScriptedServer(steps, default=plan_for) as server:
        assert run(tmp_path, server, "-q", budget={"calls": 2}, concurrency=1) == 0
        before = told(tmp_path / "out")
        log = (tmp_path / "out" / "replies.jsonl").read_text().splitlines()
        assert [json.loads(x)["given_up"] for x in log if "given_up" in x] == ["budget.calls 2"]
        state = manifest(tmp_path) | {"status": "partial"}  # as if cut before the end
        (tmp_path / "out" / "manifest.json").write_text(json.dumps(state))
        assert run(tmp_path, server, "-q", "--resume", budget={"calls": 20}, concurrency=1) == 0
        assert not any("could not be used" in str(body) for body in server.bodies)
    assert told(tmp_path / "out")[: len(before)] == before
