"""Weights: the candidates' nearest weights to the prior (in KL) that meet every control table.

`dual` finds them. Conditions that leave a choice, and those that cannot be met, are settled here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.dual import PRECISION, Dual

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmsynthor.fitting.controls import Controls
    from llmsynthor.fitting.moments import Moments

_RAKING_ROUNDS = 24
_MORE_RAKING_ROUNDS = 400
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
    solver = _solved(kept, prior[live] / prior[live].sum() * total, check)
    weights[live] = solver.weights
    kl, size = _effort(weights / weights.sum(), prior / prior.sum())
    error = solver.error
    return Calibration(
        weights, tuple(controls.sums(weights)), error, error <= PRECISION, solver.rounds, kl, size
    )


def _solved(controls: Controls, prior: np.ndarray, check: Callable[[], None]) -> Dual:
    """Return the solved weights; conditions that leave a choice bind only where they must.

    They are an active set (Nocedal & Wright 2006, section 16.5): those that the weights break are
    met at their nearer end, those that would be kept without are let go.
    """
    moments = controls.moments
    if moments is None:
        return _solve(controls, prior, check)
    fixed = moments.low == moments.high
    bound = np.where(fixed, moments.low, np.nan)
    for turn in count(1):
        active = np.flatnonzero(~np.isnan(bound))
        chosen = moments.choose(active, bound[active])
        solver = _tables_first(replace(controls, moments=chosen), chosen, prior, check)
        held = moments.matrix @ solver.weights
        new = bound.copy()
        # of a condition at its upper end the multiplier is below 0, or it holds nothing back
        pull = solver.multiplier[len(solver.multiplier) - len(active) :]
        idle = np.where(bound[active] == moments.high[active], pull > 0, pull < 0)
        new[active[idle & ~fixed[active]]] = np.nan
        room = PRECISION * controls.total
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
    check: Callable[[], None],
) -> Dual:
    """Return the solved weights; conditions that exclude the tables give way farther than others.

    How far one gives way is its multiplier times its variance. Where that is far, the multiplier
    grows beyond what steps reach, and the tables would not be met either.
    """
    solver = _solve(controls, prior, check)
    for times in _LOOSER:
        if solver.error <= _CLOSE or not len(moments):
            return solver
        looser = replace(controls, moments=replace(moments, variance=moments.variance * times))
        other = _solve(looser, prior, check)
        if other.error <= _CLOSE:
            missed = np.abs(moments.matrix @ other.weights - moments.low) / moments.variance**0.5
            culprit = missed > _CULPRIT * missed.max()
            variance = moments.variance * np.where(culprit, times, 1.0)
            looser = replace(controls, moments=replace(moments, variance=variance))
            fewer = _solve(looser, prior, check)
            return fewer if fewer.error <= _CLOSE else other
        solver = min(solver, other, key=lambda found: found.error)
    return solver


def _solve(controls: Controls, prior: np.ndarray, check: Callable[[], None]) -> Dual:
    solver = Dual(controls, prior)
    solver.rake(_MEMBER_RAKING_ROUNDS if controls.has_members else _RAKING_ROUNDS, check)
    solver.newton(check)
    if solver.error > PRECISION and not solver.soft and not controls.has_members:
        solver.rake(_MORE_RAKING_ROUNDS, check)
    if solver.error > PRECISION and controls.has_members:
        return _nearest(controls, prior, solver, check)
    return solver


def _nearest(
    controls: Controls, prior: np.ndarray, solver: Dual, check: Callable[[], None]
) -> Dual:
    """Return a solver that is near every cell, where `solver` found that not all can be met.

    A cell that cannot be met, in one zone of many, draws the dual towards infinity and stops all
    others short of their targets. With a little give they come as near as a small part of a record.
    """
    given = Dual(controls, prior / prior.sum() * controls.total, give=_GIVE)
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
    return replace(
        controls,
        index=(*controls.index, np.zeros(candidates, dtype=np.int64)),
        target=(*controls.target, np.array([controls.total])),
        variance=(*controls.gives_way, None),
    )


def _effort(share: np.ndarray, prior: np.ndarray) -> tuple[float, float]:
    there = share > 0
    ratio = share[there] / prior[there]
    kl = float((share[there] * np.log(ratio)).sum())
    return max(kl, 0.0), float(len(prior) / (share[there] * ratio).sum())
