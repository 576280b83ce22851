"""Benchmark packs: their variables, target tables and held-out truth, and jobs made from them.

A pack is a folder `data/PACK` with one CSV file for each target table, `pack.json` (categories,
target joints, held-out pairs) and `truth_microdata.csv` (the records behind the tables). The truth
serves scoring, and peers that are fitted to real records; it reaches no job.

Held-out *pairs* are those in `pack.json`: all pairs of variables that no table has together.
Held-out *triples* are all sets of three variables (165 for 11 variables), for no table has three
variables; a triple may hold a pair that a table has.
"""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from peers.interface import TargetTable, read_table
from replies import REPLIES, one_reply_an_iteration, write_replies

from llmsynthor.results.evaluation.records import cell_counts

CONFIGS = Path(__file__).parents[1] / "configs"
EXAMPLES = {"adult": "population.yaml", "nhts_trips": "trips.yaml"}
"""The example job of each pack: it gives order of categories, descriptions and rules."""
RECORDINGS = {"adult": "adult", "nhts_trips": "nhts_trips_pairs"}
"""The recorded proposals that llmsynthor replays for each pack."""


@dataclass(frozen=True, eq=False)
class Pack:
    """One data set to compare on.

    Attributes:
        name: Folder under `data`.
        columns: Variable -> its categories in code order.
        tables: Marginals, then joints.
        pairs: Pairs of variables that are in no table.
        truth: Codes of the real records, one column for each variable.
        truth_file: Where the real records are.
        example: The example job, as its YAML file says.
    """

    name: str
    columns: dict[str, tuple[str, ...]]
    tables: tuple[TargetTable, ...]
    pairs: tuple[tuple[str, ...], ...]
    truth: np.ndarray
    truth_file: Path
    example: dict[str, Any]

    @property
    def records(self) -> int:
        """Return the number of real records."""
        return len(self.truth)

    @cached_property
    def triples(self) -> tuple[tuple[str, ...], ...]:
        """Return all sets of three variables."""
        return tuple(itertools.combinations(self.columns, 3))

    def cell_counts(self, codes: np.ndarray, scope: tuple[str, ...]) -> np.ndarray:
        """Return how many rows of `codes` are in each cell over `scope`."""
        names = list(self.columns)
        shape = [len(self.columns[name]) for name in scope]
        return cell_counts([codes[:, names.index(name)] for name in scope], shape)


def load_pack(data: Path, name: str) -> Pack:
    """Return a pack.

    Args:
        data: The folder that holds `data` and `recordings`.
        name: `adult` or `nhts_trips`.

    Raises:
        ValueError: Pack and example job do not have the same variables and categories.
    """
    folder = data / "data" / name
    content = json.loads((folder / "pack.json").read_text(encoding="utf-8"))
    example = yaml.safe_load((CONFIGS / EXAMPLES[name]).read_text(encoding="utf-8"))
    columns = {
        variable: tuple(example["variables"][variable]["values"]) for variable in content["columns"]
    }
    for variable, categories in content["columns"].items():
        if set(categories) != set(columns[variable]):
            raise ValueError(f"{EXAMPLES[name]}: `{variable}` has other categories than the pack")
    scopes = [(variable,) for variable in columns]
    scopes += [tuple(joint) for joint in content["target_joints"]]
    truth_file = folder / "truth_microdata.csv"
    return Pack(
        name=name,
        columns=columns,
        tables=tuple(_read_target(folder, scope, columns) for scope in scopes),
        pairs=tuple(tuple(pair) for pair in content["heldout_pairs"]),
        truth=read_codes(truth_file, columns),
        truth_file=truth_file,
        example=example,
    )


def _read_target(
    folder: Path, scope: tuple[str, ...], columns: dict[str, tuple[str, ...]]
) -> TargetTable:
    kind = "marginal" if len(scope) == 1 else "joint"
    return read_table(folder / f"{kind}__{'__'.join(scope)}.csv", scope, columns)


def read_codes(file: Path, columns: dict[str, tuple[str, ...]]) -> np.ndarray:
    """Return the codes of the records in a CSV or parquet file, shape `(records, variables)`."""
    if file.suffix == ".parquet":
        return encode(pl.read_parquet(file), columns)
    return encode(pl.read_csv(file, infer_schema=False), columns)


def encode(frame: pl.DataFrame, columns: dict[str, tuple[str, ...]]) -> np.ndarray:
    """Return the codes of records; a label that is no category is an error."""
    return np.column_stack(
        [
            frame[name].cast(pl.String).cast(pl.Enum(categories)).to_physical().to_numpy()
            for name, categories in columns.items()
        ]
    ).astype(np.int64)


def decode(codes: np.ndarray, columns: dict[str, tuple[str, ...]]) -> pl.DataFrame:
    """Return records as categories."""
    return pl.DataFrame(
        {
            name: pl.Series(categories, dtype=pl.Enum(categories)).gather(codes[:, position])
            for position, (name, categories) in enumerate(columns.items())
        }
    )


def write_tables(pack: Pack, folder: Path) -> list[str]:
    """Write the target tables and `domain.json`, all that a peer is given; return the file names.

    `domain.json` has `variables` (name -> categories) and `tables` (file -> its variables).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for table in pack.tables:
        with (folder / f"{table.name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*table.scope, "count"])
            for cell in np.argwhere(table.counts):
                labels = [pack.columns[v][c] for v, c in zip(table.scope, cell, strict=True)]
                writer.writerow([*labels, int(table.counts[tuple(cell)])])
    scopes = {f"{table.name}.csv": table.scope for table in pack.tables}
    text = json.dumps({"variables": pack.columns, "tables": scopes}, ensure_ascii=False, indent=1)
    (folder / "domain.json").write_text(text + "\n", encoding="utf-8")
    return list(scopes)


def write_job(pack: Pack, recording: Path, folder: Path) -> Path:
    """Write a job over the pack's tables that replays a recording, and return its YAML file.

    Each round of the recording becomes one reply, and each reply one iteration, so that all
    proposals are used in the rounds in which they were written.
    """
    files = write_tables(pack, folder / "tables")
    rounds = read_rounds(recording)
    write_replies(rounds, folder)
    job = pack.example | {
        "name": f"bench-{pack.name}",
        "records": pack.records,
        "tables": [{"file": f"tables/{file}"} for file in files],
        "provider": {"model": "replay", "replies": REPLIES},
        "engine": pack.example["engine"] | one_reply_an_iteration(len(rounds)),
    }
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(job, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def read_rounds(recording: Path) -> list[list[dict[str, Any]]]:
    """Return the proposals of a recording, a list for each round."""
    lines = [json.loads(line) for line in recording.read_text(encoding="utf-8").splitlines()]
    return [
        [{key: value for key, value in line.items() if key != "round"} for line in group]
        for _, group in itertools.groupby(lines, key=lambda line: line["round"])
    ]
