"""What `run` does with a job that is checked: open the run directory, let the engine work, report."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmsynthor import __version__
from llmsynthor.append import AppendEngine, append_job
from llmsynthor.askers import make_asker
from llmsynthor.engine import ITERATIONS, Engine, Listener
from llmsynthor.errors import (
    ExitCode,
    LLMSynthorError,
    ReplayError,
    RunDirectoryError,
    StopRequestedError,
)
from llmsynthor.exports.dictionary import DICTIONARY
from llmsynthor.job import fingerprinted
from llmsynthor.jobfile import dump_job, parse_job
from llmsynthor.providers.local import PREFIX
from llmsynthor.providers.model_fetch import MODEL_SHA256, WARNING
from llmsynthor.providers.replay import REPLY_LOG, replies_in
from llmsynthor.providers.structured import simplest
from llmsynthor.report.build import keep_tables, write_report
from llmsynthor.rundir import RunDirectory

if TYPE_CHECKING:
    from pathlib import Path

    from llmsynthor.checks import Prepared
    from llmsynthor.state import State

FINGERPRINT_VERSION = 3
"""Goes up when the same job would give other records; older runs then refuse to resume."""

_LONGEST_VALUE = 60


@dataclass(frozen=True)
class RunOptions:
    """How `run` treats a run directory that is there."""

    out: Path
    resume: bool = False
    overwrite: bool = False
    replay: bool = False


def run_job(
    prepared: Prepared, options: RunOptions, listener: Listener
) -> tuple[ExitCode, dict[str, Any]]:
    """Run a job into its directory; return the exit code and the report.

    Raises:
        LLMSynthorError: The run cannot start or go on; what is on disk is whole.
        StopRequestedError: A signal stopped it; what is on disk is whole.
    """
    run = RunDirectory(options.out)
    if not run.holds_run():
        _refuse_strangers(run)
    run.create()
    with run.locked(_now()):
        manifest = _open(prepared, options, run)
        if manifest["status"] == "complete" and not options.replay:
            return _no_op(run, manifest)
        attempt = _begin(prepared, run, manifest)
        if prepared.model_found is not None:
            listener.warn(prepared.model_found)
        for warning in prepared.warnings:
            listener.warn(str(warning))
        try:
            state = _executed(_engine(prepared, options, run, listener, manifest))
        except (LLMSynthorError, StopRequestedError) as error:
            reason = error.signal_name if isinstance(error, StopRequestedError) else str(error)
            _end(run, manifest, attempt, "partial", int(error.exit_code), reason)
            raise
        _end(run, manifest, attempt, "complete", 0, state.stop_reason)
        report = write_report(run)
        code = ExitCode.DONE if report["pass"] else ExitCode.TOLERANCE_MISSED
        _end(run, manifest, attempt, "complete", int(code), state.stop_reason)
        return code, report


def _executed(engine: Engine) -> State:
    """Run the engine to its end; a local model's process ends with it."""
    try:
        return engine.execute()
    finally:
        close = getattr(engine.asker and engine.asker.provider, "close", None)
        if close is not None:
            close()


def _no_op(run: RunDirectory, manifest: dict[str, Any]) -> tuple[ExitCode, dict[str, Any]]:
    """Return the outcome of a finished run; its report is written again, with the same bytes."""
    report = run.read_json("report.json")
    beside = ("report.html", DICTIONARY)
    if report is None or not all((run.path / name).exists() for name in beside):
        report = write_report(run)
    else:
        run.write_json("report.json", report)
    code = ExitCode.DONE if report["pass"] else ExitCode.TOLERANCE_MISSED
    if manifest["exit_code"] != int(code):
        run.write_json("manifest.json", {**manifest, "exit_code": int(code)})
    return code, report


def _open(prepared: Prepared, options: RunOptions, run: RunDirectory) -> dict[str, Any]:
    """Return the manifest to go on with: an old one that fits, or a new one."""
    old = run.read_json("manifest.json") if not options.overwrite else None
    if options.overwrite and run.holds_run():
        run.clear()
    if old is None:
        if options.replay:
            raise ReplayError(f"`--replay`: {run.path} holds no run to replay")
        return _new_manifest(prepared)
    if not (options.resume or options.replay):
        raise RunDirectoryError(
            f"{run.path}: holds a run already ({old['status']})",
            hint="`--resume` goes on with it, `--overwrite` starts anew, `--out DIR` goes elsewhere",
        )
    _refuse_changes(prepared, run, old)
    if options.replay:
        _forget_data(run)
    return dict(old)


def _refuse_strangers(run: RunDirectory) -> None:
    strangers = run.strangers()
    if strangers:
        raise RunDirectoryError(
            f"{run.path}: is not empty and holds no run (`{strangers[0]}` is there)",
            hint="`--out DIR` names another place",
        )


def _refuse_changes(prepared: Prepared, run: RunDirectory, old: dict[str, Any]) -> None:
    path = run.path / "job.resolved.yaml"
    try:
        before = fingerprinted(parse_job(path.read_text(encoding="utf-8"), path))
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read ({error.strerror})") from None
    now = fingerprinted(prepared.job)
    changed = [
        f"{k} ({_brief(before.get(k))} then, {_brief(now.get(k))} now)"
        for k in sorted({*before, *now})
        if before.get(k) != now.get(k)
    ]
    for what in ("inputs", "templates"):
        then, here = old[what], prepared.inputs if what == "inputs" else prepared.templates.hashes()
        changed += [
            f"{name} (content)"
            for name in sorted({*then, *here})
            if then.get(name) != here.get(name)
        ]
    if old["fingerprint_version"] != FINGERPRINT_VERSION:
        changed.append(
            f"llmsynthor (fingerprint version {old['fingerprint_version']} to {FINGERPRINT_VERSION})"
        )
    if changed:
        raise RunDirectoryError(
            f"{run.path}: the job has changed since this run began: {', '.join(changed)}",
            hint="to go on with it, give the job as it was (the same `--set`); `--overwrite` throws "
            "the run away, `--out DIR` goes elsewhere",
        )


def _brief(value: Any) -> str:  # noqa: ANN401 - any value of a job
    """Return a value of a job, cut to a few words."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _forget_data(run: RunDirectory) -> None:
    """Remove what can be made again from the reply log."""
    for file in [*(run.path / "data").glob("*"), *(run.path / "provenance").glob("*")]:
        file.unlink()
    (run.path / ITERATIONS).unlink(missing_ok=True)


def _new_manifest(prepared: Prepared) -> dict[str, Any]:
    content = [fingerprinted(prepared.job), prepared.inputs, prepared.templates.hashes()]
    text = json.dumps([FINGERPRINT_VERSION, *content], sort_keys=True)
    return {
        "version": 1,
        "name": prepared.job.name,
        "status": "partial",
        "stop_reason": None,
        "exit_code": None,
        "job_fingerprint": hashlib.sha256(text.encode()).hexdigest(),
        "fingerprint_version": FINGERPRINT_VERSION,
        "inputs": prepared.inputs,
        "templates": prepared.templates.hashes(),
        "model": prepared.job.provider.model,
        "structured": None,
        "model_found": prepared.model_found,
        "api_base": prepared.job.provider.api_base,
        "seed": prepared.job.seed,
        "attempts": [],
    }


def _begin(prepared: Prepared, run: RunDirectory, manifest: dict[str, Any]) -> dict[str, Any]:
    attempt = {
        "start": _now(),
        "end": None,
        "reason": None,
        "exit_code": None,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "slurm": {k: v for k, v in sorted(os.environ.items()) if k in _SLURM},
        "versions": _versions(),
        "git": _git(prepared.loaded.folder),
    }
    manifest["status"] = "partial"
    manifest["attempts"] = [*manifest["attempts"], attempt]
    run.write_text("job.resolved.yaml", dump_job(prepared.job))
    keep_tables(run, prepared.sampler.tables)
    run.write_json("manifest.json", manifest)
    return attempt


_SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")


def _end(
    run: RunDirectory,
    manifest: dict[str, Any],
    attempt: dict[str, Any],
    status: str,
    code: int,
    reason: str,
) -> None:
    attempt.update(end=_now(), reason=reason, exit_code=code)
    structured = simplest(reply.structured for reply in replies_in(run.lines(REPLY_LOG)))
    manifest.update(status=status, exit_code=code, stop_reason=reason, structured=structured)
    run.write_json("manifest.json", manifest)


def _engine(
    prepared: Prepared,
    options: RunOptions,
    run: RunDirectory,
    listener: Listener,
    manifest: dict[str, Any],
) -> Engine:
    job = append_job(prepared.job) if prepared.job.engine.method == "append" else prepared.job
    kind = AppendEngine if job.engine.method == "append" else Engine
    asker = (
        None if job.provider.model == "none" else make_asker(prepared, job, options, run, listener)
    )
    manifest["replies_before"] = len(replies_in(run.lines(REPLY_LOG)))
    engine = kind(job, prepared.sampler, run, listener, time.monotonic, asker)
    if prepared.inputs.get(job.provider.model.removeprefix(PREFIX)) == MODEL_SHA256:
        listener.warn(WARNING)
        engine.state.notes.append(WARNING)
    return engine


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _versions() -> dict[str, str]:
    import numpy as np
    import polars as pl
    import scipy

    return {
        "llmsynthor": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "polars": pl.__version__,
        "scipy": scipy.__version__,
    }


def _git(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the job's folder and whether anything there is changed, or None."""
    command = ["git", "-C", str(folder.absolute())]
    try:
        commit = subprocess.run(  # noqa: S603 - fixed words
            [*command, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        dirty = subprocess.run(  # noqa: S603 - fixed words
            [*command, "status", "--porcelain", "--", "."],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(dirty)}
