"""What is wrong with a job, in plain words, from what pydantic found."""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any

from llmsynthor.job.schema_walk import (
    Spot,
    choices_of,
    example_of,
    find_spot,
    keys_of,
    kind_of,
    required_of,
    takes_text,
    types_of,
    unknown_key,
    written,
)
from llmsynthor.text import clean, did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.errors import Problem
    from llmsynthor.job.yaml_nodes import Nodes

_PATTERNS = {
    "name": "must begin with a letter or digit and hold only letters, digits, `_`, `.` and `-`",
    "api_key_env": (
        "must be the NAME of an environment variable, such as `OPENAI_API_KEY`; never put the key "
        "itself into a job"
    ),
    "api_base": "must begin with http:// or https://",
}
_SECRET = {"api_key_env", "api_base"}
"""Keys whose wrong value may be a secret, and is not shown."""
_LONGEST = 60
_GROUPED = re.compile(r"\d{1,3}([,._ '\u00a0\u202f])\d{3}(?:\1\d{3})*")


def describe_all(nodes: Nodes, errors: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Return one problem for each place that pydantic complains of; not for those of the whole job."""
    found = [
        (find_spot(error["loc"], unknown=error["type"] == "extra_forbidden"), error)
        for error in errors
        if error["loc"]
    ]
    found = [(spot, error) for spot, error in found if not _is_other_kind(spot, found)]
    unknown = {
        spot.steps: unknown_key(spot.steps[-1], spot.parent, _siblings(nodes, spot))
        for spot, error in found
        if error["type"] == "extra_forbidden"
    }
    meant = {(*steps, near) for steps, _, near in meant_keys(nodes, errors)}
    problems: dict[tuple[tuple[str, ...], bool], Problem] = {}
    for spot, error in found:
        if error["type"] == "missing" and spot.steps in meant:
            continue  # the misspelt key is named
        told = unknown.get(spot.steps, (None, None))[0]
        problems.setdefault((spot.steps, spot.is_key), _describe(nodes, spot, error, told))
    return list(problems.values())


def meant_keys(
    nodes: Nodes, errors: Sequence[Mapping[str, Any]]
) -> list[tuple[tuple[str, ...], Any, str]]:
    """Return each key in place of which another seems to be meant.

    Returns:
        The steps to the mapping that it stands in, the key as YAML reads it, the key that is meant.
    """
    found = []
    for error in errors:
        if error["type"] not in {"extra_forbidden", "invalid_key"} or not error["loc"]:
            continue
        spot, key = find_spot(error["loc"], unknown=True), error["loc"][-1]
        node = nodes.key_node(spot.steps[:-1], key) if error["type"] == "invalid_key" else None
        if node is None and error["type"] == "invalid_key":
            continue
        name = spot.steps[-1] if node is None else str(node.value)
        near = unknown_key(name, spot.parent, _siblings(nodes, spot))[1]
        if near is not None:
            found.append((spot.steps[:-1], key, near))
    return found


def _siblings(nodes: Nodes, spot: Spot) -> list[str]:
    node = nodes.walk(spot.steps[:-1])
    pairs = node.value if node is not None and isinstance(node.value, list) else []
    return [str(pair[0].value) for pair in pairs if isinstance(pair, tuple)]


def _is_other_kind(spot: Spot, found: Sequence[tuple[Spot, Any]]) -> bool:
    """Return whether an error is of an alternative that the user did not choose."""
    if spot.union < 0 or len(spot.steps) > spot.union:
        return False
    return any(
        other.union == spot.union
        and len(other.steps) > spot.union
        and other.steps[: spot.union] == spot.steps
        for other, _ in found
    )


def _describe(nodes: Nodes, spot: Spot, error: Mapping[str, Any], told: str | None) -> Problem:
    kind, steps = error["type"], spot.steps
    if spot.is_key:
        return bad_key(nodes, steps[:-1], error["input"])
    if kind == "invalid_key":
        return bad_key(nodes, steps[:-1], error["loc"][-1], spot.parent)
    if told is not None:
        place, message = nodes.key_place(steps), told
    elif kind == "missing":
        example = example_of(steps[-1], spot.schema)
        place = nodes.place(steps)
        message = "this key is needed" + (f"; add for example `{example}`" if example else "")
    elif kind == "union_tag_not_found":
        place, steps = nodes.place(steps), (*steps, "type")
        message = "this key is needed: `category`, `integer` or `number`"
    elif kind == "union_tag_invalid":
        steps, given = (*steps, "type"), str(error["ctx"]["tag"])
        place = nodes.place(steps)
        message = f"must be `category`, `integer` or `number`, got `{clean(given, _LONGEST)}`"
        message += did_you_mean(given, ("category", "integer", "number"))
    elif kind == "value_error":
        place, message = nodes.place(steps), str(error["msg"]).removeprefix("Value error, ")
    elif kind == "recursion_loop":
        place, message = nodes.place(steps), "this refers to itself"
    else:
        place, message = nodes.place(steps), _bad_value(nodes, spot, error)
    where = clean(".".join(steps))
    return place.problem(f"{where}: {message}")


def bad_key(
    nodes: Nodes, parent: tuple[str, ...], key: object, schema: dict[str, Any] | None = None
) -> Problem:
    """Return what is wrong with a key that is no text, in the mapping at `parent`.

    Args:
        nodes: Where the file's values stand.
        parent: The steps to the mapping.
        key: The key as YAML reads it.
        schema: The mapping's, where only some keys are legal.
    """
    node = nodes.key_node(parent, key)
    text = clean(str(node.value if node is not None else key))
    if isinstance(key, int) and text.isalpha():
        key = bool(key)  # pydantic has 0 for false
    reading = _reading(key, text if node is not None else None)
    where = f"{clean('.'.join(parent))}: " if parent else ""
    reading += "," if reading.startswith(",") else ""
    message = f'{where}the key `{text}`{reading} must be a text; put it in quotes: "{text}"'
    if text.isdigit() and len(text) == 3 and nodes.value_is_empty(node):
        message = (
            f"{where}the key `{text}` has no value; if it ends a number with thousands "
            "separators, write that number without them"
        )
    near = nearest(text, keys_of(schema)) if schema is not None else None
    if near is not None:
        message = f"{where}unknown key `{text}`{reading.rstrip(',')}; did you mean `{near}`?"
    return (nodes.place(parent) if node is None else nodes.at(node)).problem(message)


def _bad_value(nodes: Nodes, spot: Spot, error: Mapping[str, Any]) -> str:
    kind, given = error["type"], error.get("input")
    name = spot.steps[-1]
    if kind in {"too_short", "string_too_short"}:
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        told = _PATTERNS.get(name, f"must be {kind_of(spot.schema)}")
        if name in _SECRET:
            return told
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(given)).strip("-_.")
        advice = f"; write for example `{plain[:_LONGEST]}`" if plain else ""
        return f"{told}, got `{clean(str(given), _LONGEST)}`{advice}"
    wanted = f"must be {kind_of(spot.schema)}"
    if kind == "finite_number":
        wanted = "must be a finite number"
    if name in _SECRET:
        return f"{wanted}; put it in quotes" if given is not None else f"{wanted}, got nothing"
    got, advice = _given(given, nodes.written(spot.steps), spot)
    return f"{wanted}, got {got}{advice}"


def _given(given: Any, raw: str | None, spot: Spot) -> tuple[str, str]:  # noqa: ANN401
    """Return what was given, in words, and what to do about it."""
    types = types_of(spot.schema)
    if given is None:
        return "nothing", _example(spot)
    if isinstance(given, str):
        return _given_text(given, raw, spot, types)
    if isinstance(given, (list, dict)):
        return ("a list" if isinstance(given, list) else "a mapping"), _example(spot)
    text = clean(raw if raw is not None else str(given).lower(), _LONGEST)
    if takes_text(spot.schema) or text in map(str, choices_of(spot.schema)):
        return f"`{text}`", f'{_reading(given, raw)}; put it in quotes: "{text}"'
    if isinstance(given, float) and given.is_integer() and types == {"integer"}:
        return f"`{text}`", f"; write {int(given)}"
    return f"`{text}`", ""


def _reading(given: object, raw: str | None) -> str:
    """Return what YAML makes of a value that was meant as a text."""
    if raw is None:
        return " (YAML reads a bare yes, no, on or off so)" if isinstance(given, bool) else ""
    if isinstance(given, bool):
        return f", which YAML reads as {str(given).lower()}"
    if isinstance(given, (int, float)):
        same = raw == str(given)
        return ", a number" if same else f", which YAML reads as the number {given}"
    if isinstance(given, datetime.date):
        return ", which YAML reads as a date"
    return ""


def _given_text(given: str, raw: str | None, spot: Spot, types: set[str]) -> tuple[str, str]:
    shown = f"`{clean(given, _LONGEST)}`"
    meant = did_you_mean(given, choices_of(spot.schema))
    if meant:
        return shown, meant
    if types & {"integer", "number"}:
        number = _number(given)
        if number is not None and raw is None and number == given.strip():
            return f"the text {shown}", "; take the quotes away"
        return shown, f"; write {number}" if number is not None else _example(spot)
    if types == {"array"}:
        return shown, f"; write [{clean(given, _LONGEST)}]"
    required = required_of(spot.schema)
    if len(required) == 1:
        return shown, f"; write `{written({required[0]: clean(given, _LONGEST)})}`"
    return shown, _example(spot)


def _number(text: str) -> str | None:
    """Return the number that a text stands for, as YAML reads it, or None."""
    text = text.strip()
    if _GROUPED.fullmatch(text):
        return re.sub(r"\D", "", text)
    try:
        value = float(text.replace("_", "?"))
    except ValueError:
        return None
    if not abs(value) < 1e15:
        return None
    return text if text.lstrip("+-").replace(".", "", 1).isdigit() else f"{value:.15g}"


def _example(spot: Spot) -> str:
    example = example_of(spot.steps[-1], spot.schema)
    return f"; write for example `{example}`" if example else ""
