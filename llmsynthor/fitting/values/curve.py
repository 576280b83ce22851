"""Values inside bins: drawn from a monotone interpolation of the cumulative distribution.

The cumulative target shares at the bin edges are joined by PCHIP (Fritsch & Carlson 1980), which
never overshoots, so that densities have no stair steps and no bin gains or loses anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from llmsynthor.targets.domain import Variable

_KNOTS = 65


class BinCurve:
    """Where values lie inside each bin of one numeric variable.

    Positions and levels are shares from 0 to 1: a position of a bin's width, a level of its mass.
    """

    def __init__(self, variable: Variable, marginal: np.ndarray) -> None:
        """Fit the curve.

        Args:
            variable: A numeric variable.
            marginal: Target share of each bin, shape `(size,)`.
        """
        self.variable = variable
        edges = np.asarray(variable.edges)
        cumulative = np.concatenate([[0.0], np.cumsum(marginal)])
        slopes = _slopes(edges, cumulative) if variable.size > 1 else None
        steps = np.linspace(0.0, 1.0, _KNOTS)
        self._levels = np.empty((variable.size, _KNOTS))
        for code in range(variable.size):
            width = edges[code + 1] - edges[code]
            mass = cumulative[code + 1] - cumulative[code]
            if slopes is None or mass <= 0:
                self._levels[code] = steps
                continue
            x = edges[code] + steps * width - edges[code]
            first, last = slopes[code : code + 2]
            bend = (first + last - 2 * (mass / width)) / width
            square = (mass / width - first) / width - bend
            curve = cumulative[code] + first * x + square * (x * x) + bend / width * (x * x * x)
            self._levels[code] = (curve - cumulative[code]) / mass
        self._levels = np.maximum.accumulate(np.clip(self._levels, 0.0, 1.0), axis=1)
        self._levels[:, 0], self._levels[:, -1] = 0.0, 1.0
        self._positions = np.stack(
            [np.interp(steps, row + steps * 1e-9, steps) for row in self._levels]
        )

    def level(self, codes: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return the share of the bin's mass below `position`."""
        return _lookup(self._levels, codes, position)

    def position(self, codes: np.ndarray, level: np.ndarray) -> np.ndarray:
        """Return the position that has the share `level` of the bin's mass below it."""
        return _lookup(self._positions, codes, level)

    def values(self, codes: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return values at a position of their bins, rounded down to what the records keep.

        Rounding down keeps a value in its bin. Integers come as int64, numbers as float64.
        """
        edges = np.asarray(self.variable.edges)
        low, high = edges[codes], edges[codes + 1]
        values = low + position * (high - low)
        if self.variable.is_whole:
            return np.minimum(np.floor(values), high - 1).astype(np.int64)
        scale = 10.0**self.variable.decimals
        rounded = np.round(np.floor(values * scale) / scale, self.variable.decimals)
        return np.where(
            (rounded < low) | (rounded >= high),
            np.minimum(values, np.nextafter(high, low)),
            rounded,
        )

    def draw(
        self, codes: np.ndarray, random: np.random.Generator, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """Return a random position in each record's bin, inside its proposal's limits.

        Args:
            codes: Bin of each record.
            random: Source of randomness.
            low: Lower limit of each record's values (-inf where none).
            high: Upper limit, excluded (inf where none).
        """
        edges = np.asarray(self.variable.edges)
        left, right = edges[codes], edges[codes + 1]
        with np.errstate(invalid="ignore"):
            start = np.clip((low - left) / (right - left), 0.0, 1.0)
            end = np.clip((high - left) / (right - left), 0.0, 1.0)
        outside = start >= end  # the limits miss this bin: the whole bin is as good as any part
        start, end = np.where(outside, 0.0, start), np.where(outside, 1.0, end)
        bottom, top = self.level(codes, start), self.level(codes, end)
        position = self.position(codes, bottom + random.random(len(codes)) * (top - bottom))
        # a hair inside the ends, or rounding would carry values over the limits
        hair = 1e-6 * (end - start)
        return np.clip(position, start + hair, end - hair)


def _slopes(edges: np.ndarray, cumulative: np.ndarray) -> np.ndarray:
    """Return the slope of the curve at each edge: scipy's `PchipInterpolator`, without its import.

    That import takes longer than most small runs.
    """
    width = np.diff(edges)
    density = np.diff(cumulative) / width
    slopes = np.zeros(len(edges))
    rising = (density[1:] > 0) & (density[:-1] > 0)
    before, after = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
    mean = before[rising] / density[:-1][rising] + after[rising] / density[1:][rising]
    slopes[1:-1][rising] = 1.0 / (mean / (before + after)[rising])
    for end, inner in ((0, 1), (-1, -2)):
        slope = (2 * width[end] + width[inner]) * density[end] - width[end] * density[inner]
        slopes[end] = max(slope / (width[end] + width[inner]), 0.0)
    return slopes


def _lookup(table: np.ndarray, codes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return linear interpolation in row `codes` of `table`, whose knots are evenly spaced."""
    scaled = np.clip(at, 0.0, 1.0) * (_KNOTS - 1)
    knot = np.minimum(scaled.astype(np.int64), _KNOTS - 2)
    part = scaled - knot
    return np.asarray(table[codes, knot] * (1 - part) + table[codes, knot + 1] * part)
