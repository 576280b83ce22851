"""The page `report.html`: everything a run has to show, in one file that opens offline."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from llmsynthor.labels import printable
from llmsynthor.report.curve import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, cumulative, curves

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jinja2 import Template

UNKNOWN = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
OPEN_TABLES = 3
"""Tables shown unfolded in each section; with a hundred tables the rest would bury the page."""
LARGEST_SHOWN_WHOLE = 400
"""Cells; a larger table is read by its worst cells, and would make the page too heavy."""
WORST_CELLS = 20
PROPOSALS_SHOWN = 25
HEAT_SHARE = 0.5
"""Opacity of the hottest cell: more would take the contrast from the figures in it."""


@dataclass(frozen=True)
class TableView:
    """One table as the page shows it: its target and what the records have.

    Attributes:
        name: As in the report.
        role: `control` or `validate`.
        scope: The variables, one for each dimension.
        labels: For each variable its categories or bins.
        target: Records wanted in each cell.
        synthetic: Records made in each cell.
    """

    name: str
    role: str
    scope: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    target: np.ndarray
    synthetic: np.ndarray

    def __post_init__(self) -> None:
        shape = tuple(len(labels) for labels in self.labels)
        if not (
            self.target.shape == self.synthetic.shape == shape and len(self.scope) == len(shape)
        ):
            raise ValueError(
                f"table `{self.name}`: labels {shape}, target {self.target.shape} and synthetic "
                f"{self.synthetic.shape} differ in shape"
            )


@dataclass(frozen=True)
class _Cell:
    """One cell; shares in percent, differences are synthetic minus target."""

    labels: tuple[str, ...]
    target: float
    synthetic: float
    target_share: float
    share: float
    heat: float

    @property
    def points(self) -> float:
        return self.share - self.target_share

    @property
    def records(self) -> float:
        return self.synthetic - self.target


@dataclass(frozen=True)
class _Block:
    """A table ready for the template: a list of cells, or a grid of rows where `columns` is set."""

    view: TableView
    anchor: str
    measures: Mapping[str, Any]
    cells: Sequence[_Cell]
    columns: tuple[str, ...]
    worst: _Cell | None
    shown_whole: bool
    largest_share: float
    digits: int
    """Decimals of the target's records: none where they are whole."""

    @property
    def rows(self) -> list[Sequence[_Cell]]:
        """Return the cells of a grid, row by row."""
        width = len(self.columns)
        return [self.cells[start : start + width] for start in range(0, len(self.cells), width)]


def render_page(
    report: Mapping[str, Any],
    views: Sequence[TableView],
    iterations: Sequence[Mapping[str, Any]],
    proposals: Sequence[Mapping[str, Any]],
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """Return the whole of `report.html`: one file without links to anything outside it.

    Args:
        report: As `report.json`.
        views: The tables with target and synthetic records.
        iterations: One entry per iteration. Calls, proposals, cost and seconds are of that
            iteration alone; library and records are what there is after it.
        proposals: Every proposal, accepted or not.
        evaluation: As `evaluation.json`, where the records were held against real ones.
    """
    control, validate, released = (
        _scored(report, role) for role in ("control", "validate", "released")
    )
    blocks = _blocks(views, [*control, *validate, *released])
    accepted = [entry for entry in proposals if entry["accepted"]]
    most_records = sorted(accepted, key=lambda entry: -entry["records"])[:PROPOSALS_SHOWN]
    page = _template().render(
        report=report,
        control=control,
        validate=validate,
        released=released,
        anchors={(block.view.role, block.view.name): block.anchor for block in blocks},
        blocks=blocks,
        iterations=iterations,
        so_far=cumulative(iterations),
        curves=curves(iterations),
        chart={
            "width": WIDTH,
            "height": HEIGHT,
            "left": LEFT,
            "right": WIDTH - RIGHT,
            "top": TOP,
            "bottom": HEIGHT - BOTTOM,
        },
        largest_tvd=_largest(
            entry[key] for entry in iterations for key in ("prior_tvd", "data_tvd")
        ),
        made=[entry for entry in most_records if entry["records"]],
        proposals=proposals,
        accepted=len(accepted),
        calibration=report["calibration"] or {},
        open_tables=OPEN_TABLES,
        proposals_shown=PROPOSALS_SHOWN,
        evaluation=evaluation,
    )
    return _whole(page)


def _whole(text: str) -> str:
    """Return the text with `?` for half a surrogate pair, which no file in UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("llmsynthor", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": _number,
        "signed": _signed,
        "percent": _percent_of,
        "money": _money,
        "duration": _duration,
        "label": _label,
        "parts": _parts,
        "plural": _plural,
        "csp_hash": _csp_hash,
    }
    return environment.get_template("page.html.j2")


def _scored(report: Mapping[str, Any], role: str) -> list[dict[str, Any]]:
    """Return the measures of the tables with this role, worst first, with the ratio to maxent."""
    rows = [
        {
            **row,
            "baseline": row["baseline"] or {"independent": None, "maxent": None},
            "soft": row.get("soft", False),
        }
        for row in report["tables"]
        if row["role"] == role
    ]
    for row in rows:
        maxent = row["baseline"]["maxent"]
        row["ratio"] = row["tvd"] / maxent if maxent and row["tvd"] is not None else None
    return sorted(rows, key=lambda row: (row["pass"] is not False, -(row["tvd"] or 0), row["name"]))


def _blocks(views: Sequence[TableView], ranked: Sequence[Mapping[str, Any]]) -> list[_Block]:
    """Return the tables in the order of the scorecard."""
    measures = {(row["role"], row["name"]): row for row in ranked}
    rank = {key: position for position, key in enumerate(measures)}
    ordered = sorted(views, key=lambda view: rank.get((view.role, view.name), len(rank)))
    return [
        _block(view, f"table-{number}", measures.get((view.role, view.name), {}))
        for number, view in enumerate(ordered, start=1)
    ]


def _block(view: TableView, anchor: str, measures: Mapping[str, Any]) -> _Block:
    shown_whole = view.target.size <= LARGEST_SHOWN_WHOLE and view.target.ndim <= 2
    is_grid = shown_whole and view.target.ndim == 2
    if is_grid and view.target.shape[1] > view.target.shape[0]:  # a page is longer than wide
        view = TableView(
            view.name,
            view.role,
            view.scope[::-1],
            view.labels[::-1],
            view.target.T,
            view.synthetic.T,
        )
    target_share, share = _percent(view.target), _percent(view.synthetic)
    order = np.argsort(-np.abs(share - target_share), axis=None, kind="stable")
    shown = np.arange(view.target.size) if shown_whole else order[:WORST_CELLS]
    cells = _cells(view, target_share, share, shown)
    worst = _cells(view, target_share, share, order[:1])
    return _Block(
        view=view,
        anchor=anchor,
        measures=measures,
        cells=cells,
        columns=view.labels[1] if is_grid else (),
        worst=worst[0] if worst and abs(worst[0].points) >= 0.005 else None,
        shown_whole=shown_whole,
        largest_share=_largest(
            value for cell in cells for value in (cell.share, cell.target_share)
        ),
        digits=0 if np.array_equal(view.target, np.round(view.target)) else 1,
    )


def _percent(records: np.ndarray) -> np.ndarray:
    total = float(records.sum())
    return records * (100 / total) if total > 0 else np.zeros(records.shape)


def _cells(
    view: TableView, target_share: np.ndarray, share: np.ndarray, shown: np.ndarray
) -> list[_Cell]:
    heat = share * (HEAT_SHARE / max(float(share.max(initial=0)), 1e-12))
    arrays = (view.target, view.synthetic, target_share, share, heat)
    figures = np.stack([array.reshape(-1)[shown] for array in arrays], axis=1).tolist()
    indices = np.stack(np.unravel_index(shown, view.target.shape), axis=1).tolist()
    return [
        _Cell(tuple(labels[code] for labels, code in zip(view.labels, index, strict=True)), *row)
        for index, row in zip(indices, figures, strict=True)
    ]


def _largest(values: Iterable[float | None]) -> float:
    """Return the largest known value, or 1 where a bar would have no scale."""
    return max((value for value in values if value), default=1.0)


def _number(value: float | None, digits: int = 0) -> str:
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if 0 < abs(value) < 0.5 * 10**-digits:
        return f"<{10**-digits:.{digits}f}"
    return f"{value:,.{digits}f}".replace("-", MINUS)


def _percent_of(share: float | None) -> str:
    return _number(None if share is None else 100 * share, 1)


def _signed(value: float, digits: int = 2) -> str:
    """Return the value with its sign; what rounds to zero has none."""
    text = f"{value:+,.{digits}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text[1:]


def _money(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"${value:,.2f}" if value >= 1 else f"${value:.4f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest:02d} s"
        if minutes < 60
        else f"{minutes // 60} h {minutes % 60:02d} min"
    )


def _label(text: object, longest: int = 160) -> str:
    """Return a label as people can see it: never empty, never a page long."""
    shown = printable(_whole(str(text))).strip() or "(blank)"
    return shown if len(shown) <= longest else f"{shown[:longest].rstrip()}…"


def _parts(text: object) -> list[str]:
    """Return a label in the pieces between which a line may break."""
    return re.findall(r"[^/_]+[/_]*|[/_]+", _label(text))


def _plural(count: int, noun: str, many: str | None = None) -> str:
    return f"{_number(count)} {noun if count == 1 else many or noun + 's'}"


def _csp_hash(script: str) -> str:
    """Return what lets this script, and no other, run under the page's content policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
