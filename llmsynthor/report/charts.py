"""The report's charts: cumulative curves, convergence, errors over zones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.report.formats import number, signed
from llmsynthor.report.pictures import (
    ACCENT,
    CHARACTER_PX,
    FONT_PX,
    INK,
    LINE,
    PALE,
    SOFT,
    Pictures,
    shorten,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes

    from llmsynthor.report.curve import Curve

WIDTH, HEIGHT = 300.0, 160.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 12.0, 16.0, 34.0
_LABEL_APART = FONT_PX + 2.0


def _chart(
    pictures: Pictures, right: float = _RIGHT, size: tuple[float, float] = (WIDTH, HEIGHT)
) -> tuple[Any, Axes]:
    """Return a figure with axes that have a base line, ticks without marks, and room for labels."""
    width, height = size
    figure, axes = pictures.sheet(width, height)
    axes.set_axis_on()
    axes.patch.set_visible(False)
    axes.set_position(
        (
            _LEFT / width,
            _BOTTOM / height,
            (width - _LEFT - right) / width,
            (height - _TOP - _BOTTOM) / height,
        )
    )
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(LINE)
    axes.tick_params(length=0, labelcolor=SOFT, pad=6)
    return figure, axes


def cumulative_chart(pictures: Pictures, entry: Mapping[str, Any]) -> Markup:
    """Return the cumulative shares of target (wide line) and records (narrow line) of a variable."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _chart(pictures)
    labels = entry["labels"]
    numeric = entry["edges"] is not None
    places = [entry["low"], *entry["edges"]] if numeric else np.arange(len(labels) + 1.0)
    for key, colour, width in (("cumulative_target", PALE, 5.0), ("cumulative", ACCENT, 1.4)):
        axes.plot(
            places,
            100 * np.array([0.0, *entry[key]]),
            color=colour,
            linewidth=width,
            solid_capstyle="butt",
            clip_on=False,
        )
    axes.set_xlim(places[0], places[-1])
    axes.set_ylim(0, 100)
    axes.set_yticks([0, 50, 100], ["0", "50", "100 %"])
    if numeric:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(lambda value, _: number(value))
        _below(axes, entry["unit"])
    else:
        step = (WIDTH - _LEFT - _RIGHT) / len(labels)
        texts = [shorten(text, 12) for text in labels]
        every = max(1, int(np.ceil((max(map(len, texts)) * CHARACTER_PX + 8) / step)))
        kept = range(0, len(texts), every)
        axes.set_xticks([i + 0.5 for i in kept], [texts[i] for i in kept])
    return pictures.svg(
        figure,
        f"Cumulative shares of {entry['variable']}, target and synthetic; earth mover's distance "
        f"{number(entry['emd'], 4)} categories",
    )


def _below(axes: Axes, text: str) -> None:
    """Write under the right end of the horizontal axis what it counts."""
    axes.annotate(
        shorten(text, 30) if text else "",
        (1, 0),
        (0, -28),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="right",
        va="baseline",
        color=SOFT,
        annotation_clip=False,
    )


def line_chart(pictures: Pictures, curve: Curve) -> Markup:
    """Return figures of the iterations as lines, each named at its end with its last figure."""
    from matplotlib.ticker import MaxNLocator

    ends = [f"{line.name} {_figure(line.y[-1], curve.unit)}".strip() for line in curve.lines]
    room = max(map(len, ends)) * CHARACTER_PX + 8
    figure, axes = _chart(pictures, right=room)
    ticks = MaxNLocator(3).tick_values(0, max(max(line.y) for line in curve.lines) or 1.0)
    top = float(ticks[-1])
    axes.set_ylim(0, top)
    axes.set_yticks(ticks)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    heights = _apart([line.y[-1] / top for line in curve.lines], (HEIGHT - _TOP - _BOTTOM))
    for line, colour, end, height in zip(curve.lines, (ACCENT, INK), ends, heights, strict=False):
        axes.plot(
            line.x, line.y, color=colour, linewidth=1.4, marker="o", markersize=4, clip_on=False
        )
        axes.annotate(
            end,
            (1, height),
            (8, -4),
            xycoords="axes fraction",
            textcoords="offset points",
            ha="left",
            va="baseline",
            color=colour,
            annotation_clip=False,
        )
    low = min(line.x[0] for line in curve.lines)
    axes.set_xlim(0 if curve.along != "iteration" else low, max(line.x[-1] for line in curve.lines))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=curve.along != "US dollars"))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _below(axes, curve.along)
    return pictures.svg(figure, f"{curve.title} by {curve.along}: {_story(curve)}")


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


def whiskers(pictures: Pictures, controls: Sequence[Mapping[str, Any]], says: str) -> Markup:
    """Return for each control its mean % difference as a dot and ± its % RMSE around 0 as a bar."""
    from matplotlib.ticker import MaxNLocator

    row, letters = 16.0, 34
    texts = [shorten(f"{entry['table']}: {entry['control']}", letters) for entry in controls]
    left = max(map(len, texts)) * CHARACTER_PX + 10
    width, height = left + 300.0, row * len(controls) + _BOTTOM + 8
    figure, axes = _chart(pictures, size=(width, height))
    axes.set_position((left / width, _BOTTOM / height, 290 / width, row * len(controls) / height))
    places = np.arange(len(controls))
    spread = [entry["rmse_percent"] or 0.0 for entry in controls]
    means = [entry["mean_percent"] or 0.0 for entry in controls]
    axes.axvline(0, color=LINE, linewidth=1, clip_on=False)
    axes.hlines(places, [-s for s in spread], spread, color=PALE, linewidth=5, clip_on=False)
    axes.plot(means, places, "o", color=ACCENT, markersize=5, clip_on=False)
    axes.set_ylim(len(controls) - 0.5, -0.5)
    reach = max([*spread, *map(abs, means), 0.01]) * 1.05
    axes.set_xlim(-reach, reach)
    axes.set_yticks([])
    for place, text in zip(places, texts, strict=True):
        axes.annotate(
            text,
            (0, place),
            (-8, -4),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="baseline",
            color=SOFT,
            annotation_clip=False,
        )
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(
        lambda value, _: signed(value, 2 if reach < 1 else 0 if reach > 5 else 1)
    )
    _below(axes, "% difference")
    return pictures.svg(figure, says)


def histogram(
    pictures: Pictures, counts: Sequence[int], edges: Sequence[float], says: str
) -> Markup:
    """Return how many categories have an error of which size."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _chart(pictures)
    axes.stairs(counts, edges, fill=True, color=ACCENT, clip_on=False)
    axes.set_xlim(0, edges[-1])
    axes.set_ylim(0, max(*counts, 1))
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(lambda value, _: number(value))
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _below(axes, "error in %")
    return pictures.svg(figure, says)
