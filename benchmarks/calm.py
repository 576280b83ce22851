"""PopulationSim's CALM example: 62,041 households in 781 zones of 35 tracts, by both programs.

The household controls only. The real command line, no model; errors are recounted from the files.
PopulationSim runs in a Python of its own, in the same minutes on the same machine.

Example: python benchmarks/calm.py --data FOLDER --peer-python .bench/populationsim/bin/python
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

RECORDS = 62_041
OVER_ZONES = {
    "size": ["HHSIZE1", "HHSIZE2", "HHSIZE3", "HHSIZE4"],
    "head_age": ["HHAGE1", "HHAGE2", "HHAGE3", "HHAGE4"],
    "income": ["HHINC1", "HHINC2", "HHINC3", "HHINC4"],
}
OVER_TRACTS = {
    "workers": ["HHWORK0", "HHWORK1", "HHWORK2", "HHWORK3"],
    "building": ["SF", "DUP", "MF", "MH"],
}


def write_job(data: Path, folder: Path, changes: dict[str, Any]) -> Path:
    """Write the job with its tables in long form."""
    zones = pl.read_csv(data / "control_totals_taz.csv")
    tracts = pl.read_csv(data / "control_totals_tract.csv")
    crosswalk = pl.read_csv(data / "geo_cross_walk.csv")
    crosswalk.select(taz="TAZ", tract="TRACTCE").write_csv(folder / "geo.csv")
    zones.select(taz="TAZ", count="HHBASE").write_csv(folder / "taz.csv")
    tables = ["taz.csv"]
    for variable, columns in OVER_ZONES.items():
        _long(zones, "TAZ", "taz", variable, columns).write_csv(folder / f"taz_{variable}.csv")
        tables.append(f"taz_{variable}.csv")
    for variable, columns in OVER_TRACTS.items():
        _long(tracts, "TRACT", "tract", variable, columns).write_csv(
            folder / f"tract_{variable}.csv"
        )
        tables.append(f"tract_{variable}.csv")
    job = {
        "version": 1,
        "name": "calm",
        "description": "A household.",
        "records": RECORDS,
        "zones": {"variable": "taz", "crosswalk": "geo.csv", "within": ["tract"]},
        "variables": {
            name: {"type": "category", "values": columns}
            for name, columns in {**OVER_ZONES, **OVER_TRACTS}.items()
        },
        "tables": [{"file": name} for name in tables],
        "provider": {"model": "none"},
        **changes,
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
    return path


def _long(
    wide: pl.DataFrame, column: str, name: str, variable: str, columns: list[str]
) -> pl.DataFrame:
    return wide.select(pl.col(column).alias(name), *columns).unpivot(
        on=columns, index=name, variable_name=variable, value_name="count"
    )


def errors(folder: Path, out: Path) -> dict[str, dict[str, float]]:
    """Return for each geography the total and the largest error, counted from the records."""
    records = pl.read_parquet(out / "data" / "*.parquet")
    found: dict[str, dict[str, float]] = {}
    for file in [*sorted(folder.glob("t*_*.csv")), folder / "taz.csv"]:
        table = pl.read_csv(file, schema_overrides={"taz": pl.String, "tract": pl.String})
        keys = [name for name in table.columns if name != "count"]
        held = records.select(pl.col(keys).cast(pl.String)).group_by(keys).agg(held=pl.len())
        both = table.join(held, on=keys, how="full", coalesce=True).fill_null(0)
        apart = np.abs(both["count"].to_numpy() - both["held"].to_numpy().astype(np.int64))
        part = found.setdefault(keys[0], {"total": 0.0, "tae": 0.0, "max_error": 0.0})
        part["total"] += float(table["count"].sum())
        part["tae"] += float(apart.sum())
        part["max_error"] = max(part["max_error"], float(apart.max()))
    return found


def ours(data: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """Run the job through the command line."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = write_job(data, folder, changes)
        command = [sys.executable, "-m", "llmsynthor", "run", str(job), "-q"]
        found = measured([*command, "--out", f"{folder}/out"], folder, accepted=(0, 3))
        report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
        return {
            **found,
            "records": report["records"]["made"],
            "chunks": report["chunks"],
            "seconds_of_stages": report["seconds"],
            "geographies": errors(folder, folder / "out"),
        }


def peer(data: Path, python: Path) -> dict[str, Any]:
    """Run PopulationSim; see `peers/populationsim.py`."""
    with tempfile.TemporaryDirectory() as name:
        words = [str(python.absolute()), "-m", "peers.populationsim"]
        found = measured([*words, "--data", str(data), "--work", f"{name}/work"], Path(name))
        return {**found, **json.loads(found.pop("line"))}


def main() -> None:
    """Run both and print their figures as Markdown, and as JSON on demand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--chunk-records", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data, changes = options.data.resolve(), {}
    if options.chunk_records:
        zones = {"variable": "taz", "crosswalk": "geo.csv", "within": ["tract"]}
        changes["zones"] = {**zones, "chunk_records": options.chunk_records}
    found = {"machine": machine(), "llmsynthor": ours(data, changes)}
    if options.peer_python:
        found["populationsim"] = peer(data, options.peer_python)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    print(found["machine"])
    print(
        "| | households | wall s | CPU s | peak MB | geography | sum of controls | wrong | largest error |"
    )
    print("|---|---:|---:|---:|---:|---|---:|---:|---:|")
    for name in ("llmsynthor", "populationsim"):
        for geography, part in found.get(name, {}).get("geographies", {}).items():
            result = found[name]
            number = result.get("records") or result.get("households")
            print(
                f"| {name} | {number:,} | {result['wall_s']} | {result['cpu_s']} | {result['peak_mb']:,} | {geography} | "
                f"{part['total']:,.0f} | {part['tae']:,.0f} | {part['max_error']:.0f} |"
            )
    print({k: v for k, v in found["llmsynthor"].items() if k not in ("geographies", "line")})


if __name__ == "__main__":
    main()
