"""The last resort of rounding: an integer program (HiGHS) over a few thousand candidates."""

from __future__ import annotations

import numpy as np


def solve_program(
    cell: np.ndarray,
    error: np.ndarray,
    importance: np.ndarray,
    fewer: np.ndarray,
    more: np.ndarray,
    random: np.random.Generator,
    *,
    nodes: int,
) -> np.ndarray:
    """Return by how much to change counts so that the weighted absolute errors become least.

    Args:
        cell: Cells of each candidate, shape `(candidates, tables)`.
        error: Held minus wanted, shape `(cells,)`.
        importance: What an error of one record costs in each cell.
        fewer: By how much each count may fall, shape `(candidates,)`.
        more: By how much it may rise.
        random: Breaks ties.
        nodes: Most branch-and-bound nodes; a limit of work, not of time, keeps runs repeatable.

    Returns:
        Int64, shape `(candidates,)`, sum 0; all 0 where nothing was found.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp  # a slow import, rarely needed
    from scipy.sparse import csc_array, hstack, identity

    wide, tables = cell.shape
    cells = len(error)
    starts = np.arange(0, wide * tables + 1, tables)
    matrix = csc_array((np.ones(wide * tables), cell.ravel(), starts), shape=(cells, wide))
    slack = identity(cells, format="csc")
    system = hstack([matrix, -matrix, slack, -slack], format="csc")
    cost = np.concatenate([np.full(2 * wide, 1e-3), importance, importance])
    cost[: 2 * wide] += random.random(2 * wide) * 1e-4
    upper = np.concatenate([more, fewer, np.full(2 * cells, np.inf)])
    sign = np.concatenate([np.ones(wide), -np.ones(wide), np.zeros(2 * cells)])
    found = milp(
        cost,
        integrality=np.abs(sign),
        bounds=Bounds(0, np.maximum(upper, 0)),
        constraints=[
            LinearConstraint(system, -error, -error),
            LinearConstraint(csc_array(sign[None, :]), 0, 0),
        ],
        options={"node_limit": nodes, "mip_rel_gap": 1e-3},
    )
    if found.x is None:
        return np.zeros(wide, dtype=np.int64)
    return np.round(found.x[:wide] - found.x[wide : 2 * wide]).astype(np.int64)
