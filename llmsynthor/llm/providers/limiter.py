"""How many calls may be in flight, and when the next may start; shared by all asking threads."""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

from llmsynthor.llm.providers.retry import MAX_RETRY_AFTER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MINUTE_S = 60.0
_POLL_S = 0.02
_LEAST_WAIT_S = 1e-3


@dataclass
class Slot:
    """A call that may start.

    Attributes:
        started_s: When it started.
        tokens: Taken from the minute's tokens: the most it can use, then what it used.
    """

    started_s: float
    tokens: int


class Limiter:
    """Keeps the calls in flight, in a minute, and the tokens in a minute under their limits.

    The calls in flight start at `concurrency`. A server that says "too many" halves them, once for
    all calls that were on their way then; each round of replies adds one again. What the server
    asks to wait is waited by every thread, not only by the one that was told.
    """

    def __init__(
        self,
        concurrency: int,
        *,
        rpm: int | None = None,
        tpm: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Start with nothing in flight.

        Args:
            concurrency: Most calls in flight.
            rpm: Most calls that start within any 60 seconds, or None.
            tpm: Most tokens of calls that start within any 60 seconds, or None.
            clock: Seconds, for measuring how long ago something was.
            sleep: Waits in the calling thread.
        """
        self._most = concurrency
        self._rpm = rpm
        self._tpm = tpm
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._allowed = float(concurrency)
        self._in_flight = 0
        self._cut_at_s = -1.0
        self._closed_until_s = 0.0
        self._recent: deque[Slot] = deque()

    @property
    def allowed(self) -> int:
        """Return how many calls may be in flight now."""
        with self._lock:
            return int(self._allowed)

    @property
    def counts_tokens(self) -> bool:
        """Return whether a call must say how many tokens it can use."""
        return self._tpm is not None

    @contextmanager
    def slot(self, tokens: int = 0) -> Iterator[Slot]:
        """Wait until a call may start, and hold its place while it is in flight.

        Args:
            tokens: The most that it can use; read only where there is a limit of tokens.
        """
        while True:
            slot, wait_s = self._try(tokens)
            if slot is not None:
                break
            self._sleep(wait_s)
        try:
            yield slot
        finally:
            with self._lock:
                self._in_flight -= 1

    def answered(self, slot: Slot, tokens: int) -> None:
        """Hear of a reply: one more call may be in flight after each round of them.

        Args:
            slot: The call's.
            tokens: What it used; 0 where the server does not say.
        """
        with self._lock:
            slot.tokens = tokens or slot.tokens
            self._allowed = min(float(self._most), self._allowed + 1 / self._allowed)

    def refused(self, slot: Slot, retry_after_s: float | None) -> None:
        """Hear that the server says "too many": half the calls, and none before it is willing."""
        with self._lock:
            now = self._clock()
            if slot.started_s >= self._cut_at_s:  # else it was on its way at the last cut
                self._allowed = max(1.0, self._allowed / 2)
                self._cut_at_s = now
            if retry_after_s is not None:
                until = now + min(retry_after_s, MAX_RETRY_AFTER_S)
                self._closed_until_s = max(self._closed_until_s, until)

    def _try(self, tokens: int) -> tuple[Slot | None, float]:
        """Return a place, or how long to wait before trying again."""
        with self._lock:
            now = self._clock()
            while self._recent and now - self._recent[0].started_s >= _MINUTE_S:
                self._recent.popleft()
            wait_s = max(self._closed_until_s - now, self._minute_wait_s(now, tokens))
            if wait_s > 0:
                return None, max(wait_s, _LEAST_WAIT_S)
            if self._in_flight >= int(self._allowed):
                return None, _POLL_S
            slot = Slot(now, tokens)
            self._in_flight += 1
            if self._rpm is not None or self._tpm is not None:
                self._recent.append(slot)
            return slot, 0.0

    def _minute_wait_s(self, now: float, tokens: int) -> float:
        """Return how long until the last minute has room for one more call of so many tokens.

        A call that is larger than the limit itself starts when the minute is empty.
        """
        wait_s, left = 0.0, sum(slot.tokens for slot in self._recent)
        for position, slot in enumerate(self._recent):
            full = self._rpm is not None and len(self._recent) - position >= self._rpm
            if not full and (self._tpm is None or left + tokens <= self._tpm):
                break
            wait_s = slot.started_s + _MINUTE_S - now
            left -= slot.tokens
        return wait_s
