"""`llmsynthor explain`: where a record came from, told from the run directory alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from scripted_server import ScriptedServer, reply
from small_job import plan, plan_for, proposal, provider, write_job

from llmsynthor.boxes import takes_in
from llmsynthor.cli import main
from llmsynthor.domain import Variable

if TYPE_CHECKING:
    from pathlib import Path

MARK = "not in the proposal: smoothing or rounding"


@pytest.fixture
def asked(tmp_path) -> Path:
    """Return a finished run whose first reply needed a repair."""
    # the two plans of the first iteration, then the repair of the first
    steps = [
        reply("Sorry, I cannot."),
        reply(plan(proposal(5))),
        reply(plan(proposal(3), proposal(9))),
    ]
    with ScriptedServer(steps, default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url, concurrency=1))
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    return tmp_path / "out"


def told(run: Path, record: int, capsys) -> dict:
    capsys.readouterr()
    assert main(["explain", str(run), "--record", str(record), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def provenance(run: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(f) for f in sorted((run / "provenance").iterdir())])


def lines(run: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def test_every_record_is_traced_to_the_reply_and_the_prompt_that_its_proposal_came_from(
    asked, capsys
):
    data = pl.concat([pl.read_parquet(f) for f in sorted((asked / "data").iterdir())])
    sources = provenance(asked)
    replies = {line["key"]: line for line in lines(asked, "replies.jsonl")}
    firsts = sources.with_row_index("n").group_by("proposal").agg(pl.col("n").min()).sort("n")
    assert len(firsts) > 8
    for number, source in firsts.select("n", "proposal").rows():
        found = told(asked, number, capsys)
        assert found["values"] == data.row(number, named=True)
        assert found["iteration"] == sources["iteration"][number]
        same = (sources["proposal"] == source).sum() if source is not None else None
        assert found["siblings"] == (sources["proposal"].null_count() if source is None else same)
        if source is None:
            assert (found["source"], found["proposal"]) == ("background", None)
            continue
        words = found["proposal"]
        assert words["id"] == source
        entry = {"reason": words["reason"], "count": words["count"], "values": words["values"]}
        text = replies[words["reply"]["key"]]["reply"]["text"]
        assert entry in json.loads(text)["proposals"]
        assert "# Rules that every record keeps" in words["guidance"]["prompt"]


def test_a_repaired_proposal_answers_the_repair(asked, capsys):
    number = provenance(asked)["proposal"].to_list().index(0)
    found = told(asked, number, capsys)["proposal"]
    assert found["reply"]["purpose"] == "repair"
    assert "Sorry, I cannot." in found["guidance"]["prompt"]


def test_a_value_that_the_proposal_does_not_say_is_marked(asked, capsys):
    proposals = {line["id"]: line for line in lines(asked, "proposals.jsonl")}
    data = pl.concat([pl.read_parquet(f) for f in sorted((asked / "data").iterdir())])
    marked = 0
    for number, source in enumerate(provenance(asked)["proposal"].to_list()):
        if source is None:
            continue
        said, has = proposals[source]["values"], data.row(number, named=True)
        outside = {
            "age": not said["age"][0] <= has["age"] <= said["age"][1],
            "work": not said["work"].get(has["work"]),
            "mode": has["mode"] not in said["mode"],
        }
        if not any(outside.values()) or marked > 4:
            continue
        marked += 1
        inside = told(asked, number, capsys)["proposal"]["inside"]
        assert inside == {name: not out for name, out in outside.items()}
        assert main(["explain", str(asked), "--record", str(number)]) == 0
        assert capsys.readouterr().out.count(MARK) == sum(outside.values())
    assert marked > 0


def test_the_text_names_everything_a_reader_asks_for(asked, capsys):
    number = provenance(asked)["proposal"].to_list().index(1)
    capsys.readouterr()
    assert main(["explain", str(asked), "--record", str(number)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"record {number} of {asked} (data/0000")
    for words in (
        "\nmade in: ",
        "\ncame from: proposal 1 of iteration 1, with ",
        "\nreason: kind 9\n",
        "\nmodel: tiny (answered by tiny)\n",
        "\nreply: repair 0 in replies.jsonl, key ",
        "11 + 7 tokens, cost unknown\n",
        "\nguidance: the prompt that it answered\n",
    ):
        assert words in out


def test_errors_say_what_there_is(asked, tmp_path, capsys):
    capsys.readouterr()
    assert main(["explain", str(asked), "--record", "600"]) == 2
    assert capsys.readouterr().err == (
        f"error: {asked}: there is no record 600: it holds 600 records, counted from 0, so the "
        "last is 599\n"
    )
    assert main(["explain", str(tmp_path / "nowhere"), "--record", "0"]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'nowhere'}: holds no run (there is no manifest.json)\n"
    )
    for file in (asked / "provenance").iterdir():
        file.unlink()
    assert main(["explain", str(asked), "--record", "0"]) == 2
    err = capsys.readouterr().err
    assert f"{asked / 'provenance' / '00000.parquet'}: is missing" in err
    assert "--replay" in err


def test_a_run_without_its_prompts_resumes_and_says_that_they_are_not_kept(asked, capsys):
    (asked / "prompts.jsonl").unlink()
    job = asked.parent / "job.yaml"
    assert main(["run", str(job), "--out", str(asked), "--replay", "-q"]) == 0
    number = provenance(asked)["proposal"].to_list().index(1)
    assert told(asked, number, capsys)["proposal"]["guidance"] is None


def test_no_key_stands_in_the_kept_prompts(tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_KEY", "sk-secret-123456")
    with ScriptedServer(default=plan_for) as server:
        job = write_job(
            tmp_path,
            description="A person. The key is sk-secret-123456.",
            provider=provider(server.base_url, api_key_env="TINY_KEY"),
        )
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    kept = lines(tmp_path / "out", "prompts.jsonl")
    assert "The key is ***." in kept[0]["prompt"]
    assert "sk-secret" not in (tmp_path / "out" / "prompts.jsonl").read_text()
    assert len({line["key"] for line in kept}) == len(kept) == len(
        lines(tmp_path / "out", "replies.jsonl")
    )  # fmt: skip


def test_words_that_steer_a_terminal_do_not_reach_it(tmp_path, capsys):
    odd = plan({**proposal(1), "reason": "re\u001b[2Jd \u202e text", "count": 500})
    with ScriptedServer(default=lambda _: reply(odd)) as server:
        job = write_job(tmp_path, provider=provider(server.base_url))
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    number = provenance(tmp_path / "out")["proposal"].to_list().index(0)
    capsys.readouterr()
    assert main(["explain", str(tmp_path / "out"), "--record", str(number)]) == 0
    out = capsys.readouterr().out
    assert "reason: re [2Jd" in out
    assert "\u001b" not in out
    assert "\u202e" not in out


AGE = Variable("age", "integer", ("0-9", "10-19", "20-29"), (0.0, 10.0, 20.0, 30.0))
KM = Variable("km", "number", ("0-5", "5-50"), (0.0, 5.0, 50.0), decimals=1)


@pytest.mark.parametrize(
    ("variable", "said", "value", "inside"),
    [
        (AGE, [12, 14], 14, True),
        (AGE, [14, 12], 12, True),
        (AGE, [12, 14], 15, False),
        (AGE, 7, 7, True),
        (AGE, {"10-19": 1, "20-29": 0}, 19, True),
        (AGE, {"10-19": 1, "20-29": 0}, 20, False),
        (AGE, {"12-14": 1}, 15, False),  # in the bin, not in what was said
        (AGE, ["0-9", "20-29"], 5, True),
        (KM, [2.0, 3.0], 3.1, True),  # rounding to the variable's decimals
        (KM, [2.0, 3.0], 3.2, False),
        (KM, "5-50", 50.0, True),
        (KM, "0-5", 5.0, False),
    ],
)
def test_what_a_proposal_takes_in(variable, said, value, inside):
    even = np.full(variable.size, 1 / variable.size)
    assert takes_in(variable, said, value, even) is inside
