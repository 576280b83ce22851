"""What may stand at a place of a job: found in the JSON Schema of the model, and put into words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml

from llmsynthor.job.model import job_schema
from llmsynthor.text import first_of, listed, nearest, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SECTIONS = ("provider", "budget", "engine", "output")
_PLURAL = {"string": "texts", "integer": "whole numbers", "number": "numbers", "array": "lists"}
_MOST_KEYS = 14


@dataclass(frozen=True)
class Spot:
    """A place of the job as the model knows it.

    Attributes:
        steps: Keys and positions that lead there, without the names of alternatives.
        schema: Its JSON Schema, {} where the model has no such key.
        parent: The JSON Schema of what it stands in.
        union: How many steps lead to the innermost value that may be one of several kinds, or -1.
        is_key: Whether a key is meant, not its value.
    """

    steps: tuple[str, ...]
    schema: dict[str, Any]
    parent: dict[str, Any]
    union: int = -1
    is_key: bool = False


@lru_cache(maxsize=1)
def _schema() -> dict[str, Any]:
    return job_schema()


def find_spot(loc: Sequence[int | str], *, unknown: bool = False) -> Spot:
    """Return the place of a pydantic error; its `loc` also has the names of alternatives.

    Args:
        loc: As pydantic gives it.
        unknown: Whether its last step is a key that the model does not have.
    """
    node: dict[str, Any] = _schema()
    parent: dict[str, Any] = node
    steps: list[str] = []
    union, is_key = -1, False
    for position, step in enumerate(loc):
        if step == "[key]":
            is_key = True
            continue
        tagged = _resolved(node).get("discriminator", {}).get("mapping", {})
        if step in tagged:
            node = _resolved({"$ref": tagged[step]})
            continue
        inner = _inside(node, step)
        last = position == len(loc) - 1
        if inner is None and not (last and (unknown or len(_options(node)) == 1)):
            union = len(steps)
            continue
        steps.append(str(step))
        parent, node = node, inner or {}
    return Spot(tuple(steps), node, parent, union, is_key)


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    found: dict[str, Any] = _schema()["$defs"][str(reference).rpartition("/")[2]]
    return found


def _options(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the alternatives that are not null, resolved."""
    schema = _resolved(schema)
    inner = schema.get("anyOf") or schema.get("oneOf") or [schema]
    found = [_resolved(option) for option in inner]
    return [option for option in found if option.get("type") != "null"]


def _inside(schema: dict[str, Any], step: int | str) -> dict[str, Any] | None:
    for option in _options(schema):
        if step in option.get("properties", {}):
            return dict(option["properties"][step])
        if isinstance(step, int) and "items" in option:
            return dict(option["items"])
        if isinstance(option.get("additionalProperties"), dict):
            return dict(option["additionalProperties"])
    return None


def keys_of(schema: dict[str, Any]) -> list[str]:
    """Return the keys that a mapping may have."""
    return [key for option in _options(schema) for key in option.get("properties", {})]


def required_of(schema: dict[str, Any]) -> list[str]:
    """Return the keys that a mapping must have."""
    return [key for option in _options(schema) for key in option.get("required", [])]


def types_of(schema: dict[str, Any]) -> set[str]:
    """Return the JSON types that are allowed."""
    return {str(option.get("type", "string")) for option in _options(schema)}


def choices_of(schema: dict[str, Any]) -> list[Any]:
    """Return the values that are allowed by name."""
    found: list[Any] = []
    for option in _options(schema):
        found += option.get("enum", [option["const"]] if "const" in option else [])
    return found


def takes_text(schema: dict[str, Any]) -> bool:
    """Return whether any text may stand here."""
    return any(
        option.get("type") == "string" and "enum" not in option and "const" not in option
        for option in _options(schema)
    )


def kind_of(schema: dict[str, Any]) -> str:
    """Return in words what may stand here, for example `a whole number of 1 or more`."""
    return listed(list(dict.fromkeys(map(_kind, _options(schema)))), "or")


def _kind(option: dict[str, Any]) -> str:
    if "enum" in option or "const" in option:
        choices = option.get("enum", [option.get("const")])
        return listed(['`"\\t"`' if c == "\t" else f"`{c}`" for c in choices], "or")
    kind = option.get("type")
    if kind == "integer":
        return f"a whole number{_bounds(option)}"
    if kind == "number":
        return f"a number{_bounds(option)}"
    if kind == "boolean":
        return "`true` or `false`"
    if kind == "array":
        inner = option["items"]
        plural = _PLURAL.get(str(inner.get("type")), "mappings")
        return f"a list of {plural}" + (" of texts" if plural == "lists" else "")
    if "properties" in option:
        return f"a mapping with {listed(quoted(list(option['properties'])[:4]))}"
    return "a mapping" if kind == "object" or "discriminator" in option else "a text"


def _bounds(option: dict[str, Any]) -> str:
    low, high, above = (option.get(k) for k in ("minimum", "maximum", "exclusiveMinimum"))
    if low is not None and high is not None:
        return f" from {low:g} to {high:.15g}"
    if low is not None:
        return f" of {low:g} or more"
    return "" if above is None else f" above {above:g}"


def example_of(key: str, schema: dict[str, Any]) -> str | None:
    """Return a line with the key, as one could write it, or None."""
    examples = schema.get("examples") or [c for c in choices_of(schema) if c is not None]
    return written({key: examples[0]})[1:-1] if examples else None


def written(content: object) -> str:
    """Return content as YAML on one line."""
    text = yaml.safe_dump(content, default_flow_style=True, sort_keys=False, width=10_000)
    return text.removesuffix("\n").removesuffix("\n...")


def unknown_key(
    name: str, parent: dict[str, Any], present: Iterable[str]
) -> tuple[str, str | None]:
    """Return what to say of a key that is not known, and the key that seems to be meant."""
    keys = keys_of(parent)
    near = nearest(name, keys)
    if near in set(present):
        return f"unknown key; did you mean `{near}`, which is given too?", None
    if near is not None:
        return f"unknown key; did you mean `{near}`?", near
    for section in _SECTIONS:
        if name in keys_of(_schema()["properties"][section]):
            return f"unknown key here; did you mean `{section}.{name}`?", None
    return f"unknown key (keys here: {first_of(keys, _MOST_KEYS)})", None
