"""Exports for ActivitySim, PopulationSim and MATSim: fixed columns, nothing invented."""

from __future__ import annotations

import csv
import gzip
import re
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from export_runs import ODD, odd_run, records_of
from small_job import job_content, write_job

from llmsynthor.cli.main import main

HOUSEHOLDS, PERSONS = "synthetic_households.csv", "synthetic_persons.csv"
CODES = """\
columns:
  income: {variable: work, values: {"yes": 40000, "no": 12000.5}}
  HHT: {variable: mode, values: {car: 4, bus: 6, walk: 0}}
  auto_ownership: {variable: mode, values: {car: 1, bus: 0, walk: 0}}
  num_workers: {variable: work, values: {"yes": 1, "no": 0}}
  sex: {variable: mode, values: {car: 1, bus: 2, walk: 2}}
  pemploy: {variable: work, values: {"yes": 1, "no": 3}}
  pstudent: {variable: work, values: {"yes": 3, "no": 2}}
  ptype: {variable: work, values: {"yes": 1, "no": 4}}
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Return a run of persons with a zone, whose labels are whole numbers, and an `AGE`."""
    folder = tmp_path_factory.mktemp("persons")
    variables = job_content()["variables"]
    variables["AGE"] = variables.pop("age")
    variables["taz"] = {"type": "category", "values": ["7", "12"]}
    job = write_job(folder, variables=variables, rules=[], tables=[
        {"file": "age_work.csv", "columns": {"age": "AGE"}},
        {"file": "mode.csv"},
        {"file": "taz.csv"},
    ])  # fmt: skip
    (folder / "taz.csv").write_text("taz,count\n7,200\n12,400\n")
    assert main(["run", str(job), "--out", str(folder / "run"), "-q"]) == 0
    return folder / "run"


@pytest.fixture
def codes(tmp_path):
    (tmp_path / "map.yaml").write_text(CODES)
    return ["--map-file", str(tmp_path / "map.yaml")]


def export(run, form, out, *more):
    return main(["export", str(run), "--format", form, "--out", str(out), *more])


def test_activitysim_with_households_of_one(done, tmp_path, codes, capsys):
    more = ["--records", "persons", "--one-person-households", "--provenance", *codes]
    assert export(done, "activitysim", tmp_path / "out", *more) == 0
    assert capsys.readouterr().err == ""
    households = pl.read_csv(tmp_path / "out" / HOUSEHOLDS)
    persons = pl.read_csv(tmp_path / "out" / PERSONS)
    data = records_of(done)
    # the headings of "Example Models", section "Inputs", of the ActivitySim user's guide
    assert households.columns == [
        "household_id", "TAZ", "income", "hhsize", "HHT", "auto_ownership", "num_workers",
    ]  # fmt: skip
    assert persons.columns == [
        "person_id", "household_id", "age", "PNUM", "sex", "pemploy", "pstudent", "ptype",
        "iteration", "proposal",
    ]  # fmt: skip
    numbers = list(range(1, 601))
    assert households["household_id"].to_list() == persons["person_id"].to_list() == numbers
    assert persons["household_id"].to_list() == numbers
    assert set(households["hhsize"]) == set(persons["PNUM"]) == {1}
    assert persons["age"].equals(data["AGE"])
    assert households["TAZ"].to_list() == [int(zone) for zone in data["taz"]]
    assert households["income"].to_list() == [
        40000 if w == "yes" else 12000.5 for w in data["work"]
    ]
    assert persons["sex"].to_list() == [1 if m == "car" else 2 for m in data["mode"]]
    assert persons["pstudent"].to_list() == [3 if w == "yes" else 2 for w in data["work"]]


def test_persons_without_households_are_written_alone(done, tmp_path, codes, capsys):
    assert export(done, "activitysim", tmp_path / "out", "--records", "persons", *codes) == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == [PERSONS]
    found = pl.read_csv(tmp_path / "out" / PERSONS)
    # no household's id is made up; what the layout has for households follows, as it was mapped
    assert found.columns == [
        "person_id", "age", "sex", "pemploy", "pstudent", "ptype",
        "income", "num_workers", "HHT", "auto_ownership", "taz",
    ]  # fmt: skip
    assert f"note: no {HOUSEHOLDS}: the run's persons have no households" in capsys.readouterr().err


def test_households_without_members_are_written_alone(done, tmp_path, codes, capsys):
    more = ["--records", "households", *codes, "--map", "AGE=hhsize"]
    assert export(done, "activitysim", tmp_path / "out", *more) == 0
    assert [p.name for p in (tmp_path / "out").iterdir()] == [HOUSEHOLDS]
    found = pl.read_csv(tmp_path / "out" / HOUSEHOLDS)
    assert found.columns[:7] == [
        "household_id", "TAZ", "income", "hhsize", "HHT", "auto_ownership", "num_workers",
    ]  # fmt: skip
    assert found["hhsize"].equals(records_of(done)["AGE"])
    assert f"note: no {PERSONS}" in capsys.readouterr().err


def test_everything_that_is_missing_is_named_at_once(done, tmp_path, capsys):
    more = ["--records", "persons", "--one-person-households", "--map", "mode=sex"]
    assert export(done, "activitysim", tmp_path / "out", *more) == 2
    assert capsys.readouterr().err == (
        "error: --map mode=sex: synthetic_persons.csv: sex (1 male, 2 female): takes these codes "
        "only; `mode` has `car`, `bus`, `walk`\n"
        "ActivitySim needs columns that no variable fills:\n"
        "  synthetic_households.csv: income (of the household in a year, US dollars of 2000)\n"
        "  synthetic_households.csv: HHT (0 none, 1 married couple, 2 male householder, no spouse, "
        "3 female householder, no spouse, 4 nonfamily, male alone, 5 nonfamily, male not alone, "
        "6 nonfamily, female alone, 7 nonfamily, female not alone)\n"
        "  synthetic_households.csv: auto_ownership (cars of the household)\n"
        "  synthetic_households.csv: num_workers (workers in the household)\n"
        "  synthetic_persons.csv: pemploy (1 full-time, 2 part-time, 3 not in labor force, "
        "4 student under 16)\n"
        "  synthetic_persons.csv: pstudent (1 preschool to grade 12, 2 university, "
        "3 not a student)\n"
        "  synthetic_persons.csv: ptype (1 full-time worker, 2 part-time worker, "
        "3 university student, 4 nonworker, 5 retired, 6 student of driving age, "
        "7 student of non-driving age, 8 child too young for school)\n"
        "\n"
        "hint: a map file (`--map-file`) gives categories their values: "
        "`columns: {COLUMN: {variable: VARIABLE, values: {CATEGORY: VALUE}}}`\n"
        "say which variable fills a column: `--map VARIABLE=COLUMN`, or a map file where "
        "categories need codes (variables here: work, mode, AGE, taz). What the run does not have "
        "must become a variable of the job: nothing is invented\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("walk: 2}", "walk: 3}", "sex (1 male, 2 female): takes these codes only; `mode` has `walk` -> `3`"),
        ("walk: 2}", "walk: true}", "`mode` has `walk` -> `True`"),
        ("walk: 2}", "walk: 2.0}", "`mode` has `walk` -> `2.0`"),
        ('"no": 12000.5', '"no": low', "takes numbers only; `work` has `no` -> `low`"),
        ('"yes": 1, "no": 0', '"yes": 1, "no": -1', "takes whole numbers from 0 only"),
        ("  income: {variable: work,", "  income: {variable: AGE,", "there is no `yes`, `no`; no value is given for"),
        ("  income: {variable: work,", "  income: {variable: pay,", "map.yaml:2:3: there is no variable `pay`"),
        ("columns:", "columns:\n  hhsize: AGE", "`hhsize` of synthetic_households.csv is made by the export"),
    ],
)  # fmt: skip
def test_values_that_the_layout_does_not_take_are_refused(
    done, tmp_path, codes, capsys, old, new, words
):
    assert CODES.count(old)
    (tmp_path / "map.yaml").write_text(CODES.replace(old, new, 1))
    more = ["--records", "persons", "--one-person-households", *codes]
    assert export(done, "activitysim", tmp_path / "out", *more) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_one_record_is_must_be_said(done, tmp_path, capsys):
    assert export(done, "populationsim", tmp_path) == 2
    assert "`--records persons` or `--records households`" in capsys.readouterr().err
    more = ["--records", "households", "--one-person-households"]
    assert export(done, "populationsim", tmp_path, *more) == 2
    assert "`--one-person-households` is for `--records persons`" in capsys.readouterr().err


def test_a_mapped_name_that_the_layout_does_not_know_is_told(done, tmp_path, codes, capsys):
    more = ["--records", "persons", *codes, "--map", "AGE=aeg"]
    assert export(done, "activitysim", tmp_path / "out", *more) == 2  # `age` is now missing
    more = ["--records", "persons", *codes, "--map", "AGE=age", "--map", "mode=Mode"]
    assert export(done, "activitysim", tmp_path / "out", *more) == 0
    assert (
        "--map mode=Mode: `Mode` is no column of the ActivitySim layout" in capsys.readouterr().err
    )
    assert "Mode" in pl.read_csv(tmp_path / "out" / PERSONS).columns


def test_populationsim_numbers_households_and_keeps_names(done, tmp_path):
    more = ["--records", "persons", "--one-person-households"]
    assert export(done, "populationsim", tmp_path, *more) == 0
    households, persons = (pl.read_csv(tmp_path / name) for name in (HOUSEHOLDS, PERSONS))
    assert households.columns == ["household_id", "TAZ", "NP"]
    assert persons.columns == ["household_id", "TAZ", "per_num", "work", "mode", "AGE"]
    assert persons["household_id"].to_list() == list(range(1, 601))
    assert households["TAZ"].equals(persons["TAZ"])
    assert persons["AGE"].equals(records_of(done)["AGE"])


def test_one_of_two_files_that_is_there_stops_both(done, tmp_path, capsys):
    (tmp_path / PERSONS).write_text("mine")
    more = ["--records", "persons", "--one-person-households"]
    assert export(done, "populationsim", tmp_path, *more) == 2
    assert "is there already" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == [PERSONS]
    assert (tmp_path / PERSONS).read_text() == "mine"


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    return odd_run(tmp_path_factory.mktemp("odd"), name="odd\t<name> & 'x'")


# population_v6.dtd, written out by hand: element -> (its children in order, its attributes)
STRUCTURE = {
    "population": (r"(attributes )?(person )*", {"desc"}, set()),
    "person": (r"(attributes )?(plan )*", {"id"}, {"id"}),
    "attributes": (r"(attribute )*", set(), set()),
    "attribute": (r"", {"name", "class"}, {"name", "class"}),
}


def check_structure(element):
    children, allowed, needed = STRUCTURE[element.tag]
    assert re.fullmatch(children, "".join(f"{child.tag} " for child in element))
    assert needed <= set(element.attrib) <= allowed
    if element.tag != "attribute":
        assert not (element.text or "").strip()
    assert not (element.tail or "").strip()
    for child in element:
        check_structure(child)


def people_of(content):
    root = ET.fromstring(content)
    check_structure(root)
    return [
        (person.get("id"), {a.get("name"): (a.get("class"), a.text or "") for a in person[0]})
        for person in root
    ]


def test_matsim_persons_have_every_variable_as_an_attribute(odd, tmp_path):
    assert export(odd, "matsim", tmp_path, "--provenance") == 0
    content = (tmp_path / "population.xml").read_bytes()
    assert content.startswith(
        b'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE population SYSTEM '
        b'"http://www.matsim.org/files/dtd/population_v6.dtd">\n<population desc="small">\n'
    )
    people, data = people_of(content), records_of(odd)
    assert [number for number, _ in people] == [str(i + 1) for i in range(data.height)]
    kinds = dict(
        zip(data.columns, ("Integer", "String", "String", "String", "Double"), strict=True)
    )
    for (_, found), record in zip(people, data.rows(named=True), strict=True):
        wanted = {name: (f"java.lang.{kinds[name]}", str(v)) for name, v in record.items()}
        # no model was asked: a record of the background has no proposal
        assert found == wanted | {"iteration": ("java.lang.Integer", "0")}
    assert {found["odd\t<name> & 'x'"][1] for _, found in people} == set(ODD)


def test_matsim_attributes_are_renamed_and_typed_by_the_map(odd, tmp_path):
    (tmp_path / "map.yaml").write_text(
        'columns:\n  employed: {variable: work, values: {"yes": true, "no": false}}\n'
        "  carAvail: {variable: mode, values: {car: always, bus: never, walk: never}}\n"
        "  'a \"far\" <way>': {variable: mode, values: {car: 3000000000, bus: 1, walk: 0}}\n"
    )
    more = ["--map-file", str(tmp_path / "map.yaml")]
    assert export(odd, "matsim", tmp_path / "p.xml.gz", *more) == 0
    people = people_of(gzip.decompress((tmp_path / "p.xml.gz").read_bytes()))
    for (_, found), record in zip(people, records_of(odd).rows(named=True), strict=True):
        employed = "true" if record["work"] == "yes" else "false"
        assert found["employed"] == ("java.lang.Boolean", employed)
        car = record["mode"] == "car"
        assert found["carAvail"] == ("java.lang.String", "always" if car else "never")
        assert found['a "far" <way>'][0] == "java.lang.Long"
        assert not {"work", "mode"} & set(found)


def test_a_character_that_xml_cannot_hold_is_named_and_can_be_mapped_away(tmp_path, capsys):
    values = ["a\x07", "b"]
    variables = job_content()["variables"] | {"odd": {"type": "category", "values": values}}
    tables = [*job_content()["tables"], {"file": "odd.csv"}]
    job = write_job(tmp_path, variables=variables, tables=tables)
    with (tmp_path / "odd.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["odd", "count"], *([value, 300] for value in values)])
    assert main(["run", str(job), "--out", str(tmp_path / "run"), "-q"]) == 0
    capsys.readouterr()
    assert export(tmp_path / "run", "matsim", tmp_path / "p.xml") == 2
    assert r"XML cannot hold the character U+0007 of 'a\x07'" in capsys.readouterr().err
    text = 'columns: {odd: {variable: odd, values: {"a\\x07": bell, b: b}}}'
    (tmp_path / "map.yaml").write_text(text)
    more = ["--map-file", str(tmp_path / "map.yaml")]
    assert export(tmp_path / "run", "matsim", tmp_path / "p.xml", *more) == 0
    people = people_of((tmp_path / "p.xml").read_bytes())
    assert {found["odd"][1] for _, found in people} == {"bell", "b"}
