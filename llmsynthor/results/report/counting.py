"""Counting what the parquet files of a run hold; every figure of the records starts here."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from llmsynthor.candidates.rules import violations
from llmsynthor.candidates.seed_sample import SEED_RECORD
from llmsynthor.errors import RunDirectoryError
from llmsynthor.results.report.statistics import HeldStatistics
from llmsynthor.store.batches import FilesOfKeys, Linkage, read_wide
from llmsynthor.store.chunks import read_plan
from llmsynthor.store.materialize import encode_frame

if TYPE_CHECKING:
    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.domain import Domain, Members

LARGEST_PAIR = 4_000_000
"""Cells; two variables with more combinations than that are not counted together."""


class Counted:
    """What the parquet files hold.

    Attributes:
        records: How many records there are.
        background: How many of them come from no proposal and no record of a seed sample.
        copied: How many of them are copies of records of a seed sample.
        tables: Records in each cell of each table, `(cells,)`.
        pairs: Records in each combination of two variables, by their columns in the domain; members
            where one of the two is a member's.
        violations: Records that break each rule.
        statistics: Means, sums, quantiles and rates.
        linkage: What is wrong between records and their members.
        members: How many members there are.
        distinct: How many records differ from one another in some variable.
        most_alike: Size of the largest group of records that are alike in all variables.
        repeated: Records that have a twin.
    """

    def __init__(self, sampler: Sampler) -> None:
        sizes = sampler.tables.domain.sizes
        self.records = 0
        self.background = 0
        self.copied = 0
        self.tables = [np.zeros(table.cells) for table in sampler.tables.tables]
        self.pairs = {
            (a, b): np.zeros((sizes[a], sizes[b]))
            for a, b in combinations(range(len(sizes)), 2)
            if sizes[a] * sizes[b] <= LARGEST_PAIR
        }
        self.statistics = HeldStatistics(sampler.tables)
        self.linkage = Linkage()
        self.members = 0
        self.violations = {rule.name: 0 for rule in sampler.rules}
        self.distinct = self.most_alike = self.repeated = 0

    def copies(self) -> dict[str, Any]:
        """Return the report's part on records that are alike in all variables."""
        return {
            "distinct": self.distinct,
            "distinct_share": self.distinct / self.records if self.records else None,
            "records_with_a_twin": self.repeated,
            "most_alike": self.most_alike,
        }


def count_records(run: RunDirectory, sampler: Sampler) -> Counted:
    """Return the counts of a run's records.

    Raises:
        RunDirectoryError: A file is missing or damaged.
    """
    counted = Counted(sampler)
    domain = sampler.domain
    alike: pl.DataFrame | None = None
    keys = FilesOfKeys()
    plan = read_plan(run) if sampler.tables.zones is not None else None
    # records of two chunks differ in their zone: each chunk's are compared by themselves
    first = {chunk.first_file for chunk in plan.chunks if chunk.files} if plan else set()
    files = [int(path.stem) for path in run.batch_files()]
    for index in files if plan else range(len(files)):
        if index in first:
            _settle(counted, alike)
            alike = None
        batch = read_wide(run, sampler, index)
        if batch is None:
            raise RunDirectoryError(
                f"{run.batch_path(index)}: is missing, though later batches exist; where a run was "
                "stopped amid writing, that is to be expected",
                hint="`llmsynthor run JOB --resume` finishes the run and writes its report",
            )
        records, provenance, linkage = batch
        codes = encode_frame(records, sampler)
        counted.linkage.add(linkage)
        if sampler.members is not None:
            keys.add(index, run.read_keys(index))
            counted.members += int(sampler.members.sizes(codes).sum())
        counted.records += records.height
        copied = provenance[SEED_RECORD].count() if SEED_RECORD in provenance.columns else 0
        counted.copied += copied
        counted.background += provenance["proposal"].null_count() - copied
        for counts, table in zip(counted.tables, sampler.tables.tables, strict=True):
            counts += table.tally(codes, domain)
        counted.statistics.add(records, codes)
        _count_pairs(counted.pairs, codes, sampler.members)
        alike = _add_alike(alike, records, domain)
        for name, number in violations(sampler.rules, records).items():
            counted.violations[name] += number
    _settle(counted, alike)
    counted.linkage.repeated_keys += keys.repeated(run.read_keys)
    return counted


def _settle(counted: Counted, alike: pl.DataFrame | None) -> None:
    """Take in how often each of some records occurs, of which no other is like any."""
    if alike is not None and alike.height:
        groups = alike["records"]
        counted.distinct += alike.height
        counted.most_alike = max(counted.most_alike, int(groups.max()))  # type: ignore[arg-type]
        counted.repeated += int(groups.filter(groups > 1).sum())


def _count_pairs(
    pairs: dict[tuple[int, int], np.ndarray], codes: np.ndarray, members: Members | None
) -> None:
    record = codes.shape[1] if members is None else len(members.record.names)
    of_records = [np.ascontiguousarray(codes[:, i]) for i in range(record)]
    of_members = of_records
    if members is not None:
        each = members.each(codes)
        of_members = [np.ascontiguousarray(each[:, i]) for i in range(each.shape[1])]
    for (a, b), counts in pairs.items():
        rows, width = counts.shape
        columns = of_records if b < record else of_members
        both = columns[a] * np.int32(width) + columns[b]
        counts += np.bincount(both, minlength=rows * width).reshape(rows, width)


def _add_alike(held: pl.DataFrame | None, records: pl.DataFrame, domain: Domain) -> pl.DataFrame:
    """Return how often each record occurs so far; memory grows with the distinct ones only."""
    # by number: polars takes a name such as `^age$` for a pattern
    names = [f"v{i}" for i in range(len(domain.names))]
    columns = [
        records.get_column(name).alias(n) for name, n in zip(domain.names, names, strict=True)
    ]
    own = pl.DataFrame(columns).group_by(names).agg(pl.len().alias("records"))
    if held is None:
        return own
    return pl.concat([held, own]).group_by(names).agg(pl.col("records").sum())
