"""`llmsynthor export`: CSV and parquet hold the run's records, and nothing is replaced unasked."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil

import polars as pl
import pytest
from export_runs import ODD, odd_run, records_of, tree
from polars.testing import assert_frame_equal
from small_job import write_job

from llmsynthor.cli.main import main


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    return odd_run(tmp_path_factory.mktemp("odd"))


@pytest.fixture
def asked(asked_run):
    return asked_run


def export(run, form, out, *more):
    return main(["export", str(run), "--format", form, "--out", str(out), *more])


def rows_of(text):
    return list(csv.reader(io.StringIO(text, newline="")))


def test_csv_holds_every_record_with_its_labels_as_they_are(odd, tmp_path, capsys):
    before = tree(odd)
    assert export(odd, "csv", tmp_path / "x.csv") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'x.csv'}\n"
    heading, *rows = rows_of((tmp_path / "x.csv").read_bytes().decode())
    data = records_of(odd)
    assert len(list((odd / "data").iterdir())) > 1
    assert heading == data.columns == ["age", "work", "mode", "odd\tname", "miles"]
    assert rows == [[str(value) for value in row] for row in data.rows()]
    assert {row[3] for row in rows} == set(ODD)  # `=1+1` stays what it is
    assert tree(odd) == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_gzip_holds_the_same_and_equal_content_gives_equal_bytes(odd, tmp_path):
    assert export(odd, "csv", tmp_path) == 0
    assert export(odd, "csv", tmp_path, "--gzip") == 0
    assert export(odd, "csv", tmp_path / "other.csv.gz") == 0
    plain = (tmp_path / "records.csv").read_bytes()
    zipped = (tmp_path / "records.csv.gz").read_bytes()
    assert gzip.decompress(zipped) == plain
    assert (tmp_path / "other.csv.gz").read_bytes() == zipped


def test_parquet_is_one_file_with_types_and_order_kept(odd, tmp_path):
    assert export(odd, "parquet", tmp_path / "new" / "x.parquet") == 0
    assert_frame_equal(pl.read_parquet(tmp_path / "new" / "x.parquet"), records_of(odd))


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_provenance_stands_beside_each_record(asked, tmp_path, form):
    assert export(asked, form, tmp_path, "--provenance") == 0
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet}[form]
    found = read(tmp_path / f"records.{form}").select("iteration", "proposal")
    sources = records_of(asked, "provenance")
    assert sources["proposal"].n_unique() > 5
    assert 0 < sources["proposal"].null_count() < sources.height
    assert_frame_equal(found, sources, check_dtypes=False)


def test_columns_are_renamed_and_recoded_as_the_map_says(asked, tmp_path):
    file = tmp_path / "map.yaml"
    file.write_text(
        "columns:\n  walks: {variable: mode, values: {car: false, bus: false, walk: true}}\n"
        "  way: mode\n  score: {variable: work, values: {'yes': 1, 'no': 0.5}}\n"
    )
    more = ["--map-file", str(file), "--map", "age=AGEP"]
    assert export(asked, "parquet", tmp_path, *more) == 0
    found, data = pl.read_parquet(tmp_path / "records.parquet"), records_of(asked)
    assert found.columns == ["AGEP", "score", "walks", "way"]
    assert found["AGEP"].equals(data["age"])
    assert found["walks"].equals(data["mode"] == "walk")
    assert found["score"].to_list() == [1.0 if w == "yes" else 0.5 for w in data["work"]]
    assert found["way"].cast(pl.String).equals(data["mode"].cast(pl.String))


def test_names_that_look_like_patterns_are_names(tmp_path):
    run = odd_run(tmp_path, name="^age.*$")
    assert export(run, "csv", tmp_path / "x.csv") == 0
    assert rows_of((tmp_path / "x.csv").read_text())[0][3] == "^age.*$"
    assert export(run, "parquet", tmp_path / "x.parquet") == 0
    assert_frame_equal(pl.read_parquet(tmp_path / "x.parquet"), records_of(run))


def test_what_is_there_is_replaced_only_when_asked(asked, tmp_path, capsys):
    file = tmp_path / "x.csv"
    file.write_text("mine")
    assert export(asked, "csv", file) == 2
    assert capsys.readouterr().err == (
        f"error: {file}: is there already\n\n"
        "hint: `--overwrite` replaces it, `--out` names another place\n"
    )
    assert file.read_text() == "mine"
    assert export(asked, "csv", file, "--overwrite") == 0
    assert file.read_text().startswith("age,work,mode\n")
    assert [p.name for p in tmp_path.iterdir()] == ["x.csv"]


def test_a_runs_own_folders_are_no_place_for_an_export(asked, capsys):
    before = tree(asked)
    for place in ("data/00000.parquet", "data/9.parquet", "provenance/x.parquet", "../out/data"):
        assert export(asked, "parquet", asked / place, "--overwrite") == 2
        assert "would be among the run's own files" in capsys.readouterr().err
    assert tree(asked) == before


def test_json_says_what_was_written(asked, tmp_path, capsys):
    assert export(asked, "csv", tmp_path / "x.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "format": "csv", "records": 600, "files": [str(tmp_path / "x.csv")], "notes": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("form", "out", "more", "words"),
    [
        ("csv", "x.txt", [], "is no folder, and a file of this format ends with `.csv` or `.csv.gz`"),
        ("csv", "x.csv", ["--gzip"], "`--gzip` writes files that end with `.gz`"),
        ("parquet", "x", ["--gzip"], "`--gzip` means nothing for `--format parquet`"),
        ("csv", "x", ["--records", "persons"], "`--records` means nothing for `--format csv`"),
        ("csv", "x", ["--map", "age"], "--map age: write it as `VARIABLE=COLUMN`"),
        ("csv", "x", ["--map", "agee=A"], "--map agee=A: there is no variable `agee` (there are: age"),
        ("csv", "x", ["--map", "age=A", "--map", "mode=A"], "the column `A` has `age` already"),
        ("csv", "x", ["--map", "age=mode"], "would be a second column `mode`"),
        ("csv", "x", ["--provenance", "--map", "age=proposal"], "would be a second column `proposal`"),
        ("csv", "job.yaml/x.csv", [], "x.csv: cannot be made (File exists)"),
        ("dictionary", "x", ["--provenance"], "`--provenance` means nothing for `--format dictionary`"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    asked, tmp_path, capsys, form, out, more, words
):
    (tmp_path / "job.yaml").touch()
    assert export(asked, form, tmp_path / out, *more) == 2
    assert words in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["job.yaml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("columns: {a: {variable: mode, values: {car: 1, bus: 2}}}",
         "map.yaml:1:11: a: `values` of `mode`: no value is given for `walk`"),
        ("columns: {a: {variable: mode, values: {car: 1, bus: 2, walk: 3, tram: 4}}}",
         "there is no `tram`"),
        ("columns:\n  a: {variable: work, values: {yes: 1, no: 0}}\n",
         "columns.a.values: the key `yes`"),
        ("columns:\n  a: {var: work}\n", "map.yaml:2:12: columns.a.var: unknown key; docs/exports.md has the keys"),
        ("column: {}\n", "map.yaml:1:1: column: unknown key; docs/exports.md has the keys"),
        ("[1]", "map.yaml:1:1: must be a mapping with `columns`"),
    ],
)  # fmt: skip
def test_a_wrong_map_file_is_refused_with_the_place(asked, tmp_path, capsys, text, words):
    (tmp_path / "map.yaml").write_text(text)
    more = ["--map-file", str(tmp_path / "map.yaml")]
    assert export(asked, "csv", tmp_path / "x.csv", *more) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "x.csv").exists()


def test_a_run_that_is_not_finished_is_exported_only_when_asked(asked, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(asked, run)
    last = sorted((run / "data").iterdir())[-1]
    lost = pl.read_parquet(last).height
    last.unlink()
    assert export(run, "csv", tmp_path / "x.csv") == 2
    assert f"holds {600 - lost} of 600 records" in capsys.readouterr().err
    assert export(run, "csv", tmp_path / "x.csv", "--partial") == 0
    assert f"note: the run is not finished: {600 - lost} of 600" in capsys.readouterr().err
    assert len(rows_of((tmp_path / "x.csv").read_text())) == 600 - lost + 1
    (run / "data" / "00000.parquet").unlink()
    assert export(run, "csv", tmp_path / "y.csv", "--partial") == 2
    assert "00000.parquet: is missing, though later batches exist" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["csv", "parquet", "matsim"])
def test_a_damaged_batch_is_named_and_leaves_no_file(asked, tmp_path, capsys, form):
    run = tmp_path / "run"
    shutil.copytree(asked, run)
    file = sorted((run / "data").iterdir())[-1]
    content = bytearray(file.read_bytes())
    content[4:60] = bytes(56)  # the footer, which says how many rows there are, stays whole
    file.write_bytes(content)
    assert export(run, form, tmp_path / "x") == 2
    assert f"error: {file}: damaged (" in capsys.readouterr().err
    assert not list((tmp_path / "x").iterdir())


def test_missing_provenance_is_named(asked, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(asked, run)
    (run / "provenance" / "00000.parquet").unlink()
    assert export(run, "csv", tmp_path / "x.csv", "--provenance") == 2
    assert "provenance/00000.parquet: is missing" in capsys.readouterr().err
    assert export(run, "csv", tmp_path / "x.csv") == 0


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert export(tmp_path, "csv", tmp_path / "x.csv") == 2
    assert "holds no run (there is no manifest.json)" in capsys.readouterr().err


def test_a_job_cannot_ask_for_a_format_that_runs_do_not_write(tmp_path, capsys):
    job = write_job(tmp_path, output={"format": "csv"})
    assert main(["validate", str(job)]) == 2
    assert "output.format: must be `parquet`, got `csv`" in capsys.readouterr().err
