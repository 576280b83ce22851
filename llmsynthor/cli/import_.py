"""The command `import`: a job from another program's set-up."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

import_app = typer.Typer(no_args_is_help=True, help="Make a job from another program's set-up.")


@import_app.command()
def populationsim(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="Folder with configs/ and data/, or with all files in it."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="New folder for the job; default: my-DIR."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what this command wrote there before.")
    ] = False,
) -> None:
    """Make a job of PopulationSim's controls, control totals and seed tables.

    Example: llmsynthor import populationsim example_calm --out calm
    """
    from llmsynthor.cli.console import out as write_out
    from llmsynthor.cli.console import say
    from llmsynthor.starting.from_populationsim.building import build
    from llmsynthor.starting.from_populationsim.setup import read_setup
    from llmsynthor.starting.from_populationsim.writing import account, job_files
    from llmsynthor.starting.safe_folder import check_folder, fill

    target = out or Path(f"my-{folder.resolve().name}")
    check_folder(target, overwrite=overwrite)
    say(f"reading {folder}")
    made = build(read_setup(folder))
    fill(target, job_files(made, target), overwrite=overwrite)
    for line in account(made):
        say(line)
    say(f"\nnext: llmsynthor run {shlex.quote(str(target / 'job.yaml'))}")
    write_out(str(target / "job.yaml"))
