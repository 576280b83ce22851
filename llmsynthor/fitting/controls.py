"""Controls: which cells every candidate counts in, what the cells want, and how far they may give way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.targets.measures import Z90

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy.sparse import csr_array

    from llmsynthor.fitting.moments import Moments
    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.table import Table

SOFT_IMPORTANCE = 0.9
"""Below 1: the table need not be met to the record. Much less, and rounding would lose what weights
have met in a soft table of many small cells."""
_SIZE_IMPORTANCE = 30.0
_EXACT = 1e-9
"""Rounding below this share of a record is none."""
_NEARLY_WHOLE = 1e-6
_PART = 0.5
"""Records; how far a table gives way that parts of records have been taken from."""
_LEAST_VARIANCE = 0.01
"""Records squared: less would make the solver's numbers too large, and no record moves for it."""


@dataclass(frozen=True, eq=False)
class Controls:
    """What calibration has to meet.

    Attributes:
        index: Per table the cell of each candidate, a whole number, shape `(candidates,)`; of each
            of its members, shape `(slots, candidates)`, where the table counts them, and the number
            of cells where there is no member.
        target: Per table the records or members wanted in each cell, shape `(cells,)`.
        variance: Per table how easily each cell gives way, in records squared, shape
            `(cells,)`, 0 where it must be exact; None where the whole table must be met exactly.
            Empty means all exactly.
        records: How many records the weights should add up to; None is what the first table wants.
        moments: Statistics that the weights should meet besides.
    """

    index: tuple[np.ndarray, ...]
    target: tuple[np.ndarray, ...]
    variance: tuple[np.ndarray | None, ...] = ()
    records: float | None = None
    moments: Moments | None = None

    @property
    def total(self) -> float:
        """Return how many records the weights should add up to."""
        return float(self.target[0].sum()) if self.records is None else self.records

    @property
    def has_members(self) -> bool:
        """Return whether any table counts members."""
        return any(index.ndim > 1 for index in self.index)

    @property
    def gives_way(self) -> tuple[np.ndarray | None, ...]:
        """Return `variance`, one entry for each table."""
        return self.variance or (None,) * len(self.target)

    def sums(self, weights: np.ndarray) -> list[np.ndarray]:
        """Return per table what the cells hold with these weights."""
        return [
            cell_sums(index, weights, len(target))
            for index, target in zip(self.index, self.target, strict=True)
        ]

    def take(self, rows: np.ndarray) -> Controls:
        """Return the controls of some candidates only."""
        index = tuple(index[..., rows] for index in self.index)
        moments = None if self.moments is None else self.moments.take(rows)
        return replace(self, index=index, moments=moments)

    def fillable(self) -> np.ndarray:
        """Return which candidates are in no cell that must stay empty."""
        able = np.ones(self.index[0].shape[-1], dtype=bool)
        for index, target, variance in zip(self.index, self.target, self.gives_way, strict=True):
            may_be = target > 0 if variance is None else (target > 0) | (variance > 0)
            if not may_be.all():
                is_open = np.append(may_be, values=True)[index]
                able &= is_open if index.ndim == 1 else is_open.all(axis=0)
        return able


def cell_sums(index: np.ndarray, weights: np.ndarray, cells: int) -> np.ndarray:
    """Return how much weight each cell holds, shape `(cells,)`.

    Args:
        index: As in `Controls`, of one table.
        weights: Shape `(candidates,)`.
        cells: How many cells there are.
    """
    if index.ndim == 1:
        return np.bincount(index, weights, cells)
    held = np.zeros(cells + 1)
    for slot in index:  # all at once take much memory
        held += np.bincount(slot, weights, cells + 1)
    return held[:cells]


class CountMatrix:
    """How often each candidate counts in each cell, sparse: members of one may share a cell."""

    def __init__(
        self, index: Sequence[np.ndarray], target: Sequence[np.ndarray], starts: np.ndarray
    ) -> None:
        """Count; `index` and `target` as in `Controls`, `starts` the first cell of each table."""
        from scipy.sparse import csr_array  # a slow import, only here needed

        candidates = index[0].shape[-1]
        rows = sum(len(np.atleast_2d(each)) for each in index)
        cells = np.empty((candidates, rows), dtype=np.int32)
        row = 0
        for each, wanted, start in zip(index, target, starts[:-1], strict=True):
            for slot in np.atleast_2d(each):
                cells[:, row] = np.where(slot < len(wanted), slot + start, -1)
                row += 1
        there = cells >= 0
        ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
        places = cells[there]
        shape = (candidates, int(starts[-1]))
        self._by_candidate = csr_array((np.ones(len(places)), places, ends), shape=shape)
        self._by_candidate.sum_duplicates()
        self._by_cell = self._by_candidate.T

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """Return A w."""
        return np.asarray(self._by_cell @ weights)

    def of_candidates(self, candidates: np.ndarray) -> csr_array:
        """Return the counts of some candidates, sparse, shape `(candidates, cells)`."""
        return self._by_candidate[candidates]

    def squares(self, weights: np.ndarray) -> np.ndarray:
        """Return the diagonal of A diag(w) A'."""
        own = self._by_candidate
        each = np.repeat(weights, np.diff(own.indptr))
        return np.bincount(own.indices, own.data**2 * each, own.shape[1])

    def spread(self, by_cell: np.ndarray) -> np.ndarray:
        """Return A' x."""
        return np.asarray(self._by_candidate @ by_cell)

    def hessian(self, weights: np.ndarray, step: int = 1) -> np.ndarray:
        """Return A diag(w) A', dense; of every `step`-th candidate, which stand for all."""
        some, own = self._by_candidate[::step], weights[::step]
        scale = float(weights.sum() / own.sum())
        weighted = some.copy()
        weighted.data *= np.repeat(own * scale, np.diff(some.indptr))
        return np.asarray((some.T @ weighted).toarray())

    def products(self, other: csr_array, step: int = 1) -> np.ndarray:
        """Return `other` A', dense: `other` has a column for every `step`-th candidate."""
        return np.asarray((other @ self._by_candidate[::step]).toarray())


def binding_tables(tables: Sequence[Table], records: float | None = None) -> tuple[Table, ...]:
    """Return the tables that no other table implies: meeting these meets all.

    A soft table implies none, since it may give way, and is implied by none, since it may hold
    figures of its own. One whose figures were rounded implies none either, nor does one imply
    figures that are not its own sums.

    Args:
        tables: Tables.
        records: How many records follow them; None: figures of shares are not compared.
    """
    kept: list[Table] = []
    for table in sorted(tables, key=lambda t: (t.is_soft, -t.cells, t.name)):
        if table.is_soft or not any(gives(other, table, records) for other in kept):
            kept.append(table)
    return tuple(kept)


def rounding_tables(tables: Sequence[Table], records: int) -> tuple[Table, ...]:
    """Return the tables that whole counts must follow.

    Those that bind are enough where each of their cells wants whole records. Else their roundings
    add up in the tables that they imply, which must be followed too.
    """
    binding = binding_tables(tables, records)
    hard = [table.wanted(records).ravel() for table in binding if not table.is_soft]
    wanted = np.concatenate([*hard, np.zeros(1)])
    if np.abs(wanted - np.round(wanted)).max() < _NEARLY_WHOLE:
        return binding
    return (*binding, *(table for table in tables if table not in binding))


def gives(fine: Table, coarse: Table, records: float | None = None) -> bool:
    """Return whether records that meet `fine` meet `coarse`, which must be met, to the record.

    Args:
        fine: A table.
        coarse: Another.
        records: How many records follow them; None: figures of shares are not compared.
    """
    if fine.is_soft or fine.is_rounded or not implies(fine, coarse):
        return False
    if records is None:
        return True
    unit = records * fine.per_record
    if fine.rounding / fine.total * unit > _PART:
        return False
    return bool(np.abs(_summed(fine, coarse) - coarse.share).max() * unit < _PART)


def _summed(fine: Table, coarse: Table) -> np.ndarray:
    """Return the shares of a table summed to the cells of one that it implies, in its shape."""
    kept = [fine.scope.index(name) for name in coarse.scope]
    left_out = tuple(axis for axis in range(fine.share.ndim) if axis not in kept)
    found = np.transpose(fine.share.sum(axis=left_out), np.argsort(np.argsort(kept)))
    lies_in = [np.zeros(size, dtype=np.int64) for size in found.shape]
    for axis, group in enumerate(coarse.groups):
        lies_in[axis][fine.groups[kept[axis]]] = group
    return coarsened(found, lies_in, coarse.share.shape)


def coarsened(fine: np.ndarray, groups: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    """Return an array summed along each axis over its groups, which give it its shape."""
    for axis, (group, size) in enumerate(zip(groups, shape, strict=True)):
        if np.array_equal(group, np.arange(size)):
            continue
        summed = np.zeros((size, *np.delete(fine.shape, axis)))
        np.add.at(summed, group, np.moveaxis(fine, axis, 0))
        fine = np.moveaxis(summed, 0, axis)
    return fine


def implies(fine: Table, coarse: Table) -> bool:
    """Return whether every cell of `fine` lies inside one cell of `coarse`."""
    if (fine.members is None) != (coarse.members is None) or not set(coarse.scope) <= set(
        fine.scope
    ):
        return False
    pairs = [
        (fine.groups[fine.scope.index(name)], group)
        for name, group in zip(coarse.scope, coarse.groups, strict=True)
    ]
    return all(
        len(np.unique(np.stack(pair), axis=1)[0]) == len(np.unique(pair[0])) for pair in pairs
    )


def rounding_importance(tables: Sequence[Table]) -> list[float | np.ndarray]:
    """Return how much an error in each table, or cell of it, should count in making weights whole.

    Three times more for each variable that stands in another hard table too: an exchange of
    records that changes it changes both. Errors are so driven into tables of which each variable
    stands nowhere else, where they are easily mended. Soft tables count little, and so do those
    whose counts were rounded to more than one: exact ones tell better. Most counts the
    number of members, where tables count them: only exchanges change it, and with it all of them.
    """
    hard = [table for table in tables if table.firm.any()]
    size = next((table.members.size for table in hard if table.members is not None), None)

    def importance(table: Table) -> float:
        beside = sum(any(n in o.scope for o in hard if o is not table) for n in table.scope)
        return float(3.0**beside) * (_SIZE_IMPORTANCE if size in table.scope else 1.0)

    return [
        SOFT_IMPORTANCE
        if table.is_rounded or not table.firm.any()
        else importance(table)
        if table.firm.all()
        else np.where(table.firm, importance(table), SOFT_IMPORTANCE)
        for table in tables
    ]


def controls_for(
    tables: Sequence[Table],
    targets: Sequence[np.ndarray],
    codes: np.ndarray,
    domain: Domain,
    records: float | None = None,
) -> Controls:
    """Return the controls of candidates `codes` for tables and what each of their cells wants.

    A cell that has got a part of a record too many already, because records are whole, has a
    target below 0. It is met by nobody, and its table then gives way by the parts of records that
    are missing elsewhere.
    """
    return Controls(
        tuple(table.cell_index(codes, domain) for table in tables),
        tuple(np.maximum(target, 0.0) for target in targets),
        tuple(cell_variance(t, target) for t, target in zip(tables, targets, strict=True)),
        records,
    )


def controls_of_all(
    tables: Sequence[Table], records: int, codes: np.ndarray, domain: Domain
) -> Controls:
    """Return the controls of candidates `codes` for `records` records that follow all the tables."""
    binding = binding_tables(tables, records)
    targets = [table.wanted(records).ravel() for table in binding]
    return controls_for(binding, targets, codes, domain, records)


def cell_variance(table: Table, target: np.ndarray) -> np.ndarray | None:
    """Return how easily each cell of a table gives way, or None where it must be exact.

    With margins of error it is the square of the standard error. A soft table without them gives
    way in proportion to its cells (the chi-squared distance), a cell of 0 like a cell of one
    record. What must be met gives way within the rounding of its published figures only.

    Args:
        table: The table.
        target: Records wanted in each cell, shape `(cells,)`.

    Returns:
        Records squared, over the table's `weight`, shape `(cells,)`.
    """
    scale = float(target.sum()) / table.total  # records for one unit of the published figures
    rounding = max(table.rounding * scale, _PART if target.min() < -_EXACT else 0.0)
    exact = 0.0 if rounding <= _EXACT else max(rounding**2, _LEAST_VARIANCE)
    if not table.is_soft:
        return np.full(table.cells, exact) if exact else None
    one = scale if table.measure == "count" else 1.0
    if table.moe is not None:
        variance = (table.moe.ravel() * scale / Z90) ** 2 + (0.5 * one) ** 2
    else:
        variance = np.maximum(target, 0.0) + one
    soft = np.maximum(variance / (table.weight or 1.0), _LEAST_VARIANCE)
    return np.where(table.firm, exact, soft)
