"""Tables while they are made to agree: all brought to one total, with cells that a table does not cover."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.controls import Z90
from llmsynthor.margins import margin_of
from llmsynthor.preflight import differs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.domain import Domain
    from llmsynthor.tables import Table

_HALF = 0.5
"""What a published count may be off by for being whole."""
_ALL = 1 - 1e-9
_UNCHANGED = 1e-10
"""A figure that moved by less, as a share of all, is the published one."""
_NEARLY_WHOLE = 1e-7


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
    """Return a table brought to a total.

    Args:
        table: The table.
        whole: What its figures are to add up to.
        slack: By how much rounding may have moved that.
    """
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


def covered(draft: Draft, donors: Sequence[Draft], domain: Domain) -> Draft:
    """Return a table with what it leaves out and others have.

    A category, or bins, in which a table has nobody at all while another has some, it is taken to
    say nothing of: it gets what the other has, spread as its own margins are, and the rest of it
    counts the rest of the whole.

    Args:
        draft: The table.
        donors: Tables that it must agree with, the most trusted first.
        domain: Of all of them.
    """
    for donor in donors:
        for name in draft.table.scope:
            if name in donor.table.scope:
                draft = _covered_by(draft, donor, name, domain)
    return draft


def _covered_by(draft: Draft, donor: Draft, name: str, domain: Domain) -> Draft:
    margin = margin_of(domain, draft.table, donor.table, [name])
    own, theirs = (margin.summed(d.share, d.table) for d in (draft, donor))
    holes = (own == 0) & differs(margin, (draft.table, donor.table), (own, theirs))
    missing = float(theirs[holes].sum())
    if not holes.any() or missing >= _ALL:
        return draft
    cells = margin.cells(draft.table)
    inside = holes[cells]
    weight = np.where(inside, likely(draft.figures), 0.0)
    among = np.bincount(cells.ravel(), weight.ravel(), len(theirs))
    each = np.divide(theirs * draft.whole, among, out=np.zeros(len(theirs)), where=among > 0)
    figures = np.where(inside, weight * each[cells], draft.figures * (1 - missing))
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
