"""The report's maps: shaded cells of tables of two variables, and the association matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.results.report.formats import number, plural
from llmsynthor.results.report.svg import FONT_PX, INK, Sheet, room_for, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from markupsafe import Markup

LEAST_POINTS = 0.005
"""Percentage points; a smaller difference is shown as none."""
FIGURES_IN_MATRIX = 14
"""Variables; a larger matrix has no room for figures."""
_MORE, _LESS = (205, 105, 20), (52, 116, 186)
"""Red, green and blue of too many and of too few, told apart in every common colour blindness and
on paper of either colour: their opacity is what changes."""
_STEPS = 40
"""Shades; finer ones cannot be told apart and make the file larger."""
_ROW_LETTERS, _COLUMN_LETTERS = 17, 14
_WIDTH, _HEIGHT = 180.0, 400.0
_CELL = 22.0, 17.6
"""Largest width and height of a cell, in CSS pixels."""
_MATRIX_CELL, _MATRIX_SIDE, _MATRIX_SHADE = 26.0, 360.0, 0.75
_LABEL_APART = FONT_PX + 1.0
_LEAST_SLANTED = (FONT_PX + 2.0) * 1.42
"""Pixels from one slanted label to the next; where there is less, labels stand upright."""


def target_and_synthetic(
    target: np.ndarray,
    synthetic: np.ndarray,
    labels: tuple[Sequence[str], Sequence[str]],
    name: str,
) -> list[tuple[str, Markup]]:
    """Return maps of target, synthetic and, where there is one, difference, each with its caption.

    Target and synthetic are shares in percent, shape `(rows, columns)`.
    """
    top = float(max(target.max(initial=0.0), synthetic.max(initial=0.0)))
    apart = synthetic - target
    most = float(np.abs(apart).max(initial=0.0))
    full = f"full colour is {number(top, 2)} %"
    panels = [("Target", -target, top, full), ("Synthetic", -synthetic, top, full)]
    if most >= LEAST_POINTS:
        away = f"orange too many, blue too few, full colour is {number(most, 2)} points"
        panels.append(("Difference", apart, most, away))
    found = []
    for title, cells, largest, key in panels:
        rows, columns = cells.shape
        cell = min(_WIDTH / columns, _CELL[0]), min(_HEIGHT / rows, _CELL[1])
        sheet, _, _ = _map(_colours(cells, largest), labels, cell)
        says = f"{name}, {title.lower()}: {key}. The figures are in the table below."
        found.append((f"{title}: {key}", sheet.svg(says)))
    return found


def association_matrix(names: Sequence[str], pairs: Sequence[Mapping[str, Any]]) -> Markup:
    """Return Cramér's V of each pair of two or more variables as a lower triangle."""
    place = {name: i for i, name in enumerate(names)}
    shown = [pair for pair in pairs if set(pair["variables"]) <= set(names)]
    size = len(names) - 1
    strength = np.zeros((size, size))
    cells = []
    for pair in shown:
        column, row = sorted(place[name] for name in pair["variables"])
        strength[row - 1, column] = -_MATRIX_SHADE * (pair["v"] or 0.0)
        cells.append((column, row - 1, pair))
    side = _MATRIX_CELL if size < FIGURES_IN_MATRIX else max(8.0, _MATRIX_SIDE / size)
    labels = (names[1:], names[:-1])
    sheet, left, top = _map(_colours(strength, 1.0), labels, (side, side))
    sheet.frames(
        (left + side * x, top + side * y, side, side)
        for x, y, pair in cells
        if pair["target"] and pair["target"]["role"] == "control"
    )
    if size < FIGURES_IN_MATRIX:
        for x, y, pair in cells:
            middle = left + side * (x + 0.5), top + side * (y + 0.5) + 4
            sheet.text(*middle, _short(pair["v"]), anchor="middle", colour=INK)
    return sheet.svg(
        f"Cramér's V of {plural(len(shown), 'pair')} of variables; the table below has the figures"
    )


def _short(value: float | None) -> str:
    """Return a figure from 0 to 1 without its leading zero."""
    if value is None:
        return "-"
    return "1" if value >= 0.995 else f"{value:.2f}"[1:]


def _map(
    colours: np.ndarray,
    labels: tuple[Sequence[str], Sequence[str]],
    cell: tuple[float, float],
) -> tuple[Sheet, float, float]:
    """Return shaded cells, rows downwards, labelled on the left and below, and where they begin.

    Args:
        colours: Red, green, blue and opacity, uint8, shape `(rows, columns, 4)`.
        labels: Of the rows and of the columns.
        cell: Width and height of a cell, in CSS pixels.
    """
    rows, columns, _ = colours.shape
    row_texts = [shorten(text, _ROW_LETTERS) for text in labels[0]]
    column_texts = [shorten(text, _COLUMN_LETTERS) for text in labels[1]]
    slanted = cell[0] >= _LEAST_SLANTED
    below = room_for(column_texts) * (0.72 if slanted else 1) + 4
    left = room_for(row_texts) + 6
    if slanted:
        left = max(left, below - cell[0] / 2)
    top = max(0.0, (FONT_PX - cell[1]) / 2) + 1  # of the first row's label
    bottom = top + cell[1] * rows
    sheet = Sheet(left + cell[0] * columns + 2, bottom + below + 10)
    sheet.image(colours, left, top, cell)
    for i in _labelled(rows, cell[1]):
        sheet.text(left - 4, top + (i + 0.5) * cell[1] + 0.35 * FONT_PX, row_texts[i])
    right, down, angle = (3, 11, 45) if slanted else (4, 6, 90)
    for j in _labelled(columns, cell[0]):
        place = left + (j + 0.5) * cell[0] + right, bottom + down
        sheet.text(*place, column_texts[j], turned=angle)
    return sheet, left, top


def _labelled(number_of: int, step: float) -> range:
    """Return which of the labels fit, evenly spaced."""
    return range(0, number_of, max(1, int(np.ceil(_LABEL_APART / step))))


def _colours(cells: np.ndarray, largest: float) -> np.ndarray:
    """Return cells as red, green, blue and opacity, uint8; those below 0 have another colour."""
    colours = np.empty((*cells.shape, 4), dtype=np.uint8)
    strength = np.clip(np.abs(cells) / max(largest, 1e-12), 0.0, 1.0)
    colours[..., :3] = np.where(cells[..., None] > 0, _MORE, _LESS)
    colours[..., 3] = np.round(np.round(strength * _STEPS) / _STEPS * 255)
    return colours
