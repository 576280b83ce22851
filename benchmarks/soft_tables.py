"""Tables that disagree: a national joint and four marginals of 38 Belgian municipalities.

Their totals differ a little, as published figures do. With all tables hard the run must stop and
name the disagreement; with a soft joint it must meet the municipalities to the record and say by
how much the joint gave way. DIR holds `data`.

Example: python benchmarks/soft_tables.py --data DIR
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from processes import machine, measured

_JOINT = "national_joint_age_sex_diploma_status.csv"
_MARGINALS = ("age", "sex", "diploma", "status")
_RECORDS = 476_835
"""Total of the municipalities' tables."""


def write_belgian_job(data: Path, folder: Path, **joint: Any) -> Path:  # noqa: ANN401
    """Write the job; return its YAML file.

    Args:
        data: The folder with the tables.
        folder: Where to write.
        joint: What makes the joint soft, for example `weight=1`.
    """
    nation = pl.read_csv(data / _JOINT, infer_schema=False)
    places = pl.read_csv(data / "municipality_sex.csv", infer_schema=False)
    values = {name: sorted(nation[name].unique().to_list()) for name in _MARGINALS}
    values["municipality"] = sorted(places["municipality"].unique().to_list())
    files = [data / f"municipality_{name}.csv" for name in _MARGINALS]
    tables = [{"file": str(data / _JOINT), **joint}, *({"file": str(file)} for file in files)]
    job = {
        "version": 1,
        "name": "belgium",
        "records": _RECORDS,
        "variables": {n: {"type": "category", "values": labels} for n, labels in values.items()},
        "tables": tables,
        "provider": {"model": "none"},
    }
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(job, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def main() -> None:
    """Print the machine, what the hard job says, and the figures of the soft one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = (parser.parse_args().data / "data" / "belgium").resolve()
    print(json.dumps(machine()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [
            sys.executable,
            "-m",
            "llmsynthor",
            "run",
            str(folder / "job.yaml"),
            "-q",
            "--out",
        ]
        write_belgian_job(data, folder)
        hard = measured([*command, f"{name}/hard"], folder, accepted=(2,))
        print(f"hard: exit {hard['exit']}, {hard['wall_s']} s, {hard['peak_mb']} MB")
        print((folder / "stderr").read_text(encoding="utf-8"))
        write_belgian_job(data, folder, weight=1)
        soft = measured([*command, f"{name}/soft"], folder, accepted=(0, 3))
        print(f"soft: exit {soft['exit']}, {soft['wall_s']} s, {soft['peak_mb']} MB")
        report = json.loads((folder / "soft" / "report.json").read_text(encoding="utf-8"))
        for table in report["tables"]:
            print(f"  {table['name']}: {table['tae']:,.0f} records wrong, soft {table['soft']}")
        print("\n".join(f"  {note}" for note in report["notes"]))


if __name__ == "__main__":
    main()
