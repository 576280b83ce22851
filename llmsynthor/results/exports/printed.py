"""The data dictionary as a table to print: Markdown or CSV, one row for each variable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from llmsynthor.errors import RunDirectoryError
from llmsynthor.results.dictionary import DICTIONARY
from llmsynthor.results.exports.asked import Exported
from llmsynthor.results.exports.files import check_free, new_files
from llmsynthor.text import one, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.results.exports.asked import ExportOptions
    from llmsynthor.store.directory import RunDirectory

_HEADINGS = (
    "variable", "type", "unit", "description", "values", "distinct", "least", "largest", "tables",
)  # fmt: skip
_MARKS = str.maketrans({mark: "\\" + mark for mark in "\\`*_[]<>|#~"})
"""What would be read as Markdown."""


def dictionary_file(run: RunDirectory, options: ExportOptions) -> Exported:
    """Write the dictionary of a run as Markdown (`.md`) or CSV.

    Raises:
        ExportError: The file cannot be written there.
        RunDirectoryError: The run has no data dictionary.
    """
    path = options.file("data_dictionary.md", ".csv")
    check_free([path], run.path, overwrite=options.overwrite)
    content = run.read_json(DICTIONARY)
    if content is None:
        raise RunDirectoryError(
            f"{run.path / DICTIONARY}: is missing",
            hint=f"`llmsynthor report {run.path}` writes it",
        )
    members = content.get("members")
    headings = _HEADINGS if members is None else ("of", *_HEADINGS)
    rows = [] if members is None else _keys(members)
    for variable in content["variables"]:
        rows.append([*([] if members is None else [variable["of"]]), *_row(variable)])
    markdown = path.suffix == ".md"
    text = _markdown(content, headings, rows) if markdown else _csv(headings, rows)
    with new_files([path]) as (file,):
        file.write(text.encode("utf-8", "backslashreplace"))
    return Exported([path], int(content["records"]["made"]), [])


def _keys(members: dict[str, Any]) -> list[list[str]]:
    """Return a row for each column that links records and members."""
    of, name = members["of"], members["name"]
    empty = [""] * (len(_HEADINGS) - 4)
    return [
        [of, members["key"], "integer", "", f"number of the {of}, from 0", *empty],
        [name, members["key"], "integer", "", f"number of the {name}'s {of}", *empty],
        [
            name,
            members["number"],
            "integer",
            "",
            f"number of the {name} in the {of}, from 1",
            *empty,
        ],
    ]


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


def _csv(headings: Sequence[str], rows: list[list[str]]) -> str:
    return pl.DataFrame(rows, schema=dict.fromkeys(headings, pl.String), orient="row").write_csv()


def _markdown(content: dict[str, Any], headings: Sequence[str], rows: list[list[str]]) -> str:
    records, members = content["records"], content.get("members")
    linked = ""
    if members is not None:
        linked = (
            f" Each is {one(members['of'])}; its {members['name']}s, as many as {members['size']} says, "
            f"are in {members['files']}, linked by {members['key']}."
        )
    lines = [
        f"# {_cell(content['name'])}: data dictionary",
        "",
        _cell(content["description"]),
        "",
        _cell(f"{records['made']:,} records.{linked} {content['order']}")
        if linked
        else f"{records['made']:,} records. {content['order']}",
        "",
        *("| " + " | ".join(map(_cell, row)) + " |" for row in [list(headings)]),
        "|" + "---|" * len(headings),
        *("| " + " | ".join(map(_cell, row)) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(printable(text).split()).translate(_MARKS)
