"""The manifest: what a run is, and its attempts with begin, end, versions and place."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from llmsynthor import __version__
from llmsynthor.errors import ExitCode
from llmsynthor.job.load import dump_job, read_resolved
from llmsynthor.job.model import fingerprinted
from llmsynthor.llm.providers.base import Stop, simplest
from llmsynthor.llm.providers.discovery import AUTO
from llmsynthor.llm.providers.replay import REPLY_LOG, read_reply_line, replies_in
from llmsynthor.store.lines import Attempt, Manifest, seconds_used
from llmsynthor.store.targets_used import keep_reconciled, keep_sample, keep_tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llmsynthor.app.prepare import Prepared
    from llmsynthor.job.model import Job
    from llmsynthor.llm.providers.base import StopKind
    from llmsynthor.store.directory import RunDirectory

FINGERPRINT_VERSION = 5
"""Goes up when the same job would give other records; older runs then refuse to resume."""
_LONGEST_VALUE = 60


def new_manifest(prepared: Prepared) -> Manifest:
    """Return the manifest of a run that has not begun."""
    content = [fingerprinted(prepared.job), prepared.inputs, prepared.templates.hashes()]
    text = json.dumps([FINGERPRINT_VERSION, *content], sort_keys=True)
    return Manifest(
        version=1,
        name=prepared.job.name,
        status="partial",
        stop_reason=None,
        stop_kind=None,
        exit_code=None,
        job_fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        fingerprint_version=FINGERPRINT_VERSION,
        inputs=prepared.inputs,
        templates=prepared.templates.hashes(),
        model=prepared.job.provider.model,
        structured=None,
        model_found=prepared.model_found,
        api_base=prepared.job.provider.api_base,
        seed=prepared.job.seed,
        attempts=[],
    )


def begin_attempt(prepared: Prepared, run: RunDirectory, manifest: Manifest) -> Attempt:
    """Add an attempt to the manifest, write that with the job and its tables; return the attempt."""
    logged = (line.seconds_used for line in run.iterations()[0])
    attempt = Attempt(
        start=time_now(),
        seconds_before=round(seconds_used(manifest.attempts, logged), 3),
        seconds=None,
        end=None,
        reason=None,
        exit_code=None,
        host=socket.gethostname(),
        pid=os.getpid(),
        slurm={k: v for k, v in sorted(os.environ.items()) if k in _SLURM},
        versions=_versions(),
        git=_git(prepared.loaded.folder),
    )
    manifest.status = "partial"
    manifest.attempts = [*manifest.attempts, attempt]
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

    `inputs` and `templates` are sha256 by name; None where templates do not matter any more.

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
    for known, here in ((manifest.inputs, inputs), (manifest.templates, templates or {})):
        changed += [f"{n} (content)" for n in sorted(here) if known.get(n) != here[n]]
    version = manifest.fingerprint_version
    if version != FINGERPRINT_VERSION:
        changed.append(f"llmsynthor (fingerprint version {version} to {FINGERPRINT_VERSION})")
    return changed


def _brief(value: object) -> str:
    """Return a value of a job, cut to a few words."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


_SLURM = ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT")


def end_attempt(
    run: RunDirectory,
    manifest: Manifest,
    status: str,
    code: int,
    reason: str,
    stop_kind: str | None = None,
) -> None:
    """Write into the manifest how its last attempt ended, and so how the run stands."""
    attempt = manifest.attempts[-1]
    attempt.end, attempt.reason, attempt.exit_code = time_now(), reason, code
    manifest.status, manifest.exit_code, manifest.stop_reason = status, code, reason
    manifest.stop_kind = stop_kind
    log = run.lines(REPLY_LOG, read_reply_line)
    manifest.structured = simplest(reply.structured for reply in replies_in(log))
    run.write_json("manifest.json", manifest)


def judged(run: RunDirectory, manifest: Manifest, report: dict[str, Any]) -> ExitCode:
    """Return the exit code that a report means; it stands in the manifest, too."""
    code = ExitCode.DONE if report["pass"] else ExitCode.TOLERANCE_MISSED
    if manifest.exit_code != int(code):
        manifest.exit_code = int(code)
        run.write_json("manifest.json", manifest)
    return code


def limit_that_ended(manifest: Manifest) -> Stop | None:
    """Return why asking ended in a finished run if a limit or its recording ended it, else None.

    Only such an end cannot be made again from the replies alone. Of an older run that kept no kind
    it is taken to be one: that changes nothing, unless the replies end before the rest is done.
    """
    words, kind = manifest.stop_reason, manifest.stop_kind
    if not manifest.is_complete:  # a replay that was stopped
        words, kind = manifest.asking_ended, manifest.asking_ended_kind
    if not words or kind not in (None, "budget", "recording"):
        return None
    return Stop(cast("StopKind | None", kind), words)


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
