"""Tables, rules and controls made in memory, for the tests of the engine's parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from llmsynthor.errors import TableError
from llmsynthor.job.load import LoadedJob, load_job
from llmsynthor.targets.agreement import disagreements
from llmsynthor.targets.build import load_tables
from llmsynthor.targets.domain import Domain, Variable
from llmsynthor.targets.table import Table, TableSet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

JOB = """\
version: 1
name: tiny
records: 100
variables:
  sex: {type: category, values: [female, male]}
  age: {type: integer, min: 0, max: 89}
  km: {type: number, min: 0, max: 50}
tables:
  - {file: t.csv}
provider: {model: none}
"""


def load(folder: Path, text: str = JOB, *overrides: str) -> LoadedJob:
    path = folder / "job.yaml"
    path.write_text(text)
    return load_job(path, list(overrides))


def check_agreement(tables: TableSet) -> None:
    """Refuse tables that differ, as a run does."""
    problems = disagreements(tables)
    if problems:
        raise TableError.of(problems)


def read_tables(
    folder: Path, *files: str | tuple[str, dict[str, Any]], **variables: Any
) -> TableSet:
    """Read CSV texts t0.csv, t1.csv, ... with the job's variables (or those given)."""
    job = yaml.safe_load(JOB)
    job["variables"] |= variables
    job["tables"] = []
    for number, entry in enumerate(files):
        text, more = (entry, {}) if isinstance(entry, str) else entry
        (folder / f"t{number}.csv").write_text(text)
        job["tables"].append({"file": f"t{number}.csv", **more})
    return load_tables(load(folder, yaml.safe_dump(job, sort_keys=False)))


def category_domain(*sizes: int) -> Domain:
    return Domain(
        tuple(
            Variable(f"v{i}", "category", tuple(f"c{k}" for k in range(size)))
            for i, size in enumerate(sizes)
        )
    )


def table_of(
    domain: Domain,
    scope: Sequence[str],
    figures: np.ndarray,
    groups: Sequence[np.ndarray] | None = None,
    role: Any = "control",
) -> Table:
    """Make a table of figures; `groups` where it is coarser than the domain."""
    name = "_".join(scope)
    return Table(
        name=name,
        file=f"{name}.csv",
        role=role,
        scope=tuple(scope),
        labels=tuple(tuple(f"c{k}" for k in range(size)) for size in figures.shape),
        groups=tuple(groups or [np.arange(size) for size in figures.shape]),
        figures=figures.astype(float),
        measure="count",
    )


def tally(codes: np.ndarray, domain: Domain, scope: Sequence[str]) -> np.ndarray:
    columns = domain.columns(scope)
    counts = np.zeros([domain.sizes[c] for c in columns])
    np.add.at(counts, tuple(codes[:, c] for c in columns), 1)
    return counts


def tables_of_population(
    codes: np.ndarray, domain: Domain, scopes: Sequence[Sequence[str]]
) -> TableSet:
    tables = [table_of(domain, scope, tally(codes, domain, scope)) for scope in scopes]
    return TableSet(domain, tuple(tables))
