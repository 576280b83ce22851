"""The geographies of a set-up: the finest zones, and the coarser ones that these lie within."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.starting.from_populationsim.setup import SetupError
from llmsynthor.text import clean, count_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import polars as pl

    from llmsynthor.starting.from_populationsim.setup import Setup

MANY_ZONES = 30
"""More zones than this are made chunk by chunk, even where there is no other geography."""


@dataclass(eq=False)
class Geographies:
    """The zones of a set-up.

    Attributes:
        finest: The geography with most zones; None where there is one zone only.
        places: Geography -> its places; the finest stands first.
        group: Geography -> place of each finest zone.
        rows: Geography -> rows of its totals that are these places.
        left_out: Geography -> why its controls are left out.
        notes: What else a user must know.
    """

    finest: str | None = None
    places: dict[str, list[str]] = field(default_factory=dict)
    group: dict[str, np.ndarray] = field(default_factory=dict)
    rows: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def zones(self) -> list[str]:
        """Return the finest zones."""
        return self.places[self.finest] if self.finest is not None else []

    @property
    def within(self) -> list[str]:
        """Return what the zones lie within."""
        return [name for name in self.places if name != self.finest]

    @property
    def in_chunks(self) -> bool:
        """Return whether the job has `zones`, not a variable of a few categories."""
        return bool(self.within) or len(self.zones) > MANY_ZONES

    def summed(
        self, values: np.ndarray, given: str | None, wanted: str | None
    ) -> np.ndarray | None:
        """Return figures of the places of one geography summed to those of another.

        Returns:
            None where a place of `given` does not lie within one of `wanted`.
        """
        if given == wanted:
            return values
        if wanted is None:
            return np.array([values.sum()])
        if given is None:
            return None
        fine, coarse = self.group[given], self.group[wanted]
        place = np.zeros(len(self.places[given]), dtype=np.int64)
        place[fine] = coarse
        if (place[fine] != coarse).any():
            return None
        return np.bincount(place, values, len(self.places[wanted]))


def read_geographies(setup: Setup, used: Collection[str]) -> Geographies:
    """Return the zones that controls of these geographies are about.

    Raises:
        SetupError: A zone stands twice in its totals.
    """
    several = sorted(
        (name for name in used if setup.totals[name].height > 1),
        key=lambda name: -setup.totals[name].height,
    )
    found = Geographies()
    for name in several:
        named = _names(setup.totals[name], name)
        if len(set(named)) < len(named):
            raise SetupError(f"a zone of {name} stands twice in its totals")
        if found.finest is None:
            found.finest, found.places[name] = name, named
            found.group[name] = found.rows[name] = np.arange(len(named))
        else:
            _lie_within(found, setup, name, named)
    return found


def _names(frame: pl.DataFrame, column: str) -> list[str]:
    values = frame.get_column(column).fill_null("").to_list()
    return [str(value).strip().removesuffix(".0") for value in values]


def _lie_within(found: Geographies, setup: Setup, name: str, named: Sequence[str]) -> None:
    """Take up a coarser geography, or why it cannot be."""
    finest = str(found.finest)
    for frame, file in ((setup.crosswalk, "the crosswalk"), (setup.totals[finest], f"the totals of {finest}")):  # fmt: skip
        column = None if frame is None else _column(frame, finest, name, set(named))
        if frame is None or column is None:
            continue
        place_of, twice = _places(_names(frame, finest), _names(frame, column))
        why = twice or _unknown(found.zones, place_of, name, set(named), file)
        if why is not None:
            found.left_out[name] = why
            return
        held = {place_of[zone] for zone in found.zones}
        kept = [row for row, place in enumerate(named) if place in held]
        empty = [place for place in named if place not in held]
        if empty:
            words = f"{count_of(len(empty), 'place')} of {name} (`{clean(empty[0])}`, for example)"
            verb = "holds" if len(empty) == 1 else "hold"
            found.notes.append(f"{words} {verb} no {finest}, and the totals there are left out")
        found.places[name] = [named[row] for row in kept]
        number = {place: code for code, place in enumerate(found.places[name])}
        found.group[name] = np.array([number[place_of[zone]] for zone in found.zones])
        found.rows[name] = np.array(kept)
        if column != name:
            found.notes.append(
                f"{name}: column `{clean(column)}` of {file}, which has the same values"
            )
        return
    found.left_out[name] = f"nothing says which {name} a {finest} lies within"


def _column(frame: pl.DataFrame, finest: str, name: str, named: set[str]) -> str | None:
    """Return the column that says which place of a geography each zone lies in."""
    if finest not in frame.columns:
        return None
    if name in frame.columns:
        return name
    others = (column for column in frame.columns if column != finest)
    return next((c for c in others if set(_names(frame, c)) == named), None)


def _places(zones: Sequence[str], places: Sequence[str]) -> tuple[dict[str, str], str | None]:
    """Return the place of each zone, and what is wrong where a zone has two."""
    found: dict[str, str] = {}
    for zone, place in zip(zones, places, strict=True):
        if found.setdefault(zone, place) != place:
            return found, f"`{clean(zone)}` lies in `{clean(found[zone])}` and in `{clean(place)}`"
    return found, None


def _unknown(
    zones: Sequence[str], place_of: Mapping[str, str], name: str, named: set[str], file: str
) -> str | None:
    """Return what is wrong where a zone's place is not known or has no totals, or None."""
    lost = [zone for zone in zones if zone not in place_of]
    if lost:
        verb = "is" if len(lost) == 1 else "are"
        return (
            f"{count_of(len(lost), 'zone')} (`{clean(lost[0])}`, for example) {verb} not in {file}"
        )
    bare = sorted({place_of[zone] for zone in zones} - named)
    if bare:
        return f"{name} `{clean(bare[0])}` has no totals ({count_of(len(bare), 'such place')})"
    return None
