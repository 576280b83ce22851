"""How long the report of a large run takes, and how large its page is.

No run is needed: a made job with 100 tables, 20 of them over 781 zones, and records that are drawn
from the marginals alone, so that nearly every cell of every joint table is off and the page has all
there can be to show. `page` is the time to render `report.html`; `figures` is the time to recount
the records and to fit the baselines, which depends on the job and not on the page.

Example: python benchmarks/report_size.py --zones 781 --records 100000 --keep report
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from made import Size, write_made_job

from llmsynthor.candidates.rules import compile_rules
from llmsynthor.candidates.sampler import Sampler
from llmsynthor.fitting.maxent import independent_share
from llmsynthor.job.load import load_job
from llmsynthor.results.report import scores
from llmsynthor.results.report.build import build_report, read_run
from llmsynthor.results.report.page import render_page
from llmsynthor.seeds import generator
from llmsynthor.store.directory import RunDirectory
from llmsynthor.store.targets_used import keep_tables
from llmsynthor.targets.build import load_tables

if TYPE_CHECKING:
    from llmsynthor.job.load import LoadedJob


def main() -> None:
    """Print the seconds and the bytes as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--zones", type=int, default=781)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="where to leave the page; else it is thrown away")
    parser.add_argument("--baseline", action="store_true", help="fit maximum entropy too")
    options = parser.parse_args()
    if not options.baseline:
        scores.maxent_shares = _independent_shares
    size = Size(20, 5, 60, 0, options.records, options.zones, 20)
    with tempfile.TemporaryDirectory() as folder:
        run = _made_run(load_job(write_made_job(size, Path(folder)), []), Path(folder) / "run")
        started = time.perf_counter()
        sources = read_run(run)
        report, views = build_report(sources)
        figures = time.perf_counter()
        page = render_page(report, views, sources.iterations, sources.proposals)
        done = time.perf_counter()
        result = {
            "tables": len(report["tables"]),
            "figures_s": round(figures - started, 2),
            "page_s": round(done - figures, 2),
            "page_mb": round(len(page.encode()) / 1e6, 3),
            "json_mb": round(len(json.dumps(report, indent=1)) / 1e6, 3),
        }
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        (options.keep / "report.html").write_text(page)
    json.dump(result, sys.stdout, indent=1)
    print()


def _independent_shares(sampler: Sampler, _records: int) -> list[np.ndarray]:
    return [independent_share(table, sampler.marginals) for table in sampler.tables.tables]


def _made_run(loaded: LoadedJob, folder: Path) -> RunDirectory:
    """Write a finished run whose records come from the marginals."""
    tables = load_tables(loaded)
    sampler = Sampler(tables, compile_rules(loaded.job.rules, tables.domain), loaded.job.seed)
    run = RunDirectory(folder)
    run.create()
    keep_tables(run, tables)
    run.write_text("job.resolved.yaml", loaded.path.read_text())
    random, number = generator(loaded.job.seed, "benchmark"), loaded.job.records
    codes = [
        random.choice(v.size, number, p=sampler.marginals[v.name]) for v in tables.domain.variables
    ]
    records = sampler.frame(np.stack(codes, axis=1).astype(np.int32), np.empty((number, 0)))
    nobody = pl.Series("proposal", [None] * number, dtype=pl.Int32)
    run.write_batch(
        0, records, pl.DataFrame([pl.Series("iteration", [0] * number, dtype=pl.Int32), nobody])
    )
    attempt: dict[str, Any] = {"start": None, "end": None, "reason": "made", "versions": {}}
    run.write_json(
        "manifest.json",
        {"status": "complete", "attempts": [attempt], "inputs": {}, "job_fingerprint": "made"},
    )
    return run


if __name__ == "__main__":
    main()
