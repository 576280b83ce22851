"""`import populationsim`: a set-up becomes a job with tables and a seed sample."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llmsynthor.cli.main import main
from llmsynthor.starting.from_populationsim.expressions import (
    BOTTOM,
    TOP,
    Accepted,
    UnreadableError,
    read_expression,
)

CONTROLS = """target,geography,seed_table,importance,control_field,expression
num_hh,ZONE,households,1000000,HH,(households.WGT > 0) & (households.WGT < np.inf)
size_1,ZONE,households,5000,S1,households.NP == 1
size_2,ZONE,households,5000,S2,households.NP == 2
size_3p,ZONE,households,5000,S3,households.NP >= 3
inc_low,ZONE,households,500,ILOW,(households.INC > -999) & (households.INC <= 20)
inc_high,ZONE,households,500,IHIGH,(households.INC > 20) & (households.INC <= np.inf)
num_p,ZONE,persons,1000,POP,(persons.WGT > 0) & (persons.WGT < np.inf)
age_child,ZONE,persons,1000,CHILD,persons.AGEC.isin([0])
age_adult,ZONE,persons,1000,ADULT,(persons.AGEC == 1) | (persons.AGEC == 2)
works,ZONE,persons,1000,WORKS,persons.JOB == 'yes'
idle,ZONE,persons,1000,IDLE,persons.JOB.isna()
odd,ZONE,households,10,S1,households.NP + 1
evil,ZONE,households,10,S1,__import__('os').system('touch evil')
"""
TOTALS = """ZONE,HH,S1,S2,S3,ILOW,IHIGH,POP,CHILD,ADULT,WORKS,IDLE
7,100,50,30,20,60,40,175,25,150,90,85
8,60,20,20,20,30,40,125,25,100,60,65
"""
HOUSEHOLDS = "hid,ZONE,NP,INC,WGT\n" + "".join(
    f"{z}{i},{z},{n},{inc},{1 + i % 2}\n"
    for z in (7, 8)
    for i, (n, inc) in enumerate([(1, 10), (1, 30), (2, 15), (2, 50), (3, 20), (4, 70), (3, 21)])
)


def persons() -> str:
    lines = ["hid,AGEC,JOB,WGT"]
    for row in HOUSEHOLDS.splitlines()[1:]:
        hid, _, n, _, _ = row.split(",")
        for k in range(int(n)):
            age = (1 + int(hid) % 2) if k < 2 else 0
            lines.append(f"{hid},{age},{'yes' if age and (k + int(hid)) % 2 else 'NA'},1")
    return "\n".join(lines) + "\n"


def setup(folder: Path, *, apart: bool = False, with_persons: bool = True, controls: str = CONTROLS) -> Path:  # fmt: skip
    configs, data = (folder / "configs", folder / "data") if apart else (folder, folder)
    for place in (configs, data):
        place.mkdir(parents=True, exist_ok=True)
    (configs / "controls.csv").write_text(controls)
    (data / "control_totals_zone.csv").write_text("# made up\n" + TOTALS)
    (data / "seed_households.csv").write_text(HOUSEHOLDS)
    (data / "geo_cross_walk.csv").write_text("ZONE,REGION\n7,1\n8,1\n")
    if with_persons:
        (data / "seed_persons.csv").write_text(persons())
    return folder


def imported(folder: Path, out: Path) -> dict:
    assert main(["import", "populationsim", str(folder), "--out", str(out)]) == 0
    return yaml.safe_load((out / "job.yaml").read_text())


@pytest.mark.parametrize("apart", [False, True])
def test_the_job_has_variables_tables_and_the_seed(tmp_path, apart):
    job = imported(setup(tmp_path / "in", apart=apart), tmp_path / "out")
    data = "../in/data" if apart else "../in"
    assert job["records"] == 160
    assert job["variables"] == {
        "ZONE": {"type": "category", "values": ["7", "8"]},
        "INC": {"type": "integer", "min": 10, "max": 70},
        "NP": {"type": "integer", "min": 1, "max": 4},
    }
    assert job["members"] == {
        "name": "person",
        "of": "household",
        "size": "NP",
        "variables": {
            "AGEC": {"type": "category", "values": ["child", "adult"]},
            "JOB": {"type": "category", "values": ["yes", "idle"]},
        },
    }
    assert {t["file"]: t for t in job["tables"]} == {
        f"tables/{spec['file']}.csv": {**spec, "file": f"tables/{spec['file']}.csv"}
        for spec in (
            {"file": "households"},
            {"file": "persons", "counts": "members"},
            {"file": "NP"},
            {"file": "INC", "weight": 1.0},
            {"file": "AGEC", "counts": "members"},
            {"file": "JOB", "counts": "members"},
        )
    }
    assert job["seed_sample"] == {
        "file": f"{data}/seed_households.csv",
        "weight": "WGT",
        "key": "hid",
        "members": {
            "file": f"{data}/seed_persons.csv",
            "values": {"AGEC": {"0": "child", "1": "adult", "2": "adult"}, "JOB": {"NA": "idle"}},
            "key": "hid",
        },
    }
    rows = pl.read_csv(tmp_path / "out" / "tables" / "NP.csv", infer_schema=False).rows()
    assert rows == [
        ("7", "1", "50"), ("7", "2", "30"), ("7", "3-4", "20"),
        ("8", "1", "20"), ("8", "2", "20"), ("8", "3-4", "20"),
    ]  # fmt: skip


def test_the_account_names_what_gives_way_and_what_is_left_out(tmp_path, capsys):
    imported(setup(tmp_path / "in"), tmp_path / "out")
    told = capsys.readouterr().err
    assert (
        "gives way (weight 1): INC, whose totals are 10 households away from those of a control of "
        "more importance, over all zones"
    ) in told
    assert "left out: odd: `households.NP + 1` is no comparison" in told
    assert "left out: evil: `__import__('os')` is no column of `households`" in told
    assert "the seed sample is real people" in told
    assert not Path("evil").exists()


def test_the_job_runs_and_meets_what_agrees(tmp_path):
    imported(setup(tmp_path / "in"), tmp_path / "out")
    run = tmp_path / "run"
    assert main(["run", str(tmp_path / "out" / "job.yaml"), "--out", str(run)]) in (0, 3)
    report = yaml.safe_load((run / "report.json").read_text())
    tae = {t["name"]: t["tae"] for t in report["tables"]}
    assert tae["households"] == tae["NP"] == pytest.approx(0, abs=1e-6)
    assert max(tae[name] for name in ("persons", "AGEC", "JOB")) <= 4  # INC pulls at them
    assert not any(report["members"]["linkage"].values())
    assert report["sources"]["seed_sample"] > 100


def test_without_persons_their_controls_are_left_out_by_name(tmp_path, capsys):
    job = imported(setup(tmp_path / "in", with_persons=False), tmp_path / "out")
    assert "members" not in job
    told = capsys.readouterr().err
    assert (
        "left out: num_p, age_child, age_adult, works, idle: there is no seed table of persons"
        in told
    )
    assert main(["validate", str(tmp_path / "out" / "job.yaml")]) == 0


def test_zones_that_the_seed_lacks_are_drawn(tmp_path):
    folder = setup(tmp_path / "in")
    for name in ("seed_households.csv",):
        frame = pl.read_csv(folder / name).drop("ZONE")
        frame.write_csv(folder / name)
    job = imported(folder, tmp_path / "out")
    assert job["seed_sample"]["missing"] == "background"
    assert main(["validate", str(tmp_path / "out" / "job.yaml")]) == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("controls.csv", "there is no controls.csv, nor in its configs/ or data/"),
        ("seed_households.csv", "there is no seed_households.csv, nor in its data/"),
    ],
)
def test_a_file_that_is_missing_is_named(tmp_path, capsys, name, message):
    folder = setup(tmp_path / "in")
    (folder / name).unlink()
    assert main(["import", "populationsim", str(folder), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


ACCEPTS = [
    ("t.x == 1", [1.0], [2.0, None]),
    ("1 < t.x", [1.5, 2.0], [1.0]),
    ("(t.x > 1) & (t.x <= 3)", [1.5, 3.0], [1.0, 3.5]),
    ("t.x.between(1, 3)", [1.0, 3.0], [0.9, 3.1]),
    ("t.x.between(1, 3, inclusive='left')", [1.0], [3.0]),
    ("t.x.isin([1, 5])", [1.0, 5.0], [3.0]),
    ("~t.x.isin([1, 5])", [3.0, None, "a"], [1.0]),
    ("(t.x < -1) | (t.x == np.inf)", [-2.0], [0.0]),
    ("t['x'] != 'a'", ["b", None, 1.0], ["a"]),
    ("t.x.isna()", [None], [1.0, "a"]),
    ("t.x.notnull() & (t.x != 2)", [1.0], [2.0, None]),
]


@pytest.mark.parametrize(("text", "yes", "no"), ACCEPTS)
def test_expressions_accept_what_they_say(text, yes, no):
    accepted = read_expression(text, "t")["x"]
    assert [accepted.takes(v) for v in yes] == [True] * len(yes)
    assert [accepted.takes(v) for v in no] == [False] * len(no)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("t.x = 1", "it is no expression"),
        ("t.x == 1 & t.y == 2", "is a chain"),
        ("(t.x == 1) | (t.y == 2)", "`|` joins conditions on different columns, `x` and `y`"),
        ("u.x == 1", "is of `u`, and the control's table is `t`"),
        ("t.x == t.y", "`t.y` is no number and no text"),
        ("t.x.map(print)", "only isin, between, isna and notna are read"),
        ("t.x > 'a'", "compares with a text other than by `==` or `!=`"),
        ("(lambda: 1)()", "only isin, between, isna and notna are read"),
        ("t.x.__class__ == 1", "is no column of `t`"),
    ],
)
def test_what_cannot_be_read_is_said(text, why):
    with pytest.raises(UnreadableError) as error:
        read_expression(text, "t")
    assert why in str(error.value)


VALUES = st.one_of(st.none(), st.sampled_from("abc"), st.integers(-3, 3).map(float))
SOME = st.recursive(
    st.one_of(
        st.lists(VALUES.filter(lambda v: v is not None), max_size=3).map(lambda v: Accepted.of(*v)),
        st.tuples(st.integers(-3, 3), st.integers(0, 1)).map(
            lambda e: Accepted.between(BOTTOM, (float(e[0]), e[1]))
        ),
        st.tuples(st.integers(-3, 3), st.integers(0, 1)).map(
            lambda e: Accepted.between((float(e[0]), e[1]), TOP)
        ),
        st.just(Accepted(missing=True)),
    ),
    lambda inner: st.one_of(inner.map(lambda a: ~a), st.tuples(inner, inner).map(lambda p: p[0] | p[1])),
    max_leaves=6,
)  # fmt: skip


@given(SOME, SOME, VALUES)
def test_and_or_and_not_are_those_of_logic(one, other, value):
    assert (one & other).takes(value) == (one.takes(value) and other.takes(value))
    assert (one | other).takes(value) == (one.takes(value) or other.takes(value))
    assert (~one).takes(value) == (not one.takes(value))
    if one.is_nothing:
        assert not one.takes(value)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "controls.csv",
            "works,",
            "works à temps,",
            ":11: byte 7 of this line (0xE0) is not UTF-8; in Latin-1 it is `à`",
        ),
        (
            "seed_persons.csv",
            "JOB",
            "JÖB",
            ":1: byte 11 of this line (0xD6) is not UTF-8; in Latin-1 it is `Ö`",
        ),
        (
            "control_totals_zone.csv",
            "# made up",
            "# fait à Blois",
            ":1: byte 8 of this line (0xE0) is not UTF-8; in Latin-1 it is `à`",
        ),
    ],
)
def test_a_file_that_is_not_utf_8_is_named_with_its_line(tmp_path, capsys, name, old, new, message):
    file = setup(tmp_path / "in") / name
    file.write_bytes(file.read_text().replace(old, new).encode("cp1252"))
    assert (
        main(["import", "populationsim", str(tmp_path / "in"), "--out", str(tmp_path / "o")]) == 2
    )
    assert capsys.readouterr().err == (
        f"reading {tmp_path / 'in'}\nerror: {file}{message}\n\nhint: save the file as UTF-8\n"
    )


@pytest.mark.parametrize(
    ("encoding", "separator"), [("utf-16", ","), ("utf-8-sig", ";"), ("utf-8", "\t")]
)
def test_files_in_another_form_are_read_and_the_job_reads_them_too(tmp_path, encoding, separator):
    plain, other = setup(tmp_path / "plain"), setup(tmp_path / "other")
    for file in other.iterdir():
        if file.name != "controls.csv":
            text = file.read_text().replace(",", separator)
            file.write_bytes(text.encode(encoding))
    first, second = imported(plain, tmp_path / "first"), imported(other, tmp_path / "second")
    assert second["tables"] == first["tables"]
    assert main(["validate", str(tmp_path / "second" / "job.yaml")]) == 0
