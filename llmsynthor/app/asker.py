"""Who asks a job's questions: its model, wrapped in logs and a budget, in its plan style."""

from __future__ import annotations

import time
from dataclasses import replace
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
    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.engine.loop import Listener
    from llmsynthor.job.model import Job
    from llmsynthor.llm.prompts.templates import Templates
    from llmsynthor.llm.providers.base import Provider, Request, Stop
    from llmsynthor.store.directory import RunDirectory

_LONG_WAIT_S = 5.0


def replaying_asker(prepared: Prepared, job: Job, run: RunDirectory, ended: Stop | None) -> Asker:
    """Return who asks the run's own reply log alone: no model, no file of one, no limit.

    Args:
        prepared: The job, checked.
        job: As the engine has it.
        run: The run's directory.
        ended: What ended its asking from outside; where the log ends, asking ends for this reason.
    """
    log = LoggedProvider(
        None,
        run.lines(REPLY_LOG, read_reply_line),
        lambda record: run.append(REPLY_LOG, record),
        ended,
    )
    return asker_of(prepared.sampler, prepared.templates, job, log, _no_limits())


def nobody_asked(sampler: Sampler, templates: Templates, job: Job) -> Asker:
    """Return an asker that makes prompts, and has nobody to send them to."""
    nobody = LoggedProvider(None, [], lambda _: None)
    return asker_of(sampler, templates, job, nobody, _no_limits())


def _no_limits() -> BudgetKeeper:
    return BudgetKeeper(Budget(), _no_tokens, (0.0, 0.0))


def make_asker(prepared: Prepared, job: Job, run: RunDirectory, listener: Listener) -> Asker:
    """Return who asks the job's questions, with its replies and prompts logged in `run`.

    Raises:
        InputError: The provider cannot be used as the job stands.
    """
    records = run.lines(REPLY_LOG, read_reply_line)
    setup = replace(
        setup_of(job, prepared.loaded),
        structured=simplest(reply.structured for reply in replies_in(records)),
        on_retry=_told_of_waits(listener),
    )
    source = source_of(setup)
    source.check()
    price = source.price() if job.budget.cost_usd is not None else None
    budget = BudgetKeeper(job.budget, source.count_tokens, price)
    budget.check_price()
    provider = LoggedProvider(
        source,
        records,
        lambda record: run.append(REPLY_LOG, record),
        keep=_prompts_kept(run, job.provider.api_key_env),
    )
    return asker_of(prepared.sampler, prepared.templates, job, provider, budget)


def _told_of_waits(listener: Listener) -> Callable[[int, float, str], None]:
    """Return what tells a person of long waits: a run that seems to hang is killed."""

    def tell(tried: int, wait_s: float, reason: str) -> None:
        if wait_s >= _LONG_WAIT_S:
            listener.warn(f"call failed in try {tried} ({reason}); next in {wait_s:.0f} s")

    return tell


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


def _no_tokens(_: Request) -> int:
    """Return 0: a recording reads no tokens."""
    return 0


def asker_of(
    sampler: Sampler, templates: Templates, job: Job, provider: Provider, budget: BudgetKeeper
) -> Asker:
    """Return an asker in the plan style of the job's model."""
    focus = asks_in_focus(job)
    prompts = (FocusPrompt if focus else PlanPrompt)(
        job, sampler.tables, sampler.rules, sampler.marginals
    )
    return (FocusAsker if focus else Asker)(
        job, sampler, templates, prompts, provider, budget, time.monotonic
    )
