"""What is asked of an export, what came of it, and what those of records begin with."""

from __future__ import annotations

import gzip
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from llmsynthor.results.exports.files import ExportError, check_free, new_files
from llmsynthor.results.exports.layout import read_map
from llmsynthor.results.exports.records import open_records

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from llmsynthor.results.exports.layout import Filled, Mapped
    from llmsynthor.results.exports.population import RecordKind
    from llmsynthor.results.exports.records import Records
    from llmsynthor.store.directory import RunDirectory

    Table = tuple[Records, Sequence[Filled]]
    """The rows of a file, and its columns."""
    Writer = Callable[[Records, Sequence[Filled], BinaryIO], None]
    """Writes such a table into a file."""


@dataclass(frozen=True)
class ExportOptions:
    """What is asked of an export.

    Attributes:
        format: Of the files, a name in `formats.EXPORTS`.
        out: Folder or file.
        map_file: YAML file with columns, or None.
        maps: `VARIABLE=COLUMN` texts.
        records: What one record is, for layouts of households and persons.
        alone: Whether every person gets a household of one.
        provenance: Whether iteration and proposal are written too.
        zipped: Whether `--gzip` was given.
        overwrite: Whether files that are there are replaced.
        partial: Whether records of a run that is not finished will do.
    """

    format: str
    out: Path
    map_file: Path | None = None
    maps: tuple[str, ...] = ()
    records: RecordKind | None = None
    alone: bool = False
    provenance: bool = False
    zipped: bool = False
    overwrite: bool = False
    partial: bool = False

    def folder(self, why: str) -> Path:
        """Return `--out` as the folder that it must be.

        Raises:
            ExportError: It is a file, or looks like one; with `why` it must not.
        """
        if self.out.is_dir() or (not self.out.exists() and not self.out.suffix):
            return self.out
        raise ExportError(f"--out {self.out}: must be a folder; {why}")

    def file(self, standard: str, *others: str) -> Path:
        """Return `--out` as the file that it must be, or the one in it if it is a folder.

        Args:
            standard: The file's name in a folder.
            others: What a file's name may end with, beside the standard's ending.

        Raises:
            ExportError: Its name ends otherwise, or not in `.gz` in spite of `--gzip`.
        """
        endings = sorted({standard[standard.index(".") :], *others})
        path = self.out
        if path.is_dir() or not path.suffix:
            path /= standard + (".gz" if self.zipped else "")
        elif not path.name.endswith(tuple(endings)):
            raise ExportError(
                f"--out {path}: is no folder, and a file of this format ends with "
                f"{' or '.join(f'`{ending}`' for ending in endings)}"
            )
        if self.zipped and path.suffix != ".gz":
            raise ExportError(f"`--gzip` writes files that end with `.gz`; `--out` names {path}")
        return path


@dataclass(frozen=True)
class Exported:
    """What came of an export.

    Attributes:
        files: What was written.
        records: How many records it holds.
        notes: What the user should know.
        members: How many members the records have, where they have any.
    """

    files: list[Path]
    records: int
    notes: list[str]
    members: int | None = None


@dataclass(frozen=True)
class Opened:
    """A run whose records are there, as an export reads it.

    Attributes:
        records: Of the run.
        options: What is asked.
        mapped: Column -> what fills it, as `--map` and `--map-file` say.
        notes: What the user should know.
    """

    records: Records
    options: ExportOptions
    mapped: dict[str, Mapped]
    notes: list[str]

    def written(self, tables: Mapping[Path, Table], write: Writer) -> Exported:
        """Write a file for each table, `.gz` compressed; all get their names together.

        Raises:
            ExportError: A file may not be written there.
            DiskError: The disk refused a write; nothing was written.
        """
        check_free(list(tables), self.records.run.path, overwrite=self.options.overwrite)
        with new_files(list(tables)) as files:
            for (path, (records, columns)), file in zip(tables.items(), files, strict=True):
                with _gzipped(file) if path.suffix == ".gz" else nullcontext(file) as place:
                    write(records, columns, place)
        made, members = self.records.made, self.records.members_made()
        return Exported(list(tables), made, self.notes, members)


def opened(run: RunDirectory, options: ExportOptions) -> Opened:
    """Return a run's records and what a user maps them to.

    Raises:
        ExportError: An option is wrong.
        RunDirectoryError: The run has no records, or not all of them.
    """
    mapped = read_map(options.map_file, options.maps)
    records = open_records(run, partial=options.partial, provenance=options.provenance)
    notes = []
    if records.made < records.asked:
        notes.append(f"the run is not finished: {records.made:,} of {records.asked:,} records")
    return Opened(records, options, mapped, notes)


def _gzipped(file: BinaryIO) -> BinaryIO:
    """Return a file that compresses into another; equal content gives equal bytes."""
    # no name and no time inside
    zipped = gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0)
    return cast("BinaryIO", zipped)
