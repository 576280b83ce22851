"""The data dictionary: what each column of a run's records means, and where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from llmsynthor import __version__
from llmsynthor.candidates.seed_sample import SEED_RECORD
from llmsynthor.store.directory import DamagedBatchError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmsynthor.job.model import Job
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.domain import Members, Variable
    from llmsynthor.targets.table import TableSet

DICTIONARY = "data_dictionary.json"
MOST_DISTINCT = 1_000_000
"""Distinct values of a number are counted up to here: counting more would take memory that grows
with the number of records."""

PROVENANCE = (
    {
        "name": "iteration",
        "type": "integer",
        "description": "Iteration whose batch the record was made in; 0 is the bulk, made when asking "
        "had ended.",
    },
    {
        "name": "proposal",
        "type": "integer",
        "description": "Id of the proposal in proposals.jsonl that the record came from; empty: the "
        "background, drawn from the tables alone.",
    },
)
_COPIED = {
    "name": SEED_RECORD,
    "type": "category",
    "description": "Key of the real record of the seed sample that the record is a copy of; empty: "
    "it came from a proposal or the background.",
}
_ORDER = {
    "calibrated": "The order of rows means nothing: the records of each file are shuffled, and each "
    "file by itself is aligned with the tables. Files of pilot batches come first.",
    "append": "Records stand in the order in which the model's proposals made them.",
}
_NUMBERED = (
    "Rows are counted from 0 through data/*.parquet in the order of the files' names; provenance has "
    "one row for each, in the same order."
)


def write_dictionary(run: RunDirectory, job: Job, tables: TableSet) -> None:
    """Write `data_dictionary.json` of a run from its job, its tables and its records."""
    manifest = run.manifest()
    paths = run.batch_files()
    members, zones = tables.members, tables.zones
    # what zones lie within: further columns of the records
    levels = zones.level_variables() if zones is not None else ()
    own = [run.members_path(int(path.stem)) for path in paths]
    sizes = {f"data/{path.name}": run.batch_rows(int(path.stem)) for path in paths}
    content = {
        "version": 1,
        "version_llmsynthor": __version__,
        "name": job.name,
        "description": job.description,
        "records": {"asked": job.records, "made": sum(sizes.values())},
        "files": [{"file": file, "records": size} for file, size in sizes.items()],
        "order": f"{_ORDER[job.engine.method]} {_NUMBERED}",
        "provenance": {
            "files": "provenance/*.parquet",
            "columns": [*PROVENANCE, *([_COPIED] if job.seed_sample is not None else [])],
        },
        "variables": [
            {
                **_meaning(variable),
                **({} if members is None else {"of": _level(variable.name, members)}),
                "data": _found(variable, *_place_of(variable.name, position, members, paths, own)),
                "tables": _sources(variable.name, job, tables, manifest.inputs),
            }
            for position, variable in enumerate((*tables.domain.variables, *levels))
        ],
    }
    if members is not None:
        content["members"] = {
            "of": members.of,
            "name": members.name,
            "files": "members/*.parquet",
            "key": members.key,
            "number": members.ordinal,
            "size": members.size,
        }
    run.write_json(DICTIONARY, content)


def _level(name: str, members: Members) -> str:
    """Return what a variable is of: a record or a member, as the job calls them."""
    return members.name if name in members.own.positions else members.of


def _place_of(
    name: str, position: int, members: Members | None, paths: Sequence[Path], own: Sequence[Path]
) -> tuple[int, Sequence[Path]]:
    """Return the column of a variable in its files, and these files."""
    if members is None:
        return position, paths
    if name in members.own.positions:
        return members.own.positions[name] + 2, own  # behind key and number
    if name not in members.record.positions:  # what zones lie within, behind all others
        position -= len(members.own.names)
    return position + 1, paths  # behind the key


def _meaning(variable: Variable) -> dict[str, Any]:
    """Return what the job and its tables say of a variable."""
    common = {
        "name": variable.name,
        "type": variable.kind,
        "unit": variable.unit or None,
        "description": variable.description,
        "ordered": variable.ordered,
    }
    if not variable.is_numeric:
        return {**common, "categories": list(variable.labels)}
    return {
        **common,
        "decimals": variable.decimals,
        "min": _number(variable, variable.low),
        "max": _number(variable, variable.high),
        "bins": [
            {"label": label, "low": _number(variable, low), "high": _number(variable, high)}
            for label, low, high in zip(variable.labels, *variable.ends, strict=True)
        ],
    }


def _number(variable: Variable, value: float) -> int | float:
    return int(value) if variable.is_whole else float(value)


def _sources(
    name: str, job: Job, tables: TableSet, inputs: dict[str, str]
) -> list[dict[str, str | None]]:
    """Return the tables and statistics that have a variable, with the hash of their file when the run began."""
    return [
        {
            "name": table.name,
            "role": table.role,
            "file": spec.file,
            "sha256": inputs.get(spec.file),
        }
        for table, spec in zip(tables.tables, job.tables, strict=True)
        if name in table.scope
    ] + [
        {
            "name": statistic.name,
            "role": statistic.role,
            "file": statistic.file,
            "sha256": inputs.get(statistic.file),
        }
        for statistic in {s.name: s for s in tables.statistics if name in s.variables}.values()
    ]


def _found(variable: Variable, position: int, paths: Sequence[Path]) -> dict[str, Any]:
    """Return what the records hold of a variable (the data's column `position`), file by file.

    Returns:
        `records_by_label`: records in each category or bin, in order; `distinct`: how many values
        there are (None: more than `MOST_DISTINCT`); `least` and `largest` where values have an order.
    """
    held = np.zeros(variable.size, dtype=np.int64)
    values: np.ndarray | None = np.empty(0)
    least = largest = None
    for path in paths:
        column = _column(path, position)
        if not len(column):
            continue
        codes = _codes(variable, column)
        held += np.bincount(codes, minlength=variable.size)
        if not variable.is_numeric:
            continue
        numbers = column.to_numpy()
        low, high = numbers.min(), numbers.max()
        least = low if least is None else min(least, low)
        largest = high if largest is None else max(largest, high)
        if values is not None:
            values = np.union1d(values, numbers)
            values = values if len(values) <= MOST_DISTINCT else None
    if variable.is_numeric:
        distinct = None if values is None else len(values)
        ends = [None if end is None else _number(variable, end) for end in (least, largest)]
    else:
        there = np.flatnonzero(held)
        distinct = len(there)
        known = variable.ordered and len(there)
        ends = [variable.labels[there[i]] for i in (0, -1)] if known else [None, None]
    return {
        "distinct": distinct,
        "least": ends[0],
        "largest": ends[1],
        "records_by_label": held.tolist(),
    }


def _column(path: Path, position: int) -> pl.Series:
    try:  # by position and under another name: polars takes names such as `^a$` for patterns
        return pl.read_parquet(path, columns=[position], glob=False).to_series().alias("values")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedBatchError(path, str(error).splitlines()[0][:120]) from None


def _codes(variable: Variable, column: pl.Series) -> np.ndarray:
    if variable.is_numeric:
        return variable.encode_values(column.to_numpy())
    known = pl.Enum(variable.labels)
    return column.cast(pl.String).cast(known).to_physical().to_numpy()
