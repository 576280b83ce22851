"""llmsynthor and PopulationSim on PopulationSim's survey example: seconds, and what is off.

Needs a folder with that example's `controls.csv`, control totals, seed tables and crosswalk. Both
are judged by the same count: for each control and zone, what the made households and persons hold
against the total, summed (TAE). llmsynthor runs from the seed sample and from the tables alone.
PopulationSim gets the settings of its documentation, in a folder that is thrown away; the seed is
balanced for each cluster and made whole in a zone below it, which is the same cluster once more.

Example: python benchmarks/popsim_survey.py --data FOLDER --peer-python PYTHON
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from llmsynthor.starting.from_populationsim.building import Made, build
from llmsynthor.starting.from_populationsim.expressions import read_expression
from llmsynthor.starting.from_populationsim.reading import is_numeric, read_value
from llmsynthor.starting.from_populationsim.setup import HOUSEHOLDS, PERSONS, read_setup

_LOW = "_low"
"""Ends the name of the zones below the seed's, which are the same."""
_STEPS = (
    "input_pre_processor", "setup_data_structures", "initial_seed_balancing",
    "meta_control_factoring", "final_seed_balancing", "integerize_final_seed_weights",
)  # fmt: skip


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of the set-up")
    parser.add_argument("--peer-python", type=Path, help="Python that has populationsim")
    parser.add_argument(
        "--tables-alone", action="store_true", help="llmsynthor without the seed, too"
    )
    options = parser.parse_args()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = build(read_setup(options.data))
        job = folder / "job" / "job.yaml"
        _call(sys.executable, "-m", "llmsynthor", "import", "populationsim", str(options.data), "--out", str(job.parent))  # fmt: skip
        result["llmsynthor"] = _ours(job, folder / "run")
        if options.tables_alone:
            result["llmsynthor_tables_alone"] = _ours(
                job, folder / "alone", "--set", "seed_sample=null"
            )
        if options.peer_python:
            result["populationsim"] = _theirs(made, folder / "peer", options.peer_python)
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


def _call(*command: str, cwd: Path | None = None) -> dict[str, float]:
    """Run a command; return its wall and CPU seconds."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"{' '.join(command[:4])}: exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.perf_counter() - started, 1), "cpu_seconds": round(cpu, 1)}


def _ours(job: Path, out: Path, *options: str) -> dict[str, Any]:
    seconds = _call(
        sys.executable, "-m", "llmsynthor", "run", str(job), "--out", str(out), *options
    )
    report = json.loads((out / "report.json").read_text())
    return {
        **seconds,
        "seconds_of_stages": report["seconds"],
        "households": report["records"]["made"],
        "persons": report["members"]["made"],
        "tae": {t["name"]: round(t["tae"], 3) for t in report["tables"]},
        "linkage": report["members"]["linkage"],
        "sources": report.get("sources"),
    }


def _theirs(made: Made, folder: Path, python: Path) -> dict[str, Any]:
    _write_setup(made, folder)
    (folder / "output").mkdir()
    seconds = _call(str(python.absolute()), "-m", "populationsim", "-w", str(folder), cwd=folder)
    held = pl.read_csv(folder / "output" / "final_expanded_household_ids.csv")
    key, geography = str(made.key), str(made.geography)
    return {
        **seconds,
        "households": held.height,
        "tae": _tae(
            made, held.select(pl.col(key).cast(pl.String), pl.col(geography).cast(pl.String))
        ),
    }


def _write_setup(made: Made, folder: Path) -> None:
    """Write the set-up as PopulationSim's documentation has it."""
    setup, geography = made.setup, str(made.geography)
    for name in ("configs", "data"):
        (folder / name).mkdir(parents=True)
    low = geography + _LOW
    controls = [
        (c.target, low, c.seed_table, c.importance, c.field, c.expression) for c in setup.controls
    ]
    columns = ("target", "geography", "seed_table", "importance", "control_field", "expression")
    pl.DataFrame(controls, schema=columns, orient="row").with_columns(
        pl.col("importance").cast(pl.Int64)
    ).write_csv(folder / "configs" / "controls.csv")
    totals = setup.totals[geography].rename({geography: low})
    totals.write_csv(folder / "data" / "control_totals.csv")
    ways = pl.DataFrame({"Region": 1, geography: made.zones, low: made.zones})
    ways.write_csv(folder / "data" / "geo_cross_walk.csv")
    for table in (HOUSEHOLDS, PERSONS):
        setup.seeds[table].frame.write_csv(folder / "data" / f"seed_{table}.csv", null_value="")
    settings = yaml.safe_dump(_settings(made, low), sort_keys=False)
    (folder / "configs" / "settings.yaml").write_text(settings)


def _settings(made: Made, low: str) -> dict[str, Any]:
    geography = str(made.geography)
    total = next(t.targets[0] for t in made.tables if not t.scope and t.level == HOUSEHOLDS)
    tables = [
        {"tablename": "households", "filename": "seed_households.csv", "index_col": made.key},
        {"tablename": "persons", "filename": "seed_persons.csv"},
        {"tablename": "geo_cross_walk", "filename": "geo_cross_walk.csv"},
        {"tablename": f"{low}_control_data", "filename": "control_totals.csv"},
    ]
    return {
        "INTEGERIZE_WITH_BACKSTOPPED_CONTROLS": True,
        "SUB_BALANCE_WITH_FLOAT_SEED_WEIGHTS": False,
        "GROUP_BY_INCIDENCE_SIGNATURE": True,
        "USE_SIMUL_INTEGERIZER": True,
        "USE_CVXPY": False,
        "USE_NUMBA": True,
        "max_expansion_factor": 100,
        "recode_pipeline_columns": False,
        "geographies": ["Region", geography, low],
        "seed_geography": geography,
        "data_dir": "data",
        "input_table_list": tables,
        "household_weight_col": made.weight,
        "household_id_col": made.key,
        "total_hh_control": total,
        "control_file_name": "controls.csv",
        "output_tables": {"action": "include", "tables": ["expanded_household_ids"]},
        "output_synthetic_population": {
            "household_id": "synthetic_id",
            "households": {"filename": "synthetic_households.csv", "columns": [made.key, "HHSize"]},
            "persons": {"filename": "synthetic_persons.csv", "columns": ["PAge"]},
        },
        "models": [
            *_STEPS, f"sub_balancing.geography={low}", "expand_households", "summarize",
            "write_tables", "write_synthetic_population",
        ],
        "resume_after": None,
    }  # fmt: skip


def _tae(made: Made, held: pl.DataFrame) -> dict[str, float]:
    """Return by table how far the counts of the households' controls are from the totals."""
    key, geography = str(made.key), str(made.geography)
    counts = held.group_by(key, geography).agg(pl.len().alias("copies"))
    by_target: dict[str, float] = {}
    totals = made.setup.totals[geography]
    for control in made.setup.controls:
        own = _incidence(made, control.seed_table, control.expression)
        sums = (
            counts.join(own, key)
            .group_by(geography)
            .agg((pl.col("copies") * pl.col("counts")).sum().alias("held"))
        )
        both = totals.select(geography, pl.col(control.field).cast(pl.Float64)).join(
            sums, geography, how="left"
        )
        off = np.abs(both["held"].fill_null(0).to_numpy() - both[control.field].to_numpy())
        by_target[control.target] = float(off.sum())
    return {t.name: sum(by_target[target] for target in t.targets) for t in made.tables}


def _incidence(made: Made, table: str, expression: str) -> pl.DataFrame:
    """Return how often a household of the seed, or its persons, fit an expression."""
    seed = made.setup.seeds[table]
    fits = np.ones(seed.frame.height, dtype=bool)
    for column, accepted in read_expression(expression, table).items():
        numeric = is_numeric(seed, column)
        raw = seed.frame.get_column(column).fill_null("")
        known = {t: accepted.takes(read_value(t, numeric=numeric)) for t in raw.unique()}
        fits &= np.array([known[text] for text in raw])
    keys = seed.frame.get_column(str(made.key))
    frame = pl.DataFrame([keys, pl.Series("counts", fits.astype(np.int64))])
    return frame.group_by(str(made.key)).agg(pl.col("counts").sum())


if __name__ == "__main__":
    main()
