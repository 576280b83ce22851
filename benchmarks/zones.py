"""Growth with the number of zones: memory of a worker, seconds, wrong records; on made tables.

Each zone has about 286 households and five controls; four tables hold for the whole region. No data
and no model are needed.

Example: python benchmarks/zones.py --zones 700 2000 7000
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from processes import machine, measured

PER_ZONE = 286
ZONES_PER_TRACT = 20
SIZES = {"size": 5, "income": 4, "cars": 4, "building": 3, "head_age": 4}
REGIONAL = [("size", "income"), ("income", "cars"), ("size", "building"), ("head_age", "size")]


def write_job(zones: int, folder: Path, processes: int) -> Path:
    """Draw households and write the job with tables counted from them."""
    random = np.random.default_rng(zones)
    taz = np.repeat(np.arange(zones), random.poisson(PER_ZONE, zones))
    number = len(taz)
    wealth = random.normal(size=zones)[taz] * 0.7 + random.normal(size=number)
    size = np.clip(random.poisson(1.4 + 0.2 * random.normal(size=zones)[taz] ** 2), 0, 4)
    columns = {
        "taz": taz,
        "size": size,
        "income": np.clip(np.round(wealth + 0.3 * size + 1), 0, 3).astype(int),
        "cars": np.clip(np.round(0.6 * wealth + 0.4 * size + random.normal(size=number) * 0.5), 0, 3).astype(int),
        "building": np.clip(np.round(random.normal(size=number) - 0.3 * size + 1), 0, 2).astype(int),
        "head_age": np.clip(np.round(random.normal(size=number) + 1.5 - 0.1 * size), 0, 3).astype(int),
    }  # fmt: skip
    files = [_write(folder, columns, ("taz", "size"), zones)]
    files += [_write(folder, columns, scope, zones) for scope in REGIONAL]
    labels = [f"z{zone}" for zone in range(zones)]
    pl.DataFrame(
        {"taz": labels, "tract": [f"t{zone // ZONES_PER_TRACT}" for zone in range(zones)]}
    ).write_csv(folder / "geo.csv")
    job = {
        "version": 1,
        "name": "zones",
        "records": number,
        "zones": {"variable": "taz", "crosswalk": "geo.csv", "within": ["tract"]},
        "variables": {
            name: {"type": "category", "values": [f"{name}{i}" for i in range(size)]}
            for name, size in SIZES.items()
        },
        "tables": [{"file": file} for file in files],
        "provider": {"model": "none"},
        "executor": {"processes": processes},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
    return path


def _write(folder: Path, columns: dict[str, np.ndarray], scope: tuple[str, ...], zones: int) -> str:
    sizes = [zones if name == "taz" else SIZES[name] for name in scope]
    cell = np.ravel_multi_index([columns[name] for name in scope], sizes)
    counts = np.bincount(cell, minlength=int(np.prod(sizes)))
    places = np.unravel_index(np.arange(len(counts)), sizes)
    frame = pl.DataFrame(
        {
            **{
                name: [f"{'z' if name == 'taz' else name}{code}" for code in place]
                for name, place in zip(scope, places, strict=True)
            },
            "count": counts,
        }
    )
    file = "_".join(scope) + ".csv"
    frame.write_csv(folder / file)
    return file


def measure(zones: int, processes: int) -> dict[str, Any]:
    """Run one job through the command line; return its figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = write_job(zones, folder, processes)
        command = [sys.executable, "-m", "llmsynthor", "run", str(job), "-q"]
        found = measured([*command, "--out", f"{folder}/out"], folder, accepted=(0, 3))
        report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
        plan = json.loads((folder / "out" / "chunks" / "plan.json").read_text(encoding="utf-8"))
    coarse = plan["coarse"] or {}
    return {
        **found,
        "records": report["records"]["made"],
        "chunks": report["chunks"]["number"],
        "worker_mb": report["chunks"]["peak_mb"],
        "coarse_s": round(sum(v for k, v in coarse.items() if k.startswith("seconds_")), 1),
        "chunks_cpu_s": report["seconds"]["total"],
        "tae": sum(table["tae"] for table in report["tables"] if table["role"] == "control"),
    }


def main() -> None:
    """Print the growth curve as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--zones", type=int, nargs="+", default=[700])
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    print(machine())
    print(
        "| zones | records | chunks | worker MB | whole command MB | coarse step s | chunks CPU s | wall s | TAE |"
    )
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    for zones in options.zones:
        found = measure(zones, options.processes)
        print(
            f"| {zones:,} | {found['records']:,} | {found['chunks']} | {found['worker_mb']} | "
            f"{found['peak_mb']:,} | {found['coarse_s']} | {found['chunks_cpu_s']:.0f} | "
            f"{found['wall_s']:.0f} | {found['tae']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
