"""Peer: SDV's CTGAN, fitted to the real records, which nobody else here sees."""

from __future__ import annotations

import torch
from peers.interface import Result, Task, run_peer
from peers.sdv_records import draw, metadata, real_records, sdv_version
from sdv.single_table import CTGANSynthesizer

EPOCHS = 60
"""The default is 300; the whole training would take a quarter of an hour on one core."""


def make(task: Task) -> Result:
    """Train the network on the real records and draw from it."""
    torch.manual_seed(task.seed)
    torch.set_num_threads(1)  # with more, small steps wait for each other: many times slower
    synthesizer = CTGANSynthesizer(metadata(task), epochs=EPOCHS, enable_gpu=False)
    synthesizer.fit(real_records(task))
    return Result(
        codes=draw(synthesizer, task),
        method=f"CTGANSynthesizer, {EPOCHS} of 300 epochs, CPU, one thread",
        version=sdv_version(),
        notes="fitted to the real records",
    )


if __name__ == "__main__":
    run_peer(make)
