"""Two linked files, households and persons: which of them a run can fill, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmsynthor.results.exports.asked import opened
from llmsynthor.results.exports.files import ExportError
from llmsynthor.results.exports.filling import Filling, of_both_levels
from llmsynthor.results.exports.layout import provenance_columns
from llmsynthor.results.exports.plain import write_csv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmsynthor.results.exports.asked import Exported, ExportOptions, Opened
    from llmsynthor.results.exports.layout import Filled, Fixed, Mapped
    from llmsynthor.results.exports.records import Records
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.domain import Members

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
    asked.notes.extend(population_notes(layout, kind, asked.mapped, alone=options.alone))
    return asked.written({options.out / n: (records, own) for n, own in tables.items()}, write_csv)


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
    households, persons = linked_tables(records, members, layout, asked.mapped)
    asked.notes.extend(population_notes(layout, "both", asked.mapped, alone=False))
    tables = {
        folder / FILES["households"]: (records, households),
        folder / FILES["persons"]: (records.of_members(members), persons),
    }
    return asked.written(tables, write_csv)


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
    tables[kind] = filling.completed(tables[kind], provenance_columns(records))
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
    shared = {column.name for column in layout.persons if column.shared}
    first, second = of_both_levels(records, members, mapped, shared)
    households = first.fixed(FILES["households"], layout.households, members=members)
    households = first.completed(households, provenance_columns(records))
    persons = second.completed(second.fixed(FILES["persons"], layout.persons, members=members))
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
