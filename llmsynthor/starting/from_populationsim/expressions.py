"""Reading the expressions of PopulationSim's controls: as data, never executed.

PopulationSim hands them to `eval` with the seed tables as pandas frames. What is read here is what
such an expression can mean for one record: comparisons of a column with constants, `isin`,
`between`, `isna`, joined by `&`, `|` and `~`.
"""

from __future__ import annotations

import ast
import math
from typing import TYPE_CHECKING

from llmsynthor.starting.from_populationsim.accepted import Accepted

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    """Return what an expression accepts.

    Args:
        text: For example `(households.NP > 1) & (households.NP <= 4)`.
        table: The seed table that it must be about.

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
    if kind is ast.Eq:
        return Accepted.of(value)
    if kind is ast.NotEq:
        return ~Accepted.of(value)
    if isinstance(value, str):
        raise UnreadableError(f"`{_shown(node)}` compares with a text other than by `==` or `!=`")
    if kind is ast.Lt:
        return Accepted.below((value, 0))
    if kind is ast.LtE:
        return Accepted.below((value, 1))
    if kind is ast.Gt:
        return Accepted.above((value, 1))
    if kind is ast.GtE:
        return Accepted.above((value, 0))
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
