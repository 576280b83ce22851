"""Peer: records drawn from the exact maximum-entropy distribution given the tables."""

from __future__ import annotations

import numpy as np
from exact import make_domain, maximum_entropy
from peers.interface import Result, Task, run_peer

from llmsynthor import __version__
from llmsynthor.results.baselines import draw_from


def make(task: Task) -> Result:
    """Fit maximum entropy to the tables and draw each record from it."""
    domain = make_domain(task.variables)
    margin = maximum_entropy(domain, task.tables)
    scopes = [table.scope for table in task.tables]
    codes = draw_from(domain, scopes, margin, task.records, np.random.default_rng(task.seed))
    return Result(
        codes, "draws from exact maximum entropy (llmsynthor.fitting.maxent)", __version__
    )


if __name__ == "__main__":
    run_peer(make)
