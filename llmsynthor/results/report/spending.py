"""What a run used and what that brought: calls, cost, time, calibration, convergence."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from llmsynthor.engine.stopping import Effort
from llmsynthor.llm.budget import total_usage
from llmsynthor.llm.prompts.groups import holds_groups
from llmsynthor.llm.providers.base import simplest
from llmsynthor.llm.providers.replay import REPLY_LOG, read_reply_line, replies_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.proposals import ProposalLine
    from llmsynthor.job.model import Job
    from llmsynthor.llm.providers.replay import ReplyLine
    from llmsynthor.results.report.counting import Counted
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.store.lines import Bulk, Iteration

_STAGES = ("drawing", "calibrating", "integerizing", "writing")


def model_part(
    run: RunDirectory,
    job: Job,
    iterations: Sequence[Iteration],
    proposals: Sequence[ProposalLine],
) -> dict[str, Any]:
    """Return the report's part on the model: calls, tokens, cost, and what became of its replies."""
    log = run.lines(REPLY_LOG, read_reply_line)
    replies = replies_in(log)
    usage = total_usage(replies)
    accepted = sum(line.accepted for line in proposals)
    to_read, unread = _read(log, iterations)
    return {
        "model": job.provider.model,
        "models_answered": sorted({reply.model for reply in replies}),
        "calls": usage.calls,
        "failed_calls": sum(line.failed_calls for line in iterations),
        "repair_calls": sum(line.repairs for line in iterations),
        "unread_replies": unread,
        "parse_failure_rate": unread / to_read if to_read else None,
        "mended": sum(line.mended for line in iterations),
        "structured": simplest(reply.structured for reply in replies),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost_usd": usage.known_cost_usd,
        "proposals": {"accepted": accepted, "rejected": len(proposals) - accepted},
        "rejection_rate": 1 - accepted / len(proposals) if proposals else None,
    }


def _read(log: Sequence[ReplyLine], iterations: Sequence[Iteration]) -> tuple[int, int]:
    """Return how many replies were to be read, and how many of them held nothing readable.

    To be read are plans, repairs and the groups of dependent variables. Nothing readable is a reply
    without a list of proposals, or of groups; one whose proposals are all refused was read.
    """
    groups = replies_in(line for line in log if line.purpose == "dependencies")
    to_read = len(groups) + sum(line.calls for line in iterations)
    unread = sum(line.unread_replies for line in iterations)
    return to_read, unread + sum(not holds_groups(reply.text) for reply in groups)


def calibration_part(bulk: Bulk, counted: Counted) -> dict[str, Any] | None:
    """Return the report's part on calibration, or None where nothing was calibrated."""
    if not bulk.is_calibrated:
        return None
    return {
        "kl": bulk.kl,
        "effective_sample_size": bulk.effective_sample_size,
        "max_copies": bulk.max_copies,
        "background_share": counted.background / max(counted.records, 1),
        "candidates": bulk.candidates,
        "mutants": bulk.mutants,
        "converged": bulk.converged,
    }


def convergence(iterations: Sequence[Iteration]) -> list[dict[str, Any]]:
    """Return what asking came to after each iteration: what it had used, and what that was worth."""
    keys = {"iteration", "prior_tvd", "data_tvd", *(f.name for f in fields(Effort))}
    return [{**line.model_dump(include=keys), **line.so_far.model_dump()} for line in iterations]


def seconds_part(iterations: Sequence[Iteration], bulk: Bulk) -> dict[str, float]:
    """Return the seconds of each stage and their sum."""
    asking = sum(line.seconds_asking for line in iterations)
    parts = {
        "asking": asking,
        "pilots": sum(line.seconds for line in iterations) - asking,
        **{name: getattr(bulk, f"seconds_{name}") for name in _STAGES},
    }
    return {name: round(x, 3) for name, x in {**parts, "total": sum(parts.values())}.items()}
