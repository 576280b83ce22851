"""Jobs made up for growth curves: as many variables, categories, tables and proposals as asked.

The population behind the tables is a mixture of types of people, so that its variables depend on
each other. The proposals are some of the types, as a model that half knows the world might write
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import yaml
from replies import REPLIES, one_reply_an_iteration, write_replies

if TYPE_CHECKING:
    from pathlib import Path

_PEOPLE = 100_000
_TYPES = 60
_PROPOSALS_IN_A_REPLY = 50


@dataclass(frozen=True)
class Size:
    """How large a made job is.

    Attributes:
        variables: Number of variables; each has a table of its own.
        categories: Categories of each variable.
        pairs: Number of tables of two variables.
        proposals: Number of recorded proposals; 0 runs without a model.
        records: Records to make.
        zones: Categories of one more variable, `zone`; 0 leaves it out.
        zone_tables: Number of tables of a zone and a variable.
    """

    variables: int = 10
    categories: int = 5
    pairs: int = 10
    proposals: int = 100
    records: int = 30_000
    zones: int = 0
    zone_tables: int = 0


def write_made_job(size: Size, folder: Path, seed: int = 1) -> Path:
    """Write a job with its tables and replies; return the YAML file."""
    random = np.random.default_rng(seed)
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    shape = (_TYPES, size.variables, size.categories)
    types = random.dirichlet(np.full(size.categories, 0.4), shape[:2])
    share = random.dirichlet(np.full(_TYPES, 2.0))
    people = _people(types, share, random)
    names = [f"v{i:02d}" for i in range(size.variables)]
    scopes: list[tuple[int, ...]] = [(i,) for i in range(size.variables)]
    pairs = list(combinations(range(size.variables), 2))
    scopes += [pairs[i] for i in random.permutation(len(pairs))[: size.pairs]]
    for scope in scopes:
        _write_table(people, scope, size.categories, names, folder)
    files = [_file(scope, names) for scope in scopes]
    variables = {name: {"type": "category", "values": _labels(size.categories)} for name in names}
    if size.zones:
        files += _write_zone_tables(people, size, names, folder, random)
        variables["zone"] = {"type": "category", "values": _zone_labels(size.zones)}
    rounds = _rounds(types, share, size, names, random)
    write_replies(rounds, folder)
    job: dict[str, Any] = {
        "version": 1,
        "name": "made",
        "records": size.records,
        "seed": seed,
        "variables": variables,
        "tables": [{"file": file} for file in files],
        "dependencies": "off",
        "provider": {"model": "replay", "replies": REPLIES} if rounds else {"model": "none"},
        "engine": one_reply_an_iteration(len(rounds)),
    }
    file = folder / "job.yaml"
    file.write_text(yaml.safe_dump(job, sort_keys=False))
    return file


def _labels(categories: int) -> list[str]:
    return [f"c{k}" for k in range(categories)]


def _zone_labels(zones: int) -> list[str]:
    return [f"zone {k:04d}" for k in range(zones)]


def _write_zone_tables(
    people: np.ndarray, size: Size, names: list[str], folder: Path, random: np.random.Generator
) -> list[str]:
    """Write tables of zone and variable; zones differ in size by a factor of ten and more."""
    weight = random.lognormal(0.0, 0.8, size.zones)
    zone = random.choice(size.zones, len(people), p=weight / weight.sum())
    labels = np.array(_zone_labels(size.zones))
    files = []
    for i in range(size.zone_tables):
        shape = (size.zones, size.categories)
        cell = np.ravel_multi_index((zone, people[:, i]), shape)
        cells = np.argwhere(np.ones(shape))
        counts = np.bincount(cell, minlength=size.zones * size.categories)
        frame = pl.DataFrame(
            {"zone": labels[cells[:, 0]], names[i]: [f"c{k}" for k in cells[:, 1]], "count": counts}
        )
        files.append(f"tables/zone_{names[i]}.csv")
        frame.write_csv(folder / files[-1])
    return files


def _file(scope: tuple[int, ...], names: list[str]) -> str:
    return f"tables/{'_'.join(names[i] for i in scope)}.csv"


def _people(types: np.ndarray, share: np.ndarray, random: np.random.Generator) -> np.ndarray:
    kind = random.choice(len(share), size=_PEOPLE, p=share)
    ends = np.cumsum(types, axis=2)
    level = random.random((_PEOPLE, types.shape[1], 1))
    return np.minimum((ends[kind] < level).sum(axis=2), types.shape[2] - 1)


def _write_table(
    people: np.ndarray, scope: tuple[int, ...], categories: int, names: list[str], folder: Path
) -> None:
    columns = [people[:, i] for i in scope]
    counts = np.bincount(
        np.ravel_multi_index(columns, [categories] * len(scope)), minlength=categories ** len(scope)
    )
    cells = np.argwhere(counts.reshape([categories] * len(scope)) >= 0)
    frame = pl.DataFrame(
        {names[i]: [f"c{k}" for k in cells[:, axis]] for axis, i in enumerate(scope)}
        | {"count": counts}
    )
    frame.write_csv(folder / _file(scope, names))


def _rounds(
    types: np.ndarray, share: np.ndarray, size: Size, names: list[str], random: np.random.Generator
) -> list[list[dict[str, Any]]]:
    proposals = []
    for number in range(size.proposals):
        kind = types[number % _TYPES] ** random.uniform(0.6, 1.4)
        kind = np.maximum(kind / kind.sum(axis=1, keepdims=True), 1e-3)
        values = {
            name: {f"c{k}": round(float(p), 4) for k, p in enumerate(row)}
            for name, row in zip(names, kind, strict=True)
        }
        count = max(1, round(float(share[number % _TYPES]) * 10_000))
        proposals.append({"reason": f"kind {number}", "count": count, "values": values})
    return [
        proposals[start : start + _PROPOSALS_IN_A_REPLY]
        for start in range(0, len(proposals), _PROPOSALS_IN_A_REPLY)
    ]
