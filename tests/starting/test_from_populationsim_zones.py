"""`import populationsim` with several geographies: they become `zones`, and are met at each level."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import polars as pl
import pytest
import yaml
from zone_homes import homes

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

CONTROLS = """target,geography,seed_table,importance,control_field,expression
num_hh,TAZ,households,1000000,HH,households.W > 0
size_1,TAZ,households,5000,S1,households.NP == 1
size_2,TAZ,households,5000,S2,households.NP == 2
size_3p,TAZ,households,5000,S3,households.NP >= 3
young,TAZ,persons,1000,YOUNG,persons.AGE < 18
adult,TAZ,persons,1000,ADULT,persons.AGE >= 18
owned,TRACT,households,500,OWNED,households.TEN == 1
rented,TRACT,households,500,RENTED,households.TEN == 2
women,REGION,persons,500,WOMEN,persons.SEX == 2
men,REGION,persons,500,MEN,persons.SEX == 1
"""


def _totals(zone: pl.Series, place: str) -> pl.DataFrame:
    """Return the controls' totals of each place, those of zones with nobody too."""
    households, persons = homes(8)
    counts = {
        "HH": households[place],
        "S1": households.filter(pl.col("size") == 1)[place],
        "S2": households.filter(pl.col("size") == 2)[place],
        "S3": households.filter(pl.col("size") >= 3)[place],
        "OWNED": households.filter(pl.col("tenure") == "owned")[place],
        "RENTED": households.filter(pl.col("tenure") == "rented")[place],
        "YOUNG": persons.filter(pl.col("years") < 18)[place],
        "ADULT": persons.filter(pl.col("years") >= 18)[place],
    }
    return pl.DataFrame([zone, *(
        pl.Series(name, [(held == label).sum() for label in zone]) for name, held in counts.items()
    )])  # fmt: skip


def write_setup(folder: Path, tract: str = "TRACTCE") -> Path:
    """Write a set-up of 8 zones in 3 tracts, whose crosswalk calls the tracts `tract`."""
    folder.mkdir(parents=True)
    (folder / "controls.csv").write_text(CONTROLS)
    zones = pl.Series("TAZ", [f"taz{z}" for z in range(8)])
    tracts = pl.Series("TRACT", [f"tract{t}" for t in range(3)])
    _totals(zones, "taz").write_csv(folder / "control_totals_taz.csv")
    _totals(tracts, "tract").write_csv(folder / "control_totals_tract.csv")
    persons = homes(8)[1]
    sexes = [int((persons["sex"] == sex).sum()) for sex in ("f", "m")]
    (folder / "control_totals_region.csv").write_text(
        f"REGION,WOMEN,MEN\n1,{sexes[0]},{sexes[1]}\n"
    )
    rows = [f"taz{z},tract{z // 3},1\n" for z in range(8)]
    (folder / "geo_cross_walk.csv").write_text(f"TAZ,{tract},REGION\n" + "".join(rows))
    seeds, own = homes(20, seed=1)
    tenure = pl.when(pl.col("tenure") == "owned").then(1).otherwise(2).alias("TEN")
    seeds.select("id", pl.col("size").alias("NP"), tenure, pl.lit(1).alias("W")).write_csv(
        folder / "seed_households.csv"
    )
    sex = pl.when(pl.col("sex") == "m").then(1).otherwise(2).alias("SEX")
    own.select("id", pl.col("years").alias("AGE"), sex).write_csv(folder / "seed_persons.csv")
    return folder


def imported(folder: Path, out: Path) -> dict:
    assert main(["import", "populationsim", str(folder), "--out", str(out)]) == 0
    return yaml.safe_load((out / "job.yaml").read_text())


@pytest.mark.slow
def test_controls_of_each_geography_are_met(tmp_path, capsys):
    out = tmp_path / "job"
    job = imported(write_setup(tmp_path / "in"), out)
    told = capsys.readouterr().err
    assert "zones: 8 TAZ in 3 TRACT\n" in told
    assert "note: TRACT: column `TRACTCE` of the crosswalk, which has the same values\n" in told
    assert "left out" not in told
    assert job["zones"] == {"variable": "TAZ", "crosswalk": "zones.csv", "within": ["TRACT"]}
    assert "TAZ" not in job["variables"]
    assert "missing" not in job["seed_sample"]
    assert (out / "zones.csv").read_text().splitlines()[:2] == ["TAZ,TRACT", "taz0,tract0"]
    run = tmp_path / "run"
    words = ["--set", "engine.candidates=6000", "--set", "zones.chunk_records=60"]
    assert main(["run", str(out / "job.yaml"), "--out", str(run), "-q", *words]) == 0
    report = json.loads((run / "report.json").read_text())
    assert report["chunks"]["number"] > 1
    assert {t["name"]: t["tae"] for t in report["tables"]} == dict.fromkeys(
        ("households", "NP", "AGE", "TEN_TRACT", "SEX_REGION"), 0
    )


def test_an_imported_job_does_not_warn_of_its_own_totals(tmp_path, capsys):
    imported(write_setup(tmp_path / "in"), tmp_path / "job")
    capsys.readouterr()
    assert main(["validate", str(tmp_path / "job" / "job.yaml")]) == 0
    assert "adds nothing" not in capsys.readouterr().err


def test_a_coarser_table_that_disagrees_gives_way(tmp_path, capsys):
    folder = write_setup(tmp_path / "in")
    file = folder / "control_totals_tract.csv"
    totals = pl.read_csv(file)
    more = pl.when(pl.col("TRACT") == "tract1").then(pl.col("OWNED") + 4).otherwise("OWNED")
    totals.with_columns(more.alias("OWNED")).write_csv(file)
    job = imported(folder, tmp_path / "job")
    weights = {table["file"]: table.get("weight") for table in job["tables"]}
    assert weights.pop("tables/TEN_TRACT.csv") == 1.0
    assert set(weights.values()) == {None}
    assert (
        "gives way (weight 1): TEN_TRACT, whose totals are 4 households away from those of a "
        "control of more importance"
    ) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda text: text.replace("tract2", "tract9"),
            "nothing says which TRACT a TAZ lies within",
        ),
        (lambda text: text + "taz0,tract1,1\n", "`taz0` lies in `tract0` and in `tract1`"),
        (
            lambda text: text.replace("taz3,tract1,1\n", ""),
            "1 zone (`taz3`, for example) is not in the crosswalk",
        ),
    ],
)
def test_a_geography_that_the_zones_do_not_lie_within_is_left_out(tmp_path, capsys, change, why):
    folder = write_setup(tmp_path / "in")
    file = folder / "geo_cross_walk.csv"
    file.write_text(change(file.read_text()))
    job = imported(folder, tmp_path / "job")
    assert f"left out: owned, rented: its geography TRACT: {why}\n" in capsys.readouterr().err
    assert "zones" not in job  # few zones of one geography are a variable


def test_a_folder_that_cannot_be_filled_is_refused_before_anything_is_read(tmp_path, capsys):
    out = tmp_path / "job"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert main(["import", "populationsim", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    assert capsys.readouterr().err == (
        f"error: {out}: is not empty (`mine.txt` is there); nothing was written\n\n"
        "hint: name another folder\n"
    )
