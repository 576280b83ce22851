"""Gathering: calls made at once, their replies in the order of asking, and when to give up."""

from __future__ import annotations

import queue
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from llmsynthor.errors import ProviderUnavailableError
from llmsynthor.llm.providers.base import OutOfRepliesError, Provider, Reply, Request
from llmsynthor.llm.providers.replay import GivenUpError

if TYPE_CHECKING:
    from collections.abc import Sequence

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
