"""Real records with members: two files, linked by a key, read as codes of the job's variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.errors import JobError, MicrodataError
from llmsynthor.results.evaluation.linked import Linked, linked
from llmsynthor.results.evaluation.real import Microdata, read_microdata
from llmsynthor.targets.encode import MISSING, suggest
from llmsynthor.text import clean, count_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.levels import Members


@dataclass(frozen=True, eq=False)
class LinkedFiles:
    """Two files of real records and members, as they were read.

    Attributes:
        records: The file of the records.
        members: The file of the members.
        linked: Both, linked.
        key: Column that links them.
        without: Records that have no member in the file.
        wrong_sizes: Records that say another number of members than they have in the file.
    """

    records: Microdata
    members: Microdata
    linked: Linked
    key: str
    without: int
    wrong_sizes: int


def check_files(
    run: RunDirectory, members: Members | None, records: Path, people: Path | None, key: str | None
) -> None:
    """Refuse files that do not go with the run: with members it needs two, without only one.

    Raises:
        JobError: With what to give.
    """
    if members is None:
        given = [n for n, value in (("--members", people), ("--key", key)) if value is not None]
        if given:
            raise JobError(
                f"`{given[0]}` is for runs whose records have members; those of {run.path} have none"
            )
    elif people is None:
        raise JobError(
            f"{run.path}: its {members.of}s have {members.name}s, and {records} is one file",
            hint=f"give the real {members.of}s and the real {members.name}s as two files that a "
            f"column links: `llmsynthor evaluate {run.path} {members.of.upper()}S.csv --members "
            f"{members.name.upper()}S.csv --key {members.key}`",
        )


def read_linked_files(
    paths: tuple[Path, Path],
    members: Members,
    domain: Domain,
    mapped: Sequence[str] = (),
    weight: str | None = None,
    key: str | None = None,
) -> LinkedFiles:
    """Read real records and their members.

    Args:
        paths: The file of the records and that of the members.
        members: What the members are.
        domain: Of both levels.
        mapped: `COLUMN=variable` for each column, of either file, that is not named as its variable.
        weight: Column of the records' file with what each record counts, its members too.
        key: Column of both files that names a record; None is the one that the run's data have.

    Raises:
        MicrodataError: With every problem of a file, or of the link between them.
    """
    _check_mapped(mapped, domain)
    own = [text for text in mapped if text.rpartition("=")[2].strip() in members.own.positions]
    others = [text for text in mapped if text not in own]
    column = members.key if key is None else key
    records = read_microdata(paths[0], members.record, others, weight, key=column)
    people = read_microdata(paths[1], members.own, own, key=column)
    owner = _owners(paths, records, people, members, column)
    both = linked(records.records, people.records, owner, domain)
    held = np.bincount(owner, minlength=records.records.rows)
    wrong = 0
    codes = records.records.codes.get(members.size)
    if codes is not None:
        known = codes != MISSING
        wrong = int((members.number[codes[known]] != held[known]).sum())
    return LinkedFiles(records, people, both, column, int((held == 0).sum()), wrong)


def _check_mapped(mapped: Sequence[str], domain: Domain) -> None:
    """Refuse a variable of neither level; what else is wrong is said when the file is read."""
    for text in mapped:
        name = text.rpartition("=")[2].strip()
        if name and "=" in text and name not in domain.positions:
            raise MicrodataError(
                f"--columns `{text}`: the job has no variable `{name}`{suggest(name, domain.names)}"
            )


def _owners(
    paths: tuple[Path, Path],
    records: Microdata,
    people: Microdata,
    members: Members,
    column: str,
) -> np.ndarray:
    """Return the row of each member's record."""
    keys, of_people = records.keys, people.keys
    if keys is None or of_people is None:  # both were read with their key
        raise ValueError("keys are missing")
    if keys.n_unique() < len(keys):
        twice = keys.filter(keys.is_duplicated())
        raise MicrodataError(
            f"{paths[0]}: column `{clean(column)}`: {count_of(len(twice), 'row')} share their key with "
            f"another (first `{clean(str(twice[0]), 40)}`); there must be one row for each {members.of}",
            hint=f"`--key COLUMN` names the column that tells {members.of}s apart, in both files",
        )
    rows = pl.DataFrame({"key": keys, "row": np.arange(len(keys))})
    found = pl.DataFrame({"key": of_people}).join(rows, "key", how="left", maintain_order="left")
    orphans = found.filter(pl.col("row").is_null())
    if orphans.height:
        raise MicrodataError(
            f"{paths[1]}: column `{clean(column)}`: {count_of(orphans.height, 'row')} have a key that "
            f"no row of {paths[0]} has (first `{clean(str(orphans['key'][0]), 40)}`)",
            hint=f"give the {members.of}s of all {members.name}s, or take these rows out",
        )
    return found["row"].to_numpy().astype(np.int64)
