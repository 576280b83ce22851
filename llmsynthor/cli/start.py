"""The commands that make a job to start from: `tables` from real records, `init`, `import`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import llmsynthor as ls
from llmsynthor.cli import console
from llmsynthor.cli.results import Decimal, Encoding, Overwrite, Separator
from llmsynthor.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence

Texts = list[str] | None
import_app = typer.Typer(no_args_is_help=True, help="Make a job from another program's set-up.")


def tables(
    microdata: Annotated[
        Path, typer.Argument(metavar="MICRODATA", help="Records: CSV, XLSX or parquet.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder for the job.")],
    variables: Annotated[
        Texts, typer.Option(metavar="A,B,C", help="Columns to use; default: all that are fit.")
    ] = None,
    type_: Annotated[
        Texts,
        typer.Option("--type", metavar="COLUMN=TYPE", help="category, integer or number; repeatable."),
    ] = None,
    bins: Annotated[
        Texts,
        typer.Option(
            metavar="COLUMN=HOW", help="quantile:10, width:5 or edges 0,18,25,65; repeatable."
        ),
    ] = None,
    joints: Annotated[
        Texts, typer.Option(metavar="A*B,C*D*E", help="Joint tables to be met; repeatable.")
    ] = None,
    strongest: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Pairs to be met, by mutual information; default: half as many as variables, or 0 "
            "with --joints.",
        ),
    ] = None,
    hold_out: Annotated[
        int | None,
        typer.Option(
            "--hold-out", min=0,
            help="Next strongest pairs, for scoring only; default: half as many as variables.",
        ),
    ] = None,
    rare: Annotated[
        int, typer.Option(min=0, help="Merge categories with fewer records into `other`.")
    ] = 0,
    missing: Annotated[
        str,
        typer.Option(
            metavar="auto|drop|category",
            help="Records without a value: auto makes it a category of categories and drops the "
            "record for numbers.",
        ),
    ] = "auto",
    weight: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Column that records are weighted by.")
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(metavar="E", help="Add Laplace noise: all tables together are E-private."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of the noise; for tests, it undoes privacy.")
    ] = None,
    encoding: Encoding = None,
    separator: Separator = None,
    decimal: Decimal = ".",
    overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Make a job and its target tables from real records.

    Example: llmsynthor tables survey.csv --out my --bins age=0,18,25,65
    """
    ls.tables_from(
        microdata,
        out,
        variables=parse_names(variables) if variables else None,
        types=cast("Any", parse_pairs("--type", type_ or [], "age=integer")),
        bins=parse_pairs("--bins", bins or [], "age=quantile:10"),
        joints=parse_joints(joints or []),
        strongest=strongest, hold_out=hold_out, rare=rare, missing=cast("Any", missing),
        weight=weight, epsilon=epsilon, seed=seed, encoding=encoding, separator=separator,
        decimal=decimal, overwrite=overwrite, tell=console.say,
    )  # fmt: skip
    job = out / "job.yaml"
    console.say(f"\nnext: llmsynthor run {shlex.quote(str(job))} --set provider.model=none")
    console.out(str(job))


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    example: Annotated[
        str, typer.Option(metavar="population|mobility|ecommerce", help="Which example.")
    ] = "population",
    overwrite: Overwrite = False,
) -> None:
    """Write a starter job with tables and recorded replies; it runs without a key.

    Example: llmsynthor init my --example mobility
    """
    ls.example(example, folder, overwrite=overwrite)
    job, run = shlex.quote(str(folder / "job.yaml")), shlex.quote(str(folder / "run"))
    console.say(f"{folder}: the {example} example, with its tables and recorded replies; next:")
    console.out(f"llmsynthor preview {job}")
    console.out(f"llmsynthor run {job} --out {run}")
    console.out(f"llmsynthor explain {run} --record 0")


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
    overwrite: Overwrite = False,
) -> None:
    """Make a job of PopulationSim's controls, control totals and seed tables.

    Example: llmsynthor import populationsim example_calm --out calm
    """
    from llmsynthor.app.starts import import_populationsim

    target = out or Path(f"my-{folder.resolve().name}")
    import_populationsim(folder, target, overwrite=overwrite, tell=console.say)
    console.say(f"\nnext: llmsynthor run {shlex.quote(str(target / 'job.yaml'))}")
    console.out(str(target / "job.yaml"))


def split_outside_quotes(text: str, mark: str) -> list[str]:
    """Return the parts of `text` between `mark`s that stand in no double quotes, quotes kept.

    Example:
        >>> split_outside_quotes('age*"a*b"', "*")
        ['age', '"a*b"']
    """
    parts, quoted = [""], False
    for letter in text:
        quoted ^= letter == '"'
        if letter == mark and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text


def parse_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of `a,b,"c, with a comma"`, each once.

    Raises:
        JobError: A name is empty.
    """
    names = [_unquoted(part) for text in texts for part in split_outside_quotes(text, ",")]
    if not all(names):
        raise JobError(f"--variables {','.join(texts)}: a name is empty; write `a,b,c`")
    return tuple(dict.fromkeys(names))


def parse_joints(texts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the column sets of `a*b,c*d*e`.

    Raises:
        JobError: A joint has fewer than two columns, or the same one twice.
    """
    joints = []
    for text in texts:
        for part in split_outside_quotes(text, ","):
            names = tuple(_unquoted(name) for name in split_outside_quotes(part, "*"))
            if len(names) < 2 or not all(names) or len(set(names)) < len(names):
                raise JobError(
                    f"--joints {text}: `{part}` does not name two or more different columns; "
                    'write `a*b,c*d*e` (a name with `*` or `,` in double quotes: `"a,b"*c`)'
                )
            joints.append(names)
    return tuple(joints)


def parse_pairs(option: str, texts: Sequence[str], example: str) -> dict[str, str]:
    """Return column -> value of `column=value` texts; the last `=` divides.

    Raises:
        JobError: A text has no `=`, or a column comes twice with different values.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.rpartition("=")
        name, value = _unquoted(name), value.strip()
        if not separator or not name or not value:
            raise JobError(f"{option} {text}: write it as `{example}`")
        if found.setdefault(name, value) != value:
            raise JobError(f"{option} {text}: `{name}` was given `{found[name]}` before")
    return found
