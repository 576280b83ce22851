"""Runs one command and writes its wall and CPU seconds and peak memory; imports next to nothing.

A process starts with the peak memory of the one that started it, so a comparison that has loaded
large libraries must not start what it measures by itself.

    python measure.py RESULT COMMAND...
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
import time

_SUBREAPER = 36
"""Of Linux' `prctl`: who starts processes that outlive their parent hears of their end."""


def main() -> int:
    """Write `wall_s cpu_s peak_kb exit` to the file RESULT, and return 0."""
    result, command = sys.argv[1], sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    started = time.monotonic()
    child = os.posix_spawn(command[0], command, os.environ)
    _, status = os.waitpid(child, 0)
    wall = time.monotonic() - started
    with contextlib.suppress(ChildProcessError):  # the process that workers are forked from
        while True:
            os.wait()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(result, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs memory
        cpu = usage.ru_utime + usage.ru_stime  # of workers, too
        code = os.waitstatus_to_exitcode(status)
        file.write(f"{wall:.3f} {cpu:.3f} {usage.ru_maxrss} {code}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
