"""What the model is shown of records with members: both levels, what tables count, one example."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.files.bins import format_number
from llmsynthor.llm.prompts.views import companions, shown_variables, within
from llmsynthor.text import clean, many

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.targets.domain import Domain, Members, Variable
    from llmsynthor.targets.table import Table, TableSet

_MOST_TABLES = (2400, 60)
"""Of the list of tables: how many characters, and how many lines."""
_MOST_IN_EXAMPLE = 8
"""Variables of one level that the example writes out."""
_LONGEST_VALUE = 40
_ALONE = -1
_LIST, _WEIGHTS = 2, 3
"""Places, of four, at which the example has a list or weights: most values stand alone."""


def member_context(
    tables: TableSet, members: Members, marginals: Mapping[str, np.ndarray], freed: Sequence[str]
) -> dict[str, Any]:
    """Return what the templates are given of a job whose records have members.

    Args:
        tables: The job's tables.
        members: What the members are.
        marginals: Target share of each code, by variable.
        freed: Variables whose shares the scenario may change.
    """
    lines = [counted(table, table.scope, tables) for table in tables.control]
    kept, more = within(list(dict.fromkeys(lines)), *_MOST_TABLES)
    return {
        "of": members.of,
        "of_many": many(members.of),
        "member": members.name,
        "member_many": many(members.name),
        "size": members.record.shown[members.size],
        "most": members.most,
        "mean": f"{float(marginals[members.size] @ members.number):.2f}",
        "variables": shown_variables(members.record, marginals, freed),
        "member_variables": shown_variables(members.own, marginals, freed),
        "own_names": list(members.own.shown.values()),
        "given": kept,
        "given_more": more,
        "examples": forms(members.record),
        "member_examples": forms(members.own),
        "example": example(members, marginals),
    }


def forms(domain: Domain) -> list[str]:
    """Return each variable's name with the form of its value, as a proposal has them."""
    return [
        f"{json.dumps(domain.shown[v.name], ensure_ascii=False)}: "
        + ("[low, high]" if v.is_numeric else "...")
        for v in domain.variables
    ]


def counted(table: Table, scope: Sequence[str], tables: TableSet) -> str:
    """Return what a table counts and by what, for example `persons by age, sex`."""
    members = tables.members
    names = ", ".join(tables.domain.shown[name] for name in scope)
    return names if members is None else f"{unit(table, members)} by {names}"


def unit(table: Table, members: Members) -> str:
    """Return what a table counts, in the plural."""
    return many(members.of if table.members is None else members.name)


def among(name: str, members: Members) -> str:
    """Return in words how a variable of one member goes with that of another."""
    shown, own = members.own.shown[name], many(members.name)
    return f"how {shown} goes together among the {own} of one {members.of} (no table can say)"


def by_level(pairs: Sequence[tuple[str, str]], members: Members) -> dict[str, list[str]]:
    """Return pairs of shown names as lines: across the levels, among members, among records."""
    own = set(members.own.shown.values())
    sorted_out: dict[int, list[tuple[str, str]]] = {0: [], 1: [], 2: []}
    for pair in pairs:
        sorted_out[sum(name in own for name in pair)].append(pair)
    return {
        "uncovered_across": companions(sorted_out[1]),
        "uncovered_members": companions(sorted_out[2]),
        "uncovered": companions(sorted_out[0]),
    }


def example(members: Members, marginals: Mapping[str, np.ndarray]) -> str:
    """Return one proposal that shows the form: two kinds of members, the second one repeated."""
    numbers = members.number
    size = int(np.argmax(np.where(numbers >= min(2, members.most), marginals[members.size], -1)))
    total = int(numbers[size])
    record = _values(members.record, marginals, 0, {members.size: _size(members, size)})
    blocks = [{"repeat": 1, "values": _values(members.own, marginals, _ALONE, {})}]
    if total > 1:
        rest = _values(members.own, marginals, 1, {})
        blocks.append({"repeat": total - 1, "values": rest})
    content = {"reason": "...", "count": 120, "values": record, "members": blocks}
    return json.dumps(content, ensure_ascii=False)


def _size(members: Members, code: int) -> Any:  # noqa: ANN401 - JSON
    variable = members.record[members.size]
    number = int(members.number[code])
    return [number, number] if variable.is_numeric else variable.shown[code]


def _values(
    domain: Domain, marginals: Mapping[str, np.ndarray], turn: int, fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a value for the first variables, alone or in one form after another."""
    values: dict[str, Any] = {}
    for place, variable in enumerate(domain.variables[:_MOST_IN_EXAMPLE]):
        given = fixed.get(variable.name)
        if given is None:
            form = 0 if turn == _ALONE else place + turn
            given = _value(variable, marginals[variable.name], form)
        values[domain.shown[variable.name]] = given
    if len(domain.variables) > len(values):
        values["..."] = "..."
    return values


def _value(variable: Variable, marginal: np.ndarray, form: int) -> Any:  # noqa: ANN401 - JSON
    """Return a range of a number, or one, two, or weighted categories: the most frequent ones."""
    common = [int(code) for code in np.argsort(-marginal, kind="stable")[:2]]
    if variable.is_numeric:
        code = common[form % len(common)]
        high = variable.last(variable.edges[code + 1])
        return [json.loads(format_number(end)) for end in (variable.edges[code], high)]
    labels = [clean(variable.shown[code], _LONGEST_VALUE) for code in common]
    if len(labels) == 2 and form % 4 == _LIST:
        return labels
    if len(labels) == 2 and form % 4 == _WEIGHTS:
        return {labels[0]: 0.7, labels[1]: 0.3}
    return labels[form % len(labels)]
