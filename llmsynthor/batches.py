"""Batches: writing one, reading one that is there already, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.domain import BACKGROUND
from llmsynthor.materialize import encode_frame, provenance_frame
from llmsynthor.rundir import DamagedBatchError
from llmsynthor.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from llmsynthor.materialize import Materializer
    from llmsynthor.rundir import RunDirectory
    from llmsynthor.sampling import Sampler


@dataclass(frozen=True)
class Held:
    """What one batch holds.

    Attributes:
        records: How many records.
        cells: Records by control table and cell.
        by_proposal: Records by proposal; those of the background are left out.
    """

    records: int
    cells: list[np.ndarray]
    by_proposal: dict[int, int]


class Batches:
    """Writes and reads the batches of one run; holds no state, so that threads may share it."""

    def __init__(self, run: RunDirectory, sampler: Sampler, warn: Callable[[str], None]) -> None:
        self._run = run
        self._sampler = sampler
        self._warn = warn

    def make(
        self, materializer: Materializer, rows: np.ndarray, iteration: int, index: int
    ) -> Held:
        """Make the records of the candidates `rows` and write them as batch `index`."""
        random = generator(self._sampler.seed, "records", index)
        frame, source = materializer.records(rows, random)
        return self.write(index, iteration, frame, materializer.codes(rows), source)

    def write(
        self,
        index: int,
        iteration: int,
        frame: pl.DataFrame,
        codes: np.ndarray,
        source: np.ndarray,
    ) -> Held:
        """Write records with their codes (in any order) and the proposal that each came from."""
        self._run.write_batch(index, frame, provenance_frame(iteration, source))
        return self._held(codes, source)

    def read(self, index: int, records: int, iteration: int) -> Held | None:
        """Return what the batch of an iteration holds if it is already there, or None."""
        try:
            found = self._run.read_batch(index)
        except DamagedBatchError as error:
            self._warn(f"{error}; it is made again from the recorded replies")
            return None
        if found is None or found[0].height != records or found[1]["iteration"][0] != iteration:
            return None
        source = found[1]["proposal"].fill_null(BACKGROUND).to_numpy()
        return self._held(encode_frame(found[0], self._sampler), source)

    def _held(self, codes: np.ndarray, source: np.ndarray) -> Held:
        tables = self._sampler.tables
        ids, records = np.unique(source, return_counts=True)
        made = {int(i): int(n) for i, n in zip(ids, records, strict=True) if i != BACKGROUND}
        return Held(len(codes), [t.tally(codes, tables.domain) for t in tables.control], made)
