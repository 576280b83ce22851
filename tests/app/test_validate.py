"""`validate` as a user sees it: every problem at once, what is odd, and nothing that is a traceback."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from small_job import TABLES, job_content, write_job

from llmsynthor.cli.main import main
from llmsynthor.files.numbers import rounding_of_sum

if TYPE_CHECKING:
    from pathlib import Path

BROKEN = """\
version: 1
name: many
recrods: 100
variables:
  age: {type: integer, min: 0, max: 89}
  sex: {type: category, values: [female, male]}
  mode: {type: categry, values: [car]}
tables:
  - {file: age.csv}
  - {file: sex.csv}
  - {file: sex_too.csv}
  - {file: mode.csv}
  - {file: absent.csv, weight: 0}
rules:
  - {name: too young, forbid: "agee < 15"}
prompts: nowhere
provider: {model: none}
"""
NO_VALIDATE = (
    "no table has `role: validate`: nothing will tell how good the combinations are that no table "
    "shows"
)


NO_LABEL = (
    "in the table's entry, `values: {VARIABLE: {LABEL IN THE FILE: label}}` renames a label, and "
    "`totals: [LABEL]` says that one stands for a total"
)


def told(job: Path, capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """Return what `validate` writes to stderr, with the job's folder left out."""
    assert main(["validate", str(job)]) == code
    return capsys.readouterr().err.replace(f"{job.parent}/", "")


def broken_job(folder: Path) -> Path:
    (folder / "age.csv").write_text("age,count\n0-9,3\nold,4\n")
    (folder / "sex.csv").write_text("sex,count\nfemale,50\nmale,50\n")
    (folder / "sex_too.csv").write_text("sex,count\nfemale,40\nmale,60\n")
    (folder / "mode.csv").write_text("mode,count\ncar,\n")
    (folder / "job.yaml").write_text(BROKEN)
    return folder / "job.yaml"


def test_every_problem_of_every_stage_is_listed(tmp_path, capsys):
    assert told(broken_job(tmp_path), capsys) == (
        "error: job.yaml:3:1: recrods: unknown key; did you mean `records`?\n"
        "error: job.yaml:7:16: variables.mode.type: must be `category`, `integer` or `number`, got "
        "`categry`; did you mean `category`?\n"
        "error: job.yaml:13:32: tables.4.weight: must be a number above 0, got `0`\n"
        "error: age.csv:3: age: `old` is not a bin; write for example `20-24`, `[20, 25)`, `65+` or "
        "`<5`\n"
        f"hint: {NO_LABEL}\n\n"
        "error: mode.csv:2: `count` is missing; write 0 where nobody is\n"
        "error: sex_too.csv: sex=female has 40, and 50 in sex.csv\n"
        "error: sex_too.csv: sex=male has 60, and 50 in sex.csv\n"
        "hint: tables that are met must agree; correct them, or give one a `weight` or `tolerance` "
        "(it then gives way), or `role: validate`, or let the job make them agree: `reconcile: "
        "least_squares`, or `reconcile: {scale_to: NAME}`\n\n"
        "error: job.yaml:16:10: prompts: nowhere is no folder\n"
        "8 problems; nothing was spent\n"
    )


def test_run_lists_the_same_and_writes_nothing(tmp_path, capsys):
    job = broken_job(tmp_path)
    before = told(job, capsys)
    assert main(["run", str(job), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.replace(f"{tmp_path}/", "") == before
    assert not (tmp_path / "out").exists()


def test_rules_and_clashes_are_found_beside_a_table_that_cannot_be_read(tmp_path, capsys):
    text = BROKEN.replace("recrods", "records").replace("categry", "category")
    text = text.replace(", weight: 0", "").replace("prompts: nowhere\n", "").replace(
        "  - {file: sex_too.csv}\n", ""
    )  # fmt: skip
    job = broken_job(tmp_path)
    (tmp_path / "mode.csv").write_text("mode,count\ncar,100\n")
    job.write_text(text.replace("rules:", "rules:\n  - {name: no men, forbid: \"sex = 'male'\"}"))
    assert told(job, capsys) == (
        "error: age.csv:3: age: `old` is not a bin; write for example `20-24`, `[20, 25)`, `65+` or "
        "`<5`\n"
        f"hint: {NO_LABEL}\n\n"
        "error: absent.csv: no such file (looked for absent.csv); there are age.csv, mode.csv, "
        "sex.csv, sex_too.csv\n"
        "error: job.yaml:15:5: rules.1 `too young`: `agee` is no variable; did you mean `age`? "
        "(variables: age, sex, mode); put text in single quotes, and names with a dash in double "
        "quotes\n"
        "error: sex.csv: sex=male wants 50 of 100 records, and the rule `no men` allows 0\n"
        "  rules.0 `no men` (forbid: sex = 'male')\n"
        "  if only sex.csv gave way: at least 50 of its 100 records would be in other cells\n"
        "  if only the rule `no men` were dropped: at least 50 of 100 records would break it\n"
        "hint: correct a table or a rule, or give a table a `weight` or `tolerance` so that it "
        "gives way\n\n"
        "4 problems; nothing was spent\n"
    )


def test_what_comes_after_a_wrong_entry_keeps_its_number(tmp_path, capsys):
    text = BROKEN.replace("recrods", "records").replace("categry", "category")
    text = text.replace("prompts: nowhere\n", "").replace("  - {file: sex_too.csv}\n", "")
    text = text.replace("  - {file: age.csv}", "  - {file: 5}\n  - {file: age.csv}")
    text = text.replace("absent.csv, weight: 0", "sex.csv")
    text = text.replace("rules:", "rules:\n  - {name: a}")
    job = broken_job(tmp_path)
    (tmp_path / "age.csv").write_text("age,count\n0+,100\n")
    (tmp_path / "mode.csv").write_text("mode,count\ncar,100\n")
    job.write_text(text)
    assert told(job, capsys) == (
        'error: job.yaml:9:12: tables.0.file: must be a text, got `5`, a number; put it in quotes: "5"\n'
        "error: job.yaml:15:5: rules.0: give exactly one of `forbid` and `require`\n"
        "error: job.yaml:13:5: two tables are named `sex`; give one of them a `name`\n"
        "error: job.yaml:16:5: rules.1 `too young`: `agee` is no variable; did you mean `age`? "
        "(variables: age, sex, mode); put text in single quotes, and names with a dash in double "
        "quotes\n"
        "4 problems; nothing was spent\n"
    )


def test_json_has_every_problem_with_its_place(tmp_path, capsys):
    job = broken_job(tmp_path)
    assert main(["validate", str(job), "--json"]) == 2
    captured = capsys.readouterr()
    assert captured.err == ""
    found = json.loads(captured.out)
    assert (found["valid"], found["warnings"], len(found["problems"])) == (False, [], 8)
    assert found["problems"][3:6] == [
        {
            "file": "age.csv",
            "line": 3,
            "message": "age: `old` is not a bin; write for example `20-24`, `[20, 25)`, `65+` or `<5`",
            "hint": NO_LABEL,
        },
        {
            "file": "mode.csv",
            "line": 2,
            "message": "`count` is missing; write 0 where nobody is",
            "hint": None,
        },
        {
            "file": "sex_too.csv",
            "line": None,
            "message": "sex=female has 40, and 50 in sex.csv",
            "hint": "tables that are met must agree; correct them, or give one a `weight` or "
            "`tolerance` (it then gives way), or `role: validate`, or let the job make them agree: "
            "`reconcile: least_squares`, or `reconcile: {scale_to: NAME}`",
        },
    ]


def test_what_is_odd_is_said_and_valid(tmp_path, capsys):
    content = job_content()
    variables = content["variables"] | {
        "income": {"type": "number", "min": 0, "max": 9.5},
        "work": {"type": "category", "values": ["yes", "no", "unknown"]},
    }
    job = write_job(
        tmp_path,
        variables=variables,
        tables=[*content["tables"][:3], {"file": "soft.csv", "weight": 1}],
        rules=[
            {"name": "idle", "forbid": "age > 100 AND mode = 'car'"},
            {"name": "of nobody", "forbid": "work = 'unknown'"},
        ],
        scenario="There is a strike.",
    )
    (tmp_path / "soft.csv").write_text("mode,count\ncar,300\nbus,300\n")
    lines = job.read_text().splitlines()
    tables, scenario = (1 + next(i for i, x in enumerate(lines) if x.startswith(start)) for start in ("tables", "scenario"))  # fmt: skip
    idle = 1 + lines.index("- name: idle")
    income = 1 + lines.index("  income:")
    unknown = 1 + lines.index("    - unknown")
    assert told(job, capsys, 0) == (
        f"warning: job.yaml:{income}:3: `income` is in no control table: only the model's proposals "
        "shape it, and without them it is spread evenly from 0 to 9.5\n"
        f"warning: job.yaml:{unknown}:7: no record will have work=unknown: it is 0 or not listed in "
        "every control table of `work` (age_work.csv, work.csv)\n"
        "warning: soft.csv: mode=walk is 0 or not listed here, and has 120 in mode.csv\n"
        "warning: work.csv: this table adds nothing: age_work.csv gives its figures too\n"
        f"warning: job.yaml:{idle}:3: rules.0 `idle`: no combination of values breaks it (forbid: "
        "age > 100 AND mode = 'car')\n"
        f"warning: job.yaml:{scenario}:11: the scenario frees no table: the control tables hold, so "
        "it cannot shift what they count, only what goes together elsewhere; `scenario: {text: ..., "
        "release: [...]}` frees tables by name\n"
        f"warning: job.yaml:{tables}:1: {NO_VALIDATE}\n"
    )


def test_a_job_without_oddities_has_no_warnings(tmp_path, capsys):
    tables = [table for table in job_content()["tables"] if table["file"] != "work.csv"]
    job = write_job(tmp_path, tables=tables)
    assert told(job, capsys, 0) == ""
    assert main(["validate", str(job), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["valid"], found["problems"], found["warnings"]) == (True, [], [])


def test_a_run_begins_with_the_warnings(tmp_path, capsys):
    job = write_job(tmp_path, rules=[{"name": "idle", "forbid": "age > 100"}])
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    told = capsys.readouterr().err
    assert told.count("WARNING ") == 1  # tables that others imply are common: `validate` tells
    assert "rules.0 `idle`: no combination of values breaks it" in told


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (
            "mode;count\ncar;1\n",
            "",
            "mode.csv:1: the columns are separated by `;`, and read as if by commas\n\n"
            'hint: say so in the job: `- {file: mode.csv, separator: ";"}`',
        ),
        (
            "MODE\tn\ncar\t1\n",
            "",
            "mode.csv:1: the columns are separated by tabs, and read as if by commas\n\n"
            'hint: say so in the job: `- {file: mode.csv, separator: "\\t"}`',
        ),
        (
            "mode,count\ncar,1\n",
            ', separator: ";"',
            "mode.csv:1: the columns are separated by commas, and read as if by `;`\n\n"
            "hint: leave `separator` out",
        ),
        (
            "age,count\n[18, 25),3\n",
            "",
            'mode.csv:2: this row has 3 fields, the header has 2; quote the label: "[18, 25)"',
        ),
        (
            "mode,count\ncar,1,234\n",
            "",
            "mode.csv:2: this row has 3 fields, the header has 2; if `1,234` is one number, write "
            "1234",
        ),
        (
            "mode,share\ncar,0,35\n",
            "",
            "mode.csv:2: this row has 3 fields, the header has 2; if `0,35` is one number, write "
            "0.35",
        ),
        (
            "mode,count\ncar, bus,12\n",
            "",
            "mode.csv:2: this row has 3 fields, the header has 2; a label with a comma in it must "
            'stand in quotes (")',
        ),
        ("mode,count\ncar\n", "", "mode.csv:2: this row has 1 field, the header has 2"),
        (
            'mode,share\ncar,"0,35"\n',
            "",
            "mode.csv:2: `share` is `0,35`, with a decimal comma; say so in the table's entry: `decimal: \",\"`",
        ),
        ("mode,count\ncar,1 234\n", "", "mode.csv:2: `count` is `1 234`, with thousands separators; say so in the table's entry: `thousands: \" \"`"),
        ("mode,count\ncar,1.234.567\n", "", "mode.csv:2: `count` is `1.234.567`, with thousands separators; say so in the table's entry: `thousands: \".\"`"),
        ("mode,share\ncar,45%\n", "", "mode.csv:2: `share` is `45%`, a percentage; say so in the table's entry: `percent: true`"),
        (
            "mode,count\ncar,45.5 %\n",
            "",
            "mode.csv:2: `count` is `45.5 %`, a percentage; read the column as `share`, with `percent: true`",
        ),
        (
            "mode,count\ncar,<5\n",
            "",
            "mode.csv:2: `count` is `<5`, which is not a number; if the cell is suppressed, say "
            "so in the table's entry: `missing: {\"<5\": [0, 4]}`",
        ),
        ("mode,count\ncar,1e300\n", "", "mode.csv:2: `count` is 1e300; more than 1e+15 cannot be counted"),
        (
            "mode,count\n\n\nCar,1\n",
            "",
            "mode.csv:4: `Car` is no category of `mode`; did you mean `car`?",
        ),
        (
            "mode,share\ncar,0.48\nbus,0.5\n",
            "",
            "mode.csv: the shares add up to 0.98, not to 1 (rounding explains up to 0.01)\n\n"
            "hint: correct them, or write counts, or let the job rescale them: "
            "`- {file: mode.csv, normalize: true}`",
        ),
        (
            "mode,share\ncar,48.5\nbus,50\n",
            "",
            "mode.csv: the shares add up to 98.5, not to 1; they look like percentages\n\n"
            "hint: let the job divide them by 100: `percent: true` in the table's entry",
        ),
        (
            "mode,count\ncar,1\n",
            ", normalize: true",
            "mode.csv: `normalize` is for shares, and this file has `count`; leave it out",
        ),
        (
            b"mode,count\ncar,1\nv\xe9lo,3\n",
            "",
            "mode.csv:3: byte 2 of this line (0xE9) is not UTF-8; in Latin-1 it is `\u00e9`\n\n"
            "hint: say how it is stored in the table's entry, for example `encoding: latin-1`",
        ),
        (
            bytes(range(32)) * 4,
            "",
            "mode.csv: this is no text file\n\nhint: a table must be a text file (CSV, TSV), XLSX or parquet",
        ),
        (
            b"PK\x03\x04",
            "",
            "mode.csv: this is no CSV file: it is an Excel workbook or a zip archive; let its name "
            "end in .xlsx, or save the sheet as CSV",
        ),
        ("", "", "mode.csv: the file is empty"),
        (" \n\n", "", "mode.csv: the file is empty"),
        ("mode,count\n", "", "mode.csv: there are no rows below the header"),
        (
            'mode,count\n"car,1\nbus,2\n',
            "",
            'mode.csv:2: a quote (") opens here and is never closed\n\n'
            'hint: inside a quoted label, write a quote twice ("")',
        ),
        (
            ",mode,count\n0,car,1\n",
            "",
            "mode.csv:1: column 1 has no name in the header\n\n"
            "hint: delete the column, if it only numbers the rows, or name it",
        ),
        ("mode,mode,count\ncar,car,1\n", "", "mode.csv:1: two columns are `mode`"),
        (
            "mode,n\ncar,1\n",
            "",
            "mode.csv:1: the file has neither `count` nor `share`; one column must hold the figures "
            "(columns: mode, n)\n\n"
            "hint: `columns: {NAME IN THE FILE: count}` in the table's entry renames a column",
        ),
    ],
)  # fmt: skip
def test_a_table_file_that_cannot_be_used_is_explained(tmp_path, capsys, content, more, message):
    job = one_table(tmp_path, content, more)
    assert told(job, capsys) == f"error: {message}\n"


def one_table(folder: Path, content: str | bytes, more: str = "") -> Path:
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "mode.csv").write_bytes(data)
    job = job_content(tables=[], rules=[])
    text = yaml.safe_dump(job, sort_keys=False).replace(
        "tables: []", f"tables:\n  - {{file: mode.csv{more}}}"
    )
    (folder / "job.yaml").write_text(text)
    return folder / "job.yaml"


@pytest.mark.parametrize(
    ("content", "more"),
    [
        ("\ufeffmode,count\ncar,1\n", ""),
        ("mode;count\ncar;1\n", ', separator: ";"'),
        ("mode\tcount\ncar\t1\n", ', separator: "\\t"'),
        ("mode|count\r\n\r\ncar|1\r\n", ', separator: "|"'),
        ("mode,share\ncar,0.333\nbus,0.333\nwalk,0.333\n", ""),
        ("mode,share\ncar,0.123457\nbus,0.00123457\nwalk,0.875309\n", ""),
        ("mode,share\ncar,0.48\nbus,0.5\n", ", normalize: true"),
        ("mode,share\ncar,48\nbus,50\n", ", normalize: true"),
    ],
)
def test_files_that_can_be_read_are_valid(tmp_path, capsys, content, more):
    assert "error" not in told(one_table(tmp_path, content, more), capsys, 0)


def test_normalized_shares_are_met(tmp_path):
    job = one_table(tmp_path, "mode,share\ncar,48\nbus,32\n", ", normalize: true")
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["tables"][0]["tae"] == 0
    assert main(["report", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Mode_Age.csv", "; did you mean `mode_age.csv`?"),
        ("mode_ages.csv", "; did you mean `mode_age.csv`?"),
        ("zzzzzz.csv", "; there are mode_age.csv"),
    ],
)
def test_a_missing_file_is_looked_for_among_its_neighbours(tmp_path, capsys, name, advice):
    job = one_table(tmp_path, "mode,count\ncar,1\n")
    (tmp_path / "mode.csv").rename(tmp_path / "mode_age.csv")
    job.write_text(job.read_text().replace("mode.csv", name))
    assert told(job, capsys) == f"error: {name}: no such file (looked for {name}){advice}\n"


def test_a_folder_and_a_missing_folder_are_told_apart(tmp_path, capsys):
    job = one_table(tmp_path, "mode,count\ncar,1\n")
    (tmp_path / "sub.csv").mkdir()
    text = job.read_text()
    job.write_text(text.replace("mode.csv", "sub.csv"))
    assert told(job, capsys) == "error: sub.csv: this is a folder, not a table file\n"
    job.write_text(text.replace("mode.csv", "none/mode.csv"))
    assert told(job, capsys) == ("error: none/mode.csv: no such file: there is no folder none\n")


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60).filter(any), st.integers(1, 6))
def test_rounded_shares_never_miss_their_sum_by_more_than_rounding(counts, digits):
    total = sum(counts)
    for form in (f".{digits}f", f".{digits}g"):
        texts = [format(count / total, form) for count in counts]
        assert abs(sum(map(float, texts)) - 1) <= rounding_of_sum(texts) + 1e-9


FUZZ = settings(max_examples=60)
_YAML = st.lists(
    st.sampled_from(
        [*"{}[]:,-#&*!|>'\"%@`?\n\t 01", "\n  ", "records", "tables", "a: ", "- ", "yes", "12:30",
         "!!int ", "!!timestamp x", "<<: ", "&a ", "*a ", "!!python/object:os.x ", "\ufeff", "0x1F"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@pytest.mark.slow
@FUZZ
@given(
    st.one_of(st.binary(max_size=200), _YAML.map(str.encode), st.text(max_size=100).map(str.encode))
)
def test_no_bytes_as_a_job_give_a_traceback(tmp_path, capsys, content):
    (tmp_path / "job.yaml").write_bytes(content)
    assert main(["validate", str(tmp_path / "job.yaml")]) in {0, 2}
    assert "Traceback" not in capsys.readouterr().err


_LINES = BROKEN.splitlines(keepends=True)


@pytest.mark.slow
@FUZZ
@given(st.data())
def test_no_change_of_a_job_gives_a_traceback(tmp_path, capsys, data):
    """Lines left out, swapped, or with a part of them replaced."""
    lines = list(_LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        i = data.draw(st.integers(0, len(lines) - 1))
        start = data.draw(st.integers(0, len(lines[i])))
        end = data.draw(st.integers(start, len(lines[i])))
        lines[i] = lines[i][:start] + data.draw(_YAML) + lines[i][end:]
    broken_job(tmp_path).write_text("".join(lines))
    assert main(["validate", str(tmp_path / "job.yaml")]) in {0, 2}
    assert "Traceback" not in capsys.readouterr().err


_CELL = st.one_of(
    st.sampled_from(["car", "bus", "mode", "age", "count", "share", "moe", "1", "0.5", "18-39", "65+", "", "1e308", "nan", "-1"]),
    st.text(string.printable, max_size=6),
    st.text(max_size=4),
)  # fmt: skip
_CSV = st.lists(st.lists(_CELL, max_size=4).map(",".join), max_size=6).map("\n".join)


@pytest.mark.slow
@FUZZ
@given(
    st.one_of(st.binary(max_size=300), _CSV.map(lambda t: t.encode("utf-8", "surrogatepass"))),
    st.sampled_from(["mode.csv", "mode.parquet"]),
)
def test_no_bytes_as_a_table_give_a_traceback(tmp_path, capsys, content, name):
    job = one_table(tmp_path, b"")
    (tmp_path / name).write_bytes(content)
    job.write_text(job.read_text().replace("mode.csv", name))
    assert main(["validate", str(job)]) in {0, 2}
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
@FUZZ
@given(st.lists(st.tuples(_CELL, _CELL), min_size=1, max_size=6))
def test_no_cells_of_a_table_give_a_traceback(tmp_path, capsys, rows):
    text = "mode,count\n" + "".join(f"{a},{b}\n" for a, b in rows)
    job = one_table(tmp_path, text.encode("utf-8", "surrogatepass"))
    assert main(["validate", str(job)]) in {0, 2}
    assert "Traceback" not in capsys.readouterr().err


def test_the_small_job_of_the_tests_is_valid(tmp_path, capsys):
    assert set(TABLES) == {table["file"] for table in job_content()["tables"]}
    assert told(write_job(tmp_path), capsys, 0) == (
        "warning: work.csv: this table adds nothing: age_work.csv gives its figures too\n"
    )
