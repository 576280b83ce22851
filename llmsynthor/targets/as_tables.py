"""Rates and quantiles as tables that whole counts must follow; what their cells want, weights say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.targets.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.targets.statistic import Statistic
    from llmsynthor.targets.table import TableSet

_RECORDS_A_CELL = 8
"""Where there are fewer, cells are followed but need not be met: rounding could not meet so many."""
_MOST_CELLS = 20_000


def statistic_tables(tables: TableSet, records: int) -> tuple[Table, ...]:
    """Return a table for the rates or quantiles of each entry of the job's statistics.

    Its cells are the groups by the categories of the rate, or by the bins that the quantiles cut.
    What they want is not known before weights are there: the figures are all 1.
    """
    by_name: dict[str, list[Statistic]] = {}
    for statistic in tables.statistics:
        if statistic.role == "control" and statistic.measure in ("rate", "quantile"):
            by_name.setdefault(statistic.name, []).append(statistic)
    found = (_table(own, tables, records) for own in by_name.values())
    return tuple(table for table in found if table.cells <= _MOST_CELLS)


def _table(own: Sequence[Statistic], tables: TableSet, records: int) -> Table:
    masks: dict[str, list[np.ndarray]] = {}
    for statistic in own:
        for group in statistic.groups:
            for name, mask in group.masks.items():
                masks.setdefault(name, []).append(mask)
        for name, mask in statistic.outcome.items():
            masks.setdefault(name, []).append(mask)
        if statistic.measure == "quantile":
            edges = np.asarray(tables.domain[statistic.of].edges)
            whole = tables.domain[statistic.of].kind == "integer"
            for figure in statistic.figures:
                cuts = (np.floor(figure), np.floor(figure) + 1) if whole else (figure,)
                masks.setdefault(statistic.of, []).extend(edges[1:] <= cut for cut in cuts)
    groups = {name: _parts(given) for name, given in masks.items()}
    shape = [int(group.max()) + 1 for group in groups.values()]
    return Table(
        name=own[0].name,
        file=own[0].file,
        role="control",
        scope=tuple(groups),
        labels=tuple(tuple(str(i) for i in range(size)) for size in shape),
        groups=tuple(groups.values()),
        figures=np.ones(shape),
        measure="count",
        tolerance=1.0 if np.prod(shape) * _RECORDS_A_CELL > records else None,
        members=own[0].members,
    )


def _parts(masks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the finest parts of codes that every mask is made of, in the codes' order, int32."""
    _, first, part = np.unique(np.stack(masks), axis=1, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return np.asarray(rank[part.ravel()], dtype=np.int32)
