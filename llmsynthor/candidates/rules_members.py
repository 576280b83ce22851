"""Rules that speak of members: their text taken apart, and SQL over the columns of every slot.

A rule's text is only ever cut into tokens and put together again; what comes out is one SQL
expression that polars evaluates row by row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmsynthor.errors import JobError
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from llmsynthor.targets.levels import Members

AGGREGATES = ("COUNT", "ANY", "ALL", "MIN", "MAX", "SUM", "AVG")
OF_CONDITIONS = ("COUNT", "ANY", "ALL")
"""Aggregates whose argument is a condition; the argument of the others is a number."""
_FOREIGN = frozenset(
    {"FIRST", "LAST", "MEDIAN", "QUANTILE_CONT", "QUANTILE_DISC", "STDDEV", "STDDEV_SAMP", "STDEV"}
    | {"STDEV_SAMP", "VARIANCE", "VAR", "VAR_SAMP", "CORR", "COVAR", "COVAR_SAMP", "COVAR_POP"}
    | {"ARRAY_AGG", "STRING_AGG", "ROW_NUMBER", "RANK", "DENSE_RANK", "LAG", "LEAD", "OVER"}
    | {"FIRST_VALUE", "LAST_VALUE"}
)
"""What polars would take over all records together, silently spread to each of them."""
_OTHER_NAMES = {
    "MEAN": "AVG", "AVERAGE": "AVG", "COUNT_IF": "COUNT", "COUNTIF": "COUNT", "SOME": "ANY",
    "EVERY": "ALL", "EXISTS": "ANY", "TOTAL": "SUM", "MINIMUM": "MIN", "MAXIMUM": "MAX",
}  # fmt: skip
"""What other languages call an aggregate."""
_TOKEN = re.compile(
    r"\s+|--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`"
    r"|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\w+|<=|>=|<>|!=|.",
    re.DOTALL,
)


@dataclass(frozen=True)
class Aggregate:
    """An aggregate over the members of one record.

    Attributes:
        function: In capitals, for example `COUNT`.
        text: As the rule has it.
        what: Tokens of what is counted, or of the number; `("*",)` in `COUNT(*)`.
        where: Tokens of the condition behind `WHERE`, or None.
    """

    function: str
    text: str
    what: tuple[str, ...]
    where: tuple[str, ...] | None = None

    @property
    def pieces(self) -> tuple[tuple[str, ...], ...]:
        """Return the expressions inside, each as tokens."""
        what = () if self.what == ("*",) else (self.what,)
        return what if self.where is None else (*what, self.where)


def take_apart(text: str) -> tuple[str | Aggregate, ...]:
    """Return a rule's tokens, with each aggregate as one of them.

    Raises:
        JobError: An aggregate is empty, not closed, or holds another; or polars would take a
            function over all records.
    """
    tokens = [" " if t.startswith(("--", "/*")) else t for t in _TOKEN.findall(text)]
    parts: list[str | Aggregate] = []
    position = 0
    while position < len(tokens):
        if calls(tokens, position, _FOREIGN):
            raise JobError(
                f"`{tokens[position]}` speaks of all records together; a rule must hold for each "
                "by itself"
            )
        if calls(tokens, position, _OTHER_NAMES):
            raise JobError(
                f"`{tokens[position]}` is no function of rules; did you mean "
                f"`{_OTHER_NAMES[tokens[position].upper()]}`?"
            )
        if not calls(tokens, position, AGGREGATES):
            parts.append(tokens[position])
            position += 1
            continue
        end = _closing(tokens, position)
        parts.append(_aggregate(tokens[position:end]))
        position = end
    return tuple(parts)


def calls(tokens: Sequence[str], position: int, functions: Collection[str]) -> bool:
    """Return whether one of these functions is called at this token."""
    return tokens[position].upper() in functions and _next(tokens, position) == "("


def _next(tokens: Sequence[str], position: int) -> str:
    return next((t for t in tokens[position + 1 :] if t.strip()), "")


def _last(tokens: Sequence[str], position: int) -> str:
    return next((t for t in reversed(tokens[:position]) if t.strip()), "")


def _closing(tokens: Sequence[str], start: int) -> int:
    """Return the position behind the bracket that closes the call at `start`."""
    depth = 0
    for position in range(start, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[position], 0)
        if depth == 0 and tokens[position] == ")":
            return position + 1
    raise JobError(f"not a SQL expression: the bracket after `{tokens[start]}` is not closed")


def _aggregate(tokens: Sequence[str]) -> Aggregate:
    function, text = tokens[0].upper(), "".join(tokens)
    inside = list(tokens[tokens.index("(") + 1 : -1])
    depth, cut = 0, None
    for position, token in enumerate(inside):
        depth += {"(": 1, ")": -1}.get(token, 0)
        if calls(inside, position, AGGREGATES):
            raise JobError(
                f"`{clean(text)}` holds the aggregate `{token}`; an aggregate cannot hold another"
            )
        if calls(inside, position, _FOREIGN):
            raise JobError(f"`{token}` is no aggregate of members; use {', '.join(AGGREGATES)}")
        if depth == 0 and token.upper() == "WHERE" and cut is None:
            cut = position
    what = _stripped(inside if cut is None else inside[:cut])
    where = None if cut is None else _stripped(inside[cut + 1 :])
    if not what or where == ():
        raise JobError(
            f"`{clean(text)}` lacks an expression; write for example `COUNT(age < 18)`, "
            "`COUNT(*)` or `MAX(age WHERE sex = 'female')`"
        )
    if what == ("*",) and function != "COUNT":
        raise JobError(f"`{clean(text)}`: only COUNT takes `*`")
    if what == ("*",) and where is not None:
        what, where = where, None
    return Aggregate(function, text, what, where)


def _stripped(tokens: Sequence[str]) -> tuple[str, ...]:
    kept = list(tokens)
    while kept and not kept[0].strip():
        kept.pop(0)
    while kept and not kept[-1].strip():
        kept.pop()
    return tuple(kept)


def named(tokens: Sequence[str], position: int, names: Collection[str]) -> str | None:
    """Return which of `names` stands at this token as a column, or None."""
    token = tokens[position]
    name = token
    if token[:1] in {'"', "`"} and len(token) > 1:
        name = token[1:-1].replace('""', '"') if token[0] == '"' else token[1:-1]
    elif _next(tokens, position) == "(" or _last(tokens, position).upper() == "AS":
        return None  # a function, or the type of a CAST
    return name if name in names else None


def identifier(name: str) -> str:
    """Return a column's name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


class Writer:
    """Writes the SQL of one rule over the columns of a record with all its slots."""

    def __init__(self, members: Members, roots: Iterable[str]) -> None:
        """Take what the members are, and the columns that polars finds in the rule's text."""
        self._members = members
        self._own = frozenset(roots) & frozenset(members.own.names)

    def household(self, parts: Sequence[str | Aggregate]) -> str:
        """Return the rule of a record: no member's variable stands outside an aggregate."""
        return "".join(p if isinstance(p, str) else self._aggregate(p) for p in parts)

    def member(self, parts: Sequence[str | Aggregate], slot: int, *, negated: bool) -> str:
        """Return the rule of the member in one slot (from 0); false where there is none."""
        tokens = [p if isinstance(p, str) else self._aggregate(p) for p in parts]
        text = self._in_slot(tokens, slot)
        there = self._there([tokens], slot)
        return f"{there} AND {'NOT ' if negated else ''}({text})"

    def _in_slot(self, tokens: Sequence[str], slot: int) -> str:
        return "".join(
            token if name is None else identifier(self._members.column(name, slot))
            for token, name in ((t, named(tokens, i, self._own)) for i, t in enumerate(tokens))
        )

    def _there(self, pieces: Iterable[Sequence[str]], slot: int) -> str:
        """Return the condition that a slot is in use: a column that is read anyway is not null."""
        first = next(
            name
            for tokens in pieces
            for i in range(len(tokens))
            if (name := named(tokens, i, self._own)) is not None
        )
        return f"{identifier(self._members.column(first, slot))} IS NOT NULL"

    def _aggregate(self, aggregate: Aggregate) -> str:
        what = aggregate.what
        if what == ("*",):
            return self._size()
        if aggregate.function in {"COUNT", "ANY"}:
            count = self._count(aggregate, "({})")
            return count if aggregate.function == "COUNT" else f"({count} > 0)"
        if aggregate.function == "ALL":
            return f"({self._count(aggregate, 'NOT ({})')} = 0)"
        if aggregate.function in {"MIN", "MAX"}:
            each = [
                f"CASE WHEN {self._held(aggregate, s)} THEN ({self._in_slot(what, s)}) END"
                for s in self._slots
            ]
            return f"{'LEAST' if aggregate.function == 'MIN' else 'GREATEST'}({', '.join(each)})"
        count = self._count(aggregate, "({}) IS NOT NULL")
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

    @property
    def _slots(self) -> range:
        return range(self._members.most)

    def _held(self, aggregate: Aggregate, slot: int) -> str:
        """Return the condition that the aggregate takes the member of a slot."""
        there = self._there(aggregate.pieces, slot)
        if aggregate.where is None:
            return there
        return f"{there} AND ({self._in_slot(aggregate.where, slot)})"

    def _count(self, aggregate: Aggregate, form: str) -> str:
        """Return the number of members that are taken and for which `form` holds."""
        each = [
            f"(CASE WHEN {self._held(aggregate, s)} "
            f"AND {form.format(self._in_slot(aggregate.what, s))} THEN 1 ELSE 0 END)"
            for s in self._slots
        ]
        return f"({' + '.join(each)})"

    def _size(self) -> str:
        """Return the number of members."""
        variable = self._members.record[self._members.size]
        if variable.is_numeric:
            return identifier(variable.name)
        cases = [
            f"WHEN {identifier(variable.name)} = '{label}' THEN {int(number)}"
            for label, number in zip(variable.labels, self._members.number, strict=True)
        ]
        return f"(CASE {' '.join(cases)} END)"
