"""Making the tables: which columns become variables, which joints become tables, and their counts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmsynthor.errors import JobError, MicrodataError
from llmsynthor.starting.from_records.columns import (
    Column,
    LeftOut,
    Published,
    publish,
    understand,
)
from llmsynthor.starting.from_records.noise import (
    expected_size,
    margin_of_error,
    to_total,
    whole_laplace,
)
from llmsynthor.starting.from_records.strength import Pair, choose, count_cells, rank_pairs
from llmsynthor.targets.encode import read_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmsynthor.files.records import Records
    from llmsynthor.starting.from_records.options import TableOptions

MOST_CELLS = 1_000_000
_RESERVED = frozenset({"count", "share", "moe"})
_DIGITS = 13
"""Digits of a weighted count: tables of one data set then agree to nine digits of a share."""
_LEAST_TOLERANCE = 0.002


@dataclass(frozen=True, eq=False)
class MadeTable:
    """One target table.

    Attributes:
        scope: Its variables' names.
        counts: Records or weights in each cell, one axis a variable.
        role: `control` is met, `validate` is only scored.
        information: Mutual information of a pair that was chosen for it, in nats, else None.
        tolerance: For a control table with noise the TVD at which it passes, else None.
        moe: For a control table with noise the margin of error of each count, else None.
    """

    scope: tuple[str, ...]
    counts: np.ndarray
    role: Literal["control", "validate"]
    information: float | None = None
    tolerance: float | None = None
    moe: float | None = None


@dataclass(frozen=True, eq=False)
class MadeTables:
    """All that becomes of the records.

    Attributes:
        records: Where they come from.
        options: As asked for.
        variables: In the order of the columns.
        left_out: Columns that became no variable.
        tables: Marginals, joints, then held-out tables.
        rows: Records that are counted.
        dropped: Column -> records without a value in it, which are not counted.
        total: What the counts of a table add up to.
        too_large: Pairs of variables with too many cells to be chosen.
        noise_scale: Scale of the noise on each count; None without noise.
    """

    records: Records
    options: TableOptions
    variables: tuple[Published, ...]
    left_out: tuple[LeftOut, ...]
    tables: tuple[MadeTable, ...]
    rows: int
    dropped: dict[str, int]
    total: float
    too_large: tuple[tuple[str, str], ...]
    noise_scale: float | None = None

    def variable(self, name: str) -> Published:
        """Return a variable by its name in the job."""
        return next(variable for variable in self.variables if variable.name == name)


def make_tables(records: Records, options: TableOptions) -> MadeTables:
    """Return the variables and target tables of real records.

    Raises:
        MicrodataError: No column or no record is left, or an option names no column.
        JobError: An option does not fit the data.
    """
    _refuse_unknown(records, options)
    weights = None if options.weight is None else read_weights(records, options.weight)
    columns, left_out = _columns(records, options)
    kept, dropped = _kept(records, columns, options)
    if weights is not None:
        weights = weights[kept]
        if not weights.sum() > 0:
            raise MicrodataError(f"{records.file}: every record that is counted has weight 0")
    names = _job_names([column.name for column in columns])
    variables = tuple(publish(column, names[column.name], kept, options) for column in columns)
    ranked, large = rank_pairs(variables, weights)
    tables = _tables(variables, weights, ranked, options, names)
    rows = int(kept.sum())
    made = MadeTables(
        records, options, variables, tuple(left_out), tuple(tables), rows, dropped,
        float(rows if weights is None else weights.sum()), tuple(large),
    )  # fmt: skip
    return made if options.epsilon is None else _with_noise(made, options.epsilon)


def _refuse_unknown(records: Records, options: TableOptions) -> None:
    known = set(records.frame.columns)
    weight = set() if options.weight is None else {options.weight}
    unknown = sorted((options.named | weight) - known)
    if unknown:
        raise MicrodataError(
            f"{records.file}: there is no column `{unknown[0]}` "
            f"(columns: {', '.join(records.frame.columns)})",
            hint="a name with a comma or a star stands in double quotes inside the option",
        )
    if options.weight is not None and options.weight in options.named:
        raise JobError(f"`{options.weight}` is the weight, so it cannot be a variable too")
    if options.variables is not None:
        spoken = sorted(options.named - set(options.variables))
        if spoken:
            raise JobError(f"`{spoken[0]}` has an option but is not among `--variables`")


def _columns(records: Records, options: TableOptions) -> tuple[list[Column], list[LeftOut]]:
    columns, left_out = [], []
    for values in records.frame.get_columns():
        if values.name == options.weight:
            continue
        if options.variables is not None and values.name not in options.variables:
            left_out.append(LeftOut(values.name, "is not among `--variables`"))
            continue
        found = understand(values, options, records.form)
        if isinstance(found, Column):
            columns.append(found)
        elif values.name in options.named:
            raise MicrodataError(f"{records.file}: `{found.name}` {found.reason}")
        else:
            left_out.append(found)
    if not columns:
        reasons = "".join(f"\n  {column.name}: {column.reason}" for column in left_out[:12])
        raise MicrodataError(
            f"{records.file}: no column is fit to be a variable{reasons}",
            hint="`--variables a,b` takes columns that would be left out as identifiers or constant",
        )
    return columns, left_out


def _kept(
    records: Records, columns: Sequence[Column], options: TableOptions
) -> tuple[np.ndarray, dict[str, int]]:
    """Return which records are counted, `(rows,)`, and how many each column costs."""
    kept, dropped = np.ones(records.rows, dtype=bool), {}
    for column in columns:
        numeric = column.numbers is not None
        if options.missing == "category" or (options.missing == "auto" and not numeric):
            continue
        missing = column.missing
        if missing.any():
            dropped[column.name] = int(missing.sum())
            kept &= ~missing
    if not kept.any():
        worst = max(dropped, key=lambda name: dropped[name])
        raise MicrodataError(
            f"{records.file}: every record lacks a value somewhere (`{worst}` in {dropped[worst]:,} "
            f"of {records.rows:,})",
            hint="`--missing category` makes lacking values a category; `--variables` leaves columns out",
        )
    return kept, dropped


def _job_names(columns: Sequence[str]) -> dict[str, str]:
    """Return column -> name in the job: tables use `count`, `share` and `moe` themselves."""
    names = {}
    for column in columns:
        name = column
        while name in _RESERVED or (name != column and name in columns):
            name += "_"
        names[column] = name
    return names


def _tables(
    variables: Sequence[Published],
    weights: np.ndarray | None,
    ranked: Sequence[Pair],
    options: TableOptions,
    names: dict[str, str],
) -> list[MadeTable]:
    joints = _given_joints(variables, options, names)
    usual = len(variables) // 2
    asked = options.strongest if options.strongest is not None else (0 if joints else usual)
    held = options.hold_out if options.hold_out is not None else usual
    control, validate = choose(ranked, joints, asked, held)
    # an exact joint table gives its variables' own tables too; a noisy one gives them badly
    implied = {name for scope in joints for name in scope}
    implied |= {name for pair in control for name in pair.names}
    alone = [v for v in variables if options.epsilon is not None or v.name not in implied]
    plan: list[tuple[tuple[str, ...], Literal["control", "validate"], float | None]] = [
        *(((variable.name,), "control", None) for variable in alone),
        *((joint, "control", None) for joint in joints),
        *((pair.names, "control", pair.information) for pair in control),
        *((pair.names, "validate", pair.information) for pair in validate),
    ]
    by_name = {variable.name: variable for variable in variables}
    return [
        MadeTable(scope, _counts([by_name[n] for n in scope], weights), role, information)
        for scope, role, information in plan
    ]


def _given_joints(
    variables: Sequence[Published], options: TableOptions, names: dict[str, str]
) -> list[tuple[str, ...]]:
    sizes = {variable.name: variable.size for variable in variables}
    joints: dict[frozenset[str], tuple[str, ...]] = {}
    for columns in options.joints:
        scope = tuple(names[column] for column in columns)
        cells = math.prod(sizes[name] for name in scope)
        if cells > MOST_CELLS:
            raise JobError(
                f"--joints {'*'.join(columns)}: the table would have {cells:,} cells, more than "
                f"{MOST_CELLS:,}; give coarser `--bins`, or fewer columns"
            )
        joints.setdefault(frozenset(scope), scope)
    return list(joints.values())


def _counts(variables: Sequence[Published], weights: np.ndarray | None) -> np.ndarray:
    counts = count_cells(variables, weights)
    if weights is None:
        return counts
    digits = _DIGITS - math.ceil(math.log10(float(weights.sum())))
    return np.round(counts, max(digits, 0))


def _with_noise(made: MadeTables, epsilon: float) -> MadeTables:
    """Return the tables with noise; the total, which is published, is kept."""
    scale = len(made.tables) / epsilon  # the sensitivity of all tables together over epsilon
    drawn = whole_laplace(sum(t.counts.size for t in made.tables), scale, made.options.seed)
    tables, start = [], 0
    for table in made.tables:
        met = table.role == "control"
        noise = drawn[start : start + table.counts.size].reshape(table.counts.shape)
        start += table.counts.size
        tables.append(
            replace(
                table,
                counts=to_total(table.counts + noise, made.rows),
                information=None,  # an exact figure of the data, which no noise covers
                tolerance=_tolerance(table.counts.size, made.rows, scale) if met else None,
                moe=margin_of_error(scale) if met else None,
            )
        )
    return replace(made, tables=tuple(tables), noise_scale=scale)


def _tolerance(cells: int, rows: int, scale: float) -> float:
    """Return the TVD at which a noisy table passes: three times what its noise moves it on average."""
    expected = cells * expected_size(scale) / (2 * rows)
    return float(f"{min(1.0, max(_LEAST_TOLERANCE, 3 * expected)):.2g}")


def small_cells(tables: Iterable[MadeTable], below: int) -> int:
    """Return how many cells hold somebody but fewer than `below`."""
    return sum(int(((t.counts > 0) & (t.counts < below)).sum()) for t in tables)
