"""One table with every variable, or one of records and one of their members, as CSV or parquet."""

from __future__ import annotations

import gzip
import io
from contextlib import ExitStack
from threading import Event
from typing import TYPE_CHECKING, Any, BinaryIO

import polars as pl
from polars.io.plugins import register_io_source

from llmsynthor.errors import RunDirectoryError
from llmsynthor.results.exports.asked import opened
from llmsynthor.results.exports.filling import Filling, of_both_levels
from llmsynthor.results.exports.layout import key_columns, provenance_columns
from llmsynthor.results.exports.records import made_aside, pieces_made_aside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmsynthor.results.exports.asked import Exported, ExportOptions, Writer
    from llmsynthor.results.exports.layout import Filled, Mapped
    from llmsynthor.results.exports.records import Records
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.domain import Members

_ROWS = 50_000
"""Records that are made into text at once."""


def csv_files(run: RunDirectory, options: ExportOptions) -> Exported:
    """Write a run as CSV: one table, or one of the records and one of their members.

    Raises:
        ExportError: It cannot be made as asked for.
    """
    return _table_files(run, options, write_csv, ".csv", ".csv.gz")


def parquet_files(run: RunDirectory, options: ExportOptions) -> Exported:
    """Write a run as parquet: one table, or one of the records and one of their members.

    Raises:
        ExportError: It cannot be made as asked for.
    """
    return _table_files(run, options, write_parquet, ".parquet")


def _table_files(
    run: RunDirectory, options: ExportOptions, write: Writer, ending: str, *others: str
) -> Exported:
    """Write the table of the records, or theirs and their members', which a key links."""
    asked = opened(run, options)
    records, members = asked.records, asked.records.members
    if members is None:
        path = options.file(f"records{ending}", *others)
        return asked.written({path: (records, plain_columns(records, asked.mapped))}, write)
    names = [f"{members.of}s", f"{members.name}s"]
    if names[0].casefold() == names[1].casefold():
        names[1] = f"{members.of}_members"
    files = [f"{name}{ending}{'.gz' if options.zipped else ''}" for name in names]
    folder = options.folder(f"a run with members has two files, `{files[0]}` and `{files[1]}`")
    first, second = linked_columns(records, members, asked.mapped)
    own = records.of_members(members)
    return asked.written(
        {folder / files[0]: (records, first), folder / files[1]: (own, second)}, write
    )


def plain_columns(records: Records, mapped: Mapping[str, Mapped]) -> list[Filled]:
    """Return a column for every variable, under its own name or the one that it is mapped to.

    Raises:
        ExportError: Two columns would have one name, or the map is wrong.
    """
    filling = Filling(records.variables, mapped)
    columns = filling.completed((), provenance_columns(records))
    filling.checked("the table")
    return columns


def linked_columns(
    records: Records, members: Members, mapped: Mapping[str, Mapped]
) -> tuple[list[Filled], list[Filled]]:
    """Return the columns of two linked tables: the records' with provenance, and their members'.

    Raises:
        ExportError: Two columns of one table would have one name, or the map is wrong.
    """
    first, second = of_both_levels(records, members, mapped)
    tables = (
        first.completed(key_columns(members, own=False), provenance_columns(records)),
        second.completed(key_columns(members, own=True)),
    )
    first.checked("the table", second)
    return tables


def write_csv(records: Records, columns: Sequence[Filled], file: BinaryIO, zipped: bool) -> None:
    """Write a table as CSV (UTF-8, comma, a heading), some rows at a time.

    Args:
        records: Of the run.
        columns: Of the table.
        file: Where it goes.
        zipped: Whether it is compressed with gzip.
    """
    with ExitStack() as stack:
        place = stack.enter_context(gzipped(file)) if zipped else file
        for text in pieces_made_aside(_csv_pieces(records, columns)):
            place.write(text)


def _csv_pieces(records: Records, columns: Sequence[Filled]) -> Iterator[bytes]:
    """Yield the next rows of a table as text; the heading is before the first."""
    heading = True
    for batch in records.batches():
        for rows in batch.iter_slices(_ROWS):
            yield csv_text(rows.select(c.expression() for c in columns), include_header=heading)
            heading = False


def csv_text(frame: pl.DataFrame, **options: Any) -> bytes:  # noqa: ANN401 - of write_csv
    """Return a table as CSV."""
    text = io.BytesIO()
    frame.write_csv(text, **options)
    return text.getvalue()


def gzipped(file: BinaryIO) -> gzip.GzipFile:
    """Return a file that compresses into another; equal content gives equal bytes."""
    # no name and no time inside
    return gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0)


def write_parquet(
    records: Records, columns: Sequence[Filled], file: BinaryIO, _zipped: bool
) -> None:
    """Write one table as one parquet file, batch by batch.

    Raises:
        DamagedBatchError: A file of the run cannot be read.
        OSError: The disk refused a write.
    """
    expressions = [column.expression() for column in columns]
    stopped = Event()
    damaged: list[RunDirectoryError] = []

    def batches(*_wanted: object) -> Iterator[pl.DataFrame]:
        # what polars may want of a source (columns, rows) is all of it here
        try:
            for batch in records.batches():
                if stopped.is_set():
                    return
                yield batch.select(expressions)
        except RunDirectoryError as error:  # polars would wrap it
            damaged.append(error)
            raise

    schema = next(records.batches()).clear().select(expressions).schema
    source = register_io_source(batches, schema=schema)
    try:
        made_aside(lambda: source.sink_parquet(file), stopped.set)
    except pl.exceptions.PolarsError as error:
        if damaged:
            raise damaged[0] from None
        if "os error" in str(error):
            raise OSError(str(error)) from None
        raise
