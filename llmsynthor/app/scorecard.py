"""How near a run came, in a few figures: the same for a terminal, a notebook and a log."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from llmsynthor.text import and_more, clean, count_of, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MOST_WAIVED = 3
_LONGEST_UNIT = 9
_TITLES = {
    "control": "control tables (met)",
    "released": "tables freed by the scenario",
    "validate": "validate tables (held out)",
}


@dataclass(frozen=True)
class Part:
    """One list of figures.

    Attributes:
        title: Stands over the names.
        heads: Stand over the other columns.
        rows: A name, then an entry for each head.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def scorecard(report: dict[str, Any]) -> Iterator[Part]:
    """Yield the tables by role, then the statistics, of each the worst first or its worst figure."""
    for role, title in _TITLES.items():
        tables = [table for table in report["tables"] if table["role"] == role]
        if tables:
            last = "wrong" if role == "control" else "ratio"
            rows = tuple(map(_scores, sorted(tables, key=lambda t: -t["tvd"])))
            yield Part(title, ("TVD", "max.ent.", "noise", last), rows)
    statistics = report.get("statistics", [])
    if statistics:
        rows = tuple(map(_worst, statistics))
        yield Part("means, quantiles, rates: worst figure", ("target", "records", "error"), rows)


def _scores(table: dict[str, Any]) -> tuple[str, ...]:
    maxent = table["baseline"]["maxent"]
    if table["role"] == "control":
        counted = table.get("counts", "records")  # reports of older versions do not say
        unit = "rec" if counted == "records" else counted[:_LONGEST_UNIT]
        end = f"{table['tae']:,.0f} {unit}"
    else:
        end = f"{table['tvd'] / maxent:.2f}" if maxent > 0 else "-"
    figures = (f"{table['tvd']:.5f}", f"{maxent:.4f}", f"{table['noise_floor_tvd']:.4f}")
    return (table["name"], *figures, end)


def _worst(entry: dict[str, Any]) -> tuple[str, ...]:
    worst = max(entry["groups"], key=lambda g: math.inf if g["error"] is None else g["error"])
    found = "nobody" if worst["records"] is None else f"{worst['records']:.6g}"
    error = "-" if worst["error"] is None else f"{100 * worst['error']:.3f} %"
    held_out = " (held out)" if entry["role"] == "validate" else ""
    of = f" of {entry['of']}" if entry["measure"] == "rate" else ""
    name = f"{entry['name']}: {entry['measure']}{of}, {worst['group']}{held_out}"
    return name, f"{worst['target']:.6g}", found, error


def verdict(report: dict[str, Any]) -> list[str]:
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
    from llmsynthor.targets.measures import NEAR_BY

    found = []
    for reason, words in NEAR_BY.items():
        own = [t for t in tables if t.get("passes_by") == reason]
        if own:
            shown = [
                f"{clean(t['name'])} (TVD {t['tvd']:.4f}, tolerance {t['tolerance']:.4f})"
                for t in own
            ]
            told = and_more(shown, _MOST_WAIVED)
            found.append(f"beyond the tolerance, but each cell within {words}: {told}")
    return found


def as_html(lines: Iterable[str], parts: Iterable[Part]) -> str:
    """Return figures and lines as a notebook shows them; nothing in a name is read as HTML."""
    tables = "".join(
        f"<table>{_row('th', (part.title, *part.heads))}"
        f"{''.join(_row('td', row) for row in part.rows)}</table>"
        for part in parts
    )
    return tables + "".join(f"<div>{escape(printable(line))}</div>" for line in lines)


def _row(tag: str, entries: Sequence[str]) -> str:
    cells = "".join(f"<{tag}>{escape(printable(entry))}</{tag}>" for entry in entries)
    return f"<tr>{cells}</tr>"
