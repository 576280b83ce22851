"""All that reaches the terminal: the story on stderr, the result on stdout."""

from __future__ import annotations

import json
import math
import os
import sys
import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Any
from unicodedata import combining, east_asian_width

from llmsynthor.errors import InputError
from llmsynthor.targets.measures import NEAR_BY
from llmsynthor.text import clean, count_of, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from llmsynthor.errors import LLMSynthorError, Problem
    from llmsynthor.store.lines import Iteration


WIDTH = 80
_MOST_TABLES = 10
_MOST_WAIVED = 3
_LONGEST_UNIT = 9


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


def print_warnings(warnings: Iterable[Problem]) -> None:
    """Show what is legal but odd."""
    for warning in warnings:
        say(f"warning: {warning}")


class WarningListener:
    """Tells only what is odd."""

    def iteration(self, line: Iteration) -> None:
        """Say nothing."""

    def progress(self, stage: str, done: int, whole: int) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Show something odd."""
        say(f"warning: {text}")


def print_summary(report: dict[str, Any], folder: Path) -> None:
    """Show the scorecard of a run, at most 80 columns wide, with where the report is."""
    say("")
    for role, title in (
        ("control", "control tables (met)"),
        ("released", "tables freed by the scenario"),
        ("validate", "validate tables (held out)"),
    ):
        tables = [table for table in report["tables"] if table["role"] == role]
        if tables:
            _scorecard(tables, title, control=role == "control")
    _statistics(report.get("statistics", []))
    for line in _verdict(report):
        say(_wrapped(line))
    say(f"report: {folder / 'report.html'}")


def _scorecard(tables: list[dict[str, Any]], title: str, *, control: bool) -> None:
    last = "wrong" if control else "ratio"
    say(f"{title:<38}{'TVD':>9}{'max.ent.':>10}{'noise':>9}{last:>14}")
    for table in sorted(tables, key=lambda t: -t["tvd"])[:_MOST_TABLES]:
        maxent = table["baseline"]["maxent"]
        if control:
            counted = table.get("counts", "records")  # reports of older versions do not say
            unit = "rec" if counted == "records" else counted[:_LONGEST_UNIT]
            end = f"{table['tae']:,.0f} {unit}"
        else:
            end = f"{table['tvd'] / maxent:.2f}" if maxent > 0 else "-"
        name = _padded(table["name"], 36)
        figures = f"{table['tvd']:>9.5f}{maxent:>10.4f}{table['noise_floor_tvd']:>9.4f}"
        say(f"  {name}{figures}{end:>14}")
    if len(tables) > _MOST_TABLES:
        say(f"  and {len(tables) - _MOST_TABLES} more: see report.html")
    say("")


def _statistics(entries: list[dict[str, Any]]) -> None:
    """Print the means, quantiles and rates, the worst figure of each."""
    if not entries:
        return
    say(f"{'means, quantiles, rates: worst figure':<45}{'target':>12}{'records':>12}{'error':>11}")
    for entry in entries[:_MOST_TABLES]:
        worst = max(entry["groups"], key=lambda g: math.inf if g["error"] is None else g["error"])
        found = "nobody" if worst["records"] is None else f"{worst['records']:.6g}"
        error = "-" if worst["error"] is None else f"{100 * worst['error']:.3f} %"
        held_out = " (held out)" if entry["role"] == "validate" else ""
        of = f" of {entry['of']}" if entry["measure"] == "rate" else ""
        name = _padded(f"{entry['name']}: {entry['measure']}{of}, {worst['group']}{held_out}", 43)
        say(f"  {name}{worst['target']:>12.6g}{found:>12}{error:>11}")
    if len(entries) > _MOST_TABLES:
        say(f"  and {len(entries) - _MOST_TABLES} more: see report.html")
    say("")


def _verdict(report: dict[str, Any]) -> list[str]:
    """Return the verdict and what the run took, a sentence a line."""
    records, summary, llm = report["records"], report["summary"], report["llm"]
    missed = [t["name"] for t in report["tables"] if t["pass"] is False]
    broken = [r["name"] for r in report["rules"] if r["violations"]]
    verb = "misses" if len(missed) == 1 else "miss"
    why = [f"{count_of(len(missed), 'table')} {verb} the tolerance"] if missed else []
    off = [s for s in report.get("statistics", []) if s["pass"] is False]
    why += [f"{count_of(len(off), 'statistic')} missed"] if off else []
    why += [f"rules broken: {', '.join(broken)}"] if broken else []
    members = report.get("members")
    if members and any(members["linkage"].values()):
        why.append(f"{members['name']}s do not fit their {members['of']}s")
    why += ["fewer records than asked"] if records["made"] < records["asked"] else []
    verdict = "pass" if report["pass"] else "not passed"
    asked = count_of(records["asked"], "record")
    if members:
        asked += f" with {count_of(members['made'], members['name'])}"
    lines = [f"{verdict}: {records['made']:,} of {asked}{'; ' + '; '.join(why) if why else ''}"]
    lines += _waived(report["tables"])
    if summary["validate_ratio"] is not None:
        lines.append(
            f"held out: mean TVD {summary['validate_tvd_mean']:.4f}, "
            f"{summary['validate_ratio']:.2f} of maximum entropy's {summary['validate_maxent_mean']:.4f}"
        )
    cost = "unknown" if llm["cost_usd"] is None else f"{llm['cost_usd']:.4f} USD"
    return [
        *lines,
        f"model: {llm['model']}, {count_of(llm['calls'], 'call')}, "
        f"{count_of(llm['proposals']['accepted'], 'proposal')}, cost {cost}, "
        f"{report['seconds']['total']:.1f} s",
        f"asking ended: {report['stop_reason']}",
    ]


def _waived(tables: Sequence[dict[str, Any]]) -> list[str]:
    """Return in a sentence for each reason which tables pass though beyond their tolerance."""
    found = []
    for reason, words in NEAR_BY.items():
        own = [t for t in tables if t.get("passes_by") == reason]
        more = f" and {len(own) - _MOST_WAIVED} more" if len(own) > _MOST_WAIVED else ""
        if own:
            shown = ", ".join(
                f"{clean(t['name'])} (TVD {t['tvd']:.4f}, tolerance {t['tolerance']:.4f})"
                for t in own[:_MOST_WAIVED]
            )
            found.append(f"beyond the tolerance, but each cell within {words}: {shown}{more}")
    return found


def print_json(content: object) -> None:
    """Write JSON to stdout."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    out("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))
