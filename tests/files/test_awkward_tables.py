"""Tables as they are really published: each form reads right, or says what to write in the job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from engine_world import JOB, load
from hypothesis import given, settings
from hypothesis import strategies as st
from made_workbook import write_workbook
from small_job import job_content, write_job

from llmsynthor.app.prepare import prepare
from llmsynthor.cli.main import main
from llmsynthor.errors import InputError, TableError
from llmsynthor.targets.build import load_tables

if TYPE_CHECKING:
    from llmsynthor.targets.table import TableSet

WANTED = [[3, 4, 5], [1200, 7, 8]]
"""Counts by sex (female, male) and age (<5, 5-64, 65+)."""
LONG = "sex,age,count\n" + "".join(
    f"{sex},{age},{n}\n"
    for sex, row in zip(("female", "male"), WANTED, strict=True)
    for age, n in zip(("<5", "5-64", "65+"), row, strict=True)
)
HEAD = "sex,<5,5-64,65+\n"
WIDE = HEAD + "female,3,4,5\nmale,1200,7,8\n"
AGES = {"wide": {"variable": "age"}}


def read(folder, content: str | bytes, name: str = "t.csv", **more: Any) -> TableSet:
    data = content.encode() if isinstance(content, str) else content
    if content:
        (folder / name).write_bytes(data)
    job = yaml.safe_load(JOB)
    job["tables"] = [{"file": name, **more}]
    return load_tables(load(folder, yaml.safe_dump(job, sort_keys=False)))


def figures(tables: TableSet) -> list[list[float]]:
    table = tables.tables[0]
    order = [table.scope.index("sex"), table.scope.index("age")]
    return np.transpose(table.figures, order).tolist()


@pytest.mark.parametrize(
    ("content", "more"),
    [
        (LONG, {}),
        (LONG.replace(",", "\t"), {"name": "t.tsv"}),
        (LONG.replace(",", ";"), {"separator": ";"}),
        (LONG.encode("utf-8-sig"), {}),
        (LONG.encode("utf-16"), {}),
        (LONG.encode("utf-16-be"), {"encoding": "utf-16", "skip": True}),
        (LONG.replace("sex", "sexe\u0301", 0).replace("female", "fémale").encode("latin-1"), {"encoding": "latin-1", "values": {"sex": {"fémale": "female"}}}),
        ("A title, with a comma\nTable 1\n" + LONG, {"skip_rows": 2}),
        ("# a note\n" + LONG + "# the end\n", {"comment": "#"}),
        (LONG + "Source: the office\n", {"footer_rows": 1}),
        (LONG + "\nSource: the office, 2020\nmore\n", {"footer_rows": "blank"}),
        (LONG.replace("1200", '"1,200"'), {"thousands": ","}),
        (LONG.replace("1200", "1\u00a0200"), {"thousands": " "}),
        (LONG.replace(",", ";").replace("1200", "1.200,0"), {"thousands": ".", "decimal": ",", "separator": ";"}),
        (LONG.replace("count", "n,moe_pct").replace("\n", ",1\n").replace("moe_pct,1", "moe_pct"), {"columns": {"n": "count"}, "ignore": ["moe_pct"]}),
        (WIDE, AGES),
        (HEAD.replace("sex", "") + WIDE.removeprefix(HEAD), AGES | {"columns": {"": "sex"}}),
        ("age,F,M\n<5,3,1200\n5-64,4,7\n65+,5,8\n", {"wide": {"variable": "sex", "columns": {"F": "female", "M": "male"}}}),
        ("female <5,female 5-64,female 65+,male <5,male 5-64,male 65+\n3,4,5,1200,7,8\n", {"wide": {"variable": ["sex", "age"], "pattern": "{sex} {age}"}}),
        ("F0,F1,F2,M0,M1,M2,POP\n3,4,5,1200,7,8,1227\n", {"ignore": ["POP"], "wide": {"variable": ["sex", "age"], "columns": {s + str(i): [sex, age] for s, sex in (("F", "female"), ("M", "male")) for i, age in enumerate(("<5", "5-64", "65+"))}}}),
        ("sex,low,high,count\n" + LONG.split("\n", 1)[1].replace("<5", ",4").replace("5-64", "5,64").replace("65+", "65,"), {"bins": {"age": ["low", "high"]}}),
        (LONG + "Total,Total,1227\nfemale,Total,12\nTotal,<5,1203\n", {}),
        (LONG + "female,0-64,7\nmale,All ages,1215\n", {}),
        (LONG + "Ensemble,<5,1203\n", {"totals": ["Ensemble"]}),
        (LONG.replace("<5", "Under 5 years").replace("5-64", "5 to 64 years").replace("65+", "65 years and over"), {}),
        (LONG.replace("\n", ",a\n").replace("count,a", "count,unit") + "female,<5,99,b\n", {"where": {"unit": "a"}}),
        (LONG + "female,UNK,9\n", {"drop": {"age": "UNK"}}),
        (LONG + "male,<5,0\n", {"add_up": True}),
        (LONG.replace("65+,5", "65+,*"), {"missing": {"*": 5}}),
        (LONG.replace("65+,5", "65+,*") + "female,Total,12\n", {"missing": {"*": "unknown"}}),
        (LONG.replace("65+,5", "65+,<9"), {"missing": {"<9": [0, 8]}, "total": 1227}),
    ],
)  # fmt: skip
def test_a_published_form_reads_as_the_same_targets(tmp_path, content, more):
    more = dict(more)
    if more.pop("skip", False):  # a mark is what tells the order of the bytes
        content = b"\xfe\xff" + content
    table = read(tmp_path, content, more.pop("name", "t.csv"), **more)
    assert figures(table) == pytest.approx(np.array(WANTED, dtype=float))
    assert not table.tables[0].is_soft


def test_a_workbook_is_read_by_its_sheet(tmp_path):
    rows = [line.split(",") for line in LONG.splitlines()]
    cells = [rows[0], *[[a, b, int(n)] for a, b, n in rows[1:]]]
    sheets = {"notes": [["x"]], "data": [["A title"], [], *cells, ["Source"]]}
    write_workbook(tmp_path / "t.xlsx", sheets)
    more = {"sheet": "data", "skip_rows": 2, "footer_rows": 1}
    assert figures(read(tmp_path, "", "t.xlsx", **more)) == WANTED
    with pytest.raises(TableError) as caught:
        read(tmp_path, "", "t.xlsx")
    assert (str(caught.value), caught.value.hint) == (
        "t.xlsx: the file has 2 sheets: `notes`, `data`",
        "name one in the table's entry, for example `sheet: notes`",
    )


@pytest.mark.parametrize(
    ("content", "more", "message", "hint"),
    [
        (
            LONG + "female,Total,13\n",
            {},
            "t.csv:8: sex=female, age=Total is 13, and its cells add up to 12",
            "correct the file, say `rounded_to` where each count was rounded by itself, or leave the "
            "rows out with `drop`",
        ),
        (
            LONG + "Source: x\n",
            {},
            "t.csv:8: this row has 1 field, the header has 3",
            "if these are notes, say so in the table's entry: `footer_rows: 1`",
        ),
        (
            "A title\n" + LONG,
            {},
            "t.csv:1: the header seems to be on line 2; here is `A title`",
            "say so in the table's entry: `skip_rows: 1`",
        ),
        (
            LONG.replace("65+,5", "65+,*"),
            {"missing": {"*": "unknown"}},
            "t.csv: 1 of 6 cells are not known, and nothing says what all add up to",
            "write `total:` in the table's entry, keep the file's own row of the total, or give "
            "another table with counts",
        ),
        (
            LONG.replace("65+,5", "65+,*"),
            {"missing": {"*": [0, 3]}, "total": 1227},
            "t.csv: the total is 1227 (`total`), and its cells hold at most 1225",
            "correct the figures, or the ranges in `missing`",
        ),
        (
            LONG,
            {"where": {"sex": "femal"}},
            "t.csv: `where`: no row has `femal` in column `sex` (there is `female`)",
            None,
        ),
        (
            WIDE,
            {"wide": {"variable": "age", "pattern": "age {age}"}},
            "t.csv:1: no header is like `age {age}` (headers: sex, <5, 5-64, 65+)",
            None,
        ),
        (
            "sex,age,count\nTotal,<5,3\nTotal,5+,4\n",
            {},
            "t.csv: every row is a total of `sex` (`Total`)",
            "leave the column out: `ignore: [sex]`, by its name in the file",
        ),
    ],
)
def test_what_cannot_be_read_says_what_to_write(tmp_path, content, more, message, hint):
    with pytest.raises(TableError) as caught:
        read(tmp_path, content, **more)
    assert (str(caught.value), caught.value.hint) == (message, hint)


def test_unknown_cells_are_filled_and_give_way_where_they_may(tmp_path):
    text = LONG.replace("65+,5", "65+,*").replace("5-64,4", "5-64,*")
    table = read(tmp_path, text, missing={"*": "unknown"}, total=1227).tables[0]
    assert table.filled == 2
    assert table.figures.sum() == pytest.approx(1227)
    assert table.figures[0].tolist() == pytest.approx([3, 9 * 60 / 85, 9 * 25 / 85])  # by width
    assert table.moe[0, 0] == table.moe[1].max() == 0
    assert table.moe[0, 1:].tolist() == pytest.approx([9 * 60 / 85, 9 * 60 / 85])


ACS = (
    '"Label (Grouping)","Ada County!!Estimate","Ada County!!Margin of Error"\n'
    '"Total:","1,227","±9"\n'
    '"\u00a0\u00a0\u00a0\u00a0Male:","1,215","*****"\n'
    '"\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0Under 5 years","1,200","±20"\n'
    '"\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a05 to 64 years","7","±2"\n'
    '"\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a065 years and over","8","±1"\n'
    '"\u00a0\u00a0\u00a0\u00a0Female:","12","±1"\n'
    '"\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0Under 5 years","3","**"\n'
    '"\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a05 to 64 years","4","±2"\n'
    '"\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a0\u00a065 years and over","5","±1"\n'
)
EUROSTAT = (
    "freq,unit,age,sex,geo\\TIME_PERIOD\t2019 \t2020 \n"
    "A,NR,TOTAL,T,AT\t9 \t1227 p\n"
    "A,NR,Y_LT5,F,AT\t: \t3 \n"
    "A,NR,Y5-64,F,AT\t1 b\t4 bp\n"
    "A,NR,Y_GE65,F,AT\t2 \t: c\n"
    "A,NR,Y_LT5,M,AT\t: \t1200 \n"
    "A,NR,Y5-64,M,AT\t: \t7 \n"
    "A,NR,Y_GE65,M,AT\t: \t8 \n"
)
NOMIS = (
    '"Sex by age"\n"ONS Crown Copyright Reserved [from Nomis on 1 May 2024]"\n\n'
    '"Date","2021"\n\n"Age","Female","Male"\n"Aged 4 years and under",3,"1,200"\n'
    '"Aged 5 to 64",4,7\n"Aged 65 years and over",5,8\n\n"Counts are perturbed, a little"\n'
)


@pytest.mark.parametrize(
    ("content", "name", "more"),
    [
        (ACS, "t.csv", {"format": "acs", "ignore": ["moe"], "columns": {"level 1": "sex", "level 2": "age"}, "values": {"sex": {"Male": "male", "Female": "female"}}}),
        (EUROSTAT, "t.tsv", {"format": "eurostat", "where": {"time": "2020"}, "values": {"sex": {"F": "female", "M": "male"}}}),
        (NOMIS, "t.csv", {"format": "nomis", "columns": {"Age": "age"}, "wide": {"variable": "sex", "columns": {"Female": "female", "Male": "male"}}}),
    ],
)  # fmt: skip
def test_the_forms_of_offices_are_read(tmp_path, content, name, more):
    assert figures(read(tmp_path, content, name, **more)) == pytest.approx(np.array(WANTED, float))


def test_the_margins_of_the_acs_are_read(tmp_path):
    more = {"columns": {"level 1": "sex", "level 2": "age"}}
    values = {"sex": {"Male": "male", "Female": "female"}}
    table = read(tmp_path, ACS, format="acs", values=values, **more).tables[0]
    assert table.moe.tolist() == [[3, 2, 1], [20, 2, 1]]


@given(st.binary(max_size=300), st.sampled_from([".csv", ".tsv", ".txt", ".xlsx", ".parquet"]))
@settings(max_examples=60)
def test_any_bytes_are_read_or_refused_without_a_traceback(tmp_path, content, kind):
    (tmp_path / f"t{kind}").write_bytes(content)
    path = tmp_path / "job.yaml"
    path.write_text(JOB.replace("t.csv", f"t{kind}"))
    with pytest.raises(InputError):
        prepare(path, [], use="validate")


def test_titles_above_the_header_and_categories_as_columns_are_recognized(tmp_path, capsys):
    job = job_content(tables=[{"file": "wide.csv"}])
    path = write_job(tmp_path)
    lines = [
        "Table 7: Persons by means, 2021",
        '"Source: office"',
        "age,car,bus",
        "18-64,5,3",
        "65+,2,4",
    ]
    (tmp_path / "wide.csv").write_text("\n".join(lines) + "\n")
    for entry, message, hint in (
        (
            {},
            "wide.csv:1: the first line has 2 fields, and most rows have 3; line 3 looks like the header",
            "skip what stands above it: `skip_rows: 2` in the table's entry",
        ),
        (
            {"skip_rows": 2},
            "wide.csv:3: the file has neither `count` nor `share`; one column must hold the figures "
            "(columns: age, car, bus)",
            "`columns: {NAME IN THE FILE: count}` in the table's entry renames a column; where columns "
            "are categories, `wide: {variable: mode}`",
        ),
    ):
        job["tables"] = [{"file": "wide.csv", **entry}]
        path.write_text(yaml.safe_dump(job, sort_keys=False))
        capsys.readouterr()
        assert main(["validate", str(path), "--json"]) == 2
        (problem,) = json.loads(capsys.readouterr().out)["problems"]
        assert f"{problem['file']}:{problem['line']}: {problem['message']}" == message
        assert problem["hint"] == hint


def test_shares_within_groups_in_a_wide_file_get_the_statistics_entry_that_reads_them(
    tmp_path, capsys
):
    entry = {"file": "split.csv", "percent": True}
    wide = {"variable": "mode"}
    job = job_content(tables=[{"file": "age_work.csv"}])
    table = {**entry, "wide": {**wide, "measure": "share"}}
    path = write_job(tmp_path)
    (tmp_path / "split.csv").write_text("work,car,bus,walk\nyes,65,25,10\nno,20,40,40\n")
    path.write_text(yaml.safe_dump({**job, "tables": [*job["tables"], table]}))
    assert main(["validate", str(path), "--json"]) == 2
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["message"].startswith("the shares add up to 2, and to 1 within each `work`")
    assert (
        "`- {file: split.csv, given: [work], wide: {variable: mode}}`, with what else this entry "
        "says of the file" in problem["hint"]
    )
    statistics = [{**entry, "given": ["work"], "wide": wide}]
    path.write_text(yaml.safe_dump({**job, "statistics": statistics}))
    assert main(["run", str(path), "-q", "--out", str(tmp_path / "out")]) == 0
