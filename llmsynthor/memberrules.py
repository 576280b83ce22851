"""Rules across levels, written out over the slots that members of a record stand in.

A rule may name a member's variable: it then holds for each member. Or it asks all members of a
record: `COUNT(relationship = 'head') = 1`, `MAX(age WHERE relationship = 'child') <= 40`. SQL over
one row knows no members, so each such part becomes an expression over the columns `"age.1"`,
`"age.2"` and so on, which are null where there is no member.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmsynthor.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.members import Members

TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\w+|<=|>=|<>|!=|[^\w\s]")
_AGGREGATES = ("COUNT", "ANY", "ALL", "MIN", "MAX", "SUM", "AVG")
_CONDITIONS = ("COUNT", "ANY", "ALL")
"""Aggregates of a condition; the others are of a value."""


def written_out(text: str, members: Members) -> list[str]:
    """Return SQL over wide columns: one text, or one for each slot where members are named singly.

    Raises:
        JobError: An aggregate is not closed, is empty, or stands inside another.
    """
    tokens = TOKEN.findall(text)
    parts: list[str] = []
    singly = False
    place = 0
    while place < len(tokens):
        if _begins_aggregate(tokens, place):
            end = _closing(tokens, place + 1)
            parts.append(_aggregate(tokens[place].upper(), tokens[place + 2 : end], members))
            place = end + 1
        else:
            singly |= _own(tokens[place], members) is not None
            parts.append(tokens[place])
            place += 1
    slots = range(members.most) if singly else range(1)
    return [" ".join(_at(parts, slot, members)) for slot in slots]


def _begins_aggregate(tokens: Sequence[str], place: int) -> bool:
    return (
        tokens[place].upper() in _AGGREGATES
        and place + 1 < len(tokens)
        and tokens[place + 1] == "("
    )


def _closing(tokens: Sequence[str], opening: int) -> int:
    """Return where the bracket that opens at `opening` is closed."""
    depth = 0
    for place in range(opening, len(tokens)):
        depth += (tokens[place] == "(") - (tokens[place] == ")")
        if not depth:
            return place
    raise JobError(f"the bracket after `{tokens[opening - 1]}` is not closed")


def _own(token: str, members: Members) -> str | None:
    """Return the member's variable that a token names, or None."""
    name = token[1:-1] if token.startswith('"') else token
    return name if name in members.own.positions else None


def _at(tokens: Sequence[str], slot: int, members: Members) -> list[str]:
    """Return the tokens with members' variables as those of one slot."""
    named = [_own(token, members) for token in tokens]
    return [
        token if name is None else f'"{members.column(name, slot)}"'
        for token, name in zip(tokens, named, strict=True)
    ]


def _aggregate(function: str, inside: Sequence[str], members: Members) -> str:
    """Return an aggregate as SQL over all slots."""
    for place, token in enumerate(inside):
        if _begins_aggregate(inside, place):
            raise JobError(
                f"`{token}` stands inside `{function}`; an aggregate cannot hold another"
            )
    what, where = _split(inside)
    if not what:
        raise JobError(f"`{function}()` is empty")
    if what == ["*"]:
        what = ["TRUE"]
        if function != "COUNT":
            raise JobError(f"`{function}(*)` means nothing; only `COUNT(*)` does")
    first = members.own.names[0]
    values, conditions = [], []
    for slot in range(members.most):
        value, condition = (" ".join(_at(part, slot, members)) for part in (what, where))
        there = f'"{members.column(first, slot)}" IS NOT NULL'
        values.append(f"({value})")
        conditions.append(f"({there} AND ({condition}))" if where else f"({there})")
    if function in _CONDITIONS:
        return _of_condition(function, values, conditions)
    return _of_value(function, values, conditions)


def _split(inside: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what stands before and after WHERE."""
    for place, token in enumerate(inside):
        if token.upper() == "WHERE":
            return list(inside[:place]), list(inside[place + 1 :])
    return list(inside), []


def _of_condition(function: str, values: Sequence[str], conditions: Sequence[str]) -> str:
    pairs = list(zip(conditions, values, strict=True))
    if function == "COUNT":
        cases = [f"CASE WHEN {c} AND {v} THEN 1 ELSE 0 END" for c, v in pairs]
        return f"({' + '.join(cases)})"
    if function == "ANY":
        cases = [f"CASE WHEN {c} AND {v} THEN TRUE ELSE FALSE END" for c, v in pairs]
        return f"({' OR '.join(cases)})"
    cases = [
        f"CASE WHEN {c} THEN CASE WHEN {v} THEN TRUE ELSE FALSE END ELSE TRUE END" for c, v in pairs
    ]
    return f"({' AND '.join(cases)})"


def _of_value(function: str, values: Sequence[str], conditions: Sequence[str]) -> str:
    pairs = list(zip(conditions, values, strict=True))
    if function in ("MIN", "MAX"):
        cases = [f"CASE WHEN {c} THEN {v} END" for c, v in pairs]
        if len(cases) == 1:
            return f"({cases[0]})"
        return f"{'LEAST' if function == 'MIN' else 'GREATEST'}({', '.join(cases)})"
    total = " + ".join(f"CASE WHEN {c} THEN {v} ELSE 0 END" for c, v in pairs)
    if function == "SUM":
        return f"({total})"
    number = " + ".join(f"CASE WHEN {c} THEN 1 ELSE 0 END" for c, _ in pairs)
    return f"(CASE WHEN ({number}) > 0 THEN ({total}) * 1.0 / ({number}) END)"
