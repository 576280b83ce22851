"""The tables of a run as it used them, and what became of those that disagreed: kept, and read back."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from llmsynthor.candidates.rules import compile_rules
from llmsynthor.candidates.sampler import Sampler
from llmsynthor.candidates.seed_sample import SEED_RECORD
from llmsynthor.errors import RunDirectoryError
from llmsynthor.job.load import LoadedJob, read_resolved
from llmsynthor.job.statistics import StatisticSpec
from llmsynthor.job.tables import TableSpec
from llmsynthor.store.directory import MENDING
from llmsynthor.store.lines import KeptReconciled
from llmsynthor.targets.build import load_tables
from llmsynthor.text import and_more, clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.seed_sample import SeedSample
    from llmsynthor.job.model import Job
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.reconcile.reconcile import Change, Reconciled
    from llmsynthor.targets.table import Table, TableSet
    from llmsynthor.targets.zones import Zones

TABLES_USED = "tables_used"
_OF_STATISTICS = ("of", "among", "given", "figures", "counts", "role", "tolerance")
_ZONES = f"{TABLES_USED}/zones.csv"
_SAMPLE_USED = f"{TABLES_USED}/seed_sample.csv"
_ROUNDING = f"{TABLES_USED}/rounding.json"
_MOST_NAMED = 5
_MOST_CELLS = 200
"""Filled cells of a table that the report names."""
_KEPT = f"{TABLES_USED}/reconciled.json"


def load_used(run: RunDirectory) -> tuple[Job, Sampler]:
    """Return the job of a run, and a sampler over the tables kept in its directory.

    Raises:
        RunDirectoryError: Records of a finished run are missing, or the job that it wrote cannot be
            read.
    """
    check_whole(run)
    job, tables = used_tables(run)
    return job, Sampler(tables, compile_rules(job.rules, tables.domain, tables.members), job.seed)


def check_whole(run: RunDirectory) -> None:
    """Refuse a finished run some of whose records are no longer there.

    Raises:
        RunDirectoryError: Names the files that are missing.
    """
    if not run.manifest().is_complete:
        return
    lost = run.lost_batches()
    lines, bulk = run.iterations()
    made = bulk.max_copies or any(line.records for line in lines)
    if lost:
        which = and_more([path.name for path in lost], _MOST_NAMED)
        message = f"{run.path / 'data'}: {which} {'is' if len(lost) == 1 else 'are'} missing"
    elif made and not run.batch_files():
        message = f"{run.path / 'data'}: is missing, or holds no records"
    else:
        return
    raise RunDirectoryError(
        f"{message}, though the run is finished",
        hint="`llmsynthor run JOB --out DIR --replay` makes the records again from the recorded "
        "replies, without a call",
    )


def used_tables(run: RunDirectory) -> tuple[Job, TableSet]:
    """Return the job of a run, and the tables kept in its directory."""
    path = run.path / "job.resolved.yaml"
    job = read_resolved(path)
    kept = [
        TableSpec(
            file=used_name(i),
            name=name,
            role=spec.role,
            tolerance=spec.tolerance,
            weight=spec.weight,
            counts=spec.counts,
            groups=spec.groups,
        )
        for i, (spec, name) in enumerate(
            zip(job.tables, _used_names(run, len(job.tables)), strict=True)
        )
    ]
    changes: dict[str, Any] = {"tables": kept}
    changes["statistics"] = [
        StatisticSpec(
            **{key: getattr(spec, key) for key in _OF_STATISTICS},
            **(
                {"file": _statistics_name(number), "groups": spec.groups}
                if spec.file
                else {"percent": spec.percent}
            ),
            name=spec.known_as,
        )
        for number, spec in enumerate(job.statistics)
    ]
    if job.zones is not None:
        update: dict[str, Any] = {"crosswalk": _ZONES, "columns": {}, "separator": None}
        changes["zones"] = job.zones.model_copy(update=update)
    tables = _with_rounding(run, load_tables(LoadedJob(job.model_copy(update=changes), path)))
    files = {spec.known_as: spec.file or spec.known_as for spec in job.statistics}
    statistics = tuple(replace(s, file=files[s.name]) for s in tables.statistics)
    return job, replace(tables, statistics=statistics)


def _with_rounding(run: RunDirectory, tables: TableSet) -> TableSet:
    """Return the tables with the rounding that their files do not show; older runs kept none."""
    kept = run.read_json(_ROUNDING)
    if not isinstance(kept, dict):
        return tables
    found = {name: value for name, value in kept.items() if isinstance(value, (int, float))}
    rounded = (replace(t, rounding=float(found.get(t.name, 0.0))) for t in tables.tables)
    return replace(tables, tables=tuple(rounded))


def used_name(position: int) -> str:
    """Return where a table that the run used is kept, relative to the run directory."""
    return f"{TABLES_USED}/{position:03d}.csv"


def _statistics_name(position: int) -> str:
    return f"{TABLES_USED}/statistics-{position:03d}.csv"


def _used_names(run: RunDirectory, tables: int) -> list[str]:
    name = f"{TABLES_USED}/names.json"
    found = run.read_json(name)
    if not isinstance(found, list) or len(found) != tables or set(map(type, found)) != {str}:
        what = "is missing" if found is None else f"damaged: must be a list of {tables} names"
        raise RunDirectoryError(
            f"{run.path / name}: {what}",
            hint="`llmsynthor run JOB --out DIR --resume` writes the tables anew",
        )
    return found


def keep_sample(run: RunDirectory, sample: SeedSample) -> None:
    """Write what each record of the seed sample is called and weighs into the run directory."""
    frame = pl.DataFrame({SEED_RECORD: list(sample.keys), "weight": sample.weight})
    run.write_text(_SAMPLE_USED, frame.write_csv())


def weight_of(run: RunDirectory, key: str) -> float | None:
    """Return the weight that a record of the seed sample had, or None where it is not known."""
    path = run.path / _SAMPLE_USED
    if not path.exists():
        return None
    try:
        found = pl.read_csv(path, schema={SEED_RECORD: pl.String, "weight": pl.Float64})
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunDirectoryError(f"{path}: damaged ({str(error).splitlines()[0][:120]})") from None
    weights = found.filter(pl.col(SEED_RECORD) == key)["weight"]
    return float(weights[0]) if len(weights) else None


def keep_tables(run: RunDirectory, tables: TableSet, changes: Sequence[Change] = ()) -> None:
    """Write the tables as used into the run directory, so that it can be reported on anywhere.

    Those that were published otherwise are kept both ways.
    """
    published = {change.published.name: change.published for change in changes}
    for position, table in enumerate(tables.tables):
        run.write_text(used_name(position), _as_csv(table, tables.zones))
        if table.name in published:
            text = _as_csv(published[table.name], tables.zones)
            run.write_text(f"{TABLES_USED}/{position:03d}.published.csv", text)
    _keep_statistics(run, tables)
    run.write_json(_ROUNDING, {table.name: table.rounding for table in tables.tables})
    run.write_json(f"{TABLES_USED}/names.json", [table.name for table in tables.tables])
    if tables.zones is not None:
        zones = tables.zones
        places = {n: np.array(zones.places(n), dtype=object) for n in zones.names()}
        frame = pl.DataFrame({n: places[n][zones.group(n)].tolist() for n in zones.names()})
        run.write_text(_ZONES, frame.write_csv())


def _keep_statistics(run: RunDirectory, tables: TableSet) -> None:
    for position, raw in enumerate(tables.sources):
        if not raw.lines:
            continue  # the job itself has the figures
        labels = {name: [key[i] for key in raw.keys] for i, name in enumerate(raw.scope)}
        figures = {
            column.name: ["" if math.isnan(v) else repr(v) for v in column.values]
            for column in raw.columns
        }
        run.write_text(_statistics_name(position), pl.DataFrame(labels | figures).write_csv())


def _as_csv(table: Table, zones: Zones | None) -> str:
    cells = np.unravel_index(np.arange(table.cells), table.figures.shape)
    columns = {
        _column(table, axis, zones): np.array(labels, dtype=object)[cells[axis]].tolist()
        for axis, labels in enumerate(table.labels)
    }
    measures = {table.measure: table.figures} | ({} if table.moe is None else {"moe": table.moe})
    for name, array in measures.items():
        columns[name] = [repr(float(x)) for x in array.ravel()]
    return pl.DataFrame(columns).write_csv()


def _column(table: Table, axis: int, zones: Zones | None) -> str:
    """Return the column that a table has for a variable: for zones it may be what they lie within."""
    name, group = table.scope[axis], table.groups[axis]
    if zones is None or name != zones.variable:
        return name
    return next(
        n
        for n in zones.names()
        if zones.places(n) == table.labels[axis] and np.array_equal(zones.group(n), group)
    )


def keep_reconciled(run: RunDirectory, reconciled: Reconciled) -> None:
    """Write what was done so that the tables agree into the run directory."""
    kept = KeptReconciled(
        notes=[str(note) for note in reconciled.notes],
        tables={change.used.name: change.as_json() for change in reconciled.changes},
        filled={t.name: _filled(t) for t in reconciled.tables.tables if t.filled},
    )
    run.write_json(_KEPT, kept)


def reconciled_notes(run: RunDirectory) -> list[str]:
    """Return what a reader must know of how the tables were made to agree."""
    return _kept(run).notes


def with_changes(run: RunDirectory, scores: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the measures of each table with what was changed or filled in it, None where nothing was."""
    kept = _kept(run)
    return [
        {
            **score,
            "reconciled": kept.tables.get(score["name"]),
            "filled": kept.filled.get(score["name"]),
        }
        for score in scores
    ]


def _kept(run: RunDirectory) -> KeptReconciled:
    """Return what was kept, nothing where an older run kept none.

    Raises:
        RunDirectoryError: It is damaged.
    """
    return run.read(_KEPT, KeptReconciled.model_validate, MENDING) or KeptReconciled()


def _filled(table: Table) -> dict[str, Any]:
    """Return which cells the publisher does not give, and what stands in for them."""
    moe = table.moe
    return {
        "number": table.filled,
        "from": table.filled_from,
        "cells": [
            {
                "cell": clean(table.cell_name(cell)),
                "figure": float(table.figures.flat[cell]),
                "moe": 0.0 if moe is None else float(moe.flat[cell]),
            }
            for cell in table.filled_cells[:_MOST_CELLS]
        ],
    }
