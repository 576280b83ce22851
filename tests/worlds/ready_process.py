"""The command line in processes forked from one that has imported litellm: real kills, sooner begun."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class ReadyProcess:
    """Runs commands, one at a time, each in a process of its own that can be killed.

    Example:
        with ReadyProcess(folder / "stderr") as ready:
            assert ready.run("run", job, "--out", out) == 0
    """

    def __init__(self, stderr: Path) -> None:
        """Prepare; `stderr` is the file that gets what commands say."""
        self._stderr = stderr

    def __enter__(self) -> Self:
        command = [sys.executable, __file__]
        pipe = subprocess.PIPE
        with self._stderr.open("ab") as stderr:
            self._parent = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=stderr, bufsize=0
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.communicate()  # it ends with its input

    def run(
        self,
        *words: object,
        stop: Callable[[], bool] = lambda: False,
        by: signal.Signals = signal.SIGKILL,
    ) -> int:
        """Run a command; send it a signal as soon as `stop` says so; return its exit code."""
        asked, told = self._parent.stdin, self._parent.stdout
        assert asked is not None
        assert told is not None
        self._stderr.write_bytes(b"")
        asked.write(json.dumps([str(word) for word in words]).encode() + b"\n")
        pid = int(told.readline())
        while not select.select([told], [], [], 0.005)[0]:
            if stop():
                with suppress(ProcessLookupError):  # it has ended just now
                    os.kill(pid, by)
                break
        return int(told.readline())

    def told(self) -> str:
        """Return what the last command wrote to stderr."""
        return self._stderr.read_text()


def _serve() -> None:
    """Fork a process for each line of stdin; write its id, and then its exit code."""
    from llmsynthor.cli.main import main
    from llmsynthor.engine.executors.processes import LOADED_ONCE
    from llmsynthor.llm.providers.litellm import load_litellm

    load_litellm()
    for module in LOADED_ONCE:
        import_module(module)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os.dup2(2, 1)  # stdout is for the two numbers
            os._exit(main(json.loads(line)))
        _tell(pid)
        _tell(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _serve()
