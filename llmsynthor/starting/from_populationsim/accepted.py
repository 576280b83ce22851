"""Which values of a column a condition accepts: numbers in spans, texts, missing ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

End = tuple[float, int]
"""A place between numbers: `(x, 0)` just below x, `(x, 1)` just above it."""
Span = tuple[End, End]
_BOTTOM, _TOP = (-math.inf, 0), (math.inf, 1)


@dataclass(frozen=True)
class Accepted:
    """The values of one column that a condition accepts.

    Attributes:
        spans: Of numbers, in order, apart from each other.
        texts: These texts, or all others where `other_texts`.
        other_texts: Whether all texts but `texts` are accepted.
        missing: Whether a missing value is.
    """

    spans: tuple[Span, ...] = ()
    texts: frozenset[str] = frozenset()
    other_texts: bool = False
    missing: bool = False

    @classmethod
    def of(cls, *values: float | str) -> Accepted:
        """Return what accepts these values."""
        numbers = sorted({float(v) for v in values if not isinstance(v, str)})
        texts = frozenset(v for v in values if isinstance(v, str))
        return cls(_merged([((x, 0), (x, 1)) for x in numbers]), texts)

    @classmethod
    def between(cls, low: End, high: End) -> Accepted:
        """Return what accepts the numbers between two places."""
        return cls(((low, high),) if low < high else ())

    @classmethod
    def below(cls, end: End) -> Accepted:
        """Return what accepts the numbers below a place."""
        return cls.between(_BOTTOM, end)

    @classmethod
    def above(cls, end: End) -> Accepted:
        """Return what accepts the numbers above a place."""
        return cls.between(end, _TOP)

    def __invert__(self) -> Accepted:
        """Return what accepts all other values."""
        spans: list[Span] = []
        start: End = _BOTTOM
        for low, high in self.spans:
            if start < low:
                spans.append((start, low))
            start = high
        if start < _TOP:
            spans.append((start, _TOP))
        return Accepted(tuple(spans), self.texts, not self.other_texts, not self.missing)

    def __or__(self, other: Accepted) -> Accepted:
        """Return what accepts the values of either."""
        return ~(~self & ~other)

    def __and__(self, other: Accepted) -> Accepted:
        """Return what accepts the values of both."""
        spans = [
            (max(a, c), min(b, d))
            for a, b in self.spans
            for c, d in other.spans
            if max(a, c) < min(b, d)
        ]
        if self.other_texts and other.other_texts:
            texts = self.texts | other.texts
        elif self.other_texts or other.other_texts:
            named, but = (other, self) if self.other_texts else (self, other)
            texts = named.texts - but.texts
        else:
            texts = self.texts & other.texts
        both = self.other_texts and other.other_texts
        return Accepted(_merged(spans), texts, both, self.missing and other.missing)

    @property
    def is_nothing(self) -> bool:
        """Return whether no value is accepted."""
        return not (self.spans or self.texts or self.other_texts or self.missing)

    @property
    def is_points(self) -> bool:
        """Return whether single values are accepted, and no range of numbers."""
        return all(low[0] == high[0] for low, high in self.spans)

    def takes(self, value: float | str | None) -> bool:
        """Return whether a value is accepted; None is a missing one."""
        if value is None:
            return self.missing
        if isinstance(value, str):
            return (value in self.texts) != self.other_texts
        return any(low <= (value, 0) < high for low, high in self.spans)


def _merged(spans: list[Span]) -> tuple[Span, ...]:
    """Return spans in order, those that touch as one."""
    found: list[Span] = []
    for low, high in sorted(spans):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)
