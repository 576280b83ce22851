"""Real kills and signals of a child process, then `--resume`: nothing lost, nothing asked twice."""

from __future__ import annotations

import json
import random
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from ready_process import ReadyProcess
from scripted_server import ScriptedServer, Step, hang
from small_job import data_hash, plan_for, provider, write_job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

RUNS, KILLS = 3, 4


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReadyProcess]:
    with ReadyProcess(tmp_path_factory.mktemp("ready") / "stderr") as ready:
        yield ready


def progress(out: Path) -> int:
    """Return how many files and replies a run has."""
    while True:
        with suppress(FileNotFoundError):  # a file went away while they were counted
            return sum(1 for _ in out.rglob("*")) + len(logged(out))


def slow_plan(body: dict) -> Step:
    time.sleep(0.05)
    return plan_for(body)


def logged(out: Path) -> set[str]:
    path = out / "replies.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return {json.loads(line)["key"] for line in lines if line.endswith("\n")}


def test_kill_9_at_random_moments_then_resume_gives_the_same_bytes(tmp_path, ready):
    shape = {
        "records": 20000,
        "output": {"row_group": 1000},
        "engine": {
            "iterations": 6,
            "calls_per_iteration": 2,
            "candidates": 4000,
            "pilot_share": 0.01,
        },
    }
    moments = random.Random(5)
    with ScriptedServer(default=slow_plan) as server:
        server.models = ("tiny",)
        job = write_job(tmp_path, provider=provider(server.base_url), **shape)

        def resume(out: Path, stop: Callable[[], bool]) -> int:
            return ready.run("run", job, "--out", out, "-q", "--resume", stop=stop)

        assert resume(tmp_path / "whole", lambda: False) == 0
        whole, asked = data_hash(tmp_path / "whole"), len(server.requests)
        end, kills = progress(tmp_path / "whole"), 0
        for number in range(RUNS):
            out = tmp_path / f"killed{number}"
            for _ in range(KILLS):
                before, known, there = len(server.requests), logged(out), progress(out)
                moment = moments.randint(there + 1, max(there + 1, end))
                code = resume(out, lambda out=out, moment=moment: progress(out) >= moment)
                assert code in {0, -signal.SIGKILL}
                kills += code != 0
                server.settle()
                assert len(server.requests) - before <= asked - len(known)
            assert resume(out, lambda: False) == 0
            assert data_hash(out) == whole
            assert len(logged(out)) == asked
        # a request is repeated only when its reply had not been written down at the kill
        assert len(server.bodies) <= asked * (1 + RUNS) + 2 * kills
        assert kills > RUNS


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)]
)
def test_a_signal_in_a_hanging_call_is_answered_long_before_the_call_ends(
    tmp_path, ready, number, code
):
    sent = []

    def asked() -> bool:
        sent.append(time.monotonic())
        return bool(server.requests)

    with ScriptedServer(default=lambda _: hang(600.0)) as server:
        job = write_job(tmp_path, provider=provider(server.base_url, timeout_s=600.0))
        words = ("run", job, "--out", tmp_path / "out", "-q")
        assert ready.run(*words, stop=asked, by=number) == code
    assert time.monotonic() - sent[-1] < 60  # the call would take ten minutes
    story = ready.told()
    assert f"stopped by {signal.Signals(number).name}; what was made is kept" in story
    assert "Traceback" not in story
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["status"] == "partial"
    assert manifest["exit_code"] == code
    assert not (tmp_path / "out" / "lock").exists()
