"""The page of `preview`: what a run would ask, could use and would make, in one offline file."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from llmsynthor import __version__
from llmsynthor.labels import count_of, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Template

PAIRS_SHOWN = 10
"""Pairs of variables that are named before the rest is folded away."""


def render_preview(found: Mapping[str, Any]) -> str:
    """Return the page, HTML that loads nothing.

    Args:
        found: What `preview` returned.
    """
    page = _template().render(found=found, version=__version__, pairs_shown=PAIRS_SHOWN)
    return page.encode("utf-8", "replace").decode("utf-8")  # no file holds half a surrogate pair


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("llmsynthor", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "label": _label,
        "text": _text,
        "values": _values,
        "plural": count_of,
        "money": _money,
    }
    return environment.get_template("preview.html.j2")


def _label(text: object, longest: int = 160) -> str:
    """Return a label on one line: never empty, never a page long."""
    shown = printable(str(text)).strip() or "(blank)"
    return shown if len(shown) <= longest else f"{shown[:longest].rstrip()}…"


def _text(text: object) -> str:
    """Return text of several lines without control characters."""
    return printable(str(text), "\n").strip()


def _values(value: object) -> str:
    """Return what a proposal says of a variable, as it was written."""
    return _label(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 400)


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.4f} USD"
