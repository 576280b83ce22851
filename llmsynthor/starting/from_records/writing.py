"""The files of made tables: `job.yaml` with comments, one CSV a table, and an account of it all."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np
import yaml

from llmsynthor import __version__
from llmsynthor.starting.from_records.bins import shown
from llmsynthor.starting.from_records.making import small_cells
from llmsynthor.starting.from_records.noise import expected_size
from llmsynthor.starting.safe_folder import job_name
from llmsynthor.text import clean, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.starting.from_records.columns import Published
    from llmsynthor.starting.from_records.making import MadeTable, MadeTables

SMALL = 5
"""Records; many statistical offices publish no smaller cell."""
_MOST_LISTED = 40
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


def job_text(made: MadeTables) -> str:
    """Return the job as commented YAML."""
    stem = PurePath(made.records.file).stem
    about_records = (
        f"As many as were counted ({made.rows:,}), so that each table can be met to the record."
        if made.options.weight is None
        else f"As many as were counted; their weights are {shown(made.total)} together."
    )
    about_tables = [
        "Control tables are met. Validate tables are only scored: they show how well combinations "
        "that no control table has came out, and no model and no calibration ever sees them.",
        *([] if made.noise_scale is None else ["", *privacy_lines(made)]),
    ]
    return "\n".join(
        [
            *_comment(heading(made)),
            "version: 1",
            f"name: {_scalar(job_name(stem, 'records'))}",
            "# What one record is. A model reads this sentence: write who or what, where and when.",
            f"description: {_scalar(f'One record of {stem}.')}",
            *_comment([about_records]),
            f"records: {made.rows}",
            "# Everything random is derived from this number; the same seed gives the same records.",
            "seed: 1",
            "",
            "# The columns of the result. A model reads the descriptions; they are drawn from the",
            "# column names: say what each means, and the `unit` of numbers.",
            "variables:",
            *(line for v in made.variables for line in _variable(v, made.noise_scale is None)),
            "",
            *_comment(about_tables),
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


def _comment(paragraphs: Sequence[str]) -> list[str]:
    lines = []
    for paragraph in paragraphs:
        text = printable(paragraph)
        if not paragraph.startswith("  "):  # else it is laid out already
            text = textwrap.fill(
                " ".join(text.split()),
                _LINE - 2,
                break_long_words=False,
                break_on_hyphens=False,
            )
        lines += [f"# {line}".rstrip() for line in text.split("\n")]
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


def heading(made: MadeTables) -> list[str]:
    """Return what was made from what, for the first lines of the job."""
    name = PurePath(made.records.file).name
    control = [t for t in made.tables if t.role == "control"]
    joints = [t for t in control if len(t.scope) > 1]
    held = [t for t in made.tables if t.role == "validate"]
    return [
        f"Made by llmsynthor {__version__} from the records of {name}; README.txt says how. "
        "No record of it is in this folder.",
        "",
        f"{len(made.variables)} variables; {len(control) - len(joints)} tables of one variable and "
        f"{len(joints)} joint tables to be met, {len(held)} held out for scoring.",
        "",
        "  llmsynthor preview job.yaml    shows the tables and the first prompt; spends nothing",
        "  llmsynthor run job.yaml        makes the records",
    ]


def privacy_lines(made: MadeTables) -> list[str]:
    """Return what the noise promises and what it does not, one paragraph a line."""
    epsilon, scale, count = made.options.epsilon, made.noise_scale, len(made.tables)
    assert epsilon is not None  # noqa: S101 - there is noise
    assert scale is not None  # noqa: S101 - there is noise
    lines = [
        f"Noise: every count of the {count} tables (held-out ones too) has whole-number Laplace noise "
        f"of scale {scale:g} = {count} tables / epsilon {epsilon:g}; one count is off by "
        f"{expected_size(scale):.3g} on average.",
        f"Promise: the counts are {epsilon:g}-differentially private when one record is added or "
        "removed. This holds for what is made from them too, records included.",
        "Not covered: the number of records, which is published; which columns, categories, limits "
        "(`min`, `max`), bins and joint tables there are, as far as they were taken from the data and "
        "not given; a person with several records; a model that has seen the data elsewhere.",
        "Afterwards each table was lowered by one amount, cut at 0 and rounded so that it adds up to "
        "the number of records. Tables with noise disagree, so each count has its margin of error (`moe`, 90 %) "
        "and gives way; a table's `tolerance` is three times the distance that its noise makes on average.",
    ]
    if made.options.seed is not None:
        lines.append(
            f"NOT PRIVATE: the noise was drawn with the known seed {made.options.seed}, so anybody can "
            "take it off again. Seeds are for tests; leave `--seed` out to publish."
        )
    return lines


def readme_text(made: MadeTables) -> str:
    """Return the account that is written beside the tables; it holds no record.

    With noise it gives no exact figure of the data but the number of records.
    """
    exact = made.noise_scale is None
    lines = [
        f"Tables made by llmsynthor {__version__} from individual records. No record is in this folder.",
        "",
        f"from:      {PurePath(made.records.file).name}",
    ]
    if exact:
        lines += [
            f"sha256:    {made.records.sha256}",
            f"records:   {made.records.rows:,} in the file",
        ]
    lines += [f"counted:   {made.rows:,} records"]
    if made.options.weight is not None:
        lines.append(f"weighted:  by `{made.options.weight}`, {shown(made.total)} together")
    if exact:
        lines += [f"dropped:   {_dropped(name, n)}" for name, n in made.dropped.items()]
    lines += ["", "Variables", *(f"  {_described(v, exact=exact)}" for v in made.variables)]
    if made.left_out:
        lines += ["", "Left out"]
        # reasons tell exact figures of the data
        lines += [
            f"  {c.name or '(no name)'}{f': {c.reason}' if exact else ''}" for c in made.left_out
        ]
    lines += ["", "Tables (the job says which are met and which are held out)"]
    lines += [f"  {' x '.join(t.scope)}: {t.counts.size:,} cells, {t.role}" for t in made.tables]
    if exact:
        lines += ["", *disclosure_lines(made)]
    else:
        lines += ["", *privacy_lines(made), "", _WITHHELD]
    return "".join(f"{printable(line)}\n" for line in lines)


_WITHHELD = (
    "The file's hash, how many values were missing, and how strong the chosen pairs are, are exact "
    "figures of the data and not in this folder."
)


def disclosure_lines(made: MadeTables) -> list[str]:
    """Return what exact tables may tell about single persons."""
    few = small_cells(made.tables, SMALL)
    return [
        f"{few:,} cells hold 1 to {SMALL - 1} records. Exact tables can tell about single persons: look "
        "at them before you publish, give coarser `--bins`, `--rare COUNT`, or noise with `--epsilon`."
        if few
        else f"No cell holds fewer than {SMALL} records."
    ]


def told(made: MadeTables) -> list[str]:
    """Return the account for the terminal, one line each."""
    rows = f"{made.rows:,} of {made.records.rows:,}" if made.dropped else f"{made.rows:,}"
    lines = [f"{clean(made.records.file)}: {rows} records counted"]
    lines += [f"dropped: {_dropped(name, number)}" for name, number in made.dropped.items()]
    lines += ["", "variables"]
    lines += [f"  {_described(variable, exact=True)}" for variable in made.variables]
    if made.left_out:
        lines.append("left out")
        lines += [
            f"  {clean(c.name) or '(no name)'}: {c.reason}" for c in made.left_out[:_MOST_LISTED]
        ]
        if len(made.left_out) > _MOST_LISTED:
            lines.append(f"  and {len(made.left_out) - _MOST_LISTED} more, all in README.txt")
    for role, title in (
        ("control", "joint tables to be met"),
        ("validate", "held out for scoring"),
    ):
        tables = [t for t in made.tables if t.role == role and len(t.scope) > 1]
        lines.append(title if tables else f"{title}: none")
        lines += [f"  {_strength(t.information)}{' x '.join(map(clean, t.scope))}" for t in tables]
    if made.too_large:
        pairs = ", ".join(f"{a} x {b}" for a, b in made.too_large[:4])
        lines.append(
            f"not looked at, since their tables would be too long: {len(made.too_large)} pairs "
            f"({pairs}{', ...' if len(made.too_large) > 4 else ''})"
        )
    return [
        *lines,
        "",
        *(disclosure_lines(made) if made.noise_scale is None else privacy_lines(made)),
    ]


def _dropped(name: str, number: int) -> str:
    return f"{number:,} records have no `{clean(name)}` (`--missing category` keeps them)"


def _strength(information: float | None) -> str:
    return "" if information is None else f"{information:.3f} nats  "


def _described(variable: Published, *, exact: bool) -> str:
    kind = {"category": "categories"}.get(variable.kind, f"bins of {variable.kind}s")
    text = f"{clean(variable.name)}: {variable.size} {kind}"
    if variable.kind != "category":
        text += f" from {shown(variable.low)} to {shown(variable.high)}"
    if variable.ordered and variable.kind == "category":
        text += " in order"
    if variable.name != variable.column:
        text += f"; `{clean(variable.column)}` in the file (tables use that word themselves)"
    if exact and variable.notes:
        text += f"; {'; '.join(variable.notes)}"
    return text
