"""Asking in focus style: one target and one proposal a call."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmsynthor.llm.ask import Asker
from llmsynthor.llm.prompts.focus import FocusPrompt, Target, completed, focus_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmsynthor.candidates.proposals import Plan
    from llmsynthor.llm.ask import Round
    from llmsynthor.llm.providers.base import Reply, Request


class FocusAsker(Asker):
    """Asks for what completes each target, and reads the replies as plans of one proposal."""

    _targets: dict[str, Target] | None = None

    def plan_requests(self, iteration: int, context: Mapping[str, Any]) -> list[Request]:
        """Return the requests of one iteration, one for each target."""
        if not isinstance(self.prompts, FocusPrompt):
            raise TypeError("a FocusAsker needs a FocusPrompt")
        targets = self.prompts.targets(context, iteration)
        requests = [
            self._request(
                "plan",
                (iteration - 1) * len(targets) + number,
                self.templates.render(
                    "propose_focus.md.j2", self.prompts.focus_context(target, context["rejected"])
                ),
                focus_schema(self.sampler.domain, target, self.prompts.freed),
            )
            for number, target in enumerate(targets)
        ]
        self._targets = {r.key(): t for r, t in zip(requests, targets, strict=True)}
        return requests

    def _ask(self, requests: list[Request], found: Round) -> list[tuple[Request, Reply]]:
        answers, targets = super()._ask(requests, found), self._targets or {}
        return [
            (request, replace(reply, text=completed(reply.text, targets[request.key()])))
            if request.key() in targets
            else (request, reply)
            for request, reply in answers
        ]

    def _repair(self, _request: Request, _reply: Reply, plan: Plan, *_: Any) -> list[Plan]:  # noqa: ANN401
        """Return the plan as it is: another target costs no more than to ask for this one again."""
        return [plan]
