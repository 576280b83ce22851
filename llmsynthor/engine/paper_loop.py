"""The paper's loop (arXiv 2505.14752): records are appended as proposed, nothing is calibrated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.candidates.proposals import Proposal, refused
from llmsynthor.engine.loop import Engine
from llmsynthor.job.consistency import MOST_APPENDED
from llmsynthor.llm.providers.base import Stop
from llmsynthor.seeds import generator

if TYPE_CHECKING:
    from llmsynthor.candidates.boxes import Box
    from llmsynthor.job.model import Job
    from llmsynthor.llm.ask import Round
    from llmsynthor.targets.domain import Variable


def append_job(job: Job) -> Job:
    """Return the job with one call in an iteration, and as many calls in all as it had."""
    engine = job.engine
    return job.model_copy(
        update={
            "engine": engine.model_copy(
                update={
                    "iterations": engine.iterations * engine.calls_per_iteration,
                    "calls_per_iteration": 1,
                    "proposals_per_call": min(MOST_APPENDED, engine.proposals_per_call),
                }
            )
        }
    )


class AppendEngine(Engine):
    """No calibration, no background; the model's counts, one value or range a variable."""

    def _guidance(self) -> dict[str, Any]:
        """Return the gaps of the records made so far; only what lacks is shown."""
        shares = [c.reshape(t.share.shape) / c.sum() for t, c in self._filled()] or None
        return {"prior": shares, "positive_only": True}

    def _filled(self) -> list[Any]:
        pairs = zip(self.tables.control, self.state.counts, strict=True)
        return [(t, c) for t, c in pairs if c.sum() > 0]

    def _admit(self, found: Round) -> None:
        for plan in found.plans:
            late = plan.proposals[MOST_APPENDED:]
            plan.proposals = plan.proposals[:MOST_APPENDED]
            plan.rejections += [
                refused(
                    p.id,
                    p.iteration,
                    p.reason,
                    f"only {MOST_APPENDED} proposals are taken in an iteration",
                    {"count": p.count, "values": p.values},
                )
                for p in late
            ]
        super()._admit(found)

    def _levelled_off(self) -> Stop | None:
        made_all = self.state.records >= self.job.records
        return Stop("records", "all records made") if made_all else None

    def _pilot(self, iteration: int) -> None:
        """Append the records of this iteration's proposals, until there are enough."""
        fresh = [p for p in self.state.library if p.iteration == iteration]
        parts = [self._records_of(proposal) for proposal in fresh]
        left = self.job.records - self.state.records
        codes = np.concatenate([part[0] for part in parts])[:left] if parts else np.empty((0, 0))
        if not len(codes):
            return
        index = self.state.batches
        made = self.batches.read(index, len(codes), iteration)
        if made is None:
            position = np.concatenate([part[1] for part in parts])[:left]
            sizes = [len(part[0]) for part in parts]
            source = np.repeat([p.id for p in fresh], sizes)[:left].astype(np.int32)
            frame = self.sampler.frame(codes, position)
            made = self.batches.write(index, iteration, frame, codes, source)
        self._tally(made)

    def _records_of(self, proposal: Proposal) -> tuple[np.ndarray, np.ndarray]:
        """Return codes and positions of a proposal's records that keep the rules."""
        random = generator(self.job.seed, "append", proposal.id)
        variables = self.sampler.domain.variables
        records = round(proposal.count)
        codes = np.empty((records, len(variables)), dtype=np.int32)
        for i, (variable, box) in enumerate(zip(variables, proposal.boxes, strict=True)):
            share = _single(variable, box)
            codes[:, i] = random.choice(len(share), size=records, p=share)
        low, high = (
            np.broadcast_to(row, (len(codes), len(self.sampler.curves)))
            for row in self.sampler.limits(proposal)
        )
        position = self.sampler.draw_positions(codes, low, high, random)
        lawful = self.sampler.lawful(codes, position)
        return codes[lawful], position[lawful]

    def _materialize(self) -> None:
        """Note the end; the paper's loop makes nothing more."""
        if self.state.records < self.job.records:
            self._note(
                f"the proposals made {self.state.records} of {self.job.records} records; "
                "`engine.method: calibrated` always makes all"
            )
        self._note_bulk()


def _single(variable: Variable, box: Box) -> np.ndarray:
    """Return a box cut down to one category, or to one range with even density.

    The paper has no word for a variable left open; such a one is drawn as the tables have it.
    """
    if box.is_open:
        return box.share
    if box.limits is not None:
        width = variable.overlap(box.limits) * np.diff(variable.edges)
        return np.asarray(width / width.sum())
    share = np.zeros(variable.size)
    share[int(np.argmax(box.share))] = 1.0
    return share
