"""Records and their members, real (two files, linked by a key) or made: rows of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.errors import JobError, MicrodataError
from llmsynthor.results.evaluation.real import Microdata, read_microdata
from llmsynthor.results.evaluation.records import (
    Counted,
    Records,
    joined,
    level_of,
    narrow,
    whole_batches,
)
from llmsynthor.targets.domain import Domain
from llmsynthor.targets.encode import MISSING, suggest
from llmsynthor.text import clean, count_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.job.file_form import Form
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.domain import Members


@dataclass(frozen=True, eq=False)
class Clustered(Records):
    """Rows that come in clusters: members of one record, or pairs of them, are alike.

    Attributes:
        owner: Number of the record that each row is of, from 0, int64, shape `(rows,)`.
    """

    owner: np.ndarray = field(kw_only=True)

    def counts(self, scope: Sequence[str]) -> Counted:
        """Return the rows in each cell over `scope`; those with a missing value are left out.

        `effective` is by the design effect of the clusters, averaged over the cells (Kish 1965).
        """
        counted = super().counts(scope)
        mask = self.known(scope)
        rows = slice(None) if mask is None else mask
        index = np.zeros(counted.rows, dtype=np.int64)
        for name in scope:
            index = index * self.domain[name].size + self.codes[name][rows]
        weights = None if self.weights is None else self.weights[rows]
        effective = effective_clusters(index, self.owner[rows], counted.cells.ravel(), weights)
        return replace(counted, effective=effective)

    def only(self, names: Sequence[str]) -> Records:
        """Return the rows with some of the variables, as if each stood alone."""
        return Records(
            self.domain,
            self.rows,
            {name: codes for name, codes in self.codes.items() if name in names},
            {name: values for name, values in self.values.items() if name in names},
            self.weights,
        )


def effective_clusters(
    index: np.ndarray, owner: np.ndarray, cells: np.ndarray, weights: np.ndarray | None
) -> float:
    """Return how many independent rows would know as much about the cells' shares.

    It is sum p (1 - p) over the sum of the variances of the shares p, which are ratios of sums over
    clusters: var = sum over clusters of (w (n_c - p m))^2 / (sum of w m)^2 by linearization, with m
    rows in a cluster, n_c of them in the cell, each of weight w.

    Args:
        index: Cell of each row, shape `(rows,)`.
        owner: Cluster of each row; all rows of one have one weight.
        cells: Rows, or their weight, in each cell, shape `(cells,)`.
        weights: What each row counts; None is 1.
    """
    total = float(cells.sum())
    if total <= 0:
        return 0.0
    share = cells / total
    clusters = int(owner.max()) + 1
    weight = np.ones(clusters)
    if weights is not None:
        weight[owner] = weights
    size = np.bincount(owner, minlength=clusters)
    alike = np.unique(owner * np.int64(len(cells)) + index, return_counts=True)
    own = np.bincount(alike[0] // len(cells), alike[1].astype(float) ** 2, clusters)
    expected = np.bincount(owner, share[index], clusters)
    apart = own - 2 * size * expected + size.astype(float) ** 2 * float((share**2).sum())
    variance = float((weight**2 * apart).sum()) / total**2
    spread = float((share * (1 - share)).sum())
    return spread / variance if variance > 0 else float(len(index))


def other(name: str) -> str:
    """Return what a variable of the second member of a pair is called."""
    return f"{name} of another"


def clustered(records: Records, own: Records, owner: np.ndarray, domain: Domain) -> Clustered:
    """Return members, who get their record's values and weight.

    Args:
        records: The records.
        own: The members with their own variables.
        owner: Row of each member's record.
        domain: Of both levels.
    """
    codes = {name: codes[owner] for name, codes in records.codes.items()} | dict(own.codes)
    values = {name: values[owner] for name, values in records.values.items()} | dict(own.values)
    weights = None if records.weights is None else records.weights[owner]
    return Clustered(domain, own.rows, codes, values, weights, owner=owner)


def pairs_within(members: Clustered, names: Sequence[str]) -> Clustered:
    """Return all ordered pairs of different members of one record, over some of their variables.

    The second member's variables are named by `other`.
    """
    order = np.argsort(members.owner, kind="stable")
    owner = members.owner[order]
    first = []
    offset = 1
    while offset < len(owner):
        there = np.flatnonzero(owner[offset:] == owner[:-offset])
        if not len(there):
            break
        first.append(np.stack([order[there], order[there + offset]]))
        offset += 1
    some = np.concatenate(first, axis=1) if first else np.empty((2, 0), dtype=np.int64)
    one, two = np.concatenate([some, some[::-1]], axis=1)
    variables = [members.domain[name] for name in names]
    domain = Domain((*variables, *(replace(v, name=other(v.name)) for v in variables)))
    codes = {name: members.codes[name][one] for name in names}
    codes |= {other(name): members.codes[name][two] for name in names}
    weights = None if members.weights is None else members.weights[one]
    return Clustered(domain, len(one), codes, {}, weights, owner=members.owner[one])


def read_linked(run: RunDirectory, sampler: Sampler, members: Members) -> tuple[Records, Clustered]:
    """Return the records of a run and their members; may raise as `whole_batches`."""
    of_records, of_members, owners = [], [], []
    start = 0
    for frame, codes in whole_batches(run, sampler):
        present = members.present(codes)
        each = members.each(codes)[:, len(members.record.names) :]
        values = {
            v.name: np.concatenate(
                [
                    frame.get_column(members.column(v.name, slot)).to_numpy()[there]
                    for slot, there in enumerate(present)
                ]
            ).astype(float)
            for v in members.own.variables
            if v.is_numeric
        }
        of_records.append(level_of(frame, codes, members.record))
        of_members.append((narrow(each, members.own), values))
        owners += [start + np.flatnonzero(there) for there in present]
        start += frame.height
    records, own = joined(members.record, of_records), joined(members.own, of_members)
    return records, clustered(records, own, np.concatenate(owners), sampler.tables.domain)


@dataclass(frozen=True, eq=False)
class LinkedFiles:
    """Two files of real records and members, as they were read.

    Attributes:
        records: The file of the records.
        members: The file of the members.
        linked: The members, over the records' variables and their own.
        key: Column that links them.
        without: Records that have no member in the file.
        wrong_sizes: Records that say another number of members than they have in the file.
    """

    records: Microdata
    members: Microdata
    linked: Clustered
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
    form: Form | None = None,
) -> LinkedFiles:
    """Read real records and their members.

    Args:
        paths: The file of the records and that of the members.
        members: What the members are.
        domain: Of both levels.
        mapped: `COLUMN=variable` for each column, of either file, that is not named as its variable.
        weight: Column of the records' file with what each record counts, its members too.
        key: Column of both files that names a record; None is the one that the run's data have.
        form: How both files are written.

    Raises:
        MicrodataError: With every problem of a file, or of the link between them.
    """
    _check_mapped(mapped, domain)
    own = [text for text in mapped if text.rpartition("=")[2].strip() in members.own.positions]
    others = [text for text in mapped if text not in own]
    column = members.key if key is None else key
    records = read_microdata(paths[0], members.record, others, weight, column, form)
    people = read_microdata(paths[1], members.own, own, key=column, form=form)
    owner = _owners(paths, records, people, members, column)
    both = clustered(records.records, people.records, owner, domain)
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
