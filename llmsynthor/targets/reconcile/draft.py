"""Tables while they are made to agree: all brought to one total, with cells that a table does not cover.

They can be fitted to one of them, and then to each other, one after the other in the job's order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.targets.agreement import differs
from llmsynthor.targets.margins import margin_of
from llmsynthor.targets.measures import Z90
from llmsynthor.targets.reconcile.least_squares import agreeing_with

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.margins import Margin
    from llmsynthor.targets.table import Table

_HALF = 0.5
"""What a published count may be off by for being whole."""
_ALL = 1 - 1e-9
_UNCHANGED = 1e-10
"""A figure that moved by less, as a share of all, is the published one."""
_NEARLY_WHOLE = 1e-7
_MOST_LOOKED_AT = 50_000_000
"""Cells, each for every value of a further variable."""
_SWEEPS = 300
_FITTED = 1e-11
"""As a share of all, what a margin may be off by."""


@dataclass(frozen=True, eq=False)
class Draft:
    """A table on its way.

    Attributes:
        table: As published.
        figures: What its cells are to hold, in the shape of the table.
        whole: What they add up to, the same for all tables of a kind.
        factor: What the published figures were multiplied by, but for what rounding explains.
        uncovered: Which cells the table says nothing of, though it has them with 0.
        donors: Cells of margins that the table leaves out, each with who has them, in words.
    """

    table: Table
    figures: np.ndarray
    whole: float
    factor: float
    uncovered: np.ndarray
    donors: tuple[str, ...] = ()

    @property
    def share(self) -> np.ndarray:
        """Return the shares of the cells."""
        return self.figures / self.whole

    @property
    def room(self) -> float:
        """Return how far each figure may be from the published one, for that is rounded."""
        return self.table.rounding * self.factor

    @property
    def variance(self) -> np.ndarray:
        """Return how easily each cell gives way, in squares of the figures' unit.

        With margins of error it is the square of the standard error. Without, a count varies like
        itself: one of 400 by 20. A cell that the table does not cover can be anything.
        """
        table = self.table
        scale = self.factor if table.measure == "count" else 1.0
        if table.moe is not None:
            margins = table.moe * (self.factor / Z90)
            own = margins**2 + (_HALF * scale) ** 2
        else:
            own = np.maximum(self.figures, scale) * scale
        own = own + (table.rounding * self.factor) ** 2 / 3
        own = np.where(self.uncovered, np.maximum(self.figures, scale) ** 2, own)
        return np.asarray(own / (table.weight or 1.0))

    def with_figures(self, figures: np.ndarray) -> Draft:
        """Return the draft with other figures."""
        return replace(self, figures=figures, whole=float(figures.sum()))

    def brought_to(self, whole: float) -> Draft:
        """Return the draft with another total."""
        ratio = whole / self.whole
        if abs(ratio - 1.0) <= _UNCHANGED:
            return replace(self, whole=whole)
        return replace(self, figures=self.figures * ratio, factor=self.factor * ratio, whole=whole)

    @property
    def published(self) -> np.ndarray:
        """Return the published figures, in the unit of the draft."""
        return np.asarray(self.table.figures * self.factor)

    @property
    def changed(self) -> np.ndarray:
        """Return which cells are to hold something else than was published."""
        return np.asarray(np.abs(self.figures - self.published) > _UNCHANGED * self.whole)

    @property
    def changed_beyond_total(self) -> bool:
        """Return whether cells changed otherwise than by one factor for all, which rounding explains."""
        ratio = self.whole / float(self.published.sum())
        return bool((np.abs(self.figures - self.published * ratio) > _UNCHANGED * self.whole).any())

    @property
    def is_scaled(self) -> bool:
        """Return whether all counts were multiplied."""
        return self.table.measure == "count" and abs(self.factor - 1.0) > _UNCHANGED

    def used(self) -> Table:
        """Return the table with these figures, in its own measure."""
        if not (self.is_scaled or self.changed.any()):
            return self.table
        figures = np.where(
            np.abs(self.figures - np.round(self.figures)) < _NEARLY_WHOLE,
            np.round(self.figures),
            self.figures,
        )
        moe = self.table.moe
        return replace(
            self.table,
            figures=figures if self.table.measure == "count" else self.share,
            # figures that were moved to agree are to be met; they do not hide a rounding any more
            rounding=0.0 if self.changed.any() else self.table.rounding * self.factor,
            moe=None if moe is None else moe * self.factor,
        )


def drafted(table: Table, whole: float, slack: float = 0.0) -> Draft:
    """Return a table brought to a total, which rounding may have moved by `slack`."""
    figures = table.figures * (whole / table.total)
    unit = (
        1.0 if table.measure == "count" else whole
    )  # of a figure, where rounding explains the sum
    explained = abs(whole - table.total * unit) <= table.rounding * table.cells * unit + slack
    factor = unit if explained else whole / table.total
    return Draft(table, figures, whole, factor, np.zeros(figures.shape, dtype=bool))


def likely(figures: np.ndarray) -> np.ndarray:
    """Return what cells would hold by the table's one-way margins, none of them 0."""
    found = np.ones(())
    for axis in range(figures.ndim):
        margin = figures.sum(axis=tuple(i for i in range(figures.ndim) if i != axis))
        mean = float(margin[margin > 0].mean()) if margin.any() else 1.0
        found = np.multiply.outer(found, np.where(margin > 0, margin, mean))
    return np.asarray(found)


def possible(table: Table, others: Sequence[Table]) -> np.ndarray:
    """Return which cells of a table others leave open to anybody, in its shape.

    A cell is not open where each value of some further variable is excluded for it by one table or
    another: nobody under 18 is at work, and of one sex only those at work are listed.
    """
    able = np.ones(table.figures.shape, dtype=bool)
    for name in {n: None for other in others for n in other.scope if n not in table.scope}:
        having = [o for o in others if name in o.scope and set(o.scope) & set(table.scope)]
        values = np.stack([o.groups[o.scope.index(name)] for o in having]) if having else None
        if values is None or len(having) == 1:
            continue
        values = np.unique(values, axis=1)
        if values.shape[1] * table.cells > _MOST_LOOKED_AT:
            continue
        each = [_allowed(table, other, name) for other in having]
        found = np.zeros_like(able)
        for column in values.T:
            together = [own[int(value)] for own, value in zip(each, column, strict=True)]
            found |= np.logical_and.reduce(np.broadcast_arrays(*together, able)[:-1])
        able &= found
    return able


def _allowed(table: Table, other: Table, name: str) -> np.ndarray:
    """Return for each value of `name` which cells of a table another table has somebody in.

    Returns:
        Bool, the values of `name` in front of what broadcasts to the table's shape. What the other
        table lists nobody of at all, it is taken to say nothing of.
    """
    kept = [n for n in table.scope if n in other.scope]
    axes = [other.scope.index(n) for n in (name, *kept)]
    gone = tuple(axis for axis in range(other.figures.ndim) if axis not in axes)
    held = np.transpose(other.figures.sum(axis=gone), np.argsort(np.argsort(axes))) > 0
    for axis in range(held.ndim):
        line = held.any(axis=tuple(i for i in range(held.ndim) if i != axis))
        held = held | ~line.reshape([-1 if i == axis else 1 for i in range(held.ndim)])
    for axis, n in enumerate(kept, start=1):
        place = table.scope.index(n)
        meet = np.zeros((table.figures.shape[place], held.shape[axis]))
        meet[table.groups[place], other.groups[other.scope.index(n)]] = 1.0
        held = np.moveaxis(np.tensordot(meet, held, axes=(1, axis)), 0, axis) > 0
    shape = [table.figures.shape[i] if n in kept else 1 for i, n in enumerate(table.scope)]
    return held.reshape(held.shape[0], *shape)


def covered(
    draft: Draft, donors: Sequence[Draft], domain: Domain, others: Sequence[Table] = ()
) -> Draft:
    """Return a table with what it leaves out and donors, the most trusted first, have.

    A category, or bins, in which a table has nobody at all while another has some, it is taken to
    say nothing of: it gets what the other has, spread as its own margins are, and the rest of it
    counts the rest of the whole.
    """
    able: np.ndarray | None = None
    for donor in donors:
        for name in draft.table.scope:
            if name in donor.table.scope:
                margin = margin_of(domain, draft.table, donor.table, [name])
                holes, theirs = _holes(draft, donor, margin)
                if holes.any() and float(theirs[holes].sum()) < _ALL:
                    able = possible(draft.table, others) if able is None else able
                    draft = _covered_by(draft, donor, margin, (holes, theirs), able)
    return draft


def _holes(draft: Draft, donor: Draft, margin: Margin) -> tuple[np.ndarray, np.ndarray]:
    """Return in which cells of a margin only the donor has somebody, and the donor's shares."""
    own, theirs = (margin.summed(d.share, d.table) for d in (draft, donor))
    holes = (own == 0) & differs(margin, (draft.table, donor.table), (own, theirs))
    return holes, theirs


def _covered_by(
    draft: Draft,
    donor: Draft,
    margin: Margin,
    shares: tuple[np.ndarray, np.ndarray],
    able: np.ndarray,
) -> Draft:
    """Return a draft with what a donor has where it has nobody, spread over the cells that can be."""
    holes, theirs = shares
    missing = float(theirs[holes].sum())
    cells = margin.cells(draft.table)
    open_ = np.bincount(cells.ravel(), able.ravel(), len(theirs)) > 0
    inside = holes[cells] & (able | ~open_[cells])
    weight = np.where(inside, likely(draft.figures), 0.0)
    among = np.bincount(cells.ravel(), weight.ravel(), len(theirs))
    each = np.divide(theirs * draft.whole, among, out=np.zeros(len(theirs)), where=among > 0)
    rest = np.where(holes[cells], 0.0, draft.figures * (1 - missing))
    figures = np.where(inside, weight * each[cells], rest)
    names = tuple(
        f"{margin.cell_name([int(cell)])} ({donor.table.file})" for cell in np.flatnonzero(holes)
    )
    return replace(
        draft,
        figures=figures,
        factor=draft.factor * (1 - missing),
        uncovered=draft.uncovered | inside,
        donors=draft.donors + names,
    )


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
