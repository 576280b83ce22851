"""The page of `preview`: what a run would ask, could use and would make, in one offline file."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from llmsynthor import __version__
from llmsynthor.results.report.formats import label, template, whole
from llmsynthor.text import count_of, many, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import Template

PAIRS_SHOWN = 10
"""Pairs of variables that are named before the rest is folded away."""


def render_preview(found: Mapping[str, Any]) -> str:
    """Return the page, HTML that loads nothing.

    Args:
        found: What `preview` returned.
    """
    page = _template().render(found=found, version=__version__, pairs_shown=PAIRS_SHOWN)
    return whole(page)


@cache
def _template() -> Template:
    filters: dict[str, Callable[..., Any]] = {
        "label": label,
        "text": _text,
        "values": _values,
        "plural": count_of,
        "many": many,
        "money": _money,
    }
    return template("preview.html.j2", filters)


def _text(text: object) -> str:
    """Return text of several lines without control characters."""
    return printable(str(text), "\n").strip()


def _values(value: object) -> str:
    """Return what a proposal says of a variable, as it was written."""
    return label(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 400)


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.4f} USD"
