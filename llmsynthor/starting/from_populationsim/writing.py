"""The files of an imported set-up: `job.yaml`, a CSV for each table, and what was made of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from llmsynthor.files.bins import format_number
from llmsynthor.starting.from_populationsim.building import rows_of
from llmsynthor.starting.from_populationsim.setup import HOUSEHOLDS, PERSONS
from llmsynthor.starting.safe_folder import NOT_IN_NAMES, job_name
from llmsynthor.text import count_of, printable

if TYPE_CHECKING:
    from llmsynthor.starting.from_populationsim.building import Made, MadeTable
    from llmsynthor.starting.from_populationsim.geographies import Geographies
    from llmsynthor.starting.from_populationsim.variables import MadeVariable

_CROSSWALK = "zones.csv"
"""The zones, each with what it lies within."""


def job_files(made: Made, out: Path) -> dict[str, str]:
    """Return every file of the job's folder, path inside it -> text."""
    tables = {_file(table): rows_of(made, table).write_csv() for table in made.tables}
    if made.geographies.in_chunks:
        group = made.geographies.group
        zones = {
            name: [places[code] for code in group[name]]
            for name, places in made.geographies.places.items()
        }
        tables[_CROSSWALK] = pl.DataFrame(zones).write_csv()
    heading = "".join(f"# {printable(line)}".rstrip() + "\n" for line in account(made))
    job = yaml.safe_dump(
        job_content(made, out), sort_keys=False, allow_unicode=True, width=100,
        default_flow_style=None,
    )  # fmt: skip
    return {"job.yaml": heading + "\n" + job, **tables}


def _file(table: MadeTable) -> str:
    return f"tables/{NOT_IN_NAMES.sub('-', table.name)}.csv"


def job_content(made: Made, out: Path) -> dict[str, Any]:
    """Return the job as YAML has it."""
    variables: dict[str, Any] = {}
    if made.geography is not None and not made.geographies.in_chunks:
        variables[made.geography] = {"type": "category", "values": made.inhabited}
    variables |= {v.name: _variable(v) for v in made.variables[HOUSEHOLDS].values()}
    job: dict[str, Any] = {
        "version": 1,
        "name": job_name(made.setup.folder.resolve().name, "population"),
        "description": "Households of a synthetic population.",
        "records": made.records,
        **({"zones": _zones(made.geographies)} if made.geographies.in_chunks else {}),
        "variables": variables,
    }
    if made.has_members:
        job["members"] = {
            "name": "person",
            "of": "household",
            "size": made.size_name,
            "variables": {v.name: _variable(v) for v in made.variables[PERSONS].values()},
        }
    job["tables"] = [_table(table) for table in made.tables]
    job["seed_sample"] = _sample(made, out)
    job["provider"] = {"model": "none"}
    return job


def _zones(geographies: Geographies) -> dict[str, Any]:
    found: dict[str, Any] = {"variable": geographies.finest, "crosswalk": _CROSSWALK}
    return {**found, "within": geographies.within} if geographies.within else found


def _variable(made: MadeVariable) -> dict[str, Any]:
    if made.kind == "category":
        return {"type": "category", "values": made.labels}
    number = int if made.kind == "integer" else float
    return {"type": made.kind, "min": number(made.low), "max": number(made.high)}


def _table(table: MadeTable) -> dict[str, Any]:
    spec: dict[str, Any] = {"file": _file(table)}
    if table.level == PERSONS:
        spec["counts"] = "members"
    if table.weight is not None:
        spec["weight"] = round(table.weight, 6)
    return spec


def _sample(made: Made, out: Path) -> dict[str, Any]:
    """Return how the seed is read."""
    spec = _seed_file(made, HOUSEHOLDS, out)
    if made.weight is not None:
        spec["weight"] = _original(made, HOUSEHOLDS, made.weight)
    if made.key is not None:
        spec["key"] = _original(made, HOUSEHOLDS, made.key)
    if made.has_members and made.key is not None:
        members = _seed_file(made, PERSONS, out)
        spec["members"] = {**members, "key": _original(made, PERSONS, made.key)}
    in_chunks = made.geographies.in_chunks  # there all zones share the sample
    if made.geography is not None and not made.zones_in_seed and not in_chunks:
        spec["missing"] = "background"
    return spec


def _original(made: Made, table: str, column: str) -> str:
    """Return a column's name in the file."""
    return made.setup.seeds[table].columns.get(column, column)


def _seed_file(made: Made, table: str, out: Path) -> dict[str, Any]:
    seed = made.setup.seeds[table]
    path = Path(os.path.relpath(seed.path.resolve(), out.resolve())).as_posix()
    spec: dict[str, Any] = {"file": path}
    columns, values = {}, {}
    for variable in made.variables[table].values():
        if variable.column is None:
            continue
        column = _original(made, table, variable.column)
        if column != variable.name:
            columns[column] = variable.name
        if variable.values:
            values[variable.name] = variable.values
    plain = made.geography is not None and not made.geographies.in_chunks
    if table == HOUSEHOLDS and made.geography is not None and plain and made.zones_in_seed:
        column = _original(made, table, made.geography)
        if column != made.geography:
            columns[column] = made.geography
    if columns:
        spec["columns"] = columns
    if values:
        spec["values"] = values
    return spec


def account(made: Made) -> list[str]:
    """Return in lines what became of the set-up."""
    hard = [table for table in made.tables if not table.soft]
    lines = [
        f"made from PopulationSim's set-up: {count_of(made.records, 'household')}, "
        f"{count_of(len(made.tables), 'table')} of "
        f"{count_of(sum(len(t.targets) for t in made.tables), 'control')}",
        f"met to the record: {', '.join(table.name for table in hard)}",
    ]
    if made.geographies.in_chunks:
        levels = [f"{len(places):,} {n}" for n, places in made.geographies.places.items()]
        lines.append(f"zones: {' in '.join(levels)}")
    for table in made.tables:
        if table.soft:
            what = "households" if table.level == HOUSEHOLDS else "persons"
            lines.append(
                f"gives way (weight {format_number(round(table.weight or 1, 3))}): {table.name}, whose "
                f"totals are {format_number(round(table.away, 2))} {what} away from those of a control "
                "of more importance, over all zones"
            )
    lines += [f"note: {note}" for note in made.notes]
    by_reason: dict[str, list[str]] = {}
    for target, why in made.left_out.items():
        by_reason.setdefault(why, []).append(target)
    lines += [f"left out: {', '.join(targets)}: {why}" for why, targets in by_reason.items()]
    return [*lines, PRIVACY]


PRIVACY = (
    "the seed sample is real people: records of a run are copies of their records, and "
    "provenance/ names them; take `seed_sample` out to make records of the tables alone"
)
