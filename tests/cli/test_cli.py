"""The commands as a user types them, without a model: outputs, exit codes, bad input."""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from small_job import APPEND, data_hash, job_content, plan, proposal, report, write_job

from llmsynthor.cli.main import main


def run(job: Path, *options: str) -> int:
    return main(["run", str(job), "--out", str(job.parent / "out"), *options])


def test_run_meets_the_tables_with_whole_records_and_keeps_the_rules(tmp_path, capsys):
    job = write_job(tmp_path)
    assert run(job) == 0
    found = report(tmp_path / "out")
    frame = pl.read_parquet(tmp_path / "out" / "data" / "*.parquet")
    assert frame.height == 600
    assert frame.filter((pl.col("age") > 85) & (pl.col("mode") == "car")).height == 0
    assert frame["age"].min() >= 18
    assert frame["age"].max() <= 90
    assert frame.filter((pl.col("age") >= 65) & (pl.col("work") == "yes")).height == 10
    assert found["pass"] is True
    assert [t["tae"] for t in found["tables"] if t["role"] == "control"] == pytest.approx([0, 0, 0])
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'out'}\n"
    assert "pass: 600 of 600 records" in captured.err
    assert f"report: {tmp_path / 'out' / 'report.html'}" in captured.err
    summary = [line for line in captured.err.splitlines() if " WARNING " not in line]
    assert max(len(line.replace(str(tmp_path), "")) for line in summary) <= 80


def test_none_follows_maximum_entropy_on_the_held_out_table(tmp_path):
    assert run(write_job(tmp_path, records=60000, rules=[])) == 0
    held_out = next(t for t in report(tmp_path / "out")["tables"] if t["role"] == "validate")
    assert held_out["tvd"] == pytest.approx(held_out["baseline"]["maxent"], abs=0.004)


def test_same_seed_same_bytes_other_seed_other_records(tmp_path):
    hashes = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        job = write_job(tmp_path / name)
        assert run(job, "--set", f"seed={seed}", "-q") == 0
        hashes.append(data_hash(job.parent / "out"))
    assert hashes[0] == hashes[1] != hashes[2]


def test_bulk_is_written_by_row_group_and_each_file_is_aligned(tmp_path):
    assert run(write_job(tmp_path, records=6000, output={"row_group": 1000})) == 0
    files = sorted((tmp_path / "out" / "data").glob("*.parquet"))
    assert len(files) == 6
    shares = [(pl.read_parquet(f)["mode"] == "car").mean() for f in files]
    assert max(abs(share - 0.5) for share in shares) < 0.02


def test_a_run_directory_that_is_there_is_not_touched(tmp_path, capsys):
    job = write_job(tmp_path)
    assert run(job, "-q") == 0
    before = data_hash(tmp_path / "out")
    capsys.readouterr()
    assert run(job, "-q") == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'out'}: holds a run already (complete)\n\n"
        "hint: `--resume` goes on with it, `--overwrite` starts anew, `--out DIR` goes elsewhere\n"
    )
    assert data_hash(tmp_path / "out") == before


def test_resume_of_a_finished_run_changes_no_byte(tmp_path):
    job = write_job(tmp_path)
    assert run(job, "-q") == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert run(job, "--resume", "-q") == 0
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before


def test_overwrite_starts_anew_and_a_strange_folder_is_left_alone(tmp_path, capsys):
    job = write_job(tmp_path)
    assert run(job, "-q") == 0
    before = data_hash(tmp_path / "out")
    assert run(job, "--overwrite", "-q", "--set", "seed=9") == 0
    assert data_hash(tmp_path / "out") != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.docx").write_text("")
    capsys.readouterr()
    assert main(["run", str(job), "--out", str(tmp_path / "mine"), "--overwrite"]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'mine'}: is not empty and holds no run (`thesis.docx` is there)\n\n"
        "hint: `--out DIR` names another place\n"
    )
    assert (tmp_path / "mine" / "thesis.docx").exists()


def test_a_changed_job_refuses_to_resume_and_names_the_keys(tmp_path, capsys):
    job = write_job(tmp_path)
    assert run(job, "-q") == 0
    (tmp_path / "mode.csv").write_text("mode,count\nwalk,120\nbus,180\ncar,300\n")
    capsys.readouterr()
    assert run(job, "--resume", "--set", "seed=4", "--set", "budget.calls=9") == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'out'}: the job has changed since this run began: seed (3 then, 4 now), mode.csv (content)\n\n"
        "hint: to go on with it, give the job as it was (the same `--set`); `--overwrite` throws the run away, `--out DIR` goes elsewhere\n"
    )


def test_a_truncated_batch_is_made_again(tmp_path, capsys):
    job = write_job(tmp_path, records=6000, output={"row_group": 1000})
    assert run(job, "-q") == 0
    before = data_hash(tmp_path / "out")
    batch = tmp_path / "out" / "data" / "00002.parquet"
    batch.write_bytes(batch.read_bytes()[:100])
    assert main(["report", str(tmp_path / "out")]) == 2
    assert f"{batch}: damaged (" in capsys.readouterr().err
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"status": "complete"', '"status": "partial"'))
    assert run(job, "--resume") == 0
    assert "it is made again from the recorded replies" in capsys.readouterr().err
    assert data_hash(tmp_path / "out") == before


def test_replay_makes_the_same_data_from_the_reply_log_alone(tmp_path):
    job = write_job(tmp_path, provider={"model": "replay", "replies": "replies.jsonl"})
    lines = [
        {
            "purpose": "plan",
            "sequence": i,
            "reply": {"text": plan(proposal(i), proposal(i + 7)), "model": "m"},
        }
        for i in range(4)
    ]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run(job, "-q") == 0
    found = report(tmp_path / "out")
    assert found["stop_reason"] == "the recording has no more replies"
    assert found["llm"]["calls"] == 4
    assert found["llm"]["proposals"] == {"accepted": 8, "rejected": 0}
    before = data_hash(tmp_path / "out")
    assert run(job, "--replay", "-q") == 0
    assert data_hash(tmp_path / "out") == before


def test_append_is_the_papers_loop_and_misses_the_tables(tmp_path):
    job = write_job(tmp_path, provider={"model": "replay", "replies": "replies.jsonl"})
    six = plan(*(proposal(i) for i in range(6)))
    (tmp_path / "replies.jsonl").write_text(
        json.dumps({"purpose": "plan", "sequence": 0, "reply": {"text": six, "model": "m"}}) + "\n"
    )
    assert run(job, "-q", *APPEND) == 3
    found = report(tmp_path / "out")
    assert found["records"]["made"] < 600
    assert found["calibration"] is None
    lines = [
        json.loads(line) for line in (tmp_path / "out" / "proposals.jsonl").read_text().splitlines()
    ]
    assert [line["accepted"] for line in lines] == [True] * 5 + [False]
    assert lines[5]["problem"] == "only 5 proposals are taken in an iteration"


def test_report_can_be_made_again_elsewhere_without_the_tables(tmp_path):
    job = write_job(tmp_path / "job")
    assert run(job, "-q") == 0
    moved = tmp_path / "moved"
    (tmp_path / "job" / "out").rename(moved)
    for table in (tmp_path / "job").glob("*.csv"):
        table.unlink()
    before = (moved / "report.json").read_bytes()
    assert main(["report", str(moved)]) == 0
    again = json.loads((moved / "report.json").read_bytes())
    assert again["tables"] == json.loads(before)["tables"]


def test_validate_says_what_there_is(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("SOME_KEY", raising=False)
    job = write_job(tmp_path, provider={"model": "none", "api_key_env": "SOME_KEY"})
    assert main(["validate", str(job)]) == 0
    assert capsys.readouterr().out == (
        f"{job}: valid (3 variables, 3 control tables, 1 validate table, 1 rule, 600 records)\n"
        "the environment variable SOME_KEY is not set; `run` will need it\n"
    )


def test_tables_that_disagree_are_named_with_both_numbers(tmp_path, capsys):
    job = write_job(tmp_path)
    (tmp_path / "work.csv").write_text("work,count\nyes,400\nno,190\n")
    (tmp_path / "mode.csv").write_text("mode,count\ncar,300\nbus,180\nwalk,100\n")
    assert main(["validate", str(job)]) == 2
    assert capsys.readouterr().err == (
        "error: work.csv: the counts add up to 590, those of age_work.csv to 600\n"
        "error: mode.csv: the counts add up to 580, those of age_work.csv to 600\n"
        "hint: tables that are met must agree; correct them, or give one a `weight` or `tolerance` "
        "(it then gives way), or `role: validate`, or let the job make them agree: `reconcile: "
        "least_squares`, or `reconcile: {scale_to: NAME}`\n\n"
        "2 problems; nothing was spent\n"
    )


def test_a_rule_that_forbids_a_wanted_cell_is_refused_before_anything_is_spent(tmp_path, capsys):
    job = write_job(
        tmp_path, rules=[{"name": "nobody old works", "forbid": "age >= 65 AND work = 'yes'"}]
    )
    assert run(job) == 2
    assert capsys.readouterr().err == (
        "error: age_work.csv: age=65+, work=yes wants 10 of 600 records, and the rule "
        "`nobody old works` allows 0\n"
        "  rules.0 `nobody old works` (forbid: age >= 65 AND work = 'yes')\n"
        "  if only age_work.csv gave way: at least 10 of its 600 records would be in other cells\n"
        "  if only the rule `nobody old works` were dropped: at least 10 of 600 records would break it\n"
        "\nhint: correct a table or a rule, or give a table a `weight` or `tolerance` so that it "
        "gives way\n"
    )
    assert not (tmp_path / "out").exists()


def test_unknown_key_is_named_with_its_place(tmp_path, capsys):
    job = write_job(tmp_path)
    job.write_text(job.read_text().replace("records: 600", "recrods: 600"))
    assert main(["validate", str(job)]) == 2
    assert capsys.readouterr().err == (
        f"error: {job}:4:1: recrods: unknown key; did you mean `records`?\n"
    )


def test_unwritable_place_is_a_clear_refusal(tmp_path, capsys):
    job = write_job(tmp_path)
    (tmp_path / "file").write_text("")
    assert main(["run", str(job), "--out", str(tmp_path / "file" / "out")]) == 2
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'file' / 'out'}: cannot make the run directory (Not a directory)\n\n"
        "hint: `--out DIR` names another place\n"
    )


@pytest.mark.slow
def test_full_disk_keeps_what_is_whole_and_resume_goes_on(tmp_path):
    job = write_job(tmp_path, records=60000, output={"row_group": 5000})
    command = [sys.executable, "-m", "llmsynthor", "run", str(job), "--out", str(tmp_path / "out")]

    def full_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))

    stopped = subprocess.run(command, capture_output=True, text=True, preexec_fn=full_disk)
    assert stopped.returncode == 75, stopped.stderr
    assert re.search(
        r"error: .*cannot be written \(File too large\); what was written before is whole",
        stopped.stderr,
    )
    assert "Traceback" not in stopped.stderr
    assert subprocess.run([*command, "--resume", "-q"], capture_output=True).returncode == 0
    other = write_job(tmp_path / "other", records=60000, output={"row_group": 5000})
    assert run(other, "-q") == 0
    assert data_hash(tmp_path / "out") == data_hash(tmp_path / "other" / "out")


def test_schema_is_the_committed_one(capsys):
    assert main(["schema"]) == 0
    committed = Path(__file__).parents[2] / "docs" / "job.schema.json"
    assert json.loads(capsys.readouterr().out) == json.loads(committed.read_text())


@pytest.mark.parametrize("name", ["trips", "population", "ecommerce"])
def test_example_jobs_are_valid(name):
    assert main(["validate", str(Path(__file__).parents[2] / "configs" / f"{name}.yaml")]) == 0


@pytest.mark.slow
def test_works_from_another_folder_and_through_a_pipe(tmp_path):
    write_job(tmp_path / "a b")
    done = subprocess.run(
        [sys.executable, "-m", "llmsynthor", "run", "a b/job.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    assert done.stdout == "runs/job\n"
    assert "\r" not in done.stderr
    assert (
        yaml.safe_load((tmp_path / "runs/job/job.resolved.yaml").read_text())["records"]
        == job_content()["records"]
    )


@pytest.mark.slow
def test_a_reader_that_has_had_enough_ends_a_command_in_peace(tmp_path):
    job = write_job(tmp_path)
    words = [sys.executable, "-m", "llmsynthor", "preview", str(job), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # before anything is written
        assert process.stderr.read() == b""
        assert process.wait() == 0
