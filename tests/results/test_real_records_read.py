"""Reading real records: numbers, bins, missing values, weights; every problem named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from real_records import real_frame, write_real

from llmsynthor.cli.main import main
from llmsynthor.errors import MicrodataError
from llmsynthor.results.evaluation.real import Microdata, read_microdata
from llmsynthor.store.directory import RunDirectory
from llmsynthor.targets.domain import Domain, Variable

if TYPE_CHECKING:
    from pathlib import Path

DOMAIN = Domain(
    (
        Variable("age", "integer", ("0-17", "18-64", "65+"), (0.0, 18.0, 65.0, 96.0)),
        Variable("km", "number", ("0-5", "5-50"), (0.0, 5.0, 50.0), decimals=1),
        Variable("mode", "category", ("Car", "Bus", "na", "2")),
    )
)


def read(folder: Path, text: str, *mapped: str, weight: str | None = None) -> Microdata:
    path = folder / "real.csv"
    path.write_text(text)
    return read_microdata(path, DOMAIN, mapped, weight)


def codes(found: Microdata, name: str) -> list[int]:
    return found.records.codes[name].tolist()


def test_numbers_are_cut_into_the_bins_of_the_job(tmp_path):
    found = read(tmp_path, "age,km\n0,0\n17, 4.9\n18,5\n64.0,50\n65,1e1\n95,\n,NA\n")
    assert codes(found, "age") == [0, 0, 1, 1, 2, 2, -1]
    assert codes(found, "km") == [0, 0, 1, 1, 1, -1, -1]
    assert found.records.values["age"][:6].tolist() == [0, 17, 18, 64, 65, 95]
    assert np.isnan(found.records.values["km"][5:]).all()
    assert found.absent == {"mode": None}
    assert {n: int(m.sum()) for n, m in found.records.missing.items()} == {"age": 1, "km": 2}


def test_labels_of_bins_are_read_but_give_no_raw_values(tmp_path):
    found = read(tmp_path, "age,km\n18-64,[5;10)\n20-24,0-5\n65+,7\n7,5-50\n")
    assert codes(found, "age") == [1, 1, 2, 0]
    assert codes(found, "km") == [1, 0, 1, 1]
    assert found.records.values == {}
    assert found.in_bins == ["age", "km"]


def test_a_category_that_looks_like_a_missing_value_is_a_category(tmp_path):
    found = read(tmp_path, 'mode\nna\n Car \n2.0\n""\nNaN\nnull\n')
    assert codes(found, "mode") == [2, 0, 3, -1, -1, -1]


def test_columns_are_mapped_and_weights_are_read(tmp_path):
    text = "AGEP,age,PW\n20,x,1.5\n70,y,0\n"
    found = read(tmp_path, text, "AGEP=age", weight="PW")
    assert found.columns == {"age": "AGEP"}
    assert codes(found, "age") == [1, 2]
    assert found.records.weights.tolist() == [1.5, 0.0]


def test_parquet_with_its_own_types_reads_as_csv(tmp_path):
    frame = pl.DataFrame({"age": [3, None, 70], "km": [1.5, 7.0, None], "mode": ["Car", None, "2"]})
    frame.with_columns(mode=pl.col("mode").cast(pl.Categorical)).write_parquet(
        tmp_path / "r.parquet"
    )
    found = read_microdata(tmp_path / "r.parquet", DOMAIN)
    assert codes(found, "age") == [0, -1, 2]
    assert codes(found, "km") == [0, 1, -1]
    assert codes(found, "mode") == [0, -1, 3]
    assert set(found.records.values) == {"age", "km"}


def test_every_problem_is_named_with_rows_and_near_misses(tmp_path):
    rows = ["car,3,5", "car,96,1", "Buss,-2,2", "Tram,17.5,x"]
    with pytest.raises(MicrodataError) as caught:
        read(tmp_path, "mode,age,km\n" + "\n".join(rows) + "\n")
    path = tmp_path / "real.csv"
    assert str(caught.value).splitlines()[:3] == [
        f"{path}: column `age`: `age` is an integer, but in 1 row it is not whole (for example 17.5)",
        f"{path}: column `age`: 2 rows beyond the limits of `age`, 0 to 95: values go from -2 to 96",
        f"{path}: column `km`: `x` (1 row), in all 1 row, is no number and inside no bin of `km`, "
        "which has `0-5`, `5-50`",
    ]
    modes = str(caught.value).splitlines()[3]
    assert "`car` (2 rows, did you mean `Car`?)" in modes
    assert "`Buss` (1 row, did you mean `Bus`?)" in modes
    assert "`Tram` (1 row)" in modes
    assert "in all 4 rows, are no category of `mode`, which has `Car`, `Bus`, `na`, `2`" in modes
    assert "spelled and cut as in the job" in str(caught.value.hint)


def test_a_label_over_several_bins_is_refused(tmp_path):
    with pytest.raises(MicrodataError, match=r"`10-20` \(1 row\), in all 1 row, is no number and"):
        read(tmp_path, "age\n10-20\n5\n")


@pytest.mark.parametrize(
    ("text", "mapped", "weight", "words"),
    [
        ("age\n1\n2\n", ("AGE=age",), None, "has no column `AGE`; did you mean `age`?"),
        ("a,b\n1\n2\n", ("a=agee",), None, "the job has no variable `agee`; did you mean `age`?"),
        ("a,b\n1,1\n2,1\n", ("a=age", "b=age"), None, "`age` or `b` is mapped twice"),
        ("a\n1\n2\n", ("a",), None, "write COLUMN=variable, as in AGEP=age"),
        ("a,b\n1,1\n2,1\n", (), None, "no column is named as a variable of the job; the file has"),
        ("age\n1\n2\n", (), "w", "has no such column (it has `age`)"),
        ("age,km\n1,1\n2,1\n", (), "km", "the column is a variable of the job already"),
        (
            "age,w\n1,1\n2,-1\n",
            (),
            "w",
            "real.csv:3: the weight `w` is `-1`, not a number of 0 or more (1 such record)",
        ),
        (
            "age,w\n1,x\n2,\n",
            (),
            "w",
            "real.csv:2: the weight `w` is `x`, not a number of 0 or more (2 such records)",
        ),
        ("age,w\n1,0\n2,0\n", (), "w", "real.csv: every weight in `w` is 0"),
        ("age\n", (), None, "0 records below the header"),
        ("", (), None, "the file is empty"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, text, mapped, weight, words):
    with pytest.raises(MicrodataError) as caught:
        read(tmp_path, text, *mapped, weight=weight)
    assert words in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(MicrodataError, match="no such file"):
        read_microdata(tmp_path / "no.csv", DOMAIN)
    with pytest.raises(MicrodataError, match=r"must end in .csv, .tsv, .txt, .xlsx or .parquet"):
        read_microdata(tmp_path / "no.ods", DOMAIN)
    (tmp_path / "odd.parquet").write_bytes(b"age\n1\n")
    with pytest.raises(MicrodataError, match="not a readable parquet file"):
        read_microdata(tmp_path / "odd.parquet", DOMAIN)


@pytest.fixture
def run(small_run, copied) -> Path:
    return copied(small_run)


def refused(run: Path, real: Path, capsys, *options: str) -> str:
    capsys.readouterr()
    assert main(["evaluate", str(run), str(real), *options]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert not (run / "evaluation.json").exists()
    return printed.err


def test_the_command_refuses_with_what_to_do(run, tmp_path, capsys):
    path = write_real(tmp_path / "real.csv", real_frame())
    assert refused(tmp_path, path, capsys) == (
        f"error: {tmp_path}: holds no run (there is no manifest.json)\n"
    )
    odd = write_real(tmp_path / "odd.csv", real_frame().with_columns(mode=pl.lit("Bus")))
    words = refused(run, odd, capsys)
    assert "`Bus` (900 rows, did you mean `bus`?), in all 900 rows, is no category" in words
    few = write_real(tmp_path / "few.csv", real_frame().select("age", "work"))
    assert "the real records do not have it" in refused(run, few, capsys, "--target", "mode")
    assert "the job has no such variable" in refused(run, path, capsys, "--target", "Mode")
    directory = RunDirectory(run)
    manifest = directory.read_json("manifest.json")
    directory.write_json("manifest.json", manifest | {"status": "partial"})
    words = refused(run, path, capsys)
    assert "the run is not finished (its status is partial)" in words
    assert "--resume" in words


def test_what_the_file_does_not_have_is_named_and_the_rest_compared(run, tmp_path, capsys):
    frame = real_frame().rename({"mode": "Mode"})
    path = write_real(tmp_path / "real.csv", frame)
    assert main(["evaluate", str(run), str(path)]) == 0
    assert "not in the file, so not compared: mode (is it Mode?)" in capsys.readouterr().err
    found = RunDirectory(run).read_json("evaluation.json")
    assert found["microdata"]["absent"] == ["mode"]
    assert [e["scope"] for e in found["combinations"]["pairs"]["scopes"]] == [["age", "work"]]
    assert found["combinations"]["triples"]["whole"] == 0
    assert "Not in the file, so not compared: mode." in (run / "report.html").read_text()
