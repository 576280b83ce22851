"""The domain: variables with finitely many categories or bins, and how labels become codes.

A *code* is the position of a category or bin in its variable. Numeric bins are kept as half-open
intervals `[low, high)`: an integer bin published as `20-24` is `[20, 25)`, so that neighbouring
bins share an edge and refinement is the union of edges.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmsynthor.labels import distinct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Kind = Literal["category", "integer", "number"]
BACKGROUND = -1
"""Stands in place of a proposal's id for records that came from the background."""


@dataclass(frozen=True)
class Interval:
    """Half-open `[low, high)`, in the variable's unit."""

    low: float
    high: float


@dataclass(frozen=True)
class Variable:
    """One variable of the domain.

    Attributes:
        name: As in the job.
        kind: `category`, `integer` or `number`.
        labels: Categories, or the labels of the refined bins, in code order.
        edges: For numeric variables the `len(labels) + 1` bin edges, else empty.
        ordered: Whether the order of the labels means something.
        description: For people and for the prompt.
        unit: Unit of a numeric variable.
        decimals: Digits after the point that a number keeps in the records.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    edges: tuple[float, ...] = ()
    ordered: bool = False
    description: str = ""
    unit: str = ""
    decimals: int = 0

    @property
    def size(self) -> int:
        """Return the number of categories or bins."""
        return len(self.labels)

    @property
    def is_numeric(self) -> bool:
        """Return whether values are numbers inside bins."""
        return self.kind != "category"

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """Return the code of each label."""
        return {label: code for code, label in enumerate(self.labels)}

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """Return each label as a model is shown it: printable, cut, no two alike."""
        return distinct(self.labels)

    @cached_property
    def shown_codes(self) -> Mapping[str, int]:
        """Return the code of each label as it is shown."""
        return {label: code for code, label in enumerate(self.shown)}

    @property
    def low(self) -> float:
        """Return the smallest legal value."""
        return self.edges[0]

    @property
    def high(self) -> float:
        """Return the largest legal value (an integer's upper edge is one above it)."""
        return self.edges[-1] - 1 if self.kind == "integer" else self.edges[-1]

    def overlap(self, interval: Interval) -> np.ndarray:
        """Return which share of each bin lies inside `interval`, shape `(size,)`."""
        edges = np.asarray(self.edges)
        inside = np.minimum(edges[1:], interval.high) - np.maximum(edges[:-1], interval.low)
        return np.clip(inside, 0.0, None) / np.diff(edges)

    def encode_values(self, values: np.ndarray) -> np.ndarray:
        """Return the bin codes of numeric `values`; a value beyond the limits gets -1."""
        codes = np.searchsorted(np.asarray(self.edges), values, side="right") - 1
        if self.kind == "number":  # the last bin is closed above
            codes = np.where(values == self.edges[-1], self.size - 1, codes)
        return np.where((codes < 0) | (codes >= self.size), -1, codes).astype(np.int32)


@dataclass(frozen=True)
class Domain:
    """An ordered set of variables; the columns of every code matrix follow this order."""

    variables: tuple[Variable, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the variables' names in order."""
        return tuple(variable.name for variable in self.variables)

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Return each variable's column."""
        return {name: position for position, name in enumerate(self.names)}

    @cached_property
    def shown(self) -> Mapping[str, str]:
        """Return each variable's name as a model is shown it."""
        return dict(zip(self.names, distinct(self.names), strict=True))

    @cached_property
    def names_of_shown(self) -> Mapping[str, str]:
        """Return the variable of each name that a model may write: the whole or as shown."""
        return {shown: name for name, shown in self.shown.items()} | {n: n for n in self.names}

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Return the number of categories or bins of each variable."""
        return tuple(variable.size for variable in self.variables)

    @cached_property
    def numeric(self) -> tuple[int, ...]:
        """Return the columns of the variables that are numbers, in order."""
        return tuple(i for i, variable in enumerate(self.variables) if variable.is_numeric)

    def __getitem__(self, name: str) -> Variable:
        return self.variables[self.positions[name]]

    def columns(self, scope: Iterable[str]) -> tuple[int, ...]:
        """Return the columns of the variables of `scope`."""
        return tuple(self.positions[name] for name in scope)


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
    step = 1.0 if kind == "integer" else 0.0
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

    Args:
        kind: `integer` or `number`.
        low: The variable's `min`.
        high: The variable's `max`.
        published: Label -> interval, over all tables.
    """
    top = high + (1.0 if kind == "integer" else 0.0)
    edges = {float(low), float(top)}
    for interval in published.values():
        edges |= {interval.low, interval.high}
    ordered = sorted(edges)
    known = {interval: label for label, interval in sorted(published.items(), reverse=True)}
    labels = tuple(
        known.get(Interval(a, b)) or _bin_label(kind, a, b) for a, b in itertools.pairwise(ordered)
    )
    return tuple(ordered), labels


def _bin_label(kind: Kind, low: float, high: float) -> str:
    if kind == "integer":
        return (
            format_number(low)
            if high - low == 1
            else f"{format_number(low)}-{format_number(high - 1)}"
        )
    return f"{format_number(low)}-{format_number(high)}"


def cell_label(names: Sequence[str], labels: Sequence[str]) -> str:
    """Return a cell's name for people, for example `mode=Walked, purpose=Work`."""
    return ", ".join(f"{name}={label}" for name, label in zip(names, labels, strict=True))
