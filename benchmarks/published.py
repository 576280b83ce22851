"""Jobs on tables as their offices publish them: all mapping is in `published/*.yaml`.

Only the folder of the data, and the codes of Belgium's municipalities, are put in here.

Example: python benchmarks/published.py --data FOLDER
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
from processes import BENCHMARKS, machine, measured


def run(name: str, data: Path) -> dict[str, Any]:
    """Run a job through the command line; return its seconds and the worst of its hard tables."""
    text = (BENCHMARKS / "published" / f"{name}.yaml").read_text(encoding="utf-8")
    text = text.replace("{data}", str(data))
    if name == "belgium":
        column = pl.read_csv(data / "belgium" / "municipality_sex.csv", infer_schema=False)
        codes = column["municipality"].unique(maintain_order=True).to_list()
        text = text.replace("values: []", f"values: {json.dumps(codes)}")
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.yaml"
        job.write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "llmsynthor", "run", str(job), "-q"]
        found = measured([*command, "--out", f"{folder}/out"], Path(folder), accepted=(0, 3))
        report = json.loads((Path(folder) / "out" / "report.json").read_text(encoding="utf-8"))
    hard = [table for table in report["tables"] if not table["soft"]]
    return {
        "job": name,
        **{key: found[key] for key in ("wall_s", "cpu_s", "peak_mb", "exit")},
        "pass": report["pass"],
        "records": report["records"]["made"],
        "tables": len(report["tables"]),
        "tae_of_hard_tables": sum(table["tae"] for table in hard),
        "notes": report["notes"],
    }


def main() -> None:
    """Run both and print their figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data.resolve()
    print(machine())
    for name in ("belgium", "calm"):
        print(json.dumps(run(name, data), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
