"""Chunks on Dask's workers give the same bytes, also when a worker is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from zone_world import children, data_of, run, start

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("distributed")

pytestmark = pytest.mark.slow


@pytest.fixture
def plain(zone_run: Path) -> tuple[Path, Path]:
    """Return a job and the run of it by two processes."""
    return zone_run.parent / "job.yaml", zone_run


def test_local_workers_of_which_one_is_killed(plain, tmp_path):
    job, out = plain
    folder = tmp_path / "out"
    process = start("run", job, "--out", folder, "--set", "executor={dask: {workers: 2}}")
    end = time.monotonic() + 600
    while not list(folder.glob("chunks/0*.json")):
        assert time.monotonic() < end
        time.sleep(0.02)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert data_of(folder) == data_of(out)


def test_the_workers_of_a_scheduler_that_runs(plain, tmp_path):
    job, out = plain
    folder = tmp_path / "out"
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    worker = None
    try:
        address = ""
        assert scheduler.stderr is not None
        while not address:
            found = re.search(r"tcp://127\.0\.0\.1:\d+", line := scheduler.stderr.readline())
            address = found[0] if found else ""
            assert line, "the scheduler ended"
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]  # fmt: skip
        worker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        chosen = f"executor={{dask: {{address: '{address}'}}}}"
        code, _, err = run("run", job, "--out", folder, "--set", chosen)
        assert code == 0, err
        assert data_of(folder) == data_of(out)
    finally:
        for process in (worker, scheduler):
            if process is not None:
                process.terminate()
                process.wait(timeout=120)
        assert scheduler.stderr is not None
        scheduler.stderr.close()


_FAKE_SBATCH = """#!/bin/bash
# takes a job's script as Slurm would, and runs it at once
for script; do :; done
cp "$script" "$LOGS/job"  # it is removed once it is taken
bash "$LOGS/job" >"$LOGS/out" 2>&1 &
echo $! >"$LOGS/pid"
echo "Submitted batch job 77"
"""


def test_workers_in_jobs_of_slurm(plain, tmp_path):
    job, out = plain
    tools, logs, folder = tmp_path / "bin", tmp_path / "logs", tmp_path / "out"
    tools.mkdir()
    logs.mkdir()
    (tools / "sbatch").write_text(_FAKE_SBATCH)
    (tools / "scancel").write_text('#!/bin/bash\nkill "$(cat "$LOGS/pid")" 2>/dev/null || true\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    chosen = "executor={slurm: {jobs: 1, interface: lo, walltime: '00:10:00', queue: short}}"
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    words = ["run", job, "--out", folder, "--set", chosen]
    code, _, err = run(*words, PATH=path, LOGS=str(logs))
    assert code == 0, err + (logs / "out").read_text()
    assert data_of(folder) == data_of(out)


def test_no_scheduler_is_said_so(plain, tmp_path, monkeypatch, capsys):
    from llmsynthor.cli.main import main
    from llmsynthor.engine.executors import dask as dask_workers

    monkeypatch.setattr(dask_workers, "_CONNECT_S", 1)
    words = ["run", str(plain[0]), "--out", str(tmp_path / "out"), "-q"]
    assert main([*words, "--set", "executor={dask: {address: 'tcp://127.0.0.1:1'}}"]) == 75
    said = capsys.readouterr().err
    assert "executor.dask.address: no scheduler answers at tcp://127.0.0.1:1 (" in said
    assert said.endswith(
        "hint: `dask scheduler` starts one; then run the same command with `--resume`\n"
    )
