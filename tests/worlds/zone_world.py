"""A small region for tests: households in zones, of tracts, of districts, with tables counted of them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIZES = {"size": 4, "workers": 3, "cars": 3}
TRACT, DISTRICT = 5, 20
"""Zones in one."""
EMPTY = 3
"""A zone in which nobody lives."""


def households(zones: int, each: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw households whose variables go together, and differ between zones."""
    random = np.random.default_rng(seed)
    number = random.poisson(each, zones)
    number[EMPTY % zones] = 0
    taz = np.repeat(np.arange(zones), number)
    rich = random.normal(size=zones)[taz] + random.normal(size=len(taz))
    size = np.clip(random.poisson(1.2, len(taz)), 0, 3)
    workers = np.clip(np.round(size / 2 + random.normal(size=len(taz)) / 2), 0, 2).astype(int)
    cars = np.clip(np.round(workers / 2 + rich / 2), 0, 2).astype(int)
    return {"taz": taz, "size": size, "workers": workers, "cars": cars}


def label(name: str, code: int) -> str:
    return f"{name[0]}{code}" if name in SIZES else f"{name}{code}"


def write_table(
    folder: Path, people: dict[str, np.ndarray], scope: Sequence[str], zones: int
) -> str:
    people = {**people, "tract": people["taz"] // TRACT, "district": people["taz"] // DISTRICT}
    shape = [
        SIZES.get(n) or -(-zones // {"taz": 1, "tract": TRACT, "district": DISTRICT}[n])
        for n in scope
    ]
    counts = np.zeros(shape, dtype=int)
    np.add.at(counts, tuple(people[name] for name in scope), 1)
    file = "_".join(scope) + ".csv"
    with (folder / file).open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*scope, "count"])
        for place in np.ndindex(*shape):
            cell = [label(name, code) for name, code in zip(scope, place, strict=True)]
            writer.writerow([*cell, counts[place]])
    return file


def write_region(folder: Path, zones: int = 60, **changes: Any) -> Path:
    """Write a job with tables over zones, tracts, districts and the whole region."""
    folder.mkdir(parents=True, exist_ok=True)
    people = households(zones)
    scopes = [
        ("taz", "size"), ("tract", "workers"), ("district", "cars"), ("size", "workers"),
        ("workers", "cars"),
    ]  # fmt: skip
    tables = [{"file": write_table(folder, people, scope, zones)} for scope in scopes]
    held_out = write_table(folder, people, ("size", "cars"), zones)
    rows = [f"taz{z},tract{z // TRACT},district{z // DISTRICT}\n" for z in range(zones)]
    (folder / "geo.csv").write_text("TAZ,tract,district\n" + "".join(rows))
    job = {
        "version": 1,
        "name": "region",
        "description": "A household.",
        "records": len(people["taz"]),
        "zones": {
            "variable": "taz",
            "crosswalk": "geo.csv",
            "within": ["tract", "district"],
            "columns": {"TAZ": "taz"},
            "chunk_records": 125,
        },
        "variables": {
            name: {"type": "category", "values": [label(name, code) for code in range(size)]}
            for name, size in SIZES.items()
        },
        "tables": [*tables, {"file": held_out, "role": "validate"}],
        "dependencies": "off",
        "provider": {"model": "none"},
        "engine": {"candidates": 4000},
        **changes,
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path


def data_of(out: Path) -> dict[str, bytes]:
    """Return the bytes of all records and their provenance."""
    files = [*out.glob("data/*"), *out.glob("provenance/*")]
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in sorted(files)}


def report_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "report.json").read_text())


def start(*words: object, **environment: str) -> subprocess.Popen[str]:
    """Start the command line in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "llmsynthor", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def run(*words: object, **environment: str) -> tuple[int, str, str]:
    """Run the command line in a process of its own; return exit code, stdout and stderr."""
    process = start(*words, **environment)
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def make(job: Path, out: Path, *options: str, processes: int = 1) -> None:
    """Make a run in this process, its chunks in others."""
    executor = ["--set", f"executor={{processes: {processes}}}"]
    assert main(["run", str(job), "--out", str(out), "-q", *executor, *options]) == 0


def children(pid: int) -> list[int]:
    """Return the processes that a process started to work for it."""
    from pathlib import Path

    found = []
    own = Path(f"/proc/{pid}/cmdline").read_bytes()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"spawn_main" in command:
                found.append(int(child))
            elif (
                b"forkserver" in command and b"forkserver" not in own
            ):  # workers are forked from it
                found += children(int(child))
            elif b"forkserver" in command:
                found.append(int(child))
    return found
