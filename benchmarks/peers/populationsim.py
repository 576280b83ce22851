"""Peer: PopulationSim on the households of its own CALM example (21 controls, zones and tracts).

It needs another kind of input than the other peers: seed households, controls at two geographies.

    python -m peers.populationsim --data FOLDER --work FOLDER

The persons of the example are not published with it, so the person controls are left out and
every household gets one person, who counts for nothing. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from populationsim import add_run_args, run

CONTROL_FILES = {"TAZ": "control_totals_taz.csv", "TRACT": "control_totals_tract.csv"}
HOUSEHOLDS = "synthetic_households.csv"
INPUTS = [
    {"tablename": "households", "filename": "households.csv", "index_col": "hh_id"},
    {"tablename": "persons", "filename": "persons.csv"},
    {"tablename": "geo_cross_walk", "filename": "cross_walk.csv"},
    *({"tablename": f"{geo}_control_data", "filename": f"{geo}.csv"} for geo in CONTROL_FILES),
]
SETTINGS = {
    "geographies": ["REGION", "PUMA", "TRACT", "TAZ"],
    "seed_geography": "PUMA",
    "input_table_list": INPUTS,
    "household_weight_col": "WGTP",
    "household_id_col": "hh_id",
    "total_hh_control": "num_hh",
    "control_file_name": "controls.csv",
    # but for USE_NUMBA, what follows are the settings of the published example
    "INTEGERIZE_WITH_BACKSTOPPED_CONTROLS": True,
    "SUB_BALANCE_WITH_FLOAT_SEED_WEIGHTS": False,
    "GROUP_BY_INCIDENCE_SIGNATURE": True,
    "USE_SIMUL_INTEGERIZER": True,
    "USE_CVXPY": False,
    "USE_NUMBA": True,  # off by default, and several times slower then
    "max_expansion_factor": 30,
    "output_synthetic_population": {
        "household_id": "household_id",
        "households": {"filename": HOUSEHOLDS, "columns": ["hh_id"]},
        "persons": {"filename": "synthetic_persons.csv", "columns": ["per_num"]},
    },
    "models": [
        "input_pre_processor",
        "setup_data_structures",
        "initial_seed_balancing",
        "meta_control_factoring",
        "final_seed_balancing",
        "integerize_final_seed_weights",
        "sub_balancing.geography=TRACT",
        "sub_balancing.geography=TAZ",
        "expand_households",
        "write_synthetic_population",
    ],
}


def write_inputs(data: Path, work: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write configs and data of the run; return seed households and controls."""
    for folder in ("configs", "data", "output"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    controls = pd.read_csv(data / "controls.csv", comment="#")
    controls = controls[controls["seed_table"] == "households"]
    controls.to_csv(work / "configs" / "controls.csv", index=False)
    text = yaml.safe_dump(SETTINGS, sort_keys=False)
    (work / "configs" / "settings.yaml").write_text(text, encoding="utf-8")
    households = pd.read_csv(data / "seed_households.csv").rename(columns={"hhnum": "hh_id"})
    households.to_csv(work / "data" / "households.csv", index=False)
    persons = households[["hh_id"]].assign(per_num=1)
    persons.to_csv(work / "data" / "persons.csv", index=False)
    cross_walk = pd.read_csv(data / "geo_cross_walk.csv").rename(columns={"TRACTCE": "TRACT"})
    cross_walk.to_csv(work / "data" / "cross_walk.csv", index=False)
    for geography, file in CONTROL_FILES.items():
        pd.read_csv(data / file).to_csv(work / "data" / f"{geography}.csv", index=False)
    return households.set_index("hh_id"), controls


def errors(
    work: Path, households: pd.DataFrame, controls: pd.DataFrame
) -> dict[str, dict[str, float]]:
    """Return for each geography the total and the largest error of its control totals."""
    made = pd.read_csv(work / "output" / HOUSEHOLDS)
    seeds = made["hh_id"].to_numpy()
    found = {}
    for geography, rows in controls.groupby("geography"):
        totals = pd.read_csv(work / "data" / f"{geography}.csv").set_index(geography)
        apart = []
        for row in rows.itertuples():
            counts = eval(row.expression, {"np": np, "households": households})  # as it does itself
            held = pd.Series(counts.loc[seeds].to_numpy().astype(int))
            held = held.groupby(made[geography].to_numpy()).sum()
            apart.append(held.reindex(totals.index, fill_value=0) - totals[row.control_field])
        cells = np.abs(np.concatenate(apart))
        found[geography] = {
            "zones": int(totals[rows["control_field"]].any(axis=1).sum()),
            "controls": len(rows),
            "total": float(totals[rows["control_field"]].to_numpy().sum()),
            "tae": float(cells.sum()),
            "max_error": float(cells.max()),
        }
    return found


def main() -> None:
    """Run PopulationSim and compare its households with the control totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    work = options.work.resolve()
    households, controls = write_inputs(options.data, work)
    arguments = argparse.ArgumentParser()
    add_run_args(arguments)
    started = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        run(arguments.parse_args(["--working_dir", str(work)]))
    seconds = time.perf_counter() - started
    result = {
        "seconds": round(seconds, 2),
        "method": "PopulationSim, settings of its CALM example and USE_NUMBA, one process",
        "version": version("populationsim"),
        "notes": "household controls only, with files read and written in the seconds",
        "households": len(pd.read_csv(work / "output" / HOUSEHOLDS)),
        "geographies": errors(work, households, controls),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
