"""Batches: written, read when already there, what they hold; how records and members are linked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.fitting.values.aims import aims_of, held_by
from llmsynthor.seeds import generator
from llmsynthor.store.directory import DamagedBatchError
from llmsynthor.store.materialize import encode_frame, provenance_frame
from llmsynthor.targets.domain import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.store.materialize import Materializer
    from llmsynthor.targets.domain import Members


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


@dataclass(frozen=True)
class Batches:
    """Writes and reads the batches of one run; holds no state, so that threads may share it.

    `located` adds what a record's zone says to those written.
    """

    run: RunDirectory
    sampler: Sampler
    warn: Callable[[str], None]
    located: Callable[[pl.DataFrame], pl.DataFrame] = lambda records: records

    def make(
        self, materializer: Materializer, rows: np.ndarray, iteration: int, index: int, first: int
    ) -> Held:
        """Make the records of the candidates `rows` and write them as batch `index`.

        `first` is the number of its first record in the run, which is the key of that record.
        """
        random = generator(self.sampler.seed, "records", index)
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
        provenance = provenance_frame(iteration, source, self.sampler.sample)
        members = self.sampler.members
        if members is None:
            self.run.write_batch(index, self.located(frame), provenance)
        else:
            records, own = split(frame, members, first)
            self.run.write_batch(index, self.located(records), provenance, own)
        return self._held(frame, codes, source)

    def read(self, index: int, records: int, iteration: int) -> Held | None:
        """Return what the batch of an iteration holds if it is already there, or None."""
        try:
            found = read_wide(self.run, self.sampler, index)
        except DamagedBatchError as error:
            self.warn(f"{error}; it is made again from the recorded replies")
            return None
        if found is None or found[0].height != records or found[1]["iteration"][0] != iteration:
            return None
        if not found[2].is_whole:
            path = self.run.members_path(index)
            self.warn(f"{path}: does not fit its records; it is made again")
            return None
        source = found[1]["proposal"].fill_null(BACKGROUND).to_numpy()
        return self._held(found[0], encode_frame(found[0], self.sampler), source)

    def _held(self, frame: pl.DataFrame, codes: np.ndarray, source: np.ndarray) -> Held:
        tables = self.sampler.tables
        sums = np.zeros((0, 2))
        if aims_of(tables):  # the codes may be in another order than the frame
            sums = held_by(frame, encode_frame(frame, self.sampler), tables)
        ids, records = np.unique(source, return_counts=True)
        made = {int(i): int(n) for i, n in zip(ids, records, strict=True) if i > BACKGROUND}
        held = [table.tally(codes, tables.wide) for table in tables.control]
        return Held(len(codes), held, made, sums)


@dataclass
class Linkage:
    """What is wrong between records and their members; all 0 where the two fit.

    Attributes:
        repeated_keys: Records whose key another record has too.
        orphans: Members of a record that is not there.
        wrong_sizes: Records that say another number of members than they have.
        wrong_numbers: Members whose number within the record is missing, repeated or out of range.
    """

    repeated_keys: int = 0
    orphans: int = 0
    wrong_sizes: int = 0
    wrong_numbers: int = 0

    def add(self, other: Linkage) -> None:
        """Add what is wrong elsewhere."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))

    @property
    def is_whole(self) -> bool:
        """Return whether nothing is wrong."""
        return not any(asdict(self).values())


class FilesOfKeys:
    """Finds keys that records of several files have; holds two numbers for each file."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int, int]] = []

    def add(self, index: int, keys: pl.Series) -> None:
        """Take up the keys of the records in one file."""
        if len(keys):
            self._spans.append((int(keys.min()), int(keys.max()), index))  # type: ignore[arg-type]

    def repeated(self, keys_of: Callable[[int], pl.Series]) -> int:
        """Return how many records have a key that a record of another file has, too.

        Only files whose keys overlap are read again.
        """
        found = 0
        for files in self._overlapping():
            keys = [keys_of(index) for index in files]
            alone = sum(int(own.is_duplicated().sum()) for own in keys)
            found += int(pl.concat(keys).is_duplicated().sum()) - alone
        return found

    def _overlapping(self) -> list[list[int]]:
        """Return groups of files whose smallest and largest keys overlap."""
        groups: list[list[int]] = []
        end = -1
        for low, high, index in sorted(self._spans):
            if not groups or low > end:
                groups.append([])
            groups[-1].append(index)
            end = max(end, high)
        return [files for files in groups if len(files) > 1]


def split(wide: pl.DataFrame, members: Members, first: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return records with a key, and their members, each with its record's key and its number.

    `first` is the key of the first record; the others follow by 1. Slots that are not in use are
    null in `wide`.
    """
    key = pl.Series(members.key, np.arange(first, first + wide.height))
    records = [wide.get_column(name) for name in members.record.names]
    sizes = members_of(records[members.record.positions[members.size]])
    slots = []
    for slot in range(members.most):
        columns = [
            wide.get_column(members.column(name, slot)).alias(name) for name in members.own.names
        ]
        number = pl.Series(members.ordinal, np.full(wide.height, slot + 1, dtype=np.int32))
        slots.append(pl.DataFrame([key, number, *columns]).filter(pl.Series(sizes > slot)))
    order = np.argsort(
        np.concatenate([slot.get_column(members.key) for slot in slots]), kind="stable"
    )
    return pl.DataFrame([key, *records]), pl.concat(slots)[order]


def members_of(size: pl.Series) -> np.ndarray:
    """Return the numbers of members that a column of sizes stands for, int64."""
    return size.cast(pl.String).cast(pl.Int64).to_numpy()


def joined(
    records: pl.DataFrame, own: pl.DataFrame, members: Members
) -> tuple[pl.DataFrame, Linkage]:
    """Return wide records from the two frames, and what is wrong between them.

    What does not fit is left out: orphans, and members beyond the slots.
    """
    keys = records.get_column(members.key)
    sizes = members_of(records.get_column(members.size))
    found = Linkage(repeated_keys=int(keys.is_duplicated().sum()))
    owner, number = own.get_column(members.key), own.get_column(members.ordinal)
    found.orphans = int((~owner.is_in(keys.implode())).sum())
    held = own.group_by(members.key).agg(pl.len().alias("held"))
    counts = records.select(members.key).join(held, members.key, how="left", maintain_order="left")
    found.wrong_sizes = int((counts["held"].fill_null(0).to_numpy() != sizes).sum())
    twice = own.select(pl.struct(members.key, members.ordinal).is_duplicated()).to_series()
    beyond = (number < 1) | (number > members.most)
    found.wrong_numbers = int((twice | beyond).sum())
    wide = records
    usable = own.filter(~twice & ~beyond)
    for slot in range(members.most):
        there = usable.filter(pl.col(members.ordinal) == slot + 1)
        columns = [
            there.get_column(members.key),
            *(
                there.get_column(name).alias(members.column(name, slot))
                for name in members.own.names
            ),
        ]
        wide = wide.join(pl.DataFrame(columns), members.key, how="left", maintain_order="left")
    # by position: polars takes a name such as `^age$` for a pattern
    return pl.DataFrame([wide.get_column(name) for name in members.wide.names]), found
