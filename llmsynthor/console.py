"""All that reaches the terminal: the story on stderr, the result on stdout."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from llmsynthor.errors import InputError
from llmsynthor.labels import printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from llmsynthor.errors import LLMSynthorError, Problem


def out(text: str) -> None:
    """Write a line of the result to stdout."""
    sys.stdout.write(text + "\n")


def say(text: str) -> None:
    """Write a line of the story to stderr; no label in it can steer the terminal."""
    sys.stderr.write(printable(text, "\n") + "\n")
    sys.stderr.flush()


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


class ConsoleListener:
    """Tells the story of a run: a bar on a terminal, else one `key=value` line an iteration."""

    def __init__(
        self, *, quiet: bool, verbose: bool, log: Path, records: int, iterations: int
    ) -> None:
        self._quiet = quiet
        self._verbose = verbose
        self._log = log
        self._records = records
        self._iterations = iterations
        self._live = sys.stderr.isatty() and not quiet

    def iteration(self, line: dict[str, Any]) -> None:
        """Show a finished iteration."""
        used = line["so_far"]
        cost = "unknown" if used["cost_usd"] is None else f"{used['cost_usd']:.4f}"
        words = (
            f"iteration {line['iteration']} of {self._iterations} "
            f"proposals={line['library']} accepted={line['proposals_accepted']} "
            f"rejected={line['proposals_rejected']} prior_tvd={line['prior_tvd']:.4f} "
            f"records={line['records']}/{self._records} calls={used['calls']} "
            f"tokens={used['tokens']} cost_usd={cost}"
        )
        short = (
            f"iteration {line['iteration']}/{self._iterations}: {line['library']} proposals, "
            f"prior TVD {line['prior_tvd']:.4f}, {line['records']:,} records, {used['calls']} calls, "
            f"{used['tokens']:,} tokens, cost {cost}{'' if used['cost_usd'] is None else ' USD'}"
        )
        self._tell("INFO", words, short=short)

    def progress(self, stage: str, done: int, whole: int) -> None:
        """Show how far a stage is."""
        if self._live:
            width = round(28 * done / max(whole, 1))
            bar = "#" * width + "." * (28 - width)
            sys.stderr.write(f"\r{stage} [{bar}] {done:,} of {whole:,} records ")
            if done >= whole:
                sys.stderr.write("\r" + " " * 78 + "\r")
            sys.stderr.flush()
        elif self._verbose:
            self._tell("INFO", f"{stage} records={done}/{whole}")

    def warn(self, text: str) -> None:
        """Show something odd."""
        self._tell("WARNING", text, always=True)

    def _tell(
        self, level: str, words: str, *, always: bool = False, short: str | None = None
    ) -> None:
        stamped = f"{datetime.now(UTC).isoformat(timespec='seconds')} {level} {printable(words)}"
        try:
            with self._log.open("a", encoding="utf-8") as file:
                file.write(stamped + "\n")
        except OSError:
            pass  # the log is a convenience; the disk's state is reported where data is written
        if always or not self._quiet:
            say((short or words) if self._live else stamped)


class WarningListener:
    """Tells only what is odd."""

    def iteration(self, line: dict[str, Any]) -> None:
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
    _verdict(report)
    say(f"report: {folder / 'report.html'}")


def _scorecard(tables: list[dict[str, Any]], title: str, *, control: bool) -> None:
    last = "wrong" if control else "ratio"
    say(f"{title:<38}{'TVD':>9}{'max.ent.':>10}{'noise':>9}{last:>10}")
    for table in sorted(tables, key=lambda t: -t["tvd"])[:12]:
        maxent = table["baseline"]["maxent"]
        if control:
            end = f"{table['tae']:.0f} rec"
        else:
            end = f"{table['tvd'] / maxent:.2f}" if maxent > 0 else "-"
        name = table["name"] if len(table["name"]) <= 36 else table["name"][:35] + "…"
        say(
            f"  {name:<36}{table['tvd']:>9.5f}{maxent:>10.4f}{table['noise_floor_tvd']:>9.4f}{end:>10}"
        )
    if len(tables) > 12:
        say(f"  and {len(tables) - 12} more, all with a smaller TVD")
    say("")


def _verdict(report: dict[str, Any]) -> None:
    records, summary, llm = report["records"], report["summary"], report["llm"]
    missed = [t["name"] for t in report["tables"] if t["pass"] is False]
    broken = [r["name"] for r in report["rules"] if r["violations"]]
    verdict = "pass" if report["pass"] else "not passed"
    why = [f"{len(missed)} tables miss the tolerance"] if missed else []
    why += [f"rules broken: {', '.join(broken)}"] if broken else []
    why += ["fewer records than asked"] if records["made"] < records["asked"] else []
    say(
        f"{verdict}: {records['made']:,} of {records['asked']:,} records{'; ' + '; '.join(why) if why else ''}"
    )
    if summary["validate_ratio"] is not None:
        say(
            f"held out: mean TVD {summary['validate_tvd_mean']:.4f}, "
            f"{summary['validate_ratio']:.2f} of maximum entropy's {summary['validate_maxent_mean']:.4f}"
        )
    cost = "unknown" if llm["cost_usd"] is None else f"{llm['cost_usd']:.4f} USD"
    say(
        f"model: {llm['model']}, {llm['calls']} calls, {llm['proposals']['accepted']} proposals, "
        f"cost {cost}, {report['seconds']['total']:.1f} s"
    )
    say(f"asking ended: {report['stop_reason']}")


def print_json(content: object) -> None:
    """Write JSON to stdout."""
    text = json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False)
    out("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))
