from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import polars as pl
import pytest
from small_job import write_job

from llmsynthor.cli.main import main
from llmsynthor.errors import DiskError, RunDirectoryError
from llmsynthor.store.directory import DamagedBatchError, RunDirectory

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def run(tmp_path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    return run


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_file_is_whole_and_nothing_else_is_left(run):
    run.write_json("report.json", {"b": 1, "a": "\u00e9"})
    assert (run.path / "report.json").read_text() == '{\n "a": "\u00e9",\n "b": 1\n}\n'
    assert run.read_json("report.json") == {"a": "\u00e9", "b": 1}
    assert sorted(p.name for p in run.path.iterdir()) == ["data", "provenance", "report.json"]


def test_a_write_that_fails_leaves_the_old_file(run, monkeypatch):
    run.write_text("a.txt", "old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError) as caught:
        run.write_text("a.txt", "new")
    assert (str(caught.value), caught.value.hint) == (
        f"{run.path}/a.txt: cannot be written (No space left on device); "
        "what was written before is whole",
        "make room, then run the same command with `--resume`",
    )
    assert (run.path / "a.txt").read_text() == "old"
    assert not list(run.path.glob("*.part"))


def test_a_half_line_is_not_read_and_is_cut_before_the_next(run):
    run.append("lines.jsonl", {"n": 1})
    with (run.path / "lines.jsonl").open("a") as file:
        file.write('{"n": 2, "text": "hal')
    assert run.lines("lines.jsonl", dict) == [{"n": 1}]
    run.append("lines.jsonl", {"n": 3})
    assert (run.path / "lines.jsonl").read_text() == '{"n": 1}\n{"n": 3}\n'


def test_a_long_half_line_alone_is_cut_to_nothing(run):
    (run.path / "lines.jsonl").write_text("x" * 200_000)
    run.append("lines.jsonl", {"n": 1})
    assert run.lines("lines.jsonl", dict) == [{"n": 1}]


def test_a_long_half_line_leaves_the_lines_before_it(run):
    run.append("lines.jsonl", {"text": "y" * 100_000})
    with (run.path / "lines.jsonl").open("a") as file:
        file.write("x" * 150_000)
    run.append("lines.jsonl", {"n": 2})
    assert run.lines("lines.jsonl", dict) == [{"text": "y" * 100_000}, {"n": 2}]


def test_odd_characters_stay_on_their_line(run):
    record = {"text": "a\u2028b\r\nc\u0085"}
    run.append("lines.jsonl", record)
    assert run.lines("lines.jsonl", dict) == [record]


def test_lines_of_no_file_are_none_and_a_damaged_line_is_an_error(run):
    assert run.lines("lines.jsonl", dict) == []
    (run.path / "lines.jsonl").write_text("nonsense\n")
    with pytest.raises(RunDirectoryError) as caught:
        run.lines("lines.jsonl", dict)
    assert str(caught.value) == (
        f"{run.path}/lines.jsonl:1: this line is damaged: no JSON (Expecting value: line 1 column 1 (char 0))"
    )


def test_a_damaged_manifest_is_an_error_and_a_missing_one_is_none(run):
    assert run.read_json("manifest.json") is None
    (run.path / "manifest.json").write_text("{")
    with pytest.raises(RunDirectoryError) as caught:
        run.read_json("manifest.json")
    assert str(caught.value).startswith(f"{run.path}/manifest.json: cannot be read (")
    assert caught.value.hint == "`--overwrite` starts the run anew"


def test_a_directory_in_use_is_refused(run):
    with run.locked("now"):
        holder = json.loads((run.path / "lock").read_text())
        assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())
        with pytest.raises(RunDirectoryError) as caught, run.locked("later"):
            raise AssertionError("must not be entered")
        assert (run.path / "lock").exists()
    assert str(caught.value) == (
        f"{run.path}: another run works here (process {os.getpid()} on {socket.gethostname()})"
    )
    assert caught.value.hint == f"wait for it, or if it is surely gone remove `{run.path}/lock`"
    assert not (run.path / "lock").exists()


def test_a_lock_on_another_machine_is_refused(run):
    (run.path / "lock").write_text(json.dumps({"host": "elsewhere", "pid": dead_pid()}))
    with pytest.raises(RunDirectoryError), run.locked("now"):
        raise AssertionError("must not be entered")
    assert (run.path / "lock").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "dead"])
def test_the_lock_of_a_dead_process_is_taken_over(run, text):
    if text == "dead":
        text = json.dumps({"host": socket.gethostname(), "pid": dead_pid()})
    (run.path / "lock").write_text(text)
    with run.locked("now"):
        assert json.loads((run.path / "lock").read_text())["started"] == "now"


def test_leftovers_of_a_kill_are_removed(run):
    for place in ("report.json.part", "data/00000.parquet.part"):
        (run.path / place).write_text("half")
    with run.locked("now"):
        assert not list(run.path.rglob("*.part"))


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory(tmp_path / "file" / "run").create()
    assert str(caught.value) == (
        f"{tmp_path}/file/run: cannot make the run directory (Not a directory)"
    )


def batch(rows: int = 3) -> tuple[pl.DataFrame, pl.DataFrame]:
    return pl.DataFrame({"a": range(rows)}), pl.DataFrame({"proposal": range(rows)})


def test_a_batch_is_read_as_it_was_written(run):
    run.write_batch(1, *batch())
    records, provenance = run.read_batch(1)
    assert records.equals(batch()[0])
    assert provenance.equals(batch()[1])
    assert run.read_batch(0) is None
    assert [p.name for p in run.batch_files()] == ["00001.parquet"]


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
@pytest.mark.parametrize("which", ["batch_path", "provenance_path"])
def test_a_damaged_parquet_is_named(run, which, keep):
    run.write_batch(0, *batch(500))
    path: Path = getattr(run, which)(0)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if keep == 0.5 else keep])
    with pytest.raises(DamagedBatchError) as caught:
        run.read_batch(0)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: damaged (")
    assert caught.value.hint == (
        "`llmsynthor run JOB --out DIR --resume` (of a finished run: `--replay`) makes it again from "
        "the recorded replies"
    )


def test_a_batch_without_its_provenance_is_damaged(run):
    run.write_batch(0, *batch())
    run.provenance_path(0).unlink()
    with pytest.raises(DamagedBatchError) as caught:
        run.read_batch(0)
    assert caught.value.path == run.provenance_path(0)


def test_files_of_different_lengths_are_damaged(run):
    run.write_batch(0, batch(3)[0], batch(4)[1])
    with pytest.raises(DamagedBatchError) as caught:
        run.read_batch(0)
    assert str(caught.value) == f"{run.provenance_path(0)}: damaged (not as many rows as the data)"


def test_clearing_removes_what_a_run_wrote_and_nothing_else(run):
    run.write_batch(0, *batch())
    run.write_json("manifest.json", {})
    run.write_text("notes.txt", "mine")
    run.clear()
    assert [p.name for p in run.path.rglob("*") if p.is_file()] == ["notes.txt"]


def test_files_of_others_are_neither_replaced_nor_deleted(tmp_path, capsys):
    """A folder that holds no run keeps what is in its `data`; a refusal writes nothing at all."""
    job = write_job(tmp_path)
    mine = tmp_path / "mine" / "data" / "00000.parquet"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    for options in ([], ["--overwrite"]):
        assert main(["run", str(job), "--out", str(tmp_path / "mine"), "-q", *options]) == 2
        assert (
            "is not empty and holds no run (`data/00000.parquet` is there)"
            in capsys.readouterr().err
        )
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["data"]
    assert mine.read_bytes() == b"mine"


def test_overwrite_keeps_notes_beside_a_run(tmp_path):
    job, out = write_job(tmp_path), tmp_path / "out"
    assert main(["run", str(job), "--out", str(out), "-q"]) == 0
    for note in (out / "notes.txt", out / "data" / "survey.csv"):
        note.write_text("mine")
    assert main(["run", str(job), "--out", str(out), "-q", "--overwrite"]) == 0
    assert (out / "notes.txt").read_text() == (out / "data" / "survey.csv").read_text() == "mine"
    assert (out / "report.html").exists()
