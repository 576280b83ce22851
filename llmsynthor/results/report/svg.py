"""Pictures for a page: small SVG that takes its colours from the page, and the ticks of an axis.

Text stays text, in the page's font. Colours are variables of the style sheet, so that a picture
follows light, dark and print. Written by hand: a plotting library takes longer to load than all
pictures of a page to draw, and its SVG would have to be cut down to this.
"""

from __future__ import annotations

import base64
import math
import struct
import zlib
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from llmsynthor.results.report.formats import label as fit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np

INK, SOFT, LINE, ACCENT, PALE = (
    f"var(--{name})" for name in ("ink", "soft", "line", "accent", "pale")
)
"""Variables of the style sheet."""
FONT_PX = 11
CHARACTER_PX = 6.6
"""Width of a character in a wide font; the page's font is the reader's and so not known."""
_ROUND = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_NEAR = 1e-9
"""What arithmetic may leave between a figure and a multiple of the step."""


class Sheet:
    """A picture while it is drawn; places are in CSS pixels from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: str = "end",
        colour: str = SOFT,
        turned: int = 0,
    ) -> None:
        """Write a text whose base line ends at a place, or has its `middle` or `start` there.

        Args:
            x: Where.
            y: Of the base line.
            text: What.
            anchor: As SVG's `text-anchor`.
            colour: The style sheet's own, `SOFT`, costs no bytes.
            turned: Degrees against the clock, round the place.
        """
        place = f'x="{_px(x)}" y="{_px(y)}"'
        if turned:
            place += f' transform="rotate({-turned} {_px(x)} {_px(y)})"'
        if anchor != "start":
            place = f'text-anchor="{anchor}" {place}'
        style = "" if colour == SOFT else f' style="fill:{colour}"'
        self._parts.append(f"<text {place}{style}>{escape(text)}</text>")

    def line(self, points: Iterable[tuple[float, float]], colour: str, width: float) -> None:
        """Draw a line through points."""
        path = "L".join(f"{_px(x)} {_px(y)}" for x, y in points)
        self._parts.append(f'<path d="M{path}" style="fill:none;{_stroke(colour, width)}"/>')

    def dots(self, points: Iterable[tuple[float, float]], colour: str, radius: float) -> None:
        """Draw a dot at each point."""
        self._parts += (
            f'<circle cx="{_px(x)}" cy="{_px(y)}" r="{_px(radius)}" style="fill:{colour}"/>'
            for x, y in points
        )

    def boxes(
        self, boxes: Iterable[tuple[float, float, float, float]], style: str | None = None
    ) -> None:
        """Draw rectangles, each given as left, top, width and height, filled unless `style` says else."""
        path = "".join(
            f"M{_px(x)} {_px(y)}h{_px(wide)}v{_px(high)}h{_px(-wide)}z"
            for x, y, wide, high in boxes
        )
        if path:
            self._parts.append(f'<path d="{path}" style="{style or f"fill:{ACCENT}"}"/>')

    def frames(self, boxes: Iterable[tuple[float, float, float, float]]) -> None:
        """Draw frames in place of filled rectangles."""
        self.boxes(boxes, f"fill:none;{_stroke(SOFT, 0.7)}")

    def image(self, colours: np.ndarray, x: float, y: float, cell: tuple[float, float]) -> None:
        """Draw cells of one colour each; the page's style keeps them sharp.

        Args:
            colours: Red, green, blue and opacity, uint8, shape `(rows, columns, 4)`.
            x: Left end.
            y: Upper end.
            cell: Width and height of a cell.
        """
        rows, columns, _ = colours.shape
        smooth = ' style="image-rendering:auto"' if min(cell) < 1 else ""  # none is left out
        data = base64.b64encode(_png(colours)).decode()
        self._parts.append(
            f'<image href="data:image/png;base64,{data}" x="{_px(x)}" y="{_px(y)}" '
            f'width="{_px(columns * cell[0])}" height="{_px(rows * cell[1])}" '
            f'preserveAspectRatio="none"{smooth}/>'
        )

    def svg(self, says: str) -> Markup:
        """Return the picture as an element of the page, which says what it shows."""
        width, height = _px(self.width), _px(self.height)
        head = f'viewBox="0 0 {width} {height}" style="width:{width}px" role="img"'
        said = escape(fit(says, 600))
        body = "".join(self._parts)
        return Markup(f'<svg {head} aria-label="{said}">{body}</svg>')  # noqa: S704 - all is escaped


def shorten(text: object, longest: int) -> str:
    """Return a label cut to so many characters, fit to be drawn."""
    shown = fit(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1].rstrip()}…"


def room_for(texts: Sequence[str]) -> float:
    """Return how wide the longest of some texts may be."""
    return max(map(len, texts)) * CHARACTER_PX


def _px(value: float) -> str:
    """Return a length in pixels, to a tenth."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _stroke(colour: str, width: float) -> str:
    return f"stroke:{colour};stroke-width:{width:g}"


def _png(colours: np.ndarray) -> bytes:
    """Return an image as PNG (https://www.w3.org/TR/png/): 8 bits a channel, rows not filtered."""
    rows, columns, _ = colours.shape
    lines = b"".join(b"\0" + row.tobytes() for row in colours)
    head = struct.pack(">2I5B", columns, rows, 8, 6, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def round_step(span: float, most: int, *, whole: bool = False) -> float:
    """Return the smallest round figure that goes into `span`, above 0, at most `most` times, 1 or more."""
    least = max(span / most, 1.0) if whole else span / most
    scale = 10.0 ** math.floor(math.log10(least))
    steps = (scale * step for step in _ROUND)
    return next(s for s in steps if s >= least * (1 - _NEAR) and not (whole and s % 1))


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Return the multiples of a round step between two figures, both included; `low` where they are equal."""
    if not high > low:
        return [low]
    step = round_step(high - low, most, whole=whole)
    first, last = math.ceil(low / step - _NEAR), math.floor(high / step + _NEAR)
    return [step * number for number in range(first, last + 1)]
