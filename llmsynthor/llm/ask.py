"""Asking: requests of one iteration sent at once, replies read in the order of asking; when to give up."""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from llmsynthor.candidates.library import said
from llmsynthor.candidates.proposals import Plan, Proposal, ProposalLine, parse_plan, refused
from llmsynthor.candidates.reply_schema import plan_schema
from llmsynthor.errors import ProviderUnavailableError
from llmsynthor.llm.budget import Usage
from llmsynthor.llm.prompts.focus import FocusPrompt, Target, completed, focus_schema, focus_words
from llmsynthor.llm.prompts.groups import groups_schema
from llmsynthor.llm.providers.base import OutOfRepliesError, Purpose, Reply, Request
from llmsynthor.llm.providers.replay import GivenUpError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.job.model import Job
    from llmsynthor.llm.budget import BudgetKeeper
    from llmsynthor.llm.prompts.plan import PlanPrompt
    from llmsynthor.llm.prompts.templates import Templates
    from llmsynthor.llm.providers.base import Provider, Stop

Outcome = Reply | Exception
_POLL_S = 0.1
HOPELESS = 6
"""So many calls in a row without a reply, each tried again as often as the job says, end the run."""
LATELY = 20
"""Finished calls of which the failed ones are counted."""
LEAST_SEEN = 10
"""Finished calls before their share says anything."""
HOPELESS_SHARE = 0.8
"""So large a share of the calls of late without a reply ends the run, too."""


class Outlook:
    """Says when further calls make no sense, from those that failed, over all threads and iterations.

    Calls are counted as they finish, so that with several at once it may be one more or less; the
    replies that came are logged whatever it says.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._lately: deque[bool] = deque(maxlen=LATELY)
        self._halt: Exception | None = None

    @property
    def halt(self) -> Exception | None:
        """Return why no further call makes sense, or None."""
        with self._lock:
            return self._halt

    def hear(self, outcome: Outcome) -> None:
        """Hear of the outcome of a call."""
        with self._lock:
            if isinstance(outcome, Reply):
                self._in_a_row = 0
                self._lately.append(False)
            elif isinstance(outcome, GivenUpError | OutOfRepliesError):
                return  # nobody was asked
            elif isinstance(outcome, ProviderUnavailableError):
                self._in_a_row += 1
                self._lately.append(True)
                words = self._hopeless()
                if words and self._halt is None:
                    self._halt = ProviderUnavailableError(
                        f"{words} brought no reply: {outcome}", hint=outcome.hint
                    )
            else:
                self._halt = self._halt or outcome

    def _hopeless(self) -> str | None:
        """Return which calls failed, if they are too many."""
        if self._in_a_row >= HOPELESS:
            return f"{self._in_a_row} calls in a row"
        seen, failed = len(self._lately), sum(self._lately)
        if seen >= LEAST_SEEN and failed >= HOPELESS_SHARE * seen:
            return f"{failed} of the last {seen} calls"
        return None


def gather(
    provider: Provider,
    requests: Sequence[Request],
    concurrency: int,
    outlook: Outlook | None = None,
) -> list[Outcome]:
    """Return the reply or the error of each request, in the order of the requests.

    Calls run in daemon threads: a signal is answered at once, and the process does not wait for
    a call in flight when it ends. Once a provider refuses, or `outlook` is hopeless, no
    further call is started; what was in flight is waited for, as it is paid for.
    """
    waiting: queue.SimpleQueue[tuple[int, Request]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Outcome]] = queue.SimpleQueue()
    heard = outlook or Outlook()
    for item in enumerate(requests):
        waiting.put(item)

    def work() -> None:
        while True:
            try:
                number, request = waiting.get_nowait()
            except queue.Empty:
                return
            outcome: Outcome | None = heard.halt
            if outcome is None:
                try:
                    outcome = provider.complete(request)
                except Exception as error:  # noqa: BLE001 - handed to the asking thread, which raises it
                    outcome = error
                heard.hear(outcome)
            done.put((number, outcome))

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
        plans: One per reply that came, but for what a repair left nothing of.
        usage: What the replies that came have used, repairs included.
        repairs: Replies that were asked for because a first reply held nothing usable.
        failed_calls: Requests without a reply.
        unread: Replies that held nothing readable, repairs included.
        stop: Why asking ends, or None.
    """

    plans: list[Plan] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    repairs: int = 0
    failed_calls: int = 0
    unread: int = 0
    stop: Stop | None = None

    @property
    def proposals(self) -> list[Proposal]:
        """Return the accepted proposals."""
        return [proposal for plan in self.plans for proposal in plan.proposals]

    @property
    def rejections(self) -> list[ProposalLine]:
        """Return the refused proposals."""
        return [rejection for plan in self.plans for rejection in plan.rejections]


@dataclass(eq=False)
class Asker:
    """Asks one job's questions: renders, sends, reads, repairs."""

    job: Job
    sampler: Sampler
    templates: Templates
    prompts: PlanPrompt
    provider: Provider
    budget: BudgetKeeper
    clock: Callable[[], float]

    def __post_init__(self) -> None:
        self.started = self.clock()
        self._outlook = Outlook()
        self._system = self.templates.render("system.md.j2", {})
        self._record = self.sampler.tables.of_records.domain
        self._schema = plan_schema(self._record, self.sampler.members)

    def seconds_used(self) -> float:
        """Return the wall time of the run so far in seconds, earlier attempts included."""
        return self.budget.seconds_before + self.clock() - self.started

    def plan_requests(self, iteration: int, context: Mapping[str, Any]) -> list[Request]:
        """Return the plan requests of one iteration, each with a focus of its own."""
        calls = self.job.engine.calls_per_iteration
        requests = []
        for call in range(calls):
            given = self.prompts.call_context(context, call)
            prompt = self.templates.render(self.prompts.template, given)
            request = self._request("plan", (iteration - 1) * calls + call, prompt, self._schema)
            gaps = (gap.words(has_library=given["library_size"] > 0) for gap in given["gaps"])
            requests.append(replace(request, focus=given["focus"] or None, gaps=tuple(gaps)))
        return requests

    def ask_plans(self, iteration: int, context: Mapping[str, Any], first_id: int) -> Round:
        """Ask for the plans of one iteration.

        Raises:
            ProviderRefusedError: The provider refuses and would again.
            ProviderUnavailableError: No reply came at all.
        """
        found = Round()
        requests = self.plan_requests(iteration, context)
        for request, reply in self._ask(requests, found):
            plan = self._read(reply, iteration, first_id)
            found.unread += plan.problem is not None
            plan.request = request.key()
            plans = [plan]
            if not plan.proposals:
                plans = self._repair(request, reply, plan, found, iteration, first_id)
            found.plans += plans
            first_id += sum(len(plan.proposals) + len(plan.rejections) for plan in plans)
        return found

    def ask_groups(self) -> tuple[str | None, Round]:
        """Ask once which variables depend on each other; return the reply's words, or None."""
        found = Round()
        prompt = self.templates.render("dependencies.md.j2", self.prompts.dependency_context())
        schema = groups_schema(self.sampler.tables.domain)
        answers = self._ask([self._request("dependencies", 0, prompt, schema)], found)
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
        asked = requests[:fits]
        outcomes = gather(self.provider, asked, self.job.provider.concurrency, self._outlook)
        answers = []
        missing: list[tuple[Request, ProviderUnavailableError]] = []
        for request, outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, Reply):
                answers.append((request, outcome))
                found.usage.add(outcome)
                self.budget.add(request, outcome)
            elif isinstance(outcome, OutOfRepliesError):
                found.stop = found.stop or outcome.stop
            elif isinstance(outcome, ProviderUnavailableError):
                missing.append((request, outcome))
            else:
                raise outcome
        found.failed_calls += len(missing)
        if self._outlook.halt is not None:
            raise self._outlook.halt
        if missing and not answers and missing[0][0].purpose != "repair":
            raise missing[0][1]
        for request, error in missing:
            self._give_up(request, str(error))
        return answers

    def _give_up(self, request: Request, reason: str) -> None:
        """Go on without a reply; the log keeps that, as what follows depends on it."""
        give_up = getattr(self.provider, "give_up", None)
        if give_up:
            give_up(request, reason)

    def _affordable(self, requests: list[Request]) -> tuple[int, Stop | None]:
        """Return how many requests fit the budget.

        What the reply log knows costs nothing, but is taken at its most beside what is not known,
        as it was when it was asked: a resumed run must decide as the unbroken one.
        """
        knows = getattr(self.provider, "knows", None)
        known = [bool(knows and knows(request)) for request in requests]
        if all(known):
            return len(requests), None
        fits, limit = self.budget.affordable(requests, self.clock() - self.started)
        while fits < len(requests) and known[fits]:
            fits += 1
        return fits, limit if fits < len(requests) else None

    def _read(self, reply: Reply, iteration: int, first_id: int) -> Plan:
        plan = parse_plan(
            reply.text,
            self._record,
            self.sampler.marginals,
            iteration=iteration,
            first_id=first_id,
            most_count=self.job.records,
            members=self.sampler.members,
        )
        lawful = []
        for proposal in plan.proposals:
            problem = self.sampler.unlawful(proposal)
            if problem is None:
                lawful.append(proposal)
            else:
                raw = {"count": proposal.count, **said(proposal)}
                plan.rejections.append(
                    refused(proposal.id, iteration, proposal.reason, problem, raw)
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
    ) -> list[Plan]:
        """Ask once more, with what was wrong; return what each of the two replies leaves."""
        problems = [plan.problem] if plan.problem else [r.problem or "" for r in plan.rejections]
        if reply.truncated:
            problems.insert(0, "the answer was cut at its longest length: write fewer proposals")
        context = self.prompts.repair_context(request.prompt, reply.text, problems)
        prompt = self.templates.render("repair_plan.md.j2", context)
        again = replace(request, purpose="repair", prompt=prompt)
        stop = found.stop
        answers = self._ask([again], found)
        limit = found.stop
        if not answers and limit is not None and limit.kind == "budget":
            self._give_up(
                again, limit.words
            )  # a resume with a larger budget would shift proposal ids
        found.stop = stop  # a recording without this repair may still have the next plan
        if not answers:
            return [plan]
        found.repairs += 1
        mended = self._read(answers[0][1], iteration, first_id + len(plan.rejections))
        mended.request = again.key()
        found.unread += mended.problem is not None
        if not mended.proposals and plan.problem is None:
            mended.problem = None  # the first reading says more
        return [plan, mended] if plan.rejections else [mended]


class FocusAsker(Asker):
    """Asks for what completes each target, and reads the replies as plans of one proposal."""

    _targets: dict[str, Target] | None = None

    def plan_requests(self, iteration: int, context: Mapping[str, Any]) -> list[Request]:
        """Return the requests of one iteration, one for each target."""
        if not isinstance(self.prompts, FocusPrompt):
            raise TypeError("a FocusAsker needs a FocusPrompt")
        targets = self.prompts.targets(context, iteration)
        requests = []
        for number, target in enumerate(targets, start=(iteration - 1) * len(targets)):
            given = self.prompts.focus_context(target, context["rejected"])
            prompt = self.templates.render("propose_focus.md.j2", given)
            schema = focus_schema(self.sampler.domain, target, self.prompts.freed)
            request = self._request("plan", number, prompt, schema)
            requests.append(replace(request, focus=focus_words(given)))
        self._targets = {r.key(): t for r, t in zip(requests, targets, strict=True)}
        return requests

    def _ask(self, requests: list[Request], found: Round) -> list[tuple[Request, Reply]]:
        answers, targets = super()._ask(requests, found), self._targets or {}
        return [
            (
                request,
                reply.model_copy(update={"text": completed(reply.text, targets[request.key()])}),
            )
            if request.key() in targets
            else (request, reply)
            for request, reply in answers
        ]

    def _repair(self, _request: Request, _reply: Reply, plan: Plan, *_: Any) -> list[Plan]:  # noqa: ANN401
        """Return the plan as it is: another target costs no more than to ask for this one again."""
        return [plan]
