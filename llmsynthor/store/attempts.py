"""How long the attempts of a run took, by its manifest and its iterations."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def seconds_used(
    attempts: Sequence[Mapping[str, Any]], lines: Sequence[Mapping[str, Any]]
) -> float:
    """Return the seconds of wall time that a run's attempts took, the time between them left out.

    An attempt that was killed wrote no end: it counts up to its last line of `iterations.jsonl`.

    Args:
        attempts: Of the manifest, in order.
        lines: Of `iterations.jsonl`.

    Example:
        >>> seconds_used([{"seconds": 60.0, "end": "..."}, {"seconds_before": 60.0, "end": None}],
        ...              [{"seconds_used": 75.5}])
        75.5
    """
    total = 0.0
    for attempt in attempts:
        total = max(total, attempt.get("seconds_before") or 0.0)
        if attempt.get("end") is not None:
            total += _seconds(attempt)
    if attempts and attempts[-1].get("end") is None:
        logged = (float(line.get("seconds_used", 0.0)) for line in lines)
        total = max(total, max(logged, default=0.0))
    return total


def _seconds(attempt: Mapping[str, Any]) -> float:
    if attempt.get("seconds") is not None:
        return float(attempt["seconds"])
    begun, ended = (datetime.fromisoformat(str(attempt[key])) for key in ("start", "end"))
    return (ended - begun).total_seconds()
