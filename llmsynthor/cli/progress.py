"""The progress of a run: two live lines on a terminal, else lines of `key=value`; all in run.log."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from llmsynthor.cli.console import fit, say
from llmsynthor.errors import StopRequestedError
from llmsynthor.text import count_of, printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    import llmsynthor as ls

SILENCE_S = 10.0
"""A batch job's log is never silent for longer than this."""
_REDRAW_S = 0.5
_BAR = (6, 16)
"""Characters of the bar, at least and at most: it gets what the words leave of the line."""


class ConsoleListener:
    """Tells the story of a run to a person, and all of it to `run.log`."""

    def __init__(
        self,
        *,
        quiet: bool,
        verbose: bool,
        log: Path,
        records: int,
        iterations: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quiet, self._verbose, self._log = quiet, verbose, log
        self._records, self._iterations = records, iterations
        self._clock = clock
        self._live = sys.stderr.isatty() and not quiet and os.environ.get("TERM") != "dumb"
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._ticker: threading.Thread | None = None
        self._stage, self._since, self._first = "", clock(), 0
        self._done, self._current = 0, 0
        self._told_at = clock()
        self._line: ls.Iteration | None = None
        self._told = 0  # the last iteration
        self._seconds: list[float] = []
        self._between = True
        self._drawn = 0

    def __enter__(self) -> Self:
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._over.set()
        with self._lock:
            self._clear()
            self._live = False
            if self._stage and error is not None:
                stopped = isinstance(error, StopRequestedError)
                words = f"stopped by {error}" if stopped else str(error) or type(error).__name__
                self._write("WARNING" if stopped else "ERROR", words)

    def iteration(self, line: ls.Iteration) -> None:
        """Show a finished iteration."""
        with self._lock:
            self._line, self._done = line, line.records
            self._current = self._told = line.iteration
            self._seconds.append(line.seconds)
            self._between = True
            self._tell("INFO", self._words(line), short=self._short(line))

    def progress(self, stage: str, done: int, whole: int) -> None:
        """Show how far a stage is: a new one begins, or records were written."""
        with self._lock:
            fresh = self._between or stage != self._stage
            self._records = whole or self._records
            self._between = False
            tenth = done * 10 // max(whole, 1) > self._done * 10 // max(whole, 1)
            if fresh:
                self._stage, self._since, self._first = stage, self._clock(), done
            if fresh and stage == "asking":
                self._current = self._told + 1
            self._done = done
            if self._live:
                self._draw()
            if fresh:
                self._tell("INFO", self._state(), show=self._verbose and not self._live)
            elif tenth:
                self._tell("INFO", self._state(), show=not self._live)

    def warn(self, text: str) -> None:
        """Show something odd."""
        with self._lock:
            self._tell("WARNING", text, always=True, short=f"warning: {text}")

    def finished(self, report: dict[str, Any]) -> None:
        """Write into the log how the run ended."""
        with self._lock:
            if self._stage:  # else nothing was done
                made, used = report["records"], report["llm"]
                self._write(
                    "INFO",
                    f"{'pass' if report['pass'] else 'not passed'} "
                    f"records={made['made']}/{made['asked']} calls={used['calls']} "
                    f"cost_usd={_cost(used['cost_usd'])} "
                    f"worst_tvd={report['summary']['control_tvd_max']:.5f} "
                    f"stop_reason={_quoted(report['stop_reason'])}",
                )

    def _words(self, line: ls.Iteration) -> str:
        used, worst = line.so_far, line.worst_table
        table = f"worst_table={_quoted(worst.name)} worst_tvd={worst.tvd:.4f} " if worst else ""
        return (
            f"iteration {line.iteration} of {self._iterations} "
            f"proposals={line.library} accepted={line.proposals_accepted} "
            f"rejected={line.proposals_rejected} prior_tvd={line.prior_tvd:.4f} {table}"
            f"records={line.records}/{self._records} calls={used.calls} "
            f"tokens={used.tokens} cost_usd={_cost(used.cost_usd)}"
        )

    def _short(self, line: ls.Iteration) -> str:
        return (
            f"iteration {line.iteration}/{self._iterations}: "
            f"{count_of(line.library, 'proposal')}, prior TVD {line.prior_tvd:.4f}, "
            f"{count_of(line.records, 'record')}"
        )

    def _state(self) -> str:
        """Return the stage and how far it is, as a line of the log."""
        iteration = f"iteration={self._current}/{self._iterations} " if self._current else ""
        seconds = f" seconds={self._clock() - self._since:.0f}"
        left = self._left()
        eta = "" if left is None else f" eta_s={left:.0f}"
        return f"{self._stage} {iteration}records={self._done}/{self._records}{seconds}{eta}"

    def _left(self) -> float | None:
        """Return the seconds until all is written, or until asking ends at the latest."""
        passed = self._clock() - self._since
        if self._stage == "writing":
            made = self._done - self._first
            return passed * (self._records - self._done) / made if made > 0 else None
        left = self._iterations - self._told
        if not self._seconds or left <= 0 or self._current <= self._told:
            return None
        return max(0.0, left * sum(self._seconds) / len(self._seconds) - passed)

    def _tick(self) -> None:
        """Redraw the live lines; off a terminal, break a long silence."""
        while not self._over.wait(_REDRAW_S):
            with self._lock:
                if self._over.is_set() or not self._stage:
                    continue
                if self._live:
                    self._draw()
                if self._clock() - self._told_at >= SILENCE_S:
                    self._tell("INFO", self._state(), show=not self._live)

    def _tell(
        self,
        level: str,
        words: str,
        *,
        always: bool = False,
        show: bool = True,
        short: str | None = None,
    ) -> None:
        self._told_at = self._clock()
        stamped = self._write(level, words)
        if always or (show and not self._quiet):
            self._clear()
            brief = short and not self._verbose if self._live else False
            say(short if brief and short else stamped)
            if self._live:
                self._draw()

    def _write(self, level: str, words: str) -> str:
        """Write a line into the log and return it; one line, whatever the words hold."""
        stamped = f"{datetime.now(UTC).isoformat(timespec='seconds')} {level} {printable(words)}"
        # the log is a convenience; the disk's state is reported where data is written
        with suppress(OSError), self._log.open("a", encoding="utf-8", errors="replace") as file:
            file.write(stamped + "\n")
        return stamped

    def _clear(self) -> None:
        # line by line: some terminals keep what is cleared from the top on in their history
        if self._live and self._drawn:
            back = f"\x1b[{self._drawn - 1}A" if self._drawn > 1 else ""
            sys.stderr.write("\r" + "\n".join(["\x1b[K"] * self._drawn) + f"{back}\r")
            sys.stderr.flush()
            self._drawn = 0

    def _draw(self) -> None:
        """Write the live lines, and leave the cursor where the first begins."""
        width = shutil.get_terminal_size().columns - 1
        lines = [fit(line, width) for line in self._live_lines(width) if line]
        self._drawn = len(lines)
        back = f"\x1b[{len(lines) - 1}A" if len(lines) > 1 else ""
        sys.stderr.write("\r" + "\n".join(f"{line}\x1b[K" for line in lines) + f"{back}\r")
        sys.stderr.flush()

    def _live_lines(self, width: int) -> tuple[str, str]:
        number = min(self._current, self._iterations)
        where = f"iteration {number}/{self._iterations}, " if number else ""
        left = self._left()
        most = "" if self._stage == "writing" else " at most"
        eta = "" if left is None else f", ETA {_duration(left)}{most}"
        begin = f"{where}{self._stage} {_duration(self._clock() - self._since)}"
        end = f" {self._done:,}/{self._records:,} records{eta}"
        room = min(_BAR[1], width - len(begin) - len(end) - len(" []"))
        filled = round(room * self._done / max(self._records, 1))
        bar = f" [{'#' * filled}{'.' * (room - filled)}]" if room >= _BAR[0] else ","
        first = f"{begin}{bar}{end}"
        if not self._line:
            return first, ""
        used, worst = self._line.so_far, self._line.worst_table
        cost = "cost unknown" if used.cost_usd is None else f"{used.cost_usd:.4f} USD"
        spent = f"{count_of(used.calls, 'call')}, {count_of(used.tokens, 'token')}, {cost}"
        if not worst:
            return first, spent
        room = max(8, width - len(spent) - len("worst table  TVD 0.0000; "))
        return first, f"worst table {fit(worst.name, room)} TVD {worst.tvd:.4f}; {spent}"


def _cost(cost_usd: float | None) -> str:
    return "unknown" if cost_usd is None else f"{cost_usd:.4f}"


def _quoted(text: str) -> str:
    """Return a value of a `key=value` pair, in quotes where it would fall apart."""
    plain = text and not any(c in ' ="' or not c.isprintable() for c in text)
    return text if plain else json.dumps(text, ensure_ascii=False)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
