"""Peer: every variable drawn by itself from its marginal table."""

from __future__ import annotations

import numpy as np
from peers.interface import Result, Task, run_peer


def make(task: Task) -> Result:
    """Draw each variable of each record from its marginal."""
    random = np.random.default_rng(task.seed)
    columns = []
    for name in task.names:
        counts = task.marginal(name)
        columns.append(random.choice(counts.size, task.records, p=counts / counts.sum()))
    return Result(np.column_stack(columns), "draws from the marginals", np.__version__)


if __name__ == "__main__":
    run_peer(make)
