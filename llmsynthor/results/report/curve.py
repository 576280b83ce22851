"""Curves of a run's iterations: what proposals and calibration came to, by iteration and by cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FIGURES = (
    (
        "Mean TVD before and after calibration",
        (("prior_tvd", "before"), ("data_tvd", "after")),
        1.0,
        "",
    ),
    ("KL divergence", (("kl", ""),), 1.0, ""),
    ("Effective sample", (("effective_share", ""),), 100.0, " %"),
    ("Background", (("background_share", ""),), 100.0, " %"),
)
"""Title, keys in a line of `iterations.jsonl` with what each is called, factor and unit."""


@dataclass(frozen=True)
class Line:
    """One line of a chart: what it is called, and its points."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Curve:
    """One chart.

    Attributes:
        title: What is shown.
        along: What the horizontal axis counts: `iteration`, `calls` or `US dollars`.
        lines: At least one, each with two points or more.
        unit: Behind the figures.
    """

    title: str
    along: str
    lines: tuple[Line, ...]
    unit: str


def cumulative(iterations: Sequence[Mapping[str, Any]]) -> list[tuple[int, float | None]]:
    """Return calls and cost up to the end of each iteration; the cost is None once some is unknown.

    All replies count: repairs, and the one on dependencies, which comes before the first iteration.
    """
    return [(entry["so_far"]["calls"], entry["so_far"]["cost_usd"]) for entry in iterations]


def curves(iterations: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """Return the charts of the figures that at least two iterations have.

    The tables' distance is shown by iteration and by what was spent: US dollars where every price
    is known and some was paid, else calls. What calibration took is shown by iteration.
    """
    axes = _axes(iterations)
    found = []
    for title, keys, factor, unit in _FIGURES:
        for along, places in axes if title == _FIGURES[0][0] else axes[:1]:
            lines = tuple(
                line
                for key, name in keys
                if len((line := _line(name, iterations, places, key, factor)).x) > 1
            )
            if lines:
                found.append(Curve(title, along, lines, unit))
    return found


def _axes(iterations: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[float]]]:
    so_far = cumulative(iterations)
    costs = [cost for _, cost in so_far if cost is not None]
    by_cost = bool(costs) and len(costs) == len(so_far) and costs[-1] > 0
    spent = ("US dollars", costs) if by_cost else ("calls", [float(calls) for calls, _ in so_far])
    return [("iteration", [float(entry["iteration"]) for entry in iterations]), spent]


def _line(
    name: str,
    iterations: Sequence[Mapping[str, Any]],
    places: Sequence[float],
    key: str,
    factor: float,
) -> Line:
    known = [
        (place, factor * entry[key])
        for place, entry in zip(places, iterations, strict=True)
        if entry.get(key) is not None
    ]
    return Line(name, tuple(x for x, _ in known), tuple(y for _, y in known))
