"""A job from a PopulationSim set-up: variables, tables, what gives way, what is left out."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.files.bins import format_number
from llmsynthor.starting.from_populationsim.expressions import UnreadableError, read_expression
from llmsynthor.starting.from_populationsim.geographies import Geographies, read_geographies
from llmsynthor.starting.from_populationsim.reading import (
    ReadControl,
    Size,
    find_key,
    find_size,
    in_groups,
    read_controls,
    values_of,
)
from llmsynthor.starting.from_populationsim.setup import HOUSEHOLDS, PERSONS, SetupError
from llmsynthor.starting.from_populationsim.variables import (
    MadeVariable,
    bins,
    categories,
    on_an_edge,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.starting.from_populationsim.setup import Setup

_MOST_CODES = 50
"""Distinct values of a column that may become categories."""
_AWAY = 0.5
"""Households or persons; totals that are nearer agree."""


@dataclass(eq=False)
class MadeTable:
    """A table of the job to be.

    Attributes:
        name: Also of its file.
        level: Seed table whose rows it counts.
        geography: Its zones stand in the first column; None for the whole region.
        scope: Its variables, behind the geography.
        cells: Labels of each cell.
        totals: Shape `(zones, cells)`.
        importance: The largest of its controls.
        targets: Its controls.
        away: Sum over zones of how far it is from the number of households or persons.
        soft: Whether it gives way.
    """

    name: str
    level: str
    geography: str | None
    scope: list[str]
    cells: list[tuple[str, ...]]
    totals: np.ndarray
    importance: float
    targets: list[str]
    away: float = 0.0
    soft: bool = False
    weight: float | None = None


@dataclass(eq=False)
class Made:
    """The job to be.

    Attributes:
        setup: Where it comes from.
        key: Column that names a household in both seed tables.
        weight: Column of the weights, or None.
        size: The number of persons of a household; None where there are no persons.
        size_name: Its variable.
        geographies: The zones, and what they lie within.
        variables: Seed table -> its variables, by name.
        tables: The tables.
        records: Households wanted.
        left_out: Target -> why it is left out.
        notes: What else a user must know.
    """

    setup: Setup
    key: str | None = None
    weight: str | None = None
    size: Size | None = None
    size_name: str | None = None
    geographies: Geographies = field(default_factory=Geographies)
    variables: dict[str, dict[str, MadeVariable]] = field(default_factory=dict)
    tables: list[MadeTable] = field(default_factory=list)
    records: int = 0
    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def geography(self) -> str | None:
        """Return the zones' variable, or None where there is one zone only."""
        return self.geographies.finest

    @property
    def has_members(self) -> bool:
        """Return whether households have persons with variables of their own."""
        return bool(self.variables[PERSONS])

    @property
    def inhabited(self) -> list[str]:
        """Return the zones that a record can be in: where anybody is wanted, or the seed has some."""
        zones = self.geographies.zones
        if self.zones_in_seed:
            return zones
        wanted = np.zeros(len(zones))
        for table in self.tables:
            if table.geography is not None and table.geography == self.geography:
                wanted += table.totals.sum(axis=1)
        return [zone for zone, total in zip(zones, wanted, strict=True) if total > 0]

    @property
    def zones_in_seed(self) -> bool:
        """Return whether the seed says in which zone a household is."""
        return self.geography in self.setup.seeds[HOUSEHOLDS].frame.columns


def build(setup: Setup) -> Made:
    """Return the job that a set-up describes.

    Raises:
        SetupError: Nothing can be made of it.
    """
    made = Made(setup, variables={HOUSEHOLDS: {}, PERSONS: {}})
    made.key = find_key(setup)
    if PERSONS in setup.seeds and made.key is None:
        raise SetupError(
            f"{setup.folder}: no column names a household in both seed tables, once in that of "
            "households",
            hint="name it as `household_id_col` in settings.yaml",
        )
    if PERSONS in setup.seeds and made.key is not None:
        made.size = find_size(setup, made.key)
    controls, made.left_out = read_controls(setup, made.size)
    controls = _without_weights(made, controls)
    controls = _placed(made, controls)
    # totals first: what is left over is measured by them
    groups = sorted(in_groups(controls), key=lambda group: not group[0].is_total)
    _make_variables(made, groups)
    _make_size(made, groups)
    for group in groups:
        kept = [c for c in group if c.control.target not in made.left_out]
        if kept:
            _make_table(made, kept)
    _without_persons(made)
    _compare(made)
    if not any(table.level == HOUSEHOLDS for table in made.tables):
        raise SetupError(
            f"{setup.folder}: no control of households can be read: "
            + "; ".join(f"{target}: {why}" for target, why in made.left_out.items())
        )
    return made


def _without_weights(made: Made, controls: Sequence[ReadControl]) -> list[ReadControl]:
    """Take "the weight is above 0" for a count of all; keep which column weighs the households."""
    named = made.setup.settings.get("household_weight_col")
    made.weight = named if isinstance(named, str) else None
    found = []
    for control in controls:
        kept = dict(control.box)
        level = control.control.seed_table
        for column, accepted in read_expression(control.control.expression, level).items():
            spans = accepted.spans
            above_0 = len(spans) == 1 and spans[0][0] == (0.0, 1) and np.isinf(spans[0][1][0])
            if above_0 and (column == made.weight or _WEIGHT.search(column)):
                kept.pop(column, None)
                if level == HOUSEHOLDS and made.weight is None:
                    made.weight = column
        found.append(replace(control, box=kept))
    return found


_WEIGHT = re.compile(r"(?i)weight|wgt|wt")
"""In names of weights; `weight > 0` is how PopulationSim's examples write "all"."""


def _placed(made: Made, controls: Sequence[ReadControl]) -> list[ReadControl]:
    """Keep the controls of geographies that lie within each other, and of the whole region."""
    found = read_geographies(made.setup, {c.control.geography for c in controls})
    made.geographies = found
    made.notes += found.notes
    kept = []
    for control in controls:
        geography = control.control.geography
        if geography in found.left_out:
            why = f"its geography {geography}: {found.left_out[geography]}"
            made.left_out[control.control.target] = why
        elif geography in found.rows:
            kept.append(replace(control, totals=control.totals[found.rows[geography]]))
        else:
            kept.append(control)
    return kept


def _make_variables(made: Made, groups: Sequence[Sequence[ReadControl]]) -> None:
    """Make a variable of each column that controls are about."""
    uses: dict[tuple[str, str], list[ReadControl]] = {}
    for group in groups:
        for control in group:
            for column in control.box:
                uses.setdefault((control.control.seed_table, column), []).append(control)
    for (level, column), controls in uses.items():
        size = made.size if level == HOUSEHOLDS else None
        if size is not None and size.column == column:
            continue
        name = _name(made, level, column)
        try:
            made.variables[level][column] = _variable(made, level, name, column, controls)
        except UnreadableError as error:
            made.left_out |= {c.control.target: str(error) for c in controls}


def _name(made: Made, level: str, column: str) -> str:
    taken = {v.name for v in made.variables[HOUSEHOLDS].values()} | set(made.geographies.places)
    taken |= {"count", "share", "moe"}
    return f"{level.removesuffix('s')}_{column}" if column in taken else column


def _variable(
    made: Made, level: str, name: str, column: str, controls: Sequence[ReadControl]
) -> MadeVariable:
    seed = made.setup.seeds[level]
    accepted = [control.box[column] for control in controls]
    if all(a.is_points for a in accepted):
        return categories(name, seed, column, controls)
    values = values_of(seed, column)
    numbers = [value for value in values if isinstance(value, float)]
    if len(numbers) < len(values) <= _MOST_CODES:
        return categories(name, seed, column, controls)
    if len(numbers) < len(values):
        raise UnreadableError(
            f"`{column}` is compared as a number, and has missing values or texts"
        )
    try:
        variable = bins(name, column, accepted, numbers)
    except UnreadableError:
        if len(values) > _MOST_CODES:
            raise
        return categories(name, seed, column, controls)  # codes, of which `!=` takes in several
    edges = on_an_edge(variable, numbers)
    if edges:
        made.notes.append(
            f"{name}: {edges} values of the seed lie on the upper end of a control's range; here "
            "they count to the bin above it"
        )
    return variable


def _make_size(made: Made, groups: Sequence[Sequence[ReadControl]]) -> None:
    """Make the variable that is the number of persons."""
    size = made.size
    if size is None:
        return
    controls = [c for group in groups for c in group if size.column in c.box]
    controls = [c for c in controls if c.control.seed_table == HOUSEHOLDS]
    columns = made.setup.seeds[HOUSEHOLDS].frame.columns
    exact = size.column is not None and size.cap is None
    name = size.column if exact else next(n for n in _SIZES if n not in columns)
    persons = [float(n) for n in np.unique(size.persons) if n > 0]
    try:
        variable = bins(
            str(name), size.column if exact else None,
            [c.box[str(size.column)] for c in controls], [*persons, 1.0],
        )  # fmt: skip
    except UnreadableError as error:
        made.left_out |= {c.control.target: str(error) for c in controls}
        variable = bins(str(name), None, [], [*persons, 1.0])
    made.size_name = str(name)
    made.variables[HOUSEHOLDS][size.column or str(name)] = variable
    if size.cap is not None:
        made.notes.append(
            f"{name}: the number of persons of a household, counted in the seed; its column "
            f"`{size.column}` stops at {size.cap}"
        )


_SIZES = ("size", "persons", "household_size", "number_of_persons")


def _make_table(made: Made, group: Sequence[ReadControl]) -> None:
    """Make a table of controls over the same columns."""
    first, targets = group[0], [c.control.target for c in group]
    level, columns = first.control.seed_table, list(first.box)
    variables = made.variables[level]
    geography = (
        first.control.geography if first.control.geography in made.geographies.places else None
    )
    cells = [tuple(variables[c].pieces[control.box[c]] for c in columns) for control in group]
    totals = np.stack([c.totals for c in group], axis=1)
    scope = [variables[column].name for column in columns]
    name = "_".join(scope) or ("households" if level == HOUSEHOLDS else "persons")
    if geography != made.geography:
        name += f"_{first.control.geography}"
    taken = {table.name for table in made.tables}
    while name in taken:
        name += "_"
    importance = max(c.control.importance for c in group)
    table = MadeTable(name, level, geography, scope, cells, totals, importance, targets)
    possible = set(product(*(variables[column].labels for column in columns)))
    rest = possible - set(cells)
    if rest and columns:
        _take_rest(made, table, sorted(rest))
    if not set(targets) & set(made.left_out):
        made.tables.append(table)


def _take_rest(made: Made, table: MadeTable, rest: Sequence[tuple[str, ...]]) -> None:
    """Give a cell that no control counts what is left of all."""
    whole = _whole(made, table.level, table.geography)
    if len(rest) > 1:
        reason = "the controls count part of the combinations, and leave several out"
    elif whole is None:
        reason = f"the controls count part of the {table.level}, and none says how many there are"
    else:
        left = whole - table.totals.sum(axis=1)
        table.cells.append(rest[0])
        table.totals = np.concatenate([table.totals, np.maximum(left, 0.0)[:, None]], axis=1)
        return
    made.left_out |= dict.fromkeys(table.targets, reason)


def _whole(made: Made, level: str, geography: str | None) -> np.ndarray | None:
    """Return how many households or persons there are in each zone, if a total says it."""
    for table in made.tables:
        if table.level == level and not table.scope:
            whole = made.geographies.summed(table.totals[:, 0], table.geography, geography)
            if whole is not None:
                return whole
    return None


def _without_persons(made: Made) -> None:
    """Take out counts of persons where no variable of theirs is left."""
    if made.has_members:
        return
    for table in [t for t in made.tables if t.level == PERSONS]:
        made.tables.remove(table)
        why = "no control tells persons apart, so that the job has no variable of theirs"
        made.left_out |= dict.fromkeys(table.targets, why)
    if PERSONS in made.setup.seeds:
        made.notes.append("the seed's persons are not read: no control is about what they are")


def _compare(made: Made) -> None:
    """Hold each table against the number of households or persons; make soft what disagrees."""
    for level in (HOUSEHOLDS, PERSONS):
        own = [t for t in made.tables if t.level == level]
        own.sort(key=lambda t: (-t.importance, bool(t.scope)))
        for table in own:
            table.away = _away(made, own, table)
            table.soft = table.away > _AWAY
    soft = [table for table in made.tables if table.soft]
    least = min((table.importance for table in soft), default=1.0)
    for table in soft:
        table.weight = table.importance / least
    households = [t for t in made.tables if t.level == HOUSEHOLDS]
    if households:
        best = max(households, key=lambda t: (not t.soft, not t.scope, t.importance))
        made.records = round(float(best.totals.sum()))


def _away(made: Made, own: Sequence[MadeTable], table: MadeTable) -> float:
    """Return how far a table is from the most important one before it, place by place of the coarser.

    Where the places of neither lie within those of the other, the whole region is compared.
    """
    other = own[0]
    if other is table:
        return 0.0
    for geography in (table.geography, other.geography, None):
        sums = [
            made.geographies.summed(one.totals.sum(axis=1), one.geography, geography)
            for one in (table, other)
        ]
        if sums[0] is not None and sums[1] is not None:
            return float(np.abs(sums[0] - sums[1]).sum())
    return 0.0


def rows_of(made: Made, table: MadeTable) -> pl.DataFrame:
    """Return a table in long form: zone, variables, count.

    Cells that hold nobody are left out, but where the job has `zones`: there each must be listed.
    """
    zones = [""] if table.geography is None else made.geographies.places[table.geography]
    rows = [
        (*([zone] if table.geography is not None else []), *cell, format_number(table.totals[i, j]))
        for i, zone in enumerate(zones)
        for j, cell in enumerate(table.cells)
        if table.totals[i, j] > 0 or made.geographies.in_chunks
    ]
    names = [*([table.geography] if table.geography is not None else []), *table.scope, "count"]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
