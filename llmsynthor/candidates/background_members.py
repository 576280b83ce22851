"""The background of records with members: records first, then each member given its record.

Members are drawn independently of each other: no table says how they go together. Rules across
levels ("exactly one head") then refuse most records, so that these are not thrown away but get
other members, one at a time, until the rules hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.candidates.background import Background, stratified_draw

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmsynthor.targets.domain import Members
    from llmsynthor.targets.table import TableSet

_REPAIRS = 40
_IDLE_REPAIRS = 8
"""Repairs in a row that mend no record; then none that is left can be mended."""
_TRIED_AT_ONCE = 4000
"""Records."""
_MOST_WAYS = 24
_ALL_ANEW = 10
"""Of so many repairs of an unlawful record's members one draws all of them anew."""


class MemberBackground:
    """Draws wide records that follow the control tables of both levels as far as one pass can."""

    def __init__(self, tables: TableSet, members: Members) -> None:
        self.members = members
        self._records = Background(tables.of_records)
        self._own = Background(tables.of_members)
        given = {n for table in tables.of_members.control for n in table.scope}
        self._given = [name for name in members.record.names if name in given]
        own = {name: tables.marginal(name) for name in members.own.names}
        self.marginals = {
            members.column(name, slot): share
            for slot in range(members.most)
            for name, share in own.items()
        } | {name: tables.marginal(name) for name in tables.domain.names}

    def draw(
        self, rows: int, random: np.random.Generator, fixed: Mapping[str, np.ndarray] | None = None
    ) -> np.ndarray:
        """Return wide codes of `rows` records, int32, shape `(rows, wide variables)`.

        Args:
            rows: How many.
            random: Source of randomness.
            fixed: Wide variables whose codes are given, each of shape `(rows,)`. A record with a
                variable of a slot given has a member in that slot.
        """
        members, fixed = self.members, fixed or {}
        own = {name: codes for name, codes in fixed.items() if name not in members.record.positions}
        least = 1 + max(
            ((members.slot_of(members.wide.positions[n]) or 0) for n in own), default=-1
        )
        record = {name: codes for name, codes in fixed.items() if name not in own}
        if least and members.size not in record:
            record[members.size] = self._sizes(rows, least, random)
        wide = np.zeros((rows, len(members.wide.names)), dtype=np.int32)
        wide[:, : len(members.record.names)] = self._records.draw(rows, random, record)
        present = members.present(wide)
        for slot, there in enumerate(present):
            self._draw_slot(wide, slot, there, fixed, random)
        return wide

    def _sizes(self, rows: int, least: int, random: np.random.Generator) -> np.ndarray:
        """Return codes of sizes of at least `least`, as often as members have them."""
        number = self.members.number
        share = self.marginals[self.members.size] * number * (number >= least)
        if not share.sum() > 0:
            share = (number >= least).astype(float)
        return stratified_draw((share / share.sum())[None, :], np.zeros(rows, np.int64), random)

    def draw_members(
        self,
        wide: np.ndarray,
        random: np.random.Generator,
        fixed: Mapping[str, np.ndarray] | None = None,
    ) -> np.ndarray:
        """Return one member's codes for each record, int32, shape `(rows, member variables)`.

        Args:
            wide: Wide codes of the records; what they have decides which members are likely.
            random: Source of randomness.
            fixed: Variables of the members whose codes are given, each of shape `(rows,)`.
        """
        record = self.members.record.positions
        given = {name: wide[:, record[name]] for name in self._given}
        drawn = self._own.draw(len(wide), random, {**given, **(fixed or {})})
        return drawn[:, len(record) :]

    def repair(
        self,
        codes: np.ndarray,
        position: np.ndarray,
        fixed: Mapping[str, np.ndarray],
        random: np.random.Generator,
        places: Callable[[np.ndarray, np.random.Generator], np.ndarray],
        lawful: Callable[[np.ndarray, np.ndarray], np.ndarray],
    ) -> None:
        """Draw members anew, mostly one at a time, in the records that break a rule.

        Where few records are left, each is tried in several ways at once.

        Args:
            codes: Wide codes; those of mended records change.
            position: Positions of the numbers inside their bins; they change with the codes.
            fixed: As in `draw`.
            random: Source of randomness.
            places: Draws positions for codes.
            lawful: Says which codes and positions break no rule.
        """
        wrong = np.flatnonzero(~lawful(codes, position))
        idle = 0
        for attempt in range(_REPAIRS):
            if not len(wrong) or idle > _IDLE_REPAIRS:
                return
            ways = int(np.clip(_TRIED_AT_ONCE // len(wrong), 1, _MOST_WAYS))
            rows = np.repeat(wrong, ways)
            some = codes[rows]
            given = {name: values[rows] for name, values in fixed.items()}
            self._member_anew(some, given, random, every=attempt % _ALL_ANEW == 0)
            there = places(some, random)
            kept = lawful(some, there).reshape(-1, ways)
            first = np.arange(len(wrong)) * ways + kept.argmax(axis=1)
            codes[wrong], position[wrong] = some[first], there[first]
            idle = 0 if kept.any() else idle + 1
            wrong = wrong[~kept.any(axis=1)]

    def _member_anew(
        self,
        codes: np.ndarray,
        fixed: Mapping[str, np.ndarray],
        random: np.random.Generator,
        *,
        every: bool,
    ) -> None:
        """Draw one member of each record anew, or every one; changes `codes`."""
        sizes = self.members.sizes(codes)
        chosen = (random.random(len(codes)) * sizes).astype(np.int64)
        for slot in range(self.members.most):
            anew = (sizes > slot) & (every | (chosen == slot))
            self._draw_slot(codes, slot, anew, fixed, random)

    def _draw_slot(
        self,
        wide: np.ndarray,
        slot: int,
        there: np.ndarray,
        fixed: Mapping[str, np.ndarray],
        random: np.random.Generator,
    ) -> None:
        """Draw the members of one slot in the records `there`; changes `wide`."""
        given = {
            name: fixed[column][there]
            for name in self.members.own.names
            if (column := self.members.column(name, slot)) in fixed
        }
        wide[there, self.members.columns(slot)] = self.draw_members(wide[there], random, given)
