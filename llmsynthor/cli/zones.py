"""The command line of job arrays: one part of the chunks of zones, and putting the parts together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from llmsynthor.cli import console
from llmsynthor.cli.results import AsJson
from llmsynthor.errors import ExitCode, JobError
from llmsynthor.text import count_of


def run_part(
    job: Path, overrides: list[str], folder: Path, zones: str, *, as_json: bool, quiet: bool
) -> None:
    """Make one part of the chunks, `zones` being `PART/PARTS`; leave with the exit code.

    Raises:
        JobError: `zones` is not of that form.
        LLMSynthorError: The part cannot be made.
    """
    from llmsynthor.app.job_array import make_part
    from llmsynthor.cli.progress import ConsoleListener

    match = re.fullmatch(r"(\d+)/(\d+)", zones)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise JobError(
            f"--zones {zones}: write it as PART/PARTS, parts counted from 1, for example `3/20`"
        )
    log = folder / f"run-{part}-of-{parts}.log"
    listener = ConsoleListener(quiet=quiet, verbose=False, log=log, records=0, iterations=0)
    with listener:
        found = make_part(job, overrides, folder, part, parts, listener)
    console.print_result(found, str(folder), as_json=as_json)
    raise typer.Exit(int(ExitCode.TOLERANCE_MISSED if found["failed"] else ExitCode.DONE))


def say_ready(job: Path, folder: Path, *, as_json: bool) -> None:
    """Say that the chunks are ready, and what makes them."""
    from llmsynthor.app.job_array import chunks_ready

    number = chunks_ready(folder)
    console.say(
        f"{count_of(number, 'chunk')} ready; `llmsynthor run {job} --out {folder} --zones 1/N` makes "
        f"the first of N parts of them, `llmsynthor merge {folder}` the report when all are made"
    )
    ready = {"folder": str(folder), "chunks": number}
    console.print_result(ready, str(folder), as_json=as_json)


def merge(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    as_json: AsJson = False,
) -> None:
    """Check that all chunks of zones are there, and write the run's report.

    Example: llmsynthor merge runs/region
    """
    from llmsynthor.app.job_array import merge_run

    code, report = merge_run(folder)
    console.print_summary(report, folder)
    console.print_result(report, str(folder), as_json=as_json)
    raise typer.Exit(int(code))
