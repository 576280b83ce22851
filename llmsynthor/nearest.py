"""The nearest figures that meet linear equations and stay within bounds, by weighted least squares.

Newton's method on the dual (Dykstra's problem; as for the nearest correlation matrix, Qi & Sun
2006): with one multiplier for each equation, the figures are the published ones moved by the
multipliers in proportion to their variances and cut at the bounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

_STEPS = 60
_PRECISION = 1e-10
"""How far an equation may be off, as a share of `whole`."""
_RIDGE = 1e-11
"""Equations may say the same twice: this share of the diagonal makes the system regular."""
_SMALLEST_STEP = 1e-6
_DIRECT = 20_000
"""Equations; more are solved by conjugate gradients."""
_CG_STEPS = 2000


@dataclass(frozen=True, eq=False)
class Equations:
    """What figures must add up to.

    Attributes:
        matrix: Shape `(equations, figures)`.
        right: Shape `(equations,)`.
        whole: What all figures of a table add up to: the measure of what is negligible.
    """

    matrix: sparse.csr_array
    right: np.ndarray
    whole: float

    def hold(self, figures: np.ndarray) -> bool:
        """Return whether the figures meet them."""
        return self.error(figures) <= _PRECISION * self.whole

    def error(self, figures: np.ndarray) -> float:
        """Return by how much the worst one is missed."""
        return float(np.abs(self.right - self.matrix @ figures).max(initial=0.0))


def nearest(
    figures: np.ndarray,
    variance: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    equations: Equations,
) -> np.ndarray | None:
    """Return the figures that meet the equations at the least sum of squares over variances.

    Args:
        figures: What they should be near to, shape `(figures,)`.
        variance: How easily each gives way, above 0.
        bounds: The least and the most of each.
        equations: What they must add up to.

    Returns:
        Shape `(figures,)`; None where nothing within the bounds meets the equations, as far as
        could be found.
    """
    low, high = bounds
    if not _can_move(low, high, equations):
        return None
    matrix, right = equations.matrix, equations.right
    dual = np.zeros(len(right))

    def at(multipliers: np.ndarray) -> tuple[np.ndarray, float]:
        pull = matrix.T @ multipliers
        found = np.clip(figures + variance * pull, low, high)
        value = ((found - figures) ** 2 / variance).sum() / 2 - found @ pull + multipliers @ right
        return found, float(value)

    found, value = at(dual)
    for _ in range(_STEPS):
        if equations.hold(found):
            return found
        gradient = right - matrix @ found
        moving = np.where((found > low) & (found < high), variance, 0.0)
        step = _newton_step(matrix, moving, gradient, equations.whole)
        size, slope, error = 1.0, float(gradient @ step), equations.error(found)
        other, reached = at(dual + step)
        while reached < value + 1e-4 * size * slope and equations.error(other) > 0.5 * error:
            size /= 2
            if size < _SMALLEST_STEP:
                return None
            other, reached = at(dual + size * step)
        dual, found, value = dual + size * step, other, reached
    return found if equations.hold(found) else None


def _can_move(low: np.ndarray, high: np.ndarray, equations: Equations) -> bool:
    """Return whether each equation by itself can be met within the bounds."""
    matrix = equations.matrix
    up, down = matrix.maximum(0), matrix.minimum(0)
    top = np.where(np.isfinite(high), high, 1e3 * equations.whole)
    room = _PRECISION * equations.whole
    most, least = up @ top + down @ low, up @ low + down @ top
    return bool((least - room <= equations.right).all() and (equations.right <= most + room).all())


def _newton_step(
    matrix: sparse.csr_array, moving: np.ndarray, gradient: np.ndarray, whole: float
) -> np.ndarray:
    """Return the step of the multipliers where the figures that can move have these variances."""
    from scipy import sparse
    from scipy.sparse.linalg import LinearOperator, cg, spsolve

    scaled = matrix.multiply(moving[None, :]).tocsr()
    diagonal = np.asarray(scaled.multiply(matrix).sum(axis=1)).ravel()
    ridge = _RIDGE * diagonal + _RIDGE * max(float(diagonal.max(initial=0.0)), 1e-9 * whole)
    if len(gradient) <= _DIRECT:
        hessian = scaled @ matrix.T + sparse.diags_array(ridge)
        return np.asarray(spsolve(hessian.tocsc(), gradient))
    extra = diagonal + ridge
    size = (len(gradient), len(gradient))
    step, _ = cg(
        LinearOperator(size, matvec=lambda x: scaled @ (matrix.T @ x) + ridge * x, dtype=float),
        gradient,
        rtol=1e-8,
        maxiter=_CG_STEPS,
        M=LinearOperator(size, matvec=lambda x: x / extra, dtype=float),
    )
    return np.asarray(step)
