"""Dependency inference: reading which variables a model says depend on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsynthor.plan import read_json

if TYPE_CHECKING:
    from llmsynthor.domain import Domain

_MOST_GROUPS = 12
_LARGEST_GROUP = 4


def read_groups(text: str, domain: Domain) -> list[list[str]]:
    """Return the groups named in a reply, with known variables only, none twice.

    Args:
        text: The model's words.
        domain: Its variables.
    """
    content = read_json(text)
    raw = content.get("groups") if isinstance(content, dict) else content
    groups: list[list[str]] = []
    for entry in raw if isinstance(raw, list) else []:
        named = (
            {name for name in entry if isinstance(name, str)} if isinstance(entry, list) else set()
        )
        group = [name for name in domain.names if name in named][:_LARGEST_GROUP]
        if len(group) > 1 and group not in groups:
            groups.append(group)
    return groups[:_MOST_GROUPS]
