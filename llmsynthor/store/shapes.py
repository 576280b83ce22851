"""What stands in a run's JSON files: keys, and the kind of value at each; anything else is damage.

Readers may so take what they read for what the run wrote. Keys that are not listed here are not
looked at; those of later versions are so no damage.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

Shape = str | dict[str, Any]
"""A kind; or key -> shape. A kind may end in `?` (or null); a key may (may be absent)."""

_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "truth": ("true or false", (bool,)),
    "whole": ("a whole number", (int,)),
    "number": ("a number", (int, float)),
    "text": ("a text", (str,)),
    "list": ("a list", (list,)),
    "map": ("an object", (dict,)),
}
_LONGEST = 40
_ATTEMPT: Shape = {
    "start": "text",
    "end": "text?",
    "reason?": "text?",
    "exit_code?": "whole?",
    "seconds?": "number?",
    "seconds_before?": "number?",
    "host?": "text?",
    "pid?": "whole?",
    "slurm?": "map",
    "versions?": "map",
    "git?": "map?",
}
_MANIFEST: Shape = {
    "name": "text",
    "status": "text",
    "stop_reason": "text?",
    "exit_code": "whole?",
    "job_fingerprint": "text",
    "fingerprint_version?": "whole",
    "inputs": "map",
    "templates": "map",
    "model": "text",
    "model_found?": "text?",
    "structured?": "text?",
    "api_base?": "text?",
    "seed": "whole",
    "attempts": "list",
    "replies_before?": "whole?",
    "asking_ended?": "text?",
}
_REPORT: Shape = {
    "pass": "truth",
    "status": "text",
    "stop_reason": "text?",
    "records": {"asked": "whole", "made": "whole"},
    "tables": "list",
    "rules": "list",
    "summary": "map",
    "llm": "map",
    "seconds": "map",
}
_PLAN: Shape = {
    "chunks": "list",
    "stop_reason": "text",
    "groups": "list",
    "notes": "list",
    "coarse": "map?",
}
_CHUNK: Shape = {
    "number": "whole",
    "records": "whole",
    "first_file": "whole",
    "files": "whole",
    "zones": "whole",
    "named": "text",
    "first_record?": "whole",
}
_ROUND: Shape = {
    "iteration": "whole",
    "calls": "whole",
    "failed_calls": "whole",
    "prompt_tokens": "whole",
    "completion_tokens": "whole",
    "cost_usd": "number?",
    "proposals_accepted": "whole",
    "proposals_rejected": "whole",
    "prior_tvd": "number?",
    "data_tvd": "number?",
    "records": "whole",
    "library?": "whole",
    "repairs?": "whole",
    "mended?": "whole",
    "unread_replies?": "whole",
    "kl?": "number?",
    "effective_share?": "number?",
    "background_share?": "number?",
    "seconds": "number",
    "seconds_asking": "number",
    "seconds_used?": "number",
    "so_far": {"calls": "whole", "tokens": "whole", "cost_usd": "number?"},
    "worst_table?": "map?",
}
_BULK: Shape = {
    "iteration": "whole",
    "background_prior?": "number?",
    "candidates?": "whole",
    "converged?": "truth",
    "effective_sample_size?": "number?",
    "error?": "number?",
    "groups?": "list",
    "kl?": "number?",
    "max_copies?": "whole?",
    "mutants?": "whole?",
    "notes?": "list",
    "seconds_drawing?": "number",
    "seconds_calibrating?": "number",
    "seconds_integerizing?": "number",
    "seconds_writing?": "number",
    "stop_reason?": "text?",
    "chunks?": "map?",
    "coarse?": "map?",
}
_ACCEPTED: Shape = {
    "id": "whole",
    "iteration": "whole",
    "accepted": "truth",
    "reason": "text",
    "count": "number",
    "values": "map",
    "members?": "list",
    "records": "whole",
    "request?": "text?",
    "problem?": "text?",
}
_REFUSED: Shape = {
    "id": "whole",
    "iteration": "whole",
    "accepted": "truth",
    "reason": "text",
    "problem": "text?",
    "records": "whole",
    "request?": "text?",
}
_REPLY: Shape = {
    "key": "text",
    "purpose": "text",
    "sequence": "whole",
    "reply": {
        "text": "text",
        "model": "text",
        "prompt_tokens?": "whole",
        "completion_tokens?": "whole",
        "cost_usd?": "number?",
        "truncated?": "truth",
        "structured?": "text?",
    },
}
_GIVEN_UP: Shape = {"key": "text", "purpose": "text", "sequence": "whole", "given_up": "text"}
_PROMPT: Shape = {"key": "text", "purpose?": "text?", "system?": "text?", "prompt?": "text?"}


def wrong_line(name: str, content: object) -> str | None:
    """Return in words what is wrong with a line of a run's JSON-lines file, or None.

    Args:
        name: The file's name in the run directory.
        content: The line's content.
    """
    return _wrong(content, _shape_of(name, content))


def wrong_manifest(content: object) -> str | None:
    """Return in words what is wrong with the content of `manifest.json`, or None."""
    return _wrong(content, _MANIFEST) or _wrong_inside(content, "attempts", _ATTEMPT)


def wrong_plan(content: object) -> str | None:
    """Return in words what is wrong with the content of `chunks/plan.json`, or None."""
    return _wrong(content, _PLAN) or _wrong_inside(content, "chunks", _CHUNK)


def wrong_reconciled(content: object) -> str | None:
    """Return in words what is wrong with the content of `tables_used/reconciled.json`, or None."""
    return _wrong(content, {"notes?": "list", "tables?": "map", "filled?": "map"})


def wrong_outcome(content: object) -> str | None:
    """Return in words what is wrong with what a chunk's file says came of it, or None."""
    return _wrong(content, {"files": "whole", "members": "truth"})


def wrong_report(content: object) -> str | None:
    """Return in words what is wrong with the content of `report.json`, or None."""
    return _wrong(content, _REPORT)


def _shape_of(name: str, content: object) -> Shape:
    """Return the shape of a line, by what it says it is."""
    said: Mapping[str, Any] = content if isinstance(content, dict) else {}
    if name == "iterations.jsonl":
        return _BULK if said.get("iteration") == 0 else _ROUND
    if name == "proposals.jsonl":
        return _ACCEPTED if said.get("accepted") is True else _REFUSED
    if name == "replies.jsonl":
        return _GIVEN_UP if "given_up" in said else _REPLY
    return _PROMPT if name == "prompts.jsonl" else "map"


def _wrong_inside(content: object, key: str, shape: Shape) -> str | None:
    """Return what is wrong with an element of a list of a mapping of the right shape, or None."""
    elements = content[key] if isinstance(content, dict) else []
    found = (_wrong(element, shape, f"{key}.{number}") for number, element in enumerate(elements))
    return next((wrong for wrong in found if wrong is not None), None)


def _wrong(content: object, shape: Shape, at: str = "") -> str | None:
    kind = shape if isinstance(shape, str) else "map"
    if content is None and kind.endswith("?"):
        return None
    words, types = _KINDS[kind.removesuffix("?")]
    is_truth = isinstance(content, bool)
    if not isinstance(content, types) or (is_truth and bool not in types):
        given = clean(json.dumps(content, ensure_ascii=False), _LONGEST)
        return f"{f'`{at}` ' if at else ''}must be {words}, and is {given}"
    if isinstance(shape, str) or not isinstance(content, dict):
        return None
    for key, inner in shape.items():
        name = key.removesuffix("?")
        path = f"{at}.{name}" if at else name
        if name not in content:
            if name == key:
                return f"`{path}` is missing"
            continue
        wrong = _wrong(content[name], inner, path)
        if wrong is not None:
            return wrong
    return None
