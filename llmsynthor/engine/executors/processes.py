"""Chunks in processes of this machine: one chunk each at a time; a killed process is replaced."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, forkserver, get_all_start_methods, get_context
from types import ModuleType
from typing import TYPE_CHECKING

from llmsynthor.engine.zones.chunk import ENVIRONMENT, KILLED, MOST_KILLED, Ending

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext, SpawnContext
    from multiprocessing.process import BaseProcess
    from pathlib import Path

_POLL_S = 0.1
"""A longer wait would answer a signal late: polars' handler of SIGINT restarts a blocked one."""
LOADED_ONCE = [
    "numpy.ma", "numpy.random", "llmsynthor.fitting.calibrate", "llmsynthor.fitting.whole.integerize",
    "llmsynthor.job.load", "llmsynthor.candidates.library", "llmsynthor.targets.statistic", "llmsynthor.targets.by_zone",
]  # fmt: skip
"""Modules that all workers get from the process that they are forked from. Nothing that imports polars:
its threads do not survive a fork."""


@dataclass
class _Worker:
    """A process and what it works on."""

    process: BaseProcess
    pipe: Connection
    chunk: int | None = None


class Processes:
    """Makes chunks in a number of processes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._workers: list[_Worker] = []
        self._waiting: deque[int] = deque()
        self._killed: dict[int, int] = {}

    def run(self, folder: Path, numbers: Sequence[int]) -> Generator[Ending]:
        """Yield how each chunk ended, as soon as it is known; stop all work when closed."""
        self._waiting = deque(numbers)
        try:
            while self._waiting or self._workers:
                self._hire(folder)
                yield from self._heard()
        finally:
            self._end()

    def _hire(self, folder: Path) -> None:
        """Give each idle worker a chunk; start workers while chunks wait, end those without one."""
        for worker in [w for w in self._workers if w.chunk is None]:
            if self._waiting:
                self._give(worker)
            else:
                self._dismiss(worker)
        while self._waiting and len(self._workers) < self.number:
            worker = _started(folder)
            self._workers.append(worker)
            self._give(worker)

    def _give(self, worker: _Worker) -> None:
        worker.chunk = self._waiting.popleft()
        with suppress(OSError):  # it is gone: that is heard of when it is listened to
            worker.pipe.send(worker.chunk)

    def _heard(self) -> Iterator[Ending]:
        """Yield what workers have to say; put back the chunks of those that are gone."""
        by_pipe = {worker.pipe: worker for worker in self._workers}
        for pipe in connection.wait(list(by_pipe), timeout=_POLL_S):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                ending: Ending = worker.pipe.recv()
            except (EOFError, OSError):
                yield from self._lost(worker)
            else:
                worker.chunk = None
                yield ending

    def _lost(self, worker: _Worker) -> Iterator[Ending]:
        chunk = worker.chunk
        self._dismiss(worker)
        if chunk is None:
            return
        self._killed[chunk] = self._killed.get(chunk, 0) + 1
        if self._killed[chunk] < MOST_KILLED:
            self._waiting.append(chunk)
        else:
            yield Ending(chunk, "failed", KILLED)

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.pipe.close()  # it ends when it hears nothing more
        worker.process.join(timeout=5)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()

    def _end(self) -> None:
        """Kill what still works: a file is there whole or not at all."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers = []


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_ready() -> None:
    """Begin to load what workers need, if that is not done, while there is something else to do."""
    if _context().get_start_method() == "forkserver":
        with _environment():
            forkserver.ensure_running()


def _context() -> ForkServerContext | SpawnContext:
    """Return how workers are started: from a process that holds most of their libraries, if possible."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(LOADED_ONCE)
    return context


def _started(folder: Path) -> _Worker:
    context = _context()
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(str(folder), theirs), daemon=True)
    with _environment():
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _environment() -> Iterator[None]:
    """Set what a worker must find when it starts: its libraries read it as they are loaded.

    A worker runs the program's main module again, which in a script of a user's would be the run
    itself: it is shown an empty one.
    """
    before, main = {name: os.environ.get(name) for name in ENVIRONMENT}, sys.modules["__main__"]
    os.environ.update(ENVIRONMENT)
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _work(folder: str, pipe: Connection) -> None:
    """Make the chunks that are named, until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; who started us decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    from pathlib import Path

    from llmsynthor.engine.zones.chunk import ended

    while True:
        try:
            number = pipe.recv()
        except (EOFError, OSError):
            return
        ending = ended(Path(folder), number)
        try:
            pipe.send(ending)
        except OSError:
            return


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone."""
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
