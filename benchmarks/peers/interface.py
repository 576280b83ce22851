"""What every peer is given and gives back; needs numpy only, for it runs in each peer's Python.

A peer is a module of this folder, started in the folder above it by the Python of its own virtual
environment (as a module, for a script `mbi.py` would hide the package `mbi`):

    python -m peers.mbi --tables FOLDER --records N --seed S --out out.csv [--truth truth.csv]

It writes one record a row, as categories, and prints one line of JSON with `seconds` (without
imports and files), `method`, `version` and `notes`.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, eq=False)
class TargetTable:
    """One table to be met.

    Attributes:
        name: The variables, joined.
        scope: Its variables, in the file's order.
        counts: Records in each cell, one axis for each variable, int64.
    """

    name: str
    scope: tuple[str, ...]
    counts: np.ndarray

    @property
    def share(self) -> np.ndarray:
        """Return the share of each cell."""
        return self.counts / self.counts.sum()


@dataclass(frozen=True, eq=False)
class Task:
    """What a peer is asked for.

    Attributes:
        variables: Variable -> its categories in code order.
        tables: Marginals of all variables, then joints.
        records: How many records to make.
        seed: Root of all random numbers.
        truth: Real records as codes, for peers that are fitted to them; else None.
    """

    variables: dict[str, tuple[str, ...]]
    tables: tuple[TargetTable, ...]
    records: int
    seed: int
    truth: np.ndarray | None

    @property
    def names(self) -> list[str]:
        """Return the variables in order."""
        return list(self.variables)

    def marginal(self, name: str) -> np.ndarray:
        """Return the counts of a variable's categories."""
        return next(table.counts for table in self.tables if table.scope == (name,))

    def needed_tables(self, names: set[str]) -> list[TargetTable]:
        """Return the tables over `names` that no other table implies: meeting these meets all."""
        inside = [table for table in self.tables if set(table.scope) <= names]
        return [t for t in inside if not any(set(t.scope) < set(other.scope) for other in inside)]

    def components(self) -> list[tuple[str, ...]]:
        """Return groups of variables that tables connect, in the variables' order."""
        group = {name: {name} for name in self.variables}
        for table in self.tables:
            together = set().union(*(group[name] for name in table.scope))
            group.update(dict.fromkeys(together, together))
        return list(dict.fromkeys(tuple(n for n in self.names if n in group[m]) for m in group))


@dataclass(frozen=True, eq=False)
class Result:
    """What a peer made: codes, shape `(records, variables)`, and how."""

    codes: np.ndarray
    method: str
    version: str
    notes: str = ""


def read_table(
    file: Path, scope: tuple[str, ...], variables: dict[str, tuple[str, ...]]
) -> TargetTable:
    """Return a long table: a column for each variable, and `count`."""
    counts = np.zeros([len(variables[name]) for name in scope], dtype=np.int64)
    with file.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            counts[tuple(variables[name].index(row[name]) for name in scope)] = int(row["count"])
    return TargetTable("__".join(scope), scope, counts)


def run_peer(make: Callable[[Task], Result]) -> None:
    """Read the task from the command line, let `make` do it, write records and the line of JSON."""
    parser = argparse.ArgumentParser(description=make.__doc__)
    parser.add_argument("--tables", type=Path, required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--truth", type=Path)
    options = parser.parse_args()
    task = _read_task(options)
    started = time.perf_counter()
    result = make(task)
    seconds = time.perf_counter() - started
    _write_records(options.out, result.codes, task.variables)
    line = {"seconds": round(seconds, 2), "method": result.method}
    print(json.dumps(line | {"version": result.version, "notes": result.notes}))


def _read_task(options: argparse.Namespace) -> Task:
    domain = json.loads((options.tables / "domain.json").read_text(encoding="utf-8"))
    variables = {name: tuple(categories) for name, categories in domain["variables"].items()}
    tables = tuple(
        read_table(options.tables / file, tuple(scope), variables)
        for file, scope in domain["tables"].items()
    )
    truth = None if options.truth is None else _read_records(options.truth, variables)
    return Task(variables, tables, options.records, options.seed, truth)


def _read_records(file: Path, variables: dict[str, tuple[str, ...]]) -> np.ndarray:
    codes = {name: {c: i for i, c in enumerate(labels)} for name, labels in variables.items()}
    with file.open(encoding="utf-8", newline="") as lines:
        return np.array(
            [[codes[name][row[name]] for name in variables] for row in csv.DictReader(lines)]
        )


def _write_records(file: Path, codes: np.ndarray, variables: dict[str, tuple[str, ...]]) -> None:
    columns = [
        np.array(labels, dtype=object)[codes[:, position]]
        for position, labels in enumerate(variables.values())
    ]
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(variables)
        writer.writerows(zip(*columns, strict=True))
