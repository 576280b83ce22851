"""What `run` does with a job that is checked: at once, or its chunks in parts, by jobs of an array."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmsynthor.app.asker import make_asker, replaying_asker
from llmsynthor.app.manifest import (
    begin_attempt,
    changed_since,
    end_attempt,
    judged,
    limit_that_ended,
    new_manifest,
    time_now,
)
from llmsynthor.engine.loop import Engine, Listener
from llmsynthor.engine.paper_loop import AppendEngine, append_job
from llmsynthor.engine.zones.loop import ZoneEngine
from llmsynthor.engine.zones.plan import executor_for, make_chunks, part_of, put_together
from llmsynthor.errors import (
    ExitCode,
    JobError,
    LLMSynthorError,
    ReplayError,
    RunDirectoryError,
    StopRequestedError,
)
from llmsynthor.files.inputs import Inputs
from llmsynthor.job.load import load_job
from llmsynthor.job.providers import file_of, kind_of
from llmsynthor.llm.providers.fetch import MODEL_SHA256, WARNING
from llmsynthor.llm.providers.replay import REPLY_LOG, read_reply_line, replies_in
from llmsynthor.results.dictionary import DICTIONARY
from llmsynthor.results.report.build import write_report
from llmsynthor.store.chunks import missing, read_plan
from llmsynthor.store.directory import ITERATIONS, RunDirectory
from llmsynthor.store.targets_used import check_whole
from llmsynthor.text import and_more, clean, count_of

if TYPE_CHECKING:
    from pathlib import Path

    from llmsynthor.app.prepare import Prepared
    from llmsynthor.engine.state import State
    from llmsynthor.engine.zones.chunk import Executor
    from llmsynthor.store.chunks import Plan
    from llmsynthor.store.lines import Manifest

_MOST_NAMED = 5


@dataclass(frozen=True)
class RunOptions:
    """How `run` treats a run directory that is there."""

    out: Path
    resume: bool = False
    overwrite: bool = False
    replay: bool = False
    until_chunks: bool = False
    """Whether to stop when the chunks of zones are ready."""

    def __post_init__(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            JobError: Names them.
        """
        if self.overwrite and (self.resume or self.replay):
            raise JobError(
                "`--overwrite` throws away what `--resume` and `--replay` need; give one of them"
            )

    @property
    def begun(self) -> Path | None:
        """Return the run directory to go on with, if that is what was asked for."""
        return self.out if self.resume or self.replay else None


def run_job(
    prepared: Prepared, options: RunOptions, listener: Listener
) -> tuple[ExitCode, dict[str, Any] | None]:
    """Run a job into its directory; return the exit code and the report.

    Raises:
        LLMSynthorError: The run cannot start or go on; what is on disk is whole.
        StopRequestedError: A signal stopped it; what is on disk is whole.
    """
    if options.until_chunks and prepared.zoned is None:
        raise JobError("`--until chunks` is for jobs with `zones`; this one has none")
    run = RunDirectory(options.out)
    if not run.holds_run():
        _refuse_strangers(run)
    try:
        run.create()
        with run.locked(time_now()):
            manifest = _open(prepared, options, run)
            if manifest.is_complete and not options.replay:
                return _no_op(run, manifest)
            return _attempt(prepared, options, run, listener, manifest)
    except StopRequestedError as stop:
        stop.kept = run.holds_run()
        raise


def _attempt(
    prepared: Prepared,
    options: RunOptions,
    run: RunDirectory,
    listener: Listener,
    manifest: Manifest,
) -> tuple[ExitCode, dict[str, Any] | None]:
    """Make the records and the report; keep in the manifest how it went."""
    started = time.monotonic()
    attempt = begin_attempt(prepared, run, manifest)
    listener.progress("beginning", 0, prepared.job.records)
    if prepared.model_found is not None:
        listener.warn(prepared.model_found)
    for warning in prepared.warnings:
        listener.warn(str(warning))
    try:
        engine = _engine(prepared, options, run, listener, manifest)
        if engine.asker is not None:
            engine.asker.started = started
            engine.asker.budget.seconds_before = attempt.seconds_before or 0.0
        unmade = prepared.zoned is None or options.until_chunks
        executor = None if unmade else executor_for(prepared.job)  # ready while the engine works
        state = _executed(engine)
        lost = _made_chunks(run, executor, listener)
    except (LLMSynthorError, StopRequestedError) as error:
        reason = error.signal_name if isinstance(error, StopRequestedError) else str(error)
        attempt.seconds = round(time.monotonic() - started, 3)
        end_attempt(run, manifest, "partial", int(error.exit_code), reason)
        raise
    attempt.seconds = round(time.monotonic() - started, 3)
    if options.until_chunks:
        end_attempt(run, manifest, "partial", 0, "the chunks are ready")
        return ExitCode.DONE, None
    status = "partial" if lost else "complete"
    end_attempt(run, manifest, status, 0, state.stop.words, state.stop.kind)
    listener.progress("reporting", prepared.job.records, prepared.job.records)
    report = write_report(run)
    if not report["pass"]:  # the end stays as it is: the report shows it
        attempt.exit_code = int(ExitCode.TOLERANCE_MISSED)
    return judged(run, manifest, report), report


def _made_chunks(run: RunDirectory, executor: Executor | None, listener: Listener) -> list[str]:
    """Make the chunks of a job with zones; return those that could not be made, in words."""
    plan = read_plan(run) if executor is not None else None
    if plan is None or executor is None:
        return []
    lost = make_chunks(run, plan, executor, listener)
    put_together(run, plan, lost)
    return lost


def _executed(engine: Engine) -> State:
    """Run the engine to its end; a local model's process ends with it."""
    try:
        return engine.execute()
    finally:
        if engine.asker is not None:
            engine.asker.provider.close()


def _no_op(run: RunDirectory, manifest: Manifest) -> tuple[ExitCode, dict[str, Any]]:
    """Return the outcome of a finished run; its report is written again, with the same bytes."""
    check_whole(run)
    report = run.report()
    beside = ("report.html", DICTIONARY)
    if report is None or not all((run.path / name).exists() for name in beside):
        report = write_report(run)
    else:
        run.write_json("report.json", report)
    return judged(run, manifest, report), report


def _open(prepared: Prepared, options: RunOptions, run: RunDirectory) -> Manifest:
    """Return the manifest to go on with: an old one that fits, or a new one."""
    old = run.manifest() if run.holds_run() and not options.overwrite else None
    if options.overwrite and run.holds_run():
        run.clear()
    if old is None:
        if options.replay:
            raise ReplayError(f"`--replay`: {run.path} holds no run to replay")
        return new_manifest(prepared)
    if not (options.resume or options.replay):
        raise _taken(prepared, run, old)
    _refuse_changes(prepared, run)
    if options.replay:
        ended = limit_that_ended(old)
        old.asking_ended = ended.words if ended is not None else None
        old.asking_ended_kind = ended.kind if ended is not None else None
        _forget_data(run)
    return old


def _taken(prepared: Prepared, run: RunDirectory, old: Manifest) -> RunDirectoryError:
    """Return the refusal of a directory that holds a run, of this job or of another."""
    name = prepared.job.name
    if old.name == name:
        return RunDirectoryError(
            f"{run.path}: holds a run already ({old.status})",
            hint="`--resume` goes on with it, `--overwrite` starts anew, `--out DIR` goes elsewhere",
        )
    return RunDirectoryError(
        f"{run.path}: holds a run of another job already, `{clean(old.name)}` ({old.status}); "
        f"this one is `{name}`",
        hint=f"`--out {run.path.parent / name}` keeps both; `--overwrite` throws that run away",
    )


def _refuse_strangers(run: RunDirectory) -> None:
    strangers = run.strangers()
    if strangers:
        raise RunDirectoryError(
            f"{run.path}: is not empty and holds no run (`{strangers[0]}` is there)",
            hint="`--out DIR` names another place",
        )


def _refuse_changes(prepared: Prepared, run: RunDirectory) -> None:
    changed = changed_since(run, prepared.job, prepared.inputs, prepared.templates.hashes())
    if changed:
        raise RunDirectoryError(
            f"{run.path}: the job has changed since this run began: {', '.join(changed)}",
            hint="to go on with it, give the job as it was (the same `--set`); `--overwrite` throws "
            "the run away, `--out DIR` goes elsewhere",
        )


def _forget_data(run: RunDirectory) -> None:
    """Remove what can be made again from the reply log."""
    for folder in ("data", "members", "provenance", "chunks"):
        for file in (run.path / folder).glob("*"):
            file.unlink()
    (run.path / ITERATIONS).unlink(missing_ok=True)


def _engine(
    prepared: Prepared,
    options: RunOptions,
    run: RunDirectory,
    listener: Listener,
    manifest: Manifest,
) -> Engine:
    job = append_job(prepared.job) if prepared.job.engine.method == "append" else prepared.job
    kind = AppendEngine if job.engine.method == "append" else Engine
    if kind_of(job.provider.model).source is None or read_plan(run) is not None:
        # nothing is left to ask
        asker = None
    elif options.replay:
        asker = replaying_asker(prepared, job, run, limit_that_ended(manifest))
    else:
        asker = make_asker(prepared, job, run, listener)
    manifest.replies_before = len(replies_in(run.lines(REPLY_LOG, read_reply_line)))
    if prepared.zoned is None:
        engine = kind(job, prepared.sampler, run, listener, time.monotonic, asker)
    else:
        engine = ZoneEngine(
            job, prepared.sampler, run, listener, time.monotonic, asker, prepared.zoned
        )
    if manifest.inputs.get(file_of(job.provider) or "") == MODEL_SHA256:
        listener.warn(WARNING)
        engine.state.notes.append(WARNING)
    return engine


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
            named = and_more([clean(chunk.words, 80) for chunk in left], _MOST_NAMED, "; ")
            raise RunDirectoryError(
                f"{folder}: {count_of(len(left), 'chunk')} of {len(plan.chunks):,} not made: {named}",
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
