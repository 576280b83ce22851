"""Target tables: what a table is, what it wants and holds, and a job's tables over their domain."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmsynthor.files.bins import cell_label
from llmsynthor.targets.bins import start_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmsynthor.targets.domain import Domain, Members, Variable
    from llmsynthor.targets.read_statistics import RawStatistics
    from llmsynthor.targets.statistic import Statistic
    from llmsynthor.targets.zones import Zones

_ROUNDED = 0.5
"""Of one count, in records or members."""
Role = Literal["control", "validate", "released"]


@dataclass(frozen=True, eq=False)
class Table:
    """One macro-statistic: shares of all records over the cells of its scope.

    Attributes:
        name: Unique in the job.
        file: As written in the job.
        role: `control`, `validate`, or `released` by the scenario: scored, and where no control
            table has a variable, the start that proposals and background tilt.
        scope: Its variables, in the file's order.
        labels: Per variable the table's own categories or bins.
        groups: Per variable the table's code of each of the domain's codes, int32.
        figures: Counts or shares as published, shape = number of labels of each variable.
        measure: `count` or `share`.
        rounding: Largest rounding error of one published figure, in the figures' unit.
        moe: Margin of error of each figure (90 % confidence, as the US Census Bureau publishes
            it), shape and unit of `figures`, or None.
        tolerance: Largest TVD at which the table passes; None leaves that to the job.
        weight: How strongly a soft table holds; None is 1.
        filled_cells: Cells that the publisher does not give; their figures are estimates.
        filled_from: What these estimates come from, in words.
        known_hold: Whether the cells without a margin of error must be met although the table is
            soft: it is so for its estimates only.
        members: Whose members the figures count; None where they count records.
        per_record: How many there are of what the figures count, for each record.
    """

    name: str
    file: str
    role: Role
    scope: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    groups: tuple[np.ndarray, ...]
    figures: np.ndarray
    measure: Literal["count", "share"]
    rounding: float = 0.0
    moe: np.ndarray | None = None
    tolerance: float | None = None
    weight: float | None = None
    filled_cells: tuple[int, ...] = ()
    filled_from: str = ""
    known_hold: bool = False
    members: Members | None = None
    per_record: float = 1.0

    @property
    def is_soft(self) -> bool:
        """Return whether the table gives way where it and others cannot all be met."""
        return not (self.tolerance is None and self.weight is None and self.moe is None)

    @property
    def filled(self) -> int:
        """Return how many cells the publisher does not give."""
        return len(self.filled_cells)

    @cached_property
    def firm(self) -> np.ndarray:
        """Return which cells must be met to the record, shape `(cells,)`."""
        if self.is_soft and self.known_hold and self.moe is not None:
            return np.asarray(self.moe.ravel() == 0)
        return np.full(self.cells, not self.is_soft)

    @property
    def is_rounded(self) -> bool:
        """Return whether the counts were rounded to more than one, so that sums of them are not exact."""
        return self.measure == "count" and self.rounding > _ROUNDED

    def coarsens(self, variable: Variable) -> bool:
        """Return whether the table has fewer cells than the domain along a variable of its scope."""
        return len(self.labels[self.scope.index(variable.name)]) < variable.size

    @cached_property
    def total(self) -> float:
        """Return the sum of the published figures (about 1 where they are shares)."""
        return float(self.figures.sum())

    @cached_property
    def share(self) -> np.ndarray:
        """Return the target shares, sum 1, in the shape of `figures`."""
        return self.figures / self.total

    def wanted(self, records: float) -> np.ndarray:
        """Return how much each cell wants of so many records, in the shape of `figures`.

        It counts records, or their members; whole where the figures count them.
        """
        return np.asarray(self.figures * (records * self.per_record / self.total))

    @property
    def counted(self) -> str:
        """Return what the figures count, in words."""
        return "records" if self.members is None else f"{self.members.name}s"

    @property
    def cells(self) -> int:
        """Return the number of cells."""
        return int(self.figures.size)

    @cached_property
    def flat_share(self) -> np.ndarray:
        """Return the target shares in cell order, shape `(cells,)`."""
        return self.share.ravel()

    def cell_index(self, codes: np.ndarray, domain: Domain) -> np.ndarray:
        """Return the cell of each row of `codes` (rows x variables of `domain`), int64.

        Returns:
            Shape `(rows,)`. Where the table counts members `(slots, rows)`, the cell of each
            member; `cells`, which is none, where a slot is not in use.
        """
        if self.members is None:
            return self._index(codes, [domain.positions[name] for name in self.scope])
        found = np.full((self.members.most, len(codes)), self.cells, dtype=np.int64)
        for slot, (rows, cells) in enumerate(self._of_members(self.members, codes, domain)):
            found[slot, rows] = cells
        return found

    def _of_members(
        self, members: Members, codes: np.ndarray, domain: Domain
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield for each slot the rows that have a member there, and the cells of these."""
        for slot, there in enumerate(members.present(codes)):
            rows = np.flatnonzero(there)
            columns = [domain.positions[members.column(name, slot)] for name in self.scope]
            yield rows, self._index(codes, columns, rows)

    def _index(
        self, codes: np.ndarray, columns: Sequence[int], rows: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the cells of some rows, or of all; only the columns that count are copied."""
        index = np.zeros(len(codes) if rows is None else len(rows), dtype=np.int64)
        for column, group, size in zip(columns, self.groups, self.share.shape, strict=True):
            index = index * size + group[codes[slice(None) if rows is None else rows, column]]
        return index

    def tally(
        self, codes: np.ndarray, domain: Domain, weights: np.ndarray | None = None
    ) -> np.ndarray:
        """Return how much of rows of `codes`, or of their weight, each cell holds, `(cells,)`."""
        if self.members is not None and weights is None:
            parts = (cells for _, cells in self._of_members(self.members, codes, domain))
            return np.sum([np.bincount(cells, minlength=self.cells) for cells in parts], axis=0)
        index = self.cell_index(codes, domain)
        if weights is not None:
            weights = np.broadcast_to(weights, index.shape).ravel()
        return np.bincount(index.ravel(), weights, self.cells + 1)[: self.cells]

    def rounding_room(self, share: np.ndarray, cells: np.ndarray | float = 1.0) -> np.ndarray:
        """Return by how much the rounding of published figures can move shares of this table.

        They are shares of cells, or of sums of so many `cells`.
        """
        scaling = min(abs(self.total - 1.0), self.rounding * self.cells) / self.total
        return cells * (self.rounding / self.total) + share * scaling

    def cell_name(self, cell: int) -> str:
        """Return a cell's name for people."""
        position = np.unravel_index(cell, self.share.shape)
        return cell_label(
            self.scope, [names[int(p)] for names, p in zip(self.labels, position, strict=True)]
        )


@dataclass(frozen=True)
class TableSet:
    """The tables of a job over their common domain.

    Attributes:
        domain: Variables of the record, and behind them those of its members, once.
        tables: The tables.
        members: What the members are, or None.
        zones: The zones, or None.
        statistics: Means, sums, quantiles and rates beside the tables.
        sources: What was read of them.
    """

    domain: Domain
    tables: tuple[Table, ...]
    members: Members | None = None
    zones: Zones | None = None
    statistics: tuple[Statistic, ...] = ()
    sources: tuple[RawStatistics, ...] = ()

    @property
    def wide(self) -> Domain:
        """Return what the columns of records' codes are: `domain`, with members slot by slot."""
        return self.domain if self.members is None else self.members.wide

    @cached_property
    def of_records(self) -> TableSet:
        """Return the record's variables with the tables that count records."""
        if self.members is None:
            return self
        tables = tuple(table for table in self.tables if table.members is None)
        return TableSet(self.members.record, tables, statistics=self.statistics)

    @cached_property
    def of_members(self) -> TableSet:
        """Return all variables with the tables that count members, each member a row of its own."""
        tables = [table for table in self.tables if table.members is not None]
        return TableSet(
            self.domain,
            tuple(replace(t, members=None, per_record=1.0) for t in tables),
            statistics=self.statistics,
        )

    @cached_property
    def control(self) -> tuple[Table, ...]:
        """Return the tables to be met."""
        return tuple(table for table in self.tables if table.role == "control")

    @cached_property
    def hard(self) -> tuple[Table, ...]:
        """Return the control tables that must be met to the record."""
        return tuple(table for table in self.control if not table.is_soft)

    @property
    def population(self) -> float | None:
        """Return how many records the tables are published for; None where they give shares only.

        Of a soft table that counts others only the shares are used where there is a hard one.
        """
        counted = [t for t in self.control if t.measure == "count" and t.members is None]
        return min(counted, key=lambda table: table.is_soft).total if counted else None

    @cached_property
    def released(self) -> tuple[Table, ...]:
        """Return the tables that the scenario frees."""
        return tuple(table for table in self.tables if table.role == "released")

    @cached_property
    def validate(self) -> tuple[Table, ...]:
        """Return the tables that are only scored."""
        return tuple(table for table in self.tables if table.role == "validate")

    def marginal(self, name: str) -> np.ndarray:
        """Return the target share of each category or bin of a variable, shape `(size,)`.

        It comes from the control table that cuts the variable finest; what no table splits is
        split evenly over a bin's width (or over the categories). A released table stands in where
        no control table has the variable: without it a scenario would begin from nothing. Shares
        of a record's variable are of records, those of a member's of members.
        """
        if self.members is not None:
            return self._of_level(name).marginal(name)
        variable = self.domain[name]
        tables = self._with(name)
        width = np.diff(variable.edges) if variable.is_numeric else np.ones(variable.size)
        if not tables:
            start = (
                start_of(variable, self.statistics, self.population)
                if variable.is_numeric
                else None
            )
            share = width if start is None else start
            return np.asarray(share / share.sum())
        best = max(tables, key=lambda t: (t.share.shape[t.scope.index(name)], -len(t.scope)))
        axis = best.scope.index(name)
        coarse = best.share.sum(axis=tuple(i for i in range(best.share.ndim) if i != axis))
        group = best.groups[axis]
        inside = np.bincount(group, weights=width, minlength=len(coarse))
        return np.asarray(coarse[group] * width / inside[group])

    def has_marginal(self, name: str) -> bool:
        """Return whether a table says the marginal of a variable."""
        return bool(self._of_level(name)._with(name))

    def _of_level(self, name: str) -> TableSet:
        """Return the tables that count what has this variable: records or members."""
        own = self.members.own.positions if self.members is not None else ()
        return self.of_members if name in own else self.of_records

    def _with(self, name: str) -> list[Table]:
        """Return the control tables that have a variable, else the released ones."""
        return [table for table in self.control if name in table.scope] or [
            table for table in self.released if name in table.scope
        ]

    def uncovered_pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of variables that no control table has together, in domain order."""
        covered = {frozenset((a, b)) for t in self.control for a in t.scope for b in t.scope}
        names = self.domain.names
        return [
            (a, b)
            for i, a in enumerate(names)
            for b in names[i + 1 :]
            if frozenset((a, b)) not in covered
        ]
