"""A grammar (GBNF, as llama.cpp reads it) from a JSON Schema, with no free whitespace.

llama.cpp's own conversion allows blanks between all parts. A small model spends half of its tokens
on them, and may write nothing else until its longest reply is reached.
"""

from __future__ import annotations

import json
from typing import Any

LONGEST_TEXT = 160
"""Characters of a text whose schema sets no `maxLength`: a small model may not stop by itself."""
_MOST_ITEMS = 12
_DIGITS = 9
_SHARED = {
    "char": r'[^"\\\x00-\x1f\x7f]',
    "whole": f'("0" | [1-9] [0-9]{{0,{_DIGITS - 1}}})',
    "fraction": '("." [0-9]{1,4})?',
}


def gbnf(schema: dict[str, Any]) -> str:
    r"""Return the grammar of the JSON texts that `schema` allows, written without whitespace.

    Knows what the program's own schemas use: objects whose keys are all required (in their order),
    objects of weights, arrays, enums, texts, numbers and `anyOf`. A number's limits are not in the
    grammar but for its sign; the reader of the reply checks them.

    Raises:
        ValueError: The schema has a part that is not known here.

    Example:
        >>> print(gbnf({"enum": ["a", "b"]}))
        root ::= "\"a\"" | "\"b\""
    """
    maker = _Maker()
    root = maker.rule_of(schema)
    lines = [f"root ::= {root}", *(f"{name} ::= {body}" for name, body in maker.rules.items())]
    return "\n".join(lines)


def literal(text: str) -> str:
    r"""Return `text` as a GBNF literal.

    Example:
        >>> print(literal('say "a"'))
        "say \"a\""
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else _coded(c) for c in escaped) + '"'


def _coded(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def _json(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return literal(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


class _Maker:
    """Gathers the named rules; equal parts share one, so that an enum is written once."""

    def __init__(self) -> None:
        self.rules: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def rule_of(self, schema: dict[str, Any]) -> str:
        """Return the body of a rule for `schema`."""
        if "enum" in schema:
            return " | ".join(_json(value) for value in schema["enum"])
        if "anyOf" in schema:
            return " | ".join(self._part(part) for part in schema["anyOf"])
        kinds = {
            "object": self._object,
            "array": self._array,
            "string": self._text,
            "number": self._number,
            "integer": self._number,
        }
        kind = schema.get("type")
        if not isinstance(kind, str) or kind not in kinds:
            raise ValueError(f"no grammar is known for this schema: {json.dumps(schema)[:200]}")
        return kinds[kind](schema)

    def _part(self, schema: dict[str, Any]) -> str:
        """Return the name of the rule for `schema`."""
        body = self.rule_of(schema)
        if body not in self._names:
            self._names[body] = f"part-{len(self._names)}"
            self.rules[self._names[body]] = body
        return self._names[body]

    def _shared(self, name: str) -> str:
        self.rules.setdefault(name, _SHARED[name])
        return name

    def _object(self, schema: dict[str, Any]) -> str:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not required and not properties and schema.get("additionalProperties") is False:
            return '"{}"'
        if not required:
            return self._weights(schema)
        pairs = [
            f"{literal(('{' if first else ',') + json.dumps(name, ensure_ascii=False) + ':')} "
            f"{self._part(properties[name])}"
            for first, name in ((number == 0, name) for number, name in enumerate(required))
        ]
        return " ".join([*pairs, '"}"'])

    def _weights(self, schema: dict[str, Any]) -> str:
        """Return an object with some of its keys; one that comes twice counts once to a reader."""
        properties, other = schema.get("properties"), schema.get("additionalProperties")
        if properties:
            key = self._part({"enum": list(properties)})
            value = self._part(next(iter(properties.values())))
            most = min(len(properties), _MOST_ITEMS)
        elif isinstance(other, dict):
            key, value, most = self._part({"type": "string"}), self._part(other), _MOST_ITEMS
        else:
            raise ValueError("no grammar is known for an object without keys")
        return f'"{{" {key} ":" {value} ("," {key} ":" {value}){{0,{most - 1}}} "}}"'

    def _array(self, schema: dict[str, Any]) -> str:
        item, least = self._part(schema["items"]), int(schema.get("minItems", 1))
        most = int(schema.get("maxItems", max(_MOST_ITEMS, least)))
        more = f'{item} ("," {item}){{{max(least - 1, 0)},{most - 1}}}'
        return f'"[" {more} "]"' if least else f'"[" ({more})? "]"'

    def _text(self, schema: dict[str, Any]) -> str:
        longest = min(int(schema.get("maxLength", LONGEST_TEXT)), LONGEST_TEXT)
        return rf'"\"" {self._shared("char")}{{1,{longest}}} "\""'

    def _number(self, schema: dict[str, Any]) -> str:
        sign = "" if schema.get("minimum", -1) >= 0 else '"-"? '
        whole = sign + self._shared("whole")
        return whole if schema["type"] == "integer" else f"{whole} {self._shared('fraction')}"
