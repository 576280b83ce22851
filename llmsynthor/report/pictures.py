"""Pictures for a page: matplotlib figures as small SVG that takes its colours from the page's style.

Text stays text, in the page's font. Colours stand for variables of the style sheet, so that a
picture follows light, dark and print. The same figure gives the same bytes.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from markupsafe import Markup

from llmsynthor.report.formats import label as fit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, LINE, ACCENT, PALE, BAD = (
    "#010101",
    "#020202",
    "#030303",
    "#040404",
    "#050505",
    "#060606",
)
"""Stand for the style sheet's variables of these names; no picture shows them as they are."""
_VARIABLES = {INK: "ink", SOFT: "soft", LINE: "line", ACCENT: "accent", PALE: "pale", BAD: "bad"}
FONT_PX = 11
CHARACTER_PX = 6.6
"""Width of a character in a wide font; the page's font is the reader's and so not known."""
_INCH_PX = 72
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "llmsynthor",
    "text.parse_math": False,  # `$` in a label is a dollar
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: no machine's fonts move a text
    "font.size": FONT_PX,
    "image.composite_image": False,
    "path.simplify": False,
}
_DECIMALS = re.compile(r"-?\d+\.\d+")


class Pictures:
    """Makes the pictures of one page; ids in them are unique on that page."""

    def __init__(self) -> None:
        self._numbers = count(1)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Draw in here: with our settings, whatever the user's `matplotlibrc` says, and in silence."""
        import matplotlib as mpl

        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # says where its font cache is
        with mpl.rc_context(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's font draws
            mpl.rcdefaults()
            mpl.rcParams.update(_SETTINGS)
            yield

    def sheet(self, width: float, height: float) -> tuple[Figure, Axes]:
        """Return an empty figure and its axes, which fill it, without frame.

        Args:
            width: In CSS pixels.
            height: In CSS pixels.
        """
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        figure = Figure(figsize=(width / _INCH_PX, height / _INCH_PX), dpi=_INCH_PX)
        FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        return figure, axes

    def svg(self, figure: Figure, says: str) -> Markup:
        """Return a figure as an element of the page.

        Args:
            figure: Made by `sheet`.
            says: What the picture shows, for those who do not see it.
        """
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314 - matplotlib wrote it
        width = float(root.get("width", "0").removesuffix("pt"))
        view = root.get("viewBox", "")
        _slim(root, f"p{next(self._numbers)}-")
        root.attrib = {
            "viewBox": view,
            "style": f"width:{width:g}px",
            "role": "img",
            "aria-label": fit(says, 600),
        }
        return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 - escaped by it


def shorten(text: object, longest: int) -> str:
    """Return a label cut to so many characters, fit to be drawn."""
    shown = fit(text)
    return shown if len(shown) <= longest else f"{shown[: longest - 1].rstrip()}…"


def _slim(root: ElementTree.Element, prefix: str) -> None:
    """Leave in an SVG only what is seen, under names that HTML knows, with ids of their own."""
    used = {
        value.rpartition("#")[2].rstrip(")")
        for element in root.iter()
        for key, value in element.attrib.items()
        if (key.endswith("href") and value.startswith("#")) or value.startswith("url(#")
    }
    for parent in root.iter():
        parent.tag = _local(parent.tag)
        _attributes(parent, used, prefix)
        if parent.tag not in ("text", "tspan"):
            parent.text = None
        parent.tail = None
    _prune(root)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _prune(element: ElementTree.Element) -> None:
    """Take out metadata, the style sheet, and groups that say nothing."""
    kept: list[ElementTree.Element] = []
    for child in element:
        _prune(child)
        if child.tag in ("metadata", "style") or (child.tag in ("g", "defs") and not len(child)):
            continue
        kept.extend(child if child.tag == "g" and not child.attrib else [child])
    for child in list(element):
        element.remove(child)
    element.extend(kept)


def _attributes(element: ElementTree.Element, used: set[str], prefix: str) -> None:
    given, element.attrib = element.attrib, {}
    for name, value in ((_local(key), value) for key, value in given.items()):
        if name == "id":
            if value in used:
                element.set(name, prefix + value)
        elif name == "href" and value.startswith("#"):
            element.set(name, f"#{prefix}{value[1:]}")
        elif name == "style":
            _style(element, value)
        elif name == "transform" and value.startswith("rotate(-0 "):
            continue
        elif name in ("d", "x", "y"):
            short = _DECIMALS.sub(lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), value)
            element.set(name, " ".join(short.split()))
        else:
            element.set(name, value.replace("\n", ""))


def _style(element: ElementTree.Element, text: str) -> None:
    """Set the style with the page's colours; text takes its font from the page."""
    style = dict(part.strip().split(": ", 1) for part in text.split(";") if ": " in part)
    if element.tag == "text":
        if "text-anchor" in style:
            element.set("text-anchor", style["text-anchor"])
        style = {"fill": style["fill"]} if style.get("fill", SOFT) != SOFT else {}
    kept = {
        key: f"var(--{_VARIABLES[value]})" if value in _VARIABLES else value
        for key, value in style.items()
    }
    if kept:
        element.set("style", ";".join(f"{key}:{value}" for key, value in kept.items()))
