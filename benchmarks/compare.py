"""Compares llmsynthor with peers on the packs: time, memory, and distance from tables and truth.

Each runs in a process of its own, one after another; a peer that cannot be installed or fails gets
a row that says why. DIR holds `data` and `recordings`.

Example: python benchmarks/compare.py --data DIR --packs adult --peers maxent mbi
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from environments import (
    FOLDER,
    EnvironmentUnavailableError,
    describe_environments,
    environment,
)
from packs import EXAMPLES, RECORDINGS, Pack, encode, load_pack, read_codes, write_job, write_tables
from processes import FailedError, machine, measured
from rendering import markdown
from scores import reference_scores, score_records

import llmsynthor

SEED = 1
ZONES = "populationsim"
"""The peer that runs on households in zones instead of on the packs."""


@dataclass(frozen=True)
class Peer:
    """How a peer is run: its environment, and whether it is fitted to the real records."""

    environment: str
    sees_records: bool = False


PEERS = {
    "independent": Peer("own"),
    "maxent": Peer("own"),
    "mbi": Peer("mbi"),
    "humanleague": Peer("humanleague"),
    "ipfn": Peer("ipfn"),
    "sdv_gaussian": Peer("sdv", sees_records=True),
    "sdv_ctgan": Peer("sdv", sees_records=True),
}
LLMSYNTHOR = {"llmsynthor": [], "llmsynthor, no model": ["provider.model=none"]}
"""Row -> what is set for it."""


FAILURES = (
    EnvironmentUnavailableError,
    FailedError,
    OSError,
    ValueError,
    pl.exceptions.PolarsError,
)
"""What ends a row only: no environment, a process that fails, a result that cannot be read."""


def run_peer(name: str, pack: Pack, records: int, folder: Path) -> dict[str, Any]:
    """Return the row of a peer."""
    peer = PEERS[name]
    python = environment(peer.environment)
    write_tables(pack, folder / "tables")
    out = folder / "out.csv"
    command = [str(python), "-m", f"peers.{name}", "--tables", str(folder / "tables")]
    command += ["--records", str(records), "--seed", str(SEED), "--out", str(out)]
    if peer.sees_records:
        command += ["--truth", str(pack.truth_file)]
    found = measured(command, folder)
    found |= json.loads(found.pop("line"))
    codes = read_codes(out, pack.columns)
    if len(codes) != records:
        raise FailedError(f"made {len(codes)} records instead of {records}")
    sees = "real records" if peer.sees_records else "tables"
    return {"sees": sees, **found, "scores": score_records(pack, codes).as_json()}


def run_llmsynthor(
    name: str, pack: Pack, recording: Path, records: int, folder: Path
) -> dict[str, Any]:
    """Return the row of llmsynthor through its command line."""
    job, out = write_job(pack, recording, folder), folder / "run"
    command = [sys.executable, "-m", "llmsynthor", "run", str(job), "--out", str(out), "-q"]
    for change in [f"records={records}", *LLMSYNTHOR[name]]:
        command += ["--set", change]
    found = measured(command, folder, accepted=(0, 3))
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    codes = encode(pl.read_parquet(sorted((out / "data").glob("*.parquet"))), pack.columns)
    proposals = not LLMSYNTHOR[name]
    return {
        "sees": "tables, proposals" if proposals else "tables",
        "wall_s": found["wall_s"],
        "peak_mb": found["peak_mb"],
        "seconds": round(report["seconds"]["total"], 2),
        "method": f"recorded proposals `{recording.stem}`" if proposals else "provider.model=none",
        "version": llmsynthor.__version__,
        "notes": "",
        "scores": score_records(pack, codes).as_json(),
    }


def run_zones(data: Path) -> dict[str, Any]:
    """Return the row of PopulationSim on the households of its example."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            python = environment(ZONES)
            command = [str(python), "-m", f"peers.{ZONES}", "--data"]
            command += [str(data / "data" / "popsim_calm"), "--work", f"{folder}/work"]
            found = measured(command, Path(folder))
        except FAILURES as error:
            return {"error": str(error)}
    return found | json.loads(found.pop("line"))


def compare_pack(pack: Pack, data: Path, peers: list[str], records: int) -> dict[str, Any]:
    """Return reference scores and rows of one pack."""
    recording = data / "recordings" / f"{RECORDINGS[pack.name]}.jsonl"
    rows: dict[str, dict[str, Any]] = {}
    for name in [*LLMSYNTHOR, *peers]:
        print(f"{pack.name}: {name}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder:
            try:
                if name in LLMSYNTHOR:
                    rows[name] = run_llmsynthor(name, pack, recording, records, Path(folder))
                else:
                    rows[name] = run_peer(name, pack, records, Path(folder))
            except FAILURES as error:
                rows[name] = {"error": str(error)}
    reference = {name: s.as_json() for name, s in reference_scores(pack, records).items()}
    return {"records": records, "reference": reference, "rows": rows}


def write_results(file: Path, results: dict[str, Any]) -> None:
    """Write what there is so far."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Run the comparison, write results.json and print the tables as Markdown."""
    every = [*PEERS, ZONES]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--packs", nargs="*", choices=list(EXAMPLES), default=list(EXAMPLES))
    parser.add_argument("--peers", nargs="*", choices=every, default=every)
    parser.add_argument("--records", type=int, help="as many as the tables count, if not given")
    parser.add_argument("--out", type=Path, default=FOLDER / "results.json")
    options = parser.parse_args()
    data = options.data.resolve()  # peers run in another directory
    results: dict[str, Any] = {"machine": machine(), "packs": {}}
    for name in options.packs:
        pack = load_pack(data, name)
        peers = [peer for peer in options.peers if peer in PEERS]
        found = compare_pack(pack, data, peers, options.records or pack.records)
        results["packs"][name] = found
        write_results(options.out, results)
    if ZONES in options.peers:
        print(ZONES, file=sys.stderr)
        results["zones"] = {ZONES: run_zones(data)}
    results["environments_mb"] = describe_environments()
    write_results(options.out, results)
    print(markdown(results))


if __name__ == "__main__":
    main()
