"""One table with every variable, or one of records and one of their members, as CSV or parquet."""

from __future__ import annotations

import io
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
    from collections.abc import Iterator, Sequence

    from llmsynthor.results.exports.asked import Exported, ExportOptions, Writer
    from llmsynthor.results.exports.layout import Filled
    from llmsynthor.results.exports.records import Records
    from llmsynthor.store.directory import RunDirectory

_ROWS = 50_000
"""Records that are made into text at once."""


def csv_files(run: RunDirectory, options: ExportOptions) -> Exported:
    """Write a run as CSV: one table, or one of the records and one of their members."""
    return _table_files(run, options, write_csv, ".csv", ".csv.gz")


def parquet_files(run: RunDirectory, options: ExportOptions) -> Exported:
    """Write a run as parquet: one table, or one of the records and one of their members."""
    return _table_files(run, options, write_parquet, ".parquet")


def _table_files(
    run: RunDirectory, options: ExportOptions, write: Writer, ending: str, *others: str
) -> Exported:
    """Write the table of the records, or theirs and their members', which a key links."""
    asked = opened(run, options)
    records, members = asked.records, asked.records.members
    if members is None:
        path = options.file(f"records{ending}", *others)
        filling = Filling(records.variables, asked.mapped)
        columns = filling.completed((), provenance_columns(records))
        filling.checked("the table")
        return asked.written({path: (records, columns)}, write)
    names = [f"{members.of}s", f"{members.name}s"]
    if names[0].casefold() == names[1].casefold():
        names[1] = f"{members.of}_members"
    files = [f"{name}{ending}{'.gz' if options.zipped else ''}" for name in names]
    folder = options.folder(f"a run with members has two files, `{files[0]}` and `{files[1]}`")
    first, second = of_both_levels(records, members, asked.mapped)
    columns = first.completed(key_columns(members, own=False), provenance_columns(records))
    own = second.completed(key_columns(members, own=True))
    first.checked("the table", second)
    tables = {
        folder / files[0]: (records, columns),
        folder / files[1]: (records.of_members(members), own),
    }
    return asked.written(tables, write)


def write_csv(records: Records, columns: Sequence[Filled], file: BinaryIO) -> None:
    """Write a table as CSV (UTF-8, comma, a heading), some rows at a time."""
    file.writelines(pieces_made_aside(_csv_pieces(records, columns)))


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


def write_parquet(records: Records, columns: Sequence[Filled], file: BinaryIO) -> None:
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
