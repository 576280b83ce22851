"""The reference of a job's keys, as Markdown made from the job's JSON Schema."""

from __future__ import annotations

import json
from typing import Any

Schema = dict[str, Any]

_HEAD = """# Job reference

Every key of a job file. This page is made from the program's own model of a job
(`llmsynthor schema --markdown`), so it is never behind it. A key without a default is needed.
Paths are relative to the job file. `--set key.inner=value` changes a key for one run."""


def job_reference(schema: Schema) -> str:
    """Return the reference of all keys, one section for each block of a job."""
    definitions = schema["$defs"]
    parts = [_HEAD, _section("The job", schema, definitions)]
    seen: list[str] = []
    _walk(schema, definitions, seen)
    parts += [_section(title, definitions[title], definitions) for title in seen]
    return "\n\n".join(parts)


def _walk(part: Schema, definitions: dict[str, Schema], seen: list[str]) -> None:
    """Note the blocks in the order in which the keys lead to them."""
    for name in _references(part.get("properties", {})):
        if name not in seen:
            seen.append(name)
            _walk(definitions[name], definitions, seen)


def _references(part: object) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"].rpartition("/")[2]] if isinstance(part.get("$ref"), str) else []
        inner = (value for key, value in part.items() if key != "discriminator")
        return [*own, *(name for value in inner for name in _references(value))]
    if isinstance(part, list):
        return [name for value in part for name in _references(value)]
    return []


def _section(title: str, part: Schema, definitions: dict[str, Schema]) -> str:
    needed = set(part.get("required", []))
    rows = [
        f"| `{name}` | {_cell(_kind(key))} | {_default(name, key, needed)} | "
        f"{_cell(_meaning(key, definitions))} |"
        for name, key in part["properties"].items()
    ]
    about = " ".join(str(part.get("description", "")).split())
    table = ["| key | value | default | meaning |", "|---|---|---|---|", *rows]
    return "\n".join([f"## {title}", "", about, "", *table])


def _meaning(key: Schema, definitions: dict[str, Schema]) -> str:
    """Return a key's own description, or that of the block that it holds."""
    own = key.get("description") or definitions.get(key.get("$ref", "").rpartition("/")[2], {}).get(
        "description", ""
    )
    return str(own)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _default(name: str, key: Schema, needed: set[str]) -> str:
    if name in needed:
        return "needed"
    if "default" not in key:
        return "empty" if key.get("type") in {"array", "object"} else "see there"
    value = key["default"]
    return "none" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _kind(key: Schema) -> str:
    """Return what a value may be, in words."""
    for word in ("anyOf", "oneOf"):
        if word in key:
            kinds = [_kind(choice) for choice in key[word] if choice.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "$ref" in key:
        name = key["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in key:
        return f"`{json.dumps(key['const'])}`"
    if "enum" in key:
        return ", ".join(f"`{value}`" for value in key["enum"])
    kind = key.get("type")
    if kind == "array":
        return f"list of {_kind(key['items'])}"
    if kind == "object":
        return f"mapping of names to {_kind(key['additionalProperties'])}"
    plain = {"string": "text", "boolean": "true or false", "integer": "whole number"}
    return plain.get(str(kind), str(kind)) + _limits(key)


def _limits(key: Schema) -> str:
    words = {
        "minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "up to {}",
        "minLength": "not empty", "pattern": "like `{}`",
    }  # fmt: skip
    found = [text.format(key[name]) for name, text in words.items() if name in key]
    return f" ({', '.join(found)})" if found else ""
