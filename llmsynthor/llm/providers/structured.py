"""How the form of a reply is asked for, and what comes next where a server refuses that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmsynthor.llm.providers.base import Request

Structured = Literal["schema", "json", "text"]

STEP_DOWN: dict[Structured, Structured] = {"schema": "json", "json": "text"}
FORM_COMPLAINT = re.compile(
    r"response[_ ]?(format|schema)|json[_ ](schema|object|mode)|structured|schema|grammar|guided",
    re.I,
)
FORM_CRASH = re.compile(r"grammar|guided|(json|response)[_ ]schema", re.I)
"""vLLM and llama-server answer 500 where they cannot make a grammar of a schema: so they would again."""


def response_format(request: Request, form: Structured) -> dict[str, Any] | None:
    """Return the form to ask for; a request without a schema is not known to want JSON."""
    if request.schema is None or form == "text":
        return None
    if form == "json":
        return {"type": "json_object"}
    strict = _is_strict(request.schema)
    described = {"name": request.purpose, "schema": request.schema, "strict": strict}
    return {"type": "json_schema", "json_schema": described}


def simplest(forms: Iterable[str | None]) -> Structured | None:
    """Return the form that a run came down to, given those of its replies; None where none is known."""
    known = set(forms)
    order: tuple[Structured, ...] = ("text", "json", "schema")
    return next((form for form in order if form in known), None)


def _is_strict(schema: Any) -> bool:  # noqa: ANN401 - any part of a JSON Schema
    """Return whether OpenAI takes `schema` as strict: every object closed, every key required."""
    if isinstance(schema, list):
        return all(_is_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        keys = set(schema.get("properties", {}))
        if (
            schema.get("additionalProperties") is not False
            or set(schema.get("required", ())) != keys
        ):
            return False
    return all(_is_strict(part) for part in schema.values())
