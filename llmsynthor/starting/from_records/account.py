"""The account of made tables, in words: for the job's head, the README.txt and the terminal."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from llmsynthor import __version__
from llmsynthor.starting.from_records.bins import shown
from llmsynthor.starting.from_records.making import small_cells
from llmsynthor.starting.from_records.noise import expected_size
from llmsynthor.text import clean, printable

if TYPE_CHECKING:
    from llmsynthor.starting.from_records.making import MadeTables
    from llmsynthor.starting.from_records.variables import Published

SMALL = 5
"""Records; many statistical offices publish no smaller cell."""
_MOST_LISTED = 40


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
