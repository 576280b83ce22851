"""The command line of a run that is there: its report, real records beside it, a record's origin, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import llmsynthor as ls
from llmsynthor.app.choices import EXPORTS, formats_with
from llmsynthor.cli import console
from llmsynthor.errors import StopRequestedError

AsJson = Annotated[bool, typer.Option("--json", help="Write the result as JSON to stdout.")]
RunDir = Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")]
Encoding = Annotated[
    str | None, typer.Option(metavar="NAME", help="How the characters of text are stored.")
]
Separator = Annotated[
    str | None, typer.Option(metavar=";", help="What parts the columns; default: see the header.")
]
Decimal = Annotated[str, typer.Option(metavar=".|,", help="What stands before decimals.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what this command wrote there before.")
]


def report(folder: RunDir, as_json: AsJson = False) -> None:
    """Write the report of a run again, from its records.

    Example: llmsynthor report runs/trips
    """
    content = ls.open_run(folder).write_report()
    console.print_summary(content, folder)
    console.print_result(content, str(folder / "report.html"), as_json=as_json)


def merge(folder: RunDir, as_json: AsJson = False) -> None:
    """Check that all chunks of zones are there, and write the run's report.

    Example: llmsynthor merge runs/region
    """
    from llmsynthor.app.run import merge_run

    code, report = merge_run(folder)
    console.print_summary(report, folder)
    console.print_result(report, str(folder), as_json=as_json)
    raise typer.Exit(int(code))


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
    encoding: Encoding = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    as_json: AsJson = False,
) -> None:
    """Hold the records of a run against real records that nobody trained on.

    Only aggregates of the real records are kept. `--target` and `--sdmetrics` need
    `pip install 'llmsynthor[evaluate]'`.

    Example: llmsynthor evaluate runs/trips survey.csv --columns AGEP=age --target mode
    """
    from llmsynthor.cli.describe_evaluation import print_evaluation

    content = ls.open_run(folder).evaluate(
        microdata, members=members, key=key, columns=columns or (), weight=weight, target=target,
        sdmetrics=sdmetrics, most_triples=most_triples, encoding=encoding, separator=separator,
        decimal=decimal, tell=console.say,
    )  # fmt: skip
    print_evaluation(content, folder)
    console.print_result(content, str(folder / "report.html"), as_json=as_json)


def explain(
    folder: RunDir,
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
    from llmsynthor.cli.describe import print_explanation

    found = ls.open_run(folder).explain(record)
    if as_json:
        console.print_json(found)
    else:
        print_explanation(found, folder, prompt=prompt)


def _known_format(name: str) -> str:
    if name not in EXPORTS:
        raise typer.BadParameter(f"'{name}' is not one of {', '.join(map(repr, EXPORTS))}.")
    return name


def export(
    folder: RunDir,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar=f"<{'|'.join(EXPORTS)}>",
            callback=_known_format,
            autocompletion=lambda: list(EXPORTS),
            help="What to write.",
        ),
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
        typer.Option(help=f"What one record is ({formats_with('--records')})."),
    ] = None,
    one_person_households: Annotated[
        bool, typer.Option("--one-person-households", help="Give each person a household.")
    ] = False,
    provenance: Annotated[
        bool, typer.Option("--provenance", help="Write iteration and proposal of each record too.")
    ] = False,
    gzip: Annotated[
        bool, typer.Option("--gzip", help=f"Compress ({formats_with('--gzip')}).")
    ] = False,
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
    try:
        found = ls.open_run(folder).export(
            format_, out, columns=maps or (), map_file=map_file, records=records,
            one_person_households=one_person_households, provenance=provenance, gzip=gzip,
            overwrite=overwrite, partial=partial,
        )  # fmt: skip
    except StopRequestedError as stop:
        console.say(f"stopped by {stop.signal_name}; nothing was written")
        raise typer.Exit(int(stop.exit_code)) from None
    for note in found.notes:
        console.say(f"note: {note}")
    files = [str(path) for path in found.files]
    counts = {"records": found.records}
    if found.members is not None:
        counts["members"] = found.members
    whole = {"format": format_, **counts, "files": files, "notes": found.notes}
    console.print_result(whole, "\n".join(files), as_json=as_json)
