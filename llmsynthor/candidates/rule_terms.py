"""A rule as a tree of terms: the functions it may use, the categories it means, its SQL for polars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from llmsynthor.errors import JobError
from llmsynthor.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmsynthor.targets.domain import Domain, Members

AGGREGATES = ("COUNT", "ANY", "ALL", "MIN", "MAX", "SUM", "AVG")
FUNCTIONS: dict[str, tuple[int, int | None]] = {
    "ABS": (1, 1), "CEIL": (1, 1), "FLOOR": (1, 1), "ROUND": (1, 2), "TRUNC": (1, 1),
    "SIGN": (1, 1), "SQRT": (1, 1), "POWER": (2, 2), "EXP": (1, 1), "LN": (1, 1), "LOG": (2, 2),
    "LOG2": (1, 1), "LOG10": (1, 1), "MOD": (2, 2), "DIV": (2, 2), "GREATEST": (1, None),
    "LEAST": (1, None), "COALESCE": (1, None), "IFNULL": (2, 2), "NULLIF": (2, 2), "IF": (3, 3),
    "LOWER": (1, 1), "UPPER": (1, 1), "LENGTH": (1, 1), "LEFT": (2, 2), "RIGHT": (2, 2),
    "SUBSTR": (2, 3), "TRIM": (1, 1), "LTRIM": (1, 2), "RTRIM": (1, 2), "REPLACE": (3, 3),
    "CONCAT": (1, None), "STARTS_WITH": (2, 2), "ENDS_WITH": (2, 2), "STRPOS": (2, 2),
}  # fmt: skip
"""Every function that a rule may call, with the least and the most arguments (None: any number)."""
ALIASES = {
    "CEILING": "CEIL", "POW": "POWER", "CHAR_LENGTH": "LENGTH", "CHARACTER_LENGTH": "LENGTH",
    "SUBSTRING": "SUBSTR",
}  # fmt: skip
"""Second names of functions."""
TYPES = {
    "BIGINT": "BIGINT", "INT": "INT", "INTEGER": "INT", "SMALLINT": "SMALLINT",
    "TINYINT": "TINYINT", "DOUBLE": "DOUBLE", "DOUBLE PRECISION": "DOUBLE", "FLOAT": "DOUBLE",
    "REAL": "FLOAT", "VARCHAR": "VARCHAR", "TEXT": "VARCHAR", "STRING": "VARCHAR",
    "CHAR": "VARCHAR", "BOOLEAN": "BOOLEAN",
}  # fmt: skip
"""The types that CAST takes, each with sqlglot's name for it."""
_OF_TEXT = frozenset(
    {"LOWER", "UPPER", "LENGTH", "LEFT", "RIGHT", "SUBSTR", "TRIM", "LTRIM", "RTRIM", "REPLACE"}
    | {"STARTS_WITH", "ENDS_WITH", "STRPOS", "LIKE", "ILIKE"}
)
"""What polars does with text only, so that a category has to become text first."""
COMPARISONS = frozenset(
    {"=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"}
    | {"IN", "BETWEEN", "NULLIF"}
)
_LOOSE = 0
_COMPARED = 4
_BINDS = {
    "IS DISTINCT FROM": 0, "IS NOT DISTINCT FROM": 0, "OR": 1, "AND": 2, "NOT": 3, "||": 5,
    "+": 6, "-": 6, "*": 7, "/": 7, "//": 7, "%": 7, "NEG": 8,
}  # fmt: skip
"""How tightly operators bind in polars' SQL, all others `_COMPARED`; what gets 0 is always in brackets."""
_FORMS = {"NOT": "NOT {}", "NEG": "-{}", "BETWEEN": "{} BETWEEN {} AND {}"}
_FLAT = 16
"""Conditions joined side by side; more are joined in pairs of halves, as polars is slow over long rows."""


@dataclass(frozen=True)
class Column:
    """A variable."""

    name: str


@dataclass(frozen=True)
class Text:
    """A text in quotes, such as a category."""

    value: str


@dataclass(frozen=True)
class Constant:
    """A number, TRUE, FALSE, NULL or a type, as SQL has it."""

    sql: str


@dataclass(frozen=True)
class Term:
    """An operator or a function with what it is of.

    Attributes:
        name: For example `AND`, `<`, `LOWER`, `IS NULL`; `NEG` is the minus of one number.
        parts: In order; of `CASE` conditions and values in turn, then the value of `ELSE`.
    """

    name: str
    parts: tuple[Node, ...]

    @cached_property
    def extent(self) -> tuple[int, int]:
        """Return how deep it is, and how much polars makes of it."""
        return _around(self.parts, twice=self.name in {"BETWEEN", "NULLIF", "RIGHT"})


@dataclass(frozen=True)
class Aggregate:
    """An aggregate over the members of one record.

    Attributes:
        function: In capitals, for example `COUNT`.
        text: As the rule has it.
        what: What is counted, or the number; None in `COUNT(*)`.
        where: The condition behind `WHERE`, or None.
        distinct: Whether different values are counted.
    """

    function: str
    text: str
    what: Node | None
    where: Node | None = None
    distinct: bool = False

    @property
    def parts(self) -> tuple[Node, ...]:
        """Return the expressions inside."""
        return tuple(part for part in (self.what, self.where) if part is not None)

    @cached_property
    def extent(self) -> tuple[int, int]:
        """Return how deep it is, and how much polars makes of it for one member."""
        return _around(self.parts)

    @property
    def of_conditions(self) -> bool:
        """Return whether its argument is a condition; that of the others is a number."""
        return self.function in {"COUNT", "ANY", "ALL"} and not self.distinct


Node: TypeAlias = Column | Text | Constant | Term | Aggregate


def extent(node: Node) -> tuple[int, int]:
    """Return the levels of operators and functions of a tree, and its size in nodes."""
    return node.extent if isinstance(node, Term | Aggregate) else (0, 1)


def _around(parts: Sequence[Node], *, twice: bool = False) -> tuple[int, int]:
    depths, sizes = zip(*map(extent, parts), strict=True) if parts else ((0,), (0,))
    return max(depths) + 1, sum(sizes) + 1 + (sizes[0] if twice else 0)


def walk(node: Node, *, inside: bool = True) -> Iterator[Node]:
    """Yield a node and all below it, in the rule's order; those of aggregates only if `inside`."""
    yield node
    if isinstance(node, Term) or (inside and isinstance(node, Aggregate)):
        for part in node.parts:
            yield from walk(part, inside=inside)


def columns(node: Node, *, inside: bool = True) -> list[str]:
    """Return the variables that a tree names, in the rule's order, each once."""
    found = (n.name for n in walk(node, inside=inside) if isinstance(n, Column))
    return list(dict.fromkeys(found))


def _values(term: Term) -> tuple[Node, ...]:
    """Return the parts of which a term's value is one; none where it is computed."""
    if term.name == "CASE":
        return (*term.parts[1::2], *term.parts[len(term.parts) // 2 * 2 :])
    if term.name in {"COALESCE", "IFNULL"}:
        return term.parts
    return {"NULLIF": term.parts[:1], "IF": term.parts[1:]}.get(term.name, ())


def _sources(node: Node, domain: Domain) -> tuple[list[str], list[str]] | None:
    """Return the variables of categories and the texts that a value comes from; None if computed."""
    if isinstance(node, Text):
        return [], [node.value]
    if node == Constant("NULL"):
        return [], []
    if isinstance(node, Column):
        return None if domain[node.name].is_numeric else ([node.name], [])
    if not isinstance(node, Term):
        return None
    is_text = node.name == "CAST" and node.parts[1] == Constant("VARCHAR")
    parts = [_sources(part, domain) for part in (node.parts[:1] if is_text else _values(node))]
    if not parts or any(part is None for part in parts):
        return None
    return [n for p in parts if p for n in p[0]], [t for p in parts if p for t in p[1]]


def check_categories(tree: Node, domain: Domain) -> None:
    """Refuse categories that are none: polars takes a comparison with one as never true.

    Raises:
        JobError: A text is compared with what has other categories.
    """
    terms = [n for n in walk(tree) if isinstance(n, Term) and n.name in COMPARISONS]
    for first, *others in (term.parts for term in terms):
        for text, other in [(o, first) for o in others] + [(first, o) for o in others]:
            found = _sources(other, domain) if isinstance(text, Text) else None
            if not isinstance(text, Text) or found is None or not found[0]:
                continue
            variables = [domain[name] for name in dict.fromkeys(found[0])]
            if text.value in found[1] or any(text.value in v.codes for v in variables):
                continue
            known = [label for variable in variables for label in variable.shown]
            advice = did_you_mean(text.value, known, f" (known: {', '.join(known[:12])})")
            raise JobError(
                f"`{text.value}` is no category of `{'` or `'.join(v.name for v in variables)}`{advice}"
            )


def with_texts(node: Node, domain: Domain) -> Node:
    """Return a tree in which categories are text wherever polars would refuse or lose them."""
    if isinstance(node, Aggregate):
        what = node.what and with_texts(node.what, domain)
        return replace(node, what=what, where=node.where and with_texts(node.where, domain))
    if not isinstance(node, Term):
        return node
    parts = tuple(with_texts(part, domain) for part in node.parts)
    node = replace(node, parts=parts)
    values = _values(node)
    asked = parts if node.name in _OF_TEXT | COMPARISONS else values
    kinds = [_labels(part, domain) for part in asked]
    if node.name in COMPARISONS:
        unlike = len({kind for kind in kinds if kind}) > 1
    else:
        unlike = node.name in _OF_TEXT or (any(kinds) and _labels(node, domain) is None)
    if not unlike:
        return node
    enums = {part for part, kind in zip(asked, kinds, strict=True) if kind}
    as_text = (Term("CAST", (p, Constant("VARCHAR"))) if p in enums else p for p in parts)
    return replace(node, parts=tuple(as_text))


def _labels(node: Node, domain: Domain) -> tuple[str, ...] | None:
    """Return the categories of an Enum, in order; None where polars has a number or text."""
    if isinstance(node, Column):
        return None if domain[node.name].is_numeric else domain[node.name].labels
    values = _values(node) if isinstance(node, Term) else ()
    of = [v for v in values if not isinstance(v, Text) and v != Constant("NULL")]
    kinds = {_labels(value, domain) for value in of}
    if len(kinds) != 1:
        return None
    (labels,) = kinds
    texts = {v.value for v in values if isinstance(v, Text)}
    return labels if labels and texts <= set(labels) else None


def identifier(name: str) -> str:
    """Return a column's name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _stub(aggregate: Aggregate) -> str:
    kinds = {"COUNT": "CAST(1 AS BIGINT)", "ANY": "TRUE", "ALL": "TRUE"}
    return kinds.get(aggregate.function, "CAST(1 AS DOUBLE)")


def write(
    node: Node,
    column: Callable[[str], str] = identifier,
    aggregate: Callable[[Aggregate], str] = _stub,
    least: int = _LOOSE,
) -> str:
    """Return a tree as SQL.

    Args:
        node: The tree.
        column: Gives the SQL of a variable.
        aggregate: Gives the SQL of an aggregate; default: a value of its type.
        least: What binds no tighter gets brackets.
    """
    if isinstance(node, Column):
        return column(node.name)
    if isinstance(node, Text):
        return "'" + node.value.replace("'", "''") + "'"
    if isinstance(node, Constant):
        return node.sql
    if isinstance(node, Aggregate):
        return aggregate(node)
    return _written(node, lambda part, binds: write(part, column, aggregate, binds), least)


def _written(term: Term, inner: Callable[[Node, int], str], least: int) -> str:
    """Return an operator or a function as SQL; `inner` writes a part that has to bind tighter."""
    name, parts = term.name, term.parts
    if name in FUNCTIONS:
        return f"{name}({_listed(parts, inner)})"
    if name == "CAST":
        return f"CAST({_listed(parts, inner, ' AS ')})"
    if name == "CASE":
        each = [inner(part, _LOOSE) for part in parts]
        cases = (f"WHEN {w} THEN {v} " for w, v in zip(each[::2], each[1::2], strict=False))
        return f"CASE {''.join(cases)}{f'ELSE {each[-1]} ' if len(each) % 2 else ''}END"
    binds = _BINDS.get(name, _COMPARED)
    if name == "IN":
        sql = f"{inner(parts[0], binds)} IN ({_listed(parts[1:], inner)})"
    elif name in _FORMS:
        sql = _FORMS[name].format(*(inner(part, binds) for part in parts))
    elif len(parts) == 1:  # IS NULL, IS TRUE, IS FALSE
        sql = f"{inner(parts[0], binds)} {name}"
    elif name in {"AND", "OR"}:
        sql = _joined([inner(part, binds) for part in parts], f" {name} ")
    else:
        tight = {"||": _BINDS["*"]}.get(name, max(binds, _COMPARED))
        # sums are read from the left: `a - b + c` needs no brackets
        first = binds - 1 if binds in {_BINDS["+"], _BINDS["*"]} else tight
        sql = f" {name} ".join([inner(parts[0], first), *(inner(p, tight) for p in parts[1:])])
    return sql if binds > least else f"({sql})"


def _listed(parts: Sequence[Node], inner: Callable[[Node, int], str], between: str = ", ") -> str:
    return between.join(inner(part, _LOOSE) for part in parts)


def _joined(each: Sequence[str], word: str) -> str:
    if len(each) <= _FLAT:
        return word.join(each)
    half = len(each) // 2
    return f"({_joined(each[:half], word)}){word}({_joined(each[half:], word)})"


class Wide:
    """Writes the SQL of one rule over the columns of a record with all its slots."""

    def __init__(self, members: Members) -> None:
        """Take what the members are."""
        self._members = members
        self._slots = range(members.most)

    def household(self, tree: Node) -> str:
        """Return the rule of a record: no member's variable stands outside an aggregate."""
        return write(tree, aggregate=self._aggregate)

    def member(self, tree: Node, slot: int, *, negated: bool) -> str:
        """Return the rule of the member in one slot (from 0); false where there is none."""
        there = self._there(columns(tree, inside=False), slot)
        return f"{there} AND {'NOT ' if negated else ''}({self._in_slot(tree, slot)})"

    def _in_slot(self, node: Node, slot: int) -> str:
        return write(node, lambda n: identifier(self._members.column(n, slot)), self._aggregate)

    def _there(self, names: Sequence[str], slot: int) -> str:
        """Return the condition that a slot is in use: a column that is read anyway is not null."""
        first = next(name for name in names if name in self._members.own.positions)
        return f"{identifier(self._members.column(first, slot))} IS NOT NULL"

    def _aggregate(self, aggregate: Aggregate) -> str:
        what = aggregate.what
        if what is None:
            return self._size()
        if aggregate.distinct:
            return self._different(aggregate, what)
        if aggregate.function in {"COUNT", "ANY"}:
            count = self._count(aggregate, what, "({})")
            return count if aggregate.function == "COUNT" else f"({count} > 0)"
        if aggregate.function == "ALL":
            return f"({self._count(aggregate, what, 'NOT ({})')} = 0)"
        if aggregate.function in {"MIN", "MAX"}:
            each = [self._value(aggregate, what, slot) for slot in self._slots]
            return f"{'LEAST' if aggregate.function == 'MIN' else 'GREATEST'}({', '.join(each)})"
        count = self._count(aggregate, what, "({}) IS NOT NULL")
        # as real numbers: a sum of small integers could pass what their type holds
        each = [
            f"COALESCE(CASE WHEN {self._held(aggregate, s)} "
            f"THEN CAST(({self._in_slot(what, s)}) AS DOUBLE) END, 0)"
            for s in self._slots
        ]
        total = f"({' + '.join(each)})"
        if aggregate.function == "AVG":
            total = f"({total} / {count})"
        return f"(CASE WHEN {count} > 0 THEN {total} END)"

    def _held(self, aggregate: Aggregate, slot: int) -> str:
        """Return the condition that the aggregate takes the member of a slot."""
        there = self._there([n for part in aggregate.parts for n in columns(part)], slot)
        if aggregate.where is None:
            return there
        return f"{there} AND ({self._in_slot(aggregate.where, slot)})"

    def _value(self, aggregate: Aggregate, what: Node, slot: int) -> str:
        """Return what an aggregate takes of the member of a slot; null where it takes none."""
        return f"CASE WHEN {self._held(aggregate, slot)} THEN ({self._in_slot(what, slot)}) END"

    def _count(self, aggregate: Aggregate, what: Node, form: str) -> str:
        """Return the number of members that are taken and for which `form` holds."""
        each = [
            f"(CASE WHEN {self._held(aggregate, s)} "
            f"AND {form.format(self._in_slot(what, s))} THEN 1 ELSE 0 END)"
            for s in self._slots
        ]
        return f"({' + '.join(each)})"

    def _different(self, aggregate: Aggregate, what: Node) -> str:
        """Return how many values members have: each counts where no slot before has the same."""
        values = [f"({self._value(aggregate, what, slot)})" for slot in self._slots]
        each = []
        for slot, value in enumerate(values):
            known = [f"AND ({value} IS DISTINCT FROM {other})" for other in values[:slot]]
            each.append(f"(CASE WHEN {value} IS NOT NULL {' '.join(known)} THEN 1 ELSE 0 END)")
        return f"({' + '.join(each)})"

    def _size(self) -> str:
        """Return the number of members."""
        variable = self._members.record[self._members.size]
        if variable.is_numeric:
            return identifier(variable.name)
        cases = [
            f"WHEN {identifier(variable.name)} = {write(Text(label))} THEN {int(number)}"
            for label, number in zip(variable.labels, self._members.number, strict=True)
        ]
        return f"(CASE {' '.join(cases)} END)"
