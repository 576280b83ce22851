"""A scenario in the prompts and the report, and the tables that it frees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from scripted_server import ScriptedServer, reply
from small_job import job_content, plan, proposal, provider, report, write_job

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

STRIKE = "All buses are on strike."


def run(folder: Path, scenario: Any, **changes: Any) -> tuple[str, dict[str, Any]]:
    """Run with proposals in which nobody takes a bus; return the first prompt and the report."""
    kinds = [proposal(n, mode={"car": 2, "walk": 1}, age=[18, 85]) for n in range(6)]
    with ScriptedServer(default=lambda _: reply(plan(*kinds))) as server:
        told = provider(server.base_url, concurrency=1)
        job = write_job(folder, provider=told, scenario=scenario, **changes)
        assert main(["run", str(job), "--out", str(folder / "out"), "-q"]) == 0
        return server.bodies[0]["messages"][-1]["content"], report(folder / "out")


def test_a_released_table_is_scored_and_follows_the_scenario(tmp_path):
    prompt, found = run(tmp_path, {"text": STRIKE, "release": ["mode"]})
    assert f"Assume that this holds: {STRIKE}\nIt changes what these tables counted" in prompt
    assert (
        '"car" 50.0 %, "bus" 30.0 %, "walk" 20.0 % (before the scenario; give the shares in it)'
        in prompt
    )
    assert "- mode=" not in prompt
    assert found["scenario"] == {"text": STRIKE, "released": ["mode"]}
    scores = {table["name"]: table for table in found["tables"]}
    assert scores["mode"]["role"] == "released"
    assert scores["mode"]["pass"] is None
    assert scores["mode"]["tvd"] > 0.15
    assert scores["age_work"]["tvd"] == scores["work"]["tvd"] == 0.0
    assert found["pass"] is True
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Tables freed by the scenario" in page
    assert STRIKE in page


@pytest.mark.parametrize(
    ("release", "words", "shown"),
    [
        (["mode"], "It changes what these tables counted: mode.", " (before the scenario)"),
        ([], "The shares below hold in it all the same", ""),
    ],
)
def test_the_focus_style_says_what_a_scenario_changes(tmp_path, release, words, shown):
    engine = job_content()["engine"] | {"plan_style": "focus"}
    values = {"age": ["18-39"], "work": ["*"], "mode": ["walk"]}
    with ScriptedServer(default=lambda _: reply(json.dumps({"values": values}))) as server:
        told = provider(server.base_url, concurrency=1)
        scenario = {"text": STRIKE, "release": release}
        job = write_job(tmp_path, provider=told, scenario=scenario, engine=engine)
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
        asked = [body["messages"][-1]["content"] for body in server.bodies]
        schemas = [
            body["response_format"]["json_schema"]["schema"]["properties"]["values"]["properties"]
            for body in server.bodies
        ]
    lines = [
        line for text in asked for line in text.splitlines() if line.startswith("- mode: car ")
    ]
    assert lines
    assert set(lines) == {f"- mode: car 50%, bus 30%, walk 20%{shown}"}
    for text, schema in zip(asked, schemas, strict=True):
        assert f"Assume that this holds: {STRIKE}\n{words}" in text
        wanted = text.split("# The kind of record that is wanted\n")[1].split("\n\n")[0]
        assert not (release and wanted.startswith("- mode: ") and "\n" in wanted)
        looked = "this goes with the wanted kind\nmode\n" in text
        if "mode" in schema:  # what the scenario changes must not be left to the tables
            assert ("*" in schema["mode"]["items"]["enum"]) == (not release and not looked)
    assert report(tmp_path / "out")["llm"]["proposals"]["rejected"] == 0


@pytest.mark.parametrize("scenario", [STRIKE, {"text": STRIKE}])
def test_without_release_the_report_says_that_the_tables_hold(tmp_path, scenario):
    prompt, found = run(tmp_path, scenario)
    assert f"{STRIKE}\nThe shares below hold in it all the same" in prompt
    assert any("the scenario frees no table: the control tables hold" in n for n in found["notes"])
    assert {t["name"]: t["tvd"] for t in found["tables"]}["mode"] == 0.0


def test_a_released_table_that_another_one_fixes_is_named(tmp_path):
    _, found = run(tmp_path, {"text": "Nobody works.", "release": ["work"]})
    assert found["notes"][0] == (
        "the scenario frees `work`, but `age_work` gives the same figures and is met: release it too"
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["buses"],
            "43:5: scenario.release.0: `buses` is no table (tables: age_work, work, mode, work_mode)",
        ),
        (
            ["work_mode"],
            "43:5: scenario.release.0: `work_mode` has `role: validate` and is not met anyway",
        ),
        (
            ["age_work", "work", "mode"],
            "42:3: scenario.release: every control table is freed, so nothing would be met",
        ),
    ],
)
def test_a_wrong_release_is_an_error(tmp_path, capsys, names, message):
    job = write_job(tmp_path, scenario={"text": STRIKE, "release": names})
    assert main(["validate", str(job)]) == 2
    assert capsys.readouterr().err == f"error: {job}:{message}\n"
