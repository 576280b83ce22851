"""What clashes in a job with members, and by how much, as far as drawn records show it.

Households cannot all be listed, as records without members can. So a cell that no drawn household
fills is tried rule by rule: one that a single rule empties is refused. What tables and rules leave
too little of is bounded for the drawn households by a linear program, and is a warning: it is no
proof, since there are others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.candidates.covering import cover_cells
from llmsynthor.candidates.sampler import Sampler
from llmsynthor.errors import InfeasibleError, Problem
from llmsynthor.feasibility.words import figure
from llmsynthor.fitting.controls import CountMatrix, binding_tables
from llmsynthor.text import clean, many

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.covering import EmptyCell
    from llmsynthor.candidates.rules import Rule
    from llmsynthor.targets.domain import Domain, Members
    from llmsynthor.targets.table import Table

_DRAWS = 4000
_MORE_DRAWS = 16_000
_TRIED = 1000
_MOST_CELLS = 20
"""Cells of one table that are tried rule by rule, those that want most."""
_MOST_SHOWN = 3
_CLEAR = 0.01
"""Share of the records; what is wrong by less may be for want of candidates."""
_LEAST = 0.5
"""Records or members; a smaller distance from the tables is none."""
_MAIN = 0.5
"""Share of the distance that a part of the tables and rules must explain to be named alone."""
_HINT = "correct a table or a rule, or give a table a `weight` or `tolerance` so that it gives way"
_START = 2000
_FRESH = 2000
_ROUNDS = 40
"""Of trying to fill a cell under one rule, and of a program with more records each."""
_WORTH = 1e-7


def check_drawn(sampler: Sampler, records: int) -> list[Problem]:
    """Return what seems to clash in a job with members; refuse what a single rule leaves none of.

    Raises:
        InfeasibleError: Names the rule, the cells and how much these want.
    """
    members = sampler.members
    if members is None or not (sampler.tables.hard or sampler.rules):
        return []
    _some_are_lawful(sampler, members)
    candidates, empty = sampler.candidates([], 1.0, _DRAWS, 0)
    empty = [cell for cell in empty if not cell.table.is_soft]
    alone = _emptied(sampler, empty)
    if alone:
        raise InfeasibleError(_emptied_words(sampler, alone, records), hint=_HINT)
    found = [Problem(_unfilled(cell, members, records), cell.table.file) for cell in empty]
    clash = find_clash(sampler, candidates.codes, records, _CLEAR * records)
    if clash is not None:  # so few may just have missed what is needed
        more = sampler.candidates([], 1.0, _MORE_DRAWS, 1)[0].codes
        both = np.unique(np.concatenate([candidates.codes, more]), axis=0)
        clash = find_clash(sampler, both, records, _CLEAR * records)
    return found if clash is None else [*found, Problem(clash.words(members), at=("tables",))]


def _some_are_lawful(sampler: Sampler, members: Members) -> None:
    """Refuse rules that no drawn record keeps."""
    if not sampler.rules or sampler.lawful(*sampler.draw_background(_TRIED, "feasibility")).any():
        return
    guilty = [
        rule
        for rule in sampler.rules
        if not (only := _under(sampler, [rule]))
        .lawful(*only.draw_background(_TRIED, "alone"))
        .any()
    ] or sampler.rules
    names = ", ".join(f"`{clean(rule.name)}`" for rule in guilty)
    which = "the rule" if len(guilty) == 1 else "the rules"
    raise InfeasibleError(
        f"none of {_TRIED:,} {many(members.of)} drawn from the tables keeps {which} {names}",
        hint="loosen a rule, or correct the tables",
    )


def _under(sampler: Sampler, rules: Sequence[Rule]) -> Sampler:
    """Return a sampler of the same tables under other rules."""
    return Sampler(sampler.tables, rules, sampler.seed)


def _emptied(sampler: Sampler, empty: Sequence[EmptyCell]) -> dict[int, list[tuple[Table, int]]]:
    """Return by rule the cells that it leaves no drawn record of, all other rules aside."""
    found: dict[int, list[tuple[Table, int]]] = {}
    for number, rule in enumerate(sampler.rules if empty else ()):
        only = _under(sampler, [rule])
        for position, table in enumerate(sampler.tables.control):
            own = [cell.cell for cell in empty if cell.table is table and rule.name in cell.broken]
            own = sorted(own, key=lambda cell: -table.flat_share[cell])[:_MOST_CELLS]
            path = (number, position)
            _, left = cover_cells(only, table, np.array(own, dtype=np.int64), 1.0, path, _ROUNDS)
            if left:
                found.setdefault(number, []).extend((table, cell) for cell in sorted(left))
    return found


def _emptied_words(
    sampler: Sampler, alone: dict[int, list[tuple[Table, int]]], records: int
) -> str:
    lines = []
    for number, cells in alone.items():
        rule = sampler.rules[number]
        for table, cell in cells[:_MOST_CELLS]:
            wants = _wants(table, cell, sampler.members, records)
            who = many(sampler.members.of) if sampler.members is not None else "records"
            lines.append(
                f"{table.file}: {table.cell_name(cell)} wants {wants}, and none of the {who} drawn for it "
                f"keeps the rule `{clean(rule.name)}`"
            )
        if len(cells) > _MOST_CELLS:
            lines.append(f"  and {len(cells) - _MOST_CELLS} more such cells")
        lines.append(f"  rules.{number} `{clean(rule.name)}` ({rule.text})")
    return "\n".join(lines)


def _unfilled(cell: EmptyCell, members: Members, records: int) -> str:
    rules = ", ".join(f"`{clean(name)}`" for name in cell.broken)
    return (
        f"{cell.table.cell_name(cell.cell)} wants "
        f"{_wants(cell.table, cell.cell, members, records)}, and no "
        f"{members.of} drawn for it keeps all the rules ({rules}); only a model's proposals or a "
        "seed sample may have one"
    )


def _wants(table: Table, cell: int, members: Members | None, records: int) -> str:
    """Return what a cell wants, in words."""
    wanted = figure(float(table.wanted(records).ravel()[cell]))
    noun = _noun(table, members)
    return f"{wanted} {noun if wanted == '1' else many(noun)}"


def _noun(table: Table, members: Members | None) -> str:
    """Return what a table counts one of, in words: a household where records are some."""
    return "record" if members is None else members.of if table.members is None else members.name


@dataclass(frozen=True, eq=False)
class Clash:
    """Tables that no weights of drawn records meet, and the rules that have to do with it.

    Attributes:
        tables: The tables.
        drawn: How many records were drawn.
        least: Records and members that are in wrong cells at least, whatever the weights.
        cells: The cells that are furthest off then, in words.
        rules: Rules without which much fewer are in wrong cells, each with how many.
        ruled: Whether it is all the rules together, and none by itself.
    """

    tables: tuple[Table, ...]
    drawn: int
    least: float
    cells: tuple[str, ...]
    rules: tuple[tuple[Rule, float], ...]
    ruled: bool

    def is_clear(self, records: int) -> bool:
        """Return whether more candidates would hardly help."""
        return self.least >= _CLEAR * records

    def words(self, members: Members | None) -> str:
        """Return the clash in one line."""
        who = "records" if members is None else many(members.of)
        counted = " and ".join(dict.fromkeys(many(_noun(table, members)) for table in self.tables))
        files = " and ".join(clean(table.file) for table in self.tables)
        names = " and ".join(f"`{clean(rule.name)}`" for rule, _ in self.rules)
        plural = len(self.rules) > 1
        while_ = (
            f" while the rule{'s' * plural} {names} hold{'' if plural else 's'}" if names else ""
        )
        while_ = " while all rules hold" if self.ruled and not names else while_
        both = {1: "", 2: " both"}.get(len(self.tables), " all")
        without = "".join(
            f", and without the rule `{clean(rule.name)}` {figure(least)}"
            for rule, least in self.rules
        )
        return (
            f"{files} cannot{both} be met{while_}: however the {self.drawn:,} candidate {who} are "
            f"weighted, {figure(self.least)} {counted} at least are in wrong cells{without} "
            f"(for example {'; '.join(self.cells)})"
        )


def find_clash(
    sampler: Sampler, codes: np.ndarray, records: int, least: float = 0.0
) -> Clash | None:
    """Return what keeps candidates from meeting the hard tables; None where they can.

    Args:
        sampler: Of the job.
        codes: Of the candidates, which keep the rules.
        records: How many records there are to be.
        least: How many must be in wrong cells for it to be told.
    """
    tables, domain = binding_tables(sampler.tables.hard, records), sampler.domain
    if not tables or not len(codes):
        return None
    weighing = Weighing(tables, codes, domain, records)
    whole, _ = weighing.shortfall()
    if whole < max(_LEAST, least):
        return None
    chosen = list(range(len(tables)))
    for number in range(len(tables)):
        rest = [t for t in chosen if t != number]
        if rest and weighing.shortfall(rest)[0] >= _MAIN * whole:
            chosen = rest
    missed, fitted = weighing.shortfall(chosen)
    kept = [tables[t] for t in chosen]

    def least_under(rules: Sequence[Rule]) -> float:
        more, _ = _under(sampler, rules).candidates([], 1.0, _DRAWS, 0)
        both = np.concatenate([codes, more.codes])
        return Weighing(kept, both, domain, records).shortfall()[0]

    rules = [
        (rule, least)
        for rule in sampler.rules
        if (least := least_under([r for r in sampler.rules if r is not rule])) < _MAIN * missed
    ]
    ruled = not rules and bool(sampler.rules) and least_under([]) < _MAIN * missed
    cells = _furthest(kept, fitted, sampler.members, records)
    return Clash(tuple(kept), len(codes), missed, cells, tuple(rules), ruled)


def _furthest(
    tables: Sequence[Table], fitted: Sequence[np.ndarray], members: Members | None, records: int
) -> tuple[str, ...]:
    """Return in words the cells in which the best weights are furthest off."""
    found: list[tuple[float, str]] = []
    for table, held in zip(tables, fitted, strict=True):
        wanted = table.wanted(records).ravel()
        for cell in np.argsort(-np.abs(held - wanted), kind="stable")[:_MOST_SHOWN]:
            off = abs(float(held[cell] - wanted[cell]))
            words = (
                f"{table.file}: {table.cell_name(int(cell))} wants {figure(float(wanted[cell]))} "
                f"{many(_noun(table, members))} and gets {figure(float(held[cell]))}"
            )
            found.append((-off, words))
    return tuple(words for off, words in sorted(found)[:_MOST_SHOWN] if -off >= _LEAST)


class Weighing:
    """Candidates whose weights should meet tables, for `records` records."""

    def __init__(
        self, tables: Sequence[Table], codes: np.ndarray, domain: Domain, records: int
    ) -> None:
        """Count how often each candidate is in each cell."""
        self.tables, self.records = tuple(tables), records
        index = [table.cell_index(codes, domain) for table in tables]
        self._targets = [table.wanted(records).ravel() for table in tables]
        self._starts = np.concatenate([[0], np.cumsum([len(t) for t in self._targets])])
        self._matrix = CountMatrix(index, self._targets, self._starts)
        self._room = [
            np.full(table.cells, table.rounding * records * table.per_record / table.total)
            for table in tables
        ]
        step = max(1, len(codes) // _START)
        self._used = np.arange(0, len(codes), step)

    def shortfall(
        self, chosen: Sequence[int] | None = None
    ) -> tuple[float, tuple[np.ndarray, ...]]:
        """Return by how much the best weights miss some of the tables, and what cells then hold.

        That is the records and members that are in wrong cells at least, over these tables; 0
        where they can be met.

        Args:
            chosen: Positions of the tables; None: all of them.
        """
        chosen = range(len(self.tables)) if chosen is None else chosen
        rows = np.concatenate([np.arange(*self._starts[t : t + 2]) for t in chosen])
        target = np.concatenate([self._targets[t] for t in chosen])
        room = np.concatenate([self._room[t] for t in chosen])
        least, fitted = 0.0, target
        for _ in range(_ROUNDS):
            prices, level, fitted = self._solve(rows, target, room)
            every = np.zeros(self._starts[-1])
            every[rows] = prices
            worth = self._matrix.spread(every) + level
            top = max(float(worth.max()), 0.0)
            bound = prices @ target - np.abs(prices) @ room + self.records * (level - top)
            least = max(least, float(bound))
            fresh = np.flatnonzero(worth > _WORTH)
            fresh = np.setdiff1d(fresh, self._used)
            if not len(fresh):
                break
            best = fresh[np.argsort(-worth[fresh], kind="stable")[:_FRESH]]
            self._used = np.sort(np.concatenate([self._used, best]))
        ends = np.cumsum([len(self._targets[t]) for t in chosen])[:-1]
        return least, tuple(np.split(fitted, ends))

    def _solve(
        self, rows: np.ndarray, target: np.ndarray, room: np.ndarray
    ) -> tuple[np.ndarray, float, np.ndarray]:
        """Return the prices of the cells and of a record, and what the cells hold."""
        from scipy.optimize import linprog  # slow imports, only here needed
        from scipy.sparse import coo_array, csc_array, eye_array, hstack, vstack

        counts = self._matrix.of_candidates(self._used)[:, rows].T
        cells, columns = counts.shape
        one = eye_array(cells)
        ones = coo_array(np.ones((1, columns)))
        matrix = csc_array(
            vstack([hstack([counts, one, -one, one]), hstack([ones, coo_array((1, 3 * cells))])])
        )
        # half, as one in a wrong cell is too many there and too few elsewhere
        cost = np.concatenate([np.zeros(columns), np.full(2 * cells, 0.5), np.zeros(cells)])
        bounds = np.zeros((len(cost), 2))
        bounds[:, 1] = np.inf
        bounds[-cells:] = np.stack([-room, room], axis=1)
        wanted = np.append(target, self.records)
        found = linprog(  # type: ignore[call-overload]
            cost, A_eq=matrix, b_eq=wanted, bounds=bounds, method="highs"
        )
        if found.x is None:
            return np.zeros(cells), 0.0, target
        prices = np.clip(found.eqlin.marginals[:-1], -0.5, 0.5)
        return prices, float(found.eqlin.marginals[-1]), counts @ found.x[:columns]
