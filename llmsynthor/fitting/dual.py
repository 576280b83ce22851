"""The dual: weights of the form prior * exp(A' lambda), and the steps that bring them to their targets.

Raking (Deming & Stephan 1940; as IPU for records with members, Ye et al. 2009) takes the first
steps. Newton's method on the dual of the KL projection finishes: its gradient is
A w - r + D lambda and its Hessian A diag(w) A' + D. D is 0 for cells that must be met exactly. For
a cell that may give way it is `SOFTNESS` times its variance, which makes the solution the one that
is nearest to the soft tables, in proportion to their variances, among those that meet the hard ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.controls import Controls, CountMatrix, cell_sums

if TYPE_CHECKING:
    from collections.abc import Callable

PRECISION = 1e-9
"""Calibration stops when no cell is further from its target than this share of all records."""
SOFTNESS = 1e-6
"""How much the prior counts against a soft table's squared deviation: hardly at all."""

_NEWTON_STEPS = 60
_DENSE_CELLS = 3000
"""Up to so many cells the Hessian is factored; above, conjugate gradients use it unassembled."""
_CG_STEPS = 300
_SAMPLED_CG_STEPS = 60
_SAMPLED = 30_000
"""Candidates with members that a Hessian is assembled from; that of more is too slow to assemble,
and one of so many makes conjugate gradients quick."""
_SMALLEST_STEP = 1e-6
_LONGEST_STEP = 20.0
_RAISED = (0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)
"""Shares of a diagonal that make a matrix positive definite, tried in turn."""
_WEIGHTLESS = 1e-12
"""Share of all records; a candidate with less does not hold back the others."""


class Dual:
    """The weights while they are being found; all cells of all tables stand in one row.

    Attributes:
        weights: Current weights, shape `(candidates,)`.
        multiplier: The dual variables (lambda), shape `(cells,)`.
        error: See `Calibration.error`.
        rounds: Raking rounds and Newton steps so far.
        soft: Whether any cell may give way.
    """

    def __init__(self, controls: Controls, weights: np.ndarray, give: float = 0.0) -> None:
        """Begin with some weights; `give` is what a cell that must be met gives way for 1 of lambda."""
        self.weights = weights
        self.rounds = 0
        self._total = controls.total
        self._sizes = [len(target) for target in controls.target]
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        self._index = controls.index
        self._target = np.concatenate(controls.target)
        given = [
            np.full(size, give) if variance is None else variance * SOFTNESS
            for size, variance in zip(self._sizes, controls.gives_way, strict=True)
        ]
        self._moments = controls.moments
        self._cells = len(self._target)
        if controls.moments is not None:
            self._target = np.concatenate([self._target, controls.moments.low])
            given.append(controls.moments.variance * SOFTNESS)
        self._give = np.concatenate(given)
        self._slots = [index.ndim > 1 for index in self._index]
        self._matrix = (
            CountMatrix(controls.index, controls.target, self._starts) if any(self._slots) else None
        )
        self._hard = [variance is None for variance in controls.gives_way]
        self._order = sorted(range(len(self._hard)), key=lambda k: self._hard[k])
        self.soft = not all(self._hard) or controls.moments is not None
        self.multiplier = np.zeros(len(self._target))
        self.error = self._error(weights, self.multiplier)

    def take_no_give(self) -> None:
        """Judge cells that must be met by what they hold, whatever way they were given."""
        hard = [np.full(n, h) for n, h in zip(self._sizes, self._hard, strict=True)]
        self._give = np.where(np.concatenate(hard), 0.0, self._give)
        self.error = self._error(self.weights, self.multiplier)

    def _sums(self, weights: np.ndarray) -> np.ndarray:
        if self._matrix is not None:
            held = [self._matrix.sums(weights)]
        else:
            held = [
                np.bincount(index, weights=weights, minlength=size)
                for index, size in zip(self._index, self._sizes, strict=True)
            ]
        if self._moments is not None:
            held.append(self._moments.matrix @ weights)
        return np.concatenate(held)

    def _gradient(self, weights: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
        return self._sums(weights) - self._target + self._give * multiplier

    def _error(self, weights: np.ndarray, multiplier: np.ndarray) -> float:
        return float(np.abs(self._gradient(weights, multiplier)).max()) / self._total

    def rake(self, rounds: int, check: Callable[[], None]) -> None:
        """Scale table by table, hard ones last, until precise or no longer improving."""
        best = self.error
        for number in range(1, rounds + 1):
            if self.error <= PRECISION:
                return
            check()
            for table in self._order:
                self._scale(table)
            self.rounds += 1
            self.error = self._error(self.weights, self.multiplier)
            if number % 50 == 0:
                if self.error > 0.9 * best:
                    return
                best = self.error

    def _scale(self, table: int) -> None:
        index = self._index[table]
        cells = slice(self._starts[table], self._starts[table + 1])
        target = self._target[cells]
        held = cell_sums(index, self.weights, len(target))
        factor = np.divide(target, held, out=np.ones(len(target)), where=(held > 0) & (target > 0))
        if self._slots[table]:
            # a root for each member, for all of them scale their record: generalized iterative
            # scaling (Darroch & Ratcliff 1972)
            step = np.log(factor) / len(index)
            self.weights = self.weights * np.exp(np.append(step, 0.0)[index].sum(axis=0))
            self.multiplier[cells] += step
        else:
            self.weights = self.weights * factor[index]
            self.multiplier[cells] += np.log(factor)

    def newton(self, check: Callable[[], None]) -> None:
        """Take damped Newton steps on the dual while they lower it."""
        for _ in range(_NEWTON_STEPS):
            if self.error <= PRECISION:
                return
            check()
            gradient = self._gradient(self.weights, self.multiplier)
            dense = len(self._target) <= _DENSE_CELLS
            many = self._matrix is not None and len(self.weights) > _SAMPLED
            if dense and not many:
                step = self._factored(gradient)
            else:
                step = self._by_conjugate_gradients(gradient, sampled=dense)
            self.rounds += 1
            if not self._line_search(step, gradient):
                return

    def _ridge(self, diagonal: np.ndarray) -> np.ndarray:
        """Return what makes the Hessian regular: hard tables share their totals and margins."""
        ridge = 1e-10 * self._total / len(diagonal) + 1e-12 * diagonal
        return np.where(self._give > 0, 0.0, ridge)

    def _factored(self, gradient: np.ndarray) -> np.ndarray:
        hessian = self._with_moments(self._hessian(), self.weights)
        diagonal = hessian.diagonal().copy()
        hessian[np.diag_indices_from(hessian)] += self._give + self._ridge(diagonal)
        return -inverted(hessian)(gradient)

    def _with_moments(self, hessian: np.ndarray, weights: np.ndarray, step: int = 1) -> np.ndarray:
        """Return the tables' A diag(w) A' with the rows and columns of moments.

        Args:
            hessian: Of the tables, shape `(cells, cells)`.
            weights: Of all candidates.
            step: Every `step`-th candidate stands for all.
        """
        if self._moments is None:
            return hessian
        matrix, some = self._moments.matrix, weights
        if step > 1:
            matrix, some = (
                matrix[:, ::step],
                weights[::step] * (weights.sum() / weights[::step].sum()),
            )
        weighted = matrix.copy()
        weighted.data *= some[weighted.indices]
        if self._matrix is not None:
            cross = self._matrix.products(weighted, step)
        else:
            row = np.repeat(np.arange(len(self._moments)), np.diff(weighted.indptr))
            blocks = []
            for index, size in zip(self._index, self._sizes, strict=True):
                cell = row * size + index[::step][weighted.indices]
                held = np.bincount(cell, weighted.data, len(self._moments) * size)
                blocks.append(held.reshape(len(self._moments), size))
            cross = np.concatenate(blocks, axis=1)
        own = (weighted @ matrix.T).toarray()
        return np.block([[hessian, cross.T], [cross, own]])

    def _hessian(self) -> np.ndarray:
        """Return A diag(w) A', shape `(cells, cells)`, block by block of two tables."""
        if self._matrix is not None:
            return self._matrix.hessian(self.weights)
        sizes, starts = self._sizes, self._starts
        hessian = np.zeros((starts[-1], starts[-1]))
        for a, index_a in enumerate(self._index):
            for b in range(a, len(sizes)):
                rows = slice(starts[a], starts[a + 1])
                columns = slice(starts[b], starts[b + 1])
                if a == b:
                    block = np.diag(np.bincount(index_a, self.weights, sizes[a]))
                else:
                    joint = index_a * sizes[b] + self._index[b]
                    block = np.bincount(joint, self.weights, sizes[a] * sizes[b]).reshape(
                        sizes[a], sizes[b]
                    )
                hessian[rows, columns] = block
                hessian[columns, rows] = block.T
        return hessian

    def _by_conjugate_gradients(self, gradient: np.ndarray, *, sampled: bool) -> np.ndarray:
        """Return an inexact Newton step; the nearer the end, the more exact.

        Args:
            gradient: Of the dual.
            sampled: Whether to precondition with the Hessian of a sample of the candidates, rather
                than with the diagonal.
        """
        from scipy.sparse.linalg import LinearOperator, cg  # a slow import, only here needed

        diagonal = self._diagonal()
        extra = self._give + self._ridge(diagonal)

        def product(direction: np.ndarray) -> np.ndarray:
            return self._sums(self.weights * self._spread(direction)) + extra * direction

        if sampled and self._matrix is not None:
            inverse = self._sampled_inverse(self._matrix, diagonal, extra)
        else:

            def inverse(x: np.ndarray) -> np.ndarray:
                return np.asarray(x / (diagonal + extra))

        cells = len(gradient)
        forcing = min(0.1, float(np.sqrt(self.error)))
        step, _ = cg(
            LinearOperator((cells, cells), matvec=product, dtype=float),
            -gradient,
            rtol=max(forcing, 1e-6),
            maxiter=_SAMPLED_CG_STEPS if sampled else _CG_STEPS,
            M=LinearOperator((cells, cells), matvec=inverse, dtype=float),
        )
        return np.asarray(step)

    def _diagonal(self) -> np.ndarray:
        """Return the diagonal of A diag(w) A', shape `(cells,)`."""
        weights, cells = self.weights, self._cells
        held = (
            self._sums(weights)[:cells] if self._matrix is None else self._matrix.squares(weights)
        )
        if self._moments is None:
            return held
        matrix = self._moments.matrix
        return np.concatenate([held, matrix.multiply(matrix) @ weights])

    def _sampled_inverse(
        self, matrix: CountMatrix, diagonal: np.ndarray, extra: np.ndarray
    ) -> Callable[[np.ndarray], np.ndarray]:
        """Return what solves for the Hessian as a sample has it, with the diagonal of all."""
        step = -(-len(self.weights) // _SAMPLED)
        some = self._with_moments(matrix.hessian(self.weights, step), self.weights, step)
        own = some.diagonal()
        # no cell may be softer than it is; what the sample lacks altogether stands alone
        some[np.diag_indices_from(some)] += np.maximum(diagonal - own, 0.0) + extra
        return inverted(some)

    def _spread(self, by_cell: np.ndarray) -> np.ndarray:
        """Return A' times a value for each cell, shape `(candidates,)`."""
        if self._matrix is not None:
            out = self._matrix.spread(by_cell[: self._cells])
        else:
            out = np.zeros(len(self.weights))
            for index, start in zip(self._index, self._starts[:-1], strict=True):
                out += by_cell[start + index]
        if self._moments is not None:
            out += self._moments.matrix.T @ by_cell[self._cells :]
        return out

    def _line_search(self, step: np.ndarray, gradient: np.ndarray) -> bool:
        exponent = self._spread(step)
        before, slope = self.weights.sum(), float(gradient @ step)
        linear = float((self._give * self.multiplier - self._target) @ step)
        square = 0.5 * float((self._give * step) @ step)
        felt = np.where(self.weights > _WEIGHTLESS * self._total, np.abs(exponent), exponent)
        size = min(1.0, _LONGEST_STEP / max(float(felt.max()), 1e-12))
        while size > _SMALLEST_STEP:
            weights = self.weights * np.exp(size * exponent)
            multiplier = self.multiplier + size * step
            change = weights.sum() - before + size * linear + size**2 * square
            error = self._error(weights, multiplier)
            if change <= 1e-4 * size * slope or error < 0.5 * self.error:
                self.weights, self.multiplier, self.error = weights, multiplier, error
                return True
            size *= 0.5
        return False


def inverted(matrix: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what solves for a symmetric matrix that should be positive definite.

    Where tables cannot be met, weights vanish or grow without end, and rounding can leave it
    without that: its diagonal is then raised until it is.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve  # a slow import, only here needed

    diagonal = matrix.diagonal().copy()
    for raised in _RAISED:
        matrix[np.diag_indices_from(matrix)] = diagonal * (1 + raised) + raised * diagonal.mean()
        try:
            factor = cho_factor(matrix)
        except LinAlgError:
            continue
        return lambda x: np.asarray(cho_solve(factor, x))
    return lambda x: np.asarray(x / np.maximum(diagonal, 1e-300))
