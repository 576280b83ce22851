"""Who asks a job's questions: its model, wrapped in logs and a budget, in its plan style."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from llmsynthor.app.prepare import setup_of
from llmsynthor.job.consistency import asks_in_focus
from llmsynthor.job.model import Budget
from llmsynthor.llm.ask import Asker, FocusAsker
from llmsynthor.llm.budget import BudgetKeeper
from llmsynthor.llm.prompts.focus import FocusPrompt
from llmsynthor.llm.prompts.plan import PlanPrompt
from llmsynthor.llm.providers.base import simplest, source_of
from llmsynthor.llm.providers.replay import (
    PROMPT_LOG,
    REPLY_LOG,
    LoggedProvider,
    PromptLine,
    prompt_record,
    read_reply_line,
    replies_in,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmsynthor.app.prepare import Prepared
    from llmsynthor.engine.loop import Listener
    from llmsynthor.job.model import Job
    from llmsynthor.llm.providers.base import Provider, Request, Stop
    from llmsynthor.store.directory import RunDirectory

_LONG_WAIT_S = 5.0


def replaying_asker(prepared: Prepared, job: Job, run: RunDirectory, ended: Stop | None) -> Asker:
    """Return who asks the run's own reply log alone: no model, no file of one, no limit.

    Where the log ends, asking ends for the reason that it `ended` for before, if from outside.
    """
    records = run.lines(REPLY_LOG, read_reply_line)
    log = LoggedProvider(None, records, partial(run.append, REPLY_LOG), ended)
    return _asker_of(prepared, job, log)


def nobody_asked(prepared: Prepared, job: Job) -> Asker:
    """Return an asker that makes prompts, and has nobody to send them to."""
    return _asker_of(prepared, job, LoggedProvider(None, [], lambda _: None))


def make_asker(prepared: Prepared, job: Job, run: RunDirectory, listener: Listener) -> Asker:
    """Return who asks the job's questions, with its replies and prompts logged in `run`.

    Raises:
        InputError: The provider cannot be used as the job stands.
    """

    def tell(tried: int, wait_s: float, reason: str) -> None:
        if wait_s >= _LONG_WAIT_S:  # a run that seems to hang is killed
            listener.warn(f"call failed in try {tried} ({reason}); next in {wait_s:.0f} s")

    records = run.lines(REPLY_LOG, read_reply_line)
    structured = simplest(reply.structured for reply in replies_in(records))
    setup = replace(setup_of(job, prepared.loaded), structured=structured, on_retry=tell)
    source = source_of(setup)
    source.check()
    price = source.price() if job.budget.cost_usd is not None else None
    budget = BudgetKeeper(job.budget, source.count_tokens, price)
    budget.check_price()
    keep = _prompts_kept(run, job.provider.api_key_env)
    provider = LoggedProvider(source, records, partial(run.append, REPLY_LOG), keep=keep)
    return _asker_of(prepared, job, provider, budget)


def _prompts_kept(run: RunDirectory, key_env: str | None) -> Callable[[Request], None]:
    """Return what writes a prompt into the run directory, once, for `explain`."""
    # damage here costs an explanation, and must not cost the run
    lines, _ = run.readable_lines(PROMPT_LOG, PromptLine.model_validate)
    kept = {line.key for line in lines}

    def keep(request: Request) -> None:
        if request.key() not in kept:
            kept.add(request.key())
            run.append(PROMPT_LOG, prompt_record(request, key_env))

    return keep


def _asker_of(
    prepared: Prepared, job: Job, provider: Provider, budget: BudgetKeeper | None = None
) -> Asker:
    """Return an asker in the plan style of the job's model; without a budget nothing limits it."""
    sampler, focus = prepared.sampler, asks_in_focus(job)
    prompts = (FocusPrompt if focus else PlanPrompt)(
        job, sampler.tables, sampler.rules, sampler.marginals
    )
    budget = budget or BudgetKeeper(Budget(), lambda _: 0, (0.0, 0.0))
    return (FocusAsker if focus else Asker)(
        job, sampler, prepared.templates, prompts, provider, budget, time.monotonic
    )
