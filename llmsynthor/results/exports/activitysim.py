"""The layout of ActivitySim's example `prototype_mtc`: one file of households, one of persons.

Columns and codes are those of "Example Models", section "Inputs" of the ActivitySim user's guide, and
the columns that `configs/settings.yaml` of the example keeps. It renames `TAZ` to `home_zone_id`
itself.
"""

from __future__ import annotations

from llmsynthor.results.exports.layout import Fixed
from llmsynthor.results.exports.population import PopulationLayout

_HOUSEHOLDS = (
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
)
_PERSONS = (
    Fixed("person_id", "number of the person, from 1", made="number"),
    Fixed("household_id", "the person's household", required=False, alone="number", linked="key"),
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
        codes={1: "full-time", 2: "part-time", 3: "not in labor force", 4: "student under 16"},
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
)
ACTIVITYSIM = PopulationLayout("ActivitySim", _HOUSEHOLDS, _PERSONS)
