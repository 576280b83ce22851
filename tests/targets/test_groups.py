"""Tables that count groups of a category variable's values."""

from __future__ import annotations

import pytest
from engine_world import check_agreement, read_tables
from small_job import report, write_job

from llmsynthor.app.warnings import odd_things
from llmsynthor.cli.main import main
from llmsynthor.errors import TableError

SCHOOL = {"school": {"type": "category", "values": ["none", "degree", "primary", "secondary"]}}
GROUPS = {"school": {"high": ["degree"], "low": ["primary", "none"], "middle": ["secondary"]}}


def read(folder, *files):
    return read_tables(folder, *files, **SCHOOL)


def test_a_table_may_count_groups_of_categories(tmp_path):
    fine = "school,sex,count\nnone,male,1\nprimary,female,2\nsecondary,male,3\ndegree,female,4\n"
    tables = read(tmp_path, fine, ("school,count\nmiddle,3\nhigh,4\nlow,3\n", {"groups": GROUPS}))
    table = tables.tables[1]
    assert table.labels == (("low", "high", "middle"),)
    assert table.groups[0].tolist() == [0, 1, 0, 2]
    assert table.figures.tolist() == [3, 4, 3]
    check_agreement(tables)


def test_groups_of_one_category_each_are_in_the_order_of_the_variable(tmp_path):
    groups = {"sex": {"M": ["male"], "F": ["female"]}}
    table = read(tmp_path, ("sex,count\nM,1\nF,2\n", {"groups": groups})).tables[0]
    assert (table.labels, table.groups[0].tolist()) == ((("F", "M"),), [0, 1])
    assert table.figures.tolist() == [2, 1]


def test_grouped_tables_that_disagree_are_refused_with_both_numbers(tmp_path):
    other = {"school": {"a": ["none"], "b": ["primary", "secondary"], "c": ["degree"]}}
    tables = read(
        tmp_path,
        ("school,count\nlow,3\nmiddle,3\nhigh,4\n", {"groups": GROUPS}),
        ("school,count\na,1\nb,4\nc,5\n", {"groups": other}),
    )
    with pytest.raises(TableError) as caught:
        check_agreement(tables)
    assert str(caught.value) == (
        "t1.csv: school=none or primary or secondary has 5, and 6 in t0.csv\n"
        "t1.csv: school=degree has 5, and 4 in t0.csv"
    )


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (
            {"school": {"low": ["none"], "high": ["degree", "none", "phd"], "x": []}},
            "t0.csv: `groups.school` has no category in the group `x`; leave the group out\n"
            "t0.csv: `groups.school` has `phd`, which the variable does not have as a category\n"
            "t0.csv: `groups.school` has `none` more than once; each category stands in one group\n"
            "t0.csv: `groups.school` lacks `primary`, `secondary`; each category stands in one group",
        ),
        (
            {"school": GROUPS["school"], "age": {"old": ["65+"]}, "sex": {"all": ["male"]}},
            "t0.csv: `groups.age` groups `age`, which is no column of the file\n"
            "t0.csv: `groups.sex` groups `sex`, which is no column of the file",
        ),
    ],
)
def test_groups_that_are_no_partition_are_refused(tmp_path, groups, message):
    with pytest.raises(TableError) as caught:
        read(tmp_path, ("school,count\nlow,3\nhigh,4\n", {"groups": groups}))
    assert str(caught.value) == message


def test_groups_of_numbers_are_refused(tmp_path):
    groups = {"age": {"old": ["65+"]}}
    with pytest.raises(TableError) as caught:
        read(tmp_path, ("age,count\n<5,3\n5+,4\n", {"groups": groups}))
    assert str(caught.value) == (
        "t0.csv: `groups.age` is for categories; the bins of a number come from the file"
    )


def test_a_label_that_is_no_group_is_refused(tmp_path):
    with pytest.raises(TableError) as caught:
        read(tmp_path, ("school,count\nlow,3\nhihg,4\n", {"groups": GROUPS}))
    message = "t0.csv:3: `hihg` is no group of `school`; did you mean `high`?"
    assert str(caught.value) == message


def test_a_run_meets_a_grouped_table_and_reports_from_its_directory(tmp_path):
    groups = {"mode": {"motor": ["car", "bus"], "foot": ["walk"]}}
    job = write_job(tmp_path, tables=[
        {"file": "age_work.csv"}, {"file": "foot.csv", "groups": groups}, {"file": "work.csv"},
    ], rules=[])  # fmt: skip
    (tmp_path / "foot.csv").write_text(
        "work,mode,count\nyes,motor,360\nyes,foot,40\nno,motor,200\n"
    )
    out = tmp_path / "out"
    assert main(["run", str(job), "--out", str(out), "-q"]) == 0
    first = report(out)
    table = next(t for t in first["tables"] if t["name"] == "foot")
    assert table["tae"] == 0
    assert main(["report", str(out)]) == 0
    assert report(out) == first


def test_a_category_that_only_a_group_has_is_not_called_absent(tmp_path):
    tables = read(tmp_path, ("school,count\nlow,3\nhigh,4\n", {"groups": GROUPS}))

    class Plain:
        scenario = None
        records = 100

    messages = [p.message for p in odd_things(Plain(), tables, ()) if "no record" in p.message]
    assert messages == [
        "no record will have school=secondary: it is 0 or not listed in the control table of "
        "`school` (t0.csv)"
    ]
