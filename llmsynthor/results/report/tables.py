"""A table as the page shows it: its cells, the worst of them, and its pictures."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.results.report.maps import LEAST_POINTS, target_and_synthetic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from markupsafe import Markup

LARGEST_SHOWN_WHOLE = 400
"""Cells; a larger table is read by its worst cells, and would make the page too heavy."""
WORST_CELLS = 20
PICTURED = 40
"""Tables of two variables that have heat maps, worst first; all would make the page too heavy."""
HEAT_SHARE = 0.5
"""Opacity of the hottest cell: more would take the contrast from the figures in it."""


@dataclass(frozen=True)
class TableView:
    """One table as the page shows it: its target and what the records have.

    Attributes:
        name: As in the report.
        role: `control`, `validate` or `released`.
        scope: The variables, one for each dimension.
        labels: For each variable its categories or bins.
        target: Records wanted in each cell.
        synthetic: Records made in each cell.
        counted: What the figures count: `records`, or what members are called.
    """

    name: str
    role: str
    scope: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    target: np.ndarray
    synthetic: np.ndarray
    counted: str = "records"

    def __post_init__(self) -> None:
        shape = tuple(len(labels) for labels in self.labels)
        if not (
            self.target.shape == self.synthetic.shape == shape and len(self.scope) == len(shape)
        ):
            raise ValueError(
                f"table `{self.name}`: labels {shape}, target {self.target.shape} and synthetic "
                f"{self.synthetic.shape} differ in shape"
            )

    def upright(self) -> TableView:
        """Return a table of two variables with the longer one downwards: a page is long, not wide."""
        if self.target.ndim != 2 or self.target.shape[1] <= self.target.shape[0]:
            return self
        return replace(
            self,
            scope=self.scope[::-1],
            labels=self.labels[::-1],
            target=self.target.T,
            synthetic=self.synthetic.T,
        )


@dataclass(frozen=True)
class Cell:
    """One cell; shares in percent, differences are synthetic minus target."""

    labels: tuple[str, ...]
    target: float
    synthetic: float
    target_share: float
    share: float
    heat: float

    @property
    def points(self) -> float:
        """Return the difference in percentage points."""
        return self.share - self.target_share

    @property
    def records(self) -> float:
        """Return the difference in records."""
        return self.synthetic - self.target


@dataclass(frozen=True)
class Block:
    """A table ready for the template.

    Attributes:
        view: The table.
        anchor: Its id on the page.
        measures: Its row of the scorecard, or empty.
        cells: All cells of a table that is shown whole, in order; else the worst.
        columns: Labels across, where the cells are a grid.
        worst: Of a grid the cells that differ most, worst first.
        maps: Heat maps with their captions.
        shown_whole: Whether `cells` are all cells.
        largest_share: Of all cells, target and synthetic, in percent.
        digits: Decimals of the target's records: none where they are whole.
    """

    view: TableView
    anchor: str
    measures: Mapping[str, Any]
    cells: Sequence[Cell]
    columns: tuple[str, ...]
    worst: Sequence[Cell]
    shown_whole: bool
    largest_share: float
    digits: int
    maps: Sequence[tuple[str, Markup]] = field(default_factory=tuple)

    @property
    def rows(self) -> list[Sequence[Cell]]:
        """Return the cells of a grid, row by row."""
        width = len(self.columns)
        return [self.cells[start : start + width] for start in range(0, len(self.cells), width)]


def table_blocks(views: Sequence[TableView], ranked: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Return the tables in the order of the scorecard's rows, the first ones with pictures."""
    measures = {(row["role"], row["name"]): row for row in ranked}
    rank = {key: position for position, key in enumerate(measures)}
    ordered = sorted(views, key=lambda view: rank.get((view.role, view.name), len(rank)))
    pictured = [view for view in ordered if view.target.ndim == 2 and view.target.size]
    drawn = {id(view) for view in _share_out(pictured)}
    return [
        _block(
            view.upright(),
            f"table-{position}",
            measures.get((view.role, view.name), {}),
            is_drawn=id(view) in drawn,
        )
        for position, view in enumerate(ordered, start=1)
    ]


def _share_out(views: Sequence[TableView]) -> list[TableView]:
    """Return the tables to be drawn: the first of each role in turn, `PICTURED` in all."""
    roles: dict[str, list[TableView]] = {}
    for view in views:
        roles.setdefault(view.role, []).append(view)
    turns = sorted((turn, role) for role, group in roles.items() for turn in range(len(group)))
    return [roles[role][turn] for turn, role in turns[:PICTURED]]


def _block(view: TableView, anchor: str, measures: Mapping[str, Any], *, is_drawn: bool) -> Block:
    shown_whole = view.target.size <= LARGEST_SHOWN_WHOLE and view.target.ndim <= 2
    is_grid = shown_whole and view.target.ndim == 2
    target_share, share = _percent(view.target), _percent(view.synthetic)
    apart = np.abs(share - target_share)
    order = np.argsort(-apart, axis=None, kind="stable")[:WORST_CELLS]
    cells = _cells(view, target_share, share, np.arange(view.target.size) if shown_whole else order)
    off = order[apart.reshape(-1)[order] >= LEAST_POINTS]
    return Block(
        view=view,
        anchor=anchor,
        measures=measures,
        cells=cells,
        columns=view.labels[1] if is_grid else (),
        worst=_cells(view, target_share, share, off) if is_grid else (),
        shown_whole=shown_whole,
        largest_share=largest(value for cell in cells for value in (cell.share, cell.target_share)),
        digits=0 if np.allclose(view.target, np.round(view.target), rtol=0, atol=1e-6) else 1,
        maps=target_and_synthetic(target_share, share, (view.labels[0], view.labels[1]), view.name)
        if is_drawn
        else (),
    )


def _percent(records: np.ndarray) -> np.ndarray:
    total = float(records.sum())
    return records * (100 / total) if total > 0 else np.zeros(records.shape)


def _cells(
    view: TableView, target_share: np.ndarray, share: np.ndarray, shown: np.ndarray
) -> list[Cell]:
    heat = share * (HEAT_SHARE / max(float(share.max(initial=0)), 1e-12))
    arrays = (view.target, view.synthetic, target_share, share, heat)
    figures = np.stack([array.reshape(-1)[shown] for array in arrays], axis=1).tolist()
    indices = np.stack(np.unravel_index(shown, view.target.shape), axis=1).tolist()
    return [
        Cell(tuple(labels[code] for labels, code in zip(view.labels, index, strict=True)), *row)
        for index, row in zip(indices, figures, strict=True)
    ]


def largest(values: Iterable[float | None]) -> float:
    """Return the largest known value, or 1 where a bar would have no scale."""
    return max((value for value in values if value), default=1.0)
