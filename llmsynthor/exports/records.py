"""The records of a run as exports read them: batch by batch, in columns whose names cannot clash."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from llmsynthor.errors import RunDirectoryError
from llmsynthor.report.used import used_tables
from llmsynthor.rundir import DamagedBatchError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmsynthor.domain import Variable
    from llmsynthor.rundir import RunDirectory

NUMBER = "number"
"""Column with each record's number, from 0."""
ITERATION = "iteration"
PROPOSAL = "proposal"


def column_of(position: int) -> str:
    """Return the column in which a batch has the domain's variable at `position`."""
    return f"v{position}"


@dataclass(frozen=True)
class Records:
    """The records of one run.

    Attributes:
        run: Their directory.
        name: Of the job.
        variables: In the order of the data's columns.
        sizes: Records of each batch.
        asked: How many records the run was to make.
        provenance: Whether batches have the columns `iteration` and `proposal` too.
    """

    run: RunDirectory
    name: str
    variables: tuple[Variable, ...]
    sizes: tuple[int, ...]
    asked: int
    provenance: bool

    @property
    def made(self) -> int:
        """Return how many records there are."""
        return sum(self.sizes)

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the records of each batch, in order: `v0`, `v1` ..., `number` and provenance.

        Raises:
            DamagedBatchError: A file of it cannot be read.
        """
        names = {v.name: column_of(i) for i, v in enumerate(self.variables)}
        start = 0
        for index, size in enumerate(self.sizes):
            frame = _read(self.run.batch_path(index), size, list(names)).rename(names)
            numbers = pl.int_range(start, start + size, eager=True).alias(NUMBER)
            parts = [frame, numbers.to_frame()]
            if self.provenance:
                source = _read(self.run.provenance_path(index), size, [ITERATION, PROPOSAL])
                parts.append(source)
            yield pl.concat(parts, how="horizontal")
            start += size


def open_records(run: RunDirectory, *, partial: bool, provenance: bool) -> Records:
    """Return the records of a run, after checking that all of them are there.

    Args:
        run: The run's directory.
        partial: Whether records of a run that is not finished will do.
        provenance: Whether the columns `iteration` and `proposal` are wanted.

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
    report = run.read_json("report.json") if manifest["status"] == "complete" else None
    asked = job.records if report is None else int(report["records"]["made"])
    made = sum(sizes)
    if not made or (made != asked and not partial):
        raise RunDirectoryError(
            f"{run.path}: holds {made:,} of {asked:,} records",
            hint="`llmsynthor run JOB --out DIR --resume` makes the rest"
            + ("; `--partial` exports what is there" if made else ""),
        )
    missing = [i for i in numbers if provenance and not run.provenance_path(i).exists()]
    if missing:
        raise RunDirectoryError(
            f"{run.provenance_path(missing[0])}: is missing, and nothing else says where the "
            "records came from",
            hint="leave `--provenance` out, or `llmsynthor run JOB --out DIR --replay` makes it again",
        )
    return Records(run, job.name, tables.domain.variables, sizes, asked, provenance)


def _read(path: Path, size: int, columns: list[str]) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedBatchError(path, str(error).splitlines()[0][:120]) from None
    if frame.height != size:
        raise DamagedBatchError(path, f"{frame.height:,} rows in place of {size:,}")
    if frame.columns != columns:
        raise DamagedBatchError(path, f"the columns {frame.columns} in place of {columns}")
    return frame
