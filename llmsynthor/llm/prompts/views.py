"""Views for a prompt: variables, proposals, members and lists in a bounded number of characters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from llmsynthor.files.bins import format_number
from llmsynthor.llm.prompts.gaps import WIDE
from llmsynthor.targets.measures import tvd
from llmsynthor.text import clean, many

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.candidates.boxes import Box
    from llmsynthor.candidates.proposals import Proposal
    from llmsynthor.targets.domain import Domain, Members, Variable
    from llmsynthor.targets.table import Table, TableSet

_Item = TypeVar("_Item")
_SHARES_CHARACTERS = 5000
_DESCRIPTIONS_CHARACTERS = 3000
_LONGEST_DESCRIPTION = 400
_MOST_KINDS = 12
_READ_FOR_KINDS = 60
"""Proposals looked at: those of one kind share a line."""
_LONGEST_KIND = 160
_LONGEST_WITH_MEMBERS = 360
_MOST_TELLING = 3
_LEAST_TELLING = 0.05
"""TVD from the table below which a variable says nothing about a proposal."""
_SURE = 0.995
"""Share from which a value is written alone."""
_MOST_TABLES = (2400, 60)
"""Of the list of tables: how many characters, and how many lines."""
_MOST_IN_EXAMPLE = 8
"""Variables of one level that the example writes out."""
_LONGEST_VALUE = 40
_ALONE = -1
_LIST, _WEIGHTS = 2, 3
"""Places, of four, at which the example has a list or weights: most values stand alone."""


def within(lines: Sequence[str], characters: int, most: int) -> tuple[list[str], int]:
    """Return the first lines that fit, and how many are left out."""
    fits = _fitting([len(line) for line in lines[:most]], characters)
    return list(lines[:fits]), len(lines) - fits


def turned(
    items: Sequence[_Item], sizes: Sequence[int], characters: int, most: int, turn: int
) -> list[_Item]:
    """Return items that fit, in their order; each turn goes on where the one before ended.

    The first item has room whatever its size; once all have been shown, it begins anew.
    """
    starts = [0]
    while starts[-1] < len(items):
        starts.append(starts[-1] + _fitting(sizes[starts[-1] : starts[-1] + most], characters))
    start = starts[turn % max(len(starts) - 1, 1)]
    order = [*range(start, len(items)), *range(start)][:most]
    kept = order[: _fitting([sizes[i] for i in order], characters)]
    return [items[i] for i in sorted(kept)]


def _fitting(sizes: Sequence[int], characters: int) -> int:
    """Return how many of the first fit, at least one."""
    fits = 0
    for size in sizes:
        characters -= size + 2
        if characters < 0 and fits:
            break
        fits += 1
    return fits


def companions(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Return pairs as lines that name each first one once.

    Example:
        >>> companions([("a", "b"), ("a", "c"), ("b", "c")])
        ['a with b, c', 'b with c']
    """
    grouped: dict[str, list[str]] = {}
    for first, second in pairs:
        grouped.setdefault(first, []).append(second)
    return [f"{first} with {', '.join(others)}" for first, others in grouped.items()]


def percent(share: float) -> str:
    """Return a share as a percentage."""
    return f"{100 * share:.1f} %"


def shown_variables(
    domain: Domain, marginals: Mapping[str, np.ndarray], released: Sequence[str]
) -> list[dict[str, str]]:
    """Return the variables as the prompt lists them, in a bounded number of characters.

    Each gets the same room, and what short ones leave goes to the long ones.
    """
    values = [_values(v, marginals[v.name]) for v in domain.variables]
    described = [clean(v.description, _LONGEST_DESCRIPTION) for v in domain.variables]
    room = even_room([sum(len(t) + 2 for t in texts) for texts in values], _SHARES_CHARACTERS)
    words = even_room([len(text) for text in described], _DESCRIPTIONS_CHARACTERS)
    return [
        {
            "name": domain.shown[variable.name],
            "kind": "ordered category"
            if variable.ordered and not variable.is_numeric
            else variable.kind,
            "unit": clean(variable.unit),
            "description": clean(text, max(words, 20)),
            "shares": _shares(variable, marginals[variable.name], texts, room),
            "before": "yes" if variable.name in released else "",
        }
        for variable, texts, text in zip(domain.variables, values, described, strict=True)
    ]


def even_room(needs: Sequence[int], characters: int) -> int:
    """Return the largest room for each so that all together stay within `characters`."""
    left, room = characters, characters
    for number, need in enumerate(sorted(needs)):
        room = left // (len(needs) - number)
        if need > room:
            return room
        left -= need
    return max(room, max(needs, default=0))


def _values(variable: Variable, marginal: np.ndarray) -> list[str]:
    return [
        f"{json.dumps(label, ensure_ascii=False)} {percent(float(share))}"
        for label, share in zip(variable.shown, marginal, strict=True)
    ]


def _shares(variable: Variable, marginal: np.ndarray, texts: Sequence[str], room: int) -> str:
    """Return the values with their shares: the most frequent ones, in order, and how many more."""
    frequent = sorted(range(variable.size), key=lambda c: (-marginal[c], c))[:WIDE]
    kept, _ = within([texts[c] for c in frequent], room, WIDE)
    codes = sorted(frequent[: len(kept)])
    more = variable.size - len(codes)
    limits = (
        f"; from {format_number(variable.low)} to {format_number(variable.high)}"
        if variable.is_numeric
        else ""
    )
    left_out = f", and {more} more" if more else ""
    return ", ".join(texts[c] for c in codes) + left_out + limits


def library_view(
    library: Sequence[Proposal],
    domain: Domain,
    marginals: Mapping[str, np.ndarray],
    members: Members | None = None,
) -> list[str]:
    """Return the largest kinds of record in the library, by count, as short lines."""
    largest = sorted(library, key=lambda p: (-p.count, p.id))[:_READ_FOR_KINDS]
    counts: dict[str, int] = {}
    for proposal in largest:
        if members is None:
            kind = clean(_telling(proposal.boxes, domain, marginals, _MOST_TELLING), _LONGEST_KIND)
        else:
            kind = clean(_telling_members(proposal, members, marginals), _LONGEST_WITH_MEMBERS)
        counts[kind] = counts.get(kind, 0) + round(proposal.count)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [f"{count} x {kind}" for kind, count in ranked[:_MOST_KINDS]]


def _telling_members(
    proposal: Proposal, members: Members, marginals: Mapping[str, np.ndarray]
) -> str:
    """Return what tells most of a record, and of each of its members."""
    own = []
    for block in proposal.members:
        number = f"{block.low}" if block.low == block.high else f"{block.low} to {block.high}"
        told = _telling(block.boxes, members.own, marginals, _MOST_TELLING)
        own.append(told if number == "1" else f"{number} times {told}")
    record = _telling(proposal.boxes, members.record, marginals, _MOST_TELLING)
    return f"{record}: {' + '.join(own)}" if own else record


def _telling(
    boxes: Sequence[Box], domain: Domain, marginals: Mapping[str, np.ndarray], most: int
) -> str:
    """Return the values of a proposal that differ most from the tables' shares."""
    apart = [
        round(tvd(marginals[v.name], box.share), 9)
        for v, box in zip(domain.variables, boxes, strict=True)
    ]
    order = sorted(range(len(apart)), key=lambda i: (-apart[i], i))[:most]
    told = [i for i in order if apart[i] > _LEAST_TELLING]
    words = [
        f"{clean(domain.variables[i].name, 24)}="
        + _main_values(boxes[i], domain.variables[i], marginals)
        for i in told
    ]
    return ", ".join(words) or "much like the tables"


def _main_values(box: Box, variable: Variable, marginals: Mapping[str, np.ndarray]) -> str:
    """Return a range, or the one or two values that are most above the tables' shares."""
    if box.limits is not None:
        high = variable.last(box.limits.high)
        return f"{format_number(box.limits.low)} to {format_number(high)}"
    above = np.round(box.share - marginals[variable.name], 9)
    order = [int(c) for c in np.argsort(-above, kind="stable")[:2] if above[c] > 0]
    return " or ".join(
        clean(variable.shown[c], 24) + ("" if box.share[c] > _SURE else f" {box.share[c]:.0%}")
        for c in order
    )


def member_context(
    tables: TableSet, members: Members, marginals: Mapping[str, np.ndarray], freed: Sequence[str]
) -> dict[str, Any]:
    """Return what the templates are given of a job whose records have members."""
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
    record = _example_values(members.record, marginals, 0, {members.size: _size(members, size)})
    blocks = [{"repeat": 1, "values": _example_values(members.own, marginals, _ALONE, {})}]
    if total > 1:
        rest = _example_values(members.own, marginals, 1, {})
        blocks.append({"repeat": total - 1, "values": rest})
    content = {"reason": "...", "count": 120, "values": record, "members": blocks}
    return json.dumps(content, ensure_ascii=False)


def _size(members: Members, code: int) -> Any:  # noqa: ANN401 - JSON
    variable = members.record[members.size]
    number = int(members.number[code])
    return [number, number] if variable.is_numeric else variable.shown[code]


def _example_values(
    domain: Domain, marginals: Mapping[str, np.ndarray], turn: int, fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a value for the first variables, alone or in one form after another."""
    values: dict[str, Any] = {}
    for place, variable in enumerate(domain.variables[:_MOST_IN_EXAMPLE]):
        given = fixed.get(variable.name)
        if given is None:
            form = 0 if turn == _ALONE else place + turn
            given = _example_value(variable, marginals[variable.name], form)
        values[domain.shown[variable.name]] = given
    if len(domain.variables) > len(values):
        values["..."] = "..."
    return values


def _example_value(variable: Variable, marginal: np.ndarray, form: int) -> Any:  # noqa: ANN401 - JSON
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
