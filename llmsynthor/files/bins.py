"""Bins: what a label such as `20-24`, `65+` or `Under 5 years` stands for, and how bins are refined."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind = Literal["category", "integer", "number"]
_NOISE = re.compile(
    r"^(?:aged?|ages)\s+|[$\u00a3\u20ac]|\s*\b(?:years?|yrs?)(?:\s+old|\s+of\s+age)?\b",
    re.IGNORECASE,
)
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_CODE = re.compile(r"Y(\d+)(?:-(\d+))?")
_N = r"(\d+(?:\.\d+)?)"
_FORMS = (
    (re.compile(rf"(?:under|less than|below|younger than)\s+{_N}", re.I), "<{}"),
    (re.compile(rf"(?:up to|at most)\s+{_N}|{_N}\s+(?:and|or)\s+(?:under|less|below|younger|fewer)", re.I), "<={}"),
    (re.compile(rf"{_N}\s+(?:and|or)\s+(?:over|older|more|above)|(?:at least)\s+{_N}", re.I), "{}+"),
    (re.compile(rf"(?:over|more than|above)\s+{_N}", re.I), ">{}"),
    (re.compile(rf"Y_LT{_N}"), "<{}"),
    (re.compile(rf"Y_GE{_N}"), "{}+"),
)  # fmt: skip
_TWO = re.compile(
    rf"(?:from\s+|between\s+)?{_N}(?:\s+(?:to|and)\s+|\s*[-\u2013]\s*){_N}", re.IGNORECASE
)


def gap_above(kind: Kind) -> float:
    """Return by how much a bin's upper edge is above the largest value in it."""
    return 1.0 if kind == "integer" else 0.0


@dataclass(frozen=True)
class Interval:
    """Half-open `[low, high)`, in the variable's unit."""

    low: float
    high: float


_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_DASH = r"\s*(?:-|\u2013|\u2014|to|\.\.)\s*"
_RANGE = re.compile(rf"({_NUMBER}){_DASH}({_NUMBER})")
_BRACKETS = re.compile(rf"([\[(])\s*({_NUMBER})\s*[,;]\s*({_NUMBER})\s*([\])])")
_OPEN_ABOVE = re.compile(rf"({_NUMBER})\s*\+|>=\s*({_NUMBER})")
_ABOVE = re.compile(rf">\s*({_NUMBER})")
_BELOW = re.compile(rf"<\s*({_NUMBER})")
_AT_MOST = re.compile(rf"<=\s*({_NUMBER})")
_SINGLE = re.compile(rf"({_NUMBER})")


def parse_bin(label: str, kind: Kind, low: float, high: float) -> Interval:
    """Return the interval that a published bin label stands for.

    Integers include both ends (`20-24` is 20, 21, 22, 23, 24). For numbers the upper end belongs
    to the next bin (`2.5-5` is 2.5 up to, not including, 5). Open bins end at the variable's limits.

    Args:
        label: For example `20-24`, `[20, 25)`, `65+`, `<5`, `2.5-5`, or `7` for an integer.
        kind: `integer` or `number`.
        low: The variable's `min`.
        high: The variable's `max`, which is a legal value.

    Raises:
        ValueError: The label is no bin, is empty, or reaches beyond the limits.

    Example:
        >>> parse_bin("65+", "integer", 0, 90)
        Interval(low=65.0, high=91.0)
    """
    step = gap_above(kind)
    text = label.strip()
    interval = _interval(text, kind, step, Interval(float(low), float(high) + step))
    if not interval.low < interval.high:
        raise ValueError(f"`{label}` is an empty bin: its low end is above its high end")
    if interval.low < low or interval.high > high + step:
        raise ValueError(
            f"`{label}` reaches beyond the variable's limits, `min` {format_number(low)} and "
            f"`max` {format_number(high)}"
        )
    return interval


def _interval(text: str, kind: Kind, step: float, limits: Interval) -> Interval:
    if match := _RANGE.fullmatch(text):
        return Interval(float(match[1]), float(match[2]) + step)
    if match := _BRACKETS.fullmatch(text):
        low = float(match[2]) + (step if match[1] == "(" else 0.0)
        return Interval(low, float(match[3]) + (step if match[4] == "]" else 0.0))
    if match := _OPEN_ABOVE.fullmatch(text):
        return Interval(float(match[1] or match[2]), limits.high)
    if match := _ABOVE.fullmatch(text):
        return Interval(float(match[1]) + step, limits.high)
    if match := _BELOW.fullmatch(text):
        return Interval(limits.low, float(match[1]))
    if match := _AT_MOST.fullmatch(text):
        return Interval(limits.low, float(match[1]) + step)
    if kind == "integer" and (match := _SINGLE.fullmatch(text)):
        return Interval(float(match[1]), float(match[1]) + 1)
    raise ValueError(f"`{text}` is not a bin; write for example `20-24`, `[20, 25)`, `65+` or `<5`")


def format_number(value: float) -> str:
    """Return `value` without a needless decimal point."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def refine(
    kind: Kind, low: float, high: float, published: Mapping[str, Interval]
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Return edges and labels of the coarsest bins of which every published bin is a union.

    A bin that was published as such keeps its published label.
    """
    edges = {float(low), float(high + gap_above(kind))}
    for interval in published.values():
        edges |= {interval.low, interval.high}
    ordered = sorted(edges)
    known = {interval: label for label, interval in sorted(published.items(), reverse=True)}
    labels = tuple(
        known.get(Interval(a, b)) or _bin_label(kind, a, b) for a, b in itertools.pairwise(ordered)
    )
    return tuple(ordered), labels


def _bin_label(kind: Kind, low: float, high: float) -> str:
    last = high - gap_above(kind)
    return format_number(low) if low == last else f"{format_number(low)}-{format_number(last)}"


def cell_label(names: Sequence[str], labels: Sequence[str]) -> str:
    """Return a cell's name for people, for example `mode=Walked, purpose=Work`."""
    return ", ".join(f"{name}={label}" for name, label in zip(names, labels, strict=True))


def plain_bin(label: str) -> str:
    """Return a bin in the plain form that `domain.parse_bin` reads; another text as it is.

    Example:
        >>> [plain_bin(text) for text in ("Under 5 years", "Aged 20 to 24", "Y_GE85", "Aged 65+")]
        ['<5', '20-24', '85+', '65+']
    """
    text = label.strip()
    if code := _CODE.fullmatch(text):
        return "-".join(filter(None, code.groups()))
    text = _GROUPED.sub("", _NOISE.sub("", text)).strip()
    for form, written in _FORMS:
        if found := form.fullmatch(text):
            return written.format(next(filter(None, found.groups())))
    if found := _TWO.fullmatch(text):
        return f"{found[1]}-{found[2]}"
    return text if re.fullmatch(rf"{_N}\+?", text) else label.strip()
