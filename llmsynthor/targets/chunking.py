"""Chunks: which zones are worked on together, decided by the job alone.

Zones stand in the crosswalk's order, sorted by what they lie within, the coarsest geography first.
Whole places stay together where they fit; chunks are then filled one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.targets.zones import renumbered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmsynthor.targets.table import TableSet
    from llmsynthor.targets.zones import Zones

MOST_CELLS = 1500
"""Cells of control tables in a chunk, about: calibration takes a step in time with their cube."""
_LEAST_ROOM = 0.5
"""Share of those cells that zones get however many cells all chunks have in common."""
_SLACK = 1.15
"""How much larger than the average a chunk may be, where it need not be as large as may be."""


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
    """Return the zones of a job in chunks.

    Args:
        tables: The job's tables.
        zones: Its zones.
        records: Records of the job.
        chunk_records: Records of a chunk, about; a zone is never cut.
    """
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
