"""A seed sample: real records that made records are copies of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
import yaml
from small_job import write_job

from llmsynthor.candidates.drawn import merged
from llmsynthor.candidates.seed_sample import SeedSample
from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

MODES = ("car", "bus", "walk")
HOUSEHOLDS = """hhID,income,weight
a,1,2.5
b,2,1
c,1,3
d,2,2
"""
PERSONS = """hhID,age,sex
a,37,f
a,41,m
b,70,f
c,25,m
c,26,f
c,3,m
d,66,m
"""


def people() -> str:
    lines = ["id,AGEP,work,mode,w"]
    for i in range(60):
        age = 18 + (i * 7) % 68
        lines.append(
            f"p{i},{age},{('yes', 'no')[age > 64 or i % 4 == 0]},{MODES[i % 3]},{1 + i % 3}"
        )
    return "\n".join(lines) + "\n"


def person_job(folder: Path, text: str | None = None, **sample: object) -> Path:
    spec = {"file": "seed.csv", "columns": {"AGEP": "age"}, "weight": "w", "key": "id"}
    path = write_job(
        folder, seed_sample={k: v for k, v in (spec | sample).items() if v is not None}
    )
    (folder / "seed.csv").write_text(people() if text is None else text)
    return path


def household_job(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "size.csv": "size,count\n1,120\n2,60\n3,20\n",
        "income.csv": "income,count\nlow,110\nhigh,90\n",
        "age.csv": "age,count\n0-17,20\n18-64,160\n65+,120\n",
        "sex.csv": "sex,count\nf,150\nm,150\n",
    }
    for name, text in tables.items():
        (folder / name).write_text(text)
    (folder / "seed_households.csv").write_text(HOUSEHOLDS)
    (folder / "seed_persons.csv").write_text(PERSONS)
    job = {
        "version": 1,
        "name": "homes",
        "records": 200,
        "variables": {
            "income": {"type": "category", "values": ["low", "high"]},
            "size": {"type": "integer", "min": 1, "max": 3},
        },
        "members": {
            "name": "person",
            "of": "household",
            "size": "size",
            "variables": {
                "age": {"type": "integer", "min": 0, "max": 90},
                "sex": {"type": "category", "values": ["f", "m"]},
            },
        },
        "tables": [{"file": name} for name in tables],
        "seed_sample": {
            "file": "seed_households.csv",
            "weight": "weight",
            "key": "hhID",
            "values": {"income": {"1": "low", "2": "high"}},
            "members": {"file": "seed_persons.csv", "key": "hhID"},
        },
        "provider": {"model": "none"},
        "engine": {"candidates": 4000},
    }
    job |= changes
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path


def run(path: Path, *options: str) -> tuple[int, Path]:
    out = path.parent / "run"
    return main(["run", str(path), "--out", str(out), *options]), out


def held(out: Path, folder: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(p) for p in sorted((out / folder).glob("*.parquet"))])


def report(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def test_copies_keep_every_value_of_the_seed_record(tmp_path):
    code, out = run(person_job(tmp_path / "job"))
    assert code == 0
    seed = pl.read_csv(tmp_path / "job" / "seed.csv")
    records = pl.concat([held(out, "data"), held(out, "provenance")], how="horizontal")
    copies = records.filter(pl.col("seed_record").is_not_null())
    beside = copies.join(seed, left_on="seed_record", right_on="id", maintain_order="left")
    assert beside["age"].to_list() == beside["AGEP"].to_list()
    for name in ("work", "mode"):
        assert beside[name].cast(pl.String).to_list() == beside[f"{name}_right"].to_list()
    assert copies["proposal"].null_count() == copies.height
    assert copies.height > 0.8 * records.height


def test_tables_are_met_and_the_report_says_where_records_came_from(tmp_path):
    code, out = run(person_job(tmp_path / "job"))
    made = report(out)
    assert code == 0
    assert max(t["tae"] for t in made["tables"] if t["role"] == "control") < 1e-6
    provenance = held(out, "provenance")
    copied = provenance["seed_record"].count()
    assert made["sources"] == {"seed_sample": copied, "model": 0, "background": 600 - copied}
    assert "copies of real records of the seed sample" in (out / "report.html").read_text()
    assert "seed.csv" in json.loads((out / "manifest.json").read_text())["inputs"]


def test_households_are_copied_with_their_persons(tmp_path):
    code, out = run(household_job(tmp_path / "job"))
    assert code in (0, 3)
    made = report(out)
    assert made["members"]["linkage"] == {
        "orphans": 0, "repeated_keys": 0, "wrong_numbers": 0, "wrong_sizes": 0,
    }  # fmt: skip
    records = pl.concat([held(out, "data"), held(out, "provenance")], how="horizontal")
    copies = records.filter(pl.col("seed_record") == "c")
    assert copies.height > 0
    own = held(out, "members").join(copies.select("household_id"), "household_id", how="semi")
    found = own.sort("household_id", "person_number").group_by(
        "household_id", maintain_order=True
    ).agg("age", pl.col("sex").cast(pl.String))  # fmt: skip
    assert {tuple(row) for row in found["age"].to_list()} == {(25, 26, 3)}
    assert {tuple(row) for row in found["sex"].to_list()} == {("m", "f", "m")}


def test_explain_names_the_seed_record_and_its_weight(tmp_path, capsys):
    _, out = run(person_job(tmp_path / "job"))
    provenance = held(out, "provenance")
    number = provenance["seed_record"].is_not_null().arg_max()
    key = provenance["seed_record"][number]
    weight = dict(pl.read_csv(tmp_path / "job" / "seed.csv").select("id", "w").rows())[key]
    others = provenance["seed_record"].eq(key).sum() - 1
    capsys.readouterr()
    assert main(["explain", str(out), "--record", str(number)]) == 0
    word = "record" if others == 1 else "records"
    said = f"copied from seed record {key} (weight {weight}), as {others} other {word} are"
    assert said in capsys.readouterr().out


def test_variables_without_a_column_are_drawn_given_the_others(tmp_path):
    path = person_job(tmp_path / "job", missing="background")
    text = pl.read_csv(tmp_path / "job" / "seed.csv").drop("mode").write_csv()
    (tmp_path / "job" / "seed.csv").write_text(text)
    code, out = run(path)
    assert code == 0
    assert report(out)["sources"]["seed_sample"] > 500
    assert set(held(out, "data")["mode"].cast(pl.String)) == set(MODES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"columns": {"AGE": "age"}},
            "seed.csv: has no column `AGE`; did you mean `AGEP`?",
        ),
        ({"columns": {}}, "seed.csv: has no column for `age` (columns: `id`, `AGEP`, `work`, `mode`, `w`)"),
        ({"weight": "ww"}, "seed.csv: has no column `ww`; did you mean `w`?"),
        ({"key": "mode"}, "seed.csv:5: the key `mode`: `car` stands on an earlier line, too (57 such records)"),
        (
            {"share": 0.5},
            "job.yaml:42:1: seed_sample.share: no model is asked, so that there is nothing beside the "
            "sample; leave it out",
        ),
        (
            {"members": {"file": "p.csv", "key": "id"}},
            "seed_sample.members: the job has no `members`; leave them out here, or describe them",
        ),
        ({"values": {"wrk": {"1": "yes"}}}, "`wrk` is no variable of this file's records"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_job_is_an_error(tmp_path, capsys, change, message):
    path = person_job(tmp_path / "job", **change)
    assert main(["validate", str(path)]) == 2
    assert message.split(": ", 1)[-1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "x,30,yes,tram,1",
            "column `mode`: `tram` (1 row), in all 1 row, is no category of `mode`",
        ),
        ("x,130,yes,bus,1", "column `AGEP`: 1 row beyond the limits of `age`, 18 to 90"),
        ("x,,yes,bus,1", "column `AGEP`: no value of `age`"),
        ("x,30,yes,bus,0", "the weight `w` is 0"),
        ("x,88,no,car,1", "the record breaks the rule `the old do not drive`"),
    ],
)
def test_a_few_wrong_records_are_left_out_and_counted(tmp_path, capsys, line, message):
    body = people().splitlines()
    text = "\n".join(
        [body[0], *(f"{n}{row[row.index(',') :]}" for n in range(2) for row in body[1:])]
    )
    rows = [f"{i}{row[row.index(',') :]}" for i, row in enumerate(text.splitlines()[1:])]
    path = person_job(tmp_path / "job", "\n".join([body[0], *rows, line]) + "\n")
    assert main(["validate", str(path)]) == 0
    told = " ".join(capsys.readouterr().err.split())
    assert f"seed.csv: 1 of 121 records left out of the seed sample: {message}" in told
    assert "(first on line 122)" in told


def test_many_wrong_records_are_an_error(tmp_path, capsys):
    path = person_job(tmp_path / "job", people().replace(",bus,", ",Bus,"))
    assert main(["validate", str(path)]) == 2
    told = capsys.readouterr().err
    assert "20 of 60 records left out of the seed sample: column `mode`: `Bus` (20 rows, did you mean `bus`?)" in told  # fmt: skip
    assert "that is more than 1 % of the records" in told


@pytest.mark.parametrize("weight", ["", "-1", "many"])
def test_a_weight_that_is_none_is_an_error(tmp_path, capsys, weight):
    path = person_job(tmp_path / "job", people() + f"x,30,yes,bus,{weight}\n")
    assert main(["validate", str(path)]) == 2
    assert (
        f"seed.csv:62: the weight `w` is `{weight}`, not a number of 0 or more (1 such record)"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("households", "persons", "message"),
    [
        ("", "z,30,f\n", "no record of seed_households.csv has the key `z`"),
        ("e,1,1\n", "", "the record has 0 members, and `size` goes from 1 to 3"),
        ("", "c,1,f\n", "the record has 4 members, and `size` goes from 1 to 3"),
        ("", "d,30,x\n", "column `sex`: `x` (1 row), in all 1 row, is no category of `sex`"),
    ],
)
def test_what_does_not_fit_between_households_and_persons(tmp_path, capsys, households, persons, message):  # fmt: skip
    path = household_job(tmp_path / "job")
    for name, more in (("seed_households.csv", households), ("seed_persons.csv", persons)):
        file = tmp_path / "job" / name
        file.write_text(file.read_text() + more)
    assert main(["validate", str(path)]) == 2
    assert message in capsys.readouterr().err


def test_a_size_that_is_not_the_number_of_persons(tmp_path, capsys):
    path = household_job(tmp_path / "job")
    file = tmp_path / "job" / "seed_households.csv"
    file.write_text("hhID,income,weight,size\na,1,1,2\nb,2,1,1\nc,1,1,2\nd,2,1,1\n")
    assert main(["validate", str(path)]) == 2
    assert "`size` is 2 and the record has 3 members (first on line 4)" in capsys.readouterr().err


def test_another_sample_is_another_job(tmp_path, capsys):
    path = person_job(tmp_path / "job")
    assert run(path)[0] == 0
    with (tmp_path / "job" / "seed.csv").open("a") as file:
        file.write("x,30,yes,bus,1\n")
    assert run(path, "--resume")[0] == 2
    assert "the job has changed since this run began: seed.csv (content)" in capsys.readouterr().err


def test_the_same_run_twice_is_the_same(tmp_path):
    frames = []
    for name in ("one", "two"):
        _, out = run(person_job(tmp_path / name))
        frames.append((held(out, "data"), held(out, "provenance")))
    assert frames[0][0].equals(frames[1][0])
    assert frames[0][1].equals(frames[1][1])


def test_without_a_sample_provenance_has_no_column_of_it(tmp_path):
    path = tmp_path / "job"
    write_job(path)
    _, out = run(path / "job.yaml")
    assert held(out, "provenance").columns == ["iteration", "proposal"]
    assert "sources" not in report(out)


def test_sources_below_the_backgrounds_stay_apart_when_rows_are_merged():
    codes = np.array([[0], [0], [1], [0]], dtype=np.int32)
    nothing = np.empty((4, 0))
    found = merged(
        [(codes, nothing, np.array([1.0, 2.0, 3.0, 4.0]), np.array([-2, -5, -1, 7]))], (2,), 0
    )
    first = found.source[found.start[0] : found.start[1]].tolist()
    mass = np.diff(found.source_end, prepend=0.0)[: len(first)]
    assert dict(zip(first, np.round(mass, 9).tolist(), strict=True)) == {-5: 0.2, -2: 0.1, 7: 0.4}
    assert found.share_background == pytest.approx(0.3)


def test_a_larger_sample_gets_a_larger_share_beside_a_model():
    def sample(weight: np.ndarray, share: float | None = None) -> SeedSample:
        n = len(weight)
        nothing = np.zeros((n, 1), dtype=np.int32)
        return SeedSample(nothing, np.array([True]), np.empty((n, 2, 0)), weight, ["a"] * n, share)

    even = np.ones(3000)
    assert sample(even).share_beside(5) == pytest.approx(0.5)
    assert sample(even[:300]).share_beside(5) == pytest.approx(1 / 11)
    assert sample(np.append(np.ones(300), np.full(2700, 1e-9))).share_beside(5) < 0.1
    assert sample(even, 0.2).share_beside(5) == 0.2
    assert sample(even, 0.2).share_beside(0) == 1.0


def stored(folder: Path, content: bytes, **form: object) -> Path:
    """Write the job of households with the file of their persons stored in some way."""
    members = {"file": "seed_persons.csv", "key": "hhID", **form}
    path = household_job(folder)
    job = yaml.safe_load(path.read_text())
    job["seed_sample"]["members"] = members
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    (folder / "seed_persons.csv").write_bytes(content)
    return path


NAMED = PERSONS.replace("sex", "sex,prénom").replace("f\n", "f,Zoé\n").replace("m\n", "m,Noé\n")


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (NAMED.encode("cp1252"), {"encoding": "windows-1252"}),
        (NAMED.replace(",", "\t").encode("utf-16"), {}),
        (NAMED.replace(",", ";").encode("latin-1"), {"encoding": "latin-1", "separator": ";"}),
    ],
)
def test_the_file_of_members_may_be_stored_in_another_way(tmp_path, content, form):
    code, plain = run(stored(tmp_path / "plain", PERSONS.encode()))
    assert (code, run(stored(tmp_path / "other", content, **form))) == (
        0,
        (0, tmp_path / "other" / "run"),
    )
    assert held(plain, "members").equals(held(tmp_path / "other" / "run", "members"))


@pytest.mark.parametrize(
    ("content", "form", "told"),
    [
        (
            NAMED.encode("cp1252"),
            {},
            "error: seed_persons.csv:1: byte 16 of this line (0xE9) is not UTF-8; in Latin-1 it is "
            "`é`\n\nhint: say how it is stored in `seed_sample.members`, for example "
            "`encoding: latin-1`\n",
        ),
        (
            NAMED.encode("utf-16-le"),
            {},
            "error: seed_persons.csv: the file looks like UTF-16 without its mark\n\n"
            "hint: say so in `seed_sample.members`: `encoding: utf-16`\n",
        ),
        (
            NAMED.encode("utf-16"),
            {"encoding": "latin-1"},
            "error: seed_persons.csv: the file begins with the mark of utf-16, and the job says "
            "`encoding: latin-1`\n\nhint: leave `encoding` out\n",
        ),
    ],
)
def test_what_is_wrong_with_the_file_of_members_names_its_keys(
    tmp_path, capsys, content, form, told
):
    assert main(["validate", str(stored(tmp_path, content, **form))]) == 2
    assert capsys.readouterr().err == told
