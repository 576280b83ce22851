"""The Python door: load a job, check it, run it; what a script or a notebook calls."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from llmsynthor.app.finished import Run
from llmsynthor.app.prepare import prepare
from llmsynthor.app.run import RunOptions, run_job
from llmsynthor.app.scorecard import Part, as_html
from llmsynthor.app.signals import end_as_asked, stopped_by_signals
from llmsynthor.engine.zones.plan import plan_words, planned
from llmsynthor.errors import InputError, Problem, StopRequestedError
from llmsynthor.job.load import LoadedJob, load_job
from llmsynthor.text import count_of, printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from llmsynthor.app.prepare import Prepared
    from llmsynthor.engine.loop import Listener
    from llmsynthor.job.load import Source
    from llmsynthor.job.model import Job
    from llmsynthor.store.lines import Iteration

    AnyJob = str | PathLike[str] | Mapping[str, Any] | Job | LoadedJob
    """A job's file, its content, or the job itself."""

_LOG = logging.getLogger("llmsynthor")
_TARGETS = {
    "name": pl.String, "of": pl.String, "figures": pl.Int64, "role": pl.String, "soft": pl.Boolean,
}  # fmt: skip


def load(
    job: AnyJob,
    *changes: str,
    frames: Mapping[str, Any] | None = None,
    **keys: object,
) -> LoadedJob:
    """Return a job, ready to be checked and run.

    Args:
        job: Its YAML file; or its content as a mapping, or a `Job`, whose files are then looked for
            from the current folder.
        changes: `dotted.key=value` texts, as the commands take them at `--set`.
        frames: Frames (polars or pandas) in place of files: name as in the job -> frame.
        keys: Keys of the job to change; None takes a key out.

    Raises:
        InputError: With every problem of the job's keys, each with its place.
    """
    given = [f"{key}={_on_one_line(value)}" for key, value in keys.items()]
    before = job.frames if isinstance(job, LoadedJob) else {}
    return replace(load_job(_source(job), [*changes, *given]), frames={**before, **(frames or {})})


def _source(job: AnyJob) -> Source:
    return Path(job) if isinstance(job, (str, os.PathLike)) else job


def _on_one_line(value: object) -> str:
    """Return a value of Python's as an option has it."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"))
    return text.removesuffix("\n").removesuffix("\n...")


def check(job: AnyJob, *changes: str) -> Found:
    """Return all that is wrong or odd in a job, its tables, rules and templates; nothing is spent.

    Args:
        job: A job, or its file.
        changes: `dotted.key=value` texts, as `load` takes them.
    """
    try:
        if changes and isinstance(job, LoadedJob):
            job, changes = load(job, *changes), ()
        return Found(prepared=prepare(_source(job), changes, use="validate"))
    except InputError as error:
        return Found(error=error)


@dataclass(frozen=True)
class Found:
    """What a check found.

    Attributes:
        prepared: The job with all that was read; None where something must change first.
        error: What must change first, as `run` would raise it.
    """

    prepared: Prepared | None = None
    error: InputError | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Return what must change before the job can run."""
        return self.error.problems if self.error else ()

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Return what is legal but odd."""
        return self.prepared.warnings if self.prepared else ()

    @property
    def targets(self) -> pl.DataFrame:
        """Return a row for each table and statistic that the records will be held to."""
        if self.prepared is None:
            return pl.DataFrame(schema=_TARGETS)
        tables = self.prepared.tables
        rows: list[tuple[str, str, int, str, bool | None]] = [
            (t.name, " x ".join(t.scope), t.cells, t.role, t.is_soft) for t in tables.tables
        ]
        rows += [(s.name, s.words, len(s.groups), s.role, None) for s in tables.statistics]
        return pl.DataFrame(rows, schema=_TARGETS, orient="row")

    @property
    def summary(self) -> str:
        """Return in a line or two what the job is."""
        if self.error is not None:
            return count_of(len(self.problems), "problem")
        found = self.for_machines()
        counts = [
            count_of(found["variables"], "variable"),
            count_of(found["control_tables"], "control table"),
            count_of(found["validate_tables"], "validate table"),
            count_of(found["statistics"], "statistic") if found["statistics"] else "",
            count_of(found["rules"], "rule"),
            count_of(found["records"], "record"),
        ]
        zones = f"\n{plan_words(found['zones'])}" if found["zones"] else ""
        return f"valid ({', '.join(filter(None, counts))}){zones}"

    @property
    def before_a_run(self) -> list[str]:
        """Return what a run will use or need, a sentence each: a model, a key."""
        found, lines = self.for_machines(), []
        if found.get("model_found"):
            lines.append(found["model_found"])
        if found.get("refused"):
            lines.append(f"`run` would not start yet: {found['refused']}")
        if self.prepared and found["key_set"] is False:
            key = self.prepared.job.provider.api_key_env
            lines.append(f"the environment variable {key} is not set; `run` will need it")
        return lines

    def for_machines(self) -> dict[str, Any]:
        """Return it as `validate --json` gives it, but for the job's name."""
        judged = {
            "valid": self.error is None,
            "problems": [problem.for_machines() for problem in self.problems],
            "warnings": [warning.for_machines() for warning in self.warnings],
        }
        if self.prepared is None:
            return judged
        tables, job, zones = self.prepared.tables, self.prepared.job, self.prepared.zoned
        key = job.provider.api_key_env
        return judged | {
            "variables": len(tables.domain.names),
            "control_tables": len(tables.control),
            "validate_tables": len(tables.validate),
            "statistics": sum(len(statistic.groups) for statistic in tables.statistics),
            "uncovered_pairs": len(tables.uncovered_pairs()),
            "rules": len(self.prepared.sampler.rules),
            "records": job.records,
            "model": job.provider.model,
            "model_found": self.prepared.model_found,
            "refused": self.prepared.refused,
            "key_set": None if key is None else bool(os.environ.get(key)),
            "zones": None if zones is None else planned(zones, job),
        }

    def __repr__(self) -> str:
        return "\n".join([f"<Found {self.summary}>", *self._lines()])

    def _repr_html_(self) -> str:
        rows = tuple(
            (n, of, f"{figures:,}", role) for n, of, figures, role, _ in self.targets.rows()
        )
        parts = [Part("target", ("of", "figures", "role"), rows)] if rows else []
        return as_html([self.summary, *self._lines()], parts)

    def _lines(self) -> list[str]:
        odd = [f"warning: {warning}" for warning in self.warnings]
        return [*(f"error: {problem}" for problem in self.problems), *odd, *self.before_a_run]


def run(
    job: AnyJob,
    out: str | PathLike[str] | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    replay: bool = False,
    listener: Listener | None = None,
) -> Run:
    """Make records that meet the job's tables, and their report.

    Ctrl-C, and the signals by which a cluster ends jobs, stop it so that `resume` goes on with the
    same bytes; on another thread than the main one Python hears no signals.

    Args:
        job: A job, or its file.
        out: The run's directory; default: `runs/` and the name of the job's file, or of a job made
            in Python the job's.
        resume: Whether to go on with the run that is there; a finished one stays as it is.
        overwrite: Whether to throw away the run that is there.
        replay: Whether to make the data again from the run's own replies; nobody is asked.
        listener: Hears how far it is; default: Python's `logging`, as `llmsynthor`.

    Raises:
        InputError: Something must change first; nothing was spent.
        LLMSynthorError: The provider or the disk refused; what is on disk is whole.
        KeyboardInterrupt: Ctrl-C; what is on disk is whole.
    """
    source = _source(job)
    if not isinstance(source, Path | LoadedJob):
        source = load_job(source)
    name = (source if isinstance(source, Path) else source.path).stem
    options = RunOptions(
        Path("runs", name) if out is None else Path(out), resume, overwrite, replay
    )
    try:
        with stopped_by_signals():
            prepared = prepare(source, (), options.begun, use="replay" if replay else "run")
            run_job(prepared, options, listener or _Logged())
    except StopRequestedError as stop:
        kept = "what was made is kept: `resume=True` goes on with it"
        end_as_asked(stop, f"{options.out}: {kept if stop.kept else 'nothing was made'}")
        raise
    return Run(options.out)


class _Logged:
    """Tells the story of a run to Python's `logging`, which shows warnings unless told otherwise."""

    def iteration(self, line: Iteration) -> None:
        """Log a finished iteration."""
        tvd = "unknown" if line.prior_tvd is None else f"{line.prior_tvd:.4f}"
        figures = (line.iteration, line.library, tvd, line.records)
        _LOG.info("iteration %d: %d proposals, prior TVD %s, %d records", *figures)

    def progress(self, stage: str, done: int, whole: int) -> None:
        """Log how far a stage is."""
        _LOG.info("%s: %d of %d records", stage, done, whole)

    def warn(self, text: str) -> None:
        """Log something odd."""
        _LOG.warning("%s", printable(text))
