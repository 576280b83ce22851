"""All that reaches the terminal: the story on stderr, the result on stdout."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Any
from unicodedata import combining, east_asian_width

from llmsynthor.app.scorecard import scorecard, verdict
from llmsynthor.errors import InputError
from llmsynthor.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    import llmsynthor as ls
    from llmsynthor.app.scorecard import Part
    from llmsynthor.errors import LLMSynthorError


WIDTH = 80
_MOST_ROWS = 10


def out(text: str) -> None:
    """Write a line of the result to stdout, until its reader has had enough."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # typer would end with exit code 1, which is a bug's
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Write a line of the story to stderr; no label in it can steer the terminal."""
    sys.stderr.write(printable(text, "\n") + "\n")
    sys.stderr.flush()


def width_of(text: str) -> int:
    """Return how many columns of a terminal the text takes.

    Example:
        >>> width_of("a\N{CJK UNIFIED IDEOGRAPH-4E2D}")
        3
    """
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: str, columns: int) -> str:
    """Return the text on one line, cut to so many columns of a terminal."""
    line = printable(text)
    if width_of(line) <= columns:
        return line
    while line and width_of(line) > columns - 1:
        line = line[:-1]
    return line + "…"


def _padded(text: str, columns: int) -> str:
    shown = fit(text, columns)
    return shown + " " * (columns - width_of(shown))


def _wrapped(text: str) -> str:
    """Return a sentence in lines of at most 80 columns."""
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def print_error(error: LLMSynthorError) -> None:
    """Show an expected failure: what is wrong, and what to do."""
    problems = error.problems if isinstance(error, InputError) else ()
    if len(problems) < 2:
        say(f"error: {error}")
        if error.hint:
            say(f"\nhint: {error.hint}")
        return
    for hint, group in groupby(problems, key=lambda problem: problem.hint):
        for problem in group:
            say(f"error: {problem}")
        if hint:
            say(f"hint: {hint}\n")
    say(f"{len(problems)} problems; nothing was spent")


class WarningListener:
    """Tells only what is odd."""

    def iteration(self, line: ls.Iteration) -> None:
        """Say nothing."""

    def progress(self, stage: str, done: int, whole: int) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Show something odd."""
        say(f"warning: {text}")


def print_summary(report: dict[str, Any], folder: Path) -> None:
    """Show the scorecard of a run, at most 80 columns wide, with where the report is."""
    say("")
    for part in scorecard(report):
        _print_part(part)
    for line in verdict(report):
        say(_wrapped(line))
    say(f"report: {folder / 'report.html'}")


_WIDTHS = {4: (9, 10, 9, 14), 3: (12, 12, 11)}
"""Of the columns beside the names, by how many there are."""


def _print_part(part: Part) -> None:
    widths = _WIDTHS[len(part.heads)]
    rows = [(f"  {name}", *figures) for name, *figures in part.rows[:_MOST_ROWS]]
    for name, *figures in [(part.title, *part.heads), *rows]:
        ends = (f"{figure:>{width}}" for figure, width in zip(figures, widths, strict=True))
        say(_padded(name, WIDTH - sum(widths)) + "".join(ends))
    if len(part.rows) > _MOST_ROWS:
        say(f"  and {len(part.rows) - _MOST_ROWS} more: see report.html")
    say("")


def print_result(content: object, text: str, *, as_json: bool) -> None:
    """Write what a command found to stdout: all of it for a machine, or a text."""
    if as_json:
        print_json(content)
    else:
        out(text)


def print_json(content: object) -> None:
    """Write JSON to stdout."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    out("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))
