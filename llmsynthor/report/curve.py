"""Curves of a run's iterations, as points of small line charts that share their horizontal axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 260, 132
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 36
_MOST_TICKS = 8

_FIGURES = (
    ("prior_tvd", "TVD of the proposals", 1.0, 4, ""),
    ("kl", "Calibration: KL divergence", 1.0, 3, ""),
    ("effective_share", "Calibration: effective sample", 100.0, 1, " %"),
    ("background_share", "Calibration: background", 100.0, 1, " %"),
)
"""Key in a line of `iterations.jsonl`, title, factor, digits and unit of each chart."""


@dataclass(frozen=True)
class Point:
    """An iteration's figure: where it stands in the chart, and what it says."""

    x: float
    y: float
    iteration: int
    calls: int
    cost_usd: float | None
    value: float
    ticked: bool


@dataclass(frozen=True)
class Curve:
    """One chart.

    Attributes:
        title: What is shown.
        points: One for each iteration that has the figure.
        top: The figure at the upper end of the axis; the lower end is 0.
        digits: Decimals of the figures.
        unit: Behind the figures.
    """

    title: str
    points: tuple[Point, ...]
    top: float
    digits: int
    unit: str

    @property
    def path(self) -> str:
        """Return the line's points as SVG writes them."""
        return " ".join(f"{point.x:.1f},{point.y:.1f}" for point in self.points)


def cumulative(iterations: Sequence[Mapping[str, Any]]) -> list[tuple[int, float | None]]:
    """Return calls and cost up to the end of each iteration; the cost is None once some is unknown.

    All replies count: repairs, and the one on dependencies, which comes before the first iteration.
    """
    return [(entry["so_far"]["calls"], entry["so_far"]["cost_usd"]) for entry in iterations]


def curves(iterations: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Return a chart for each figure that at least two iterations have, by calls so far."""
    so_far = cumulative(iterations)
    whole = max((calls for calls, _ in so_far), default=0) or 1
    found = []
    for key, title, factor, digits, unit in _FIGURES:
        known = [
            (entry["iteration"], calls, cost, factor * entry[key])
            for entry, (calls, cost) in zip(iterations, so_far, strict=True)
            if entry.get(key) is not None
        ]
        if len(known) < 2:
            continue
        top = max(value for *_, value in known) or 1.0
        every = -(-len(known) // _MOST_TICKS)
        points = tuple(
            Point(
                x=LEFT + (WIDTH - LEFT - RIGHT) * calls / whole,
                y=TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top),
                iteration=iteration,
                calls=calls,
                cost_usd=cost,
                value=value,
                ticked=(len(known) - 1 - position) % every == 0,  # the last always
            )
            for position, (iteration, calls, cost, value) in enumerate(known)
        )
        found.append(Curve(title, points, top, digits, unit))
    return found
