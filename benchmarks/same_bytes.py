"""Do two trees of the program make the same records, byte for byte? For changes that should not show.

Runs the four examples and a made job with zones with the program of one tree, and writes the hash
of every parquet file and of the data dictionary; with `--against`, compares with hashes of another.

Example:
    python benchmarks/same_bytes.py OTHER_TREE --write before.json
    python benchmarks/same_bytes.py . --against before.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from zones import write_job

EXAMPLES = ("trips", "population", "households", "ecommerce")
ZONES = 60


def hashes_of(tree: Path, names: list[str]) -> dict[str, str]:
    """Run the jobs with the program in `tree`; return the hash of each file, by job and name."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            made = Path(folder) / name
            made.mkdir()
            job = write_job(ZONES, made, 2) if name == "zones" else tree / f"configs/{name}.yaml"
            command = [sys.executable, "-m", "llmsynthor", "run", str(job), "-q"]
            done = subprocess.run(
                [*command, "--out", str(made / "out")],
                cwd=tree,
                env={**os.environ, "PYTHONPATH": str(tree)},
                stdout=subprocess.DEVNULL,
                check=False,
            )
            if done.returncode not in (0, 3):
                raise SystemExit(f"{name}: the run ended with exit code {done.returncode}")
            files = [*(made / "out").rglob("*.parquet"), made / "out/data_dictionary.json"]
            for file in sorted(files):
                place = f"{name}/{file.relative_to(made / 'out').as_posix()}"
                found[place] = hashlib.sha256(file.read_bytes()).hexdigest()
            print(f"{name}: {len(files)} files", file=sys.stderr)
    return found


def main() -> int:
    """Write or compare; the exit code is 1 where a file differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path, help="a checkout, whose package and configs are used")
    parser.add_argument("--jobs", nargs="+", default=[*EXAMPLES, "zones"])
    parser.add_argument("--write", type=Path, help="where hashes go, as JSON")
    parser.add_argument("--against", type=Path, help="hashes of another tree")
    options = parser.parse_args()
    now = hashes_of(options.tree.resolve(), options.jobs)
    if options.write:
        options.write.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if not options.against:
        return 0
    was = json.loads(options.against.read_text(encoding="utf-8"))
    was = {place: digest for place, digest in was.items() if place.split("/")[0] in options.jobs}
    differ = sorted(place for place in was | now if was.get(place) != now.get(place))
    for place in differ:
        print(f"differs: {place}")
    print(f"{len(now) - len(set(differ) & set(now))} of {len(was | now)} files are the same")
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
