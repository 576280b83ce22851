"""Jobs with zones and a seed sample: every zone's records are copies, whoever makes the chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest
from zone_world import data_of, households, label, make, report_of, write_region

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SEED_SAMPLE = {
    "file": "seed.csv",
    "key": "id",
    "weight": "w",
    "columns": {"VEH": "cars"},
}


def write_job(folder: Path, zones: int = 60, **changes: object) -> Path:
    """Write the region with a sample of other households, which says nothing of zones."""
    job = write_region(folder, zones, **{"seed_sample": SEED_SAMPLE, **changes})
    people = households(40, seed=1)
    lines = ["id,taz,size,workers,VEH,w"]
    for i in range(len(people["taz"])):
        codes = [label(name, people[name][i]) for name in ("size", "workers", "cars")]
        lines.append(f"h{i},nowhere,{','.join(codes)},{1 + i % 3}")
    (folder / "seed.csv").write_text("\n".join(lines) + "\n")
    return job


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("sampled")
    job = write_job(folder)
    make(job, folder / "out", processes=2)
    return job, folder / "out"


def test_tables_of_all_levels_are_met_by_copies(made):
    report = report_of(made[1])
    assert report["chunks"]["number"] > 4
    assert [t["tae"] for t in report["tables"] if t["role"] == "control"] == [0] * 5
    sources = report["sources"]
    assert sources["model"] == 0
    assert sources["seed_sample"] > 0.9 * report["records"]["made"]
    assert sum(sources.values()) == report["records"]["made"]


def test_copies_have_the_values_of_the_seed_record_in_many_zones(made):
    job, out = made
    seed = pl.read_csv(job.parent / "seed.csv").rename({"taz": "place"})
    frames = [pl.read_parquet(sorted((out / name).glob("*"))) for name in ("data", "provenance")]
    copies = pl.concat(frames, how="horizontal").drop_nulls("seed_record")
    beside = copies.join(seed, left_on="seed_record", right_on="id", maintain_order="left")
    for name, column in (("size", "size_right"), ("workers", "workers_right"), ("cars", "VEH")):
        assert beside[name].cast(pl.String).to_list() == beside[column].to_list()
    assert copies.group_by("seed_record").agg(pl.col("taz").n_unique())["taz"].max() > 5


def test_one_process_and_a_resumed_part_make_the_same_bytes(made, tmp_path):
    job, out = made
    make(job, tmp_path / "one")
    assert data_of(tmp_path / "one") == data_of(out)
    parts = tmp_path / "parts"
    assert main(["run", str(job), "--out", str(parts), "--until", "chunks"]) == 0
    assert main(["run", str(job), "--out", str(parts), "--zones", "1/2"]) == 0
    assert main(["run", str(job), "--out", str(parts), "--resume", "-q"]) == 0
    assert data_of(parts) == data_of(out)


def test_a_part_refuses_another_sample(tmp_path, capsys):
    folder = tmp_path / "job"
    job = write_job(folder, 20)
    out = tmp_path / "out"
    assert main(["run", str(job), "--out", str(out), "--until", "chunks"]) == 0
    seed = folder / "seed.csv"
    seed.write_text(seed.read_text() + "h9999,nowhere,s0,w0,c0,1\n")
    capsys.readouterr()
    assert main(["run", str(job), "--out", str(out), "--zones", "1/2"]) == 2
    assert capsys.readouterr().err == (
        f"error: {out}: the job has changed since its chunks were made ready: seed.csv (content)\n\n"
        "hint: give the job as it was (the same `--set`), or make the chunks ready anew with "
        "`--until chunks --overwrite`\n"
    )


def test_a_lost_sample_of_the_chunks_is_named(tmp_path, capsys):
    job = write_job(tmp_path / "job", 20)
    out = tmp_path / "out"
    assert main(["run", str(job), "--out", str(out), "--until", "chunks"]) == 0
    (out / "chunks" / "sample.npz").unlink()
    assert main(["run", str(job), "--out", str(out), "--resume", "-q"]) == 3
    assert f"{out}/chunks/sample.npz: cannot be read" in capsys.readouterr().err
