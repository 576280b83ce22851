"""The data dictionary as a table to print: Markdown or CSV, one row for each variable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from llmsynthor.errors import RunDirectoryError
from llmsynthor.exports.dictionary import DICTIONARY
from llmsynthor.exports.target import new_files
from llmsynthor.labels import printable

if TYPE_CHECKING:
    from pathlib import Path

    from llmsynthor.rundir import RunDirectory

_HEADINGS = (
    "variable", "type", "unit", "description", "values", "distinct", "least", "largest", "tables",
)  # fmt: skip
_MARKS = str.maketrans({mark: "\\" + mark for mark in "\\`*_[]<>|#~"})
"""What would be read as Markdown."""


def write_printed(run: RunDirectory, path: Path) -> int:
    """Write the dictionary of a run as Markdown (`.md`) or CSV; return how many records it is of.

    Raises:
        RunDirectoryError: The run has no data dictionary.
    """
    content = run.read_json(DICTIONARY)
    if content is None:
        raise RunDirectoryError(
            f"{run.path / DICTIONARY}: is missing",
            hint=f"`llmsynthor report {run.path}` writes it",
        )
    rows = [_row(variable) for variable in content["variables"]]
    text = _markdown(content, rows) if path.suffix == ".md" else _csv(rows)
    with new_files([path]) as (file,):
        file.write(text.encode("utf-8", "backslashreplace"))
    return int(content["records"]["made"])


def _row(variable: dict[str, Any]) -> list[str]:
    if "categories" in variable:
        values = ", ".join(variable["categories"])
    else:
        values = f"{variable['min']:,} to {variable['max']:,}"
    data = variable["data"]
    distinct = "more than 1,000,000" if data["distinct"] is None else f"{data['distinct']:,}"
    ends = ["" if data[end] is None else str(data[end]) for end in ("least", "largest")]
    tables = ", ".join(f"{table['name']} ({table['role']})" for table in variable["tables"])
    first = [variable["name"], variable["type"], variable["unit"] or "", variable["description"]]
    return [*first, values, distinct, *ends, tables]


def _csv(rows: list[list[str]]) -> str:
    return pl.DataFrame(rows, schema=dict.fromkeys(_HEADINGS, pl.String), orient="row").write_csv()


def _markdown(content: dict[str, Any], rows: list[list[str]]) -> str:
    records = content["records"]
    lines = [
        f"# {_cell(content['name'])}: data dictionary",
        "",
        _cell(content["description"]),
        "",
        f"{records['made']:,} records. {content['order']}",
        "",
        *("| " + " | ".join(map(_cell, row)) + " |" for row in [list(_HEADINGS)]),
        "|" + "---|" * len(_HEADINGS),
        *("| " + " | ".join(map(_cell, row)) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(printable(text).split()).translate(_MARKS)
