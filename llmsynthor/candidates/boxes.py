"""What a proposal says of one variable: a category, a set, weights or a range, as shares of codes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.files.bins import Interval, format_number, parse_bin
from llmsynthor.text import did_you_mean, first_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.targets.domain import Variable


ANY = "*"
"""What stands for any value, in proportion to the tables. A category of this name goes before."""


class BoxError(ValueError):
    """The value cannot be used; the message is for the model that wrote it."""


@dataclass(frozen=True, eq=False)
class Box:
    """One side of a proposal.

    Attributes:
        share: Probability of each code, shape `(size,)`, sum 1.
        limits: For a numeric range the interval that values stay in, else None.
        is_open: Whether the proposal leaves the variable to the tables.
    """

    share: np.ndarray
    limits: Interval | None = None
    is_open: bool = False


def read_box(variable: Variable, value: Any, marginal: np.ndarray) -> tuple[Box, int]:  # noqa: ANN401
    """Return the box that `value` stands for and how many slips were mended on the way.

    Args:
        variable: The variable.
        value: A category, a list of categories, an object of weights; for numbers `[low, high]`,
            one number, or bins by their labels; for any of them `"*"`, which is any value.
        marginal: Target share of each code; sets and ranges are drawn in proportion to it.

    Raises:
        BoxError: Says what is wrong with the value.
    """
    if leaves_open(variable, value):
        return Box(_in_proportion(variable, np.ones(variable.size), marginal), is_open=True), 0
    if variable.is_numeric and _is_range(value):
        return _range(variable, value, marginal)
    if isinstance(value, dict):
        return _weights(variable, value, marginal)
    labels = _as_list(value)
    if not labels:
        raise BoxError("the list is empty")
    share = np.zeros(variable.size)
    mended = 0
    for label in labels:
        inside, slips = _members(variable, label)
        share = np.maximum(share, inside)
        mended += slips
    return Box(_in_proportion(variable, share, marginal)), mended


def leaves_open(variable: Variable, value: Any) -> bool:  # noqa: ANN401
    """Return whether `value` stands for any value: `"*"`, alone or in a list."""
    return ANY in _as_list(value) and can_be_open(variable)


def can_be_open(variable: Variable) -> bool:
    """Return whether `"*"` can stand for any value: it is no category's name."""
    return ANY not in variable.codes and ANY not in variable.shown_codes


def takes_in(variable: Variable, said: Any, value: Any, marginal: np.ndarray) -> bool:  # noqa: ANN401
    """Return whether a record's value is among those that a proposal named.

    Smoothing, and rounding to whole counts, give some records other values.

    Args:
        variable: The variable.
        said: What the proposal says of it.
        value: What the record has.
        marginal: Target share of each code.

    Raises:
        BoxError: What the proposal says cannot be read.
    """
    if leaves_open(variable, said):
        return True
    if not variable.is_numeric:
        return bool(read_box(variable, said, marginal)[0].share[variable.codes[value]] > 0)
    if _is_range(said):
        ends = [float(end) for end in _as_list(said)]
        room = 10.0**-variable.decimals if variable.kind == "number" else 0.0
        return min(ends) - room <= value <= max(ends) + room
    weights = said if isinstance(said, dict) else dict.fromkeys(_as_list(said), 1)
    if ANY in weights and weights[ANY] > 0:
        return True
    named = [_bin_of(variable, label) for label, weight in weights.items() if weight > 0]
    return any(bin_.low <= value < _open_end(variable, bin_) for bin_ in named)


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401
    return value if isinstance(value, list) else [value]


def _open_end(variable: Variable, interval: Interval) -> float:
    """Return where a bin ends; the largest number there is belongs to the last."""
    last = variable.kind == "number" and interval.high >= variable.edges[-1]
    return math.inf if last else interval.high


def _bin_of(variable: Variable, label: str) -> Interval:
    if label in variable.codes:
        code = variable.codes[label]
        return Interval(variable.edges[code], variable.edges[code + 1])
    try:
        return parse_bin(label, variable.kind, variable.low, variable.high)
    except ValueError as error:
        raise BoxError(str(error)) from None


def _is_range(value: Any) -> bool:  # noqa: ANN401
    ends = _as_list(value)
    return 1 <= len(ends) <= 2 and all(_is_number(end) for end in ends)


def _is_number(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return not isinstance(value, int) or abs(value) < 10**300  # float() refuses larger ones


def _range(variable: Variable, value: Any, marginal: np.ndarray) -> tuple[Box, int]:  # noqa: ANN401
    ends = _as_list(value)
    low, high = float(ends[0]), float(ends[-1])
    if not (math.isfinite(low) and math.isfinite(high)):
        raise BoxError("the range is not finite")
    mended = int(low > high)
    low, high = min(low, high), max(low, high)
    if low < variable.low or high > variable.high:
        raise BoxError(
            f"the range {format_number(low)} to {format_number(high)} reaches outside "
            f"{format_number(variable.low)} to {format_number(variable.high)}"
        )
    if variable.is_whole:
        limits = Interval(math.ceil(low), math.floor(high) + 1.0)
    else:
        limits = Interval(low, high if high > low else _just_above(variable, low))
    if limits.low >= variable.edges[-1]:
        limits = Interval(variable.edges[-2], variable.edges[-1])
    if not limits.low < limits.high:
        raise BoxError(f"the range {low} to {high} holds no whole number")
    return Box(_in_proportion(variable, variable.overlap(limits), marginal), limits), mended


def _just_above(variable: Variable, low: float) -> float:
    """Return an upper end that makes a single number a thin range inside the limits."""
    above = max(low + 10.0**-variable.decimals, math.nextafter(low, math.inf))
    return min(variable.edges[-1], above)


def _weights(variable: Variable, value: dict[Any, Any], marginal: np.ndarray) -> tuple[Box, int]:
    share = np.zeros(variable.size)
    mended = 0
    largest = max((float(w) for w in value.values() if _is_number(w)), default=0.0)
    for label, weight in value.items():
        if not _is_number(weight) or not math.isfinite(weight) or weight < 0:
            raise BoxError(f"the weight of `{str(label)[:40]}` must be a number of 0 or more")
        inside, slips = _members(variable, label)
        mended += slips
        if weight > 0:
            # over the largest first: huge weights must not add up to infinity
            share += weight / largest * _in_proportion(variable, inside, marginal)
    if not share.sum() > 0:
        raise BoxError("every weight is 0")
    return Box(share / share.sum()), mended


def _members(variable: Variable, label: Any) -> tuple[np.ndarray, int]:  # noqa: ANN401
    """Return which share of each code `label` takes in, and 1 if its spelling was mended."""
    if type(label) is int and abs(label) < 10**9 and str(label) in variable.codes:
        return _members(variable, str(label))[0], 1
    if not isinstance(label, str):
        raise BoxError(f"{str(label)[:40]!r} must be a text in quotes, one of {_listed(variable)}")
    inside = np.zeros(variable.size)
    if label == ANY and can_be_open(variable):
        return np.ones(variable.size), 0
    for codes in (variable.codes, variable.shown_codes):  # shown cut and cleaned in the prompt
        if label in codes:
            inside[codes[label]] = 1.0
            return inside, 0
    if variable.is_numeric:
        return variable.overlap(_bin_of(variable, label)), 0
    same = [name for name in variable.labels if _plain(name) == _plain(label)]
    if len(same) != 1:
        advice = did_you_mean(label[:200], variable.shown, f"; use one of {_listed(variable)}")
        raise BoxError(f"`{label[:60]}` is no category{advice}")
    inside[variable.codes[same[0]]] = 1.0
    return inside, 1


def _plain(label: str) -> str:
    """Return the label without what a model slips on: case, spaces, dashes, underscores."""
    return re.sub(r"[\s_\-\u2013\u2014]+", "", label).casefold()


def _listed(variable: Variable) -> str:
    return first_of(variable.shown, 12)


def _in_proportion(variable: Variable, inside: np.ndarray, marginal: np.ndarray) -> np.ndarray:
    share = inside * marginal
    total = share.sum()
    if not total > 0:
        names: Sequence[str] = [variable.shown[i] for i in np.flatnonzero(inside)[:3]]
        raise BoxError(f"the tables have nobody with {', '.join(names) or 'this value'}")
    return np.asarray(share / total)
