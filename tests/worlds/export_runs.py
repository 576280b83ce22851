"""A finished run with odd labels, for the tests of exports."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import polars as pl
from small_job import job_content, write_job

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

ODD = ["=1+1", "a,b", 'say "hi" & <b>', "two\r\n lines", "café", "-"]
"""Labels that a careless writer would break."""


def odd_run(folder: Path, name: str = "odd\tname", records: int = 2400) -> Path:
    """Make a run of several batches with odd labels under an odd name, a number, and no model."""
    with (folder / "odd.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[name, "count"], *([label, 100] for label in ODD)])
    (folder / "miles.csv").write_text("miles,share\n0-2.5,0.5\n2.5-10,0.5\n")
    more = {
        name: {"type": "category", "values": ODD},
        "miles": {"type": "number", "min": 0, "max": 10, "decimals": 1},
    }
    job = write_job(
        folder,
        variables=job_content()["variables"] | more,
        tables=[*job_content()["tables"], {"file": "odd.csv"}, {"file": "miles.csv"}],
        records=records,
        output={"row_group": 1000},
    )
    assert main(["run", str(job), "--out", str(folder / "run"), "-q"]) == 0
    return folder / "run"


def records_of(run: Path, folder: str = "data") -> pl.DataFrame:
    """Return all records of a run, or their provenance, in order."""
    return pl.concat([pl.read_parquet(f) for f in sorted((run / folder).iterdir())])


def tree(run: Path) -> dict[str, bytes]:
    """Return every file of a run with its bytes."""
    return {str(f.relative_to(run)): f.read_bytes() for f in sorted(run.rglob("*")) if f.is_file()}
