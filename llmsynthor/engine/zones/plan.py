"""Jobs with zones: their chunks, what these need, who makes them, and what came of all together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmsynthor.candidates.proposals import read_proposal_line
from llmsynthor.engine.executors.processes import Processes, cores, make_ready
from llmsynthor.errors import DiskError, Problem, TableError
from llmsynthor.store.chunks import missing, read_outcome
from llmsynthor.store.directory import ITERATIONS, PROPOSALS
from llmsynthor.store.lines import Bulk
from llmsynthor.targets.by_zone import Chunking, chunk_zones, over_parts, without_zones
from llmsynthor.text import clean, count_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from llmsynthor.engine.loop import Listener
    from llmsynthor.engine.zones.chunk import Executor
    from llmsynthor.job.model import Job
    from llmsynthor.store.chunks import Outcome, Plan, Planned
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.table import TableSet

_BASE_MB = 140
"""What a process holds with its libraries and nothing else."""
_CANDIDATE_BYTES = (30, 11)
"""What drawing, calibrating and rounding hold for each candidate, and besides for each of its variables
and tables, as measured."""
_HESSIAN_BYTES = 24
"""What calibration holds for each pair of cells."""
_SUMMED = (
    "effective_sample_size", "candidates", "mutants", "seconds_drawing", "seconds_calibrating",
    "seconds_integerizing", "seconds_writing",
)  # fmt: skip
_AVERAGED = ("kl", "background_prior")
_MOST_NOTES = 20


@dataclass(frozen=True, eq=False)
class Zoned:
    """A job's tables and chunks.

    Attributes:
        tables: All tables, with zones.
        chunking: The chunks.
        known: Codes of records that the tables need and chance misses; see `check_feasible`.
    """

    tables: TableSet
    chunking: Chunking
    known: np.ndarray | None = None

    @cached_property
    def shared(self) -> TableSet:
        """Return the tables without zones: what a model is shown."""
        return without_zones(self.tables)

    @cached_property
    def coarse(self) -> TableSet:
        """Return the tables over the parts of chunks."""
        return over_parts(self.tables, self.chunking)

    @property
    def variable(self) -> str:
        """Return the zone variable."""
        return self.tables.zones.variable if self.tables.zones is not None else ""

    @property
    def largest(self) -> int:
        """Return how many zones the largest chunk has."""
        return max(len(zones) for zones in self.chunking.zones)


def zoned(tables: TableSet, job: Job) -> Zoned:
    """Return the zones of a job in chunks.

    Raises:
        TableError: No control table has more than zones, so that nothing is left without them.
    """
    if tables.zones is None or job.zones is None:
        raise ValueError("the job has no zones")
    found = Zoned(tables, chunk_zones(tables, tables.zones, job.records, job.zones.chunk_records))
    if not found.shared.control:
        name = clean(tables.zones.variable)
        message = f"no control table has a variable beside `{name}`"
        raise TableError.of([Problem(message, at=("tables",))])
    return found


def workers_of(job: Job) -> int:
    """Return how many chunks are worked on at once; of a running Dask cluster that is not known: 0."""
    given = job.executor
    if given is not None and given.dask is not None:
        return given.dask.workers or 0
    if given is not None and given.slurm is not None:
        return given.slurm.jobs * given.slurm.cores
    if given is not None and isinstance(given.processes, int):
        return given.processes
    return cores()


def planned(found: Zoned, job: Job) -> dict[str, Any]:
    """Return what the run will need: chunks, workers, memory of each, in MB."""
    control = found.tables.control
    members = found.tables.members
    rows = sum(1 if table.members is None or members is None else members.most for table in control)
    columns = len(found.tables.wide.names) + rows
    chunks = len(found.chunking)
    records = job.records / chunks
    given = job.engine.candidates
    candidates = (
        given if isinstance(given, int) else min(max(12 * round(1.5 * records), 100_000), 400_000)
    )
    zones = sum(len(zones) for zones in found.chunking.zones)
    share = found.largest / max(zones, 1)
    cells = round(sum(t.cells * share if found.variable in t.scope else t.cells for t in control))
    alone, each = _CANDIDATE_BYTES
    per_candidate = alone + each * columns
    memory = _BASE_MB + candidates * per_candidate / 1e6 + _HESSIAN_BYTES * cells**2 / 1e6
    return {
        "zones": zones,
        "chunks": chunks,
        "largest_chunk_zones": found.largest,
        "records_per_chunk": round(records),
        "workers": min(workers_of(job), chunks) or None,
        "memory_per_worker_mb": round(memory),
    }


def plan_words(plan: dict[str, Any]) -> str:
    """Return in one line what `planned` found."""
    at_once = plan["workers"]
    workers = count_of(at_once, "worker") if at_once else "as many workers as the cluster has"
    return (
        f"zones: {plan['zones']:,} in {count_of(plan['chunks'], 'chunk')} of about {plan['records_per_chunk']:,} records "
        f"(largest: {plan['largest_chunk_zones']:,} zones), {workers}, about "
        f"{plan['memory_per_worker_mb']:,} MB each"
    )


def executor_for(job: Job) -> Executor:
    """Return who makes the chunks of a job; no worker is started yet."""
    given = job.executor
    if given is not None and (given.dask is not None or given.slurm is not None):
        from llmsynthor.engine.executors.dask import DaskWorkers

        return DaskWorkers(given)
    number = given.processes if given is not None else None
    make_ready()
    return Processes(number if isinstance(number, int) else cores())


def make_chunks(
    run: RunDirectory,
    plan: Plan,
    executor: Executor,
    listener: Listener,
    of_part: Sequence[Planned] | None = None,
) -> list[str]:
    """Make the chunks that are missing, or of those `of_part`; return in words which could not be made.

    Raises:
        DiskError: The disk refuses; what was written before is whole.
    """
    wanted = plan.chunks if of_part is None else of_part
    left = [chunk for chunk in missing(run, plan) if chunk in wanted]
    whole = sum(chunk.records for chunk in wanted)
    done = whole - sum(chunk.records for chunk in left)
    by_number = {chunk.number: chunk for chunk in left}
    lost: list[str] = []
    listener.progress("writing", done, whole)
    if not left:
        return lost
    endings = executor.run(run.path.absolute(), list(by_number))
    try:
        for ending in endings:
            chunk = by_number[ending.number]
            if ending.kind == "disk":
                raise DiskError(
                    ending.words,
                    hint="make room, then run the same command with `--resume`",
                )
            if ending.kind == "failed":
                lost.append(f"{clean(chunk.words, 120)}: {ending.words}")
                listener.warn(lost[-1])
                continue
            done += chunk.records
            outcome = read_outcome(run, chunk)
            if outcome is not None and outcome.failed:
                listener.warn(f"{clean(chunk.words, 120)}: {outcome.failed}")
            listener.progress("writing", done, whole)
    finally:
        endings.close()  # whatever still works is stopped
    return lost


def part_of(plan: Plan, part: int, parts: int) -> list[Planned]:
    """Return the chunks of one part of a job array, from 1: neighbours go to different parts."""
    return [chunk for chunk in plan.chunks if chunk.number % parts == part - 1]


def put_together(run: RunDirectory, plan: Plan, lost: Sequence[str]) -> None:
    """Write what the report needs of the chunks that are done: the bulk's line, proposals' records."""
    outcomes = [(chunk, read_outcome(run, chunk)) for chunk in plan.chunks if chunk.records]
    done = [(chunk, outcome) for chunk, outcome in outcomes if outcome is not None]
    made: Counter[int] = Counter()
    for _, outcome in done:
        for proposal, number in outcome.by_proposal:
            made[proposal] += number
    lines = run.lines(PROPOSALS, read_proposal_line)
    for line in lines:
        line.records = made.get(line.id, 0)
    run.write_lines(PROPOSALS, lines)
    asked, _ = run.iterations()
    run.write_lines(ITERATIONS, [*asked, _line(plan, done, lost)])


def _line(plan: Plan, done: Sequence[tuple[Planned, Outcome]], lost: Sequence[str]) -> Bulk:
    """Return the line of the bulk, the figures of all chunks together."""
    outcomes = [outcome for _, outcome in done]
    records = max(sum(outcome.records for outcome in outcomes), 1)
    failed = [
        f"{clean(chunk.words, 120)}: {outcome.failed}" for chunk, outcome in done if outcome.failed
    ]
    notes = [*plan.notes, *(f"not made: {words}" for words in lost), *failed]
    notes += [
        f"{clean(chunk.words, 120)}: {note}" for chunk, outcome in done for note in outcome.notes
    ]
    if len(notes) > _MOST_NOTES:
        notes[_MOST_NOTES:] = [f"and {len(notes) - _MOST_NOTES} more notes on chunks"]
    summed = {name: round(sum(getattr(o, name) for o in outcomes), 3) for name in _SUMMED}
    averaged = {
        name: sum(getattr(o, name) * o.records for o in outcomes) / records for name in _AVERAGED
    }
    return Bulk(
        iteration=0,
        **summed,
        **averaged,
        converged=all(outcome.converged for outcome in outcomes),
        error=max((outcome.error for outcome in outcomes), default=0.0),
        max_copies=max((outcome.max_copies for outcome in outcomes), default=0),
        stop_reason=plan.stop_reason,
        groups=plan.groups,
        notes=notes,
        coarse=plan.coarse,
        chunks={
            "number": len(plan.chunks),
            "done": len(done),
            "largest_zones": max(chunk.zones for chunk in plan.chunks),
            "largest_records": max(chunk.records for chunk in plan.chunks),
            "peak_mb": max((outcome.peak_mb for outcome in outcomes), default=None),
            "failed": [*lost, *failed],
        },
    )
