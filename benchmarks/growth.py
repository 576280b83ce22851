"""Growth curves: time and memory against records, variables, cells and proposals, on made jobs.

Each curve changes one thing and leaves the rest as `made.Size` has it. Whole runs in processes of
their own; no model is called, proposals are replayed.

Example: python benchmarks/growth.py --curves records proposals
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from made import Size, write_made_job
from processes import machine, measured

_VARIABLES = (5, 10, 20, 40)
CURVES: dict[str, list[Size]] = {
    "records": [Size(records=10**power) for power in range(4, 8)],
    "variables": [Size(variables=n, categories=6, pairs=3 * n // 2) for n in _VARIABLES],
    "cells": [Size(categories=n) for n in (3, 6, 12, 24)],
    "proposals": [Size(proposals=n) for n in (10, 100, 1000)],
}
"""What changes: the sizes to run. 40 variables go with 60 tables of two."""
_STAGES = ("asking", "pilots", "drawing", "calibrating", "integerizing", "writing")


def measure(size: Size) -> dict[str, Any]:
    """Run one made job; return its figures."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        job = write_made_job(size, place)
        command = [sys.executable, "-m", "llmsynthor", "run", str(job), "-q"]
        found = measured([*command, "--out", f"{folder}/out"], place, accepted=(0, 3))
        report = json.loads((place / "out" / "report.json").read_text(encoding="utf-8"))
    tables = [table for table in report["tables"] if table["role"] == "control"]
    return {
        "cells": sum(table["cells"] for table in tables),
        "tables": len(tables),
        "wrong": sum(table["tae"] - table["tae_least"] for table in tables),
        "candidates": report["calibration"]["candidates"],
        "seconds": report["seconds"],
        **found,
    }


def row(name: str, size: Size, found: dict[str, Any]) -> str:
    """Return a line of the Markdown table."""
    figures = [f"{size.records:,}", size.variables, found["tables"], f"{found['cells']:,}"]
    figures += [f"{size.proposals:,}", f"{found['candidates']:,}"]
    figures += [f"{found['wall_s']:.1f}", f"{found['peak_mb']:,}"]
    figures += [f"{found['seconds'][stage]:.2f}" for stage in _STAGES]
    figures += [f"{size.records / max(found['seconds']['writing'], 1e-3):,.0f}"]
    figures += [f"{found['wrong'] / size.records:.1e}"]
    return f"| {name} | " + " | ".join(str(figure) for figure in figures) + " |"


def main() -> None:
    """Print the machine, and a Markdown table line by line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", nargs="+", choices=list(CURVES), default=list(CURVES))
    options = parser.parse_args()
    print(json.dumps(machine()))
    heads = ["curve", "records", "variables", "tables", "cells", "proposals", "candidates"]
    heads += ["wall s", "peak MB", *(f"{stage} s" for stage in _STAGES)]
    heads += ["written a second", "wrong beyond least"]
    print("| " + " | ".join(heads) + " |")
    print("|---" + "|---:" * (len(heads) - 1) + "|")
    for name in options.curves:
        for size in CURVES[name]:
            print(row(name, size, measure(size)), flush=True)


if __name__ == "__main__":
    main()
