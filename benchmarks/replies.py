"""Recorded replies of a made job: writing them, and an engine that uses every one of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

REPLIES = "replies.jsonl"


def write_replies(rounds: Sequence[Sequence[dict[str, Any]]], folder: Path) -> None:
    """Write lists of proposals, each as one reply."""
    lines = [
        {
            "purpose": "plan",
            "sequence": sequence,
            "reply": {"text": json.dumps({"proposals": proposals}), "model": "recorded"},
        }
        for sequence, proposals in enumerate(rounds)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / REPLIES).write_text(text, encoding="utf-8")


def one_reply_an_iteration(replies: int) -> dict[str, int]:
    """Return the engine's settings with which each reply is an iteration, and none is left out."""
    iterations = max(replies, 1)
    return {"iterations": iterations, "calls_per_iteration": 1, "patience": iterations}
