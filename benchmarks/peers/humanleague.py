"""Peer: `humanleague`, quasi-random integer sampling (QIS) of the whole table of counts."""

from __future__ import annotations

from importlib.metadata import version

import humanleague
import numpy as np
from peers.interface import Result, TargetTable, Task, run_peer


def make(task: Task) -> Result:
    """Sample all dimensions at once from the joints, and the marginals that no joint holds."""
    tables = in_chain(task.needed_tables(set(task.names)))
    indices = [[task.names.index(name) for name in table.scope] for table in tables]
    # humanleague misreads arrays that are not contiguous
    counts = [np.ascontiguousarray(table.counts) for table in tables]
    skipped = task.seed  # the Sobol sequence has no seed but a place to start
    population, found = humanleague.qis(indices, counts, skipped)
    cells = np.nonzero(population)
    codes = np.repeat(np.column_stack(cells), population[cells], axis=0)
    notes = [f"sees the tables only; dense array of {population.size:,} cells"]
    if not found["conv"]:
        notes.append("qis says that it did not converge")
    if task.records != len(codes):
        random = np.random.default_rng(task.seed)
        codes = codes[random.choice(len(codes), task.records, replace=task.records > len(codes))]
        notes.append("qis makes as many records as the tables have: drawn from those")
    return Result(codes, "qis over all variables", version("humanleague"), "; ".join(notes))


def in_chain(tables: list[TargetTable]) -> list[TargetTable]:
    """Return the tables so that each shares a variable with one before it where it can.

    In another order qis may find both variables of a joint sampled already, and miss the joint.
    """
    chain: list[TargetTable] = []
    left, seen = list(tables), set[str]()
    while left:
        table = next((t for t in left if seen & set(t.scope)), left[0])
        left.remove(table)
        chain.append(table)
        seen |= set(table.scope)
    return chain


if __name__ == "__main__":
    run_peer(make)
