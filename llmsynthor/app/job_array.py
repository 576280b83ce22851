"""Job arrays: parts of a run's chunks made by commands of their own, and their end put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmsynthor.app.manifest import changed_since, judged, time_now
from llmsynthor.engine.zones.run import executor_for, make_chunks, part_of, put_together
from llmsynthor.errors import ExitCode, RunDirectoryError
from llmsynthor.files.inputs import Inputs
from llmsynthor.job.load import load_job
from llmsynthor.results.report.build import write_report
from llmsynthor.store.chunks import missing, read_plan
from llmsynthor.store.directory import RunDirectory
from llmsynthor.text import and_more, clean, count_of

if TYPE_CHECKING:
    from pathlib import Path

    from llmsynthor.engine.loop import Listener
    from llmsynthor.errors import ExitCode
    from llmsynthor.store.chunks import Plan, Planned

_MOST_NAMED = 5


def make_part(
    path: Path, overrides: list[str], folder: Path, part: int, parts: int, listener: Listener
) -> dict[str, Any]:
    """Make part `part` of `parts`, from 1, of the chunks of a run; its tables are not read again.

    Returns:
        `chunks` and `records` of the part, and `failed`: chunks that could not be made, in words.

    Raises:
        InputError: The chunks are not ready, or the job has changed.
        StopRequestedError: A signal stopped it; what is on disk is whole.
    """
    run = RunDirectory(folder)
    plan = _ready(run, f"llmsynthor run {path} --out {folder} --until chunks")
    loaded = load_job(path, overrides)
    changed = changed_since(run, loaded.job, Inputs(loaded.folder).hashes(loaded.job))
    if changed:
        raise RunDirectoryError(
            f"{run.path}: the job has changed since its chunks were made ready: {', '.join(changed)}",
            hint="give the job as it was (the same `--set`), or make the chunks ready anew with "
            "`--until chunks --overwrite`",
        )
    own = part_of(plan, part, parts)
    with run.locked(time_now(), f"{part}-of-{parts}"):
        lost = make_chunks(run, plan, executor_for(loaded.job), listener, own)
    return {
        "part": f"{part}/{parts}",
        "chunks": len(own),
        "records": sum(chunk.records for chunk in own),
        "failed": lost,
    }


def chunks_ready(folder: Path) -> int:
    """Return how many chunks of a run are ready to be made."""
    plan = read_plan(RunDirectory(folder))
    return len(plan.chunks) if plan else 0


def merge_run(folder: Path) -> tuple[ExitCode, dict[str, Any]]:
    """Write the report of a run whose chunks are all made; return the exit code and the report.

    Raises:
        RunDirectoryError: Chunks are missing: some are named, with the command that makes them.
    """
    run = RunDirectory(folder)
    plan = _ready(run, f"llmsynthor run JOB --out {folder} --until chunks")
    with run.locked(time_now()):
        left = missing(run, plan)
        if left:
            raise RunDirectoryError(
                f"{folder}: {count_of(len(left), 'chunk')} of {len(plan.chunks):,} not made: "
                f"{_named(left)}",
                hint=f"`llmsynthor run JOB --out {folder} --resume` makes just these",
            )
        put_together(run, plan, [])
        manifest = run.manifest()
        manifest.attempts[-1].end = manifest.attempts[-1].end or time_now()
        manifest.status, manifest.exit_code = "complete", 0
        manifest.stop_reason, manifest.stop_kind = plan.stop_reason, plan.stop_kind
        run.write_json("manifest.json", manifest)
        report = write_report(run)
        return judged(run, manifest, report), report


def _ready(run: RunDirectory, command: str) -> Plan:
    plan = read_plan(run) if run.path.is_dir() else None
    if plan is None:
        raise RunDirectoryError(
            f"{run.path}: its chunks of zones are not ready", hint=f"`{command}` makes them ready"
        )
    return plan


def _named(chunks: list[Planned]) -> str:
    return and_more([clean(chunk.words, 80) for chunk in chunks], _MOST_NAMED, "; ")
