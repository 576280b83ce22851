"""Runs of households with persons handed on and judged: `export` and `evaluate` of both levels."""

from __future__ import annotations

import itertools
import json
import shutil
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest
from export_runs import records_of, tree
from household_job import write_job
from polars.testing import assert_frame_equal

from llmsynthor.cli.main import main
from llmsynthor.results.evaluation.linked import effective_clusters


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("homes")
    job = write_job(folder, output={"row_group": 1000}, records=1200)
    assert main(["run", str(job), "--out", str(folder / "run"), "-q"]) in (0, 3)
    return folder / "run"


@pytest.fixture(scope="module")
def real(run, tmp_path_factory):
    """Return two files of made-up real households and persons, keyed by text in another order."""
    folder = tmp_path_factory.mktemp("real")
    random = np.random.default_rng(8)
    homes, people = [], []
    for number in range(300):
        size = int(random.integers(1, 5))
        homes.append(
            (f"h{number}", str(size), str(random.choice(["owned", "rented"])), 1 + number % 3)
        )
        for place in range(size):
            role = "head" if place == 0 else str(random.choice(["partner", "child"]))
            age = int(random.integers(0, 15)) if role == "child" else int(random.integers(30, 90))
            people.append((f"h{number}", age, str(random.choice(["female", "male"])), role))
    order = random.permutation(len(people))
    pl.DataFrame(homes, schema=["hh", "size", "tenure", "w"], orient="row").write_csv(
        folder / "h.csv"
    )
    frame = pl.DataFrame(people, schema=["hh", "age", "sex", "role"], orient="row")
    frame[order].write_csv(folder / "p.csv")
    return folder


def export(run, form, out, *more):
    return main(["export", str(run), "--format", form, "--out", str(out), *more])


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_two_files_hold_both_levels_as_the_run_has_them(run, tmp_path, capsys, form):
    before = tree(run)
    assert export(run, form, tmp_path / "out", "--provenance", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    files = [str(tmp_path / "out" / f"{name}.{form}") for name in ("households", "persons")]
    data, own = records_of(run), records_of(run, "members")
    assert (found["files"], found["records"], found["members"]) == (files, 1200, own.height)
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet}[form]
    homes, people = (read(file) for file in files)
    sources = records_of(run, "provenance")
    text = [name for name, kind in data.schema.items() if kind == pl.Enum]
    assert homes.columns == [*data.columns, "iteration", "proposal"]
    assert_frame_equal(
        homes.drop("iteration", "proposal").cast(dict.fromkeys(text, pl.String)),
        data.cast(dict.fromkeys(text, pl.String)),
        check_dtypes=False,
    )
    assert homes["iteration"].to_list() == sources["iteration"].to_list()
    assert people.columns == own.columns
    assert people.select("household_id", "age").rows() == own.select("household_id", "age").rows()
    assert tree(run) == before


def test_a_file_for_two_tables_and_kinds_of_records_are_refused(run, tmp_path, capsys):
    assert export(run, "csv", tmp_path / "x.csv") == 2
    assert capsys.readouterr().err == (
        f"error: --out {tmp_path / 'x.csv'}: must be a folder; a run with members has two files, "
        "`households.csv` and `persons.csv`\n"
    )
    assert export(run, "populationsim", tmp_path, "--records", "persons") == 2
    assert capsys.readouterr().err == (
        "error: `--records` is for runs of one kind of record; this one has households with persons, "
        "and both files are written\n\nhint: leave `--records` out\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_populationsim_gets_linked_files_with_columns_of_both_levels(run, tmp_path):
    maps = ["--map", "age=AGEP", "--map", "cars=VEH", "--map", "tenure=TAZ"]
    assert export(run, "populationsim", tmp_path, *maps) == 0
    homes = pl.read_csv(tmp_path / "synthetic_households.csv")
    people = pl.read_csv(tmp_path / "synthetic_persons.csv")
    assert homes.columns == ["household_id", "TAZ", "NP", "VEH"]
    assert people.columns == ["household_id", "TAZ", "per_num", "AGEP", "sex", "role"]
    assert homes["household_id"].to_list() == list(range(1, 1201))
    sizes = dict(people.group_by("household_id").len().rows())
    assert [sizes[number] for number in homes["household_id"]] == homes["NP"].to_list()
    joined = people.join(homes, "household_id", suffix="_home")
    assert joined.height == people.height
    assert (joined["TAZ"] == joined["TAZ_home"]).all()


def test_a_map_of_no_variable_is_named_once_with_all_there_are(run, tmp_path, capsys):
    assert export(run, "populationsim", tmp_path, "--map", "height=cm") == 2
    (line, *_) = capsys.readouterr().err.splitlines()
    assert line == (
        "error: --map height=cm: there is no variable `height` (there are: size, tenure, cars, age, "
        "sex, role)"
    )


def test_activitysim_makes_links_and_sizes(run, tmp_path):
    (tmp_path / "map.yaml").write_text(
        "columns:\n"
        "  TAZ: {variable: tenure, values: {owned: 1, rented: 2}}\n"
        "  income: {variable: tenure, values: {owned: 90000, rented: 40000}}\n"
        "  HHT: {variable: tenure, values: {owned: 1, rented: 2}}\n"
        "  auto_ownership: cars\n"
        "  num_workers: {variable: tenure, values: {owned: 1, rented: 2}}\n"
        "  sex: {variable: sex, values: {male: 1, female: 2}}\n"
        "  pemploy: {variable: role, values: {head: 1, partner: 2, child: 4}}\n"
        "  pstudent: {variable: role, values: {head: 3, partner: 3, child: 1}}\n"
        "  ptype: {variable: role, values: {head: 1, partner: 2, child: 7}}\n"
    )
    out = tmp_path / "out"
    assert export(run, "activitysim", out, "--map-file", str(tmp_path / "map.yaml")) == 0
    homes = pl.read_csv(out / "synthetic_households.csv")
    people = pl.read_csv(out / "synthetic_persons.csv")
    own = records_of(run, "members")
    assert homes["hhsize"].sum() == people.height == own.height
    assert people["person_id"].to_list() == list(range(1, own.height + 1))
    assert people["household_id"].to_list() == (own["household_id"] + 1).to_list()
    assert people["PNUM"].to_list() == own["person_number"].to_list()


def test_matsim_persons_have_their_household_and_its_variables(run, tmp_path):
    assert export(run, "matsim", tmp_path) == 0
    people = ET.parse(tmp_path / "population.xml").getroot().findall("person")
    own = records_of(run, "members").join(records_of(run), "household_id")
    found = [{a.get("name"): a.text for a in p.iter("attribute")} for p in people]
    names = ["household_id", "person_number", "size", "tenure", "cars", "age", "sex", "role"]
    assert [list(person) for person in found] == [names] * own.height
    wanted = {tuple(map(str, row)) for row in own.select(names).rows()}
    assert {tuple(person.values()) for person in found} == wanted


def test_the_dictionary_lists_both_levels(run, tmp_path):
    assert export(run, "dictionary", tmp_path / "d.csv") == 0
    rows = pl.read_csv(tmp_path / "d.csv").select("of", "variable").rows()
    assert rows == [
        ("household", "household_id"), ("person", "household_id"), ("person", "person_number"),
        ("household", "size"), ("household", "tenure"), ("household", "cars"),
        ("person", "age"), ("person", "sex"), ("person", "role"),
    ]  # fmt: skip
    assert export(run, "dictionary", tmp_path / "d.md") == 0
    assert "as many as size says" in (tmp_path / "d.md").read_text()


def test_members_that_do_not_fit_are_refused_and_nothing_is_written(run, tmp_path, capsys):
    broken = tmp_path / "run"
    shutil.copytree(run, broken)
    path = next(iter(sorted((broken / "members").iterdir())))
    frame = pl.read_parquet(path)
    frame[:-1].write_parquet(path)
    assert export(broken, "csv", tmp_path / "out") == 2
    assert f"its {frame.height - 1:,} members are not those that" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*"))


def evaluated(run, real, *more):
    words = [str(real / "h.csv"), "--members", str(real / "p.csv"), "--key", "hh", *more]
    assert main(["evaluate", str(run), *words]) == 0
    return json.loads((run / "evaluation.json").read_text())


def binned(frame):
    age = pl.col("age")
    bins = pl.when(age < 16).then(pl.lit("0-15")).when(age < 40).then(pl.lit("16-39"))
    return frame.with_columns(bins.otherwise(pl.lit("40+")).alias("age"))


def tvd(first, second):
    cells = set(first) | set(second)
    sums = sum(first.values()), sum(second.values())
    return sum(abs(first.get(c, 0) / sums[0] - second.get(c, 0) / sums[1]) for c in cells) / 2


def crossed(homes, people, key, names, weight=None):
    joined = people.join(homes, key).cast(dict.fromkeys(names, pl.String))
    mass = pl.len() if weight is None else pl.col(weight).sum()
    return {row[:-1]: row[-1] for row in joined.group_by(names).agg(mass.alias("n")).rows()}


def couples(people, key, name):
    found = {}
    for _, group in people.group_by(key):
        for pair in itertools.permutations(group[name].cast(pl.String).to_list(), 2):
            found[pair] = found.get(pair, 0) + 1
    return found


@pytest.mark.slow
def test_each_kind_of_pairs_equals_another_reckoning(run, real, capsys):
    found = evaluated(run, real)
    shown = capsys.readouterr().err
    homes, people = pl.read_csv(real / "h.csv"), binned(pl.read_csv(real / "p.csv"))
    made, own = records_of(run), binned(records_of(run, "members"))
    part = found["members"]
    assert (part["microdata"]["rows"], part["made"]) == (people.height, own.height)
    for kind in ("members", "across"):
        assert part[kind]["compared"] == part[kind]["whole"] == {"members": 3, "across": 6}[kind]
        for entry in part[kind]["scopes"]:
            scope = entry["scope"]
            wanted = tvd(
                crossed(homes, people, "hh", scope), crossed(made, own, "household_id", scope)
            )
            assert entry["tvd"] == pytest.approx(wanted)
            assert entry["rows"] == people.height
            assert entry["maxent_tvd"] is not None
    controls = {tuple(e["scope"]) for e in part["members"]["scopes"] if e["coverage"] == "control"}
    assert controls == {("age", "role")}
    assert {entry["scope"][0] for entry in part["between"]["scopes"]} == {"age", "sex", "role"}
    for entry in part["between"]["scopes"]:
        first, second = entry["scope"]
        assert first == second
        held = couples(people, "hh", first)
        assert entry["rows"] == sum(held.values())
        assert entry["tvd"] == pytest.approx(tvd(held, couples(own, "household_id", first)))
    assert "two persons of one household" in shown
    assert "Persons of one household" in (run / "report.html").read_text()
    assert [row["variable"] for row in found["numbers"]][-1] == "age"


@pytest.mark.slow
def test_weights_of_households_count_for_their_persons(run, real):
    found = evaluated(run, real, "--weight", "w", "--columns", "sex=sex")
    homes, people = pl.read_csv(real / "h.csv"), binned(pl.read_csv(real / "p.csv"))
    made, own = records_of(run), binned(records_of(run, "members"))
    entry = next(
        e for e in found["members"]["across"]["scopes"] if e["scope"] == ["tenure", "role"]
    )
    first = crossed(homes, people, "hh", ["tenure", "role"], "w")
    wanted = tvd(first, crossed(made, own, "household_id", ["tenure", "role"]))
    assert entry["tvd"] == pytest.approx(wanted)


def test_files_that_do_not_go_with_the_run_are_refused(run, real, tmp_path, capsys):
    homes, people = str(real / "h.csv"), str(real / "p.csv")
    assert main(["evaluate", str(run), homes]) == 2
    assert capsys.readouterr().err == (
        f"error: {run}: its households have persons, and {homes} is one file\n\nhint: give the real "
        "households and the real persons as two files that a column links: `llmsynthor evaluate "
        f"{run} HOUSEHOLDS.csv --members PERSONS.csv --key household_id`\n"
    )
    assert main(["evaluate", str(run), homes, "--members", people]) == 2
    assert capsys.readouterr().err.startswith(
        f"error: {homes}: has no column `household_id`, which links records and members"
    )
    few = tmp_path / "few.csv"
    pl.read_csv(homes)[5:].write_csv(few)
    assert main(["evaluate", str(run), str(few), "--members", people, "--key", "hh"]) == 2
    assert f"have a key that no row of {few} has (first `h" in capsys.readouterr().err
    twice = tmp_path / "twice.csv"
    frame = pl.read_csv(homes)
    pl.concat([frame, frame[:1]]).write_csv(twice)
    assert main(["evaluate", str(run), str(twice), "--members", people, "--key", "hh"]) == 2
    assert "2 rows share their key with another (first `h0`)" in capsys.readouterr().err


def test_clusters_of_one_are_independent_rows_and_copies_count_once():
    index = np.random.default_rng(1).integers(0, 4, 200)
    cells = np.bincount(index, minlength=4)
    alone = effective_clusters(index, np.arange(200), cells, None)
    assert alone == pytest.approx(200)
    doubled = effective_clusters(np.repeat(index, 2), np.repeat(np.arange(200), 2), 2 * cells, None)
    assert doubled == pytest.approx(200)  # members who are alike say nothing new
