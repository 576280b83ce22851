"""Moments: statistics as linear conditions on the weights of candidates.

The mean of a group is m where the sum of w (x - m) over the group is 0; a rate is p where that of
w ([in the category] - p) is; the quantile of level p is q where that of w ([x < q] - p) is. So
nothing has to be known of how many records the group has. Only a sum needs the number of records
that it is published for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy.sparse import csr_array

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.statistic import Group, Statistic

_MARGIN = 1.5
"""Records by which fewer than its level lie below a quantile: counts are rounded."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Linear conditions on weights.

    Attributes:
        matrix: Per condition what a record of each candidate adds, shape `(conditions,
            candidates)`.
        low: Least that the weights should add up to, shape `(conditions,)`.
        high: The most; the same where there is no choice.
        variance: How easily each condition gives way, in the square of its unit.
        names: Statistic and group of each condition, in words.
    """

    matrix: csr_array
    low: np.ndarray
    high: np.ndarray
    variance: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.low)

    def take(self, candidates: np.ndarray) -> Moments:
        """Return the conditions on some candidates only."""
        return Moments(self.matrix[:, candidates], self.low, self.high, self.variance, self.names)

    def misses(self, weights: np.ndarray) -> list[tuple[float, str]]:
        """Return by how much the weights miss each condition that they do not meet, and its name."""
        held = self.matrix @ weights
        apart = np.maximum(np.maximum(self.low - held, held - self.high), 0.0)
        far = np.flatnonzero(apart > _MARGIN)
        return [(float(apart[i]), f"the {self.names[i]} is not met") for i in far]

    def choose(self, conditions: np.ndarray, target: np.ndarray) -> Moments:
        """Return some of the conditions, each to be met at a target."""
        return Moments(
            self.matrix[conditions],
            target,
            target,
            self.variance[conditions],
            tuple(self.names[i] for i in conditions),
        )


class MomentMaker:
    """Makes the conditions of one set of candidates."""

    def __init__(
        self,
        statistics: Sequence[Statistic],
        codes: np.ndarray,
        values: Sequence[np.ndarray],
        domain: Domain,
        records: float,
        population: float,
    ) -> None:
        """Prepare.

        Args:
            statistics: What is to be met.
            codes: Of the candidates, shape `(candidates, variables)`.
            values: Of the candidates' numeric variables, in the domain's order, each `(candidates,)`.
            domain: Variables of the codes.
            records: What the weights add up to.
            population: How many records sums are published for.
        """
        self._statistics = statistics
        self._codes = codes
        self._domain = domain
        self._values = dict(zip(domain.numeric, values, strict=True))
        self._records = records
        self._population = population
        self._inside: dict[int, np.ndarray] = {}
        self._rows: list[tuple[np.ndarray, float, float, float, str]] = []

    def make(self) -> Moments:
        """Return the conditions."""
        from scipy.sparse import csr_array  # a slow import, only here needed

        for statistic in self._statistics:
            for number, group in enumerate(statistic.groups):
                name = f"{statistic.words} of {statistic.label(number)}"
                self._add(statistic, group, float(statistic.figures[number]), number, name)
        places = [np.flatnonzero(row) for row, *_ in self._rows]
        data = [row[place] for (row, *_), place in zip(self._rows, places, strict=True)]
        ends = np.concatenate([[0], np.cumsum([len(place) for place in places])])
        matrix = csr_array(
            (np.concatenate(data), np.concatenate(places), ends),
            shape=(len(self._rows), len(self._codes)),
        )
        _, low, high, variance, names = zip(*self._rows, strict=True)
        return Moments(matrix, np.array(low), np.array(high), np.array(variance), tuple(names))

    def _add(
        self, statistic: Statistic, group: Group, figure: float, number: int, name: str
    ) -> None:
        inside = self._members_of(statistic, group)
        if statistic.measure == "rate":
            outcome = statistic.outcome_inside(self._codes, self._domain)
            self._equal((inside * (outcome - figure)).sum(axis=0), 0.0, 1.0, name)
        elif statistic.measure == "quantile":
            self._add_quantile(statistic, inside, figure, name)
        else:
            x = self._x(statistic)
            spread = float(x[inside].std()) if inside.any() else 0.0
            scale = max(spread, 1e-6 * max(abs(figure), 1.0))
            room = float(statistic.rounding[number]) / scale
            if statistic.measure == "mean":
                row = (inside * (x - figure)).sum(axis=0) / scale
                share = float(inside.any(axis=0).mean()) * self._records
                self._equal(row, 0.0, max(1.0, room * share) ** 2, name)
            else:
                target = figure * self._records / self._population / scale
                room *= self._records / self._population
                self._equal((inside * x).sum(axis=0) / scale, target, max(1.0, room) ** 2, name)

    def _add_quantile(
        self, statistic: Statistic, inside: np.ndarray, figure: float, name: str
    ) -> None:
        below = self._below(statistic, figure)
        level = statistic.level
        if not self._domain.variables[statistic.columns(self._domain)[0]].is_whole:
            # a little below it: the next records then get the very value
            self._equal((inside * (below - level)).sum(axis=0), -_MARGIN, 1.0, name)
            return
        upto = self._below(statistic, math.floor(figure) + 1)
        part = figure - math.floor(figure)
        if part:  # published as if each whole number were spread over the width of one
            below = self._below(statistic, math.floor(figure))
            row = (inside * (below + part * (upto & ~below) - level)).sum(axis=0)
            self._equal(row, 0.0, 1.0, name)
            return
        low, high = ((inside * (side - level)).sum(axis=0) for side in (below, upto))
        self._rows.append((low, -np.inf, -_MARGIN, 1.0, name))
        self._rows.append((high, _MARGIN, np.inf, 1.0, name))

    def _equal(self, row: np.ndarray, target: float, variance: float, name: str) -> None:
        self._rows.append((row, target, target, variance, name))

    def _members_of(self, statistic: Statistic, group: Group) -> np.ndarray:
        key = id(group)
        if key not in self._inside:
            self._inside[key] = group.inside(self._codes, self._domain, statistic.members)
        return self._inside[key]

    def _x(self, statistic: Statistic) -> np.ndarray:
        """Return the values that a mean is of, shape `(slots, candidates)`."""
        columns = statistic.columns(self._domain)
        return np.stack([self._values[column] for column in columns]).astype(float)

    def _below(self, statistic: Statistic, cut: float) -> np.ndarray:
        """Return whose bins end at a cut or before, bool, shape `(slots, candidates)`."""
        columns = statistic.columns(self._domain)
        edges = np.asarray(self._domain.variables[columns[0]].edges)
        return np.asarray(edges[1:][self._codes[:, columns].T] <= cut)
