"""The nearest tables that agree: every margin that two of them share is made the same.

Tables that must be met are made to agree among themselves, and then the soft ones to them. Each
time the smallest change is looked for first: within the rounding of the published figures; with
cells of 0 left empty; and only then of any cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.targets.margins import margin_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scipy import sparse

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.reconcile.draft import Draft

_Bounds = tuple[np.ndarray, np.ndarray]
_STEPS = 100
_PRECISION = 1e-10
"""How far an equation may be off, as a share of `whole`."""
_NEARLY = 2e-9
"""The same where it cannot be told better."""
_RIDGE = 1e-11
"""Equations may say the same twice: this share of the diagonal makes the system regular."""
_MOST_RIDGE = 10.0
"""Above 1, as a thousandfold of a thousandfold comes to a little more than 1."""
_SMALLEST_STEP = 1e-3
_FLOAT_NOISE = 1e-14
_DIRECT = 20_000
"""Equations; more are solved by conjugate gradients."""
_CG_STEPS = 2000


def nearest_agreeing(drafts: Sequence[Draft], domain: Domain) -> list[Draft]:
    """Return tables of one kind and one total with their nearest figures that agree.

    Where no such figures are found, tables keep those that they have.
    """
    hard = [draft for draft in drafts if not draft.table.is_soft]
    soft = [draft for draft in drafts if draft.table.is_soft]
    found = _within_rounding(hard, domain)
    if found is None:
        found = [draft for part in _linked(hard) for draft in _solved(part, (), domain)]
    fixed = tuple(found)
    if fixed:
        soft = [draft.brought_to(fixed[0].whole) for draft in soft]
    for part in _linked(soft):
        found += _solved(part, fixed, domain)
    by_name = {draft.table.name: draft for draft in found}
    return [by_name[draft.table.name] for draft in drafts]


def agreeing_with(draft: Draft, fixed: Sequence[Draft], domain: Domain) -> Draft | None:
    """Return a table with its nearest figures that agree with others, which stay; None: there are none."""
    found = _solved([draft], fixed, domain)[0]
    return None if found is draft else found


def _within_rounding(drafts: Sequence[Draft], domain: Domain) -> list[Draft] | None:
    """Return tables that agree within the rounding of their counts, of their totals too, or None."""
    if not drafts or any(draft.table.measure != "count" for draft in drafts):
        return None
    equations = _equations(drafts, (), domain, total=None)
    figures = _joined([np.where(d.uncovered, d.figures, d.published) for d in drafts])
    variance = _joined([draft.variance for draft in drafts])
    if equations.hold(figures):
        return _parted(figures, drafts)
    found = nearest(figures, variance, _bounds(drafts, [True] * len(drafts)), equations)
    return None if found is None else _parted(found, drafts)


def _linked(drafts: Sequence[Draft]) -> list[list[Draft]]:
    """Return the tables in parts that share no variable with each other."""
    parts: list[list[Draft]] = []
    for draft in drafts:
        scope = set(draft.table.scope)
        touched = [p for p in parts if any(scope & set(other.table.scope) for other in p)]
        parts = [p for p in parts if p not in touched]
        parts.append([*(other for part in touched for other in part), draft])
    return parts


def _solved(drafts: Sequence[Draft], fixed: Sequence[Draft], domain: Domain) -> list[Draft]:
    """Return tables with figures that agree with each other and with fixed ones."""
    equations = _equations(drafts, fixed, domain, total=drafts[0].whole)
    figures, variance = _joined([d.figures for d in drafts]), _joined([d.variance for d in drafts])
    found = figures if equations.hold(figures) else None
    for bounds in _tries(drafts):
        if found is not None:
            break
        found = nearest(figures, variance, bounds, equations)
    return list(drafts) if found is None else _parted(found, drafts)


def _joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays])


def _parted(figures: np.ndarray, drafts: Sequence[Draft]) -> list[Draft]:
    """Return the tables with these figures, which stand in a row."""
    ends = np.cumsum([draft.figures.size for draft in drafts])[:-1]
    return [
        draft.with_figures(own.reshape(draft.figures.shape))
        for draft, own in zip(drafts, np.split(figures, ends), strict=True)
    ]


def _tries(drafts: Sequence[Draft]) -> Iterator[_Bounds]:
    """Yield within which bounds to look, the narrowest first."""
    none = [False] * len(drafts)
    if not drafts[0].table.is_soft:
        yield _bounds(drafts, [True] * len(drafts))
        rounded = [draft.table.rounding > 0 for draft in drafts]
        if any(rounded) and not all(rounded):
            yield _bounds(drafts, rounded)
    yield _bounds(drafts, none)
    yield _bounds(drafts, none, zeros=False)


def _bounds(drafts: Sequence[Draft], within: Sequence[bool], *, zeros: bool = True) -> _Bounds:
    """Return the least and the most of each cell.

    Args:
        drafts: The tables.
        within: Per table whether its cells stay within their rounding.
        zeros: Whether cells of 0 stay empty, where no margin of error says that they may not be.
    """
    lows, highs = [], []
    for draft, is_within in zip(drafts, within, strict=True):
        low, high = np.zeros(draft.figures.shape), np.full(draft.figures.shape, np.inf)
        if is_within:
            low = np.maximum(draft.published - draft.room, 0.0)
            high = draft.published + draft.room
        elif zeros:
            empty = draft.figures == 0
            if draft.table.moe is not None:
                empty &= draft.table.moe == 0
            high = np.where(empty, 0.0, high)
        lows.append(np.where(draft.uncovered, 0.0, low).ravel())
        highs.append(np.where(draft.uncovered, np.inf, high).ravel())
    return np.concatenate(lows), np.concatenate(highs)


class _Rows:
    """The equations while they are being written down."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        starts = np.cumsum([0, *(draft.figures.size for draft in drafts)])
        self._start = {d.table.name: int(s) for d, s in zip(drafts, starts, strict=False)}
        self._columns = int(starts[-1])
        self._entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._right: list[np.ndarray] = []
        self._number = 0

    def add(
        self, size: int, terms: Sequence[tuple[Draft, np.ndarray, float]], right: float
    ) -> None:
        """Add an equation for each cell of a margin: the sum of the signed tables.

        Args:
            size: Cells of the margin.
            terms: Tables, the margin's cell of each of their cells, and their sign.
            right: What they add up to.
        """
        constant = np.full(size, right)
        for draft, cells, sign in terms:
            flat = cells.ravel()
            start = self._start.get(draft.table.name)
            if start is None:
                constant -= sign * np.bincount(flat, draft.figures.ravel(), size)
            else:
                columns = start + np.arange(len(flat))
                self._entries.append((flat + self._number, columns, np.full(len(flat), sign)))
        self._right.append(constant)
        self._number += size

    def equations(self, whole: float) -> Equations:
        """Return all of them."""
        from scipy import sparse  # a slow import, only here needed

        none = (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
        entries = [*self._entries, none]  # a single table has nothing to agree with
        rows, columns, values = (np.concatenate([entry[i] for entry in entries]) for i in range(3))
        matrix = sparse.csr_array((values, (rows, columns)), shape=(self._number, self._columns))
        return Equations(matrix, np.concatenate([*self._right, none[2]]), whole)


def _equations(
    drafts: Sequence[Draft], fixed: Sequence[Draft], domain: Domain, *, total: float | None
) -> Equations:
    """Return that shared margins are the same, but for those that follow from others.

    Only `drafts` may change. Without a `total` all add up to the same, whatever it is.
    """
    rows = _Rows(drafts)
    all_cells = [np.zeros(draft.figures.shape, dtype=np.int64) for draft in drafts]
    for draft, cells in zip(drafts, all_cells, strict=True):
        if total is not None:
            rows.add(1, [(draft, cells, 1.0)], total)
        elif draft is not drafts[0]:
            rows.add(1, [(drafts[0], all_cells[0], 1.0), (draft, cells, -1.0)], 0.0)
    leader: dict[tuple[object, str], str] = {}

    def first_of(key: object, name: str) -> str:
        while (key, name) in leader:
            name = leader[key, name]
        return name

    for one, other in combinations([*fixed, *drafts], 2):
        if other in fixed or not set(one.table.scope) & set(other.table.scope):
            continue
        margin = margin_of(domain, one.table, other.table)
        size = int(np.prod(margin.shape))
        # tables that agree with one table over the same cells agree with each other
        ends = first_of(margin.key, one.table.name), first_of(margin.key, other.table.name)
        if ends[0] == ends[1]:
            continue
        leader[margin.key, ends[1]] = ends[0]
        terms = [(one, margin.cells(one.table), 1.0), (other, margin.cells(other.table), -1.0)]
        rows.add(size, terms, 0.0)
    return rows.equations(drafts[0].whole)


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

    def hold(self, figures: np.ndarray, precision: float = _PRECISION) -> bool:
        """Return whether the figures meet them, but for a share of `whole`."""
        error = np.abs(self.right - self.matrix @ figures).max(initial=0.0)
        return bool(error <= precision * self.whole)


def nearest(
    figures: np.ndarray,
    variance: np.ndarray,
    bounds: _Bounds,
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
    return dual.found if equations.hold(dual.found, _NEARLY) else None


class _Dual:
    """The multipliers while they are being found.

    Attributes:
        found: The figures that they lead to.
    """

    def __init__(
        self,
        figures: np.ndarray,
        variance: np.ndarray,
        bounds: _Bounds,
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
