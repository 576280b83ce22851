"""What a run used and what that brought: calls, cost, time, calibration, convergence."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from llmsynthor.engine.stopping import Effort
from llmsynthor.llm.budget import total_usage
from llmsynthor.llm.prompts.groups import holds_groups
from llmsynthor.llm.providers.base import simplest
from llmsynthor.llm.providers.replay import REPLY_LOG, replies_in, reply_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.job.model import Job
    from llmsynthor.results.report.counting import Counted
    from llmsynthor.store.directory import RunDirectory

_STAGES = ("drawing", "calibrating", "integerizing", "writing")
_OF_AN_ATTEMPT = ("start", "end", "reason", "versions", "git")
"""What the report tells of an attempt: no host, no process, since reports are passed on."""


def model_part(
    run: RunDirectory,
    job: Job,
    iterations: Sequence[dict[str, Any]],
    proposals: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Return the report's part on the model: calls, tokens, cost, and what became of its replies."""
    log = run.lines(REPLY_LOG)
    replies = replies_in(log)
    usage = total_usage(replies)
    accepted = sum(bool(line["accepted"]) for line in proposals)
    repairs, mended = (
        sum(line.get(name, 0) for line in iterations) for name in ("repairs", "mended")
    )
    to_read, unread = _read(log, iterations)
    return {
        "model": job.provider.model,
        "models_answered": sorted({reply.model for reply in replies}),
        "calls": usage.calls,
        "failed_calls": sum(line["failed_calls"] for line in iterations),
        "repair_calls": repairs,
        "unread_replies": unread,
        "parse_failure_rate": unread / to_read if to_read else None,
        "mended": mended,
        "structured": simplest(reply.structured for reply in replies),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost_usd": usage.known_cost_usd,
        "proposals": {"accepted": accepted, "rejected": len(proposals) - accepted},
        "rejection_rate": 1 - accepted / len(proposals) if proposals else None,
    }


def _read(log: Sequence[dict[str, Any]], iterations: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Return how many replies were to be read, and how many of them held nothing readable.

    To be read are plans, repairs and the groups of dependent variables. Nothing readable is a reply
    without a list of proposals, or of groups; one whose proposals are all refused was read.
    """
    groups = [reply_of(r).text for r in log if r["purpose"] == "dependencies" and "reply" in r]
    to_read = len(groups) + sum(line["calls"] for line in iterations)
    unread = sum(line.get("unread_replies", 0) for line in iterations)
    return to_read, unread + sum(not holds_groups(text) for text in groups)


def calibration_part(last: Mapping[str, Any], counted: Counted) -> dict[str, Any] | None:
    """Return the report's part on calibration, or None where nothing was calibrated."""
    if "kl" not in last:
        return None
    return {
        "kl": last["kl"],
        "effective_sample_size": last["effective_sample_size"],
        "max_copies": last["max_copies"],
        "background_share": counted.background / max(counted.records, 1),
        "candidates": last["candidates"],
        "mutants": last["mutants"],
        "converged": last["converged"],
    }


def convergence(iterations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what asking came to after each iteration: what it had used, and what that was worth."""
    keys = ("iteration", "prior_tvd", "data_tvd", *(f.name for f in fields(Effort)))
    return [{**{key: line.get(key) for key in keys}, **line["so_far"]} for line in iterations]


def seconds_part(iterations: Sequence[dict[str, Any]], last: Mapping[str, Any]) -> dict[str, float]:
    """Return the seconds of each stage and their sum."""
    asking = sum(line["seconds_asking"] for line in iterations)
    parts = {
        "asking": asking,
        "pilots": sum(line["seconds"] for line in iterations) - asking,
        **{name: last.get(f"seconds_{name}", 0.0) for name in _STAGES},
    }
    return {name: round(x, 3) for name, x in {**parts, "total": sum(parts.values())}.items()}


def attempts_part(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the attempts that made the run, first to last, with the versions each ran with."""
    return [{key: attempt.get(key) for key in _OF_AN_ATTEMPT} for attempt in manifest["attempts"]]
