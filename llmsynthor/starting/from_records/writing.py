"""The files of made tables: `job.yaml` with comments, one CSV a table, and an account of it all."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
import yaml

from llmsynthor.starting.from_records.account import heading, privacy_lines, readme_text
from llmsynthor.starting.from_records.bins import shown
from llmsynthor.starting.safe_folder import job_name
from llmsynthor.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.starting.from_records.making import MadeTable, MadeTables
    from llmsynthor.starting.from_records.variables import Published

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./ -]*[A-Za-z0-9_.]|[A-Za-z_]")
_NOT_IN_FILES = re.compile(r"[^\w.-]+")
_LINE = 96
_LEAST_TOLERANCE = 0.002
"""As a job has it by default."""
_LONGEST_STEM = 80


def job_files(made: MadeTables) -> dict[str, str]:
    """Return every file of the job's folder, path inside it -> text."""
    tables = zip(table_files(made), made.tables, strict=True)
    return {
        "job.yaml": job_text(made),
        "README.txt": readme_text(made),
        **{file: table_text(made, table) for file, table in tables},
    }


def table_files(made: MadeTables) -> list[str]:
    """Return the file name of each table, in order: the variables' names as far as files allow."""
    taken: set[str] = set()
    names = []
    for table in made.tables:
        stem = _NOT_IN_FILES.sub("-", "_".join(table.scope)).strip(".-") or "table"
        stem = stem[:_LONGEST_STEM]
        name, number = stem, 1
        while name.lower() in taken:  # some file systems do not tell cases apart
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        names.append(f"tables/{name}.csv")
    return names


def table_text(made: MadeTables, table: MadeTable) -> str:
    """Return a table as CSV, in order: its cells that hold somebody, with noise all cells."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    moe = [] if table.moe is None else [f"{table.moe:.4g}"]
    writer.writerow([*table.scope, "count", *(["moe"] if moe else [])])
    labels = [made.variable(name).labels for name in table.scope]
    for cell in np.argwhere((table.counts > 0) | (table.moe is not None)):
        row = [own[int(position)] for own, position in zip(labels, cell, strict=True)]
        writer.writerow([*row, shown(float(table.counts[tuple(cell)])), *moe])
    return out.getvalue()


def _about_records(made: MadeTables) -> str:
    if made.options.weight is None:
        return (
            f"As many as were counted ({made.rows:,}), so that each table can be met to the record."
        )
    return f"As many as were counted; their weights are {shown(made.total)} together."


def job_text(made: MadeTables) -> str:
    """Return the job as commented YAML."""
    stem = PurePath(made.records.file).stem
    return "\n".join(
        [
            *_comment(heading(made)),
            "version: 1",
            f"name: {_scalar(job_name(stem, 'records'))}",
            "# What one record is. A model reads this sentence: write who or what, where and when.",
            f"description: {_scalar(f'One record of {stem}.')}",
            *_comment([_about_records(made)]),
            f"records: {made.rows}",
            "# Everything random is derived from this number; the same seed gives the same records.",
            "seed: 1",
            "",
            "# The columns of the result. A model reads the descriptions; they are drawn from the",
            "# column names: say what each means, and the `unit` of numbers.",
            "variables:",
            *(line for v in made.variables for line in _variable(v, made.noise_scale is None)),
            "",
            *_comment(_about_tables(made)),
            "tables:",
            *(
                _table(table, file)
                for table, file in zip(made.tables, table_files(made), strict=True)
            ),
            "",
            *_PROVIDER,
            *_engine(made),
            "",
        ]
    )


_PROVIDER = [
    "# What cannot be, as SQL conditions over the variables; for example:",
    "# rules:",
    "#   - {name: children do not work, forbid: age < 15 AND work = 'yes'}",
    "",
    "# Who proposes. Without this block the one model that is on offer is used (a key in the",
    "# environment, or a server on this machine); `--set provider.model=none` asks nobody.",
    "# provider:",
    "#   model: openai/gpt-4.1-nano      # any litellm model",
    "#   api_key_env: OPENAI_API_KEY     # the NAME of the variable, never the key",
    "# budget: {calls: 40, cost_usd: 0.50}",
]


def _engine(made: MadeTables) -> list[str]:
    """Return the engine's block, where whole records cannot meet weighted shares as they stand."""
    if made.options.weight is None:
        return []
    largest = max(table.counts.size for table in made.tables)
    tolerance = float(f"{min(1.0, max(_LEAST_TOLERANCE, largest / (2 * made.rows))):.2g}")
    return [
        "",
        "# Weighted shares times the number of records are not whole, so that whole records cannot",
        "# meet them all; more `records` come nearer. This is half a record a cell of the longest table.",
        f"engine: {{tolerance: {tolerance:g}}}",
    ]


def _about_tables(made: MadeTables) -> list[str]:
    lines = [
        "Control tables are met. Validate tables are only scored: they show how well combinations "
        "that no control table has came out, and no model and no calibration ever sees them."
    ]
    if made.noise_scale is not None:
        lines += ["", *privacy_lines(made)]
    return lines


def _comment(paragraphs: Sequence[str]) -> list[str]:
    lines = []
    for paragraph in paragraphs:
        if paragraph.startswith("  "):  # laid out already
            lines.append(f"# {printable(paragraph)}")
            continue
        line = "#"
        for word in printable(paragraph).split():
            if len(line) + 1 + len(word) > _LINE and line != "#":
                lines.append(line)
                line = "#"
            line += f" {word}"
        lines.append(line)
    return lines


def _variable(variable: Published, exact: bool) -> list[str]:
    lines = [f"  {_scalar(variable.name)}:", f"    type: {variable.kind}"]
    if variable.kind == "category":
        lines += _values(variable.labels)
        if variable.ordered:
            lines.append("    ordered: true")
    else:
        lines += [f"    min: {shown(variable.low)}", f"    max: {shown(variable.high)}"]
        if variable.kind == "number":
            lines.append(f"    decimals: {variable.decimals}")
    lines.append(f"    description: {_scalar(_words(variable.name))}")
    if exact:  # notes tell exact figures of the data, which noise would not cover
        lines += [f"    {line}" for line in _comment(variable.notes)]
    return lines


def _values(labels: Sequence[str]) -> list[str]:
    scalars = [_scalar(label, inside_list=True) for label in labels]
    line = f"    values: [{', '.join(scalars)}]"
    if len(line) <= _LINE:
        return [line]
    return ["    values:", *(f"      - {_scalar(label)}" for label in labels)]


def _table(table: MadeTable, file: str) -> str:
    parts = [f"file: {_scalar(file, inside_list=True)}"]
    if table.role == "validate":
        parts.append("role: validate")
    elif table.tolerance is not None:
        parts.append(f"tolerance: {table.tolerance:g}")
    note = "" if table.information is None else f"  # {table.information:.3f} nats"
    return f"  - {{{', '.join(parts)}}}{note}"


def _words(name: str) -> str:
    """Return a column's name as words: `ageBand` and `age_band` are `Age band.`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])", " ", name)
    words = " ".join(re.sub(r"[_.\-\s]+", " ", spaced).split()) or name
    return words[:1].upper() + words[1:] + ("" if words.endswith((".", "?", "!")) else ".")


def _scalar(text: str, *, inside_list: bool = False) -> str:
    """Return text as a YAML string: plain where that is safe, else in double quotes."""
    plain = _PLAIN.fullmatch(text) and not (inside_list and len(text) > _LINE)
    if plain and yaml.safe_load(text) == text:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else _escape(c) for c in quoted)


def _escape(letter: str) -> str:
    number = ord(letter)
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
