"""How often each candidate counts in each cell, sparse: several of its members may be in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy.sparse import csr_array


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
