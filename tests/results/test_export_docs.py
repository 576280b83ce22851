"""The worked example of docs/exports.md runs as it stands there."""

from __future__ import annotations

import gzip
import re
import shlex
from pathlib import Path

import polars as pl

from llmsynthor.cli.main import main
from llmsynthor.results.exports.formats import EXPORTS

PAGE = Path(__file__).parents[2] / "docs" / "exports.md"


def blocks(kind: str, text: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", text, re.DOTALL)


def test_the_worked_example_runs(tmp_path, monkeypatch, capsys):
    text = PAGE.read_text(encoding="utf-8")
    example = text[text.index("### A worked example") : text.index("## MATSim")]
    job, mapping = blocks("yaml", example)
    status, gender = blocks("text", example)
    monkeypatch.chdir(tmp_path)
    files = {
        "residents.yaml": job,
        "activitysim.yaml": mapping,
        "status.csv": status,
        "gender.csv": gender,
    }
    for name, content in files.items():
        Path(name).write_text(content, encoding="utf-8")
    (commands,) = blocks("bash", example)
    for command in commands.splitlines():
        program, *words = shlex.split(command)
        assert program == "llmsynthor"
        assert main(words) == 0, capsys.readouterr().err
    persons = pl.read_csv("activitysim/synthetic_persons.csv")
    heading = "person_id,age,sex,pemploy,pstudent,ptype"
    assert f"begins with `{heading}`" in example
    assert persons.columns == heading.split(",")
    assert persons["ptype"].value_counts().sort("ptype")["count"].to_list() == [
        800, 300, 100, 200, 250, 100, 150, 100,
    ]  # fmt: skip
    assert pl.read_csv("populationsim/synthetic_persons.csv").columns == [
        "household_id", "per_num", "AGEP", "gender", "status",
    ]  # fmt: skip
    assert gzip.decompress(Path("population.xml.gz").read_bytes()).count(b"<person ") == 2000


def test_the_page_has_a_row_for_every_format():
    text = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([a-z]+)` \|", text, re.MULTILINE)) == set(EXPORTS)
