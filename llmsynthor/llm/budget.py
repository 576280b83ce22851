"""What a run has used, may still use, and can use at most; a limit is checked before a call."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmsynthor.errors import JobError
from llmsynthor.job.consistency import asks_in_focus
from llmsynthor.llm.providers.base import Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmsynthor.job.model import Budget, Job
    from llmsynthor.llm.providers.base import Reply, Request

LATER_PROMPTS = 1.5
"""How much longer than the first a plan prompt is taken to be: later ones also show what is too
frequent and what was refused."""
_REPAIR_EXTRA = 4_700
"""Tokens that a repair's prompt has besides the plan's: at most 4,000 characters of the answer, and
the reasons."""


@dataclass
class Usage:
    """Totals over all attempts of a run.

    Attributes:
        calls: Replies received.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.
        cost_usd: US dollars of the replies whose price is known.
        unpriced: Replies whose price is unknown.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        self.calls += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        if reply.cost_usd is None:
            self.unpriced += 1
        else:
            self.cost_usd += reply.cost_usd

    @property
    def known_cost_usd(self) -> float | None:
        """Return the cost, or None where some of it is unknown.

        To a billionth, so that the order in which replies came does not show.
        """
        return None if self.unpriced else round(self.cost_usd, 9)


def total_usage(replies: Iterable[Reply]) -> Usage:
    """Return the totals of some replies."""
    usage = Usage()
    for reply in replies:
        usage.add(reply)
    return usage


@dataclass
class BudgetKeeper:
    """Says which requests of a batch still fit the limits.

    Attributes:
        limits: The job's limits.
        count_tokens: Upper estimate of a request's prompt tokens.
        price: US dollars per prompt and per completion token, or None where unknown.
        seconds_before: Seconds of wall time that earlier attempts took.
        usage: Totals so far.
        unsaid_tokens: The most that replies can have used that did not say what they did.
        unsaid_cost_usd: The most that replies can have cost whose price was not told.
        finer: How many times the estimate a prompt has been, at most: a tokenizer may cut finer.
    """

    limits: Budget
    count_tokens: Callable[[Request], int]
    price: tuple[float, float] | None
    seconds_before: float = 0.0
    usage: Usage = field(default_factory=Usage)
    unsaid_tokens: int = 0
    unsaid_cost_usd: float = 0.0
    finer: float = 1.0

    def add(self, request: Request, reply: Reply) -> None:
        """Count a reply against the limits; one that does not say its use is taken at the most."""
        self.usage.add(reply)
        prompt, completion = reply.prompt_tokens, reply.completion_tokens
        if self._needs_tokens:
            estimate = self.count_tokens(request)
            self.finer = max(self.finer, prompt / max(estimate, 1))
            if not (prompt or completion):
                prompt, completion = self._most_prompt(request), request.max_output_tokens
                self.unsaid_tokens += prompt + completion
        if reply.cost_usd is None:
            self.unsaid_cost_usd += self._cost(prompt, completion)

    def _most_prompt(self, request: Request) -> int:
        return math.ceil(self.finer * self.count_tokens(request)) if self._needs_tokens else 0

    def _cost(self, prompt: int, completion: int) -> float:
        return 0.0 if self.price is None else prompt * self.price[0] + completion * self.price[1]

    def check_price(self) -> None:
        """Refuse a cost limit that cannot be kept.

        Raises:
            JobError: There is a cost limit and no price.
        """
        if self.limits.cost_usd is not None and self.price is None:
            raise JobError(
                "budget.cost_usd: the price of this model is unknown, so the limit could not be kept",
                hint="give `provider.price_per_mtok: {input: ..., output: ...}`, or remove the limit",
            )

    def affordable(self, requests: list[Request], seconds: float) -> tuple[int, Stop | None]:
        """Return how many of the requests fit, in order, and which limit stops the next.

        Each is taken at the most it can use; `seconds` are those since this attempt began.
        """
        minutes, calls = self.limits.minutes, self.usage.calls
        tokens = self.usage.prompt_tokens + self.usage.completion_tokens + self.unsaid_tokens
        cost = self.usage.cost_usd + self.unsaid_cost_usd
        if minutes is not None and self.seconds_before + seconds >= 60 * minutes:
            return 0, Stop("budget", f"budget.minutes {minutes:g}")
        for number, request in enumerate(requests):
            prompt = self._most_prompt(request)
            calls += 1
            tokens += prompt + request.max_output_tokens
            cost += self._cost(prompt, request.max_output_tokens)
            limit = self._crossed(calls, tokens, cost)
            if limit is not None:
                return number, Stop("budget", limit)
        return len(requests), None

    @property
    def _needs_tokens(self) -> bool:
        return self.limits.tokens is not None or self.limits.cost_usd is not None

    def _crossed(self, calls: int, tokens: int, cost: float) -> str | None:
        if self.limits.calls is not None and calls > self.limits.calls:
            return f"budget.calls {self.limits.calls}"
        if self.limits.tokens is not None and tokens > self.limits.tokens:
            return f"budget.tokens {self.limits.tokens}"
        if self.limits.cost_usd is not None and cost > self.limits.cost_usd:
            return f"budget.cost_usd {self.limits.cost_usd:g}"
        return None


def most_usage(
    job: Job, first_prompt_tokens: int, price: tuple[float, float] | None
) -> dict[str, Any]:
    """Return the most that a run of `job` can use.

    Every iteration asks all its calls, each needs its one repair (but in focus style), each reply is as long as it may
    be, and later prompts are `LATER_PROMPTS` times as long as the first; then the budget cuts.
    Retries after failures are not counted: a failed call has no reply to pay for.
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
