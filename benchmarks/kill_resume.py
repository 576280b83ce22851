"""Kill a run with SIGKILL at random moments, resume it, and compare the data with an unbroken run's.

Example: python benchmarks/kill_resume.py configs/trips.yaml --kills 50
"""

from __future__ import annotations

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def data_hash(run: Path) -> str:
    """Return a hash over all data and provenance files of a run."""
    digest = hashlib.sha256()
    for file in sorted([*(run / "data").glob("*"), *(run / "provenance").glob("*")]):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def command(job: str, out: Path, changes: list[str]) -> list[str]:
    """Return the command that starts or resumes a run."""
    sets = [word for change in changes for word in ("--set", change)]
    return [
        sys.executable,
        "-m",
        "llmsynthor",
        "run",
        job,
        "--out",
        str(out),
        "--resume",
        "-q",
        *sets,
    ]


def main() -> int:
    """Return 0 when every resumed run gave the same bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--set", action="append", default=["records=300000", "output.row_group=10000"]
    )
    options = parser.parse_args()
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        started = time.monotonic()
        subprocess.run(command(options.job, whole, options.set), check=True, capture_output=True)
        took, expected = time.monotonic() - started, data_hash(whole)
        kills, runs, wrong = 0, 0, 0
        out = Path(folder) / "run0"
        while kills < options.kills:
            process = subprocess.Popen(
                command(options.job, out, options.set),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                process.wait(moments.uniform(0.1, 0.8) * took)
                wrong += data_hash(out) != expected or process.returncode != 0
                runs += 1
                out = Path(folder) / f"run{runs}"
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
                print(f"\r{kills} kills, {runs} runs finished, {wrong} wrong", end="", flush=True)
        subprocess.run(command(options.job, out, options.set), check=True, capture_output=True)
        wrong += data_hash(out) != expected
    print(
        f"\n{kills} kills, {runs + 1} runs finished, {wrong} with other data than the unbroken run"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
