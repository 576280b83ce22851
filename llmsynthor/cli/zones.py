"""The command line of job arrays: one part of the chunks of zones, and putting the parts together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer


def run_part(
    job: Path, overrides: list[str], folder: Path, zones: str, *, as_json: bool, quiet: bool
) -> None:
    """Make one part of the chunks, `zones` being `PART/PARTS`; leave with the exit code.

    Raises:
        JobError: `zones` is not of that form.
        LLMSynthorError: The part cannot be made.
    """
    from llmsynthor.app.job_array import make_part
    from llmsynthor.cli.console import out as write_out
    from llmsynthor.cli.console import print_json
    from llmsynthor.cli.progress import ConsoleListener
    from llmsynthor.errors import ExitCode, JobError

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
    if as_json:
        print_json(found)
    else:
        write_out(str(folder))
    raise typer.Exit(int(ExitCode.TOLERANCE_MISSED if found["failed"] else ExitCode.DONE))


def say_ready(job: Path, folder: Path, *, as_json: bool) -> None:
    """Say that the chunks are ready, and what makes them."""
    from llmsynthor.cli.console import out as write_out
    from llmsynthor.cli.console import print_json, say
    from llmsynthor.store.chunks import read_plan
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.text import count_of

    plan = read_plan(RunDirectory(folder))
    number = len(plan.chunks) if plan else 0
    say(
        f"{count_of(number, 'chunk')} ready; `llmsynthor run {job} --out {folder} --zones 1/N` makes "
        f"the first of N parts of them, `llmsynthor merge {folder}` the report when all are made"
    )
    if as_json:
        print_json({"folder": str(folder), "chunks": number})
    else:
        write_out(str(folder))


def merge(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Write the result as JSON to stdout.")
    ] = False,
) -> None:
    """Check that all chunks of zones are there, and write the run's report.

    Example: llmsynthor merge runs/region
    """
    from llmsynthor.app.job_array import merge_run
    from llmsynthor.cli.console import out as write_out
    from llmsynthor.cli.console import print_json, print_summary

    code, report = merge_run(folder)
    print_summary(report, folder)
    if as_json:
        print_json(report)
    else:
        write_out(str(folder))
    raise typer.Exit(int(code))
