"""The layout in which PopulationSim writes a synthetic population: households and their persons.

PopulationSim numbers households from 1 in the column `household_id`, writes the zones of its
geographies beside it, and leaves all other columns to the seed data (`output_synthetic_population`
in its settings, `steps/write_synthetic_population.py`). So do we: variables keep their names.
"""

from __future__ import annotations

from llmsynthor.results.exports.layout import Fixed
from llmsynthor.results.exports.population import PopulationLayout

_ZONES = tuple(
    Fixed(name, "zone", holds="anything", required=False, shared=True)
    for name in ("PUMA", "TRACT", "TAZ", "MAZ")
)
POPULATIONSIM = PopulationLayout(
    "PopulationSim",
    (
        Fixed("household_id", "number of the household, from 1", made="number"),
        *_ZONES,
        Fixed(
            "NP", "persons in the household", least=1, required=False, alone="one", linked="size"
        ),
    ),
    (
        Fixed(
            "household_id", "the person's household", required=False, alone="number", linked="key"
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
)
