"""Jobs with zones: every table is met, chunk by chunk, whoever makes the chunks."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import polars as pl
import pytest
import yaml
from zone_world import (
    EMPTY,
    children,
    data_of,
    households,
    make,
    report_of,
    run,
    start,
    write_region,
)

from llmsynthor.cli.main import main

pytestmark = pytest.mark.slow


@pytest.fixture
def plain(zone_run: Path) -> tuple[Path, Path]:
    """Return a job and the run of it by two processes."""
    return zone_run.parent / "job.yaml", zone_run


def test_every_table_is_met_in_zones_tracts_districts_and_the_region(plain):
    report = report_of(plain[1])
    assert report["chunks"]["number"] > 4
    assert report["chunks"]["failed"] == []
    assert {table["name"]: table["tae"] for table in report["tables"] if table["role"] == "control"} == {
        "taz_size": 0, "tract_workers": 0, "district_cars": 0, "size_workers": 0, "workers_cars": 0
    }  # fmt: skip
    assert report["pass"]
    zones = report["zones"][0]
    assert [table["table"] for table in zones["tables"]] == [
        "taz_size",
        "tract_workers",
        "district_cars",
    ]
    assert [table["error_percent"]["max"] for table in zones["tables"]] == [0, 0, 0]


def test_records_have_what_their_zone_lies_within(plain):
    records = pl.read_parquet(plain[1] / "data" / "*.parquet")
    assert records.columns == ["taz", "size", "workers", "cars", "tract", "district"]
    zone = records["taz"].str.strip_prefix("taz").cast(int)
    assert (records["tract"] == "tract" + (zone // 5).cast(str)).all()
    assert (records["district"] == "district" + (zone // 20).cast(str)).all()
    assert EMPTY not in zone
    dictionary = json.loads((plain[1] / "data_dictionary.json").read_text())
    named = {entry["name"]: entry for entry in dictionary["variables"]}
    assert list(named) == records.columns
    assert len(named["tract"]["categories"]) == 12
    assert sum(named["tract"]["data"]["records_by_label"]) == records.height


def test_one_process_makes_the_same_bytes(plain, tmp_path):
    job, out = plain
    make(job, tmp_path / "out")
    assert data_of(tmp_path / "out") == data_of(out)


def test_parts_and_merge_make_the_same_bytes(plain, tmp_path, capsys):
    job, out = plain
    folder = tmp_path / "out"
    assert main(["run", str(job), "--out", str(folder), "--zones", "1/3"]) == 2
    assert capsys.readouterr().err == (
        f"error: {folder}: its chunks of zones are not ready\n\n"
        f"hint: `llmsynthor run {job} --out {folder} --until chunks` makes them ready\n"
    )
    assert main(["run", str(job), "--out", str(folder), "--until", "chunks"]) == 0
    assert not data_of(folder)
    for part in (1, 3):
        assert main(["run", str(job), "--out", str(folder), "--zones", f"{part}/3"]) == 0
    capsys.readouterr()
    assert main(["merge", str(folder)]) == 2
    found = capsys.readouterr().err
    assert found.startswith(f"error: {folder}: 4 chunks of 12 not made: chunk 1 (5 zones, taz5 to")
    assert found.endswith(f"hint: `llmsynthor run JOB --out {folder} --resume` makes just these\n")
    assert main(["run", str(job), "--out", str(folder), "--zones", "2/3", "--json"]) == 0
    part = json.loads(capsys.readouterr().out)
    assert (part["part"], part["chunks"], part["failed"]) == ("2/3", 4, [])
    assert main(["merge", str(folder)]) == 0
    assert data_of(folder) == data_of(out)
    assert report_of(folder)["pass"]
    assert not list(folder.glob("lock*"))


def test_a_part_refuses_another_job(plain, tmp_path, capsys):
    job, _ = plain
    folder = tmp_path / "out"
    assert main(["run", str(job), "--out", str(folder), "--until", "chunks"]) == 0
    capsys.readouterr()
    words = ["run", str(job), "--out", str(folder), "--zones", "1/3", "--set", "seed=5"]
    assert main(words) == 2
    assert capsys.readouterr().err == (
        f"error: {folder}: the job has changed since its chunks were made ready: seed (0 then, 5 now)\n\n"
        "hint: give the job as it was (the same `--set`), or make the chunks ready anew with "
        "`--until chunks --overwrite`\n"
    )


@pytest.mark.parametrize("zones", ["3", "0/3", "4/3", "a/b"])
def test_parts_are_written_as_one_of_how_many(plain, zones, capsys):
    assert main(["run", str(plain[0]), "--zones", zones]) == 2
    assert capsys.readouterr().err == (
        f"error: --zones {zones}: write it as PART/PARTS, parts counted from 1, for example `3/20`\n"
    )


def _wait_for(out: Path, outcomes: int) -> None:
    end = time.monotonic() + 600
    while len(list(out.glob("chunks/0*.json"))) < outcomes:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_run_that_was_killed_makes_what_is_missing_only(plain, tmp_path):
    job, out = plain
    folder = tmp_path / "out"
    process = start("run", job, "--out", folder, "--set", "executor={processes: 1}")
    _wait_for(folder, 3)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    end = time.monotonic() + 600
    while any(Path(f"/proc/{pid}").exists() for pid in workers):  # they end with their parent
        assert time.monotonic() < end
        time.sleep(0.02)
    before = {file: file.stat().st_mtime_ns for file in folder.glob("chunks/0*.json")}
    assert 3 <= len(before) < 12
    make(job, folder, "--resume")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert data_of(folder) == data_of(out)


def test_ctrl_c_is_answered_at_once_and_a_resumed_run_is_the_same(plain, tmp_path):
    job, out = plain
    folder = tmp_path / "out"
    process = start("run", job, "--out", folder, "--set", "executor={processes: 2}")
    _wait_for(folder, 2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=600)
    assert process.returncode == 130
    assert len(list(folder.glob("chunks/0*.json"))) < 12  # it did not wait for the others
    make(job, folder, "--resume")
    assert data_of(folder) == data_of(out)


def test_the_chunk_of_a_killed_worker_is_made_again(plain, tmp_path):
    job, out = plain
    folder = tmp_path / "out"
    process = start("run", job, "--out", folder, "--set", "executor={processes: 2}")
    _wait_for(folder, 2)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert data_of(folder) == data_of(out)


_DEADLY = """
import os, signal
import llmsynthor.engine.zones.chunk as ending
make = ending.make_chunk
def deadly(folder, number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    make(folder, number)
ending.make_chunk = deadly
"""


def test_a_chunk_that_kills_its_worker_three_times_is_named(plain, tmp_path):
    job, out = plain
    folder = tmp_path / "out"
    (tmp_path / "sitecustomize.py").write_text(_DEADLY)
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    code, _, err = run("run", job, "--out", folder, PYTHONPATH=path)
    words = (
        "chunk 2 (5 zones, taz10 to taz14): killed its worker 3 times: it may need more memory "
        "than there is"
    )
    assert code == 3
    assert f"WARNING {words}\n" in err
    report = report_of(folder)
    assert report["chunks"]["failed"] == [words]
    assert (report["status"], report["pass"]) == ("partial", False)
    assert len(data_of(folder)) == len(data_of(out)) - 2
    make(job, folder, "--resume")
    assert data_of(folder) == data_of(out)


def test_a_chunk_whose_tables_cannot_hold_is_named_and_the_others_are_made(tmp_path, capsys):
    job = write_region(tmp_path, 20)
    content = yaml.safe_load(job.read_text())
    people = households(20)
    lines = (tmp_path / "taz_size.csv").read_text().splitlines()
    own = int((people["taz"] == 7).sum())
    cars = ["taz,cars,count"]
    for zone in range(20):
        here = int((people["taz"] == zone).sum())
        cars += [f"taz{zone},c0,{here if zone != 7 else 0}", f"taz{zone},c1,0"]
        cars.append(f"taz{zone},c2,{0 if zone != 7 else own}")
    (tmp_path / "taz_cars.csv").write_text("\n".join(cars) + "\n")
    lines = [
        f"taz7,s{'0123'.index(line[6])},{own if line[6] == '0' else 0}" if line.startswith("taz7,") else line
        for line in lines
    ]  # fmt: skip
    (tmp_path / "taz_size.csv").write_text("\n".join(lines) + "\n")
    content["tables"] = [{"file": "taz_size.csv"}, {"file": "taz_cars.csv"}]
    content["rules"] = [{"name": "no cars alone", "forbid": "size = 's0' AND cars = 'c2'"}]
    content["zones"]["chunk_records"] = 120
    job.write_text(yaml.safe_dump(content))
    code = main(["run", str(job), "--out", str(tmp_path / "out"), "-q"])
    report = report_of(tmp_path / "out")
    assert code == 3
    failed = report["chunks"]["failed"]
    assert len(failed) == 1
    assert "taz" in failed[0]
    assert "no cars alone" in failed[0]
    assert report["chunks"]["done"] == report["chunks"]["number"] > 2


def _preview(folder: Path, zones: int, capsys) -> dict:
    job = write_region(folder, 10)
    content = yaml.safe_load(job.read_text())
    each = 1000 // zones
    rows = [f"taz{z},s{k},{each}" for z in range(zones) for k in range(4)]
    (folder / "taz_size.csv").write_text("\n".join(["taz,size,count", *rows]) + "\n")
    (folder / "pairs.csv").write_text("size,cars,count\n" + "".join(
        f"s{s},c{c},{[500, 300, 200][c]}\n" for s in range(4) for c in range(3)
    ))  # fmt: skip
    (folder / "geo.csv").write_text("taz\n" + "".join(f"taz{z}\n" for z in range(zones)))
    content["zones"] = {"variable": "taz", "crosswalk": "geo.csv"}
    content |= {"records": 4000, "tables": [{"file": "taz_size.csv"}, {"file": "pairs.csv"}]}
    content["provider"] = {"model": "openai/gpt-4.1-nano", "api_base": "http://127.0.0.1:9/v1"}
    job.write_text(yaml.safe_dump(content))
    capsys.readouterr()
    assert main(["preview", str(job), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_prompt_does_not_grow_with_the_zones(tmp_path, capsys):
    few, many = (_preview(tmp_path / str(n), n, capsys) for n in (10, 1000))
    assert few["prompt"] == many["prompt"]
    assert "taz" not in many["prompt"]["prompt"]
    assert few["most"] == many["most"]
    assert many["zones"]["zones"] == 1000


def test_proposals_leave_the_zone_to_the_tables(tmp_path, capsys):
    values = {"size": ["s2", "s3"], "workers": "w1", "cars": "c2"}
    plan = {"proposals": [{"reason": "commuters", "count": 10, "values": values}]}
    line = {"purpose": "plan", "sequence": 0, "reply": {"text": json.dumps(plan), "model": "m"}}
    job = write_region(
        tmp_path,
        provider={"model": "replay", "replies": "replies.jsonl"},
        engine={"candidates": 4000, "iterations": 2, "calls_per_iteration": 1},
    )
    (tmp_path / "replies.jsonl").write_text(json.dumps(line) + "\n")
    out = tmp_path / "out"
    assert main(["run", str(job), "--out", str(out), "-q"]) == 0
    proposal = json.loads((out / "proposals.jsonl").read_text())
    assert proposal["values"] == {**values, "taz": "*"}
    assert proposal["records"] > 50
    report = report_of(out)
    assert [t["tae"] for t in report["tables"] if t["role"] == "control"] == [0] * 5
    assert report["llm"]["proposals"] == {"accepted": 1, "rejected": 0}
    assert len(list(out.glob("data/*"))) == report["chunks"]["number"]  # no pilot batch
    first = data_of(out)
    capsys.readouterr()
    assert main(["explain", str(out), "--record", "0"]) == 0
    assert "taz" in capsys.readouterr().out
    assert main(["run", str(job), "--out", str(out), "-q", "--replay"]) == 0
    assert data_of(out) == first
    assert main(["export", str(out), "--format", "csv", "--out", str(tmp_path / "r.csv")]) == 0
    assert (tmp_path / "r.csv").read_text().splitlines()[
        0
    ] == "taz,size,workers,cars,tract,district"


def test_a_job_of_one_chunk_meets_its_tables_too(tmp_path):
    job = write_region(tmp_path, 20)
    out = tmp_path / "out"
    assert (
        main(["run", str(job), "--out", str(out), "-q", "--set", "zones.chunk_records=30000"]) == 0
    )
    report = report_of(out)
    assert report["chunks"]["number"] == 1
    assert [t["tae"] for t in report["tables"] if t["role"] == "control"] == [0] * 5


def test_figures_that_are_no_whole_records_are_met_to_one_record_in_each_chunk(tmp_path):
    job = write_region(tmp_path, 20, records=350)
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    report = report_of(tmp_path / "out")
    assert (report["records"]["made"], report["chunks"]["failed"]) == (350, [])
    assert report["chunks"]["number"] > 1
    control = [table for table in report["tables"] if table["role"] == "control"]
    assert all(table["pass"] and table["tae"] < table["cells"] for table in control)
