"""`data_dictionary.json`: every figure recounted from the files, written with the report."""

from __future__ import annotations

import hashlib
import json

import polars as pl
import pytest
from small_job import job_content, write_job

from llmsynthor.cli.main import main
from llmsynthor.results import dictionary

VARIABLES = job_content()["variables"] | {
    "age": {
        "type": "integer", "min": 18, "max": 90, "unit": "years", "description": "age at birthday",
    },
    "work": {"type": "category", "values": ["yes", "no"], "ordered": True},
    "miles": {"type": "number", "min": 0, "max": 10, "decimals": 1},
}  # fmt: skip


@pytest.fixture
def done(tmp_path):
    (tmp_path / "miles.csv").write_text("miles,share\n0-2.5,0.5\n2.5-10,0.5\n")
    tables = [*job_content()["tables"], {"file": "miles.csv"}]
    job = write_job(tmp_path, variables=VARIABLES, tables=tables, output={"row_group": 1000})
    out = tmp_path / "out"
    assert main(["run", str(job), "--out", str(out), "-q", "--set", "records=2400"]) == 0
    return out


def read(run):
    content = json.loads((run / "data_dictionary.json").read_text())
    return content, {variable["name"]: variable for variable in content["variables"]}


def test_it_says_what_each_variable_is_and_what_the_records_hold_of_it(done, tmp_path):
    content, variables = read(done)
    files = sorted((done / "data").iterdir())
    data = pl.concat([pl.read_parquet(file) for file in files])
    assert len(files) > 1
    assert list(variables) == data.columns
    assert content["records"] == {"asked": 2400, "made": data.height}
    assert content["files"] == [
        {"file": f"data/{file.name}", "records": pl.read_parquet(file).height} for file in files
    ]
    age, work, miles = variables["age"], variables["work"], variables["miles"]
    assert (age["type"], age["unit"], age["description"]) == ("integer", "years", "age at birthday")
    assert (age["min"], age["max"]) == (18, 90)
    assert age["bins"] == [
        {"label": "18-39", "low": 18, "high": 39},
        {"label": "40-64", "low": 40, "high": 64},
        {"label": "65+", "low": 65, "high": 90},
    ]
    assert miles["bins"][1] == {"label": "2.5-10", "low": 2.5, "high": 10.0}
    assert miles["decimals"] == 1
    for name in ("age", "miles"):
        held = variables[name]["data"]
        column = data[name]
        assert (held["distinct"], held["least"], held["largest"]) == (
            column.n_unique(), column.min(), column.max(),
        )  # fmt: skip
    assert age["data"]["records_by_label"] == [
        data["age"].is_between(b["low"], b["high"]).sum() for b in age["bins"]
    ]
    assert miles["data"]["records_by_label"] == [
        (data["miles"] < 2.5).sum(), (data["miles"] >= 2.5).sum(),
    ]  # fmt: skip
    assert work["categories"] == ["yes", "no"]
    assert (work["data"]["least"], work["data"]["largest"]) == ("yes", "no")
    assert work["data"]["records_by_label"] == [(data["work"] == x).sum() for x in ("yes", "no")]
    assert variables["mode"]["data"]["least"] is None  # its categories have no order
    assert work["tables"][2] == {
        "name": "work_mode",
        "role": "validate",
        "file": "work_mode.csv",
        "sha256": hashlib.sha256((tmp_path / "work_mode.csv").read_bytes()).hexdigest(),
    }
    columns = [column["name"] for column in content["provenance"]["columns"]]
    assert columns == pl.read_parquet(done / "provenance" / "00000.parquet").columns


def test_report_writes_the_same_bytes_again_and_a_finished_run_what_is_missing(done, tmp_path):
    file = done / "data_dictionary.json"
    before = file.read_bytes()
    file.unlink()
    assert main(["report", str(done)]) == 0
    assert file.read_bytes() == before
    file.unlink()
    again = ["run", str(tmp_path / "job.yaml"), "--out", str(done), "--set", "records=2400", "-q"]
    assert main([*again, "--resume"]) == 0
    assert file.read_bytes() == before
    assert main([*again, "--overwrite"]) == 0
    assert file.read_bytes() == before


def test_report_json_is_the_last_file_that_a_run_writes(done):
    order = ["data_dictionary.json", "report.html", "report.json"]
    times = [(done / name).stat().st_mtime_ns for name in order]
    assert times == sorted(times)
    assert all(
        (done / "report.json").stat().st_mtime_ns >= file.stat().st_mtime_ns
        for file in done.rglob("*.parquet")
    )
    assert not list(done.rglob("*.part"))


def test_more_distinct_values_than_memory_should_hold_are_not_counted(done, monkeypatch):
    monkeypatch.setattr(dictionary, "MOST_DISTINCT", 50)
    assert main(["report", str(done)]) == 0
    variables = read(done)[1]
    assert variables["age"]["data"]["distinct"] is None
    assert variables["age"]["data"]["least"] == 18
    assert variables["work"]["data"]["distinct"] == 2


def test_it_is_printed_as_markdown_and_csv(done, tmp_path, capsys):
    for name in ("d.md", "d.csv"):
        out = str(tmp_path / name)
        assert main(["export", str(done), "--format", "dictionary", "--out", out]) == 0
    rows = pl.read_csv(tmp_path / "d.csv", infer_schema=False)
    assert rows["variable"].to_list() == ["age", "work", "mode", "miles"]
    assert rows.row(1, named=True)["values"] == "yes, no"
    assert rows.row(0, named=True)["tables"] == "age_work (control)"
    lines = (tmp_path / "d.md").read_text().splitlines()
    assert lines[0] == "# small: data dictionary"
    assert "| age | integer | years | age at birthday | 18 to 90 |" in "\n".join(lines)
    assert {line.count(" | ") for line in lines if line.startswith("| ")} == {8}
    (done / "data_dictionary.json").unlink()
    capsys.readouterr()
    again = ["export", str(done), "--format", "dictionary", "--out", str(tmp_path / "e.md")]
    assert main(again) == 2
    assert f"hint: `llmsynthor report {done}` writes it" in capsys.readouterr().err
