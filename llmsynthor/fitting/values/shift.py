"""Values moved inside their bins until means and quantiles are those published.

Bins hold what the tables want, so values move inside them only, and keep their order there. What
takes part in several means is tilted for each in turn, as raking scales weights. Values are then
rounded to what records keep, so that the sums stay, and a few moved by one unit where they do not.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llmsynthor.fitting.values.aims import aims_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.fitting.values.aims import Aim
    from llmsynthor.fitting.values.curve import BinCurve
    from llmsynthor.targets.statistic import Statistic
    from llmsynthor.targets.table import TableSet

_ROUNDS = 40
_NEAR = 1e-6
"""Of a mean, by how much of itself shifting may miss it before values are rounded."""
_UNIT_MOVES = 4000
_DOUBLINGS = 24
_HALVINGS = 30
_MOST_TILT = 600.0


class Numbers(Protocol):
    """What knows the tables and where values lie inside bins: a sampler."""

    tables: TableSet
    curves: list[BinCurve]


class Shifting:
    """Shifts the values of one batch."""

    def __init__(self, sampler: Numbers, aims: Sequence[Aim]) -> None:
        """Prepare; `aims` are what the batch needs."""
        self._sampler = sampler
        self._domain = sampler.tables.wide
        self._aims = aims
        self._quantiles = [
            statistic
            for statistic in sampler.tables.statistics
            if statistic.role == "control"
            and statistic.measure == "quantile"
            and sampler.tables.domain[statistic.of].kind == "number"
        ]

    @classmethod
    def needed(cls, sampler: Numbers) -> bool:
        """Return whether the job has means or quantiles that values can meet."""
        return bool(aims_of(sampler.tables) or cls(sampler, ())._quantiles)

    def shift(
        self,
        codes: np.ndarray,
        position: np.ndarray,
        limits: tuple[np.ndarray, np.ndarray],
        fixed: np.ndarray,
        random: np.random.Generator,
    ) -> np.ndarray:
        """Return positions at which the means and quantiles are met as well as bins allow.

        Args:
            codes: Of the records, shape `(rows, variables)`; a few values get into other bins, where
                no table can tell.
            position: Shape `(rows, numeric variables)`.
            limits: Lower and upper limit of each value, of that shape.
            fixed: Records whose values must stay, bool, shape `(rows,)`.
            random: Breaks ties.
        """
        position = position.copy()
        statistics = [*(aim.statistic for aim in self._aims), *self._quantiles]
        for key in dict.fromkeys((s.of, s.members is not None) for s in statistics):
            own = [s for s in statistics if (s.of, s.members is not None) == key]
            found = self._elements(own[0], codes, position, limits)
            found.low[:, fixed] = found.high[:, fixed] = np.floor(found.x[:, fixed])
            found.x[:, fixed] = found.low[:, fixed]
            quantiles = [s for s in own if s.measure == "quantile"]
            if quantiles:
                Ranks(self._sampler.tables, quantiles).meet(codes, found)
            aims = [
                aim
                for aim in self._aims
                if (aim.statistic.of, aim.statistic.members is not None) == key
            ]
            inside = [a.group.inside(codes, self._domain, a.statistic.members) for a in aims]
            wanted = [
                aim.mean / found.unit * float(own_.sum())
                for aim, own_ in zip(aims, inside, strict=True)
            ]
            shift_to(found, inside, wanted)
            round_values(found, inside, wanted, random)
            self._settle(found, codes, position, fixed)
        return position

    def _elements(
        self,
        statistic: Statistic,
        codes: np.ndarray,
        position: np.ndarray,
        limits: tuple[np.ndarray, np.ndarray],
    ) -> Elements:
        domain = self._domain
        columns = statistic.columns(domain)
        places = [domain.numeric.index(column) for column in columns]
        unit = domain.variables[columns[0]].step
        arrays = (np.empty((len(columns), len(codes))) for _ in range(3))
        found = Elements(columns, places, unit, *arrays)
        edges = np.asarray(domain.variables[columns[0]].edges)
        for slot, (column, place) in enumerate(zip(columns, places, strict=True)):
            code = codes[:, column]
            left, right = edges[code], edges[code + 1]
            x = self._sampler.curves[place].values(code, position[:, place]) / unit
            low, high = np.ceil(left / unit - 1e-9), np.ceil(right / unit - 1e-9) - 1
            near = np.ceil(np.maximum(left, limits[0][:, place]) / unit - 1e-9)
            far = np.ceil(np.minimum(right, limits[1][:, place]) / unit - 1e-9) - 1
            narrow = (near <= far) & (near <= x) & (x <= far)
            low, high = np.where(narrow, near, low), np.where(narrow, far, high)
            off = (x < low) | (x > high) | (low > high)
            found.x[slot] = x
            found.low[slot], found.high[slot] = np.where(off, x, low), np.where(off, x, high)
        return found

    def _settle(
        self, found: Elements, codes: np.ndarray, position: np.ndarray, fixed: np.ndarray
    ) -> None:
        edges = np.asarray(self._domain.variables[found.columns[0]].edges)
        for slot, (column, place) in enumerate(zip(found.columns, found.places, strict=True)):
            left, right = edges[codes[:, column]], edges[codes[:, column] + 1]
            # the middle of a unit: values are rounded down
            own = ((found.x[slot] + 0.5) * found.unit - left) / (right - left)
            position[:, place] = np.where(fixed, position[:, place], own)


def shift_to(found: Elements, inside: Sequence[np.ndarray], wanted: Sequence[float]) -> None:
    """Tilt values until each sum is what is wanted, or nothing can move."""
    places = [np.flatnonzero(own & (found.high > found.low)) for own in inside]
    totals = [
        total - float(found.x[own & (found.high <= found.low)].sum())
        for own, total in zip(inside, wanted, strict=True)
    ]
    tilts = _Tilts(found)
    for _ in range(_ROUNDS):
        worst = 0.0
        for aim, (place, total) in enumerate(zip(places, totals, strict=True)):
            lack = total - float(tilts.x[place].sum())
            worst = max(worst, abs(lack) / max(abs(wanted[aim]), 1.0))
            if abs(lack) > _NEAR * max(abs(wanted[aim]), 1.0) and len(place):
                tilts.meet(place, total)
        if worst < _NEAR:
            break
    found.x = np.where(found.high > found.low, tilts.x.reshape(found.x.shape), found.x)


class _Tilts:
    """Values whose distribution inside their bins is tilted exponentially.

    That is the nearest distribution (in KL) with another mean (Csiszar 1975). A value at the share u
    of a bin's width w goes to the share log(1 + u (exp(r w) - 1)) / (r w) for a rate r, so that the
    order stays, and values in wide bins move farther than those in narrow ones.

    Attributes:
        x: The values, shape `(values,)`.
    """

    def __init__(self, found: Elements) -> None:
        self._low, self._high = found.low.ravel(), found.high.ravel()
        self._width = self._high - self._low + 1
        self._share = np.clip((found.x.ravel() - self._low + 0.5) / self._width, 1e-9, 1 - 1e-9)
        self._rate = np.zeros(len(self._low))
        self.x = np.clip(found.x.ravel(), self._low, self._high)

    def meet(self, place: np.ndarray, total: float) -> None:
        """Tilt some values further until they add up to a total, as nearly as bins allow.

        The rate is found by false position, whose older end counts half where the newer one stays
        on its side (Illinois; Dowell & Jarratt 1971).
        """
        room = 0.1 * _NEAR * max(abs(total), 1.0)
        near, at_near = 0.0, float(self.x[place].sum()) - total
        inside = (self.x[place] - self._low[place] + 0.5) / self._width[place]
        slope = float((self._width[place] ** 2 * inside * (1 - inside)).sum()) / 2
        far = -at_near / max(slope, 1e-300)
        at_far = at_near
        for _ in range(_DOUBLINGS):
            at_far = float(self._at(place, far).sum()) - total
            if at_far * at_near <= 0:
                break
            near, at_near, far = far, at_far, 2 * far
        for _ in range(_HALVINGS):
            if abs(at_far) <= room or at_far == at_near:
                break
            new = far - at_far * (far - near) / (at_far - at_near)
            at_new = float(self._at(place, new).sum()) - total
            if at_new * at_far < 0:
                near, at_near = far, at_far
            else:
                at_near /= 2
            far, at_far = new, at_new
        self._rate[place] += far
        self.x[place] = self._at(place, 0.0)

    def _at(self, place: np.ndarray, more: float) -> np.ndarray:
        """Return some of the values at a rate that is higher by `more`."""
        width, share = self._width[place], self._share[place]
        tilt = np.clip((self._rate[place] + more) * width, -_MOST_TILT, _MOST_TILT)
        size = np.maximum(np.abs(tilt), 1e-9)
        side = np.where(tilt < 0, 1 - share, share)  # mirrored: no difference of large numbers
        moved = np.log1p(side * np.expm1(size)) / size
        moved = np.where(tilt < 0, 1 - moved, moved)
        return np.clip(self._low[place] - 0.5 + moved * width, self._low[place], self._high[place])


def round_values(
    found: Elements,
    inside: Sequence[np.ndarray],
    wanted: Sequence[float],
    random: np.random.Generator,
) -> None:
    """Round all values up or down, so that the sums stay what is wanted."""
    signature = np.zeros(found.x.size, dtype=np.int64)
    together = np.zeros((0, found.x.size), dtype=bool)
    if inside:
        together = np.stack([own.ravel() for own in inside])
        signature = np.unique(together, axis=1, return_inverse=True)[1].ravel()
    order = np.lexsort((random.random(len(signature)), signature))
    down = np.floor(found.x + 1e-9)
    part = np.clip(found.x - down, 0.0, 1.0).ravel()[order]
    ends = np.floor(np.cumsum(part) + random.random())
    up = np.diff(ends, prepend=0.0)
    whole = down.ravel()
    whole[order] += np.minimum(up, 1.0) * (part > 0)
    found.x = np.clip(whole.reshape(found.x.shape), found.low, found.high)
    if inside:
        _move_units(found, signature, together, wanted)


def _move_units(
    found: Elements, signature: np.ndarray, together: np.ndarray, wanted: Sequence[float]
) -> None:
    """Move values by one unit where a sum is not what is wanted: all alike count in the same sums."""
    x, low, high = found.x.ravel(), found.low.ravel(), found.high.ravel()
    kinds = int(signature.max(initial=0)) + 1
    first = np.unique(signature, return_index=True)[1]
    counts_in = together[:, first].astype(float)
    target = np.asarray(wanted)
    scale = np.maximum(np.abs(target), 1.0)
    weighted = counts_in / scale[:, None] ** 2
    own = (counts_in * weighted).sum(axis=0)
    lack = target - together @ x
    ways = {1: _by_kind(signature, x < high, kinds), -1: _by_kind(signature, x > low, kinds)}
    for _ in range(_UNIT_MOVES):
        pull = lack @ weighted
        best, choice = -1e-18, (0, 0)
        for sign in (1, -1):
            gain = own - 2 * sign * pull
            gain[[not able for able in ways[sign]]] = np.inf
            kind = int(np.argmin(gain))
            if gain[kind] < best:
                best, choice = float(gain[kind]), (sign, kind)
        sign, kind = choice
        if not sign:
            break
        place = ways[sign][kind].pop()
        x[place] += sign
        lack -= sign * counts_in[:, kind]
    found.x = x.reshape(found.x.shape)


def _by_kind(signature: np.ndarray, able: np.ndarray, kinds: int) -> list[list[int]]:
    """Return for each kind some values that can move, at most as many as are ever moved."""
    places = np.flatnonzero(able)
    order = places[np.argsort(signature[places], kind="stable")]
    ends = np.searchsorted(signature[order], np.arange(kinds + 1))
    return [order[a : min(b, a + _UNIT_MOVES)].tolist() for a, b in pairwise(ends)]


@dataclass(eq=False)
class Elements:
    """All values of one variable, of records or of members, on a grid of what records keep.

    Attributes:
        columns: Column of the codes for each slot.
        places: Column of the positions for each slot.
        unit: Of the grid.
        x: Values in grid units, shape `(slots, rows)`.
        low: The least that each may become, whole.
        high: The most; the same where a value must stay.
    """

    columns: list[int]
    places: list[int]
    unit: float
    x: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def put(self, chosen: np.ndarray, at: float) -> None:
        """Give some values (as places in the flat arrays) another, at which they stay."""
        for array in (self.x, self.low, self.high):
            array.flat[chosen] = at


class Ranks:
    """Meets the quantiles of one number."""

    def __init__(self, tables: TableSet, quantiles: Sequence[Statistic]) -> None:
        """Prepare to meet these, which are all quantiles of the number."""
        self._tables = tables
        self._quantiles = quantiles
        self._edges = np.asarray(tables.domain[quantiles[0].of].edges)
        self._alike = _told_apart(tables, quantiles[0].of)

    def meet(self, codes: np.ndarray, found: Elements) -> None:
        """Change values and, where they get into another bin, codes.

        Args:
            codes: Of the records, shape `(rows, variables)`; changes.
            found: The values; change, and stay then.
        """
        cuts = [
            (statistic.level, np.ceil(figure / found.unit - 1e-9), float(figure), own)
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
    """Return a number for each code of a variable: the same for those that nothing tells apart."""
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
