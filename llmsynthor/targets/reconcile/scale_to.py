"""Tables fitted to one of them, and then to each other, one after the other in the job's order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.targets.agreement import differs
from llmsynthor.targets.margins import margin_of
from llmsynthor.targets.reconcile.draft import Draft, covered, drafted, likely
from llmsynthor.targets.reconcile.least_squares import agreeing_with

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.table import Table

_SWEEPS = 300
_FITTED = 1e-11
"""As a share of all, what a margin may be off by."""


def scaled_to(
    tables: Sequence[Table], named: Table, domain: Domain, whole: float | None = None
) -> list[Draft]:
    """Return the tables with the total and the margins of one of them.

    Each table is fitted to that one and to those fitted before it, hard ones in the job's order
    and then the soft ones. Where rounding explains the difference nothing changes.

    Args:
        tables: Tables that count the same.
        named: The one that the others follow.
        domain: Of all.
        whole: What all are brought to, that one too; None: its own total.
    """
    whole = _whole(tables, named) if whole is None else whole
    slack = named.rounding * named.cells if named.measure == "count" else 0.0
    own = drafted(named, whole)
    found = {named.name: own if own.is_scaled else drafted(named, named.total)}
    fixed = [own]
    for table in sorted((t for t in tables if t is not named), key=lambda t: t.is_soft):
        others = [t for t in tables if t is not table and not t.is_soft]
        # an exact table has the total of all, or is multiplied: two exact ones cannot both stay
        start = drafted(table, whole, slack if table.rounding else 0.0)
        draft = _fitted(start, fixed, domain, others)
        kept = not (draft.is_scaled or draft.changed_beyond_total)
        found[table.name] = drafted(table, table.total) if kept else draft
        fixed.append(draft)
    return [found[table.name] for table in tables]


def _whole(tables: Sequence[Table], named: Table) -> float:
    """Return the total of the named table, or that which it rounds: of the first exact one."""
    counted = [t for t in tables if t.measure == "count" and not t.is_soft]
    if named.measure != "count":
        return counted[0].total if counted else 1.0
    room = named.rounding * named.cells
    near = (t.total for t in counted if not t.rounding and abs(t.total - named.total) <= room)
    return next(near, named.total)


def _fitted(draft: Draft, fixed: Sequence[Draft], domain: Domain, others: Sequence[Table]) -> Draft:
    """Return a table with the margins of others where it differs from these beyond rounding."""
    first, near = draft, [d for d in fixed if set(d.table.scope) & set(draft.table.scope)]
    active: list[Draft] = []
    while True:
        apart = [d for d in near if d not in active and _differ(draft, d, domain)]
        if not apart:
            return draft
        active = [d for d in near if d in active or d in apart]
        draft = covered(first, active, domain, others)
        raked = _raked(draft, active, domain)
        exact = all(_gap(raked, d, domain) <= _FITTED for d in active)
        draft = raked if exact else agreeing_with(draft, active, domain) or raked


def _differ(draft: Draft, other: Draft, domain: Domain) -> bool:
    """Return whether two tables differ in the margins that they share, beyond rounding."""
    margin = margin_of(domain, draft.table, other.table)
    pair = (draft, other)
    tables = [replace(d.table, rounding=0.0) if d.changed_beyond_total else d.table for d in pair]
    shares = [margin.summed(d.share, d.table) for d in pair]
    return bool(differs(margin, tables, shares).any())


def _gap(draft: Draft, other: Draft, domain: Domain) -> float:
    margin = margin_of(domain, draft.table, other.table)
    one, two = (margin.summed(d.share, d.table) for d in (draft, other))
    return float(np.abs(one - two).max())


def _raked(draft: Draft, fixed: Sequence[Draft], domain: Domain) -> Draft:
    """Return a table multiplied to the margins of others in turn, those of the first last."""
    table, figures = draft.table, draft.figures
    start = likely(figures)
    aims = []
    for other in reversed(fixed):
        margin = margin_of(domain, table, other.table)
        wanted = margin.summed(other.share, other.table).ravel() * draft.whole
        aims.append((margin.cells(table), wanted))
    for _ in range(_SWEEPS):
        before = figures
        for cells, wanted in aims:
            held = np.bincount(cells.ravel(), figures.ravel(), len(wanted))
            figures = np.where(((held <= 0) & (wanted > 0))[cells], start, figures)
            held = np.bincount(cells.ravel(), figures.ravel(), len(wanted))
            factor = np.divide(wanted, held, out=np.zeros(len(wanted)), where=held > 0)
            figures = figures * factor[cells]
        if np.abs(figures - before).max() <= _FITTED * draft.whole / 10:
            break
    return draft.with_figures(figures)
