"""Reading the expressions of PopulationSim's controls: as data, never executed.

PopulationSim hands them to `eval` with the seed tables as pandas frames. What is read here is what
such an expression can mean for one record: comparisons of a column with constants, `isin`,
`between`, `isna`, joined by `&`, `|` and `~`: which values of each column it accepts.
"""

from __future__ import annotations

import ast
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

End = tuple[float, int]
"""A place between numbers: `(x, 0)` just below x, `(x, 1)` just above it."""
Span = tuple[End, End]
BOTTOM, TOP = (-math.inf, 0), (math.inf, 1)


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

    def __invert__(self) -> Accepted:
        """Return what accepts all other values."""
        spans: list[Span] = []
        start: End = BOTTOM
        for low, high in self.spans:
            if start < low:
                spans.append((start, low))
            start = high
        if start < TOP:
            spans.append((start, TOP))
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


Box = dict[str, Accepted]
"""Column -> its accepted values; all must hold. Without a column it is every record."""
_FLIPPED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.Gt, ast.Gt: ast.Lt, ast.LtE: ast.GtE, ast.GtE: ast.LtE, ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
}  # fmt: skip
_INFINITE = ("np", "numpy", "math")


class UnreadableError(ValueError):
    """An expression that means nothing here; the message says what in it."""


def read_expression(text: str, table: str) -> Box:
    """Return what an expression such as `(households.NP > 1) & (households.NP <= 4)` accepts.

    Raises:
        UnreadableError: It is no such expression.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UnreadableError("it is no expression") from None
    return _box(tree.body, table)


def _box(node: ast.expr, table: str) -> Box:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        return both(_box(node.left, table), _box(node.right, table))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _either(_box(node.left, table), _box(node.right, table))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert):
        return _not(_box(node.operand, table))
    if isinstance(node, ast.Compare):
        return _comparison(node, table)
    if isinstance(node, ast.Call):
        return _call(node, table)
    raise UnreadableError(f"`{_shown(node)}` is no comparison")


def both(left: Box, right: Box) -> Box:
    """Return what both accept."""
    found = dict(left)
    for column, accepted in right.items():
        found[column] = found[column] & accepted if column in found else accepted
    return found


def _either(left: Box, right: Box) -> Box:
    """Return what either accepts, where that is one condition on each column."""
    differing = [column for column in {**left, **right} if left.get(column) != right.get(column)]
    if not differing:
        return left
    if len(differing) > 1 or differing[0] not in left or differing[0] not in right:
        raise UnreadableError(
            "`|` joins conditions on different columns, "
            + " and ".join(f"`{column}`" for column in sorted({**left, **right}))
        )
    column = differing[0]
    return {**left, column: left[column] | right[column]}


def _not(box: Box) -> Box:
    if len(box) != 1:
        raise UnreadableError("`~` stands before conditions on several columns")
    return {column: ~accepted for column, accepted in box.items()}


def _comparison(node: ast.Compare, table: str) -> Box:
    if len(node.ops) != 1:
        raise UnreadableError(
            f"`{_shown(node)}` is a chain; `&` and `|` bind more strongly than comparisons, so each "
            "of these needs brackets"
        )
    left, right, kind = node.left, node.comparators[0], type(node.ops[0])
    if _is_column(right) and not _is_column(left):
        left, right = right, left
        kind = _FLIPPED.get(kind, kind)
    return {_column(left, table): _compared(kind, _constant(right), node)}


def _compared(kind: type[ast.cmpop], value: float | str, node: ast.expr) -> Accepted:
    if kind in (ast.Eq, ast.NotEq):
        return Accepted.of(value) if kind is ast.Eq else ~Accepted.of(value)
    if isinstance(value, str):
        raise UnreadableError(f"`{_shown(node)}` compares with a text other than by `==` or `!=`")
    if kind in (ast.Lt, ast.LtE):
        return Accepted.between(BOTTOM, (value, int(kind is ast.LtE)))
    if kind in (ast.Gt, ast.GtE):
        return Accepted.between((value, int(kind is ast.Gt)), TOP)
    raise UnreadableError(f"`{_shown(node)}` is no comparison by ==, !=, <, <=, > or >=")


def _call(node: ast.Call, table: str) -> Box:
    """Read `column.isin([...])`, `column.between(a, b)`, `column.isna()` and its like."""
    if not isinstance(node.func, ast.Attribute):
        raise UnreadableError(
            f"`{_shown(node)}` is a call; only isin, between, isna and notna are read"
        )
    column, name = _column(node.func.value, table), node.func.attr
    options = {word.arg: word.value for word in node.keywords}
    if name in ("isna", "isnull", "notna", "notnull") and not node.args and not options:
        missing = Accepted(missing=True)
        return {column: missing if name.startswith("is") else ~missing}
    if name == "isin" and len(node.args) == 1 and not options:
        values = node.args[0]
        if isinstance(values, ast.List | ast.Tuple | ast.Set):
            return {column: Accepted.of(*(_constant(value) for value in values.elts))}
    if name == "between" and len(node.args) == 2 and set(options) <= {"inclusive"}:
        return {column: _between(node, options)}
    raise UnreadableError(
        f"`{_shown(node)}` is a call; only isin, between, isna and notna are read"
    )


def _between(node: ast.Call, options: Mapping[str | None, ast.expr]) -> Accepted:
    low, high = (_constant(end) for end in node.args)
    given = options.get("inclusive")
    ends = "both" if given is None else _constant(given)
    if isinstance(low, str) or isinstance(high, str):
        raise UnreadableError(f"`{_shown(node)}` is between texts")
    if ends not in ("both", "left", "right", "neither"):
        raise UnreadableError(f"`{_shown(node)}`: `inclusive` is both, left, right or neither")
    start = (low, 0 if ends in ("both", "left") else 1)
    return Accepted.between(start, (high, 1 if ends in ("both", "right") else 0))


def _is_column(node: ast.expr) -> bool:
    if isinstance(node, ast.Attribute):
        return isinstance(node.value, ast.Name) and node.value.id not in _INFINITE
    return isinstance(node, ast.Subscript)


def _column(node: ast.expr, table: str) -> str:
    """Return the column of `table.column` or `table['column']`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        of, column = node.value.id, node.attr
    elif (
        isinstance(node, ast.Subscript)
        and isinstance(node.value, ast.Name)
        and isinstance(node.slice, ast.Constant)
        and isinstance(node.slice.value, str)
    ):
        of, column = node.value.id, node.slice.value
    else:
        raise UnreadableError(f"`{_shown(node)}` is no column of `{table}`")
    if of != table:
        raise UnreadableError(
            f"`{_shown(node)}` is of `{of}`, and the control's table is `{table}`"
        )
    return column


def _constant(node: ast.expr) -> float | str:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _constant(node.operand)
        if not isinstance(value, str):
            return -value if isinstance(node.op, ast.USub) else value
    if (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in _INFINITE
        and node.attr == "inf"
    ):
        return math.inf
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
        return node.value if isinstance(node.value, str) else float(node.value)
    raise UnreadableError(f"`{_shown(node)}` is no number and no text")


def _shown(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else text[:59] + "…"
