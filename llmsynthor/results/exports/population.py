"""Two linked files, households and persons: which of them a run can fill, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmsynthor.results.exports.asked import opened
from llmsynthor.results.exports.files import ExportError, check_free, new_files
from llmsynthor.results.exports.filling import Filling
from llmsynthor.results.exports.layout import by_level, provenance_columns
from llmsynthor.results.exports.plain import write_csv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmsynthor.results.exports.asked import Exported, ExportOptions, Opened
    from llmsynthor.results.exports.layout import Filled, Fixed, Mapped
    from llmsynthor.results.exports.records import Records
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.levels import Members

RecordKind = Literal["households", "persons"]
FILES: dict[RecordKind, str] = {
    "households": "synthetic_households.csv",
    "persons": "synthetic_persons.csv",
}
_FIXED_NAMES = "this format has files of fixed names"


@dataclass(frozen=True)
class PopulationLayout:
    """The columns that a model of travel expects of a synthetic population.

    Attributes:
        title: The model's name.
        households: Columns of the households' file.
        persons: Columns of the persons' file.
    """

    title: str
    households: tuple[Fixed, ...]
    persons: tuple[Fixed, ...]

    def export(self, run: RunDirectory, options: ExportOptions) -> Exported:
        """Write a run in this layout.

        Raises:
            ExportError: It cannot be made as asked for.
        """
        asked = opened(run, options)
        if asked.records.members is None:
            return _write_one(self, asked, options)
        return _write_both(self, asked, asked.records.members, options)


def _write_one(layout: PopulationLayout, asked: Opened, options: ExportOptions) -> Exported:
    """Write records of one kind."""
    kind = options.records
    if kind is None:
        raise ExportError(
            f"the {layout.title} layout has households and persons, and the run has records of one kind",
            hint="say what one record is: `--records persons` or `--records households`",
        )
    if options.alone and kind != "persons":
        raise ExportError("`--one-person-households` is for `--records persons`")
    if options.out.exists() and not options.out.is_dir():
        raise ExportError(f"--out {options.out}: must be a folder; {_FIXED_NAMES}")
    records = asked.records
    tables = population_tables(records, layout, kind, asked.mapped, alone=options.alone)
    paths = [options.out / name for name in tables]
    check_free(paths, records.run.path, overwrite=options.overwrite)
    with new_files(paths) as files:
        write_csv(records, list(tables.values()), files)
    return asked.exported(paths, population_notes(layout, kind, asked.mapped, alone=options.alone))


def _write_both(
    layout: PopulationLayout, asked: Opened, members: Members, options: ExportOptions
) -> Exported:
    """Write records with their members."""
    records = asked.records
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
    folder = options.folder(_FIXED_NAMES)
    paths = [folder / FILES["households"], folder / FILES["persons"]]
    tables = linked_tables(records, members, layout, asked.mapped)
    check_free(paths, records.run.path, overwrite=options.overwrite)
    with new_files(paths) as files:
        write_csv(records, [tables[0]], [files[0]])
        write_csv(records.of_members(members), [tables[1]], [files[1]])
    return asked.exported(paths, population_notes(layout, "both", asked.mapped, alone=False))


def population_tables(
    records: Records,
    layout: PopulationLayout,
    kind: RecordKind,
    mapped: Mapping[str, Mapped],
    *,
    alone: bool,
) -> dict[str, list[Filled]]:
    """Return for each file that the records can fill its columns.

    A variable that fills a column of the layout is written there; all others, and provenance,
    follow in the file of what one record is.

    Args:
        records: Of the run.
        layout: What is fixed.
        kind: What one record is.
        mapped: Column -> what fills it.
        alone: Whether every person gets a household of one.

    Raises:
        ExportError: With every column that cannot be filled.
    """
    filling = Filling(records.variables, mapped)
    fixed: dict[RecordKind, tuple[Fixed, ...]] = {
        "households": layout.households,
        "persons": layout.persons,
    }
    wanted: list[RecordKind] = ["households", "persons"] if alone else [kind]
    tables = {name: filling.fixed(FILES[name], fixed[name], alone=alone) for name in wanted}
    last = provenance_columns() if records.provenance else []
    own = tables[kind]
    own += [*filling.others(column.name for column in [*own, *last]), *last]
    filling.checked(layout.title)
    return {FILES[name]: columns for name, columns in tables.items()}


def linked_tables(
    records: Records, members: Members, layout: PopulationLayout, mapped: Mapping[str, Mapped]
) -> tuple[list[Filled], list[Filled]]:
    """Return the columns of the households' file and of the persons', of a run that has both.

    A variable goes into the file of its own level, but for those that the layout wants in both.

    Args:
        records: Of the run: the households.
        members: What the persons are.
        layout: What is fixed.
        mapped: Column -> what fills it.

    Raises:
        ExportError: With every column that cannot be filled.
    """
    of_records, of_members = by_level(mapped, members)
    shared = {column.name for column in layout.persons if column.shared}
    of_members |= {name: entry for name, entry in of_records.items() if name in shared}
    first = Filling(records.variables, of_records)
    second = Filling(
        records.of_members(members).variables, of_members, first=len(records.variables)
    )
    last = provenance_columns() if records.provenance else []
    households = first.fixed(FILES["households"], layout.households, members=members)
    households += [*first.others(c.name for c in [*households, *last]), *last]
    persons = second.fixed(FILES["persons"], layout.persons, members=members)
    persons += second.others(c.name for c in persons)
    first.checked(layout.title, second)
    return households, persons


def population_notes(
    layout: PopulationLayout,
    kind: RecordKind | Literal["both"],
    mapped: Mapping[str, Mapped],
    *,
    alone: bool,
) -> list[str]:
    """Return what a user should know of the files that are written."""
    known = {column.name for column in [*layout.households, *layout.persons]}
    notes = [
        f"{entry.place}: `{name}` is no column of the {layout.title} layout; it is written under that "
        "name after the layout's columns"
        for name, entry in mapped.items()
        if name not in known
    ]
    if alone or kind == "both":
        return notes
    if kind == "persons":
        return [
            *notes,
            f"no {FILES['households']}: the run's persons have no households "
            "(`--one-person-households` gives each one of their own, if that is what you mean)",
        ]
    return [*notes, f"no {FILES['persons']}: the run's households have no members"]
