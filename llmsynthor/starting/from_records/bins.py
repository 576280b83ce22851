"""Bins of numbers: how they are cut (`quantile:10`, `width:5`, `0,18,25,65`) and how they are written.

Bins are half-open `[low, high)` and every label is read back by `domain.parse_bin` as the interval
it stands for: integers are published with both ends (`18-24`), numbers up to the next bin's start.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from llmsynthor.errors import JobError
from llmsynthor.files.bins import gap_above

NumberKind = Literal["integer", "number"]
DEFAULT_BINS = 10
MOST_BINS = 300
_FEWEST_PER_BIN = 10


@dataclass(frozen=True)
class Bins:
    """How a numeric variable is cut.

    Attributes:
        edges: Bin starts and the end: one more than there are bins; the end is not in the last bin
            of integers, and is the largest legal value of numbers.
        labels: One per bin, in the notation of published tables.
        low: The variable's `min`.
        high: The variable's `max`.
    """

    edges: tuple[float, ...]
    labels: tuple[str, ...]
    low: float
    high: float

    def codes(self, values: np.ndarray) -> np.ndarray:
        """Return the bin of each value, int32 of the same shape."""
        found = np.searchsorted(self.edges[1:-1], values, side="right")
        return np.asarray(found, dtype=np.int32)


def cut(name: str, values: np.ndarray, kind: NumberKind, decimals: int, how: str | None) -> Bins:
    """Return the bins of a variable with these finite values, of which there is at least one.

    They are cut as `how` says: `quantile:K`, `width:W`, edges `a,b,c`, or None for the default.

    Raises:
        JobError: `how` cannot be read, or gives no or too many bins.
    """
    step = unit = 1.0 if kind == "integer" else 10.0**-decimals
    # the least and the largest value are those of single records: limits are rounded outwards
    spread = float(values.max() - values.min())
    if kind == "number" and spread > 0:
        step = max(step, 10.0 ** (math.floor(math.log10(spread)) - 1))
    dust = max(1e-6 * unit / step, 1e-12)  # of binary fractions; less than a unit of the data
    low = math.floor(float(values.min()) / step + dust) * step
    high = math.ceil(float(values.max()) / step - dust) * step
    low, high = _tidy(low), _tidy(high)
    if kind == "number" and high <= low:
        high = _tidy(low + step)
    method, _, argument = (how or "").partition(":")
    if how is None:
        fitting = max(2, min(DEFAULT_BINS, len(values) // _FEWEST_PER_BIN))
        inner = quantile_edges(values, fitting, kind, step)
    elif method == "quantile":
        inner = quantile_edges(values, _count(name, how, argument), kind, step)
    elif method == "width":
        inner = _width_edges(name, how, argument, low, high, kind)
    else:
        inner = _given_edges(name, how, kind)
        low, high = min(low, inner[0]), max(high, inner[-1] - gap_above(kind))
    end = high + gap_above(kind)
    edges = (low, *(edge for edge in inner if low < edge < end), end)
    if len(edges) - 1 > MOST_BINS:
        raise JobError(
            f"--bins {name}={how}: makes {len(edges) - 1:,} bins, more than {MOST_BINS}; "
            f"the data go from {shown(low)} to {shown(high)}"
        )
    labels = tuple(_label(kind, a, b) for a, b in pairwise(edges))
    return Bins(edges, labels, low, high)


def quantile_edges(
    values: np.ndarray, count: int, kind: NumberKind, step: float
) -> tuple[float, ...]:
    """Return inner bin edges with about as many records in each bin, rounded to simple numbers.

    A value that alone holds a bin's share or more (zero income, say) gets a bin of its own, so that
    it is not smeared over its neighbours. Other edges are the simplest number within a quarter of
    the gap to the neighbouring quantiles; neighbouring values are `step` apart.
    """
    distinct, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[: max(0, (count - 2) // 2)]
    heavy = [float(distinct[i]) for i in order if counts[i] * count >= len(values)]
    low, high = float(distinct[0]), float(distinct[-1])
    fixed = {_tidy(edge) for value in heavy for edge in (value, value + step)}
    rest = values[~np.isin(values, heavy)]
    spare = max(1, count - 2 * len(heavy))
    levels = np.arange(1, spare) / spare
    inner = np.quantile(rest, levels, method="inverted_cdf") if len(rest) and spare > 1 else []
    edges = sorted({float(edge) for edge in inner} | fixed)
    edges = [edge for edge in edges if low < edge <= high]
    found = set()
    for before, edge, after in zip([low, *edges], edges, [*edges[1:], high], strict=False):
        reach = (edge - (edge - before) / 4, edge + max(after - edge, 0.0) / 4)
        found.add(edge if edge in fixed else simplest(edge, *reach, whole=kind == "integer"))
    return tuple(sorted(found))


def simplest(value: float, low: float, high: float, *, whole: bool) -> float:
    """Return the number with the fewest digits in `[low, high]`, the one nearest to `value`.

    Example:
        >>> simplest(12345.0, 11900.0, 12800.0, whole=True)
        12000.0
    """
    if low <= 0 <= high:
        return 0.0
    exponent = math.ceil(math.log10(max(abs(low), abs(high)))) + 1
    for power in range(exponent, exponent - 18, -1):
        for unit in (10.0**power, 5 * 10.0 ** (power - 1)):
            if whole and unit < 1:
                return value
            candidate = _tidy(round(value / unit) * unit)
            if low <= candidate <= high:
                return candidate
    return value


def _tidy(value: float) -> float:
    """Return the value without the dust of binary fractions."""
    return float(f"{value:.15g}") + 0.0


def _count(name: str, how: str, argument: str) -> int:
    if not argument.isdecimal() or not 1 <= int(argument) <= MOST_BINS:
        raise JobError(f"--bins {name}={how}: write `quantile:K` with K from 1 to {MOST_BINS}")
    return int(argument)


def _number(name: str, how: str, text: str, kind: NumberKind) -> float:
    try:
        value = float(text)
    except ValueError:
        raise JobError(
            f"--bins {name}={how}: `{text}` is not a number; write `quantile:10`, `width:5` or "
            "edges such as `0,18,25,65`"
        ) from None
    if not math.isfinite(value) or (kind == "integer" and not value.is_integer()):
        what = "a whole number, as the values are" if kind == "integer" else "a finite number"
        raise JobError(f"--bins {name}={how}: `{text}` must be {what}")
    return _tidy(value)


def _width_edges(
    name: str, how: str, argument: str, low: float, high: float, kind: NumberKind
) -> tuple[float, ...]:
    width = _number(name, how, argument, kind)
    if width <= 0:
        raise JobError(f"--bins {name}={how}: the width must be above 0")
    first, last = math.floor(low / width) + 1, math.floor(high / width)
    if last - first > MOST_BINS:
        raise JobError(
            f"--bins {name}={how}: makes {last - first + 2:,} bins, more than {MOST_BINS}; "
            f"the data go from {shown(low)} to {shown(high)}"
        )
    return tuple(_tidy(width * i) for i in range(first, last + 1))


def _given_edges(name: str, how: str, kind: NumberKind) -> tuple[float, ...]:
    edges = tuple(_number(name, how, part.strip(), kind) for part in how.split(","))
    if len(edges) < 2 or any(b <= a for a, b in pairwise(edges)):
        raise JobError(
            f"--bins {name}={how}: give two or more edges, each above the one before; "
            "or `quantile:10` or `width:5`"
        )
    return edges


def shown(value: float) -> str:
    """Return a number as bin labels write it: never with an exponent, no needless digits.

    Example:
        >>> shown(1e-05), shown(20.0)
        ('0.00001', '20')
    """
    return np.format_float_positional(value, trim="-")


def _label(kind: NumberKind, low: float, high: float) -> str:
    last = high - gap_above(kind)
    if last == low:
        return shown(low)
    dash = " to " if low < 0 else "-"
    return f"{shown(low)}{dash}{shown(last)}"
