"""`llmsynthor preview`: what a run would ask and cost, without asking."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import sys
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from scripted_server import ScriptedServer, reply
from small_job import APPEND, job_content, plan, proposal, provider, write_job
from stand_in_library import install
from zone_world import write_region

from llmsynthor.cli.main import main

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
    most = shown(job, capsys, *APPEND)["most"]
    assert (most["plan_calls"], most["repair_calls"]) == (6, 6)


def test_a_local_model_that_was_asked_ends_with_the_preview(tmp_path, capsys, monkeypatch):
    library = install(tmp_path / "library", monkeypatch)
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    job = write_job(tmp_path, provider={"model": "local:m.gguf"})
    assert shown(job, capsys, "--ask")["plan"]["calls"] == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int((library.folder / "pid").read_text()), 0)


def test_help_has_an_example(capsys):
    assert main(["preview", "--help"]) == 0
    out = capsys.readouterr().out
    assert "Example: llmsynthor preview configs/trips.yaml" in out


def local_job(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "m.gguf").write_bytes(b"GGUF and more")
    return write_job(folder, provider={"model": "local:m.gguf"})


def test_a_local_model_is_asked_in_focus_and_its_process_ends(tmp_path, monkeypatch, capsys):
    library = install(tmp_path / "library", monkeypatch)
    job = local_job(tmp_path)
    found = shown(job, capsys)
    assert library.lines("loads") == []  # nothing is loaded to count tokens
    prompt = found["prompt"]
    assert "# The kind of record that is wanted" in prompt["prompt"]
    whole = prompt["system"] + prompt["prompt"]
    assert len(whole) / 5 < prompt["tokens"] < len(whole)
    assert prompt["tokens_are"] == "at most"
    assert (found["most"]["cost_usd"], found["most"]["repair_calls"]) == (0.0, 0)
    asked = shown(job, capsys, "--ask")
    assert len(library.lines("requests")) == 1
    assert library.lines("requests")[0]["messages"][1]["content"] == prompt["prompt"]
    assert len(asked["plan"]["proposals"]) == 1
    assert asked["records_from"] == "plan"
    with pytest.raises(ProcessLookupError):
        os.kill(int((library.folder / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("file", "m.gguf: no such file"),
        ("extra", "needs the extra `local`, which is not installed"),
    ],
)
def test_a_local_model_that_is_not_there_is_previewed(tmp_path, monkeypatch, capsys, missing, told):
    install(tmp_path / "library", monkeypatch)
    job = local_job(tmp_path)
    if missing == "file":
        (tmp_path / "m.gguf").unlink()
    else:
        shutil.rmtree(tmp_path / "library")
        monkeypatch.setattr("sys.path", [p for p in sys.path if "site-packages" not in p])
        importlib.invalidate_caches()
    out = text(job, capsys)
    assert "a run would not start: provider.model: " in out
    assert told in out
    assert "first plan prompt, at most " in out
    assert main(["preview", str(job), "--ask"]) == 2
    assert told in capsys.readouterr().err


def test_a_recording_is_previewed(tmp_path, capsys):
    said = plan(proposal(2), proposal(7))
    line = {"purpose": "plan", "sequence": 0, "reply": {"text": said, "model": "m"}}
    (tmp_path / "rec.jsonl").write_text(json.dumps(line) + "\n")
    job = write_job(tmp_path, provider={"model": "replay", "replies": "rec.jsonl"})
    found = shown(job, capsys)
    assert (found["most"]["cost_usd"], found["plan"]) == (0.0, None)
    asked = shown(job, capsys, "--ask")
    assert [p["reason"] for p in asked["plan"]["proposals"]] == ["kind 2", "kind 7"]
    assert asked["plan"]["cost_usd"] == 0.0


def test_focus_is_previewed_where_the_job_asks_for_it(tmp_path, capsys):
    engine = job_content()["engine"] | {"plan_style": "focus"}
    answer = json.dumps({"reason": "r", "values": {"age": ["18-39"], "work": ["yes"]}})
    with ScriptedServer([reply(answer), reply(answer)]) as server:
        job = write_job(tmp_path, provider=provider(server.base_url), engine=engine)
        found = shown(job, capsys, "--ask")
        assert len(server.requests) == 1
    assert found["prompt"]["prompt"].startswith("<data>\nWhat a record is: A person on one day.")
    proposed = found["plan"]["proposals"][0]
    assert proposed["values"] == {"age": ["18-39"], "work": ["yes"], "mode": ["car"]}
    assert proposed["count"] == 300  # the cell's own, which no model counts


def many_variables(folder: Path) -> Path:
    names = [f"v{n}" for n in range(8)]
    for name in names:
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.csv").write_text(f"{name},count\na,30\nb,70\n")
    variables = {name: {"type": "category", "values": ["a", "b"]} for name in names}
    tables = [{"file": f"{name}.csv"} for name in names]
    return write_job(folder, variables=variables, tables=tables, rules=[])


def test_uncovered_pairs_are_named(tmp_path, capsys):
    job = many_variables(tmp_path)
    found = shown(job, capsys)
    assert found["uncovered_pairs"] == len(found["uncovered"]) == 28
    assert {frozenset(pair) for pair in found["uncovered"]} == {
        frozenset((f"v{a}", f"v{b}")) for a in range(8) for b in range(a)
    }
    out = text(job, capsys)
    assert "  pairs of variables in no control table: 28\n" in out
    assert out.count(" and v") == 10
    assert "    and 18 more (`--json` and `--out FILE` have all)\n" in out


class Outline(HTMLParser):
    """Gathers a page's text, its headings' ids and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.text, self.ids, self.loads, self.open = "", set[str](), list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.add(given.get("id") or "")
        self.loads += [v for k, v in attrs if k in ("src", "href") and not str(v).startswith("#")]
        if tag not in ("meta", "br", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def test_the_page_has_all_and_loads_nothing(tmp_path, capsys):
    odd = "<script>alert(1)</script> \u202e</pre>"
    said = plan(proposal(2, work=odd), {**proposal(7), "reason": odd})
    with ScriptedServer([reply(said)]) as server:
        job = write_job(
            tmp_path, provider=provider(server.base_url, **PRICE), description=f"A person. {odd}"
        )
        page = tmp_path / "p.html"
        capsys.readouterr()
        assert main(["preview", str(job), "--ask", "--out", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}\n"
    source = page.read_text()
    outline = Outline()
    outline.feed(source)
    assert outline.open == []
    assert {"most", "tables", "prompt", "plan", "records"} <= outline.ids
    assert outline.loads == []
    assert "<script" not in source
    assert "\u202e" not in source
    assert "default-src 'none'" in source
    assert "script-src" not in source
    for words in (
        "<script>alert(1)</script>",
        "age and mode; work and mode.",
        "held out",
        "# Rules that every record keeps",
        "1 proposal, 1 rejected; 11 + 7 tokens",
        "20 records from the proposals of the plan",
    ):
        assert words in outline.text
    assert "\n# Your focus\n" in outline.text  # the prompt keeps its lines
    assert len(re.findall(r"<tr><td", source)) == 20


def test_the_page_of_a_job_without_a_model(tmp_path, capsys):
    page = tmp_path / "p.html"
    assert main(["preview", str(many_variables(tmp_path)), "--out", str(page)]) == 0
    outline = Outline()
    outline.feed(page.read_text())
    assert "No model is asked: there is no prompt." in outline.text
    assert "and 18 more" in outline.text
    assert "plan" not in outline.ids


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("job.yaml", "the page is HTML; name a file that ends in `.html`"),
        ("no/p.html", "there is no folder `"),
        ("dir.html", "is a folder"),
    ],
)
def test_a_page_goes_nowhere_else_and_nothing_is_asked_then(tmp_path, capsys, name, told):
    (tmp_path / "dir.html").mkdir()
    with ScriptedServer() as server:
        job = write_job(tmp_path, provider=provider(server.base_url))
        before = job.read_text()
        assert main(["preview", str(job), "--ask", "--out", str(tmp_path / name)]) == 2
        assert not server.requests
    assert f"--out {tmp_path / name}: {told}" in capsys.readouterr().err
    assert job.read_text() == before


def test_a_job_with_zones_is_previewed_in_words_and_as_a_page(tmp_path, capsys):
    job = write_region(tmp_path, zones=6)
    words = text(job, capsys)
    assert "6 zones" in words
    assert "records from the background (no model)" in words
    page = tmp_path / "page.html"
    text(job, capsys, "--out", str(page))
    assert "6 zones" in page.read_text()
    assert "One plan" not in page.read_text()


def test_statistics_are_previewed_with_what_they_are(tmp_path, capsys):
    statistics = [
        {"of": "age", "figures": {"mean": 45}},
        {"of": {"work": "yes"}, "name": "busy", "role": "validate", "figures": {"rate": 0.6}},
    ]
    job = write_job(tmp_path, statistics=statistics)
    words = text(job, capsys)
    assert "  age   mean of age       1        met\n" in words
    assert "  busy  rate of work=yes  1        held out\n" in words
    page = tmp_path / "page.html"
    text(job, capsys, "--out", str(page))
    assert "rate of work=yes" in page.read_text()
