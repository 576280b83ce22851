"""How pages write figures and labels: their templates, and the filters of these."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from llmsynthor.text import one, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jinja2 import Template

UNKNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 0) -> str:
    """Return a figure with thousands separated, or a dash where it is unknown."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if 0 < abs(value) < 0.5 * 10**-digits:
        return f"<{10**-digits:.{digits}f}"
    return f"{value:,.{digits}f}".replace("-", MINUS)


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share in percent, without the sign."""
    return number(None if share is None else 100 * share, digits)


def signed(value: float | None, digits: int = 2) -> str:
    """Return the value with its sign; what rounds to zero has none."""
    if value is None:
        return UNKNOWN
    text = f"{value:+,.{digits}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text[1:]


def money(value: float | None) -> str:
    """Return an amount in US dollars."""
    if value is None:
        return "unknown"
    return f"${value:,.2f}" if value >= 1 else f"${value:.4f}"


def duration(seconds: float | None) -> str:
    """Return a time as people say it."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest:02d} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def whole(text: str) -> str:
    """Return the text with `?` for half a surrogate pair, which no file in UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def label(text: object, longest: int = 160) -> str:
    """Return a label as people can see it: never empty, never a page long."""
    shown = printable(whole(str(text))).strip() or "(blank)"
    return shown if len(shown) <= longest else f"{shown[:longest].rstrip()}…"


def parts(text: object) -> list[str]:
    """Return a label in the pieces between which a line may break."""
    return re.findall(r"[^/_]+[/_]*|[/_]+", label(text))


def plural(count: int, noun: str, many: str | None = None) -> str:
    """Return a count with its noun."""
    return f"{number(count)} {noun if count == 1 else many or noun + 's'}"


def csp_hash(script: str) -> str:
    """Return what lets this script, and no other, run under the page's content policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def template(name: str, filters: Mapping[str, Callable[..., Any]]) -> Template:
    """Return a template of a page, with its filters; what it is given is escaped."""
    environment = Environment(
        loader=PackageLoader("llmsynthor.results", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name)


FILTERS = {
    function.__name__: function
    for function in (number, percent, signed, money, duration, label, one, parts, plural, csp_hash)
}
"""The filters by the names that templates use."""
