"""`llmsynthor export`: a run's records in the format that the next program reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmsynthor.results.exports.activitysim import ACTIVITYSIM
from llmsynthor.results.exports.files import ExportError, check_free, new_files, single_file
from llmsynthor.results.exports.layout import read_map
from llmsynthor.results.exports.matsim import matsim_columns, write_matsim
from llmsynthor.results.exports.plain import linked_columns, plain_columns, write_csv, write_parquet
from llmsynthor.results.exports.population import (
    FILES,
    linked_tables,
    population_notes,
    population_tables,
)
from llmsynthor.results.exports.populationsim import POPULATIONSIM
from llmsynthor.results.exports.printed import write_printed
from llmsynthor.results.exports.records import open_records

if TYPE_CHECKING:
    from pathlib import Path

    from llmsynthor.results.exports.layout import Mapped
    from llmsynthor.results.exports.population import PopulationLayout, RecordKind
    from llmsynthor.results.exports.records import Records
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.levels import Members

Format = Literal["csv", "parquet", "activitysim", "populationsim", "matsim", "dictionary"]
_POPULATIONS = {"activitysim": ACTIVITYSIM, "populationsim": POPULATIONSIM}
_ENDINGS = {
    "csv": (".csv", ".csv.gz"),
    "parquet": (".parquet",),
    "matsim": (".xml", ".xml.gz"),
    "dictionary": (".csv", ".md"),
}
_STANDARD = {
    "csv": "records.csv",
    "parquet": "records.parquet",
    "matsim": "population.xml",
    "dictionary": "data_dictionary.md",
}
_ZIPPED = ("csv", "matsim")


@dataclass(frozen=True)
class ExportOptions:
    """What is asked of an export.

    Attributes:
        format: Of the files.
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

    format: Format
    out: Path
    map_file: Path | None = None
    maps: tuple[str, ...] = ()
    records: RecordKind | None = None
    alone: bool = False
    provenance: bool = False
    zipped: bool = False
    overwrite: bool = False
    partial: bool = False


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


def export(run: RunDirectory, options: ExportOptions) -> Exported:
    """Write a run's records for another program; nothing in the run changes.

    Raises:
        ExportError: It cannot be made as asked for; nothing was written.
        RunDirectoryError: The run has no records, or not all of them.
        DiskError: The disk refused a write; nothing was written.
    """
    _refuse_unused(options)
    if options.format == "dictionary":
        path = single_file(options.out, _STANDARD["dictionary"], _ENDINGS["dictionary"])
        check_free([path], run.path, overwrite=options.overwrite)
        return Exported([path], write_printed(run, path), [])
    mapped = read_map(options.map_file, options.maps)
    records = open_records(run, partial=options.partial, provenance=options.provenance)
    notes = []
    if records.made < records.asked:
        notes.append(f"the run is not finished: {records.made:,} of {records.asked:,} records")
    if records.members is not None:
        _refuse_kinds(records.members, options)
    if options.format in _POPULATIONS:
        layout = _POPULATIONS[options.format]
        files, more = _export_population(records, layout, mapped, options)
        notes += more
    elif records.members is not None and options.format != "matsim":
        files = _export_linked(records, records.members, mapped, options)
    else:
        files = [_export_single(records, mapped, options)]
    return Exported(files, records.made, notes, records.members_made())


def _refuse_kinds(members: Members, options: ExportOptions) -> None:
    """Refuse options that say what a record is, where the run says so itself."""
    for name, given in {
        "--records": options.records is not None,
        "--one-person-households": options.alone,
    }.items():
        if given:
            raise ExportError(
                f"`{name}` is for runs of one kind of record; this one has {members.of}s with "
                f"{members.name}s, and both files are written",
                hint=f"leave `{name}` out",
            )


def _folder(options: ExportOptions, why: str) -> Path:
    """Return `--out` as the folder that it must be."""
    out = options.out
    if out.is_dir() or (not out.exists() and not out.suffix):
        return out
    raise ExportError(f"--out {out}: must be a folder; {why}")


def _export_linked(
    records: Records, members: Members, mapped: dict[str, Mapped], options: ExportOptions
) -> list[Path]:
    """Write a table of the records and one of their members, which a key links."""
    names = [f"{members.of}s", f"{members.name}s"]
    if names[0].casefold() == names[1].casefold():
        names[1] = f"{members.of}_members"
    ending = f".{options.format}" + (".gz" if options.zipped else "")
    folder = _folder(
        options, f"a run with members has two files, `{names[0]}{ending}` and `{names[1]}{ending}`"
    )
    paths = [folder / f"{name}{ending}" for name in names]
    tables = linked_columns(records, members, mapped)
    check_free(paths, records.run.path, overwrite=options.overwrite)
    with new_files(paths) as files:
        for level, columns, file in zip(
            (records, records.of_members(members)), tables, files, strict=True
        ):
            if options.format == "csv":
                write_csv(level, [columns], [file], zipped=options.zipped)
            else:
                write_parquet(level, columns, file)
    return paths


def _export_population(
    records: Records, layout: PopulationLayout, mapped: dict[str, Mapped], options: ExportOptions
) -> tuple[list[Path], list[str]]:
    if records.members is not None:
        return _export_both(records, records.members, layout, mapped, options)
    kind = options.records
    if kind is None:
        raise ExportError(
            f"the {layout.title} layout has households and persons, and the run has records of one kind",
            hint="say what one record is: `--records persons` or `--records households`",
        )
    if options.alone and kind != "persons":
        raise ExportError("`--one-person-households` is for `--records persons`")
    if options.out.exists() and not options.out.is_dir():
        raise ExportError(
            f"--out {options.out}: must be a folder; this format has files of fixed names"
        )
    tables = population_tables(records, layout, kind, mapped, alone=options.alone)
    paths = [options.out / name for name in tables]
    check_free(paths, records.run.path, overwrite=options.overwrite)
    with new_files(paths) as files:
        write_csv(records, list(tables.values()), files)
    return paths, population_notes(layout, kind, mapped, alone=options.alone)


def _export_both(
    records: Records,
    members: Members,
    layout: PopulationLayout,
    mapped: dict[str, Mapped],
    options: ExportOptions,
) -> tuple[list[Path], list[str]]:
    folder = _folder(options, "this format has files of fixed names")
    paths = [folder / FILES["households"], folder / FILES["persons"]]
    tables = linked_tables(records, members, layout, mapped)
    check_free(paths, records.run.path, overwrite=options.overwrite)
    with new_files(paths) as files:
        write_csv(records, [tables[0]], [files[0]])
        write_csv(records.of_members(members), [tables[1]], [files[1]])
    return paths, population_notes(layout, "both", mapped, alone=False)


def _export_single(records: Records, mapped: dict[str, Mapped], options: ExportOptions) -> Path:
    path, zipped = _place(options)
    if records.members is not None:  # MATSim's persons
        records = records.of_members(records.members)
    columns = matsim_columns if options.format == "matsim" else plain_columns
    filled = columns(records, mapped)
    check_free([path], records.run.path, overwrite=options.overwrite)
    with new_files([path]) as (file,):
        if options.format == "csv":
            write_csv(records, [filled], [file], zipped=zipped)
        elif options.format == "parquet":
            write_parquet(records, filled, file)
        else:
            write_matsim(records, filled, file, zipped=zipped)
    return path


def _place(options: ExportOptions) -> tuple[Path, bool]:
    """Return the file of a format of one file, and whether it is compressed."""
    standard = _STANDARD[options.format] + (".gz" if options.zipped else "")
    path = single_file(options.out, standard, _ENDINGS[options.format])
    zipped = path.name.endswith(".gz")
    if options.zipped and not zipped:
        raise ExportError(f"`--gzip` writes files that end with `.gz`; `--out` names {path}")
    return path, zipped


def _refuse_unused(options: ExportOptions) -> None:
    """Refuse options that mean nothing for the format."""
    population = options.format in _POPULATIONS
    dictionary = options.format == "dictionary"
    unused = {
        "--records": options.records is not None and not population,
        "--one-person-households": options.alone and not population,
        "--gzip": options.zipped and options.format not in _ZIPPED,
        "--map": bool(options.maps) and dictionary,
        "--map-file": options.map_file is not None and dictionary,
        "--provenance": options.provenance and dictionary,
        "--partial": options.partial and dictionary,
    }
    for name, wrong in unused.items():
        if wrong:
            raise ExportError(f"`{name}` means nothing for `--format {options.format}`")
