"""The command line of a run that is there: its report, real records beside it, a record's origin, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from llmsynthor.errors import StopRequestedError

AsJson = Annotated[bool, typer.Option("--json", help="Write the result as JSON to stdout.")]


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    as_json: AsJson = False,
) -> None:
    """Write the report of a run again, from its records.

    Example: llmsynthor report runs/trips
    """
    from llmsynthor.cli.console import out as write_out
    from llmsynthor.cli.console import print_json, print_summary
    from llmsynthor.results.report.build import write_report
    from llmsynthor.store.directory import RunDirectory

    content = write_report(RunDirectory(folder))
    print_summary(content, folder)
    if as_json:
        print_json(content)
    else:
        write_out(str(folder / "report.html"))


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run's directory.")],
    microdata: Annotated[
        Path, typer.Argument(metavar="MICRODATA", help="Real records: CSV, XLSX or parquet.")
    ],
    members: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Their members, where the run's records have members."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="What links the two files, if not as in the run."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VARIABLE", help="Which variable a column holds; repeatable."),
    ] = None,
    weight: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What each real record counts.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="VARIABLE", help="Train on synthetic, test on real for a variable."),
    ] = None,
    sdmetrics: Annotated[
        bool, typer.Option("--sdmetrics", help="SDMetrics' quality score too.")
    ] = False,
    most_triples: Annotated[
        int, typer.Option(min=0, help="Triples of variables compared; more are drawn from.")
    ] = 2000,
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="How the characters of text are stored.")
    ] = None,
    separator: Annotated[
        str | None,
        typer.Option(metavar=";", help="What parts the columns; default: see the header."),
    ] = None,
    decimal: Annotated[str, typer.Option(metavar=".|,", help="What stands before decimals.")] = ".",
    as_json: AsJson = False,
) -> None:
    """Hold the records of a run against real records that nobody trained on.

    Only aggregates of the real records are kept. `--target` and `--sdmetrics` need
    `pip install 'llmsynthor[evaluate]'`.

    Example: llmsynthor evaluate runs/trips survey.csv --columns AGEP=age --target mode
    """
    from llmsynthor.cli.console import out as write_out
    from llmsynthor.cli.console import print_json, say
    from llmsynthor.cli.describe_evaluation import print_evaluation
    from llmsynthor.job.file_form import form_of_options
    from llmsynthor.results.evaluation.evaluate import Options, evaluate
    from llmsynthor.results.report.build import write_report
    from llmsynthor.store.directory import RunDirectory

    form = form_of_options(encoding, separator, decimal)
    options = Options(
        tuple(columns or ()), weight, target, sdmetrics, most_triples, members, key, form
    )
    run = RunDirectory(folder)
    content = evaluate(run, microdata, options, say)
    write_report(run)  # the page shows what was found
    print_evaluation(content, folder)
    if as_json:
        print_json(content)
    else:
        write_out(str(folder / "report.html"))


def explain(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    record: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of the record, counted from 0 through data/*.parquet in file order.",
        ),
    ],
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Show the whole prompt that the proposal answered.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say where one record of a run came from: proposal, reason, model and guidance.

    Example: llmsynthor explain runs/trips --record 1234
    """
    from llmsynthor.cli.console import print_json
    from llmsynthor.cli.describe import print_explanation
    from llmsynthor.results.explain import explain as explain_record
    from llmsynthor.store.directory import RunDirectory

    found = explain_record(RunDirectory(folder), record)
    if as_json:
        print_json(found)
    else:
        print_explanation(found, folder, prompt=prompt)


def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    format_: Annotated[
        Literal["csv", "parquet", "activitysim", "populationsim", "matsim", "dictionary"],
        typer.Option("--format", help="What to write."),
    ],
    out: Annotated[Path, typer.Option(help="Folder, or for formats of one file that file.")],
    maps: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="VARIABLE=COLUMN", help="Name a variable's column; repeatable."
        ),
    ] = None,
    map_file: Annotated[
        Path | None, typer.Option(help="YAML file with columns, their variables and values.")
    ] = None,
    records: Annotated[
        Literal["households", "persons"] | None,
        typer.Option(help="What one record is (activitysim, populationsim)."),
    ] = None,
    one_person_households: Annotated[
        bool, typer.Option("--one-person-households", help="Give each person a household.")
    ] = False,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Write iteration and proposal of each record too.")
    ] = False,
    gzip: Annotated[bool, typer.Option("--gzip", help="Compress (csv, matsim).")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there.")
    ] = False,
    partial: Annotated[
        bool, typer.Option("--partial", help="Export a run that is not finished.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's records for another program; the run stays as it is.

    Example: llmsynthor export runs/trips --format csv --out trips.csv
    """
    from llmsynthor.cli.console import out as write_out
    from llmsynthor.cli.console import print_json, say
    from llmsynthor.results.exports.export import ExportOptions
    from llmsynthor.results.exports.export import export as export_run
    from llmsynthor.store.directory import RunDirectory

    options = ExportOptions(
        format_, out, map_file, tuple(maps or ()), records, one_person_households, provenance,
        gzip, overwrite, partial,
    )  # fmt: skip
    try:
        found = export_run(RunDirectory(folder), options)
    except StopRequestedError as stop:
        say(f"stopped by {stop.signal_name}; nothing was written")
        raise typer.Exit(int(stop.exit_code)) from None
    for note in found.notes:
        say(f"note: {note}")
    files = [str(path) for path in found.files]
    if as_json:
        counts = {"records": found.records}
        if found.members is not None:
            counts["members"] = found.members
        print_json({"format": format_, **counts, "files": files, "notes": found.notes})
    else:
        write_out("\n".join(files))
