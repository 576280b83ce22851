"""The records of a run as exports read them: batch by batch, in columns whose names cannot clash."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl

from llmsynthor.errors import RunDirectoryError
from llmsynthor.store.batches import members_of
from llmsynthor.store.directory import DamagedBatchError
from llmsynthor.store.materialize import result_of
from llmsynthor.store.targets_used import used_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.domain import Members, Variable

NUMBER = "number"
"""Column with each record's (or member's) number, from 0."""
KEY = "key"
"""Column with the number of the record that a member is of, from 0; a record's own is the same."""
ORDINAL = "ordinal"
"""Column with a member's number within its record, from 1."""
ITERATION = "iteration"
PROPOSAL = "proposal"
_T = TypeVar("_T")


def column_of(position: int) -> str:
    """Return the column in which a batch has the domain's variable at `position`."""
    return f"v{position}"


@dataclass(frozen=True)
class Records:
    """The records of one run, or their members.

    Attributes:
        run: Their directory.
        name: Of the job.
        variables: In the order of the data's columns; members have those of their record first.
        sizes: Records of each batch.
        asked: How many records the run was to make.
        provenance: Whether batches have the columns `iteration` and `proposal` too.
        members: What the records' members are, or None.
        owners: The records whose members these are; None where these are records.
    """

    run: RunDirectory
    name: str
    variables: tuple[Variable, ...]
    sizes: tuple[int, ...]
    asked: int
    provenance: bool
    members: Members | None = None
    owners: Records | None = None

    @property
    def made(self) -> int:
        """Return how many records there are."""
        return sum(self.sizes)

    def members_made(self) -> int | None:
        """Return how many members the records have; None where records have none."""
        if self.members is None:
            return None
        paths = [self.run.members_path(index) for index in range(len(self.sizes))]
        return int(pl.scan_parquet(paths, glob=False).select(pl.len()).collect().item())

    def of_members(self, members: Members) -> Records:
        """Return the members of the records, each with its record's variables and provenance."""
        variables = (*self.variables, *members.own.variables)
        return replace(self, variables=variables, owners=self)

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the rows of each batch, in order.

        Returns:
            Columns `v0`, `v1` ..., `number`, and provenance; where there are members also `key`,
            and in the members' own rows `ordinal`.

        Raises:
            DamagedBatchError: A file of it cannot be read, or members do not fit their records.
        """
        if self.owners is not None and self.members is not None:
            yield from self._member_batches(self.owners, self.members)
            return
        names = {v.name: column_of(i) for i, v in enumerate(self.variables)}
        key = [] if self.members is None else [self.members.key]
        start = 0
        for index, size in enumerate(self.sizes):
            path = self.run.batch_path(index)
            frame = _read(path, [*key, *names], size)
            numbers = pl.int_range(start, start + size, eager=True).alias(NUMBER)
            if key and not frame.get_column(key[0]).equals(numbers):
                raise DamagedBatchError(path, f"{key[0]} does not number the records from {start}")
            frame = frame.rename(names | dict.fromkeys(key, KEY))
            parts = [frame, numbers.to_frame()]
            if self.provenance:
                source = _read(self.run.provenance_path(index), [ITERATION, PROPOSAL], size)
                parts.append(source)
            yield pl.concat(parts, how="horizontal")
            start += size

    def _member_batches(self, owners: Records, members: Members) -> Iterator[pl.DataFrame]:
        first, start = len(owners.variables), 0
        names = {v.name: column_of(first + i) for i, v in enumerate(members.own.variables)}
        size = column_of(members.record.positions[members.size])
        for index, records in enumerate(owners.batches()):
            path = self.run.members_path(index)
            own = _read(path, [members.key, members.ordinal, *names])
            each = members_of(records.get_column(size))
            rows = np.repeat(np.arange(records.height), each)
            ordinal = np.arange(len(rows)) - np.repeat(np.cumsum(each) - each, each) + 1
            found = [own.get_column(name).to_numpy() for name in (members.key, members.ordinal)]
            if not (
                np.array_equal(found[0], records.get_column(KEY).to_numpy()[rows])
                and np.array_equal(found[1], ordinal)
            ):
                raise DamagedBatchError(
                    path,
                    f"its {own.height:,} members are not those that {self.run.batch_path(index)} "
                    f"says, {len(rows):,} by `{members.size}`",
                )
            numbers = pl.int_range(start, start + own.height, eager=True).alias(NUMBER)
            own = own.drop(members.key).rename({members.ordinal: ORDINAL, **names})
            beside = records.drop(NUMBER)[rows]
            yield pl.concat([beside, own, numbers.to_frame()], how="horizontal")
            start += own.height


def open_records(run: RunDirectory, *, partial: bool, provenance: bool) -> Records:
    """Return the records of a run, after checking that all of them are there.

    Raises:
        RunDirectoryError: There is no run, or not all of its records.
    """
    manifest = run.manifest()
    job, tables = used_tables(run)
    numbers = [int(path.stem) for path in run.batch_files()]
    gap = next((i for i, number in enumerate(numbers) if i != number), None)
    if gap is not None:
        raise RunDirectoryError(
            f"{run.batch_path(gap)}: is missing, though later batches exist",
            hint="`llmsynthor run JOB --out DIR --resume` (or `--replay`) makes it again",
        )
    sizes = tuple(run.batch_rows(number) for number in numbers)
    report = run.report() if manifest.is_complete else None
    asked = job.records if report is None else int(report["records"]["made"])
    made = sum(sizes)
    if not made or (made != asked and not partial):
        raise RunDirectoryError(
            f"{run.path}: holds {made:,} of {asked:,} records",
            hint="`llmsynthor run JOB --out DIR --resume` makes the rest"
            + ("; `--partial` exports what is there" if made else ""),
        )
    members = tables.members
    gone = [i for i in numbers if members is not None and not run.members_path(i).exists()]
    if gone:
        raise RunDirectoryError(
            f"{run.members_path(gone[0])}: is missing, though its records are there",
            hint="`llmsynthor run JOB --out DIR --resume` (or `--replay`) makes it again",
        )
    missing = [i for i in numbers if provenance and not run.provenance_path(i).exists()]
    if missing:
        raise RunDirectoryError(
            f"{run.provenance_path(missing[0])}: is missing, and nothing else says where the "
            "records came from",
            hint="leave `--provenance` out, or `llmsynthor run JOB --out DIR --replay` makes it again",
        )
    domain = tables.domain if members is None else members.record
    variables = domain.variables
    variables += tables.zones.level_variables() if tables.zones is not None else ()
    return Records(run, job.name, variables, sizes, asked, provenance, members)


def _read(path: Path, columns: list[str], size: int | None = None) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedBatchError(path, str(error).splitlines()[0][:120]) from None
    if size is not None and frame.height != size:
        raise DamagedBatchError(path, f"{frame.height:,} rows in place of {size:,}")
    if frame.columns != columns:
        raise DamagedBatchError(path, f"the columns {frame.columns} in place of {columns}")
    return frame


def pieces_made_aside(pieces: Iterator[_T]) -> Iterator[_T]:
    """Yield the pieces, each made on another thread while this one can be stopped.

    Python answers signals on the main thread only. Where polars has called back into Python there,
    it drops what the handler raises, and the work would go on as if nobody had asked it to stop.
    """
    with ThreadPoolExecutor(1) as pool:
        while True:
            found = result_of(pool.submit(lambda: next(pieces, None)))
            if found is None:
                return
            yield found


def made_aside(make: Callable[[], _T], stop: Callable[[], None]) -> _T:
    """Return what `make` returns, made on another thread; `stop` is called when this one is."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(make)
        try:
            return result_of(future)
        except BaseException:
            stop()
            raise
