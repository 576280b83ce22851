"""Whole prompts, compared with the reviewed files in `tests/prompts/`, and how long they get.

After a wanted change: `REGENERATE=1 python -m pytest tests/test_prompts.py`, then read the diff.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from scripted_server import ScriptedServer, Step, reply
from small_job import TABLES, plan, plan_for, proposal, provider, write_job

from llmsynthor.cli import main
from llmsynthor.providers.litellm_provider import load_litellm

if TYPE_CHECKING:
    from collections.abc import Callable

REVIEWED = Path(__file__).parent / "prompts"
TRIPS = Path(__file__).parents[1] / "configs" / "trips.yaml"


def tokens(text: str) -> int:
    """Return the tokens as litellm counts them for a model of OpenAI's, without a network."""
    return int(load_litellm().token_counter(model="gpt-4o", text=text))


def asked(server: ScriptedServer) -> list[str]:
    return [body["messages"][-1]["content"] for body in server.bodies]


def prompts_of(job: Path, steps: list[Step], default: Callable[..., Step], *more: str) -> list[str]:
    """Run a job on the scripted server; return the prompts in the order of asking."""
    out = str(job.parent / "out")
    with ScriptedServer(steps, default=default) as server:
        options = ["--set", f"provider.api_base={server.base_url}", *more]
        assert main(["run", str(job), "--out", out, "-q", *options]) in (0, 3)
        return asked(server)


def test_whole_prompts_are_as_reviewed(tmp_path):
    groups = reply('{"groups": [["mode", "age"], ["work", "age"], ["age", "moon"]]}')
    steps = [groups, *(reply(plan(*(proposal(9 * n + i) for i in range(8)))) for n in range(2))]
    steps += [reply("I would rather not.")]
    job = write_job(
        tmp_path,
        provider=provider("http://localhost", concurrency=1),
        dependencies="infer",
        scenario="Fuel costs twice as much.",
    )
    prompts = prompts_of(job, steps, plan_for)
    found = {
        "dependencies": prompts[0],
        "first_plan": prompts[1],
        "later_plan": prompts[3],
        "repair": prompts[5],
    }
    for name, prompt in found.items():
        path = REVIEWED / f"{name}.txt"
        if os.environ.get("REGENERATE"):
            path.write_text(prompt + "\n", encoding="utf-8")
        assert prompt + "\n" == path.read_text(encoding="utf-8"), name


def test_each_call_has_a_focus_and_knows_those_of_the_others(tmp_path):
    job = write_job(tmp_path, provider=provider("http://localhost", concurrency=1))
    prompts = prompts_of(job, [], plan_for, "--set", "engine.calls_per_iteration=3")
    for first in range(0, 9, 3):
        mine = [after(p, "# Your focus\n") for p in prompts[first : first + 3]]
        assert len({*mine}) == 3
        for number, prompt in enumerate(prompts[first : first + 3]):
            others = [f"- {focus}" for i, focus in enumerate(mine) if i != number]
            assert "# Taken by the others\n" + "\n".join(others) in prompt
    turns = [after(prompts[first + 1], "# Your focus\n") for first in (0, 3)]
    assert turns == [
        "how age, mode go together (no table is given)",
        "how work, mode go together (no table is given)",
    ]


def after(prompt: str, heading: str) -> str:
    return prompt.split(heading)[1].split("\n")[0]


def test_one_call_has_no_focus_and_the_paper_loop_no_view(tmp_path):
    job = write_job(tmp_path, provider=provider("http://localhost"))
    prompts = prompts_of(job, [], plan_for, "--set", "engine.method=append")
    assert not any("# Your focus" in p or "# What there is" in p for p in prompts)
    assert not any("This is call" in p for p in prompts)


def values_for(content: dict[str, Any], seed: int) -> dict[str, Any]:
    return {
        name: spec["values"][(seed * 7 + i) % len(spec["values"])]
        for i, (name, spec) in enumerate(content["variables"].items())
    }


def many(content: dict[str, Any]) -> Callable[[dict[str, Any]], Step]:
    """Return a server's answers: plans that differ with each request."""
    seeds = iter(range(10_000))

    def answer(_: dict[str, Any]) -> Step:
        kinds = [
            {"reason": "many words " * 30, "count": 50 + n, "values": values_for(content, n)}
            for n in [next(seeds) for _ in range(8)]
        ]
        broken = {"reason": "r", "count": 3, "values": {"nothing " * 40: "x" * 400}}
        return reply(json.dumps({"proposals": [*kinds, broken]}))

    return answer


def test_the_trips_prompt_stays_short_at_every_iteration(tmp_path):
    content = yaml.safe_load(TRIPS.read_text())
    for table in content["tables"]:
        table["file"] = str(TRIPS.parent / table["file"])
    content["provider"] = provider("http://localhost", concurrency=1)
    content["engine"] |= {"candidates": 2000, "pilot_share": 0.0}
    content |= {"rules": [], "records": 2000}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    groups = [["mode", "age_band"], ["period", "worker", "purpose"], ["mode", "purpose"]]
    wanted = f"dependencies={json.dumps(groups)}"
    prompts = prompts_of(tmp_path / "job.yaml", [], many(content), "--set", wanted)
    assert len(prompts) == 24
    assert max(tokens(prompt) for prompt in prompts) < 3500
    assert max(map(len, prompts[12:])) < 1.1 * max(map(len, prompts[4:12]))


def wide_job(folder: Path, sizes: dict[str, int], scopes: list[tuple[str, ...]]) -> Path:
    variables = {
        name: {
            "type": "category",
            "values": [f"{name} value {code:03d}" for code in range(size)],
            "description": f"What {name} says of a person, in a sentence of a usual length here.",
        }
        for name, size in sizes.items()
    }
    for number, scope in enumerate(scopes):
        cells = [()]
        for name in scope:
            cells = [(*cell, v) for cell in cells for v in variables[name]["values"]]
        rows = [f"{','.join(cell)},{1 / len(cells)!r}" for cell in cells]
        (folder / f"t{number}.csv").write_text("\n".join([",".join([*scope, "share"]), *rows]))
    content = {
        "version": 1,
        "name": "wide",
        "records": 2000,
        "variables": variables,
        "tables": [{"file": f"t{n}.csv"} for n in range(len(scopes))],
        "dependencies": [list(pair) for pair in zip(sizes, list(sizes)[1:], strict=False)][:40],
        "provider": provider("http://localhost", concurrency=1, structured="text"),
        "engine": {
            "iterations": 2,
            "calls_per_iteration": 8,
            "pilot_share": 0.0,
            "candidates": 2000,
        },
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder / "job.yaml"


@pytest.mark.parametrize(
    ("sizes", "scopes"),
    [
        (
            {f"variable_{n:02d}": 4 + n % 9 for n in range(60)},
            [*((f"variable_{n:02d}",) for n in range(60)), ("variable_00", "variable_01")],
        ),
        ({"zone": 781, "sex": 2, "age": 9}, [("zone", "sex"), ("zone", "age")]),
        ({"job": 300, "branch": 300, "sex": 2}, [("job",), ("branch",), ("job", "sex")]),
    ],
    ids=["60 variables", "781 zones", "300 categories"],
)
def test_prompts_of_large_jobs_are_bounded(tmp_path, sizes, scopes):
    job = wide_job(tmp_path, sizes, scopes)
    content = yaml.safe_load(job.read_text())
    prompts = prompts_of(job, [], many(content))
    assert len(prompts) == 16
    assert max(tokens(prompt) for prompt in prompts) < 8000
    if "zone" in sizes:
        assert "and 741 more values with smaller shares" in prompts[0]
        gaps = [line for line in prompts[-1].splitlines() if line.startswith("- zone=")]
        assert len(gaps) <= 17  # 3 of each of 3 statistics, and 8 too frequent
        assert "- sex=sex value 000: target 50.0 %" in prompts[0]  # summed from the zones' table
    if "job" in sizes:
        assert prompts[0].count("and 260 more values with smaller shares") == 2


def test_a_group_inside_a_larger_table_is_read_from_it(tmp_path):
    whole = "age,work,mode,count\n" + "\n".join(
        f"{age},{work},{mode},{count}"
        for age, work, count in [("18-39", "yes", 50), ("40-90", "no", 30), ("40-90", "yes", 20)]
        for mode in ("car", "bus", "walk")
    )
    job = write_job(
        tmp_path,
        provider=provider("http://localhost", concurrency=1),
        tables=[{"file": "whole.csv"}],
        rules=[],
        dependencies=[["age", "work"]],
    )
    assert set(TABLES) <= {p.name for p in tmp_path.iterdir()}
    (tmp_path / "whole.csv").write_text(whole)
    prompts = prompts_of(job, [], plan_for)
    assert "- age, work (a larger table gives the figures)" in prompts[0]
    assert "- age=18-39, work=yes: target 50.0 %" in prompts[0]
    assert "- work=yes: target 70.0 %" in prompts[0]
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert found["dependencies"][0]["how"] == "inside"
    assert found["dependencies"][0]["table"] == "whole"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "inside the larger table whole" in page
