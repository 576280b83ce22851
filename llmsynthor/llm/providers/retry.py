"""When a call may go: again, after which failures and waits; and beside how many others."""

from __future__ import annotations

import math
import re
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

import tenacity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

MAX_BACKOFF_S = 60.0
MAX_RETRY_AFTER_S = 300.0
"""A server that asks for more is not waited for longer: a run that stops can be resumed."""

CROWDED = frozenset({429, 503, 529})
"""What a server sends that has too much to do; calling less often helps."""

_MAY_PASS_BELOW_500 = frozenset({408, 409, 425, 429})
_REPEATS_ABOVE_499 = frozenset({501, 505})
_REPEATS = re.compile(r"insufficient_quota|Request too large")
"""Sent by OpenAI as 429, which elsewhere asks for patience."""
_MAY_PASS = re.compile(r"json_validate_failed|failed_generation")
"""Groq answers 400 when the model, not the request, broke the form: the next try may pass."""

_MINUTE_S = 60.0
_POLL_S = 0.02
_LEAST_WAIT_S = 1e-3

_WRAPPING = re.compile(r"^(?:\s*(?:litellm\.)?(?:\w*(?:Error|Exception)|Timeout)(?::| -)\s)+")
_NO_USE_TO_A_READER = re.compile(r"Traceback \(most recent|This looks like a bug in LiteLLM")


class RetryableError(Exception):
    """A failure that may pass.

    Attributes:
        retry_after_s: What the server asked to wait, or None.
        crowded: Whether the server has too much to do.
    """

    def __init__(
        self, reason: str, *, retry_after_s: float | None = None, crowded: bool = False
    ) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s
        self.crowded = crowded


def with_retries(
    call: Callable[[], T],
    *,
    retries: int,
    sleep: Callable[[float], None],
    backoff_s: float = 1.0,
    on_retry: Callable[[int, float, str], None] | None = None,
) -> T:
    """Return what `call` returns, after at most `retries` further tries.

    Raises:
        RetryableError: That of the last try.
    """

    def tell(state: tenacity.RetryCallState) -> None:
        if on_retry is not None and state.next_action is not None:
            on_retry(state.attempt_number, state.next_action.sleep, str(_error_of(state)))

    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(retries + 1),
        wait=_Wait(backoff_s),
        retry=tenacity.retry_if_exception_type(RetryableError),
        sleep=sleep,
        before_sleep=tell,
        reraise=True,
    )
    return retrying(call)


class _Wait(tenacity.wait.wait_base):
    """Exponential back-off, half of it random, and never less than the server asked for.

    The random half, also added to what the server asked for, keeps workers that were refused
    together from returning together.
    """

    def __init__(self, backoff_s: float) -> None:
        half, longest = backoff_s / 2, MAX_BACKOFF_S / 2
        self._backoff = tenacity.wait_exponential(half, longest) + tenacity.wait_random_exponential(
            half, longest
        )
        self._jitter = tenacity.wait_random(0, backoff_s)

    def __call__(self, retry_state: tenacity.RetryCallState) -> float:
        wait_s = self._backoff(retry_state)
        error = _error_of(retry_state)
        if not isinstance(error, RetryableError) or error.retry_after_s is None:
            return wait_s
        return max(wait_s, min(error.retry_after_s, MAX_RETRY_AFTER_S) + self._jitter(retry_state))


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Return the seconds that a `Retry-After` header asks to wait, or None when it says nothing.

    Example:
        >>> parse_retry_after("2.5"), parse_retry_after("soon")
        (2.5, None)
        >>> now = datetime(2015, 10, 21, 7, 27, 50, tzinfo=UTC)
        >>> parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now=now)
        10.0
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return None
        # A date without a zone is in universal time: HTTP knows no other.
        until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
        seconds = (until - (now or datetime.now(UTC))).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def may_pass(status: int | None, told: str) -> bool:
    """Return whether the same request may succeed later.

    Args:
        status: HTTP status, or what stands for it when there was no answer; None repeats.
        told: All that the server said.
    """
    if _MAY_PASS.search(told):
        return True
    if status is None or _REPEATS.search(told):
        return False
    return status in _MAY_PASS_BELOW_500 or (status >= 500 and status not in _REPEATS_ABOVE_499)


def causes(error: BaseException) -> list[BaseException]:
    """Return `error` and what led to it, the first cause last."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def http_status(error: BaseException) -> int | None:
    """Return the status that the server really sent, or None when there was no answer.

    litellm's own `status_code` is also set (500, 408) when nothing answered, and is 429 for any
    error that speaks of a rate limit; the client's error, among the causes, has the true one.
    """
    for cause in causes(error):
        # By name, as httpx is litellm's dependency and not ours.
        if any(base.__name__ == "HTTPStatusError" for base in type(cause).__mro__):
            status = getattr(getattr(cause, "response", None), "status_code", None)
            return status if isinstance(status, int) else None
    return None


def asked_wait_s(error: BaseException) -> float | None:
    """Return how long the server asks to wait, or None; litellm hides it in several places."""
    for cause in causes(error):
        for place in (cause, getattr(cause, "response", None)):
            for name in ("litellm_response_headers", "headers"):
                headers = getattr(place, name, None) or {}
                wait_s = parse_retry_after(headers.get("retry-after"))
                if wait_s is not None:
                    return wait_s
    return None


def reason_of(error: BaseException) -> str:
    """Return what went wrong in one line, without the wrapping of litellm's errors."""
    text = _NO_USE_TO_A_READER.split(str(getattr(error, "message", error)))[0]
    text = _WRAPPING.sub("", " ".join(text.split()))
    status = http_status(error)
    if status is not None:
        return f"HTTP {status}: {text}"
    root = " ".join(str(causes(error)[-1]).split())  # litellm says only `Connection error.`
    return text if not root or root in text else root


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
        """Start with nothing in flight; `rpm` and `tpm` are of calls that start within any 60 s."""
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
        """Wait until a call may start that can use so many tokens, and hold its place in flight."""
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
        """Hear of a reply that used so many tokens, 0 where the server does not say.

        One more call may be in flight after each round of replies.
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
