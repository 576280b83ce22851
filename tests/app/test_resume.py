"""Real kills and signals of a child process, then `--resume`: nothing lost, nothing asked twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from scripted_server import ScriptedServer, Step, hang
from small_job import data_hash, plan_for, provider, write_job

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 12


def command(job: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "llmsynthor", "run", str(job), "--out", str(out), "-q", *options]


def slow_plan(body: dict) -> Step:
    time.sleep(0.15)
    return plan_for(body)


def logged(out: Path) -> set[str]:
    path = out / "replies.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return {json.loads(line)["key"] for line in lines if line.endswith("\n")}


def test_kill_9_at_random_moments_then_resume_gives_the_same_bytes(tmp_path):
    shape = {
        "records": 40000,
        "output": {"row_group": 2000},
        "engine": {
            "iterations": 8,
            "calls_per_iteration": 2,
            "candidates": 20000,
            "pilot_share": 0.01,
        },
    }
    moments = random.Random(5)
    with ScriptedServer(default=slow_plan) as server:
        job = write_job(tmp_path, provider=provider(server.base_url), **shape)
        started = time.monotonic()
        assert subprocess.run(command(job, tmp_path / "whole")).returncode == 0
        took = time.monotonic() - started
        whole, asked = data_hash(tmp_path / "whole"), len(server.requests)
        out, kills, again = tmp_path / "killed0", 0, 0
        while kills < KILLS:
            before, known = len(server.requests), logged(out)
            process = subprocess.Popen(command(job, out, "--resume"))
            try:
                process.wait(moments.uniform(0.45, 1.0) * took * moments.uniform(0.4, 1.0))
                assert process.returncode == 0
                assert data_hash(out) == whole
                again += 1
                out = tmp_path / f"killed{again}"
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                time.sleep(0.3)  # a request that was on its way is counted where it belongs
                kills += 1
            assert len(server.requests) - before <= asked - len(known)
        assert subprocess.run(command(job, out, "--resume")).returncode == 0
        assert data_hash(out) == whole
        bodies = [json.dumps(body, sort_keys=True) for body in server.bodies]
    assert len(logged(out)) == asked
    # a request is repeated only when its reply had not been written down at the kill
    assert len(bodies) <= asked * (again + 2) + 2 * kills


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)]
)
def test_a_signal_in_a_hanging_call_is_answered_long_before_the_call_ends(tmp_path, number, code):
    with ScriptedServer(default=lambda _: hang(60.0)) as server:
        job = write_job(tmp_path, provider=provider(server.base_url, timeout_s=60.0))
        process = subprocess.Popen(
            command(job, tmp_path / "out"), stderr=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while not server.requests and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        _, story = process.communicate(timeout=20)  # the call would take a minute
    assert process.returncode == code
    assert f"stopped by {signal.Signals(number).name}; what was made is kept" in story
    assert "Traceback" not in story
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["status"] == "partial"
    assert manifest["exit_code"] == code
    assert not (tmp_path / "out" / "lock").exists()
