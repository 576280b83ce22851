"""Controls as conditions on the seed's columns, and what cannot be read of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.starting.from_populationsim.expressions import (
    TOP,
    Accepted,
    UnreadableError,
    read_expression,
)
from llmsynthor.starting.from_populationsim.setup import HOUSEHOLDS, PERSONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.starting.from_populationsim.expressions import Box
    from llmsynthor.starting.from_populationsim.setup import Control, SeedFile, Setup

MISSING_WORDS = frozenset(
    {"", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "n/a", "<NA>", "#N/A", "-nan", "-NaN"}
)
"""What pandas reads as a missing value, in which PopulationSim reads the seed."""
_ALIKE = 0.99
"""Share of the households in which a column must be the number of persons to be taken for it."""


@dataclass(frozen=True, eq=False)
class ReadControl:
    """A control that can be read.

    Attributes:
        control: As written.
        box: Column -> what it accepts; without columns that never exclude anything.
        totals: What it wants in each zone, shape `(zones,)`.
    """

    control: Control
    box: Box
    totals: np.ndarray

    @property
    def is_total(self) -> bool:
        """Return whether it counts everybody."""
        return not self.box


@dataclass(frozen=True, eq=False)
class Size:
    """The number of persons of a household.

    Attributes:
        column: Column that is this number, or is it up to its largest value; None where none is.
        cap: That largest value, where the column stops there; else None.
        persons: Persons of each household of the seed, shape `(households,)`.
    """

    column: str | None
    cap: int | None
    persons: np.ndarray


def values_of(seed: SeedFile, column: str) -> list[float | str | None]:
    """Return the distinct values of a column as pandas would read them: None is a missing one."""
    raw = seed.frame.get_column(column).fill_null("").unique().sort().to_list()
    numeric = is_numeric(seed, column)
    return [read_value(text, numeric=numeric) for text in raw]


def is_numeric(seed: SeedFile, column: str) -> bool:
    """Return whether every value that is there is a number."""
    raw = seed.frame.get_column(column).fill_null("").unique().to_list()
    return all(text.strip() in MISSING_WORDS or _number(text) is not None for text in raw)


def read_value(text: str, *, numeric: bool) -> float | str | None:
    """Return a cell's value; None is a missing one."""
    if text.strip() in MISSING_WORDS:
        return None
    number = _number(text) if numeric else None
    return text.strip() if number is None else number


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def find_key(setup: Setup) -> str | None:
    """Return the column that both seed tables name a household by, or None."""
    named = setup.settings.get("household_id_col")
    households, persons = setup.seeds[HOUSEHOLDS], setup.seeds.get(PERSONS)
    columns = households.frame.columns
    if isinstance(named, str) and named in columns:
        return named
    for column in columns:
        if persons is not None and column not in persons.frame.columns:
            continue
        if households.frame.get_column(column).is_duplicated().any():
            continue
        if persons is not None or column.lower().endswith(("id", "num", "no")):
            return column
    return None


def find_size(setup: Setup, key: str) -> Size:
    """Return the number of persons of each household, and the column that says it."""
    households, persons = (setup.seeds[table].frame for table in (HOUSEHOLDS, PERSONS))
    held = persons.group_by(key).agg(pl.len().alias("held"))
    joined = households.select(key).join(held, key, how="left", maintain_order="left")
    counts = joined["held"].fill_null(0).to_numpy()
    for column in households.columns:
        if column == key:
            continue
        given = (
            households.get_column(column).cast(pl.Float64, strict=False).fill_null(-1.0).to_numpy()
        )
        if (given == counts).mean() >= _ALIKE:
            return Size(column, None, counts)
        cap = int(given.max())
        if cap > 1 and (np.minimum(counts, cap) == given).mean() >= _ALIKE:
            return Size(column, cap, counts)
    return Size(None, None, counts)


def read_controls(setup: Setup, size: Size | None) -> tuple[list[ReadControl], dict[str, str]]:
    """Return the controls that can be read; and of the others why not, by target."""
    found: list[ReadControl] = []
    left_out: dict[str, str] = {}
    for control in setup.controls:
        try:
            found.append(_read(setup, control, size))
        except UnreadableError as error:
            left_out[control.target] = str(error)
    return found, left_out


def _read(setup: Setup, control: Control, size: Size | None) -> ReadControl:
    if control.seed_table not in (HOUSEHOLDS, PERSONS):
        raise UnreadableError(f"`{control.seed_table}` is no seed table")
    seed = setup.seeds.get(control.seed_table)
    if seed is None:
        raise UnreadableError(f"there is no seed table of {control.seed_table}")
    if control.geography not in setup.totals:
        raise UnreadableError(setup.without_totals[control.geography])
    totals = setup.totals[control.geography]
    if control.field not in totals.columns:
        raise UnreadableError(f"the totals of {control.geography} have no column `{control.field}`")
    numbers = totals.get_column(control.field).cast(pl.Float64, strict=False)
    if numbers.null_count() or not (numbers >= 0).all():
        raise UnreadableError(f"a total in `{control.field}` is no number of 0 or more")
    box = read_expression(control.expression, control.seed_table)
    unknown = [column for column in box if column not in seed.frame.columns]
    if unknown:
        raise UnreadableError(f"the seed's {control.seed_table} have no column `{unknown[0]}`")
    kept = {}
    for column, accepted in box.items():
        values = values_of(seed, column)
        if all(accepted.takes(value) for value in values):
            continue
        if not any(accepted.takes(value) for value in values):
            shown = ", ".join(
                "missing" if v is None else f"{v:g}" if isinstance(v, float) else v
                for v in values[:5]
            )
            raise UnreadableError(f"no value of `{column}` in the seed fits (it has {shown})")
        kept[column] = _uncapped(accepted, column, size)
    return ReadControl(control, kept, numbers.to_numpy())


def _uncapped(accepted: Accepted, column: str, size: Size | None) -> Accepted:
    """Return a condition on a capped number of persons as one on the number itself."""
    if size is None or size.column != column or size.cap is None:
        return accepted
    more = Accepted.between((size.cap, 1), TOP)
    return accepted | more if accepted.takes(float(size.cap)) else accepted & ~more


def in_groups(controls: Sequence[ReadControl]) -> list[list[ReadControl]]:
    """Return the controls that can stand in one table: same level, place and columns, no overlap."""
    groups: list[list[ReadControl]] = []
    for control in controls:
        for group in groups:
            if _kind(group[0]) == _kind(control) and not any(
                _overlap(other.box, control.box) for other in group
            ):
                group.append(control)
                break
        else:
            groups.append([control])
    return groups


def _kind(one: ReadControl) -> tuple[str, str, set[str]]:
    return one.control.geography, one.control.seed_table, set(one.box)


def _overlap(one: Mapping[str, Accepted], other: Mapping[str, Accepted]) -> bool:
    return all(not (accepted & other[column]).is_nothing for column, accepted in one.items())
