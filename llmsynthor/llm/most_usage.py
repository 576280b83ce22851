"""The most that a run can use: calls, tokens and cost, by its iterations and its budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmsynthor.job.without_effect import asks_in_focus

if TYPE_CHECKING:
    from llmsynthor.job.model import Job

LATER_PROMPTS = 1.5
"""How much longer than the first a plan prompt is taken to be: later ones also show what is too
frequent and what was refused."""
_REPAIR_EXTRA = 4_700
"""Tokens that a repair's prompt has besides the plan's: at most 4,000 characters of the answer, and
the reasons."""


def most_usage(
    job: Job, first_prompt_tokens: int, price: tuple[float, float] | None
) -> dict[str, Any]:
    """Return the most that a run of `job` can use.

    Every iteration asks all its calls, each needs its one repair (but in focus style), each reply is as long as it may
    be, and later prompts are `LATER_PROMPTS` times as long as the first; then the budget cuts.
    Retries after failures are not counted: a failed call has no reply to pay for.

    Args:
        job: The job; for the paper's loop, with its one call in an iteration.
        first_prompt_tokens: Of the first plan prompt.
        price: US dollars per prompt and per completion token; None where unknown.
    """
    engine, limits, output = job.engine, job.budget, job.provider.max_output_tokens
    plans = engine.iterations * engine.calls_per_iteration
    repairs = 0 if asks_in_focus(job) else plans  # a focus is not repaired
    groups = int(job.dependencies == "infer")
    cut_by = []
    whole = groups + plans + repairs
    if limits.calls is not None and limits.calls < whole:
        cut_by.append(f"budget.calls {limits.calls}")
        groups = min(groups, limits.calls)
        repairs = min(repairs, (limits.calls - groups) // 2)  # a repair needs a plan before it
        plans = limits.calls - groups - repairs
    plan_tokens = round(LATER_PROMPTS * first_prompt_tokens)
    prompts = (plans + groups) * plan_tokens + repairs * (plan_tokens + _REPAIR_EXTRA)
    completions = (groups + plans + repairs) * output
    cost = None if price is None else prompts * price[0] + completions * price[1]
    tokens = prompts + completions
    if limits.tokens is not None and limits.tokens < tokens:
        cut_by.append(f"budget.tokens {limits.tokens}")
        if price is not None and cost is not None:
            cost = min(cost, limits.tokens * max(price))
        tokens = limits.tokens
    if limits.cost_usd is not None and cost is not None and limits.cost_usd < cost:
        cut_by.append(f"budget.cost_usd {limits.cost_usd:g}")
        cost = limits.cost_usd
    return {
        "calls": groups + plans + repairs,
        "plan_calls": plans,
        "repair_calls": repairs,
        "dependency_calls": groups,
        "tokens": tokens,
        "cost_usd": cost,
        "cut_by": cut_by,
        "price": "unknown" if price is None else "known",
        "refused": limits.cost_usd is not None and price is None,
        "minutes": limits.minutes,
    }
