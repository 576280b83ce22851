"""One file of a seed sample: its columns as codes of the job, and which of its rows are sound."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmsynthor.errors import MicrodataError
from llmsynthor.files.records import read_records
from llmsynthor.targets.encode import (
    columns_of,
    listed,
    read_categories,
    read_numbers,
    read_weights,
    suggest,
)
from llmsynthor.text import clean, count_of

if TYPE_CHECKING:
    import polars as pl

    from llmsynthor.files.inputs import Inputs
    from llmsynthor.files.records import Records
    from llmsynthor.job.seed_sample import SeedColumns
    from llmsynthor.targets.domain import Domain, Members, Variable


_Kind = Literal["wrong", "rule", "weight"]


@dataclass(frozen=True)
class LeftOut:
    """Rows that were left out for one reason.

    Attributes:
        kind: `wrong` speaks against the job's description of the file, where it is more than a few;
            what breaks a `rule` or has no `weight` does not.
        words: Why, in words.
        rows: How many.
        first: The first of them.
    """

    kind: _Kind
    words: str
    rows: int
    first: int


@dataclass
class Level:
    """One file as it was read.

    Attributes:
        records: As the file gives them.
        codes: Variable -> code of each row, below 0 where there is none.
        limits: Numeric variable -> lower and upper limit of each row's value, `(2, rows)`.
        sound: Rows in which nothing is wrong so far.
        left_out: Why rows were left out.
    """

    records: Records
    codes: dict[str, np.ndarray] = field(default_factory=dict)
    limits: dict[str, np.ndarray] = field(default_factory=dict)
    sound: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=bool))
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def file(self) -> str:
        """Return the file, as the job names it."""
        return self.records.file

    @property
    def frame(self) -> pl.DataFrame:
        """Return its columns."""
        return self.records.frame

    @property
    def rows(self) -> int:
        """Return the number of rows."""
        return self.frame.height

    def leave_out(self, wrong: np.ndarray, why: str, kind: _Kind = "wrong") -> None:
        """Leave out rows, unless they are already."""
        wrong = wrong & self.sound
        if wrong.any():
            self.left_out.append(LeftOut(kind, why, int(wrong.sum()), int(wrong.argmax())))
            self.sound = self.sound & ~wrong

    def text(self, column: str) -> pl.Series:
        """Return a column as text without blanks at its ends."""
        return self.records.text(column).fill_null("")


def read_level(inputs: Inputs, spec: SeedColumns, domain: Domain) -> Level:
    """Read a file's columns as codes."""
    records = read_records(spec.file, inputs, spec.form)
    level = Level(records)
    level.sound = np.ones(level.rows, dtype=bool)
    for name, column in _columns(spec, records, domain).items():
        variable = domain[name]
        text = records.numbers(column).fill_null("") if variable.is_numeric else level.text(column)
        mapped = spec.values.get(name, {})
        if mapped:
            text = text.replace(mapped)
        _read_column(level, variable, column, text)
    return level


def _columns(spec: SeedColumns, records: Records, domain: Domain) -> dict[str, str]:
    """Return variable -> column, in domain order."""
    header = records.frame.columns
    missing = [column for column in spec.columns if column not in header]
    if missing:
        raise MicrodataError(
            f"{spec.file}: has no column `{clean(missing[0])}`{suggest(missing[0], header)}"
        )
    named: dict[str, str] = {}
    for column, name in spec.columns.items():
        if name in named:
            raise MicrodataError(
                f"{spec.file}: two columns stand for `{clean(name)}`: `{clean(named[name])}` and "
                f"`{clean(column)}`"
            )
        named[name] = column
    return columns_of(domain, header, named)


def _read_column(level: Level, variable: Variable, column: str, text: pl.Series) -> None:
    found = (read_numbers if variable.is_numeric else read_categories)(variable, text)
    codes = found.codes.copy()
    values = found.values
    if values is not None and variable.is_whole:
        codes[np.isfinite(values) & (values != np.floor(values))] = -1
    for words in found.problems:
        level.leave_out(_unreadable(text, codes), f"column `{clean(column)}`: {words}")
    blank = (text == "").to_numpy() & (codes < 0)
    level.leave_out(blank, f"column `{clean(column)}`: no value of `{variable.name}`")
    shown = first_of(text, codes < 0)
    level.leave_out(
        codes < 0, f"column `{clean(column)}`: `{clean(shown)}` is no value of `{variable.name}`"
    )
    level.codes[variable.name] = codes
    if variable.is_numeric:
        level.limits[variable.name] = _tight(variable, values, level.rows)


def _unreadable(text: pl.Series, codes: np.ndarray) -> np.ndarray:
    return np.asarray((codes < 0) & (text != "").to_numpy())


def first_of(text: pl.Series, wrong: np.ndarray) -> str:
    """Return the first text that is wrong, "" where none is."""
    return str(text[int(wrong.argmax())]) if wrong.any() else ""


def _tight(variable: Variable, values: np.ndarray | None, rows: int) -> np.ndarray:
    """Return limits between which only the value itself is, as records keep it, `(2, rows)`."""
    limits = np.array([[-np.inf], [np.inf]]).repeat(rows, axis=1)
    if values is None:  # given as bins
        return limits
    step = variable.step
    known = np.isfinite(values)
    cut = np.floor(values[known] / step + 1e-6) * step
    # the largest value closes the last bin: what is kept of it is a step less
    cut = np.minimum(cut, variable.edges[-1] - step)
    limits[0, known], limits[1, known] = cut, cut + step
    return limits


def refuse_absent(level: Level, domain: Domain, members: Members | None, *, fill: bool) -> None:
    """Refuse a file without a column for each variable, unless they are drawn."""
    file = level.file
    counted = members.size if members is not None and domain is members.record else None
    absent = [n for n in domain.names if n not in level.codes and n != counted]
    if absent and not fill:
        raise MicrodataError(
            f"{file}: has no column for {listed(absent)} (columns: {listed(level.frame.columns)})",
            hint="map them in `columns`, or have them drawn from the tables with `missing: "
            "background`",
        )
    if not level.codes:
        raise MicrodataError(f"{file}: has no column for any variable of the job")


def weights_of(level: Level, column: str | None) -> np.ndarray:
    """Return the weights; records that weigh nothing are left out.

    Raises:
        MicrodataError: One is missing, negative or no number.
    """
    if column is None:
        return np.ones(level.rows)
    need(level, column)
    weights = read_weights(level.records, column)
    level.leave_out(weights == 0, f"the weight `{clean(column)}` is 0", "weight")
    return weights


def keys_of(level: Level, column: str | None) -> list[str]:
    """Return what each record is called.

    Raises:
        MicrodataError: Two are called the same, or one is not called at all.
    """
    if column is None:
        return [str(row + 1) for row in range(level.rows)]
    need(level, column)
    keys = level.text(column)
    wrong = ((keys == "") | (keys.is_duplicated() & ~keys.is_first_distinct())).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        why = f"`{clean(keys[row])}` stands on an earlier line, too" if keys[row] else "is empty"
        raise MicrodataError(
            f"{level.file}:{level.records.place(row)}: the key `{clean(column)}`: {why} "
            f"({count_of(int(wrong.sum()), 'such record')})"
        )
    return keys.to_list()


def need(level: Level, column: str) -> None:
    """Refuse a file without a column that the job names."""
    if column not in level.frame.columns:
        raise MicrodataError(
            f"{level.file}: has no column `{clean(column)}`{suggest(column, level.frame.columns)}"
        )


def stacked(level: Level, domain: Domain) -> np.ndarray:
    """Return codes of all variables, 0 where the file has none, `(rows, variables)`."""
    nothing = np.zeros(level.rows, dtype=np.int32)
    columns = [level.codes.get(name, nothing) for name in domain.names]
    return np.stack(columns, axis=1).astype(np.int32)


def limits_of(level: Level, domain: Domain) -> np.ndarray:
    """Return limits of the numeric variables, `(rows, 2, numeric variables)`."""
    anything = np.array([[-np.inf], [np.inf]]).repeat(level.rows, axis=1)
    columns = [level.limits.get(v.name, anything) for v in domain.variables if v.is_numeric]
    if not columns:
        return np.empty((level.rows, 2, 0))
    return np.stack(columns, axis=2).transpose(1, 0, 2)
