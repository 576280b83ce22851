"""Preview: what a run would ask, what it could use at most, and what its records look like."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsynthor.append import AppendEngine, append_job
from llmsynthor.askers import asker_of, make_asker
from llmsynthor.engine import Engine
from llmsynthor.errors import InputError
from llmsynthor.job import Budget
from llmsynthor.materialize import Materializer
from llmsynthor.providers.base import OutOfRepliesError
from llmsynthor.providers.budget import BudgetKeeper
from llmsynthor.providers.replay import LoggedProvider
from llmsynthor.rundir import RunDirectory
from llmsynthor.runner import RunOptions
from llmsynthor.seeds import generator
from llmsynthor.usage import most_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmsynthor.asking import Asker, Round
    from llmsynthor.checks import Prepared
    from llmsynthor.engine import Listener
    from llmsynthor.job import Job
    from llmsynthor.plan import Proposal
    from llmsynthor.providers.base import Provider, Reply, Request

RECORDS = 20
_CANDIDATES = 4000


@dataclass(frozen=True)
class _Meter:
    """Counts a prompt's tokens, and knows the price of one prompt and one completion token."""

    count_tokens: Callable[[Request], int]
    price: tuple[float, float] | None


class _OneCall:
    """Lets one plan request through, the first; a recording would say that it has no more."""

    def __init__(self, inner: Provider) -> None:
        self._inner = inner

    def complete(self, request: Request) -> Reply:
        """Return the reply to the first plan request; see `Provider.complete`."""
        if (request.purpose, request.sequence) != ("plan", 0):
            raise OutOfRepliesError
        return self._inner.complete(request)


def preview(prepared: Prepared, listener: Listener, *, ask: bool) -> dict[str, Any]:
    """Return what a run of the job would do.

    Args:
        prepared: The job, checked.
        listener: Hears of something odd.
        ask: Make one plan call; without it none is made.

    Raises:
        InputError: `ask`, and the job names no model or lacks its key.
    """
    job = prepared.job
    job = append_job(job) if job.engine.method == "append" else job
    if job.provider.model == "none":
        if ask:
            raise InputError("`--ask`: the job names no model (`provider.model: none`)")
        return _found(prepared, None, None, [], None)
    meter = _meter(job)
    with tempfile.TemporaryDirectory(prefix="llmsynthor-") as folder:
        run = RunDirectory(Path(folder))
        asker = _asker(prepared, job, run, listener, ask=ask)
        kind = AppendEngine if job.engine.method == "append" else Engine
        engine = kind(job, prepared.sampler, run, listener, time.monotonic, asker)
        if isinstance(job.dependencies, list):
            engine.state.groups = [list(group) for group in job.dependencies]
        context = engine.plan_context(asker, 1)
        first = asker.plan_requests(1, context)[0]
        found = asker.ask_plans(1, context, 0) if ask else None
    tokens = meter.count_tokens(first)
    most = most_usage(job, tokens, meter.price)
    prompt = {"system": first.system, "prompt": first.prompt, "tokens": tokens}
    library = found.proposals if found else []
    return _found(prepared, prompt, most, library, _shown_plan(found) if found else None)


def _meter(job: Job) -> _Meter:
    from llmsynthor.providers.litellm_provider import LitellmProvider

    model = LitellmProvider(job.provider)
    free = job.provider.model == "replay" or job.provider.model.startswith("local:")
    given = job.provider.model
    return _Meter(model.count_tokens, (0.0, 0.0) if free else model.price(given))


def _asker(
    prepared: Prepared, job: Job, run: RunDirectory, listener: Listener, *, ask: bool
) -> Asker:
    if ask:
        asker = make_asker(prepared, job, RunOptions(run.path), run, listener)
        asker.provider = _OneCall(asker.provider)
        return asker
    budget = BudgetKeeper(Budget(), lambda _: 0, None)
    nobody = LoggedProvider(None, [], lambda _: None)
    return asker_of(prepared.sampler, prepared.templates, job, nobody, budget)


def _found(
    prepared: Prepared,
    prompt: dict[str, Any] | None,
    most: dict[str, Any] | None,
    library: Sequence[Proposal],
    plan: dict[str, Any] | None,
) -> dict[str, Any]:
    job = prepared.job
    return {
        "name": job.name,
        "model": job.provider.model,
        "records_asked": job.records,
        "tables": _tables(prepared),
        "uncovered_pairs": len(prepared.sampler.tables.uncovered_pairs()),
        "groups_inferred_first": prompt is not None and job.dependencies == "infer",
        "prompt": prompt,
        "plan": plan,
        "records": _records(prepared, library),
        "records_from": "plan" if library else "background",
        "most": most or {"calls": 0, "tokens": 0, "cost_usd": 0.0, "cut_by": [], "price": "none"},
    }


def _tables(prepared: Prepared) -> list[dict[str, Any]]:
    return [
        {
            "name": table.name,
            "scope": list(table.scope),
            "cells": table.cells,
            "role": table.role,
            "soft": table.is_soft,
        }
        for table in prepared.sampler.tables.tables
    ]


def _shown_plan(found: Round) -> dict[str, Any]:
    return {
        "calls": found.calls,
        "prompt_tokens": found.prompt_tokens,
        "completion_tokens": found.completion_tokens,
        "cost_usd": found.cost_usd,
        "problem": next((plan.problem for plan in found.plans if plan.problem), None),
        "proposals": [
            {"id": p.id, "count": p.count, "reason": p.reason, "values": dict(p.values)}
            for p in found.proposals
        ],
        "rejections": [
            {"id": r.id, "reason": r.reason, "problem": r.problem} for r in found.rejections
        ],
        "stop": None if found.plans else found.stop,
    }


def _records(prepared: Prepared, library: Sequence[Proposal]) -> list[dict[str, Any]]:
    """Return a few records of the prior: not calibrated to the tables, but no rule is broken."""
    sampler = prepared.sampler
    candidates, _ = sampler.candidates(library, 0.0 if library else 1.0, _CANDIDATES, 0)
    random = generator(prepared.job.seed, "preview")
    number = min(RECORDS, prepared.job.records)
    rows = random.choice(len(candidates), size=number, p=candidates.prior / candidates.prior.sum())
    materializer = Materializer(sampler, candidates, {p.id: p for p in library})
    frame, _ = materializer.records(rows, random)
    return frame.to_dicts()
