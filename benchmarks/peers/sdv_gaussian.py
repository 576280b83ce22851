"""Peer: SDV's Gaussian copula, fitted to the real records, which nobody else here sees."""

from __future__ import annotations

from peers.interface import Result, Task, run_peer
from peers.sdv_records import draw, metadata, real_records, sdv_version
from sdv.single_table import GaussianCopulaSynthesizer


def make(task: Task) -> Result:
    """Fit the copula to the real records and draw from it."""
    synthesizer = GaussianCopulaSynthesizer(metadata(task))
    synthesizer.fit(real_records(task))
    return Result(
        codes=draw(synthesizer, task),
        method="GaussianCopulaSynthesizer, default settings",
        version=sdv_version(),
        notes="fitted to the real records",
    )


if __name__ == "__main__":
    run_peer(make)
