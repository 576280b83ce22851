"""Files of a finished run that are damaged or gone: each command says which, and none is a traceback."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import pytest
from small_job import write_job

from llmsynthor.cli.main import main
from llmsynthor.errors import RunDirectoryError
from llmsynthor.store.chunks import read_plan
from llmsynthor.store.directory import RunDirectory

if TYPE_CHECKING:
    from pathlib import Path

REPLAY = (
    "hint: `llmsynthor run JOB --out DIR --resume` (of a finished run: `--replay`) makes it again "
    "from the recorded replies\n"
)
ANEW = "hint: `--overwrite` starts the run anew\n"
READ_BACK = ("manifest.json", "iterations.jsonl", "proposals.jsonl", "replies.jsonl", "prompts.jsonl", "job.resolved.yaml", "tables_used/names.json", "tables_used/reconciled.json", "evaluation.json", "report.json", "data_dictionary.json")  # fmt: skip
CONTENTS = {
    "a list": b"[]",
    "an object": b"{}",
    "binary": bytes(range(256)),
    "nothing": b"",
}


@pytest.fixture(scope="module")
def finished(asked_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a job, a finished run of it in `out`, and an evaluation."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    shutil.copytree(asked_run.parent, folder)
    real = folder / "out" / "data" / "00000.parquet"
    shutil.copy(real, folder / "real.parquet")
    assert main(["evaluate", str(folder / "out"), str(folder / "real.parquet")]) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the run, which a test may damage."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy" / "out"


def commands(run: Path) -> dict[str, list[str]]:
    folder = run.parent
    return {
        "report": ["report", str(run)],
        "explain": ["explain", str(run), "--record", "3"],
        "export": ["export", str(run), "--format", "csv", "--out", str(folder / "e.csv")],
        "resume": ["run", str(folder / "job.yaml"), "--out", str(run), "--resume", "-q"],
        "evaluate": ["evaluate", str(run), str(folder / "real.parquet")],
    }


def told(words: list[str], run: Path, capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    capsys.readouterr()
    assert main(words) == code
    return capsys.readouterr().err.replace(f"{run}/", "")


@pytest.mark.slow
@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", READ_BACK)
def test_no_content_of_a_file_is_a_traceback(run, capsys, name, content):
    assert (run / name).exists()
    for command, words in commands(run).items():
        if command == "evaluate" and name in {
            "prompts.jsonl",
            "report.json",
            "data_dictionary.json",
        }:
            continue  # it does not read them, and is the slowest
        (run / name).write_bytes(CONTENTS[content])
        code = main(words)
        err = capsys.readouterr().err
        assert code in {0, 2, 3}, (words[0], err)
        assert "Traceback" not in err
        shutil.rmtree(run.parent / "e.csv", ignore_errors=True)
        (run.parent / "e.csv").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("name", "line", "wrong", "hint"),
    [
        ("iterations.jsonl", "[]", "must be an object, and is []", REPLAY),
        ("iterations.jsonl", "{}", "`iteration` is missing", REPLAY),
        ("iterations.jsonl", '{"iteration": "x"}', '`iteration` must be a whole number, and is "x"', REPLAY),
        ("iterations.jsonl", '{"iteration": true}', "`iteration` must be a whole number, and is true", REPLAY),
        ("proposals.jsonl", "1", "must be an object, and is 1", REPLAY),
        ("proposals.jsonl", '{"id": 1, "iteration": 1, "accepted": true, "reason": null}', "`reason` must be a text, and is null", REPLAY),
        ("iterations.jsonl", "{", "no JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))", REPLAY),
    ],
)  # fmt: skip
def test_a_damaged_line_is_named_with_its_number(run, capsys, name, line, wrong, hint):
    lines = (run / name).read_text().splitlines()
    (run / name).write_text("\n".join([lines[0], line, *lines[1:]]) + "\n")
    assert told(["report", str(run)], run, capsys) == (
        f"error: {name}:2: this line is damaged: {wrong}\n\n{hint}"
    )


def test_a_damaged_record_of_reconciled_tables_is_named(run, capsys):
    (run / "tables_used" / "reconciled.json").write_text("1\n")
    assert told(["report", str(run)], run, capsys) == (
        f"error: tables_used/reconciled.json: damaged: must be an object, and is 1\n\n{REPLAY}"
    )


def test_a_damaged_reply_says_what_taking_it_out_costs(run, capsys):
    lines = (run / "replies.jsonl").read_text().splitlines()
    (run / "replies.jsonl").write_text("\n".join(["[]", *lines]) + "\n")
    assert told(["report", str(run)], run, capsys) == (
        "error: replies.jsonl:1: this line is damaged: must be an object, and is []\n\n"
        "hint: take the line out: its call is then made again; `--overwrite` starts the run anew\n"
    )


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"attempts": 1}, "`attempts` must be a list, and is 1"),
        ({"attempts": [1]}, "`attempts.0` must be an object, and is 1"),
        ({"inputs": None}, "`inputs` must be an object, and is null"),
        ({"status": ["complete"]}, '`status` must be a text, and is ["complete"]'),
    ],
)
def test_a_damaged_manifest_names_the_key(run, capsys, change, wrong):
    content = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(content | change))
    for name, words in commands(run).items():
        assert told(words, run, capsys) == f"error: manifest.json: damaged: {wrong}\n\n{ANEW}", name


def test_an_evaluation_that_is_none_is_named(run, capsys):
    (run / "evaluation.json").write_text('{"combinations": {"pairs": 3}}')
    assert told(["report", str(run)], run, capsys) == (
        "error: evaluation.json: damaged: not what `llmsynthor evaluate` writes\n\n"
        "hint: remove it, or make it anew: `llmsynthor evaluate DIR MICRODATA`\n"
    )
    (run / "evaluation.json").unlink()
    assert main(["report", str(run)]) == 0


LOST = (
    "hint: `llmsynthor run JOB --out DIR --replay` makes the records again from the recorded "
    "replies, without a call\n"
)


def test_a_finished_run_without_its_records_is_an_error(run, capsys):
    whole = {p.name: p.read_bytes() for p in (run / "data").glob("*")}
    (run / "data" / "00001.parquet").unlink()
    words = f"error: data: 00001.parquet is missing, though the run is finished\n\n{LOST}"
    for name in ("report", "evaluate", "resume"):
        assert told(commands(run)[name], run, capsys) == words
    shutil.rmtree(run / "data")
    files = ", ".join(sorted(whole))
    assert told(["report", str(run)], run, capsys) == (
        f"error: data: {files} are missing, though the run is finished\n\n{LOST}"
    )
    shutil.rmtree(run / "provenance")
    assert told(["report", str(run)], run, capsys) == (
        f"error: data: is missing, or holds no records, though the run is finished\n\n{LOST}"
    )
    replayed = ["run", str(run.parent / "job.yaml"), "--out", str(run), "--replay", "-q"]
    assert main(replayed) in (0, 3)
    assert {p.name: p.read_bytes() for p in (run / "data").glob("*")} == whole


def test_a_run_of_another_job_in_the_default_folder_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (write_job(tmp_path / name, name=name) for name in ("north", "south"))
    assert main(["run", str(first), "-q"]) in (0, 3)
    capsys.readouterr()
    assert main(["run", str(second), "-q"]) == 2
    assert capsys.readouterr().err == (
        "error: runs/job: holds a run of another job already, `north` (complete); this one is "
        "`south`\n\nhint: `--out runs/south` keeps both; `--overwrite` throws that run away\n"
    )
    assert main(["run", str(first), "-q"]) == 2
    assert capsys.readouterr().err == (
        "error: runs/job: holds a run already (complete)\n\n"
        "hint: `--resume` goes on with it, `--overwrite` starts anew, `--out DIR` goes elsewhere\n"
    )


def test_records_that_the_tables_were_counted_from_are_no_test(tmp_path, capsys):
    rows = [f"{18 + n % 60},{'yes' if n % 3 else 'no'},{('car', 'bus', 'walk')[n % 7 % 3]}" for n in range(300)]  # fmt: skip
    (tmp_path / "people.csv").write_text("\n".join(["age,work,mode", *rows]) + "\n")
    (tmp_path / "others.csv").write_text("\n".join(["age,work,mode", *rows[:200]]) + "\n")
    made, out = tmp_path / "made", str(tmp_path / "out")
    assert main(["tables", str(tmp_path / "people.csv"), "--out", str(made)]) == 0
    asked = ["run", str(made / "job.yaml"), "--out", out, "-q", "--set", "provider.model=none"]
    assert main(asked) in (0, 3)
    capsys.readouterr()
    assert main(["evaluate", out, str(tmp_path / "people.csv")]) == 0
    assert re.sub(r"\d+ control", "N control", capsys.readouterr().err.splitlines()[1]) == (
        "warning: all N control tables are counted from these very records: what is in a control "
        "table is met because it was given; only what is in none of them tests the run"
    )
    assert "<b>Not a test:</b>" in (tmp_path / "out" / "report.html").read_text()
    assert main(["evaluate", out, str(tmp_path / "others.csv")]) == 0
    assert "warning" not in capsys.readouterr().err
    assert "<b>Not a test:</b>" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("[]", "must be an object, and is []"),
        ("{}", "`chunks` is missing"),
        ('{"chunks": [3], "stop_reason": "", "groups": [], "notes": [], "coarse": null}', "`chunks.0` must be an object, and is 3"),
    ],
)  # fmt: skip
def test_a_damaged_plan_of_chunks_is_named(tmp_path, content, wrong):
    run = RunDirectory(tmp_path)
    (tmp_path / "chunks").mkdir()
    (tmp_path / "chunks" / "plan.json").write_text(content)
    with pytest.raises(RunDirectoryError) as caught:
        read_plan(run)
    assert str(caught.value) == f"{tmp_path}/chunks/plan.json: damaged: {wrong}"
    assert caught.value.hint == "`llmsynthor run JOB --overwrite` starts the run anew"
