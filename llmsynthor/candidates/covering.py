"""Covering: background in every cell that wants records and that hardly any candidate is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.candidates.rules import broken_mask
from llmsynthor.seeds import generator
from llmsynthor.targets.domain import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.drawn import Part
    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.targets.table import Table

_THIN = 4
"""Candidates; a cell with fewer is covered."""
_DRAWS = 24
_TRIES = 20


@dataclass(frozen=True, eq=False)
class EmptyCell:
    """A cell that wants records and that no candidate can fill."""

    table: Table
    cell: int
    broken: tuple[str, ...]


def cover(
    sampler: Sampler, parts: Sequence[Part], share: float, iteration: int
) -> tuple[list[Part], list[EmptyCell]]:
    """Return more background for every control cell that hardly any candidate is in.

    Args:
        sampler: Draws it.
        parts: The candidates so far.
        share: Share of the prior that is background.
        iteration: Names the random numbers.
    """
    found: list[Part] = []
    empty: list[EmptyCell] = []
    for number, table in enumerate(sampler.tables.control):
        there = np.zeros(table.cells, dtype=np.int64)
        for codes, *_ in [*parts, *found]:
            there += table.tally(codes, sampler.domain)
        thin = np.flatnonzero((there < _THIN) & (table.flat_share > 0))
        # members of one record are repaired many times before it is given up
        rounds = _TRIES if sampler.members is None else 1
        more, broken = cover_cells(sampler, table, thin, share, (iteration, number), rounds)
        found += more
        empty += [
            EmptyCell(table, cell, names) for cell, names in broken.items() if not there[cell]
        ]
    return found, empty


def cover_cells(
    sampler: Sampler,
    table: Table,
    cells: np.ndarray,
    share: float,
    path: tuple[int, int],
    rounds: int,
) -> tuple[list[Part], dict[int, tuple[str, ...]]]:
    """Draw background in some cells of a table, all of them at once.

    Args:
        sampler: Draws it.
        table: The table.
        cells: Which of its cells.
        share: Share of the prior that is background.
        path: Names the random numbers.
        rounds: How often those that are still empty are tried.

    Returns:
        What was drawn, and the cells in which nothing lawful was, with the rules in the way.
    """
    found: list[Part] = []
    broken: dict[int, set[str]] = {int(cell): set() for cell in cells}
    for attempt in range(rounds if len(cells) else 0):
        random = generator(sampler.seed, "cover", *path, attempt)
        rows = np.repeat(np.arange(len(cells)), _DRAWS)
        place = np.unravel_index(cells[rows], table.share.shape)
        fixed = {
            wide: _codes_in(sampler.marginals[wide], group, position, random)
            for wide, group, position in zip(
                _first(sampler, table), table.groups, place, strict=True
            )
        }
        codes, position = sampler.draw_background(len(rows), "cover", *path, attempt, fixed=fixed)
        keep = sampler.lawful(codes, position)
        kept = np.bincount(rows[keep], minlength=len(cells))
        mass = share * table.flat_share[cells] / np.maximum(kept, 1)
        source = np.full(int(keep.sum()), BACKGROUND, dtype=np.int64)
        found.append((codes[keep], position[keep], mass[rows[keep]], source))
        failed = kept == 0
        for cell in cells[~failed]:
            del broken[int(cell)]
        if not failed.any():
            break
        vain = np.flatnonzero(failed[rows])
        frame = sampler.frame(codes[vain], position[vain])
        for rule in sampler.rules:
            for cell in np.unique(cells[rows[vain[broken_mask([rule], frame)]]]):
                broken[int(cell)].add(rule.name)
        cells = cells[failed]
    return [part for part in found if len(part[0])], {
        cell: tuple(sorted(names)) for cell, names in broken.items()
    }


def _first(sampler: Sampler, table: Table) -> list[str]:
    """Return the wide variables of a table's scope, those of members for their first slot."""
    if sampler.members is None:
        return list(table.scope)
    return [sampler.members.column(name, 0) for name in table.scope]


def _codes_in(
    marginal: np.ndarray, group: np.ndarray, wanted: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Return a code of each wanted group, in proportion to the marginal inside the group.

    Args:
        marginal: Share of each code, shape `(size,)`.
        group: Group of each code, shape `(size,)`.
        wanted: Groups, shape `(rows,)`.
        random: Source of randomness.
    """
    inside = np.bincount(group, weights=marginal)
    weight = np.where(inside[group] > 0, marginal, 1.0)  # nobody is there: evenly
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(weight[order])
    last = np.cumsum(np.bincount(group))  # codes up to and with each group
    top = ends[last - 1]
    bottom = np.concatenate([[0.0], top[:-1]])
    level = bottom[wanted] + random.random(len(wanted)) * (top - bottom)[wanted]
    found = np.searchsorted(ends, level, side="right")
    first = np.concatenate([[0], last[:-1]])
    return np.asarray(order[np.clip(found, first[wanted], last[wanted] - 1)])
