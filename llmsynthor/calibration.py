"""Weights: the candidates' nearest weights to the prior (in KL) that meet every control table.

Raking (Deming & Stephan 1940; as IPU for records with members, Ye et al. 2009) takes the first
steps. Newton's method on the dual of the KL projection finishes: with weights
w = prior * exp(A' lambda), the dual's gradient is A w - r + D lambda and its Hessian
A diag(w) A' + D. D is 0 for cells that must be met exactly. For a cell that may give way it is
`SOFTNESS` times its variance, which makes the solution the one that is nearest to the soft
tables, in proportion to their variances, among those that meet the hard ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.controls import Controls, cell_sums
from llmsynthor.countmatrix import CountMatrix

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmsynthor.moments import Moments

PRECISION = 1e-9
"""Calibration stops when no cell is further from its target than this share of all records."""
SOFTNESS = 1e-6
"""How much the prior counts against a soft table's squared deviation: hardly at all."""

_RAKING_ROUNDS = 24
_MORE_RAKING_ROUNDS = 400
_NEWTON_STEPS = 60
_DENSE_CELLS = 3000
"""Up to so many cells the Hessian is factored; above, conjugate gradients use it unassembled."""
_CG_STEPS = 300
_SAMPLED_CG_STEPS = 60
_SAMPLED = 30_000
"""Candidates with members that a Hessian is assembled from; that of more is too slow to assemble,
and one of so many makes conjugate gradients quick."""
_MEMBER_RAKING_ROUNDS = 6
"""Rounds where tables count members: slower and less use than Newton's steps."""
_ACTIVE_ROUNDS = 8
_GIVE = 0.01
"""Records for each e-fold of the weights of those in a cell."""
_CLOSE = 1e-4
"""Share of all records; where cells are farther off, conditions exclude each other or the tables."""
_LOOSER = (1e4, 1e6, 1e8)
"""Multiples of the variance of conditions that cannot be met, tried in turn."""
_CULPRIT = 0.1
"""Of the farthest miss: conditions that are missed by less can be met without those that are not."""
_SMALLEST_STEP = 1e-6
_LONGEST_STEP = 20.0
_RAISED = (0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 1e-2)
"""Shares of a diagonal that make a matrix positive definite, tried in turn."""
_WEIGHTLESS = 1e-12
"""Share of all records; a candidate with less does not hold back the others."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Calibrated weights and what they cost.

    Attributes:
        weights: Records for each candidate, shape `(candidates,)`.
        fitted: Per table the records that the weights put in each cell: the targets, but for
            tables that gave way.
        error: Largest distance of a cell from where it should be, as a share of all records. A
            soft cell should be where its variance and the other tables put it.
        converged: Whether `error` is at most `PRECISION`.
        rounds: Raking rounds and Newton steps taken.
        kl: KL divergence of the weights from the prior, in nats.
        effective_sample_size: Candidates that equal ratios weight / prior would need for the same
            variance (Kish 1965).
    """

    weights: np.ndarray
    fitted: tuple[np.ndarray, ...]
    error: float
    converged: bool
    rounds: int
    kl: float
    effective_sample_size: float


def calibrate(
    controls: Controls, prior: np.ndarray, *, check: Callable[[], None] = lambda: None
) -> Calibration:
    """Return the weights nearest to `prior` that meet the targets as well as can be.

    Args:
        controls: Cells, targets and how far they may give way.
        prior: Prior probability of each candidate, shape `(candidates,)`.
        check: Called between rounds; may raise to stop.
    """
    live = np.flatnonzero(controls.fillable() & (prior > 0))
    total = controls.total
    weights = np.zeros(len(prior))
    if not len(live) or total <= 0:
        fitted = tuple(controls.sums(weights))
        return Calibration(weights, fitted, float(total > 0), total <= 0, 0, 0.0, 0.0)
    kept = with_records(controls.take(live))
    solver = _solved(kept, prior[live] / prior[live].sum() * total, total, check)
    weights[live] = solver.weights
    kl, size = _effort(weights / weights.sum(), prior / prior.sum())
    error = solver.error
    return Calibration(
        weights, tuple(controls.sums(weights)), error, error <= PRECISION, solver.rounds, kl, size
    )


def _solved(
    controls: Controls, prior: np.ndarray, total: float, check: Callable[[], None]
) -> _Solver:
    """Return the solved weights; conditions that leave a choice bind only where they must.

    They are an active set (Nocedal & Wright 2006, section 16.5): those that the weights break are
    met at their nearer end, those that would be kept without are let go.
    """
    moments = controls.moments
    if moments is None:
        return _solve(controls, prior, total, check)
    fixed = moments.low == moments.high
    bound = np.where(fixed, moments.low, np.nan)
    for turn in count(1):
        active = np.flatnonzero(~np.isnan(bound))
        chosen = moments.choose(active, bound[active])
        solver = _tables_first(replace(controls, moments=chosen), chosen, prior, total, check)
        held = moments.matrix @ solver.weights
        new = bound.copy()
        # of a condition at its upper end the multiplier is below 0, or it holds nothing back
        pull = solver.multiplier[len(solver.multiplier) - len(active) :]
        idle = np.where(bound[active] == moments.high[active], pull > 0, pull < 0)
        new[active[idle & ~fixed[active]]] = np.nan
        room = PRECISION * total
        new[np.isnan(bound) & (held > moments.high + room)] = np.inf
        new[np.isnan(bound) & (held < moments.low - room)] = -np.inf
        new = np.where(new == np.inf, moments.high, np.where(new == -np.inf, moments.low, new))
        if turn == _ACTIVE_ROUNDS or np.array_equal(new, bound, equal_nan=True):
            return solver
        bound = new
    raise AssertionError  # the loop has no other end


def _tables_first(
    controls: Controls,
    moments: Moments,
    prior: np.ndarray,
    total: float,
    check: Callable[[], None],
) -> _Solver:
    """Return the solved weights; conditions that exclude the tables give way farther than others.

    How far one gives way is its multiplier times its variance. Where that is far, the multiplier
    grows beyond what steps reach, and the tables would not be met either.
    """
    solver = _solve(controls, prior, total, check)
    for times in _LOOSER:
        if solver.error <= _CLOSE or not len(moments):
            return solver
        looser = replace(controls, moments=replace(moments, variance=moments.variance * times))
        other = _solve(looser, prior, total, check)
        if other.error <= _CLOSE:
            missed = np.abs(moments.matrix @ other.weights - moments.low) / moments.variance**0.5
            culprit = missed > _CULPRIT * missed.max()
            variance = moments.variance * np.where(culprit, times, 1.0)
            looser = replace(controls, moments=replace(moments, variance=variance))
            fewer = _solve(looser, prior, total, check)
            return fewer if fewer.error <= _CLOSE else other
        solver = min(solver, other, key=lambda found: found.error)
    return solver


def _solve(
    controls: Controls, prior: np.ndarray, total: float, check: Callable[[], None]
) -> _Solver:
    solver = _Solver(controls, prior, total)
    solver.rake(_MEMBER_RAKING_ROUNDS if controls.has_members else _RAKING_ROUNDS, check)
    solver.newton(check)
    if solver.error > PRECISION and not solver.soft and not controls.has_members:
        solver.rake(_MORE_RAKING_ROUNDS, check)
    if solver.error > PRECISION and controls.has_members:
        return _nearest(controls, prior, solver, check)
    return solver


def _nearest(
    controls: Controls, prior: np.ndarray, solver: _Solver, check: Callable[[], None]
) -> _Solver:
    """Return a solver that is near every cell, where `solver` found that not all can be met.

    A cell that cannot be met, in one zone of many, draws the dual towards infinity and stops all
    others short of their targets. With a little give they come as near as a small part of a record.
    """
    total = controls.total
    given = _Solver(controls, prior / prior.sum() * total, total, give=_GIVE)
    given.rake(_MEMBER_RAKING_ROUNDS, check)
    given.newton(check)
    given.take_no_give()
    return min(solver, given, key=lambda one: one.error)


def with_records(controls: Controls) -> Controls:
    """Return controls that say how many records there are, if tables of members alone do not."""
    says = [
        index.ndim == 1 and variance is None
        for index, variance in zip(controls.index, controls.gives_way, strict=True)
    ]
    if any(says) or all(index.ndim == 1 for index in controls.index):
        return controls
    candidates = controls.index[0].shape[-1]
    return Controls(
        (*controls.index, np.zeros(candidates, dtype=np.int64)),
        (*controls.target, np.array([controls.total])),
        (*controls.gives_way, None),
        controls.records,
        controls.moments,
    )


class _Solver:
    """The weights while they are being found; all cells of all tables stand in one row.

    Attributes:
        weights: Current weights, shape `(candidates,)`.
        multiplier: The dual variables (lambda), shape `(cells,)`.
        error: See `Calibration.error`.
        rounds: Raking rounds and Newton steps so far.
        soft: Whether any cell may give way.
    """

    def __init__(
        self, controls: Controls, weights: np.ndarray, total: float, give: float = 0.0
    ) -> None:
        """Begin with some weights; `give` is what a cell that must be met gives way for 1 of lambda."""
        self.weights = weights
        self.rounds = 0
        self._total = total
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


def _effort(share: np.ndarray, prior: np.ndarray) -> tuple[float, float]:
    there = share > 0
    ratio = share[there] / prior[there]
    kl = float((share[there] * np.log(ratio)).sum())
    return max(kl, 0.0), float(len(prior) / (share[there] * ratio).sum())
