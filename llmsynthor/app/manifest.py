"""The manifest: what a run is, and its attempts with begin, end, versions and place."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmsynthor import __version__
from llmsynthor.job.fingerprint import fingerprinted
from llmsynthor.job.load import dump_job, read_resolved
from llmsynthor.llm.providers.base import OutOfRepliesError, simplest
from llmsynthor.llm.providers.discovery import AUTO
from llmsynthor.llm.providers.replay import REPLY_LOG, replies_in
from llmsynthor.store.attempts import seconds_used
from llmsynthor.store.directory import ITERATIONS
from llmsynthor.store.targets_used import keep_reconciled, keep_sample, keep_tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llmsynthor.app.prepare import Prepared
    from llmsynthor.job.model import Job
    from llmsynthor.store.directory import RunDirectory

FINGERPRINT_VERSION = 5
"""Goes up when the same job would give other records; older runs then refuse to resume."""
_LONGEST_VALUE = 60


def new_manifest(prepared: Prepared) -> dict[str, Any]:
    """Return the manifest of a run that has not begun."""
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


def begin_attempt(
    prepared: Prepared, run: RunDirectory, manifest: dict[str, Any]
) -> dict[str, Any]:
    """Add an attempt to the manifest, write that with the job and its tables; return the attempt."""
    attempt = {
        "start": time_now(),
        "seconds_before": round(seconds_used(manifest["attempts"], run.lines(ITERATIONS)), 3),
        "seconds": None,
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
    keep_tables(run, prepared.tables, prepared.reconciled.changes)
    keep_reconciled(run, prepared.reconciled)
    if prepared.sampler.sample is not None:
        keep_sample(run, prepared.sampler.sample)
    run.write_json("manifest.json", manifest)
    return attempt


def changed_since(
    run: RunDirectory,
    job: Job,
    inputs: Mapping[str, str],
    templates: Mapping[str, str] | None = None,
) -> list[str]:
    """Return what of a job has changed since a run of it began, in words.

    Args:
        run: The run.
        job: The job as it is now.
        inputs: File -> sha256, of the files that must be the same.
        templates: Template -> sha256; None where it does not matter any more.

    Raises:
        InputError: What the run began with cannot be read.
    """
    manifest = run.manifest()
    before = fingerprinted(read_resolved(run.path / "job.resolved.yaml"))
    now = fingerprinted(job)
    if job.provider.model == AUTO:  # the run found a model by itself
        now |= {key: before.get(key) for key in now if key.startswith("provider.")}
    changed = [
        f"{k} ({_brief(before.get(k))} then, {_brief(now.get(k))} now)"
        for k in sorted({*before, *now})
        if before.get(k) != now.get(k)
    ]
    for what, here in (("inputs", inputs), ("templates", templates or {})):
        known = manifest[what]
        changed += [f"{n} (content)" for n in sorted(here) if known.get(n) != here[n]]
    version = manifest["fingerprint_version"]
    if version != FINGERPRINT_VERSION:
        changed.append(f"llmsynthor (fingerprint version {version} to {FINGERPRINT_VERSION})")
    return changed


def _brief(value: Any) -> str:  # noqa: ANN401 - any value of a job
    """Return a value of a job, cut to a few words."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


_SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")


def end_attempt(
    run: RunDirectory,
    manifest: dict[str, Any],
    attempt: dict[str, Any],
    status: str,
    code: int,
    reason: str,
) -> None:
    """Write into the manifest how an attempt ended, and so how the run stands.

    Args:
        run: The run's directory.
        manifest: With the attempt in it.
        attempt: The last one.
        status: `complete` or `partial`.
        code: Exit code.
        reason: Why it ended, or why asking ended.
    """
    attempt.update(end=time_now(), reason=reason, exit_code=code)
    structured = simplest(reply.structured for reply in replies_in(run.lines(REPLY_LOG)))
    manifest.update(status=status, exit_code=code, stop_reason=reason, structured=structured)
    run.write_json("manifest.json", manifest)


def limit_that_ended(manifest: dict[str, Any]) -> str | None:
    """Return the stop reason of a finished run that a limit or its recording ended, else None.

    Only such an end cannot be made again from the replies alone.
    """
    if manifest["status"] != "complete":
        return manifest.get("asking_ended")  # a replay that was stopped
    reason = str(manifest["stop_reason"])
    ends = reason.startswith("budget.") or reason == str(OutOfRepliesError())
    return reason if ends else None


def time_now() -> str:
    """Return the time in UTC, as it stands in files."""
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


_OWN_WORDS_ONLY = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def _git(folder: Path) -> dict[str, str] | None:
    """Return the commit of the job's folder, or None.

    The folder may be a stranger's, and `.git/config` and `.gitattributes` name programs (a monitor
    of files, filters) that git starts when it reads its index. So git is asked only for what it
    finds without an index; whether files differ from the commit is not told: the hashes of all
    inputs are.
    """
    command = ["git", "-C", str(folder.absolute()), "rev-parse", "--verify", "HEAD"]
    try:
        found = subprocess.run(  # noqa: S603 - fixed words
            command,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env={**os.environ, **_OWN_WORDS_ONLY},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": found.stdout.strip()}
