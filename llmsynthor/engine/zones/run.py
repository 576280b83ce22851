"""What a run with zones does once its chunks are ready: make them, and put together what came of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from llmsynthor.candidates.proposals import read_proposal_line
from llmsynthor.errors import DiskError
from llmsynthor.store.chunks import missing, read_outcome
from llmsynthor.store.directory import ITERATIONS, PROPOSALS
from llmsynthor.store.lines import Bulk
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.engine.loop import Listener
    from llmsynthor.engine.zones.chunk import Executor
    from llmsynthor.job.model import Job
    from llmsynthor.store.chunks import Outcome, Plan, Planned
    from llmsynthor.store.directory import RunDirectory

_SUMMED = (
    "effective_sample_size", "candidates", "mutants", "seconds_drawing", "seconds_calibrating",
    "seconds_integerizing", "seconds_writing",
)  # fmt: skip
_AVERAGED = ("kl", "background_prior")
_MOST_NOTES = 20


def executor_for(job: Job) -> Executor:
    """Return who makes the chunks of a job; no worker is started yet."""
    from llmsynthor.engine.executors.processes import Processes, cores, make_ready

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
