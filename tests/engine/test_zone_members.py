"""Jobs with zones whose records have members: both levels are met in every zone, and linked."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING

import polars as pl
import pytest
import yaml
from zone_homes import EMPTY, SCOPES, homes, write_homes
from zone_world import make, report_of, start

from llmsynthor.cli.main import main
from llmsynthor.store.batches import FilesOfKeys

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

TABLES = {"_".join(scope) for scopes in SCOPES.values() for scope in scopes}


def bytes_of(out: Path) -> dict[str, bytes]:
    files = [f for name in ("data", "members", "provenance") for f in (out / name).glob("*")]
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in sorted(files)}


def read(out: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(sorted((out / name).glob("*")))


@pytest.fixture(params=["tables alone", "seed sample"])
def made(request, made_once) -> tuple[Path, Path]:
    def fill(folder: Path) -> None:
        job = write_homes(folder, sampled=request.param == "seed sample")
        make(job, folder / "out", processes=2)

    folder = made_once(f"zone homes {request.param}", fill)
    return folder / "job.yaml", folder / "out"


def test_tables_of_both_levels_are_met_in_zones_tracts_and_the_region(made):
    report = report_of(made[1])
    assert report["chunks"]["number"] > 2
    assert report["chunks"]["failed"] == []
    assert {t["name"]: t["tae"] for t in report["tables"]} == dict.fromkeys(TABLES, 0)
    assert {t["name"]: t["counts"] for t in report["tables"]}["taz_age"] == "persons"
    assert report["members"]["made"] == homes(12)[1].height
    errors = {t["table"]: t["error_percent"]["max"] for t in report["zones"][0]["tables"]}
    assert errors == dict.fromkeys(("taz_size", "tract_tenure", "taz_age", "tract_sex"), 0)


def test_keys_number_all_households_and_every_person_has_one(made):
    households, persons = read(made[1], "data"), read(made[1], "members")
    assert households.columns == ["household_id", "taz", "size", "tenure", "tract", "district"]
    assert households["household_id"].to_list() == list(range(households.height))
    held = persons.group_by("household_id").agg(pl.col("person_number").sort())
    both = households.join(held, on="household_id", how="left", maintain_order="left")
    assert both["person_number"].to_list() == [
        list(range(1, n + 1)) for n in households["size"].to_list()
    ]
    assert set(report_of(made[1])["members"]["linkage"].values()) == {0}
    zone = households["taz"].str.strip_prefix("taz").cast(int)
    assert EMPTY not in zone
    assert (households["tract"] == "tract" + (zone // 3).cast(str)).all()


def test_no_household_of_any_chunk_breaks_a_rule(made):
    persons = read(made[1], "members")
    assert {rule["violations"] for rule in report_of(made[1])["rules"]} == {0}
    ages = persons.group_by("household_id").agg(
        pl.col("age").max().alias("eldest"), (pl.col("age") >= 65).sum().alias("old")
    )
    assert ages["eldest"].min() >= 18
    assert ages["old"].max() <= 3


def test_the_dictionary_has_every_column_of_both_files(made):
    dictionary = json.loads((made[1] / "data_dictionary.json").read_text())
    households, persons = read(made[1], "data"), read(made[1], "members")
    of = {entry["name"]: entry["of"] for entry in dictionary["variables"]}
    assert of == dict.fromkeys(households.columns[1:], "household") | {
        "age": "person",
        "sex": "person",
    }
    held = {e["name"]: sum(e["data"]["records_by_label"]) for e in dictionary["variables"]}
    assert held == {
        name: persons.height if name in ("age", "sex") else households.height for name in of
    }


def test_copies_are_of_seed_households_with_all_their_persons(made):
    job, out = made
    if not (job.parent / "seed_persons.csv").exists():
        assert "sources" not in report_of(out)
        return
    seed = pl.read_csv(job.parent / "seed_persons.csv").group_by("id", maintain_order=True)
    known = {key[0]: own.select("years", "sex").rows() for key, own in seed}
    provenance = read(out, "provenance").with_row_index("household_id")
    persons = read(out, "members").with_columns(pl.col("sex").cast(pl.String))
    copied = provenance.drop_nulls("seed_record").height
    assert copied == report_of(out)["sources"]["seed_sample"] > 0.8 * provenance.height
    for key, own in persons.group_by("household_id"):
        record = provenance["seed_record"][key[0]]
        if record is not None:
            assert own.sort("person_number").select("age", "sex").rows() == known[record]


def test_one_process_makes_the_same_bytes(made, tmp_path):
    job, out = made
    make(job, tmp_path / "out")
    assert bytes_of(tmp_path / "out") == bytes_of(out)


def test_parts_and_merge_make_the_same_bytes(made, tmp_path):
    job, out = made
    folder = tmp_path / "out"
    assert main(["run", str(job), "--out", str(folder), "--until", "chunks"]) == 0
    for part in (2, 1):
        assert main(["run", str(job), "--out", str(folder), "--zones", f"{part}/2"]) == 0
    assert main(["merge", str(folder)]) == 0
    assert bytes_of(folder) == bytes_of(out)


def test_a_killed_run_and_a_lost_file_of_members_are_made_again(made, tmp_path):
    job, out = made
    folder = tmp_path / "out"
    process = start("run", job, "--out", folder, "--set", "executor={processes: 1}")
    while not list(folder.glob("chunks/0*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate()
    for file in (folder / "members").glob("*.parquet"):
        file.unlink()
        break
    make(job, folder, "--resume")
    assert bytes_of(folder) == bytes_of(out)


def test_exports_have_the_zones_of_both_levels(made, tmp_path):
    folder = tmp_path / "csv"
    words = ["export", str(made[1]), "--format", "populationsim", "--out", str(folder)]
    assert main([*words, "--map", "taz=TAZ", "--map", "tract=TRACT"]) == 0
    found = {file.name: pl.read_csv(file) for file in folder.glob("*.csv")}
    persons = next(frame for name, frame in found.items() if "person" in name)
    assert {"TAZ", "TRACT", "age", "sex"} <= set(persons.columns)
    assert persons.height == report_of(made[1])["members"]["made"]


def test_the_report_finds_keys_that_two_chunks_have(made, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(made[1], out)
    first = read(made[1], "data")["household_id"][0]
    for name in ("data", "members"):
        file = sorted((out / name).glob("*"))[-1]
        frame = pl.read_parquet(file)
        least = frame["household_id"].min()
        key = pl.when(pl.col("household_id") == least).then(first).otherwise("household_id")
        frame.with_columns(key.alias("household_id").cast(pl.Int64)).write_parquet(file)
    main(["report", str(out)])
    report = report_of(out)
    assert report["members"]["linkage"] == {
        "repeated_keys": 2,
        "orphans": 0,
        "wrong_sizes": 0,
        "wrong_numbers": 0,
    }
    assert report["pass"] is False


def test_keys_of_several_files_are_compared_where_they_may_meet():
    files = {1: [0, 1, 2], 2: [3, 4], 3: [9, 2, 7], 4: [12], 5: [12, 13]}
    found, read_again = FilesOfKeys(), []
    for index, keys in files.items():
        found.add(index, pl.Series(keys))

    def keys_of(index: int) -> pl.Series:
        read_again.append(index)
        return pl.Series(files[index])

    assert found.repeated(keys_of) == 4
    assert sorted(read_again) == [1, 2, 3, 4, 5]
    apart = FilesOfKeys()
    apart.add(1, pl.Series([0, 1]))
    apart.add(2, pl.Series([2, 3]))
    apart.add(3, pl.Series([], dtype=pl.Int64))
    assert apart.repeated(keys_of) == 0


PROPOSALS = [
    {
        "reason": "alone",
        "count": 60,
        "values": {"size": [1, 1], "tenure": "*"},
        "members": [{"values": {"age": [25, 85], "sex": "*"}}],
    },
    {
        "reason": "couples with children or without",
        "count": 140,
        "values": {"size": [2, 4], "tenure": {"owned": 0.7, "rented": 0.3}},
        "members": [
            {"repeat": [2, 2], "values": {"age": [28, 80], "sex": "*"}},
            {"repeat": [0, 2], "values": {"age": [0, 20], "sex": "*"}},
        ],
    },
]


def test_proposals_with_members_leave_the_zone_to_the_tables(tmp_path, capsys):
    answer = {"purpose": "plan", "sequence": 0}
    answer["reply"] = {"text": json.dumps({"proposals": PROPOSALS}), "model": "recorded"}
    job = write_homes(
        tmp_path,
        provider={"model": "replay", "replies": "replies.jsonl"},
        engine={"candidates": 6000, "iterations": 1, "calls_per_iteration": 1},
    )
    (tmp_path / "replies.jsonl").write_text(json.dumps(answer) + "\n")
    out = tmp_path / "out"
    assert main(["run", str(job), "--out", str(out), "-q"]) == 0
    lines = [json.loads(line) for line in (out / "proposals.jsonl").read_text().splitlines()]
    assert [line["values"]["taz"] for line in lines] == ["*", "*"]
    assert min(line["records"] for line in lines) > 10
    assert {t["tae"] for t in report_of(out)["tables"]} == {0}
    before = bytes_of(out)
    capsys.readouterr()
    assert main(["explain", str(out), "--record", "150"]) == 0
    assert "taz" in capsys.readouterr().out
    assert main(["run", str(job), "--out", str(out), "-q", "--replay"]) == 0
    assert bytes_of(out) == before


def warned(job: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `validate` warns of."""
    capsys.readouterr()
    assert main(["validate", str(job)]) == 0
    return capsys.readouterr().err


def told_with_persons_moved(
    folder: Path, capsys: pytest.CaptureFixture[str], zone: int, moved: int
) -> list[str]:
    """Return the warnings where persons of a zone's neighbour in its tract are said to be in it."""
    job = write_homes(folder)
    ages = pl.read_csv(folder / "taz_age.csv")
    for place, change in ((zone, moved), (zone - 1, -moved)):
        one = (pl.col("taz") == f"taz{place}") & (pl.col("age") == "18-64")
        ages = ages.with_columns(
            count=pl.when(one).then(pl.col("count") + change).otherwise("count")
        )
    ages.write_csv(folder / "taz_age.csv")
    return [line for line in warned(job, capsys).splitlines() if "cannot both be met" in line]


@pytest.mark.parametrize("zone", [2, EMPTY])
def test_a_zone_whose_households_do_not_hold_its_persons_is_named(tmp_path, capsys, zone):
    persons = homes(12)[1]["taz"].to_list()
    held = [persons.count(f"taz{place}") for place in (zone - 1, zone)]
    assert told_with_persons_moved(tmp_path, capsys, zone, 3) == [
        f"warning: taz_age.csv: taz=taz{place} has {says} persons, and the households that "
        f"taz_size.csv has there hold {holds}: they cannot both be met there"
        for place, says, holds in (
            (zone - 1, held[0] - 3, held[0]),
            (zone, held[1] + 3, held[1]),
        )
    ]


def test_zones_whose_households_hold_their_persons_are_not_named(tmp_path, capsys):
    assert told_with_persons_moved(tmp_path, capsys, 2, 0) == []


def test_open_sizes_leave_room_for_the_persons_of_a_zone(tmp_path, capsys):
    job = write_homes(tmp_path)
    sizes = pl.read_csv(tmp_path / "taz_size.csv").with_columns(pl.col("size").cast(pl.String))
    open_class = pl.when(pl.col("size") >= "3").then(pl.lit("3+")).otherwise("size")
    sizes = sizes.with_columns(size=open_class).group_by("taz", "size", maintain_order=True).sum()
    sizes.write_csv(tmp_path / "taz_size.csv")
    region = [
        spec for spec in yaml.safe_load(job.read_text())["tables"] if "size_t" not in spec["file"]
    ]
    job.write_text(yaml.safe_dump(yaml.safe_load(job.read_text()) | {"tables": region}))
    one, two, more = sizes.filter(pl.col("taz") == "taz2")["count"].to_list()
    ages = pl.read_csv(tmp_path / "taz_age.csv")
    persons = ages.filter(pl.col("taz") == "taz2")["count"].sum()
    assert "cannot both be met" not in warned(job, capsys)
    assert one + 2 * two + 3 * more <= persons <= one + 2 * two + 4 * more
    extra = one + 2 * two + 4 * more - persons + 1
    for place, change in (("taz2", extra), ("taz1", -extra)):
        cell = (pl.col("taz") == place) & (pl.col("age") == "18-64")
        ages = ages.with_columns(
            count=pl.when(cell).then(pl.col("count") + change).otherwise("count")
        )
    ages.write_csv(tmp_path / "taz_age.csv")
    told = warned(job, capsys)
    assert (
        f"taz_age.csv: taz=taz2 has {persons + extra} persons, and the households that taz_size.csv "
        f"has there hold {one + 2 * two + 3 * more} to {persons + extra - 1}: they cannot both be met"
    ) in told
