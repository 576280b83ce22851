"""The report's charts: cumulative curves, convergence of a run, errors over zones."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from llmsynthor.results.report.formats import number, signed
from llmsynthor.results.report.svg import (
    ACCENT,
    FONT_PX,
    INK,
    LINE,
    PALE,
    Sheet,
    room_for,
    round_step,
    shorten,
    ticks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from markupsafe import Markup

    from llmsynthor.store.lines import Iteration

WIDTH, HEIGHT = 300.0, 160.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 12.0, 16.0, 34.0
_LABEL_APART = FONT_PX + 2.0
_DROP = 4.0
"""From the middle of a text to its base line."""
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
class _Axes:
    """Where figures are on a sheet: its edges in pixels, and the figures there.

    Attributes:
        sheet: What is drawn on.
        left, right, top, bottom: Edges, in pixels.
        x: Figures at the left and at the right edge.
        y: Figures at the lower and at the upper edge.
    """

    sheet: Sheet
    left: float
    right: float
    top: float
    bottom: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at_x(self, value: float) -> float:
        """Return where a figure is between the left and the right edge."""
        low, high = self.x
        return self.left + (value - low) / ((high - low) or 1.0) * (self.right - self.left)

    def at_y(self, value: float) -> float:
        """Return where a figure is between the lower and the upper edge."""
        low, high = self.y
        return self.bottom - (value - low) / ((high - low) or 1.0) * (self.bottom - self.top)

    def points(self, xs: Iterable[float], ys: Iterable[float]) -> list[tuple[float, float]]:
        """Return the places of pairs of figures."""
        return [(self.at_x(x), self.at_y(y)) for x, y in zip(xs, ys, strict=True)]

    def below(self, marks: Iterable[tuple[float, str]], unit: str = "") -> None:
        """Draw the base line, texts at figures under it, and at its end what it counts."""
        ends = ((self.left, self.bottom), (self.right, self.bottom))
        self.sheet.line(ends, LINE, 0.8)
        for value, text in marks:
            place = self.at_x(value), self.bottom + 14.4
            self.sheet.text(*place, text, anchor="middle")
        if unit:
            self.sheet.text(self.right, self.bottom + 28, shorten(unit, 30))

    def marks(
        self, write: Callable[[float], str], *, whole: bool = False
    ) -> list[tuple[float, str]]:
        """Return round figures along the base line with their texts, as many as there is room for."""
        found: list[tuple[float, str]] = []
        for most in (5, 4, 3, 2, 1):
            found = [(value, write(value)) for value in ticks(*self.x, most, whole=whole)]
            places = [self.at_x(value) for value, _ in found]
            least = min((b - a for a, b in pairwise(places)), default=WIDTH)
            if not found or room_for([text for _, text in found]) + 4 <= least:
                break
        return found

    def beside(self, marks: Iterable[tuple[float, str]]) -> None:
        """Write texts at figures, on the left."""
        for value, text in marks:
            self.sheet.text(self.left - 6, self.at_y(value) + _DROP, text)


def _chart(x: tuple[float, float], y: tuple[float, float], right: float = _RIGHT) -> _Axes:
    """Return an empty chart of the usual size, with so much room at its right."""
    sheet = Sheet(WIDTH, HEIGHT)
    return _Axes(sheet, _LEFT, WIDTH - right, _TOP, HEIGHT - _BOTTOM, x, y)


def cumulative_chart(entry: Mapping[str, Any]) -> Markup:
    """Return the cumulative shares of target (wide line) and records (narrow line) of a variable."""
    labels = entry["labels"]
    numeric = entry["edges"] is not None
    places = [entry["low"], *entry["edges"]] if numeric else range(len(labels) + 1)
    axes = _chart((places[0], places[-1]), (0, 100))
    for key, colour, width in (("cumulative_target", PALE, 5.0), ("cumulative", ACCENT, 1.4)):
        heights = [100 * share for share in (0.0, *entry[key])]
        axes.sheet.line(axes.points(places, heights), colour, width)
    axes.beside([(0, "0"), (50, "50"), (100, "100 %")])
    if numeric:
        axes.below(axes.marks(number, whole=True), entry["unit"] or "")
    else:
        step = (WIDTH - _LEFT - _RIGHT) / len(labels)
        texts = [shorten(text, 12) for text in labels]
        every = max(1, int(-(-(room_for(texts) + 8) // step)))
        axes.below([(i + 0.5, texts[i]) for i in range(0, len(texts), every)])
    return axes.sheet.svg(
        f"Cumulative shares of {entry['variable']}, target and synthetic; earth mover's distance "
        f"{number(entry['emd'], 4)} categories"
    )


def line_chart(curve: Curve) -> Markup:
    """Return figures of the iterations as lines, each named at its end with its last figure."""
    ends = [f"{line.name} {_figure(line.y[-1], curve.unit)}".strip() for line in curve.lines]
    most = max(max(line.y) for line in curve.lines) or 1.0
    step = round_step(most, 3)
    top = step * -(-most // step)
    first = min(line.x[0] for line in curve.lines) if curve.along == "iteration" else 0.0
    last = max(line.x[-1] for line in curve.lines)
    axes = _chart((first, last), (0, top), room_for(ends) + 8)
    axes.beside((mark, f"{mark:g}") for mark in ticks(0, top, 3))
    heights = _apart([line.y[-1] / top for line in curve.lines], axes.bottom - axes.top)
    for line, colour, end, height in zip(curve.lines, (ACCENT, INK), ends, heights, strict=False):
        points = axes.points(line.x, line.y)
        axes.sheet.line(points, colour, 1.4)
        axes.sheet.dots(points, colour, 2.5)
        place = axes.right + 8, axes.at_y(height * top) + _DROP
        axes.sheet.text(*place, end, anchor="start", colour=colour)
    axes.below(axes.marks("{:g}".format, whole=curve.along != "US dollars"), curve.along)
    return axes.sheet.svg(f"{curve.title} by {curve.along}: {_story(curve)}")


def _apart(heights: Sequence[float], pixels: float) -> list[float]:
    """Return where to write labels, as shares of the height, so that none covers another."""
    step = _LABEL_APART / pixels
    placed = dict.fromkeys(range(len(heights)), 0.0)
    below = -step
    for i in sorted(placed, key=lambda k: heights[k]):
        below = placed[i] = max(heights[i], below + step)
    return list(placed.values())


def _figure(value: float, unit: str) -> str:
    return f"{number(value, 1 if unit else 4)}{unit}"


def _story(curve: Curve) -> str:
    unit = {"iteration": "iteration {}", "calls": "{} calls", "US dollars": "${}"}[curve.along]
    return "; ".join(
        f"{line.name} {_figure(line.y[0], curve.unit)} at {unit.format(f'{line.x[0]:g}')}, "
        f"{_figure(line.y[-1], curve.unit)} at {unit.format(f'{line.x[-1]:g}')}".strip()
        for line in curve.lines
    )


def whiskers(controls: Sequence[Mapping[str, Any]], says: str) -> Markup:
    """Return for each control its mean % difference as a dot and ± its % RMSE around 0 as a bar."""
    row, letters = 16.0, 34
    texts = [shorten(f"{entry['table']}: {entry['control']}", letters) for entry in controls]
    left, high = room_for(texts) + 10, row * len(controls)
    sheet = Sheet(left + 300.0, high + _BOTTOM + 8)
    spread = [entry["rmse_percent"] or 0.0 for entry in controls]
    means = [entry["mean_percent"] or 0.0 for entry in controls]
    reach = max([*spread, *map(abs, means), 0.01]) * 1.05
    y = (len(controls) - 0.5, -0.5)
    axes = _Axes(sheet, left, left + 290.0, 8.0, high + 8.0, (-reach, reach), y)
    places = range(len(controls))
    for place, size in zip(places, spread, strict=True):
        sheet.line(axes.points((-size, size), (place, place)), PALE, 5)
    sheet.line(axes.points((0, 0), y), LINE, 1)
    sheet.dots(axes.points(means, places), ACCENT, 2.5)
    for place, text in zip(places, texts, strict=True):
        sheet.text(left - 8, axes.at_y(place) + _DROP, text)
    digits = 2 if reach < 1 else 0 if reach > 5 else 1
    axes.below(axes.marks(lambda value: signed(value, digits)), "% difference")
    return sheet.svg(says)


def histogram(counts: Sequence[int], edges: Sequence[float], says: str) -> Markup:
    """Return how many categories have an error of which size."""
    axes = _chart((0, edges[-1]), (0, max(*counts, 1)))
    axes.sheet.boxes(
        (
            axes.at_x(low),
            axes.at_y(count),
            axes.at_x(high) - axes.at_x(low),
            axes.bottom - axes.at_y(count),
        )
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        if count
    )
    axes.beside([(mark, number(mark)) for mark in ticks(*axes.y, 3, whole=True)])
    axes.below(axes.marks("{:g}".format), "error in %")
    return axes.sheet.svg(says)


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


def cumulative(iterations: Sequence[Iteration]) -> list[tuple[int, float | None]]:
    """Return calls and cost up to the end of each iteration; the cost is None once some is unknown.

    All replies count: repairs, and the one on dependencies, which comes before the first iteration.
    """
    return [(entry.so_far.calls, entry.so_far.cost_usd) for entry in iterations]


def curves(iterations: Sequence[Iteration]) -> list[Curve]:
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


def _axes(iterations: Sequence[Iteration]) -> list[tuple[str, list[float]]]:
    so_far = cumulative(iterations)
    costs = [cost for _, cost in so_far if cost is not None]
    by_cost = bool(costs) and len(costs) == len(so_far) and costs[-1] > 0
    spent = ("US dollars", costs) if by_cost else ("calls", [float(calls) for calls, _ in so_far])
    return [("iteration", [float(entry.iteration) for entry in iterations]), spent]


def _line(
    name: str,
    iterations: Sequence[Iteration],
    places: Sequence[float],
    key: str,
    factor: float,
) -> Line:
    known = [
        (place, factor * figure)
        for place, entry in zip(places, iterations, strict=True)
        if (figure := getattr(entry, key)) is not None
    ]
    return Line(name, tuple(x for x, _ in known), tuple(y for _, y in known))
