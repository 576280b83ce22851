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

_STEPS = 100
_PRECISION = 1e-10
"""How far an equation may be off, as a share of `whole`."""
_NEARLY = 2e-9
_RIDGE = 1e-11
"""Equations may say the same twice: this share of the diagonal makes the system regular."""
_MOST_RIDGE = 1.0
_SMALLEST_STEP = 1e-3
_FLOAT_NOISE = 1e-14
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

    def nearly_hold(self, figures: np.ndarray) -> bool:
        """Return whether they are met as well as can be told from not."""
        return self.error(figures) <= _NEARLY * self.whole

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
    if not _can_move(*bounds, equations):
        return None
    dual = _Dual(figures, variance, bounds, equations)
    for _ in range(_STEPS):
        if equations.hold(dual.found) or not dual.rise():
            break
    return dual.found if equations.nearly_hold(dual.found) else None


class _Dual:
    """The multipliers while they are being found.

    Attributes:
        found: The figures that they lead to.
    """

    def __init__(
        self,
        figures: np.ndarray,
        variance: np.ndarray,
        bounds: tuple[np.ndarray, np.ndarray],
        equations: Equations,
    ) -> None:
        self._figures, self._variance, self._equations = figures, variance, equations
        self._low, self._high = bounds
        matrix = equations.matrix
        free = np.where(self._low < self._high, variance, 0.0)
        self._stiffness = matrix.multiply(matrix) @ free + _RIDGE * float(variance.max())
        self._ridge = _RIDGE
        self._multipliers = np.zeros(len(equations.right))
        self.found, self._value = self._at(self._multipliers)

    def _at(self, multipliers: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the figures and the value of the dual, which is to be as large as can be."""
        pull = self._equations.matrix.T @ multipliers
        found = np.clip(self._figures + self._variance * pull, self._low, self._high)
        apart = ((found - self._figures) ** 2 / self._variance).sum() / 2
        return found, float(apart - found @ pull + multipliers @ self._equations.right)

    def rise(self) -> bool:
        """Take a Newton step, shortened until the value rises; return whether there was one."""
        gradient = self._equations.right - self._equations.matrix @ self.found
        moving = (self.found > self._low) & (self.found < self._high)
        scaled = np.where(moving, self._variance, 0.0)
        noise = _FLOAT_NOISE * (
            abs(self._value) + float(np.abs(self._multipliers) @ np.abs(self._equations.right))
        )
        while self._ridge <= _MOST_RIDGE:
            step = _solve(self._equations.matrix, scaled, self._ridge * self._stiffness, gradient)
            size, slope = 1.0, float(gradient @ step)
            while size > _SMALLEST_STEP:
                found, value = self._at(self._multipliers + size * step)
                if value >= self._value + 1e-4 * size * slope - noise:
                    self._multipliers = self._multipliers + size * step
                    self.found, self._value = found, value
                    self._ridge = max(self._ridge / 10, _RIDGE) if size == 1 else self._ridge
                    return True
                size /= 2
            self._ridge *= 1000  # many figures lie at their bounds: look less far
        return False


def _can_move(low: np.ndarray, high: np.ndarray, equations: Equations) -> bool:
    """Return whether each equation by itself can be met within the bounds."""
    matrix = equations.matrix
    up, down = matrix.maximum(0), matrix.minimum(0)
    top = np.where(np.isfinite(high), high, 1e3 * equations.whole)
    room = _PRECISION * equations.whole
    most, least = up @ top + down @ low, up @ low + down @ top
    return bool((least - room <= equations.right).all() and (equations.right <= most + room).all())


def _solve(
    matrix: sparse.csr_array, variance: np.ndarray, ridge: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Return the solution x of (A diag(variance) A' + diag(ridge)) x = right."""
    from scipy import sparse
    from scipy.sparse.linalg import LinearOperator, cg, spsolve

    scaled = matrix.multiply(variance[None, :]).tocsr()
    if len(right) <= _DIRECT:
        hessian = scaled @ matrix.T + sparse.diags_array(ridge)
        return np.asarray(spsolve(hessian.tocsc(), right))
    diagonal = np.asarray(scaled.multiply(matrix).sum(axis=1)).ravel() + ridge
    size = (len(right), len(right))
    found, _ = cg(
        LinearOperator(size, matvec=lambda x: scaled @ (matrix.T @ x) + ridge * x, dtype=float),
        right,
        rtol=1e-8,
        maxiter=_CG_STEPS,
        M=LinearOperator(size, matvec=lambda x: x / diagonal, dtype=float),
    )
    return np.asarray(found)
