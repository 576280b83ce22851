"""Dependency inference: which variables depend on each other, and which tables say how."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

from llmsynthor.candidates.proposals import read_json
from llmsynthor.candidates.reply_schema import LONGEST_SCHEMA, MOST_LABELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.table import Table

MOST_GROUPS = 12
_LARGEST_GROUP = 4


@dataclass(frozen=True)
class Coverage:
    """What the control tables say about a group of variables.

    Attributes:
        variables: The group.
        how: `given` by a table of just these variables; `inside` a larger table, whose sums give
            the figures; `none`.
        table: The table's name, or None.
        missing: Pairs of the group that no control table has together.
    """

    variables: tuple[str, ...]
    how: Literal["given", "inside", "none"]
    table: str | None
    missing: tuple[tuple[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as the report holds it."""
        return {
            "variables": list(self.variables),
            "how": self.how,
            "table": self.table,
            "pairs_without_table": [list(pair) for pair in self.missing],
        }


def groups_schema(domain: Domain) -> dict[str, Any]:
    """Return the JSON Schema of a reply with groups; names are listed where that is not too long."""
    name: dict[str, Any] = {"type": "string", "enum": list(domain.shown.values())}
    if len(domain.names) > MOST_LABELS or len(json.dumps(name)) > LONGEST_SCHEMA:
        del name["enum"]
    group = {"type": "array", "items": name, "minItems": 2, "maxItems": _LARGEST_GROUP}
    groups = {"type": "array", "items": group, "minItems": 0, "maxItems": MOST_GROUPS}
    return {
        "type": "object",
        "properties": {"groups": groups},
        "required": ["groups"],
        "additionalProperties": False,
    }


def holds_groups(text: str) -> bool:
    """Return whether a reply holds a list of groups at all, be it an empty one."""
    return _list_in(text) is not None


def _list_in(text: str) -> list[Any] | None:
    content = read_json(text)
    raw = content.get("groups") if isinstance(content, dict) else content
    named = isinstance(raw, list) and (not raw or any(isinstance(entry, list) for entry in raw))
    return raw if named else None


def read_groups(text: str, domain: Domain) -> tuple[list[list[str]], list[str]]:
    """Return the groups named in a reply, and the names in them that are no variables.

    Groups hold known variables only, at least two, none comes twice.
    """
    groups: list[list[str]] = []
    unknown: dict[str, None] = {}
    for entry in _list_in(text) or []:
        written = [n for n in entry if isinstance(n, str)] if isinstance(entry, list) else []
        unknown |= dict.fromkeys(n for n in written if n not in domain.names_of_shown)
        named = {domain.names_of_shown.get(name) for name in written}
        group = [name for name in domain.names if name in named][:_LARGEST_GROUP]
        if len(group) > 1 and group not in groups:
            groups.append(group)
    return groups[:MOST_GROUPS], list(unknown)


def cover(group: Sequence[str], tables: Sequence[Table]) -> Coverage:
    """Return what tables say about a group: one of its own before the smallest larger one."""
    names = set(group)
    holding = sorted((t for t in tables if names <= set(t.scope)), key=lambda t: (t.cells, t.name))
    own = [table for table in holding if set(table.scope) == names]
    together = {frozenset(pair) for t in tables for pair in combinations(t.scope, 2)}
    return Coverage(
        variables=tuple(group),
        how="given" if own else "inside" if holding else "none",
        table=(own or holding)[0].name if holding else None,
        missing=tuple(p for p in combinations(group, 2) if frozenset(p) not in together),
    )
