"""Peer: `mbi` (private-pgm), a graphical model estimated from the tables by mirror descent."""

from __future__ import annotations

from importlib.metadata import version

import jax
import numpy as np
from peers.interface import Result, Task, run_peer

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_enable_compilation_cache", False)

from mbi import Domain, LinearMeasurement, estimation  # noqa: E402 - it reads jax's settings when imported

ITERATIONS = 5000


def make(task: Task) -> Result:
    """Estimate the model from all tables, as measurements without noise, and round it to records."""
    np.random.seed(task.seed)
    domain = Domain(task.names, [len(labels) for labels in task.variables.values()])
    measurements = [
        LinearMeasurement(table.counts.ravel().astype(float), table.scope) for table in task.tables
    ]
    model = estimation.MirrorDescent().estimate(domain, measurements, iters=ITERATIONS)
    columns = model.synthetic_data(rows=task.records).to_dict()
    return Result(
        codes=np.column_stack([columns[name] for name in task.names]).astype(np.int64),
        method=f"MirrorDescent, {ITERATIONS} iterations, synthetic_data(method='round')",
        version=version("mbi"),
        notes="sees the tables only, as measurements without noise",
    )


if __name__ == "__main__":
    run_peer(make)
