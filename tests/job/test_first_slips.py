"""What a newcomer writes wrongly first: one slip is one message, which says what to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import household_job
import pytest
import yaml
import zone_world
from small_job import job_content

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

NO_LABEL = (
    "hint: in the table's entry, `values: {VARIABLE: {LABEL IN THE FILE: label}}` renames a label, "
    "and `totals: [LABEL]` says that one stands for a total\n"
)


def told(job: Path, capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """Return what `validate` writes to stderr, with the job's folder left out."""
    assert main(["validate", str(job)]) == code
    return capsys.readouterr().err.replace(f"{job.parent}/", "")


def changed(job: Path, old: str, new: str) -> Path:
    """Write another text into a job where `old` stands once."""
    text = job.read_text()
    assert text.count(old) == 1
    job.write_text(text.replace(old, new))
    return job


def line_of(job: Path, start: str) -> int:
    return 1 + next(i for i, x in enumerate(job.read_text().splitlines()) if x.startswith(start))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n  size: size", "\n  siz: size", "members.siz: unknown key; did you mean `size`?"),
        (
            "\n  of: household",
            "\n  off: household",
            "members: unknown key `off`, which YAML reads as false; did you mean `of`?",
        ),
        (
            "\n  of: household",
            "\n  yes: household",
            "members: the key `yes`, which YAML reads as true, must be a text; put it in quotes: "
            '"yes"',
        ),
        ("\nmembers:", "\nmemers:", "memers: unknown key; did you mean `members`?"),
        (
            "\n  name: person",
            "\n  name: 3",
            "members.name: must be a text, got `3`, a number; put it in quotes: \"3\"",
        ),
    ],
)  # fmt: skip
def test_a_slip_under_members_is_one_problem(tmp_path, capsys, old, new, message):
    job = changed(household_job.write_job(tmp_path), old, new)
    line = line_of(job, new[1:])
    column = 3 if "unknown" in message or "key" in message else 9
    column = 1 if new == "\nmemers:" else column
    assert told(job, capsys) == f"error: job.yaml:{line}:{column}: {message}\n"


def test_members_without_a_key_say_nothing_of_tables_and_rules(tmp_path, capsys):
    job = changed(household_job.write_job(tmp_path), "\n  size: size", "")
    assert told(job, capsys) == (
        f"error: job.yaml:{line_of(job, 'members:')}:1: members.size: this key is needed; add for "
        "example `size: size`\n"
    )


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (
            [("  variable: taz", "  variabel: taz")],
            "job.yaml:LINE:3: zones.variabel: unknown key; did you mean `variable`?",
        ),
        (
            [("  variable: taz", "  variable: tazz")],
            "job.yaml:5:1: zones: `columns` maps `TAZ` to `taz`, which is neither the zone variable "
            "`tazz` nor in `within`; did you mean `tazz`?",
        ),
        (
            [("  variable: taz", "  variable: tazz"), ("    TAZ: taz", "    TAZ: tazz")],
            "taz_size.csv:1: column `taz` is no variable of the job; did you mean `tazz`?\n\n"
            "hint: in the table's entry, `columns: {NAME IN THE FILE: variable}` renames a column, "
            "and `ignore: [NAME]` leaves one out",
        ),
        (
            [("  - tract", "  - trakt")],
            "geo.csv:1: there is no column `trakt`; did you mean `tract`? (columns: TAZ, tract, "
            "district)\n\nhint: `zones.columns: {NAME IN THE FILE: name}` renames a column",
        ),
    ],
)
def test_a_slip_under_zones_is_one_problem(tmp_path, capsys, pairs, message):
    job = zone_world.write_region(tmp_path, 20)
    for old, new in pairs:
        changed(job, old, new)
    message = message.replace("LINE", str(line_of(job, "  variab")))
    assert told(job, capsys) == f"error: {message}\n"


def one_table(folder: Path, content: str, **entry: Any) -> Path:
    (folder / "mode.csv").write_text(content)
    job = job_content(tables=[{"file": "mode.csv", **entry}], rules=[])
    (folder / "job.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    return folder / "job.yaml"


def test_a_total_of_another_language_is_told_of(tmp_path, capsys):
    text = "mode,age,count\ncar,18-39,1\nEnsemble,18-39,1\ncar,Tous,1\n"
    assert told(one_table(tmp_path, text), capsys) == (
        "error: mode.csv:3: `Ensemble` is no category of `mode` (known: bus, car, walk)\n"
        + NO_LABEL
    ).replace("hint:", "\nhint:")
    job = one_table(tmp_path, text, totals=["Ensemble"])
    assert told(job, capsys) == (
        "error: mode.csv:4: age: `Tous` is not a bin; write for example `20-24`, `[20, 25)`, `65+` "
        f"or `<5`\n\n{NO_LABEL}"
    )
    assert "error" not in told(one_table(tmp_path, text, totals=["Ensemble", "Tous"]), capsys, 0)


WIDE = "GEO,NAME,year,source,age,car,bus,walk\n1,Town,2020,x,18-39,4,*,5\n1,Town,2020,x,40+,4,5,6\n"


def test_the_other_columns_of_a_wide_file_are_one_problem(tmp_path, capsys):
    columns = {"car": "car", "bus": "bus", "walk": "walk"}
    job = one_table(tmp_path, WIDE, wide={"variable": "mode", "columns": columns})
    assert told(job, capsys) == (
        "error: mode.csv:1: columns `GEO`, `NAME`, `year` and `source` are no variables of the job "
        "(known: age, mode, work)\n"
        "hint: in the table's entry, `ignore: others` leaves out all columns that are no variable "
        "and no figure, and `columns: {NAME IN THE FILE: variable}` renames one\n\n"
        "error: mode.csv:2: `count` in column `bus` is `*`, which is not a number; if the cell is "
        'suppressed, say so in the table\'s entry: `missing: {"*": unknown}`\n'
        "2 problems; nothing was spent\n"
    )
    job = one_table(tmp_path, WIDE, wide={"variable": "mode"})
    assert told(job, capsys) == (
        "error: mode.csv:1: `wide` takes the columns `GEO`, `NAME`, `year` and `source` for a "
        "category of `mode` each, as all that are nothing else\n\n"
        "hint: leave them out: `ignore: [GEO, NAME, year, source]` in the table's entry\n"
    )


def test_what_fills_a_cell_is_said_in_full(tmp_path, capsys):
    text = "mode,age,count\ncar,18-39,*\ncar,40+,5\nbus,18-39,*\nbus,40+,3\nTotal,Total,12\n"
    job = one_table(tmp_path, text, missing={"*": "unknown"})
    (tmp_path / "age.csv").write_text("age,count\n18-39,4\n40+,8\n")
    changed(job, "rules: []", "rules: []\nrecords: 12")
    changed(job, "records: 600\n", "")
    changed(job, "- file: mode.csv", "- file: age.csv\n- file: mode.csv")
    assert (
        "warning: mode.csv: 2 of 6 cells are not known; filled to fit its own totals and the table "
        "age.csv; what they leave open may give way\n"
    ) in told(job, capsys, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MEAN(age) > 18", "`MEAN` is no function of rules; did you mean `AVG`?"),
        ("count_if(age > 18) > 1", "`count_if` is no function of rules; did you mean `COUNT`?"),
    ],
)
def test_an_aggregate_by_another_name(tmp_path, capsys, text, message):
    job = household_job.write_job(tmp_path, rules=[{"name": "r", "require": text}])
    line = line_of(job, "- name: r")
    assert told(job, capsys) == f"error: job.yaml:{line}:3: rules.0 `r`: {message}\n"


def test_a_noun_has_its_article(tmp_path, capsys):
    job = household_job.write_job(
        tmp_path, rules=[{"name": "r", "require": "COUNT(size = '1') > 0"}]
    )
    changed(job, "  name: person", "  name: adult")
    line = line_of(job, "- name: r")
    assert told(job, capsys) == (
        f"error: job.yaml:{line}:3: rules.0 `r`: `COUNT(size = '1')` names no variable of an adult "
        "(age, sex, role), so there is nothing to go through\n"
    )


def test_explain_shows_no_share_where_no_table_has_one(household_run, capsys):
    capsys.readouterr()
    assert main(["explain", str(household_run), "--record", "3"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    shown = {row[0]: row[2:] for row in rows}
    sizes = {"1": "45.0", "2": "32.5", "3": "15.0", "4": "7.5"}
    size = next(row[1] for row in rows if row[0] == "size")
    assert (shown["cars"], shown["size"]) == (["-"], [sizes[size], "%"])  # cars: in no table
    assert shown["variable"] == ["in", "tables", "of", "persons"]  # the last heading
    sexes = {"female": "51.4", "male": "48.6"}  # of persons: 190 and 180
    sex = next(row[1] for row in rows if row[0] == "sex")
    assert shown["sex"] == [sexes[sex], "%"]


def test_a_warning_of_a_members_variable_has_its_line(tmp_path, capsys):
    job = household_job.write_job(tmp_path)
    changed(
        job, "    sex:\n", "    mood:\n      type: category\n      values: [good, bad]\n    sex:\n"
    )
    assert (
        f"warning: job.yaml:{line_of(job, '    mood:')}:5: `mood` is in no control table: only the "
        "model's proposals shape it, and without them it is spread evenly over its categories\n"
    ) in told(job, capsys, 0)
