"""Tables that disagree: made to agree as the job says, with an account of what changed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.errors import Problem
from llmsynthor.job.tables import ScaleTo
from llmsynthor.targets.agreement import (
    clashes,
    different_margins,
    larger_sizes,
    members_of_sizes,
    same_total,
)
from llmsynthor.targets.build import with_sizes
from llmsynthor.targets.reconcile.draft import Draft, covered, drafted, scaled_to
from llmsynthor.targets.reconcile.least_squares import nearest_agreeing
from llmsynthor.text import and_more, clean, count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.job.tables import Reconcile
    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.table import Table, TableSet

_SAME = 1e-6
_WHOLE_TO = 1e-6
_WHOLE = 10_000.0
"""What tables are brought to where none has counts."""
_MOST_DONORS = 3
_MOST_TOLD = 5
"""Tables that the terminal is told of."""
_UNITS = (1_000_000, 100_000, 10_000, 1000)
"""Smaller ones are found by chance too often: people write round numbers."""
_CHANCE = 1e-6
"""How likely it may be that counts which nobody rounded all are multiples of the unit."""


@dataclass(frozen=True)
class Reconciled:
    """A job's tables as they are used.

    Attributes:
        tables: All tables.
        changes: What became of those that changed.
        notes: What a reader must know, where it is not in `changes`.
    """

    tables: TableSet
    changes: tuple[Change, ...] = ()
    notes: tuple[Problem, ...] = ()

    @property
    def warnings(self) -> list[Problem]:
        """Return all of it in sentences, of many tables the first ones."""
        found = [note for change in self.changes[:_MOST_TOLD] for note in change.notes]
        more = len(self.changes) - _MOST_TOLD
        if more > 0:
            message = f"and {count_of(more, 'more table')} changed; report.json has them all"
            found.append(Problem(message, at=("reconcile",)))
        return [*self.notes, *found]


@dataclass(frozen=True)
class Change:
    """What became of one table.

    Attributes:
        published: As it was read.
        used: As it is used.
        by: The policy, in words.
        factor: What all its counts were multiplied by; 1 where it has shares.
        cells: How many cells changed besides.
        known: Whether cells that the table does give are among them.
        tvd: How far the shares moved.
        worst: The cell that changed most, or None.
        before: What was published there.
        after: What it is to hold.
        donors: What the table says nothing of, and who does.
    """

    published: Table
    used: Table
    by: str
    factor: float
    cells: int
    known: bool
    tvd: float
    worst: str | None
    before: float
    after: float
    donors: tuple[str, ...] = field(default_factory=tuple)

    @property
    def notes(self) -> list[Problem]:
        """Return what was changed in sentences."""
        file, found = self.published.file, []
        if self.factor != 1.0:
            found.append(
                f"the counts add up to {_figure(self.published.total)}, and are multiplied by "
                f"{self.factor:.6g} to fit the other tables ({self.by})"
            )
        if self.donors:
            shown = and_more(self.donors, _MOST_DONORS)
            found.append(f"nobody is listed here where others have some, who are taken in: {shown}")
        if self.known:
            by_factor = _figure(self.before * self.factor)
            multiplied = "" if self.factor == 1.0 else f" ({by_factor} multiplied)"
            found.append(
                f"{count_of(self.cells, 'cell')} changed ({self.by}), which moves "
                f"{100 * self.tvd:.3g} % of all; most in {self.worst}: {_figure(self.before)} "
                f"published{multiplied}, {_figure(self.after)} used"
            )
        return [Problem(message, file) for message in found]

    def as_json(self) -> dict[str, Any]:
        """Return it for `report.json`."""
        return {
            "by": self.by,
            "scaled_by": self.factor,
            "cells_changed": self.cells,
            "tvd": self.tvd,
            "worst": None
            if self.worst is None
            else {"cell": self.worst, "published": self.before, "used": self.after},
            "not_listed": list(self.donors),
        }


def reconcile(tables: TableSet, policy: Reconcile, records: int) -> Reconciled:
    """Return the tables made to agree by a policy.

    Under `error` no figure changes, and what disagrees is left for `disagreements` to name.
    """
    tables, notes = with_found_rounding(tables)
    if policy == "error":
        return Reconciled(tables, (), (*notes, *scaling_notes(tables, records)))
    by = policy.words if isinstance(policy, ScaleTo) else policy
    found: dict[str, Draft] = {}
    for counts_members in (False, True):
        own = [t for t in tables.control if (t.members is not None) == counts_members]
        if not own:
            continue
        if counts_members and not (isinstance(policy, ScaleTo) and _named(own, policy)):
            notes += _members_note(own, found, tables)
        if isinstance(policy, ScaleTo):
            drafts = _scaled_to(own, policy, found, tables)
        else:
            whole, slack = _whole(own) if not counts_members else _members(own, found, tables)
            drafts = [drafted(table, whole, slack) for table in own]
            drafts = _least_squares(drafts, tables.domain)
        found |= {draft.table.name: draft for draft in drafts}
    used = tuple(
        found[table.name].used() if table.name in found else table for table in tables.tables
    )
    pairs = zip(tables.tables, used, strict=True)
    changes = tuple(_change(found[old.name], new, by) for old, new in pairs if new is not old)
    tables = with_sizes(replace(tables, tables=used)) if changes else tables
    notes += [] if isinstance(policy, ScaleTo) else _stubborn(tables)
    return Reconciled(tables, changes, (*notes, *scaling_notes(tables, records)))


def _stubborn(tables: TableSet) -> list[Problem]:
    """Return in sentences which soft tables could not be made to agree."""
    return [
        Problem(
            "no figures of this table agree with all the others at once: it gives way in the run",
            table.file,
        )
        for table in tables.control
        if table.is_soft
        and any(
            (other.members is None) == (table.members is None)
            and different_margins(tables.domain, other, table)
            for other in tables.control
            if other is not table
        )
    ]


def measures_with(policy: Reconcile, tables: TableSet) -> bool:
    """Return whether the table that a policy fits others to is there, if it needs one."""
    return isinstance(policy, str) or any(t.name == policy.scale_to for t in tables.control)


def scaling_notes(tables: TableSet, records: int) -> list[Problem]:
    """Return in sentences which counts are multiplied because totals and records differ."""
    found: list[Problem] = []
    for counts_members in (False, True):
        own = [t for t in tables.control if (t.members is not None) == counts_members]
        counted = sorted((t for t in own if t.measure == "count"), key=lambda t: t.is_soft)
        if not counted:
            continue
        first = counted[0]
        factor = records / first.total
        room = first.rounding * first.cells + _SAME * first.total
        if not counts_members and abs(records - first.total) > room:
            message = (
                f"`records` is {records:,}, and the tables count {_figure(first.total)}: their "
                f"counts are multiplied by {factor:.4g}"
            )
            found.append(Problem(message, at=("records",)))
        others = [other for other in counted if not same_total(first, other)]
        found += [
            Problem(
                f"the counts add up to {_figure(other.total)}, those of {first.file} to "
                f"{_figure(first.total)}: only its shares are used",
                other.file,
            )
            for other in others[:_MOST_TOLD]
        ]
    return found


def _whole(tables: Sequence[Table]) -> tuple[float, float]:
    """Return the total that all are brought to, and by how much rounding may have moved it.

    It is that of the first table that has counts, hard ones before soft ones.
    """
    counted = [table for table in tables if table.measure == "count"]
    ordered = sorted(counted, key=lambda table: table.is_soft)
    if not ordered:
        return _WHOLE, 0.0
    return ordered[0].total, ordered[0].rounding * ordered[0].cells


def _members(
    own: Sequence[Table], records: dict[str, Draft], tables: TableSet
) -> tuple[float, float]:
    """Return how many members there are: as published, if the sizes of the records allow it."""
    whole, slack = _whole(own)
    members, sized = tables.members, _sized(own, records, tables)
    if members is None or sized is None:
        return whole, slack
    low, high = members_of_sizes(sized, members)
    return min(max(whole, low), high), slack


def _sized(own: Sequence[Table], records: dict[str, Draft], tables: TableSet) -> Table | None:
    """Return the table as used that says how many members records have; None where none does."""
    members = tables.members
    if members is None or not any(table.measure == "count" for table in own):
        return None
    sized = (
        draft.used()
        for draft in records.values()
        if members.size in draft.table.scope
        and draft.table.measure == "count"
        and not draft.table.is_soft
    )
    return next(sized, None)


def _members_note(
    own: Sequence[Table], records: dict[str, Draft], tables: TableSet
) -> list[Problem]:
    """Return in words that members are left out or added since the sizes allow no other number."""
    members, sized = tables.members, _sized(own, records, tables)
    published, brought = _whole(own)[0], _members(own, records, tables)[0]
    if members is None or sized is None or abs(published - brought) <= _SAME * published:
        return []
    low, high = members_of_sizes(sized, members)
    says = _figure(low) if low == high else f"{_figure(low)} to {_figure(high)}"
    why = larger_sizes(sized, members, published)
    message = (
        f"{_figure(published)} {clean(members.name)}s are published, and the sizes in {sized.file} "
        f"allow {says}: {_figure(brought)} are made{f'; {why}' if why else ''}"
    )
    first = next(t for t in sorted(own, key=lambda t: t.is_soft) if t.measure == "count")
    return [Problem(message, first.file)]


def _named(own: Sequence[Table], policy: ScaleTo) -> Table | None:
    return next((table for table in own if table.name == policy.scale_to), None)


def _scaled_to(
    own: Sequence[Table], policy: ScaleTo, found: dict[str, Draft], tables: TableSet
) -> list[Draft]:
    """Return the tables that count the same fitted to the named one, or to the first of them.

    The named table may count records and these members, or the other way round: these then have
    as many members as the sizes of the records allow.
    """
    named = _named(own, policy)
    if named is not None:
        return scaled_to(own, named, tables.domain)
    ordered = sorted(own, key=lambda t: (t.is_soft, t.measure != "count"))
    whole = _members(own, found, tables)[0] if own[0].members is not None else None
    if whole == _whole(own)[0]:
        whole = None
    return scaled_to(own, ordered[0], tables.domain, whole)


def _least_squares(drafts: Sequence[Draft], domain: Domain) -> list[Draft]:
    hard = [draft for draft in drafts if not draft.table.is_soft]
    soft = [draft for draft in drafts if draft.table.is_soft]
    tables = [draft.table for draft in drafts]
    filled = [
        covered(
            draft,
            hard if draft in hard else [*hard, *soft],
            domain,
            [table for table in tables if table is not draft.table and not table.is_soft],
        )
        for draft in drafts
    ]
    return nearest_agreeing(filled, domain)


def _change(draft: Draft, used: Table, by: str) -> Change:
    table = draft.table
    apart = np.where(draft.changed, np.abs(draft.figures - draft.published), 0.0)
    cell = int(apart.argmax())
    unit = 1.0 if table.measure == "count" else draft.whole
    return Change(
        table,
        used,
        by,
        draft.factor if draft.is_scaled else 1.0,
        int(draft.changed.sum()),
        bool((draft.changed & ~draft.uncovered).any()),
        float(np.abs(used.share - table.share).sum() / 2),
        clean(table.cell_name(cell)) if apart.any() else None,
        float(table.figures.flat[cell]),
        float(draft.figures.flat[cell] / unit),
        draft.donors,
    )


def _figure(value: float) -> str:
    if value < 1:
        return f"{value:.4g}"
    return f"{value:,.0f}" if abs(value - round(value)) < _WHOLE_TO else f"{value:,.1f}"


def rounding_unit(table: Table) -> int | None:
    """Return the largest unit that all counts of a table are multiples of, and not by chance.

    Example:
        >>> from types import SimpleNamespace as N
        >>> rounding_unit(N(figures=np.array([1000.0, 25000.0, 0.0])))
        1000
        >>> rounding_unit(N(figures=np.array([300.0, 180.0, 120.0])))
    """
    counts = table.figures[table.figures > 0]
    for unit in _UNITS:
        if float(unit) ** -len(counts) <= _CHANCE and not np.remainder(counts, unit).any():
            return unit
    return None


def with_found_rounding(tables: TableSet) -> tuple[TableSet, list[Problem]]:
    """Return the tables with the rounding of those that differ from others, and what was found.

    A table's counts are taken as rounded only where the job does not say so, where all of them are
    multiples of one unit, and where a table that must be met differs from it by no more than that.
    """
    found = clashes(tables)
    units = {
        table.name: unit
        for clash in found
        for table in clash.tables
        if table.measure == "count" and not table.rounding and (unit := rounding_unit(table))
    }
    if not units:
        return tables, []
    rounded = _with(tables, units)
    left = {clash.names for clash in clashes(rounded)}
    settled = {name for clash in found if clash.names not in left for name in clash.names}
    kept = {name: unit for name, unit in units.items() if name in settled}
    notes = [
        Problem(
            f"all counts are multiples of {kept[table.name]:,}, and taken as rounded to that; "
            f"`rounded_to: {kept[table.name]}` in the table's entry says so",
            table.file,
        )
        for table in tables.tables
        if table.name in kept
    ]
    return _with(tables, kept), notes


def _with(tables: TableSet, units: dict[str, int]) -> TableSet:
    changed = tuple(
        replace(table, rounding=units[table.name] / 2) if table.name in units else table
        for table in tables.tables
    )
    return replace(tables, tables=changed)
