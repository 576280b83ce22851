"""Whole commands in processes of their own: their seconds and peak memory, and the machine they ran on."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import llmsynthor

BENCHMARKS = Path(__file__).parent
TIME_LIMIT_S = 3600


class FailedError(Exception):
    """A process failed; the message says how."""


def measured(
    command: list[str], folder: Path, *, accepted: tuple[int, ...] = (0,)
) -> dict[str, Any]:
    """Run a command in a process of its own; return its seconds, peak memory, exit code and last line.

    CPU seconds include those of its workers: on a loaded machine they say more than wall seconds.

    Raises:
        FailedError: It ended in another way than `accepted`.
    """
    result, output, story = folder / "measured", folder / "stdout", folder / "stderr"
    words = [sys.executable, str(BENCHMARKS / "measure.py"), str(result), *command]
    with output.open("wb") as stdout, story.open("wb") as stderr:
        process = subprocess.Popen(
            words, cwd=BENCHMARKS, stdout=stdout, stderr=stderr, start_new_session=True
        )
        try:
            process.wait(TIME_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the group is this process's own
            process.wait()
            raise FailedError(f"stopped after {TIME_LIMIT_S} s") from None
    lines = [line for line in story.read_text(errors="replace").splitlines() if line.strip()]
    said = lines[-1][:200] if lines else ""
    if process.returncode:
        raise FailedError(f"did not start: {said}")
    wall, cpu, peak, code = result.read_text(encoding="ascii").split()
    if int(code) < 0:
        raise FailedError(f"killed by signal {-int(code)}")
    if int(code) not in accepted:
        raise FailedError(f"exit code {code}: {said}")
    last = output.read_text(encoding="utf-8").strip().splitlines()[-1:]
    return {
        "wall_s": round(float(wall), 2),
        "cpu_s": round(float(cpu), 2),
        "peak_mb": round(int(peak) / 1024),
        "exit": int(code),
        "line": last[0] if last else "",
    }


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the programs."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": os.cpu_count(),
        "cpu": names[0] if names else platform.machine(),
        "memory_gb": round(memory / 1e9, 1),
        "load_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "llmsynthor": llmsynthor.__version__,
        "numpy": np.__version__,
        "polars": pl.__version__,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
