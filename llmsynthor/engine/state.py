"""What a run has gathered so far: proposals, records, and what the report must mention."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.llm.providers.base import Stop

if TYPE_CHECKING:
    from llmsynthor.candidates.proposals import Proposal, ProposalLine
    from llmsynthor.engine.stopping import Effort


_UNASKED = Stop("unasked", "no model is asked")


@dataclass
class State:
    """What the iterations have gathered so far.

    Attributes:
        library: Accepted proposals.
        rejections: Refused ones.
        groups: Variables that depend on each other.
        counts: Records written so far, by control table and cell.
        made: Records written so far, by proposal.
        sums: Sum and number of values written so far, by aim (`aims.held_by`).
        records: Records written so far.
        batches: Batches written so far.
        priors: Mean TVD of the library to the control tables, after each iteration.
        efforts: What calibrating each iteration's pilot batch took; None where there was none.
        requests: Key of the request that each proposal answers, refused ones included.
        stop: Why asking ended.
        refused: What was refused in the last iteration, in words.
        notes: What the report must mention.
    """

    library: list[Proposal] = field(default_factory=list)
    rejections: list[ProposalLine] = field(default_factory=list)
    groups: list[list[str]] = field(default_factory=list)
    counts: list[np.ndarray] = field(default_factory=list)
    made: dict[int, int] = field(default_factory=dict)
    sums: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    records: int = 0
    batches: int = 0
    priors: list[float] = field(default_factory=list)
    efforts: list[Effort | None] = field(default_factory=list)
    requests: dict[int, str] = field(default_factory=dict)
    stop: Stop = _UNASKED
    refused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def next_id(self) -> int:
        """Return the id of the next proposal."""
        return len(self.library) + len(self.rejections)
