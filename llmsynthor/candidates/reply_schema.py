"""The JSON Schema of a plan, for providers that enforce one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmsynthor.candidates.boxes import ANY, can_be_open
from llmsynthor.targets.domain import Domain

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmsynthor.targets.domain import Members, Variable

MOST_LABELS = 500
"""Categories and bins that a schema lists in all; OpenAI takes 1,000 enum values, and each category
is listed as a value of its own and inside a list."""
LONGEST_SCHEMA = 40_000
"""Characters; a schema is sent, and often paid for, with every request."""


def plan_schema(domain: Domain, members: Members | None = None) -> dict[str, Any]:
    """Return the JSON Schema of a plan over `domain`, for providers that enforce one.

    With members, `domain` has the variables of the record only.

    Where it would be too large, variables are left without the list of their categories or bins:
    the largest first, of equals the later in the job. The prompt names what they may be, and the
    parser refuses the rest.
    """
    both = Domain((*domain.variables, *(members.own.variables if members else ())))
    listed = set(both.names)
    by_size = sorted(both.variables, key=lambda v: (-v.size, -both.positions[v.name]))
    for variable in by_size:
        schema = _plan_schema(domain, members, listed)
        labels = sum(v.size for v in both.variables if v.name in listed)
        if labels <= MOST_LABELS and len(json.dumps(schema)) <= LONGEST_SCHEMA:
            return schema
        listed.remove(variable.name)
    return _plan_schema(domain, members, listed)


def _plan_schema(
    domain: Domain, members: Members | None, listed: Collection[str]
) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "reason": {"type": "string"},
        "count": {"type": "integer", "minimum": 1},
        "values": _values_schema(domain, listed),
    }
    if members is not None:
        number = {"type": "integer", "minimum": 0, "maximum": members.most}
        limits = {"type": "array", "items": number, "minItems": 2, "maxItems": 2}
        block = _object(
            {"repeat": {"anyOf": [number, limits]}, "values": _values_schema(members.own, listed)}
        )
        parts["members"] = {"type": "array", "items": block, "maxItems": members.most}
    return _object({"proposals": {"type": "array", "items": _object(parts)}})


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _values_schema(domain: Domain, listed: Collection[str]) -> dict[str, Any]:
    return _object(
        {domain.shown[v.name]: _value_schema(v, listed=v.name in listed) for v in domain.variables}
    )


def _value_schema(variable: Variable, *, listed: bool) -> dict[str, Any]:
    label: dict[str, Any] = {"type": "string"}
    whole = {"type": "string", "enum": [ANY]}
    weights: dict[str, Any] = {"type": "object", "minProperties": 1}
    if listed:
        label["enum"] = list(variable.shown)
        weights["properties"] = {name: {"type": "number", "minimum": 0} for name in variable.shown}
        weights["additionalProperties"] = False
    else:
        weights["additionalProperties"] = {"type": "number", "minimum": 0}
    if variable.is_numeric:
        ends = {"type": "number", "minimum": variable.low, "maximum": variable.high}
        limits = {"type": "array", "items": ends, "minItems": 2, "maxItems": 2}
        return {"anyOf": [limits, whole, weights]}
    alone = [label, whole] if listed and can_be_open(variable) else [label]
    return {"anyOf": [*alone, {"type": "array", "items": label, "minItems": 1}, weights]}
