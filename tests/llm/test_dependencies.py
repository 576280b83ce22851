"""The call that asks which variables depend on each other: its form, its cost, and replies that fail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from scripted_server import ScriptedServer, Step, reply
from small_job import local_answer, plan, plan_for, proposal, provider, report, write_job
from stand_in_library import install

from llmsynthor.cli.main import main
from llmsynthor.llm.prompts.groups import groups_schema, holds_groups, read_groups
from llmsynthor.targets.domain import Domain, Variable

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = Domain(tuple(Variable(name, "category", ("x", "y")) for name in "abcde"))
GROUPS = '{"groups": [["mode", "age"]]}'


def run(folder: Path, steps: list[Step], *options: str, **more: Any) -> tuple[int, list[Any]]:
    with ScriptedServer(steps, default=plan_for) as server:
        prices = {"price_per_mtok": {"input": 10.0, "output": 70.0}}
        told = provider(server.base_url, concurrency=1, retries=0, **prices)
        job = write_job(folder, provider=told, dependencies="infer", **more)
        code = main(["run", str(job), "--out", str(folder / "out"), "-q", *options])
        return code, list(server.bodies)


def test_the_reply_is_held_to_groups_of_variables(tmp_path):
    _, bodies = run(tmp_path, [reply(GROUPS)])
    form = bodies[0]["response_format"]["json_schema"]
    assert (form["name"], form["strict"]) == ("dependencies", True)
    names = form["schema"]["properties"]["groups"]["items"]["items"]["enum"]
    assert names == ["age", "work", "mode"]
    assert "(age, mode): rely on how the world is" in bodies[1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("groups", "valid"),
    [
        ([["a", "b"]], True),
        ([], True),
        ([["a", "b", "c", "d"]] * 12, True),
        ([["a"]], False),
        ([["a", "b", "c", "d", "e"]], False),
        ([["a", "moon"]], False),
        ([["a", "b"]] * 13, False),
    ],
)
def test_the_schema_takes_what_is_asked_for(groups, valid):
    schema = jsonschema.Draft202012Validator(groups_schema(DOMAIN))
    assert schema.is_valid({"groups": groups}) == valid


def test_very_many_variables_are_not_listed():
    many = Domain(tuple(Variable(f"v{n}", "category", ("x",)) for n in range(501)))
    schema = groups_schema(many)
    assert len(json.dumps(schema)) < 400
    assert jsonschema.Draft202012Validator(schema).is_valid({"groups": [["v1", "v500"]]})


@pytest.mark.parametrize(
    ("text", "groups", "readable"),
    [
        ('{"groups": [["a", "b"]]}', [["a", "b"]], True),
        ('Of course:\n```json\n[["b", "a", "moon"]]\n```', [["a", "b"]], True),
        ('{"groups": []}', [], True),
        ('{"groups": [["a"]]}', [], True),
        ("I [cannot] say.", [], False),
        ('{"groups": "none"}', [], False),
        ("", [], False),
    ],
)
def test_a_reply_is_read_as_far_as_it_can_be(text, groups, readable):
    assert read_groups(text, DOMAIN)[0] == groups
    assert holds_groups(text) == readable


def test_the_curve_ends_at_what_the_run_used_with_the_call_for_groups_and_repairs(tmp_path):
    wrong = reply(plan(proposal(1, work="maybe")))
    steps = [reply(GROUPS, prompt_tokens=1000, completion_tokens=300), wrong]
    assert run(tmp_path, steps)[0] == 0
    found = report(tmp_path / "out")
    used, points = found["llm"], found["convergence"]
    assert used["calls"] == 1 + 6 + used["repair_calls"]
    assert used["repair_calls"] == 1
    assert points[0]["calls"] == 1 + 3
    assert points[0]["tokens"] == 1300 + 3 * 18
    assert points[0]["cost_usd"] == pytest.approx((1000 + 33) * 10e-6 + (300 + 21) * 70e-6)
    last = points[-1]
    assert last["calls"] == used["calls"]
    assert last["cost_usd"] == used["cost_usd"]
    assert last["tokens"] == used["prompt_tokens"] + used["completion_tokens"]
    before = (tmp_path / "out" / "report.json").read_bytes()
    assert (
        main(["run", str(tmp_path / "job.yaml"), "--out", str(tmp_path / "out"), "-q", "--replay"])
        == 0
    )
    again = json.loads(before)["convergence"], report(tmp_path / "out")["convergence"]
    assert again[0] == again[1]


@pytest.mark.parametrize(("text", "unread"), [("I cannot say.", 1), (GROUPS, 0), ("[]", 0)])
def test_a_reply_without_groups_counts_as_unread(tmp_path, text, unread):
    assert run(tmp_path, [reply(text), reply("Sorry.")])[0] == 0
    found = report(tmp_path / "out")
    assert found["llm"]["calls"] == 8
    assert found["llm"]["unread_replies"] == 1 + unread
    assert found["llm"]["parse_failure_rate"] == pytest.approx((1 + unread) / 8)
    note = "the reply on which variables depend on each other could not be read"
    assert (note in found["notes"]) == bool(unread)


def test_a_budget_of_one_call_is_spent_on_the_groups_and_counted(tmp_path):
    code, bodies = run(tmp_path, [reply("I cannot say.")], budget={"calls": 1})
    assert (code, len(bodies)) == (0, 1)
    found = report(tmp_path / "out")
    assert (found["llm"]["unread_replies"], found["llm"]["parse_failure_rate"]) == (1, 1.0)
    assert found["convergence"] == []


def test_a_local_model_gets_a_grammar_for_groups(tmp_path, monkeypatch):
    library = install(tmp_path / "library", monkeypatch)
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    job = write_job(tmp_path, provider={"model": "local:m.gguf"}, dependencies="infer")
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    first = library.lines("requests")[0]
    assert first["grammar"].startswith('root ::= "{\\"groups\\":"')
    assert json.loads(local_answer(first, 1)) == {"groups": [["age", "mode"]]}
    assert report(tmp_path / "out")["dependencies"][0]["variables"] == ["age", "mode"]
