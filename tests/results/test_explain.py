"""`llmsynthor explain`: where a record came from, told from the run directory alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from scripted_server import ScriptedServer, reply
from small_job import plan, plan_for, proposal, provider, write_job
from stand_in_library import install

from llmsynthor.candidates.boxes import takes_in
from llmsynthor.cli.main import main
from llmsynthor.targets.domain import Variable

if TYPE_CHECKING:
    from pathlib import Path

MARK = "not in the proposal: smoothing or rounding"


def make_repaired(folder: Path) -> None:
    # the two plans of the first iteration, then the repair of the first
    steps = [
        reply("Sorry, I cannot."),
        reply(plan(proposal(5))),
        reply(plan(proposal(3), proposal(9))),
    ]
    with ScriptedServer(steps, default=plan_for) as server:
        job = write_job(folder, provider=provider(server.base_url, concurrency=1))
        assert main(["run", str(job), "--out", str(folder / "out"), "-q"]) == 0


@pytest.fixture
def asked(made_once, copied) -> Path:
    """Return a finished run whose first reply needed a repair."""
    return copied(made_once("repaired", make_repaired) / "out")


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
        "\nguidance: the shortfall at age=18-39, work=yes (asked again, as the first answer could not be used)\n",
        "\nit was shown: work=yes: target 66.7 %; mode=car: target 50.0 %",
        "\n`--prompt` shows the whole prompt\n",
    ):
        assert words in out
    assert "# Rules that every record keeps" not in out
    assert main(["explain", str(asked), "--record", str(number), "--prompt"]) == 0
    assert "# Rules that every record keeps" in capsys.readouterr().out


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


def first_of(run: Path, source: int) -> int:
    return provenance(run)["proposal"].to_list().index(source)


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["torn", "not JSON", "a list", "binary", "gone"])
def test_damaged_prompts_cost_the_prompt_and_nothing_else(asked, capsys, damage):
    path = asked / "prompts.jsonl"
    number = first_of(asked, 1)
    whole = told(asked, number, capsys)["proposal"]
    kept = path.read_text().splitlines()
    mine = next(i for i, line in enumerate(kept) if whole["reply"]["key"] in line)
    bad = {"torn": kept[mine][:80], "not JSON": "{", "a list": "[1]", "binary": "\x00", "gone": ""}
    kept[mine] = bad[damage]
    path.write_text("\n".join(kept) + "\n")
    found = told(asked, number, capsys)["proposal"]
    assert found["guidance"] is None
    assert {**found, "guidance": 0, "guidance_problem": 0} == {
        **whole, "guidance": 0, "guidance_problem": 0,
    }  # fmt: skip
    assert main(["explain", str(asked), "--record", str(number), "--prompt"]) == 0
    reason = (
        "not kept (there is no such request in prompts.jsonl)"
        if damage == "gone"
        else "prompts.jsonl: 1 line cannot be read, and this one may be there"
    )
    assert f"\nguidance: {reason}\n" in capsys.readouterr().out
    others = [n for n in provenance(asked)["proposal"].unique().drop_nulls() if n > 1]
    assert told(asked, first_of(asked, others[0]), capsys)["proposal"]["guidance"] is not None


def test_a_damaged_reply_log_costs_the_reply(asked, capsys):
    path = asked / "replies.jsonl"
    number = first_of(asked, 1)
    key = told(asked, number, capsys)["proposal"]["reply"]["key"]
    kept = [("{" if key in line else line) for line in path.read_text().splitlines()]
    path.write_text("\n".join(kept) + "\n")
    assert main(["explain", str(asked), "--record", str(number)]) == 0
    out = capsys.readouterr().out
    assert "reply: replies.jsonl: 1 line cannot be read, and this one may be there\n" in out
    assert "reason: kind 9\n" in out


def test_each_value_has_its_share_in_the_proposal_and_in_the_tables(asked, capsys):
    marginal = {
        "age": {"18-39": 300 / 600, "40-64": 230 / 600, "65+": 70 / 600},
        "work": {"yes": 400 / 600, "no": 200 / 600},
        "mode": {"car": 0.5, "bus": 0.3, "walk": 0.2},
    }
    for source in (0, 1, 2):
        found = told(asked, first_of(asked, source), capsys)
        has, said = found["values"], found["proposal"]["values"]
        age = "18-39" if has["age"] < 40 else "40-64" if has["age"] < 65 else "65+"
        of_tables = {"age": age, "work": has["work"], "mode": has["mode"]}
        assert found["table_share"] == pytest.approx(
            {name: marginal[name][label] for name, label in of_tables.items()}
        )
        share = found["proposal"]["share"]
        assert share["work"] == pytest.approx(
            said["work"][has["work"]] / sum(said["work"].values())
        )
        among = {m: marginal["mode"][m] for m in said["mode"]}
        assert share["mode"] == pytest.approx(among.get(has["mode"], 0) / sum(among.values()))
        low, high = said["age"]
        bins = {"18-39": (18, 40), "40-64": (40, 65), "65+": (65, 91)}
        held = {
            name: marginal["age"][name] * max(0, min(high + 1, b) - max(low, a)) / (b - a)
            for name, (a, b) in bins.items()
        }
        assert share["age"] == pytest.approx(held[age] / sum(held.values()))


def test_in_a_pipe_nothing_is_cut(tmp_path, capsys):
    words = "commuters " * 40
    values = {"age": {f"{n}-{n}": 1 for n in range(18, 60)}, "work": {"yes": 3, "no": 1}}
    wide = plan({**proposal(1, **values), "reason": words, "count": 500})
    with ScriptedServer(default=lambda _: reply(wide)) as server:
        job = write_job(tmp_path, provider=provider(server.base_url))
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    number = provenance(tmp_path / "out")["proposal"].to_list().index(0)
    capsys.readouterr()
    assert main(["explain", str(tmp_path / "out"), "--record", str(number)]) == 0
    out = capsys.readouterr().out
    assert json.dumps(values["age"]) in out
    assert " ".join(words.split())[:400].strip() in out
    assert "…" not in out


def test_a_focus_of_a_small_model_is_told(tmp_path, monkeypatch, capsys):
    install(tmp_path / "library", monkeypatch)
    (tmp_path / "m.gguf").write_bytes(b"GGUF and more")
    job = write_job(tmp_path, provider={"model": "local:m.gguf"})
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    found = told(tmp_path / "out", first_of(tmp_path / "out", 0), capsys)["proposal"]
    assert found["guidance"]["focus"] == "records with mode: car"
    assert found["guidance"]["gaps"] == []


def test_what_a_call_was_to_look_at_is_kept_whatever_the_prompt_says(tmp_path, capsys):
    (tmp_path / "prompts").mkdir()
    text = "Name kinds of records: {{ names | join(', ') }}. This is call {{ call }}."
    (tmp_path / "prompts" / "propose_plan.md.j2").write_text(text)
    with ScriptedServer(default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url), prompts="prompts")
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) in (0, 3)
    lines = [json.loads(x) for x in (tmp_path / "out" / "prompts.jsonl").read_text().splitlines()]
    assert all("# " not in line["prompt"] for line in lines)
    kept = {line["key"]: (line["focus"], line["gaps"]) for line in lines}
    found = told(tmp_path / "out", first_of(tmp_path / "out", 0), capsys)["proposal"]
    guidance = found["guidance"]
    assert (guidance["focus"], guidance["gaps"]) == kept[found["reply"]["key"]]
    assert all(": target " in gap for gap in guidance["gaps"])
    assert guidance["gaps"]
