"""The work on one chunk of zones, alone, in any process: draw, calibrate, write; how it ended."""

from __future__ import annotations

import resource
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from llmsynthor.candidates.library import read_library
from llmsynthor.candidates.proposals import read_proposal_line
from llmsynthor.candidates.rules import compile_rules
from llmsynthor.candidates.sampler import Sampler
from llmsynthor.engine.choose import Chooser
from llmsynthor.engine.state import State
from llmsynthor.errors import DiskError, InfeasibleError, LLMSynthorError, RunDirectoryError
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
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from llmsynthor.candidates.seed_sample import SeedSample
    from llmsynthor.engine.choose import Chosen
    from llmsynthor.job.model import Job
    from llmsynthor.store.chunks import Planned
    from llmsynthor.targets.table import TableSet

_LONGEST_REASON = 600
_NEARLY = 1e-6
"""Records; what arithmetic may leave."""
MOST_KILLED = 3
"""Times that a chunk may take its worker with it before it is given up."""
KILLED = f"killed its worker {MOST_KILLED} times: it may need more memory than there is"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
}
"""What a worker's process is started with: it has one core, and the order in which several threads
add numbers up would show in the last digits."""


@dataclass(frozen=True)
class Ending:
    """How a chunk ended.

    Attributes:
        number: The chunk.
        kind: `done`; `failed`, the others may go on; `disk`, none can.
        words: What is wrong.
    """

    number: int
    kind: Literal["done", "failed", "disk"] = "done"
    words: str = ""


class Executor(Protocol):
    """Makes chunks, wherever and in whatever order."""

    def run(self, folder: Path, numbers: Sequence[int]) -> Generator[Ending]:
        """Yield how each chunk ended, as soon as it is known; stop all work when closed."""


def ended(folder: Path, number: int) -> Ending:
    """Make a chunk and return how that ended; nothing is raised, for it would have to travel."""
    try:
        make_chunk(folder, number)
    except DiskError as error:
        return Ending(number, "disk", str(error))
    except LLMSynthorError as error:
        return Ending(number, "failed", str(error))
    except MemoryError:
        return Ending(number, "failed", "there is not enough memory for it")
    except Exception:  # noqa: BLE001 - a bug in one chunk must not cost the others
        last = traceback.format_exc(limit=-1).strip().replace("\n", " ")
        return Ending(number, "failed", f"a bug in llmsynthor: {last}")
    return Ending(number)


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
    job = read_resolved(folder / "job.resolved.yaml")
    _Work(run, job, chunk, read_task(run, number), len(plan.chunks) == 1).execute()


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
        if chosen.notes or not chosen.calibration.converged:
            known = self._known(sampler)
            if known is not None and len(known):
                sampler = self._sampler(known)
                chooser, chosen = self._choose(sampler)
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

    def _known(self, sampler: Sampler) -> np.ndarray | None:
        """Return records that the tables need and chance misses, or keep why none can meet them.

        Neither is known of records with members.
        """
        if sampler.members is None:
            try:
                return check_feasible(sampler, self.chunk.records)
            except InfeasibleError as error:
                self.failed = str(error)
        return None

    def _write(self, sampler: Sampler, chosen: Chosen) -> None:
        started = time.monotonic()
        zones = self.tables.zones
        located = {} if zones is None else {"located": zones.located}
        batches = Batches(self.run, sampler, self.notes.append, **located)
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
