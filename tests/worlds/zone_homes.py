"""A small region of households with persons for tests, in zones, of tracts, of districts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import yaml

if TYPE_CHECKING:
    from pathlib import Path

TRACT, DISTRICT = 3, 6
"""Zones in one."""
EMPTY = 4
"""A zone in which nobody lives."""
AGES = ("0-17", "18-64", "65+")
SCOPES = {
    "households": [("taz", "size"), ("tract", "tenure"), ("size", "tenure")],
    "persons": [("taz", "age"), ("tract", "sex"), ("age", "sex"), ("tenure", "sex")],
}
RULES = [
    {"name": "somebody is grown up", "require": "ANY(age >= 18)"},
    {"name": "not too many old", "forbid": "COUNT(age >= 65) > 3"},
]


def homes(zones: int, each: int = 20, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draw households and their persons, each with its zone and what that lies within."""
    random = np.random.default_rng(seed)
    number = random.poisson(each, zones)
    number[EMPTY % zones] = 0
    taz = np.repeat(np.arange(zones), number)
    size = 1 + np.clip(random.poisson(0.8 + taz % 3 * 0.4), 0, 3)
    owned = random.random(len(taz)) < 0.3 + 0.15 * size
    households = pl.DataFrame(
        {
            "id": [f"h{i}" for i in range(len(taz))],
            "taz": [f"taz{z}" for z in taz],
            "tract": [f"tract{z // TRACT}" for z in taz],
            "district": [f"district{z // DISTRICT}" for z in taz],
            "size": size,
            "tenure": np.where(owned, "owned", "rented"),
        }
    )
    persons = households[np.repeat(np.arange(len(taz)), size)]
    first = np.concatenate([np.arange(n) == 0 for n in size])
    years = np.where(first, random.integers(22, 90, len(first)), random.integers(0, 80, len(first)))
    sex = np.where(random.random(len(first)) < 0.5, "f", "m")
    return households, persons.with_columns(pl.Series("years", years), pl.Series("sex", sex))


def _bins(years: pl.Series) -> pl.Series:
    found = years.to_numpy()
    return pl.Series("age", np.array(AGES)[(found >= 18).astype(int) + (found >= 65)])


def write_tables(folder: Path, zones: int) -> list[dict[str, Any]]:
    """Write the tables of both levels, each with every place of its geography."""
    households, persons = homes(zones)
    persons = persons.with_columns(_bins(persons["years"]))
    values = {
        "taz": [f"taz{z}" for z in range(zones)],
        "tract": [f"tract{z}" for z in range(-(-zones // TRACT))],
        "district": [f"district{z}" for z in range(-(-zones // DISTRICT))],
        "size": [1, 2, 3, 4],
        "tenure": ["owned", "rented"],
        "age": list(AGES),
        "sex": ["f", "m"],
    }
    tables = []
    for level, frame in (("households", households), ("persons", persons)):
        for scope in SCOPES[level]:
            counts = frame.group_by(scope).agg(pl.len().alias("count"))
            cells = pl.DataFrame({scope[0]: values[scope[0]]})
            for name in scope[1:]:
                cells = cells.join(pl.DataFrame({name: values[name]}), how="cross")
            counts = counts.with_columns(pl.col(name).cast(cells.schema[name]) for name in scope)
            full = cells.join(counts, on=scope, how="left", maintain_order="left")
            file = "_".join(scope) + ".csv"
            full.with_columns(pl.col("count").fill_null(0)).write_csv(folder / file)
            spec: dict[str, Any] = {"file": file}
            tables.append({**spec, "counts": "members"} if level == "persons" else spec)
    return tables


def write_sample(folder: Path) -> dict[str, Any]:
    """Write households of elsewhere as a seed sample; return what the job says of it."""
    households, persons = homes(20, seed=1)
    households.select("id", "size", "tenure").write_csv(folder / "seed_households.csv")
    persons.select("id", "years", "sex").write_csv(folder / "seed_persons.csv")
    return {
        "file": "seed_households.csv",
        "key": "id",
        "members": {"file": "seed_persons.csv", "key": "id", "columns": {"years": "age"}},
    }


def write_homes(folder: Path, zones: int = 12, *, sampled: bool = False, **changes: Any) -> Path:
    """Write a job with tables of households and persons over zones, tracts and the region."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = write_tables(folder, zones)
    rows = [f"taz{z},tract{z // TRACT},district{z // DISTRICT}\n" for z in range(zones)]
    (folder / "geo.csv").write_text("taz,tract,district\n" + "".join(rows))
    job = {
        "version": 1,
        "name": "homes",
        "records": len(homes(zones)[0]),
        "zones": {
            "variable": "taz",
            "crosswalk": "geo.csv",
            "within": ["tract", "district"],
            "chunk_records": 80,
        },
        "variables": {
            "size": {"type": "integer", "min": 1, "max": 4},
            "tenure": {"type": "category", "values": ["owned", "rented"]},
        },
        "members": {
            "name": "person",
            "of": "household",
            "size": "size",
            "variables": {
                "age": {"type": "integer", "min": 0, "max": 89},
                "sex": {"type": "category", "values": ["f", "m"]},
            },
        },
        "tables": tables,
        "rules": RULES,
        "dependencies": "off",
        "provider": {"model": "none"},
        "engine": {"candidates": 6000},
        **({"seed_sample": write_sample(folder)} if sampled else {}),
        **changes,
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path
