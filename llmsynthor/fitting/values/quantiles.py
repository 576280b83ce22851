"""Ranks: the few values that must change for a quantile to be the one published, to the last digit.

Whole counts leave a little less than the quantile's level below it (`moments`). The lowest values
above it, as many as are short, become the quantile itself. Where no table of the number and no other
quantile tells them from it they may come from another bin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.fitting.values.elements import Elements
    from llmsynthor.targets.statistic import Statistic
    from llmsynthor.targets.table import TableSet


class Ranks:
    """Meets the quantiles of one number."""

    def __init__(self, tables: TableSet, quantiles: Sequence[Statistic]) -> None:
        """Prepare.

        Args:
            tables: The job's.
            quantiles: All quantiles of the number that are to be met.
        """
        self._tables = tables
        self._quantiles = quantiles
        self._edges = np.asarray(tables.domain[quantiles[0].of].edges)
        self._alike = _told_apart(tables, quantiles[0].of)

    def meet(self, codes: np.ndarray, found: Elements, unit: float) -> None:
        """Change values and, where they get into another bin, codes.

        Args:
            codes: Of the records, shape `(rows, variables)`; changes.
            found: The values; change, and stay then.
            unit: Of the grid that they are on.
        """
        cuts = [
            (statistic.level, np.ceil(figure / unit - 1e-9), float(figure), own)
            for statistic in self._quantiles
            for group, figure in zip(statistic.groups, statistic.figures, strict=True)
            for own in [group.inside(codes, self._tables.wide, statistic.members)]
        ]
        for number, (level, at, figure, inside) in enumerate(cuts):
            code = int(np.searchsorted(self._edges, figure * (1 + 1e-12), side="right")) - 1
            rank = int(level * float(inside.sum()) + 1e-9)
            below = int((inside & (found.x < at)).sum())
            others = cuts[:number] + cuts[number + 1 :]
            free = self._free(codes, found, code, at, others)
            # the ranks around it too, so that every definition of a quantile gives the same
            excess = below - max(rank - 1, 0)
            if excess > 0:
                self._move(codes, found, inside & free & (found.x < at), excess, at, code, up=True)
                below = int((inside & (found.x < at)).sum())
            above = inside & free & (found.x >= at)
            self._move(codes, found, above, max(rank + 2 - below, 0), at, code, up=False)

    def _move(
        self,
        codes: np.ndarray,
        found: Elements,
        able: np.ndarray,
        many: int,
        at: float,
        code: int,
        *,
        up: bool,
    ) -> None:
        """Give the nearest values the very one of a quantile, from below it (`up`) or above."""
        places = np.flatnonzero(able)
        order = np.argsort(found.x.flat[places] * (-1 if up else 1), kind="stable")
        chosen = places[order[:many]]
        found.put(chosen, at)
        slot, row = np.unravel_index(chosen, found.x.shape)
        codes[row, np.asarray(found.columns)[slot]] = code

    def _free(
        self,
        codes: np.ndarray,
        found: Elements,
        code: int,
        at: float,
        others: Sequence[tuple[float, float, float, np.ndarray]],
    ) -> np.ndarray:
        """Return which values may become `at`, which has a code, bool, shape `(slots, rows)`."""
        own = np.stack([codes[:, column] for column in found.columns])
        free = (self._alike[own] == self._alike[code]) & (
            (found.low < found.high) | (found.x == at)
        )
        for _, cut, _, inside in others:
            free &= ~(inside & ((found.x < cut) != (at < cut)))
        return np.asarray(free)


def _told_apart(tables: TableSet, name: str) -> np.ndarray:
    """Return a number for each code of a variable: the same for those that nothing tells apart.

    Args:
        tables: The job's: its tables, and groups of its statistics.
        name: The variable.

    Returns:
        Shape `(size,)`.
    """
    groups = [t.groups[t.scope.index(name)] for t in tables.control if name in t.scope]
    groups += [
        masks[name].astype(np.int32)
        for statistic in tables.statistics
        for masks in (*(group.masks for group in statistic.groups), statistic.outcome)
        if name in masks
    ]
    if not groups:
        return np.zeros(tables.domain[name].size, dtype=np.int64)
    return np.asarray(np.unique(np.stack(groups), axis=1, return_inverse=True)[1].ravel())
