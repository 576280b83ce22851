"""A rule as a tree of terms: the functions it may use, the categories it means, its SQL for polars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

from llmsynthor.errors import JobError
from llmsynthor.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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
        """Return its levels of operators and functions, and how many nodes polars makes of it."""
        depths, sizes = zip((0, 0), *map(extent, self.parts), strict=True)
        twice = sizes[1] if self.name in {"BETWEEN", "NULLIF", "RIGHT"} else 0
        return max(depths) + 1, sum(sizes) + 1 + twice


@dataclass(frozen=True)
class Aggregate(Term):
    """An aggregate over the members of one record.

    Its parts are what is counted, or the number, and then the condition behind `WHERE`, if any;
    there are none in `COUNT(*)`.

    Attributes:
        text: As the rule has it.
        distinct: Whether different values are counted.
    """

    text: str
    distinct: bool = False

    @property
    def of_conditions(self) -> bool:
        """Return whether its argument is a condition; that of the others is a number."""
        return self.name in {"COUNT", "ANY", "ALL"} and not self.distinct


Node: TypeAlias = Column | Text | Constant | Term


def extent(node: Node) -> tuple[int, int]:
    """Return the levels of operators and functions of a tree, and its size in nodes."""
    return node.extent if isinstance(node, Term) else (0, 1)


def walk(node: Node, *, inside: bool = True) -> Iterator[Node]:
    """Yield a node and all below it, in the rule's order; those of aggregates only if `inside`."""
    yield node
    if isinstance(node, Term) and (inside or not isinstance(node, Aggregate)):
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


def _sources(node: Node, domain: Domain) -> list[Column | Text] | None:
    """Return the variables of categories and the texts that a value comes from; None if computed."""
    if isinstance(node, Text):
        return [node]
    if node == Constant("NULL"):
        return []
    if isinstance(node, Column):
        return None if domain[node.name].is_numeric else [node]
    if not isinstance(node, Term):
        return None
    is_text = node.name == "CAST" and node.parts[1] == Constant("VARCHAR")
    parts = [_sources(part, domain) for part in (node.parts[:1] if is_text else _values(node))]
    if not parts or None in parts:
        return None
    return [source for part in parts if part for source in part]


def check_categories(tree: Node, domain: Domain) -> None:
    """Refuse categories that are none: polars takes a comparison with one as never true.

    Raises:
        JobError: A text is compared with what has other categories.
    """
    terms = [n for n in walk(tree) if isinstance(n, Term) and n.name in COMPARISONS]
    for first, *others in (term.parts for term in terms):
        for text, other in [(o, first) for o in others] + [(first, o) for o in others]:
            if not isinstance(text, Text):
                continue
            sources = dict.fromkeys(_sources(other, domain) or ())
            variables = [domain[source.name] for source in sources if isinstance(source, Column)]
            if text in sources or not variables or any(text.value in v.codes for v in variables):
                continue
            known = [label for variable in variables for label in variable.shown]
            advice = did_you_mean(text.value, known, f" (known: {', '.join(known[:12])})")
            raise JobError(
                f"`{text.value}` is no category of `{'` or `'.join(v.name for v in variables)}`{advice}"
            )


def with_texts(node: Node, domain: Domain) -> Node:
    """Return a tree in which categories are text wherever polars would refuse or lose them."""
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
    return kinds.get(aggregate.name, "CAST(1 AS DOUBLE)")


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


def _number_of(conditions: Iterable[str]) -> str:
    """Return how many of the conditions hold."""
    return f"({' + '.join(f'(CASE WHEN {each} THEN 1 ELSE 0 END)' for each in conditions)})"


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

    def broken(self, tree: Node, *, negated: bool) -> list[str]:
        """Return the conditions of which a record that breaks a rule meets one.

        Args:
            tree: The rule: of the record if no member's variable stands outside an aggregate, else
                of each of its members.
            negated: Whether the rule is required, and so broken where it does not hold.
        """
        not_, names = "NOT " if negated else "", columns(tree, inside=False)
        if not set(names) & set(self._members.own.names):
            return [f"{not_}({write(tree, aggregate=self._aggregate)})"]
        return [
            f"{self._there(names, slot)} AND {not_}({self._in_slot(tree, slot)})"
            for slot in range(self._members.most)
        ]

    def _in_slot(self, node: Node, slot: int) -> str:
        return write(node, lambda n: identifier(self._members.column(n, slot)), self._aggregate)

    def _there(self, names: Sequence[str], slot: int) -> str:
        """Return the condition that a slot is in use: a column that is read anyway is not null."""
        first = next(name for name in names if name in self._members.own.positions)
        return f"{identifier(self._members.column(first, slot))} IS NOT NULL"

    def _aggregate(self, aggregate: Aggregate) -> str:
        if not aggregate.parts:
            return self._size()
        # what it takes of the member of each slot; null where it takes none
        values = [
            f"(CASE WHEN {self._held(aggregate, slot)} "
            f"THEN ({self._in_slot(aggregate.parts[0], slot)}) END)"
            for slot in range(self._members.most)
        ]
        there = [f"{value} IS NOT NULL" for value in values]
        if aggregate.distinct:  # each counts where no slot before has the same
            for slot, value in enumerate(values):
                for other in values[:slot]:
                    there[slot] += f" AND ({value} IS DISTINCT FROM {other})"
            return _number_of(there)
        if aggregate.name == "COUNT":
            return _number_of(values)
        if aggregate.name == "ANY":
            return f"({_number_of(values)} > 0)"
        if aggregate.name == "ALL":
            return f"({_number_of(f'NOT {value}' for value in values)} = 0)"
        if aggregate.name in {"MIN", "MAX"}:
            return f"{'LEAST' if aggregate.name == 'MIN' else 'GREATEST'}({', '.join(values)})"
        count = _number_of(there)
        # as real numbers: a sum of small integers could pass what their type holds
        total = " + ".join(f"COALESCE(CAST({value} AS DOUBLE), 0)" for value in values)
        mean = f" / {count}" if aggregate.name == "AVG" else ""
        return f"(CASE WHEN {count} > 0 THEN ({total}){mean} END)"

    def _held(self, aggregate: Aggregate, slot: int) -> str:
        """Return the condition that the aggregate takes the member of a slot."""
        there = self._there(columns(aggregate), slot)
        where = [f"({self._in_slot(part, slot)})" for part in aggregate.parts[1:]]
        return " AND ".join([there, *where])

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
