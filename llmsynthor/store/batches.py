"""Batches: writing one, reading one that is there already, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.values.aims import aims_of, held_by
from llmsynthor.seeds import generator
from llmsynthor.store.directory import DamagedBatchError
from llmsynthor.store.linkage import Linkage, joined, split
from llmsynthor.store.materialize import encode_frame, provenance_frame
from llmsynthor.targets.domain import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.store.materialize import Materializer


@dataclass(frozen=True)
class Held:
    """What one batch holds.

    Attributes:
        records: How many records.
        cells: Records by control table and cell.
        by_proposal: Records by proposal; those of the background and of a seed sample are left out.
        sums: What each aim holds; see `aims.held_by`.
    """

    records: int
    cells: list[np.ndarray]
    by_proposal: dict[int, int]
    sums: np.ndarray


def read_wide(
    run: RunDirectory, sampler: Sampler, index: int
) -> tuple[pl.DataFrame, pl.DataFrame, Linkage] | None:
    """Return a batch's records with their members beside them, its provenance, and what is wrong.

    Returns:
        None where there is no such batch.

    Raises:
        DamagedBatchError: A file of it cannot be read.
    """
    batch = run.read_batch(index)
    if batch is None:
        return None
    if sampler.members is None:
        return *batch, Linkage()
    wide, linkage = joined(batch[0], run.read_members(index), sampler.members)
    return wide, batch[1], linkage


class Batches:
    """Writes and reads the batches of one run; holds no state, so that threads may share it."""

    def __init__(
        self,
        run: RunDirectory,
        sampler: Sampler,
        warn: Callable[[str], None],
        located: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    ) -> None:
        """Prepare to write batches; `located` adds what a record's zone says to those written."""
        self._located = located
        self._run = run
        self._sampler = sampler
        self._warn = warn

    def make(
        self, materializer: Materializer, rows: np.ndarray, iteration: int, index: int, first: int
    ) -> Held:
        """Make the records of the candidates `rows` and write them as batch `index`.

        Args:
            materializer: Makes them.
            rows: Candidate of each record.
            iteration: That the batch belongs to; 0 for the bulk.
            index: Number of the batch.
            first: Number of its first record in the run, which is the key of that record.
        """
        random = generator(self._sampler.seed, "records", index)
        frame, source = materializer.records(rows, random)
        return self.write(index, iteration, frame, materializer.codes(rows), source, first)

    def write(
        self,
        index: int,
        iteration: int,
        frame: pl.DataFrame,
        codes: np.ndarray,
        source: np.ndarray,
        first: int = 0,
    ) -> Held:
        """Write records with their codes (in any order) and the proposal that each came from."""
        located = self._located or (lambda records: records)
        provenance = provenance_frame(iteration, source, self._sampler.sample)
        members = self._sampler.members
        if members is None:
            self._run.write_batch(index, located(frame), provenance)
        else:
            records, own = split(frame, members, first)
            self._run.write_batch(index, located(records), provenance, own)
        return self._held(frame, codes, source)

    def read(self, index: int, records: int, iteration: int) -> Held | None:
        """Return what the batch of an iteration holds if it is already there, or None."""
        try:
            found = read_wide(self._run, self._sampler, index)
        except DamagedBatchError as error:
            self._warn(f"{error}; it is made again from the recorded replies")
            return None
        if found is None or found[0].height != records or found[1]["iteration"][0] != iteration:
            return None
        if not found[2].is_whole:
            path = self._run.members_path(index)
            self._warn(f"{path}: does not fit its records; it is made again")
            return None
        source = found[1]["proposal"].fill_null(BACKGROUND).to_numpy()
        return self._held(found[0], encode_frame(found[0], self._sampler), source)

    def _held(self, frame: pl.DataFrame, codes: np.ndarray, source: np.ndarray) -> Held:
        tables = self._sampler.tables
        sums = np.zeros((0, 2))
        if aims_of(tables):  # the codes may be in another order than the frame
            sums = held_by(frame, encode_frame(frame, self._sampler), tables)
        ids, records = np.unique(source, return_counts=True)
        made = {int(i): int(n) for i, n in zip(ids, records, strict=True) if i > BACKGROUND}
        held = [table.tally(codes, tables.wide) for table in tables.control]
        return Held(len(codes), held, made, sums)
