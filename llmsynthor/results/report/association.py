"""How strongly variables go together: Cramér's V of each pair, in the records and in tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmsynthor.targets.table import Table, TableSet

_PREFERENCE = ("control", "released", "validate")


def cramers_v(counts: np.ndarray) -> float | None:
    """Return Cramér's V of a contingency table, 0 (independent) to 1 (one variable gives the other).

    V = sqrt((chi2 / n) / (min(r, c) - 1)) over the rows and columns in which there is anybody,
    without a correction for small samples (Cramér, Mathematical Methods of Statistics, 1946).

    Args:
        counts: Counts or shares, shape `(r, c)`.

    Returns:
        None where fewer than two rows or columns are occupied: then nothing can go together.

    Example:
        >>> cramers_v(np.array([[5.0, 0.0], [0.0, 5.0]]))
        1.0
    """
    there = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(there.shape) < 2:
        return None
    share = there / there.sum()
    expected = np.outer(share.sum(axis=1), share.sum(axis=0))
    square = float(((share - expected) ** 2 / expected).sum()) / (min(there.shape) - 1)
    return min(float(np.sqrt(square)), 1.0)


def association_part(
    tables: TableSet, pairs: Mapping[tuple[int, int], np.ndarray], held: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Return each pair of variables with its V, and the target's V where a table has the pair.

    Args:
        tables: The tables of the job.
        pairs: Records in each combination of two variables, by their columns in the domain.
        held: Records in each cell by table name, in the table's shape.

    Returns:
        In domain order. `v` is over the domain's categories and bins. `target` is None or tells of
        the smallest table that has the pair, control tables first: its V, and the records' V over
        the same categories and bins (which may be coarser than the domain's).
    """
    names = tables.domain.names
    found = []
    for (a, b), counts in pairs.items():
        table = _best_table(tables, names[a], names[b])
        found.append(
            {
                "variables": [names[a], names[b]],
                "v": cramers_v(counts),
                "target": None
                if table is None
                else {
                    "table": table.name,
                    "role": table.role,
                    "v": cramers_v(_margin(table, table.share, names[a], names[b])),
                    "v_synthetic": cramers_v(_margin(table, held[table.name], names[a], names[b])),
                },
            }
        )
    return found


def _best_table(tables: TableSet, first: str, second: str) -> Table | None:
    having = [table for table in tables.tables if {first, second} <= set(table.scope)]
    return min(having, key=lambda t: (_PREFERENCE.index(t.role), t.cells, t.name), default=None)


def _margin(table: Table, cells: np.ndarray, first: str, second: str) -> np.ndarray:
    """Return the cells summed to two variables, `first` along the rows."""
    kept = [table.scope.index(first), table.scope.index(second)]
    others = tuple(axis for axis in range(cells.ndim) if axis not in kept)
    margin = cells.sum(axis=others)
    return margin if kept[0] < kept[1] else margin.T
