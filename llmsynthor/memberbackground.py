"""The background of records with members: records first, then each member given its record.

Members are drawn independently of each other: no table says how they go together. Rules across
levels ("exactly one head") then refuse most records, so that these are not thrown away but get
other members, one at a time, until the rules hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.background import Background, stratified_draw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmsynthor.members import Members
    from llmsynthor.tables import TableSet


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
            columns = members.columns(slot)
            given = {
                name: own[column][there]
                for name in members.own.names
                if (column := members.column(name, slot)) in own
            }
            wide[there, columns] = self.draw_members(wide[there], random, given)
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
