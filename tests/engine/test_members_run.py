"""Runs of households with persons: both levels met, two linked files, rules across levels kept."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import yaml

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

TABLES = {
    "size.csv": "size,count\n1,120\n2,160\n3,70\n4,50\n",
    "tenure.csv": "tenure,count\nowned,250\nrented,150\n",
    "age.csv": "age,count\n0-15,130\n16-39,320\n40-64,260\n65+,140\n",
    "relationship.csv": "relationship,count\nhead,400\npartner,200\nchild,200\nother,50\n",
    "tenure_sex.csv": "tenure,sex,count\nowned,f,270\nowned,m,250\nrented,f,180\nrented,m,150\n",
}
RULES = [
    {"name": "one head", "require": "COUNT(relationship = 'head') = 1"},
    {"name": "one partner at most", "require": "COUNT(relationship = 'partner') <= 1"},
    {"name": "grown up", "forbid": "relationship IN ('head', 'partner') AND age < 16"},
    {
        "name": "children are younger",
        "require": "relationship <> 'child' OR age <= MIN(age WHERE relationship = 'head') - 14",
    },
]
PROPOSALS = [
    {
        "reason": "alone",
        "count": 120,
        "values": {"size": [1, 1], "tenure": "*"},
        "members": [{"values": {"age": [20, 90], "sex": "*", "relationship": "head"}}],
    },
    {
        "reason": "couples with children or without",
        "count": 240,
        "values": {"size": [2, 4], "tenure": {"owned": 0.7, "rented": 0.3}},
        "members": [
            {"values": {"age": [30, 70], "sex": "m", "relationship": "head"}},
            {"values": {"age": [28, 70], "sex": "f", "relationship": "partner"}},
            {"repeat": [0, 2], "values": {"age": [0, 20], "sex": "*", "relationship": "child"}},
        ],
    },
]


def write_households(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in TABLES.items():
        (folder / name).write_text(text)
    answer = {"purpose": "plan", "sequence": 0}
    answer["reply"] = {"text": json.dumps({"proposals": PROPOSALS}), "model": "recorded"}
    (folder / "replies.jsonl").write_text(json.dumps(answer) + "\n")
    job = {
        "version": 1,
        "name": "homes",
        "records": 400,
        "seed": 5,
        "variables": {
            "size": {"type": "integer", "min": 1, "max": 4},
            "tenure": {"type": "category", "values": ["owned", "rented"]},
        },
        "members": {
            "name": "person",
            "of": "household",
            "size": "size",
            "variables": {
                "age": {"type": "integer", "min": 0, "max": 95},
                "sex": {"type": "category", "values": ["f", "m"]},
                "relationship": {
                    "type": "category",
                    "values": ["head", "partner", "child", "other"],
                },
            },
        },
        "tables": [{"file": name} for name in TABLES],
        "rules": RULES,
        "dependencies": "off",
        "provider": {"model": "replay", "replies": "replies.jsonl"},
        "engine": {"iterations": 1, "calls_per_iteration": 1, "candidates": 6000},
    } | changes
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path


def read(run: Path) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    parts = [pl.read_parquet(sorted((run / name).glob("*"))) for name in ("data", "members")]
    return parts[0], parts[1], json.loads((run / "report.json").read_text())


def make_run(folder: Path, **changes: Any) -> None:
    job = write_households(folder, **changes)
    assert main(["run", str(job), "--out", str(folder / "run"), "-q"]) == 0


@pytest.fixture(params=["replay", "none"])
def finished(request, made_once) -> Path:
    if request.param == "replay":
        return made_once("homes_replayed", make_run) / "run"
    made = made_once("homes_alone", lambda folder: make_run(folder, provider={"model": "none"}))
    return made / "run"


@pytest.fixture
def replayed(made_once, copied) -> Path:
    """Return a run by recorded replies, which a test may change."""
    return copied(made_once("homes_replayed", make_run) / "run")


@pytest.mark.slow
def test_tables_of_both_levels_are_met_to_the_record(finished):
    _, _, report = read(finished)
    assert {table["name"]: table["tae"] for table in report["tables"]} == {
        name.removesuffix(".csv"): 0 for name in TABLES
    }
    assert {t["name"]: t["counts"] for t in report["tables"]}["tenure_sex"] == "persons"
    assert report["members"]["made"] == 850


def test_persons_and_households_are_linked(finished):
    homes, persons, report = read(finished)
    assert homes["household_id"].to_list() == list(range(400))
    held = persons.group_by("household_id").agg(
        pl.len().alias("held"), pl.col("person_number").sort()
    )
    both = homes.join(held, on="household_id", how="left")
    assert both["held"].to_list() == both["size"].to_list()
    assert all(n == list(range(1, len(n) + 1)) for n in both["person_number"].to_list())
    assert set(report["members"]["linkage"].values()) == {0}


def test_no_household_breaks_a_rule_across_levels(finished):
    homes, persons, report = read(finished)
    assert {rule["violations"] for rule in report["rules"]} == {0}
    for (_,), own in persons.group_by("household_id"):
        heads = own.filter(pl.col("relationship") == "head")
        children = own.filter(pl.col("relationship") == "child")
        assert heads.height == 1
        assert (own["relationship"] == "partner").sum() <= 1
        assert heads["age"][0] >= 16
        assert children["age"].max() is None or children["age"].max() <= heads["age"][0] - 14
    assert homes.height == 400


@pytest.mark.slow
def test_a_lost_file_of_members_is_made_again_with_the_same_bytes(replayed):
    job, run = replayed.parent / "job.yaml", replayed
    before = {p.name: p.read_bytes() for p in (run / "members").glob("*")}
    assert before
    manifest = json.loads((run / "manifest.json").read_text()) | {"status": "partial"}
    for path in (run / "members").glob("*"):
        path.unlink()
    (run / "manifest.json").write_text(json.dumps(manifest))
    assert main(["run", str(job), "--out", str(run), "--resume", "-q"]) == 0
    assert {p.name: p.read_bytes() for p in (run / "members").glob("*")} == before


@pytest.mark.slow
def test_the_report_finds_members_that_do_not_fit(replayed):
    run = replayed
    path = max((run / "members").glob("*"), key=lambda p: p.stat().st_size)
    persons = pl.read_parquet(path)
    last = persons.height - 1
    broken = persons.with_columns(
        pl.when(pl.int_range(pl.len()) == last)
        .then(pl.lit(9999))
        .otherwise("household_id")
        .alias("household_id")
    )
    broken.write_parquet(path)
    main(["report", str(run)])
    report = json.loads((run / "report.json").read_text())
    assert report["members"]["linkage"] == {
        "repeated_keys": 0,
        "orphans": 1,
        "wrong_sizes": 1,
        "wrong_numbers": 0,
    }
    assert report["pass"] is False
