"""Weights: the candidates' nearest weights to the prior (in KL) that meet every control table.

Raking (Deming & Stephan 1940; as IPU for records with members, Ye et al. 2009) takes the first
steps. Where it slows down, Newton's method on the dual of the KL projection finishes: with weights
w = prior * exp(A' lambda), the dual's gradient is A w - r and its Hessian A diag(w) A'.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmsynthor.domain import Domain
    from llmsynthor.tables import Table

PRECISION = 1e-9
"""Calibration stops when no cell is further from its target than this share of all records."""

_RAKING_ROUNDS = 24
_MORE_RAKING_ROUNDS = 2000
_NEWTON_STEPS = 40
_NEWTON_CELLS = 3000
_SMALLEST_STEP = 1e-6


@dataclass(frozen=True, eq=False)
class Controls:
    """Which cell of each binding table every candidate is in, and what the cells want.

    Attributes:
        index: Per binding table the cell of each candidate, int64, shape `(candidates,)`.
        target: Per binding table the records wanted in each cell, shape `(cells,)`.
    """

    index: tuple[np.ndarray, ...]
    target: tuple[np.ndarray, ...]

    def sums(self, weights: np.ndarray) -> list[np.ndarray]:
        """Return per table what the cells hold with these weights."""
        return [
            np.bincount(index, weights=weights, minlength=len(target))
            for index, target in zip(self.index, self.target, strict=True)
        ]

    def take(self, rows: np.ndarray) -> Controls:
        """Return the controls of some candidates only."""
        return Controls(tuple(index[rows] for index in self.index), self.target)

    def fillable(self) -> np.ndarray:
        """Return which candidates are in no cell whose target is 0."""
        able = np.ones(len(self.index[0]), dtype=bool)
        for index, target in zip(self.index, self.target, strict=True):
            able &= target[index] > 0
        return able


@dataclass(frozen=True, eq=False)
class Calibration:
    """Calibrated weights and what they cost.

    Attributes:
        weights: Records for each candidate, shape `(candidates,)`.
        error: Largest distance of a cell from its target, as a share of all records.
        converged: Whether `error` is at most `PRECISION`.
        rounds: Raking rounds and Newton steps taken.
        kl: KL divergence of the weights from the prior, in nats.
        effective_sample_size: Candidates that equal ratios weight / prior would need for the same
            variance (Kish 1965).
    """

    weights: np.ndarray
    error: float
    converged: bool
    rounds: int
    kl: float
    effective_sample_size: float


def binding_tables(tables: Sequence[Table]) -> tuple[Table, ...]:
    """Return the tables that no other table implies: meeting these meets all."""
    kept: list[Table] = []
    for table in sorted(tables, key=lambda t: (-t.cells, t.name)):
        if not any(_implies(other, table) for other in kept):
            kept.append(table)
    return tuple(kept)


def _implies(fine: Table, coarse: Table) -> bool:
    """Return whether every cell of `fine` lies inside one cell of `coarse`."""
    if not set(coarse.scope) <= set(fine.scope):
        return False
    pairs = [
        (fine.groups[fine.scope.index(name)], group)
        for name, group in zip(coarse.scope, coarse.groups, strict=True)
    ]
    return all(
        len(np.unique(np.stack(pair), axis=1)[0]) == len(np.unique(pair[0])) for pair in pairs
    )


def controls_for(
    tables: Sequence[Table], targets: Sequence[np.ndarray], codes: np.ndarray, domain: Domain
) -> Controls:
    """Return the controls of candidates `codes` for the given tables and targets in records."""
    return Controls(tuple(table.cell_index(codes, domain) for table in tables), tuple(targets))


def calibrate(
    controls: Controls, prior: np.ndarray, *, check: Callable[[], None] = lambda: None
) -> Calibration:
    """Return the weights nearest to `prior` that meet the targets as well as can be.

    Args:
        controls: Cells and targets.
        prior: Prior probability of each candidate, shape `(candidates,)`.
        check: Called between rounds; may raise to stop.
    """
    live = np.flatnonzero(controls.fillable() & (prior > 0))
    total = float(controls.target[0].sum())
    weights = np.zeros(len(prior))
    if not len(live) or total <= 0:
        return Calibration(weights, float(total > 0), total <= 0, 0, 0.0, 0.0)
    state = _State(controls.take(live), prior[live] / prior[live].sum() * total, total)
    state.rake(_RAKING_ROUNDS, check)
    if state.error > PRECISION and state.cells <= _NEWTON_CELLS:
        state.newton(check)
    if state.error > PRECISION:
        state.rake(_MORE_RAKING_ROUNDS, check)
    weights[live] = state.weights
    kl, size = _effort(weights / weights.sum(), prior / prior.sum())
    return Calibration(weights, state.error, state.error <= PRECISION, state.rounds, kl, size)


class _State:
    """The weights while they are being found."""

    def __init__(self, controls: Controls, weights: np.ndarray, total: float) -> None:
        self.controls = controls
        self.weights = weights
        self.total = total
        self.rounds = 0
        self.cells = sum(len(target) for target in controls.target)
        self.error = self._error(weights)

    def _error(self, weights: np.ndarray) -> float:
        sums = self.controls.sums(weights)
        return max(
            float(np.abs(s - t).max()) / self.total
            for s, t in zip(sums, self.controls.target, strict=True)
        )

    def rake(self, rounds: int, check: Callable[[], None]) -> None:
        """Scale table by table, until precise or no longer improving."""
        best = self.error
        for number in range(1, rounds + 1):
            if self.error <= PRECISION:
                return
            check()
            for index, target in zip(self.controls.index, self.controls.target, strict=True):
                held = np.bincount(index, weights=self.weights, minlength=len(target))
                factor = np.divide(target, held, out=np.zeros(len(target)), where=held > 0)
                self.weights = self.weights * factor[index]
            self.rounds += 1
            self.error = self._error(self.weights)
            if number % 100 == 0:
                if self.error > 0.9 * best:
                    return
                best = self.error

    def newton(self, check: Callable[[], None]) -> None:
        """Take damped Newton steps on the dual while they lower it."""
        for _ in range(_NEWTON_STEPS):
            check()
            gradient = np.concatenate(self.controls.sums(self.weights)) - np.concatenate(
                self.controls.target
            )
            step = self._newton_step(gradient)
            moved = self._line_search(step, gradient)
            self.rounds += 1
            if not moved or self.error <= PRECISION:
                return

    def _newton_step(self, gradient: np.ndarray) -> np.ndarray:
        from scipy.linalg import cho_factor, cho_solve  # a slow import, only here needed

        hessian = self._hessian()
        diagonal = hessian.diagonal().copy()
        # the tables share their totals and margins, so the Hessian is singular: a slight ridge
        hessian[np.diag_indices_from(hessian)] += (
            1e-9 * self.total / len(diagonal) + 1e-11 * diagonal
        )
        return -np.asarray(cho_solve(cho_factor(hessian, overwrite_a=True), gradient))

    def _hessian(self) -> np.ndarray:
        sizes = [len(target) for target in self.controls.target]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        hessian = np.zeros((starts[-1], starts[-1]))
        for a, index_a in enumerate(self.controls.index):
            for b in range(a, len(sizes)):
                rows = slice(starts[a], starts[a + 1])
                columns = slice(starts[b], starts[b + 1])
                if a == b:
                    block = np.diag(np.bincount(index_a, self.weights, sizes[a]))
                else:
                    joint = index_a * sizes[b] + self.controls.index[b]
                    block = np.bincount(joint, self.weights, sizes[a] * sizes[b]).reshape(
                        sizes[a], sizes[b]
                    )
                hessian[rows, columns] = block
                hessian[columns, rows] = block.T
        return hessian

    def _line_search(self, step: np.ndarray, gradient: np.ndarray) -> bool:
        parts = np.split(step, np.cumsum([len(t) for t in self.controls.target])[:-1])
        exponent = np.zeros(len(self.weights))
        for index, part in zip(self.controls.index, parts, strict=True):
            exponent += part[index]
        targets = np.concatenate(self.controls.target)
        before = self.weights.sum()
        slope = float(gradient @ step)
        size = min(1.0, 20.0 / max(float(np.abs(exponent).max()), 1e-12))
        while size > _SMALLEST_STEP:
            weights = self.weights * np.exp(size * exponent)
            change = weights.sum() - before - size * float(targets @ step)
            error = self._error(weights)
            if change <= 1e-4 * size * slope or error < 0.5 * self.error:
                self.weights, self.error = weights, error
                return True
            size *= 0.5
        return False


def _effort(share: np.ndarray, prior: np.ndarray) -> tuple[float, float]:
    there = share > 0
    ratio = share[there] / prior[there]
    kl = float((share[there] * np.log(ratio)).sum())
    return max(kl, 0.0), float(len(prior) / (share[there] * ratio).sum())
