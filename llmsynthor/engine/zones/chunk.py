"""The work on one chunk of zones: draw, calibrate, make whole, write; alone, in any process."""

from __future__ import annotations

import resource
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.candidates.library import read_library
from llmsynthor.candidates.proposals import read_proposal_line
from llmsynthor.candidates.rules import compile_rules
from llmsynthor.candidates.sampler import Sampler
from llmsynthor.engine.choose import Chooser
from llmsynthor.engine.state import State
from llmsynthor.errors import InfeasibleError, RunDirectoryError
from llmsynthor.feasibility.check import check_feasible
from llmsynthor.job.load import read_resolved
from llmsynthor.seeds import derive_seed
from llmsynthor.store.batches import Batches
from llmsynthor.store.chunks import (
    LIBRARY,
    Outcome,
    read_plan,
    read_sample,
    read_task,
    write_outcome,
)
from llmsynthor.store.directory import RunDirectory
from llmsynthor.store.materialize import Materializer, deal

if TYPE_CHECKING:
    from pathlib import Path

    from llmsynthor.candidates.seed_sample import SeedSample
    from llmsynthor.engine.choose import Chosen
    from llmsynthor.job.model import Job
    from llmsynthor.store.chunks import Planned
    from llmsynthor.targets.table import TableSet

_LONGEST_REASON = 600
_NEARLY = 1e-6
"""Records; what arithmetic may leave."""


def make_chunk(folder: Path, number: int) -> None:
    """Make the records of a chunk whose run directory is `folder`; the same whoever does it.

    Tables that cannot be met are no error: the records come as near as they can, and the chunk's
    outcome says what is wrong.

    Raises:
        LLMSynthorError: Something is missing, or the disk refuses.
    """
    run = RunDirectory(folder)
    plan = read_plan(run)
    if plan is None:
        raise RunDirectoryError(f"{folder}: its chunks are not ready")
    chunk = plan.chunks[number]
    path = folder / "job.resolved.yaml"
    job = read_resolved(path)
    work = _Work(run, job, chunk, read_task(run, number), len(plan.chunks) == 1)
    work.execute()


class _Work:
    """One chunk while it is worked on."""

    def __init__(
        self, run: RunDirectory, job: Job, chunk: Planned, tables: TableSet, is_only: bool
    ) -> None:
        self.run = run
        self.chunk = chunk
        self.tables = tables
        seed = job.seed if is_only else derive_seed(job.seed, "chunk", chunk.number)
        self.job = job.model_copy(update={"records": chunk.records, "seed": seed})
        self.rules = compile_rules(job.rules, tables.domain, tables.members)
        self.library = read_library(run.lines(LIBRARY, read_proposal_line), tables)
        self.sample = self._sample()
        self.notes: list[str] = []
        self.failed: str | None = None

    def _sample(self) -> SeedSample | None:
        """Return the seed sample with the zone left open, if the job has one."""
        zones = self.tables.zones
        if self.job.seed_sample is None or zones is None:
            return None
        return read_sample(self.run).with_zone(self.tables.wide.positions[zones.variable])

    def _sampler(self, known: np.ndarray | None = None) -> Sampler:
        return Sampler(self.tables, self.rules, self.job.seed, known, self.sample)

    def execute(self) -> None:
        sampler = self._sampler()
        chooser, chosen = self._choose(sampler)
        if self._is_odd(chosen):
            sampler, chooser, chosen = self._helped(sampler, chooser, chosen)
        if not (chosen.calibration.converged or self._met(chosen)):
            words = chooser.unmet(chosen.calibration, self.chunk.records)
            self.failed = self.failed or words
        self.notes += chosen.notes
        self._write(sampler, chosen)

    def _choose(self, sampler: Sampler) -> tuple[Chooser, Chosen]:
        state = State(counts=[np.zeros(table.cells) for table in self.tables.control])
        state.library = self.library
        zones = self.tables.zones
        zone = None if zones is None else zones.variable
        chooser = Chooser(self.job, sampler, state, time.monotonic, zone=zone)
        size = chooser.candidate_count(self.chunk.records)
        return chooser, chooser.choose(self.chunk.records, size, 0)

    def _met(self, chosen: Chosen) -> bool:
        """Return whether the records meet every cell of the hard tables, as whole as they can be."""
        codes = chosen.candidates.codes
        for table in self.tables.hard:
            held = table.tally(codes, self.tables.wide, chosen.counts)
            wanted = table.wanted(self.chunk.records).ravel()
            if (np.abs(held - wanted) >= 1.0 - _NEARLY).any():
                return False
        return True

    def _is_odd(self, chosen: Chosen) -> bool:
        return bool(chosen.notes) or not chosen.calibration.converged

    def _helped(
        self, sampler: Sampler, chooser: Chooser, chosen: Chosen
    ) -> tuple[Sampler, Chooser, Chosen]:
        """Try again with records that the tables need and chance misses, or say why none can.

        Neither is known of records with members.
        """
        if sampler.members is not None:
            return sampler, chooser, chosen
        try:
            known = check_feasible(sampler, self.chunk.records)
        except InfeasibleError as error:
            self.failed = str(error)
            return sampler, chooser, chosen
        if not len(known):
            return sampler, chooser, chosen
        sampler = self._sampler(known)
        return sampler, *self._choose(sampler)

    def _write(self, sampler: Sampler, chosen: Chosen) -> None:
        started = time.monotonic()
        zones = self.tables.zones
        batches = Batches(
            self.run, sampler, self.notes.append, located=None if zones is None else zones.located
        )
        library = {proposal.id: proposal for proposal in self.library}
        materializer = Materializer(sampler, chosen.candidates, library)
        made: dict[int, int] = {}
        first = self.chunk.first_record
        files = min(self.chunk.files, int(chosen.counts.sum()))
        for group in range(files):
            rows = deal(chosen.counts, group, files)
            held = batches.make(materializer, rows, 0, self.chunk.first_file + group, first)
            first += held.records
            for proposal, records in held.by_proposal.items():
                made[proposal] = made.get(proposal, 0) + records
        failed, records = self.failed, int(chosen.counts.sum())
        if records < self.chunk.records and failed is None:
            failed = f"{records:,} of {self.chunk.records:,} records could be made"
        outcome = Outcome(
            records=records,
            members=self.tables.members is not None,
            files=files,
            failed=failed if failed is None else failed[:_LONGEST_REASON],
            notes=self.notes,
            by_proposal=[[proposal, number] for proposal, number in sorted(made.items())],
            peak_mb=round(peak_bytes() / 1e6),
            seconds_writing=round(time.monotonic() - started, 3),
            **chosen.figures(),
        )
        write_outcome(self.run, self.chunk.number, outcome)


def peak_bytes() -> int:
    """Return the most memory that this process has held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
