"""Files of real records and crosswalks in any form; each message names a key that is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import yaml
from made_workbook import write_workbook
from small_job import write_job

from llmsynthor.cli.main import main
from llmsynthor.errors import JobError, MicrodataError
from llmsynthor.files.inputs import Inputs
from llmsynthor.files.records import read_records
from llmsynthor.job.file_form import Form, form_of_options

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [("clé", "poids", "âge", "mode"), ("1", "9.5", "30", "vélo"), ("2", "0.5", "61", "à pied")]
PLAIN = pl.DataFrame({name: [row[i] for row in ROWS[1:]] for i, name in enumerate(ROWS[0])})


def text(separator: str = ",", decimal: str = ".") -> str:
    rows = [[cell.replace(".", decimal) for cell in row] for row in ROWS]
    return "".join(separator.join(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("r.csv", text().encode(), Form()),
        ("r.csv", text().encode("utf-8-sig"), Form()),
        ("r.csv", text(";").encode("utf-16"), Form()),
        ("r.csv", ("\r\n" + text(";").replace("\n", "\r\n")).encode(), Form()),
        ("r.txt", text("|").encode("cp1252"), Form(encoding="windows-1252")),
        ("r.tsv", text("\t").encode("utf-16-be"), Form(encoding="utf-16")),
        ("r.tab", text("\t").encode("mac-roman"), Form(encoding="mac-roman")),
        ("r.csv", text(";", ",").encode("latin-1"), Form("latin-1", ";", ",")),
    ],
)
def test_a_text_of_any_form_is_read_alike(name, content, form):
    if form.encoding == "utf-16":
        content = text("\t").encode("utf-16-le")
    records = read_records(name, Inputs(given={name: content}), form)
    frame = records.frame
    if form.decimal == ",":
        frame = frame.with_columns(pl.col("poids").str.replace(",", "."))
    assert frame.equals(PLAIN)


def test_a_workbook_and_parquet_are_read_as_the_text_is(tmp_path):
    PLAIN.write_parquet(tmp_path / "r.parquet")
    write_workbook(tmp_path / "r.xlsx", {"data": [list(row) for row in ROWS]})
    for name in ("r.parquet", "r.xlsx"):
        assert read_records(name, Inputs(tmp_path)).frame.equals(PLAIN)


def test_a_separator_inside_names_or_numbers_is_not_taken_for_one():
    for content in ('"a;b;c",d\n1,2\n', "a;b,d\n1,2\n", "a,b;c,d;e\n1,2,3\n", '"a,b";c\n1,5;2,5\n'):
        wide = len(read_records("r.csv", Inputs(given={"r.csv": content.encode()})).frame.columns)
        assert wide == (3 if "d;e" in content else 2)


def test_of_columns_without_a_name_one_is_kept_and_no_other_name_may_stand_twice():
    given = {"r.csv": b"a,,b,\n1,2,3,4\n", "s.csv": b"a,b, a\n1,2,3\n"}
    assert read_records("r.csv", Inputs(given=given)).frame.columns == ["a", "", "b"]
    with pytest.raises(MicrodataError) as caught:
        read_records("s.csv", Inputs(given=given))
    assert str(caught.value) == "s.csv:1: 2 columns are named `a`"


@pytest.mark.parametrize(
    ("content", "form", "message", "hint"),
    [
        (
            "a\nb\xe9\n",
            Form(keys=frozenset({"encoding"})),
            "r.csv:2: byte 2 of this line (0xE9) is not UTF-8; in Latin-1 it is `é`",
            "say how it is stored, for example `--encoding latin-1`",
        ),
        (
            "a\nb\xe9\n",
            Form(),
            "r.csv:2: byte 2 of this line (0xE9) is not UTF-8; in Latin-1 it is `é`",
            "save the file as UTF-8",
        ),
        (
            "a\nb\x81\n",
            Form(encoding="windows-1252"),
            "r.csv: byte 4 of the file is not windows-1252 (character maps to <undefined>)",
            "correct `--encoding`, or leave it out if the file is UTF-8",
        ),
        (
            "\xef\xbb\xbfa\nb\n",
            Form(encoding="latin-1"),
            "r.csv: the file begins with the mark of utf-8, and the option is `--encoding latin-1`",
            "leave `--encoding` out",
        ),
        (
            "a\0,\0b\0\n\0",
            Form(keys=frozenset({"encoding"})),
            "r.csv: the file looks like UTF-16 without its mark",
            "say so: `--encoding utf-16`",
        ),
    ],
)
def test_what_cannot_be_decoded_is_said_with_an_option_that_exists(content, form, message, hint):
    with pytest.raises(MicrodataError) as caught:
        read_records("r.csv", Inputs(given={"r.csv": content.encode("latin-1")}), form)
    assert (str(caught.value), caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("utf-9", None, "."), "--encoding utf-9: the choices are utf-8, utf-16, latin-1, "),
        ((None, ":", "."), "--separator :: the choices are , ; tab |"),
        ((None, None, ";"), "--decimal ;: the choices are . ,"),
    ],
)
def test_an_option_that_is_no_choice_is_refused(options, message):
    with pytest.raises(JobError) as caught:
        form_of_options(*options)
    assert str(caught.value).startswith(message)
    assert form_of_options("latin-1", "tab", ",").separator == "\t"


def seed_text(separator: str = ",", decimal: str = ".") -> str:
    head = ["id", "AGEP", "work", "mode", "w", "né"]
    rows = [
        [f"p{i}", str(18 + i), "yes" if i % 2 else "no", ("car", "bus", "walk")[i % 3], "1.5", "é"]
        for i in range(60)
    ]
    lines = [separator.join(cell.replace(".", decimal) for cell in row) for row in [head, *rows]]
    return "\n".join(lines) + "\n"


def seed_job(folder: Path, content: bytes, name: str = "seed.csv", **form: Any) -> Path:
    sample = {"file": name, "columns": {"AGEP": "age"}, "weight": "w", "key": "id", **form}
    path = write_job(folder, seed_sample=sample)
    (folder / name).write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("seed.csv", seed_text().encode("cp1252"), {"encoding": "windows-1252"}),
        ("seed.csv", seed_text(";").encode("utf-16"), {}),
        ("seed.csv", seed_text(";", ",").encode(), {"decimal": ","}),
        (
            "seed.tsv",
            seed_text("\t", ",").encode("latin-1"),
            {"encoding": "latin-1", "decimal": ","},
        ),
        ("seed.txt", seed_text("|").encode(), {"separator": "|"}),
    ],
)
def test_a_seed_sample_of_any_form_makes_the_same_records(tmp_path, name, content, form):
    plain = seed_job(tmp_path / "plain", seed_text().encode())
    other = seed_job(tmp_path / "other", content, name, **form)
    for job in (plain, other):
        assert main(["run", str(job), "--out", str(job.parent / "out"), "-q"]) == 0
    first, second = (sorted((job.parent / "out/data").iterdir()) for job in (plain, other))
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]


@pytest.mark.parametrize(
    ("name", "content", "form", "told"),
    [
        (
            "seed.csv",
            seed_text().encode("cp1252"),
            {},
            "error: seed.csv:1: byte 22 of this line (0xE9) is not UTF-8; in Latin-1 it is `é`\n\n"
            "hint: say how it is stored in `seed_sample`, for example `encoding: latin-1`\n",
        ),
        (
            "seed.csv",
            seed_text(";", ",").encode(),
            {},
            "error: seed.csv:2: the weight `w` is `1,5`, not a number of 0 or more (60 such "
            "records)\n\n"
            'hint: where a comma stands before decimals, say so in `seed_sample`: `decimal: ","`\n',
        ),
        (
            "seed.csv",
            seed_text().encode(),
            {"separator": ";"},
            "error: seed.csv:1: the columns are separated by commas, and read as if by `;`\n\n"
            "hint: leave `separator` out\n",
        ),
        (
            "seed.parquet",
            b"",
            {"encoding": "latin-1"},
            "error: job.yaml:40:1: seed_sample: `encoding` is for text files; a parquet file has none\n",
        ),
    ],
)
def test_what_is_wrong_with_a_seed_sample_names_its_own_keys(
    tmp_path, monkeypatch, capsys, name, content, form, told
):
    monkeypatch.chdir(tmp_path)
    seed_job(tmp_path, content, name, **form)
    assert main(["validate", "job.yaml"]) == 2
    assert capsys.readouterr().err == told


ZONES = {
    "geo.csv": "iris,commune\n1,Orléans\n2,Orléans\n3,Blois\n",
    "iris.csv": "iris,count\n1,500\n2,500\n3,400\n",
    "com.csv": "commune,mode,count\nOrléans,car,900\nOrléans,bus,100\nBlois,car,200\nBlois,bus,200\n",
}


def zone_job(folder: Path, crosswalk: bytes, name: str = "geo.csv", **form: Any) -> Path:
    for file, content in ZONES.items():
        (folder / file).write_text(content)
    (folder / name).write_bytes(crosswalk)
    job = {
        "version": 1,
        "name": "g",
        "records": 1400,
        "zones": {"variable": "iris", "crosswalk": name, "within": ["commune"], **form},
        "variables": {"mode": {"type": "category", "values": ["car", "bus"]}},
        "tables": [{"file": "iris.csv"}, {"file": "com.csv"}],
        "provider": {"model": "none"},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("name", "content", "form"),
    [
        ("geo.csv", ZONES["geo.csv"].encode("cp1252"), {"encoding": "windows-1252"}),
        ("geo.csv", ZONES["geo.csv"].encode("utf-16"), {}),
        ("geo.txt", ZONES["geo.csv"].encode("mac-roman"), {"encoding": "mac-roman"}),
        ("geo.csv", ZONES["geo.csv"].replace(",", ";").encode(), {"separator": ";"}),
        ("geo.tsv", ZONES["geo.csv"].replace(",", "\t").encode(), {}),
    ],
)
def test_a_crosswalk_of_any_form_is_read(tmp_path, capsys, name, content, form):
    assert main(["validate", str(zone_job(tmp_path, content, name, **form))]) == 0
    assert "zones: 3 in 1 chunk" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "form", "told"),
    [
        (
            ZONES["geo.csv"].encode("cp1252"),
            {},
            "error: geo.csv:2: byte 6 of this line (0xE9) is not UTF-8; in Latin-1 it is `é`\n\n"
            "hint: say how it is stored in `zones`, for example `encoding: latin-1`\n",
        ),
        (
            ZONES["geo.csv"].replace(",", ";").encode(),
            {},
            "error: geo.csv:1: the columns are separated by `;`, and read as if by commas\n\n"
            'hint: say so in `zones`: `separator: ";"`\n',
        ),
        (
            ZONES["geo.csv"].encode(),
            {"separator": "\t"},
            "error: geo.csv:1: the columns are separated by commas, and read as if by tabs\n\n"
            "hint: leave `separator` out\n",
        ),
        (
            ("The zones\n" + ZONES["geo.csv"]).encode(),
            {},
            "error: geo.csv:1: the header seems to be on line 2; here is `The zones`\n\n"
            "hint: take out what is above it\n",
        ),
        (
            (ZONES["geo.csv"] + "Source: our office\n").encode(),
            {},
            "error: geo.csv:5: this row has 1 field, the header has 2\n\n"
            "hint: if these are notes, take them out\n",
        ),
    ],
)
def test_what_is_wrong_with_a_crosswalk_names_keys_of_zones(
    tmp_path, monkeypatch, capsys, content, form, told
):
    monkeypatch.chdir(tmp_path)
    zone_job(tmp_path, content, **form)
    assert main(["validate", "job.yaml"]) == 2
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (seed_text().encode("cp1252"), ["--encoding", "windows-1252"]),
        (seed_text(";", ",").encode(), ["--decimal", ","]),
        (seed_text("|").encode("utf-16"), ["--separator", "|"]),
        (seed_text("\t").encode("latin-1"), ["--separator", "tab", "--encoding", "latin-1"]),
    ],
)
def test_tables_and_evaluate_read_records_of_any_form(tmp_path, content, options):
    job = write_job(tmp_path)
    assert main(["run", str(job), "--out", str(tmp_path / "run"), "-q"]) == 0
    found = {}
    for name, text_, more in (("plain", seed_text().encode(), []), ("other", content, options)):
        file = tmp_path / f"{name}.csv"
        file.write_bytes(text_)
        columns = ["--columns", "AGEP=age", "--weight", "w"]
        assert main(["evaluate", str(tmp_path / "run"), str(file), *columns, *more]) == 0
        made = tmp_path / name
        assert main(["tables", str(file), "--out", str(made), "--weight", "w", *more]) == 0
        tables = {f.name: f.read_bytes() for f in (made / "tables").iterdir()}
        evaluation = json.loads((tmp_path / "run/evaluation.json").read_text())
        evaluation["microdata"] |= {"file": "", "sha256": ""}
        found[name] = tables, evaluation
    assert found["other"] == found["plain"]


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        (
            seed_text().encode("cp1252"),
            [],
            "error: r.csv:1: byte 22 of this line (0xE9) is not UTF-8; in Latin-1 it is `é`\n\n"
            "hint: say how it is stored, for example `--encoding latin-1`\n",
        ),
        (
            seed_text().encode(),
            ["--separator", ";"],
            "error: r.csv:1: the columns are separated by commas, and read as if by `;`\n\n"
            "hint: leave `--separator` out\n",
        ),
        (
            seed_text().encode(),
            ["--encoding", "utf-8-sig"],
            "error: --encoding utf-8-sig: the choices are utf-8, utf-16, latin-1, windows-1250, "
            "windows-1251, windows-1252, iso-8859-2, iso-8859-15, cp437, cp850, mac-roman, shift-jis, "
            "gb18030, big5, euc-kr\n",
        ),
    ],
)
def test_what_tables_and_evaluate_cannot_read_names_their_options(
    tmp_path, monkeypatch, capsys, content, options, told
):
    monkeypatch.chdir(tmp_path)
    job = write_job(tmp_path)
    assert main(["run", str(job), "--out", "run", "-q"]) == 0
    (tmp_path / "r.csv").write_bytes(content)
    for words in (["tables", "r.csv", "--out", "made"], ["evaluate", "run", "r.csv"]):
        capsys.readouterr()
        assert main([*words, *options]) == 2
        assert capsys.readouterr().err == told


def test_a_weight_with_a_decimal_comma_is_told_the_option(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.csv").write_text(seed_text(";", ","))
    assert main(["tables", "r.csv", "--out", "made", "--weight", "w"]) == 2
    assert capsys.readouterr().err == (
        "error: r.csv:2: the weight `w` is `1,5`, not a number of 0 or more (60 such "
        "records)\n\nhint: where a comma stands before decimals, say so: `--decimal ,`\n"
    )


@pytest.mark.parametrize(
    ("changes", "shaped"),
    [
        ({}, "the seed sample shapes it, and it has the shares of that"),
        (
            {"provider": {"model": "openai/some"}},
            "the seed sample and the model's proposals shape it",
        ),
        (
            {"seed_sample": None},
            "the model's proposals shape it, and without them it is spread evenly over its categories",
        ),
        (
            {"sample_without_mode": True},
            "the model's proposals shape it, and without them it is spread evenly over its categories",
        ),
    ],
)
def test_what_shapes_a_variable_that_no_table_has_is_said(
    tmp_path, monkeypatch, capsys, changes, shaped
):
    monkeypatch.chdir(tmp_path)
    path = seed_job(tmp_path, seed_text().encode())
    job = yaml.safe_load(path.read_text())
    if changes.pop("sample_without_mode", False):
        (tmp_path / "seed.csv").write_text(seed_text().replace("mode", "other"))
        job["seed_sample"]["missing"] = "background"
    job["tables"] = [{"file": "age_work.csv"}, {"file": "work.csv"}]
    job = {key: value for key, value in (job | changes).items() if value is not None}
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    assert main(["validate", "job.yaml"]) == 0
    err = capsys.readouterr().err
    line = 1 + path.read_text().splitlines().index("  mode:")
    assert err.splitlines()[0] == (
        f"warning: job.yaml:{line}:3: `mode` is in no control table: only {shaped}"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [("w\n1\n-2\n", 3), ("\n\nw\n1\n-2\n", 5), ('w,of\n1,"a\nb"\n-2,c\n', None)],
)
def test_a_record_has_its_line_where_each_is_one(tmp_path, text, line):
    (tmp_path / "r.csv").write_text(text)
    read = read_records("r.csv", Inputs(tmp_path))
    assert read.has_lines == (line is not None)
    assert read.place(1) == (line or 2)
