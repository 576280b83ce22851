"""The pages: `report.html`, everything a run has to show, and what `preview` found; open offline."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from llmsynthor import __version__
from llmsynthor.results.report.charts import (
    cumulative,
    cumulative_chart,
    curves,
    histogram,
    line_chart,
    whiskers,
)
from llmsynthor.results.report.formats import FILTERS, label, number, template, whole
from llmsynthor.results.report.maps import association_matrix
from llmsynthor.results.report.tables import PICTURED, TableView, largest, table_blocks
from llmsynthor.targets.measures import NEAR_BY
from llmsynthor.text import count_of, many, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jinja2 import Template
    from markupsafe import Markup

    from llmsynthor.candidates.proposals import ProposalLine
    from llmsynthor.store.lines import Iteration

OPEN_TABLES = 3
"""Tables shown unfolded in each section; with a hundred tables the rest would bury the page."""
PROPOSALS_SHOWN = 25
ORDERED_PICTURED = 24
PAIRS_SHOWN = 25
MATRIX_LARGEST = 40
CONTROLS_PICTURED, CONTROLS_SHOWN = 40, 200
HISTOGRAMS, ZONE_TABLES_SHOWN = 6, 10
PAIRS_NAMED = 10
"""Pairs of variables that a preview names before the rest is folded away."""
LEAST_DRAWN_PERCENT = 0.01
"""Where the largest error is smaller, a histogram would show nothing."""


def render_page(
    report: Mapping[str, Any],
    views: Sequence[TableView],
    iterations: Sequence[Iteration],
    proposals: Sequence[ProposalLine],
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """Return the whole of `report.html`: one file without links to anything outside it."""
    content = _content(report, views, iterations, proposals)
    return whole(_template().render(content, evaluation=evaluation))


def _content(
    report: Mapping[str, Any],
    views: Sequence[TableView],
    iterations: Sequence[Iteration],
    proposals: Sequence[ProposalLine],
) -> dict[str, Any]:
    control, validate, released = (
        _scored(report, role) for role in ("control", "validate", "released")
    )
    blocks = table_blocks(views, [*control, *validate, *released])
    accepted = [entry for entry in proposals if entry.accepted]
    most_records = sorted(accepted, key=lambda entry: -entry.records)[:PROPOSALS_SHOWN]
    return {
        "report": report,
        "members": report.get("members"),
        "control": control,
        "waived": [row for row in control if row.get("passes_by") in NEAR_BY],
        "near_by": NEAR_BY,
        "validate": validate,
        "released": released,
        "anchors": {(block.view.role, block.view.name): block.anchor for block in blocks},
        "blocks": blocks,
        "grids": sum(block.view.target.ndim == 2 for block in blocks),
        "pictured": PICTURED,
        **_statistics(report),
        "ordered": _ordered(report["ordered"]),
        "iterations": iterations,
        "so_far": cumulative(iterations),
        "curves": [
            (f"{curve.title}, by {curve.along}", line_chart(curve)) for curve in curves(iterations)
        ],
        "largest_tvd": largest(
            tvd for entry in iterations for tvd in (entry.prior_tvd, entry.data_tvd)
        ),
        "association": _association(report["association"]),
        "made": [entry for entry in most_records if entry.records],
        "proposals": proposals,
        "accepted": len(accepted),
        "calibration": report["calibration"] or {},
        "zones": [_zones(entry) for entry in report["zones"]],
        "open_tables": OPEN_TABLES,
        "proposals_shown": PROPOSALS_SHOWN,
    }


@cache
def _template() -> Template:
    return template("page.html.j2", FILTERS)


def _scored(report: Mapping[str, Any], role: str) -> list[dict[str, Any]]:
    """Return the measures of the tables with this role, worst first, with the ratio to maxent."""
    rows = [
        {
            **row,
            "baseline": row["baseline"] or {"independent": None, "maxent": None},
            "soft": row.get("soft", False),
            "reconciled": row.get("reconciled"),
            "filled": row.get("filled"),
        }
        for row in report["tables"]
        if row["role"] == role
    ]
    for row in rows:
        maxent = row["baseline"]["maxent"]
        row["ratio"] = row["tvd"] / maxent if maxent and row["tvd"] is not None else None
    return sorted(rows, key=lambda row: (row["pass"] is not False, -(row["tvd"] or 0), row["name"]))


def _statistics(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row for each figure of the statistics, missed ones first, then the worst."""
    rows = [
        {**group, **{key: entry[key] for key in ("name", "measure", "of", "role", "tolerance")}}
        for entry in report.get("statistics", [])
        for group in entry["groups"]
    ]
    rows.sort(key=lambda row: (row["pass"] is not False, -(row["error"] or 0.0)))
    return {
        "statistics": rows,
        "missed_statistics": [row for row in rows if row["pass"] is False],
        "held_statistics": any(row["role"] == "validate" for row in rows),
    }


def _ordered(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the ordered variables, farthest first, with the curves of the first ones."""
    ranked = sorted(
        entries, key=lambda e: (-e["emd"] / max(len(e["labels"]) - 1, 1), e["variable"])
    )
    rows = [
        {
            **entry,
            "gap": max(
                abs(a - b)
                for a, b in zip(entry["cumulative"], entry["cumulative_target"], strict=True)
            ),
        }
        for entry in ranked
    ]
    drawn = [(entry, cumulative_chart(entry)) for entry in ranked[:ORDERED_PICTURED]]
    return {"rows": rows, "drawn": drawn}


def _association(pairs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the pairs, strongest first, and the matrix of all variables or of the strongest."""
    ranked = sorted(pairs, key=lambda pair: (-(pair["v"] or 0.0), pair["variables"]))
    first_seen = dict.fromkeys(name for pair in ranked for name in pair["variables"])
    kept = set(list(first_seen)[:MATRIX_LARGEST])
    in_order = dict.fromkeys(name for pair in pairs for name in pair["variables"])
    names = [name for name in in_order if name in kept]
    matrix: Markup | None = association_matrix(names, pairs) if len(names) > 1 else None
    return {
        "matrix": matrix,
        "variables": len(in_order),
        "drawn": len(names),
        "pairs": ranked[:PAIRS_SHOWN],
        "of": len(ranked),
    }


def _zones(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a variable with many categories, ready for the template; worst tables first."""
    tables = sorted(
        entry["tables"], key=lambda t: (-(t["error_percent"]["max"] or 0.0), t["table"])
    )
    controls = sorted(
        (
            {**control, "table": table["table"], "role": table["role"]}
            for table in tables
            for control in table["controls"]
            if control["zones"]
        ),
        key=lambda c: (-(c["rmse_percent"] or 0.0), c["table"], c["control"]),
    )
    drawn = controls[:CONTROLS_PICTURED]
    return {
        **entry,
        "tables": tables,
        "controls": controls[:CONTROLS_SHOWN],
        "of_controls": len(controls),
        "shown": tables[:ZONE_TABLES_SHOWN],
        "drawn": len(drawn),
        "whiskers": whiskers(
            drawn,
            f"Mean percentage difference of {len(drawn)} controls over {label(entry['variable'])}, "
            "with their percentage RMSE; the table below has the figures",
        )
        if drawn
        else None,
        "histograms": [
            (table, histogram(spread["counts"], spread["edges"], _spread(table)))
            for table in tables[:HISTOGRAMS]
            if ((spread := table["error_percent"])["max"] or 0.0) >= LEAST_DRAWN_PERCENT
        ],
    }


def _spread(table: Mapping[str, Any]) -> str:
    error = table["error_percent"]
    return (
        f"Distribution of errors in {label(table['table'])}: median {number(error['median'], 2)} %, "
        f"95 of 100 categories below {number(error['p95'], 2)} %, largest {number(error['max'], 2)} %"
    )


def render_preview(found: Mapping[str, Any]) -> str:
    """Return the page of what `preview` returned: what a run would ask, could use and would make."""
    page = _preview_template().render(found=found, version=__version__, pairs_shown=PAIRS_NAMED)
    return whole(page)


@cache
def _preview_template() -> Template:
    filters: dict[str, Callable[..., Any]] = {
        "label": label,
        "text": _text,
        "values": _values,
        "plural": count_of,
        "many": many,
        "money": _money,
    }
    return template("preview.html.j2", filters)


def _text(text: object) -> str:
    """Return text of several lines without control characters."""
    return printable(str(text), "\n").strip()


def _values(value: object) -> str:
    """Return what a proposal says of a variable, as it was written."""
    return label(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 400)


def _money(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.4f} USD"
