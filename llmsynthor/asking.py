"""Asking: requests of one iteration sent at once, replies read in the order of asking."""

from __future__ import annotations

import queue
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmsynthor.errors import ProviderUnavailableError
from llmsynthor.plan import Plan, Proposal, Rejection, parse_plan, plan_schema
from llmsynthor.providers.base import OutOfRepliesError, Provider, Purpose, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmsynthor.job import Job
    from llmsynthor.prompting import PlanPrompt
    from llmsynthor.providers.budget import BudgetKeeper
    from llmsynthor.sampling import Sampler
    from llmsynthor.templates import Templates

Outcome = Reply | Exception
_POLL_S = 0.1


def gather(provider: Provider, requests: Sequence[Request], concurrency: int) -> list[Outcome]:
    """Return the reply or the error of each request, in the order of the requests.

    Calls run in daemon threads: a signal is answered at once, and the process does not wait for
    a call in flight when it ends.
    """
    waiting: queue.SimpleQueue[tuple[int, Request]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
    for item in enumerate(requests):
        waiting.put(item)

    def work() -> None:
        while True:
            try:
                number, request = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((number, provider.complete(request)))
            except Exception as error:  # noqa: BLE001 - handed to the asking thread, which raises it
                done.put((number, error))

    for _ in range(min(concurrency, len(requests))):
        threading.Thread(target=work, daemon=True).start()
    outcomes: dict[int, Outcome] = {}
    while len(outcomes) < len(requests):
        # a short wait: polars installs a SIGINT handler that restarts a blocked wait for ever
        with suppress(queue.Empty):
            number, outcome = done.get(timeout=_POLL_S)
            outcomes[number] = outcome
    return [outcomes[number] for number in range(len(requests))]


@dataclass
class Round:
    """What one iteration of asking brought.

    Attributes:
        plans: One per reply that came.
        calls: Replies that came, repairs included.
        failed_calls: Requests without a reply.
        unread: Replies that held nothing readable.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.
        cost_usd: US dollars; None where some of it is unknown.
        stop: Why asking ends, or None.
    """

    plans: list[Plan] = field(default_factory=list)
    calls: int = 0
    failed_calls: int = 0
    unread: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = 0.0
    stop: str | None = None

    def add(self, reply: Reply) -> None:
        """Count one reply."""
        self.calls += 1
        self.prompt_tokens += reply.prompt_tokens
        self.completion_tokens += reply.completion_tokens
        known = self.cost_usd is not None and reply.cost_usd is not None
        self.cost_usd = self.cost_usd + reply.cost_usd if known else None  # type: ignore[operator]

    @property
    def proposals(self) -> list[Proposal]:
        """Return the accepted proposals."""
        return [proposal for plan in self.plans for proposal in plan.proposals]

    @property
    def rejections(self) -> list[Rejection]:
        """Return the refused proposals."""
        return [rejection for plan in self.plans for rejection in plan.rejections]


class Asker:
    """Asks one job's questions: renders, sends, reads, repairs."""

    def __init__(
        self,
        job: Job,
        sampler: Sampler,
        templates: Templates,
        prompts: PlanPrompt,
        provider: Provider,
        budget: BudgetKeeper,
        clock: Callable[[], float],
    ) -> None:
        self.job = job
        self.sampler = sampler
        self.templates = templates
        self.prompts = prompts
        self.provider = provider
        self.budget = budget
        self.clock = clock
        self.started = clock()
        self._system = templates.render("system.md.j2", {})
        self._schema = plan_schema(sampler.domain)

    def plan_requests(self, iteration: int, context: Mapping[str, Any]) -> list[Request]:
        """Return the plan requests of one iteration, each with a focus of its own."""
        calls = self.job.engine.calls_per_iteration
        return [
            self._request(
                "plan",
                (iteration - 1) * calls + call,
                self.templates.render(
                    "propose_plan.md.j2", self.prompts.call_context(context, call)
                ),
                self._schema,
            )
            for call in range(calls)
        ]

    def ask_plans(self, iteration: int, context: Mapping[str, Any], first_id: int) -> Round:
        """Ask for the plans of one iteration.

        Args:
            iteration: From 1.
            context: For the plan template.
            first_id: Id of the first proposal.

        Raises:
            ProviderRefusedError: The provider refuses and would again.
            ProviderUnavailableError: No reply came at all.
        """
        found = Round()
        requests = self.plan_requests(iteration, context)
        for request, reply in self._ask(requests, found):
            plan = self._read(reply, iteration, first_id)
            if not plan.proposals:
                plan = self._repair(request, reply, plan, found, iteration, first_id)
            found.unread += plan.problem is not None
            found.plans.append(plan)
            first_id += len(plan.proposals) + len(plan.rejections)
        return found

    def ask_groups(self) -> tuple[str | None, Round]:
        """Ask once which variables depend on each other; return the reply's words, or None."""
        found = Round()
        prompt = self.templates.render("dependencies.md.j2", self.prompts.dependency_context())
        answers = self._ask([self._request("dependencies", 0, prompt, None)], found)
        return (answers[0][1].text if answers else None), found

    def _request(
        self, purpose: Purpose, sequence: int, prompt: str, schema: dict[str, Any] | None
    ) -> Request:
        provider = self.job.provider
        return Request(
            purpose=purpose,
            sequence=sequence,
            system=self._system,
            prompt=prompt,
            schema=schema,
            model=provider.model,
            temperature=provider.temperature,
            max_output_tokens=provider.max_output_tokens,
        )

    def _ask(self, requests: list[Request], found: Round) -> list[tuple[Request, Reply]]:
        """Send what the budget allows; count and return the replies that came."""
        fits, limit = self._affordable(requests)
        found.stop = limit
        outcomes = gather(self.provider, requests[:fits], self.job.provider.concurrency)
        answers = []
        for request, outcome in zip(requests, outcomes, strict=False):
            if isinstance(outcome, Reply):
                answers.append((request, outcome))
                found.add(outcome)
                self.budget.usage.add(outcome)
            elif isinstance(outcome, OutOfRepliesError):
                found.stop = found.stop or "the recording has no more replies"
            elif isinstance(outcome, ProviderUnavailableError):
                found.failed_calls += 1
            else:
                raise outcome
        unavailable = [o for o in outcomes if isinstance(o, ProviderUnavailableError)]
        if unavailable and not answers:
            raise unavailable[0]
        return answers

    def _affordable(self, requests: list[Request]) -> tuple[int, str | None]:
        """Return how many requests fit the budget; what the reply log knows costs nothing."""
        knows = getattr(self.provider, "knows", None)
        fresh = [request for request in requests if not (knows and knows(request))]
        if not fresh:
            return len(requests), None
        fits, limit = self.budget.affordable(fresh, self.clock() - self.started)
        return (requests.index(fresh[fits]), limit) if limit else (len(requests), None)

    def _read(self, reply: Reply, iteration: int, first_id: int) -> Plan:
        plan = parse_plan(
            reply.text,
            self.sampler.domain,
            self.sampler.marginals,
            iteration=iteration,
            first_id=first_id,
            most_count=self.job.records,
        )
        lawful = []
        for proposal in plan.proposals:
            problem = self.sampler.unlawful(proposal)
            if problem is None:
                lawful.append(proposal)
            else:
                raw = {"count": proposal.count, "values": proposal.values}
                plan.rejections.append(
                    Rejection(proposal.id, iteration, proposal.reason, problem, raw)
                )
        plan.proposals = lawful
        return plan

    def _repair(
        self,
        request: Request,
        reply: Reply,
        plan: Plan,
        found: Round,
        iteration: int,
        first_id: int,
    ) -> Plan:
        """Ask once more, with what was wrong; keep the first reading where that brings nothing."""
        problems = [plan.problem] if plan.problem else [r.problem for r in plan.rejections]
        if reply.truncated:
            problems.insert(0, "the answer was cut at its longest length: write fewer proposals")
        context = self.prompts.repair_context(request.prompt, reply.text, problems)
        again = self._request(
            "repair",
            request.sequence,
            self.templates.render("repair_plan.md.j2", context),
            self._schema,
        )
        stop = found.stop
        try:
            answers = self._ask([again], found)
        except ProviderUnavailableError:
            answers = []
        found.stop = stop  # a recording without this repair may still have the next plan
        if not answers:
            return plan
        mended = self._read(answers[0][1], iteration, first_id)
        return mended if mended.proposals else plan
