"""The tables of a job with zones as others need them: without zones, over chunks, of one chunk.

Which zones are worked on together in a chunk is decided by the job alone. Zones stand in the
crosswalk's order, sorted by what they lie within, the coarsest geography first. Whole places stay
together where they fit; chunks are then filled one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.targets.domain import Domain, Variable
from llmsynthor.targets.margins import added, common_groups, renumbered
from llmsynthor.targets.table import Table, TableSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmsynthor.targets.domain import Members
    from llmsynthor.targets.zones import Zones

MOST_CELLS = 1500
"""Cells of control tables in a chunk, about: calibration takes a step in time with their cube."""
_LEAST_ROOM = 0.5
"""Share of those cells that zones get however many cells all chunks have in common."""
_SLACK = 1.15
"""How much larger than the average a chunk may be, where it need not be as large as may be."""
_USED = ("control", "released")
_NEARLY_WHOLE = 1e-6
_PART = 0.5
"""Records; how far a cell gives way whose figure is no whole number, as if it had been rounded."""


@dataclass(frozen=True, eq=False)
class Chunking:
    """Zones in chunks, and the parts of chunks that coarser geographies cut them into.

    Attributes:
        zones: Codes of each chunk's zones.
        part: Part of each zone: zones of a chunk that lie within the same places, as far as these
            places reach into other chunks. Int32, shape `(zones,)`.
        chunk_of_part: Chunk of each part, shape `(parts,)`.
    """

    zones: tuple[np.ndarray, ...]
    part: np.ndarray
    chunk_of_part: np.ndarray

    def __len__(self) -> int:
        return len(self.zones)


def chunk_zones(tables: TableSet, zones: Zones, records: int, chunk_records: int) -> Chunking:
    """Return the zones of a job in chunks of about so many records; a zone is never cut."""
    size = _sizes(tables, zones, records, chunk_records)
    total = float(size.sum())
    limit = min(1.0, _SLACK * total / np.ceil(total))
    used = [n for n in _used(tables, zones) if n != zones.variable]
    levels = sorted((zones.group(name) for name in used), key=lambda group: int(group.max()))
    ranks = [renumbered(group)[1] for group in levels]
    order = np.lexsort((np.arange(len(size)), *reversed(ranks)))
    chunk = np.empty(len(size), dtype=np.int64)
    number, room = 0, limit
    for unit in _units(order, levels, size, limit):
        own = float(size[unit].sum())
        if own > room and room < limit:
            number, room = number + 1, limit
        chunk[unit] = number
        room -= own
    return _chunking(chunk, levels)


def _chunking(chunk: np.ndarray, levels: Sequence[np.ndarray]) -> Chunking:
    part = chunk
    for group in levels:
        pairs = np.unique(np.stack([group.astype(np.int64), chunk]), axis=1)
        straddles = np.bincount(pairs[0])[group] > 1
        place = np.where(straddles, group + 1, 0)
        part = part * (int(place.max()) + 1) + place
        part = np.unique(part, return_inverse=True)[1]
    chunk_of_part = np.empty(int(part.max()) + 1, dtype=np.int64)
    chunk_of_part[part] = chunk
    by_chunk = np.argsort(chunk, kind="stable")
    ends = np.cumsum(np.bincount(chunk))[:-1]
    return Chunking(tuple(np.split(by_chunk, ends)), part.astype(np.int32), chunk_of_part)


def _units(
    zones: np.ndarray, levels: Sequence[np.ndarray], size: np.ndarray, limit: float
) -> Iterator[np.ndarray]:
    """Yield the zones in their order, in the largest places that are within the limit."""
    if not levels:
        yield from (zones[i : i + 1] for i in range(len(zones)))
        return
    ranks = renumbered(levels[0][zones])[1]
    for rank in range(int(ranks.max()) + 1):
        place = zones[ranks == rank]
        if size[place].sum() <= limit:
            yield place
        else:
            yield from _units(place, levels[1:], size, limit)


def _used(tables: TableSet, zones: Zones) -> list[str]:
    """Return the geographies that tables which records follow have."""
    shapes = {
        table.groups[table.scope.index(zones.variable)].tobytes()
        for table in (*tables.control, *tables.released)
        if zones.variable in table.scope
    }
    return [name for name in zones.names() if zones.group(name).tobytes() in shapes]


def _sizes(tables: TableSet, zones: Zones, records: int, chunk_records: int) -> np.ndarray:
    """Return how much of a chunk each zone takes: its records or its cells, whichever is more."""
    cells = np.zeros(len(zones.labels))
    common = 0
    for table in tables.control:
        if zones.variable not in table.scope:
            common += table.cells
            continue
        axis = table.scope.index(zones.variable)
        group = table.groups[axis]
        in_place = table.cells / table.share.shape[axis]
        cells += in_place / np.bincount(group)[group]
    room = max(MOST_CELLS - common, MOST_CELLS * _LEAST_ROOM)
    own = records * tables.marginal(zones.variable)
    return np.asarray(np.maximum(own / chunk_records, cells / room))


def without_zones(tables: TableSet) -> TableSet:
    """Return the tables summed over the zones, and a domain that does not have them.

    Of tables that are alike then the first is left.
    """
    zones = _zones(tables)
    domain = Domain(tuple(v for v in tables.domain.variables if v.name != zones.variable))
    kept: list[Table] = []
    for table in tables.tables:
        fewer = summed(table, zones.variable)
        if fewer.scope and not any(_alike(fewer, other) for other in kept):
            kept.append(fewer)
    return _over_domain(tables, domain, kept)


def over_parts(tables: TableSet, chunking: Chunking) -> TableSet:
    """Return the tables over parts of chunks in place of zones, for the coarse step."""
    zones = _zones(tables)
    variable = Variable(zones.variable, "category", _names_of_parts(chunking))
    kept = [
        _over(table, zones.variable, chunking.part) if zones.variable in table.scope else table
        for table in tables.tables
        if table.role in _USED
    ]
    return _over_domain(tables, _with(tables.domain, variable), kept)


def of_chunk(
    tables: TableSet,
    chunking: Chunking,
    chunk: int,
    records: int,
    codes: np.ndarray,
) -> TableSet:
    """Return the tables of one chunk, their figures in records.

    A table over zones, and one over places that lie in the chunk whole, has the figures that it
    has; all else comes from the coarse records of the chunk.

    Args:
        tables: All tables of the job.
        chunking: Its chunks.
        chunk: Which one.
        records: Records of the job.
        codes: Coarse records of the chunk (with their members beside them), their zone variable
            coded by part.
    """
    zones = _zones(tables)
    own = chunking.zones[chunk]
    labels = tuple(zones.labels[z] for z in own)
    domain = _with(tables.domain, replace(tables.domain[zones.variable], labels=labels))
    kept = []
    for table in tables.tables:
        if table.role not in _USED:
            continue
        scale = records * table.per_record / table.total
        if zones.variable in table.scope:
            small = _within(table, tables, chunking, chunk, scale, codes)
        else:
            small = replace(table, figures=_tallied(table, codes, tables.wide), rounding=0.0)
            small = replace(small, moe=None if table.moe is None else table.moe * scale)
        small = replace(small, measure="count")
        if small.figures.sum() > 0:
            kept.append(small)
    kept = _counting(kept, codes, tables.members)
    return _over_domain(tables, domain, kept, zones.take(own))


def whole(tables: TableSet) -> TableSet:
    """Return the tables of a job with one chunk as that chunk's."""
    return replace(tables, tables=tuple(t for t in tables.tables if t.role in _USED))


def _over_domain(
    tables: TableSet, domain: Domain, kept: Sequence[Table], zones: Zones | None = None
) -> TableSet:
    """Return tables over a domain whose zones are others than the job's, or which has none."""
    members = tables.members
    if members is not None:
        there = members.record.names
        record = Domain(tuple(v for v in domain.variables if v.name in there))
        members = replace(members, record=record)
        kept = [
            table if table.members is None else replace(table, members=members) for table in kept
        ]
    return TableSet(domain, tuple(kept), members, zones)


def _counting(kept: Sequence[Table], codes: np.ndarray, members: Members | None) -> list[Table]:
    """Return the tables of a chunk, those of members with how many there are for each record.

    A table that must be met has the number that its figures say; one that gives way has that of a
    hard one, or else of the coarse records.
    """
    if members is None:
        return list(kept)
    hard = (
        t.total for t in kept if t.members is not None and t.role == "control" and not t.is_soft
    )
    each = next(hard, float(members.sizes(codes).sum())) / len(codes)
    return [
        table
        if table.members is None
        else replace(table, per_record=each if table.is_soft else table.total / len(codes))
        for table in kept
    ]


def _within(
    table: Table,
    tables: TableSet,
    chunking: Chunking,
    chunk: int,
    scale: float,
    codes: np.ndarray,
) -> Table:
    """Return a table over zones or places with those of a chunk only."""
    axis = table.scope.index(_zones(tables).variable)
    group, own = table.groups[axis], chunking.zones[chunk]
    places, new = np.unique(group[own], return_inverse=True)
    inside = np.bincount(group[own], minlength=table.share.shape[axis])
    cut = (inside < np.bincount(group, minlength=len(inside)))[places]
    figures = np.take(table.figures, places, axis) * scale
    if cut.any():
        # every zone of a part lies in the same place, as far as the place is cut
        place_of_part = np.zeros(len(chunking.chunk_of_part), dtype=np.int32)
        place_of_part[chunking.part] = group
        groups = (*table.groups[:axis], place_of_part, *table.groups[axis + 1 :])
        held = _tallied(replace(table, groups=groups), codes, tables.wide)
        where = [slice(None)] * figures.ndim
        where[axis] = cut
        figures[tuple(where)] = np.take(held, places[cut], axis)
    # the coarse records are whole: where this table's figures are not, the two differ by their parts
    parted = np.abs(figures - np.round(figures)).max(initial=0.0) > _NEARLY_WHOLE
    return replace(
        table,
        labels=_set(table.labels, axis, tuple(table.labels[axis][p] for p in places)),
        groups=_set(table.groups, axis, new.astype(np.int32)),
        figures=figures,
        rounding=max(table.rounding * scale, _PART if parted else 0.0),
        moe=None if table.moe is None else np.take(table.moe, places, axis) * scale,
    )


def _over(table: Table, name: str, part: np.ndarray) -> Table:
    """Return a table with its zones or places summed so far that each is of whole parts."""
    axis = table.scope.index(name)
    group = table.groups[axis]
    component = common_groups(group, part)
    size = int(component.max()) + 1
    of_place = np.zeros(table.share.shape[axis], dtype=np.int64)
    of_place[group] = component
    of_part = np.zeros(int(part.max()) + 1, dtype=np.int32)
    of_part[part] = component
    largest = int(np.bincount(of_place, minlength=size).max())
    names = np.zeros(size, dtype=np.int64)
    names[component[::-1]] = group[::-1]  # the first place of each
    return replace(
        table,
        labels=_set(table.labels, axis, tuple(table.labels[axis][p] for p in names)),
        groups=_set(table.groups, axis, of_part),
        figures=added(table.figures, axis, of_place, size),
        rounding=table.rounding * largest,
        moe=None if table.moe is None else np.sqrt(added(table.moe**2, axis, of_place, size)),
    )


def summed(table: Table, name: str) -> Table:
    """Return a table summed over a variable."""
    if name not in table.scope:
        return table
    axis = table.scope.index(name)
    return replace(
        table,
        scope=(*table.scope[:axis], *table.scope[axis + 1 :]),
        labels=(*table.labels[:axis], *table.labels[axis + 1 :]),
        groups=(*table.groups[:axis], *table.groups[axis + 1 :]),
        figures=table.figures.sum(axis=axis),
        rounding=table.rounding * table.share.shape[axis],
        moe=None if table.moe is None else np.sqrt((table.moe**2).sum(axis=axis)),
    )


def _tallied(table: Table, codes: np.ndarray, domain: Domain) -> np.ndarray:
    held = table.tally(codes, domain).reshape(table.share.shape)
    return np.asarray(held, dtype=float)


def _alike(first: Table, second: Table) -> bool:
    return (
        first.scope == second.scope
        and first.counted == second.counted
        and first.role == second.role
        and first.is_soft == second.is_soft
        and first.labels == second.labels
    )


def _names_of_parts(chunking: Chunking) -> tuple[str, ...]:
    """Return what each part is called: its chunk, and its number in it where there are several."""
    parts = np.bincount(chunking.chunk_of_part)
    seen, names = [0] * len(parts), []
    for chunk in chunking.chunk_of_part.tolist():
        seen[chunk] += 1
        names.append(f"chunk {chunk}" + (f", part {seen[chunk]}" if parts[chunk] > 1 else ""))
    return tuple(names)


def _set(items: tuple, position: int, item: object) -> tuple:  # type: ignore[type-arg]
    return (*items[:position], item, *items[position + 1 :])


def _with(domain: Domain, variable: Variable) -> Domain:
    return Domain(tuple(variable if v.name == variable.name else v for v in domain.variables))


def _zones(tables: TableSet) -> Zones:
    if tables.zones is None:
        raise ValueError("the tables have no zones")
    return tables.zones
