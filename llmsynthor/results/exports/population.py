"""Two linked files, households and persons: which of them a run can fill, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmsynthor.results.exports.asked import opened
from llmsynthor.results.exports.files import ExportError
from llmsynthor.results.exports.filling import Filling, of_both_levels
from llmsynthor.results.exports.layout import Fixed, provenance_columns
from llmsynthor.results.exports.plain import write_csv

if TYPE_CHECKING:
    from llmsynthor.results.exports.asked import Exported, ExportOptions, Opened, Table
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
        columns: Of the households' file and of the persons'.
    """

    title: str
    columns: dict[RecordKind, tuple[Fixed, ...]]

    def export(self, run: RunDirectory, options: ExportOptions) -> Exported:
        """Write a run in this layout."""
        asked = opened(run, options)
        members = asked.records.members
        tables = _one_kind(self, asked) if members is None else _both_kinds(self, asked, members)
        known = {column.name for columns in self.columns.values() for column in columns}
        asked.notes.extend(
            f"{entry.place}: `{name}` is no column of the {self.title} layout; it is written under that "
            "name after the layout's columns"
            for name, entry in asked.mapped.items()
            if name not in known
        )
        if "households" not in tables:
            asked.notes.append(
                f"no {FILES['households']}: the run's persons have no households "
                "(`--one-person-households` gives each one of their own, if that is what you mean)"
            )
        if "persons" not in tables:
            asked.notes.append(f"no {FILES['persons']}: the run's households have no members")
        return asked.written({options.out / FILES[k]: own for k, own in tables.items()}, write_csv)


def _one_kind(layout: PopulationLayout, asked: Opened) -> dict[RecordKind, Table]:
    """Return the files that records of one kind can fill.

    A variable that fills a column of the layout is written there; all others, and provenance,
    follow in the file of what one record is.
    """
    kind, alone, out = asked.options.records, asked.options.alone, asked.options.out
    if kind is None:
        raise ExportError(
            f"the {layout.title} layout has households and persons, and the run has records of one kind",
            hint="say what one record is: `--records persons` or `--records households`",
        )
    if alone and kind != "persons":
        raise ExportError("`--one-person-households` is for `--records persons`")
    if out.exists() and not out.is_dir():
        raise ExportError(f"--out {out}: must be a folder; {_FIXED_NAMES}")
    records = asked.records
    filling = Filling(records.variables, asked.mapped)
    tables = {
        name: filling.fixed(FILES[name], fixed, alone=alone)
        for name, fixed in layout.columns.items()
        if alone or name == kind
    }
    tables[kind] = filling.completed(tables[kind], provenance_columns(records))
    filling.checked(layout.title)
    return {name: (records, columns) for name, columns in tables.items()}


def _both_kinds(
    layout: PopulationLayout, asked: Opened, members: Members
) -> dict[RecordKind, Table]:
    """Return both files, of a run that has households and persons.

    A variable goes into the file of its own level, but for those that the layout wants in both.
    """
    records, options = asked.records, asked.options
    given = {
        "--records": options.records is not None,
        "--one-person-households": options.alone,
    }
    name = next((name for name, is_given in given.items() if is_given), None)
    if name is not None:
        raise ExportError(
            f"`{name}` is for runs of one kind of record; this one has {members.of}s with "
            f"{members.name}s, and both files are written",
            hint=f"leave `{name}` out",
        )
    options.folder(_FIXED_NAMES)
    shared = {column.name for column in layout.columns["persons"] if column.shared}
    first, second = of_both_levels(records, members, asked.mapped, shared)
    fixed = layout.columns
    households = first.fixed(FILES["households"], fixed["households"], members=members)
    households = first.completed(households, provenance_columns(records))
    persons = second.completed(second.fixed(FILES["persons"], fixed["persons"], members=members))
    first.checked(layout.title, second)
    return {"households": (records, households), "persons": (records.of_members(members), persons)}


ACTIVITYSIM = PopulationLayout(
    "ActivitySim",
    {
        "households": (
            Fixed("household_id", "number of the household, from 1", made="number"),
            Fixed("TAZ", "zone where the household lives"),
            Fixed("income", "of the household in a year, US dollars of 2000", holds="numbers"),
            Fixed("hhsize", "persons in the household", least=1, alone="one", linked="size"),
            Fixed(
                "HHT",
                "as the codes say",
                codes={
                    0: "none",
                    1: "married couple",
                    2: "male householder, no spouse",
                    3: "female householder, no spouse",
                    4: "nonfamily, male alone",
                    5: "nonfamily, male not alone",
                    6: "nonfamily, female alone",
                    7: "nonfamily, female not alone",
                },
            ),
            Fixed("auto_ownership", "cars of the household", least=0),
            Fixed("num_workers", "workers in the household", least=0),
            Fixed("hinccat1", "class of income", required=False),
        ),
        "persons": (
            Fixed("person_id", "number of the person, from 1", made="number"),
            Fixed(
                "household_id",
                "the person's household",
                required=False,
                alone="number",
                linked="key",
            ),
            Fixed("age", "in years", least=0),
            Fixed(
                "PNUM",
                "number of the person in the household",
                least=1,
                required=False,
                alone="one",
                linked="ordinal",
            ),
            Fixed("sex", "as the codes say", codes={1: "male", 2: "female"}),
            Fixed(
                "pemploy",
                "as the codes say",
                codes={
                    1: "full-time",
                    2: "part-time",
                    3: "not in labor force",
                    4: "student under 16",
                },
            ),
            Fixed(
                "pstudent",
                "as the codes say",
                codes={1: "preschool to grade 12", 2: "university", 3: "not a student"},
            ),
            Fixed(
                "ptype",
                "as the codes say",
                codes={
                    1: "full-time worker",
                    2: "part-time worker",
                    3: "university student",
                    4: "nonworker",
                    5: "retired",
                    6: "student of driving age",
                    7: "student of non-driving age",
                    8: "child too young for school",
                },
            ),
            Fixed("GRADE", "grade in school", required=False),
            Fixed("weeks", "weeks worked in a year", required=False),
        ),
    },
)
"""ActivitySim's example `prototype_mtc`.

Columns and codes are those of "Example Models", section "Inputs" of the ActivitySim user's guide, and
the columns that `configs/settings.yaml` of the example keeps. It renames `TAZ` to `home_zone_id`
itself.
"""
_ZONES = tuple(
    Fixed(name, "zone", holds="anything", required=False, shared=True)
    for name in ("PUMA", "TRACT", "TAZ", "MAZ")
)
POPULATIONSIM = PopulationLayout(
    "PopulationSim",
    {
        "households": (
            Fixed("household_id", "number of the household, from 1", made="number"),
            *_ZONES,
            Fixed(
                "NP",
                "persons in the household",
                least=1,
                required=False,
                alone="one",
                linked="size",
            ),
        ),
        "persons": (
            Fixed(
                "household_id",
                "the person's household",
                required=False,
                alone="number",
                linked="key",
            ),
            *_ZONES,
            Fixed(
                "per_num",
                "number of the person in the household",
                least=1,
                required=False,
                alone="one",
                linked="ordinal",
            ),
        ),
    },
)
"""As PopulationSim writes a synthetic population.

It numbers households from 1 in the column `household_id`, writes the zones of its geographies beside
it, and leaves all other columns to the seed data (`output_synthetic_population` in its settings,
`steps/write_synthetic_population.py`). So do we: variables keep their names.
"""
