"""Calls in flight, in a minute, and tokens in a minute: with a clock of our own, and over HTTP."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from scripted_server import ScriptedServer, error, reply

from llmsynthor.job.model import ProviderSpec
from llmsynthor.llm.providers.base import Request
from llmsynthor.llm.providers.litellm import LitellmProvider, load_litellm
from llmsynthor.llm.providers.retry import Limiter


class Clock:
    """Time that passes only in `sleep`."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def limiter(clock: Clock, concurrency: int = 4, **limits: int) -> Limiter:
    return Limiter(concurrency, **limits, clock=clock, sleep=clock.sleep)


def starts(limits: Limiter, calls: int, *, most: int = 0, used: int = 0) -> list[float]:
    """Make calls that are answered at once; return when each started."""
    found = []
    for _ in range(calls):
        with limits.slot(most) as slot:
            found.append(slot.started_s)
            limits.answered(slot, used)
    return found


def test_no_minute_has_more_calls_than_rpm():
    clock = Clock()
    limits = limiter(clock, rpm=3)
    first = starts(limits, 2)
    clock.sleep(50)
    found = first + starts(limits, 6)
    assert found == pytest.approx([0, 0, 50, 60, 60, 110, 120, 120], abs=0.01)
    assert all(b - a >= 60 for a, b in zip(found, found[3:], strict=False))


def test_tokens_are_taken_at_the_most_until_the_reply_says():
    clock = Clock()
    assert starts(limiter(clock, tpm=1000), 3, most=400) == pytest.approx([0, 0, 60], abs=0.01)
    clock = Clock()
    assert starts(limiter(clock, tpm=1000), 4, most=400, used=200) == [0, 0, 0, 0]


def test_a_call_larger_than_tpm_starts_when_the_minute_is_empty():
    clock = Clock()
    assert starts(limiter(clock, tpm=100), 2, most=400) == pytest.approx([0, 60], abs=0.01)


def test_too_many_halves_the_calls_once_and_replies_bring_them_back():
    clock = Clock()
    limits = limiter(clock, concurrency=8)
    together = [limits.slot() for _ in range(4)]
    slots = [place.__enter__() for place in together]
    clock.sleep(1)
    for slot in slots:
        limits.refused(slot, None)
    assert limits.allowed == 4
    for place in together:
        place.__exit__(None, None, None)
    with limits.slot() as slot:
        limits.refused(slot, None)
    assert limits.allowed == 2
    for _ in range(10):
        clock.sleep(1)
        with limits.slot() as slot:
            limits.refused(slot, None)
    assert limits.allowed == 1
    starts(limits, 100)
    assert limits.allowed == 8


def test_what_the_server_asks_to_wait_is_waited_by_all_but_not_for_ever():
    clock = Clock()
    limits = limiter(clock)
    with limits.slot() as slot:
        limits.refused(slot, 20.0)
        limits.refused(slot, 5.0)
    assert starts(limits, 1) == [20]
    with limits.slot() as slot:
        limits.refused(slot, 86_400.0)
    assert starts(limits, 1) == [320]


def request(sequence: int) -> Request:
    return Request("plan", sequence, "s", f"p{sequence}", None, "m", 0.5, 64)


def provider(server: ScriptedServer, on_retry: Any = None, **spec: object) -> LitellmProvider:
    load_litellm()
    given = {"model": "m", "api_base": server.base_url, "concurrency": 8, "timeout_s": 60.0, **spec}
    return LitellmProvider(ProviderSpec(**given), backoff_s=0.05, on_retry=on_retry)


@pytest.mark.slow
def test_calls_back_off_together_from_a_server_that_takes_two_at_once():
    lock, inside, seen, crowded = threading.Lock(), [0], [], threading.Event()

    def two_at_once(_: dict) -> object:
        with lock:
            inside[0] += 1
            crowd = inside[0]
        if crowd > 2:
            crowded.set()
        crowded.wait(30)  # the first calls are there at once, however slow the machine is
        time.sleep(0.03)
        with lock:
            inside[0] -= 1
            seen.append(crowd)
        return reply("yes") if crowd <= 2 else error(429)

    with ScriptedServer(default=two_at_once) as server, ThreadPoolExecutor(8) as pool:
        asking = provider(server, retries=8)
        answers = list(pool.map(lambda n: asking.complete(request(n)), range(40)))
    assert [answer.text for answer in answers] == ["yes"] * 40
    assert max(seen[:8]) > 2
    refused = sum(crowd > 2 for crowd in seen)
    assert refused < len(seen) / 2


def test_nobody_calls_before_the_server_is_willing():
    steps = [error(429, retry_after=0.5)]
    with ScriptedServer(steps, default=lambda _: reply("yes")) as server:
        refused = threading.Event()
        asking = provider(server, lambda *_: refused.set())
        first = threading.Thread(target=asking.complete, args=(request(0),))
        first.start()
        assert refused.wait(60)
        asking.complete(request(1))
        first.join()
    times = [r.at_s for r in server.requests]
    assert len(times) == 3
    assert all(b - a >= 0.4 for a, b in itertools.pairwise(times[:2]))
