"""Runs one command and writes its wall and CPU seconds and peak memory; imports next to nothing.

A process starts with the peak memory of the one that started it, so a comparison that has loaded
large libraries must not start what it measures by itself.

    python measure.py RESULT COMMAND...
"""

from __future__ import annotations

import os
import sys
import time


def main() -> int:
    """Write `wall_s cpu_s peak_kb exit` to the file RESULT, and return 0."""
    result, command = sys.argv[1], sys.argv[2:]
    started = time.monotonic()
    child = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    wall = time.monotonic() - started
    with open(result, "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib costs memory
        cpu = usage.ru_utime + usage.ru_stime  # of those that it waited for, too
        code = os.waitstatus_to_exitcode(status)
        file.write(f"{wall:.3f} {cpu:.3f} {usage.ru_maxrss} {code}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
