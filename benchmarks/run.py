"""Time and memory of whole runs of the example jobs, as one table.

Example: python benchmarks/run.py --records 31053 1000000
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from processes import machine, measured

ROOT = Path(__file__).parents[1]


def measure(job: str, records: int, changes: list[str]) -> dict[str, Any]:
    """Run one job in a process of its own; return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        sets = [word for change in [f"records={records}", *changes] for word in ("--set", change)]
        words = [
            "run",
            str(ROOT / "configs" / f"{job}.yaml"),
            "--out",
            f"{folder}/out",
            "-q",
            *sets,
        ]
        command = [sys.executable, "-m", "llmsynthor", *words]
        found = measured(command, Path(folder), accepted=(0, 3))
        report = json.loads((Path(folder) / "out" / "report.json").read_text())
    return {
        "job": job,
        "records": records,
        "model": report["llm"]["model"],
        "exit": found["exit"],
        "wall_s": found["wall_s"],
        "peak_mb": found["peak_mb"],
        "records_per_s_writing": round(records / max(report["seconds"]["writing"], 1e-3)),
        "tae_max": round(max(t["tae"] for t in report["tables"] if t["role"] == "control"), 2),
        "held_out_ratio": report["summary"]["validate_ratio"],
    }


def main() -> None:
    """Print one line of JSON a run, behind a line on the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, nargs="+", default=[31_053, 1_000_000])
    parser.add_argument("--jobs", nargs="+", default=["trips", "population"])
    options = parser.parse_args()
    print(json.dumps(machine()))
    for job in options.jobs:
        for records in options.records:
            for changes in ([], ["provider.model=none"]):
                print(json.dumps(measure(job, records, changes)), flush=True)


if __name__ == "__main__":
    main()
