"""A seed sample: real records linked with their members, without those that do not fit.

What a single record has wrong leaves that record out, as long as it is the few: a warning then says
how many and where the first is. Where it is more than a few, the job describes the file wrongly,
and that is an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.candidates.rules import broken_mask
from llmsynthor.candidates.seed_sample import SeedSample
from llmsynthor.errors import MicrodataError, Problem
from llmsynthor.files.bins import format_number
from llmsynthor.files.records import read_records
from llmsynthor.seeds import generator
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
    from collections.abc import Sequence

    import polars as pl

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.files.inputs import Inputs
    from llmsynthor.files.records import Records
    from llmsynthor.job.seed_sample import SeedColumns, SeedSampleSpec
    from llmsynthor.targets.domain import Domain, Members, Variable

FEW = 0.01
"""Share of the records that may be left out for what is wrong in them."""


def read_seed(
    spec: SeedSampleSpec, inputs: Inputs, sampler: Sampler
) -> tuple[SeedSample, list[Problem]]:
    """Return the job's seed sample, and what was left out of it.

    Args:
        spec: The job's `seed_sample`.
        inputs: The job's files.
        sampler: Knows the job's domain and rules.

    Raises:
        MicrodataError: A file cannot be read, does not fit the job, or has more than a few records
            that do not.
    """
    members = sampler.members
    fill = spec.missing == "background"
    record = sampler.domain if members is None else members.record
    level = _read_level(inputs, spec, record)
    _refuse_absent(level, record, members, fill=fill)
    weight, keys = _weights_of(level, spec.weight), _keys_of(level, spec.key)
    own: _Level | None = None
    if members is None:
        codes, limits = _stacked(level, record), _limits_of(level, record)
        present = np.array([name in level.codes for name in record.names])
    else:
        own = _members_level(inputs, spec, members, fill=fill)
        key = spec.members.key if spec.members else ""
        slots = None if own is None else _slots(own, key, level, keys, members)
        codes, limits = _with_members(level, own, slots, members)
        of_own = [own is not None and name in own.codes for name in members.own.names]
        of_record = [name in level.codes for name in record.names]
        present = np.array([*of_record, *(of_own * members.most)])
    _lawless(level, sampler, codes, limits, present)
    warnings = _accounted([level] if own is None else [level, own])
    kept = level.sound
    if not kept.any():
        raise MicrodataError(f"{spec.file}: no record is left of {count_of(level.rows, 'record')}")
    share = None if spec.share == "auto" else float(spec.share)
    named = [key for key, there in zip(keys, kept, strict=True) if there]
    sample = SeedSample(codes[kept], present, limits[kept], weight[kept], named, share)
    return sample, warnings


def _members_level(
    inputs: Inputs, spec: SeedSampleSpec, members: Members, *, fill: bool
) -> _Level | None:
    """Return the file of the members, or None where they are drawn from the tables."""
    if spec.members is not None:
        own = _read_level(inputs, spec.members, members.own)
        _refuse_absent(own, members.own, members, fill=fill)
        return own
    if fill:
        return None
    raise MicrodataError(
        f"{spec.file}: the job's records have members, and `seed_sample` names no file of them",
        hint="name it in `seed_sample.members`, or have them drawn from the tables with "
        "`missing: background`",
    )


def _slots(
    own: _Level, column: str, level: _Level, keys: Sequence[str], members: Members
) -> tuple[np.ndarray, np.ndarray]:
    """Return the record and the slot (from 0) of each member; leave out what does not fit.

    The order within a record is that of the file.
    """
    _need(own, column)
    place = {key: row for row, key in enumerate(keys)}
    text = own.text(column)
    record = np.array([place.get(key, -1) for key in text.to_list()], dtype=np.int64)
    shown = clean(_first_of(text, record < 0))
    own.leave_out(record < 0, f"no record of {level.file} has the key `{shown}`")
    order = np.argsort(record, kind="stable")
    sizes = np.bincount(record[record >= 0], minlength=level.rows)
    starts = np.concatenate([[0], np.cumsum(sizes)])[:-1] + int((record < 0).sum())
    slot = np.full(own.rows, -1, dtype=np.int64)
    slot[order] = np.arange(own.rows) - np.where(record < 0, 0, starts[record])[order]
    _check_sizes(level, sizes, members)
    bad = record[~own.sound & (record >= 0)]
    unsound = np.zeros(level.rows, dtype=bool)
    unsound[bad] = True
    level.leave_out(unsound, f"a member of the record, in {own.file}, is left out")
    return record, slot


def _check_sizes(level: _Level, sizes: np.ndarray, members: Members) -> None:
    """Take the number of members as the record's size where the file does not tell it."""
    known = {int(number): code for code, number in enumerate(members.number)}
    code = np.array([known.get(int(n), -1) for n in sizes], dtype=np.int32)
    name = members.size
    least, most = format_number(min(known)), format_number(max(known))
    if name in level.codes:
        given = np.where(level.codes[name] < 0, -1, members.number[level.codes[name]])
        none = (sizes == 0) & (given != 0)
        level.leave_out(none, "the record has no members")
        wrong = sizes != given
        row = int((wrong & level.sound).argmax())
        level.leave_out(
            wrong,
            f"`{name}` is {given[row]} and the record has {count_of(int(sizes[row]), 'member')}",
        )
    else:
        level.codes[name] = code
    row = int(((code < 0) & level.sound).argmax())
    level.leave_out(
        code < 0,
        f"the record has {count_of(int(sizes[row]), 'member')}, and `{name}` goes from {least} to "
        f"{most}",
    )


def _with_members(
    level: _Level,
    own: _Level | None,
    slots: tuple[np.ndarray, np.ndarray] | None,
    members: Members,
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and limits of records with their members beside them."""
    codes = _stacked(level, members.record)  # the size may have been counted since
    limits = _limits_of(level, members.record)
    width = len(members.own.names)
    numeric = sum(v.is_numeric for v in members.own.variables)
    wide = np.zeros((level.rows, members.most, width), dtype=np.int32)
    tight = np.empty((level.rows, members.most, 2, numeric))
    tight[:, :, 0], tight[:, :, 1] = -np.inf, np.inf
    if own is not None and slots is not None:
        record, slot = slots
        there = (record >= 0) & (slot >= 0) & (slot < members.most) & own.sound
        wide[record[there], slot[there]] = _stacked(own, members.own)[there]
        tight[record[there], slot[there]] = _limits_of(own, members.own)[there]
    together = np.concatenate([codes, wide.reshape(level.rows, -1)], axis=1)
    flat = tight.transpose(0, 2, 1, 3).reshape(level.rows, 2, -1)
    return together, np.concatenate([limits, flat], axis=2)


def _lawless(
    level: _Level, sampler: Sampler, codes: np.ndarray, limits: np.ndarray, present: np.ndarray
) -> None:
    """Leave out records that break a rule about what they tell; that may be many."""
    names = {n for n, there in zip(sampler.domain.names, present, strict=True) if there}
    rules = [rule for rule in sampler.rules if set(rule.scope) <= names]
    sound = np.flatnonzero(level.sound)
    if not rules or not len(sound):
        return
    random = generator(sampler.seed, "sample", "lawful")
    low, high = limits[sound, 0], limits[sound, 1]
    frame = sampler.frame(codes[sound], sampler.draw_positions(codes[sound], low, high, random))
    for rule in rules:
        broken = np.zeros(level.rows, dtype=bool)
        broken[sound] = broken_mask([rule], frame)
        level.leave_out(broken, f"the record breaks the rule `{clean(rule.name)}`", is_wrong=False)


def _accounted(levels: Sequence[_Level]) -> list[Problem]:
    """Return a warning for each reason why records were left out.

    Raises:
        MicrodataError: More than a few were left out for what is wrong in them.
    """
    found = [problem for level in levels for problem in level.left_out]
    if all(level.wrong <= FEW * level.rows for level in levels):
        return found
    hint = (
        "map values in `seed_sample.values` and columns in `columns`, widen the variables' limits, "
        "or take out records that the job is not about"
    )
    too_many = Problem(f"that is more than {100 * FEW:.0f} % of the records", hint=hint)
    raise MicrodataError.of([*found, too_many])


@dataclass
class _Level:
    """One file as it was read.

    Attributes:
        records: As the file gives them.
        codes: Variable -> code of each row, below 0 where there is none.
        limits: Numeric variable -> lower and upper limit of each row's value, `(2, rows)`.
        left_out: A warning for each reason why rows were left out.
        wrong: How many of them speak against the job's description of the file; those that break a
            rule or have no weight do not.
        sound: Rows in which nothing is wrong so far.
    """

    records: Records
    codes: dict[str, np.ndarray] = field(default_factory=dict)
    limits: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: list[Problem] = field(default_factory=list)
    wrong: int = 0

    def __post_init__(self) -> None:
        self.file = self.records.file
        self.frame = self.records.frame
        self.rows = self.frame.height
        self.sound = np.ones(self.rows, dtype=bool)

    def leave_out(self, rows: np.ndarray, why: str, *, is_wrong: bool = True) -> None:
        """Leave out rows, unless they are already."""
        rows = rows & self.sound
        if not rows.any():
            return
        unit = "line" if self.records.has_lines else "row"
        message = (
            f"{rows.sum():,} of {count_of(self.rows, 'record')} left out of the seed sample: {why} "
            f"(first on {unit} {self.records.place(int(rows.argmax()))})"
        )
        self.left_out.append(Problem(message, self.file))
        self.wrong += int(rows.sum()) if is_wrong else 0
        self.sound = self.sound & ~rows

    def text(self, column: str) -> pl.Series:
        """Return a column as text without blanks at its ends."""
        return self.records.text(column).fill_null("")


def _read_level(inputs: Inputs, spec: SeedColumns, domain: Domain) -> _Level:
    """Read a file's columns as codes."""
    records = read_records(spec.file, inputs, spec.form)
    level = _Level(records)
    for name, column in _columns(spec, records, domain).items():
        variable = domain[name]
        text = records.numbers(column).fill_null("") if variable.is_numeric else level.text(column)
        if name in spec.values:
            text = text.replace(spec.values[name])
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


def _read_column(level: _Level, variable: Variable, column: str, text: pl.Series) -> None:
    found = (read_numbers if variable.is_numeric else read_categories)(variable, text)
    codes = found.codes.copy()
    values = found.values
    if values is not None and variable.is_whole:
        codes[np.isfinite(values) & (values != np.floor(values))] = -1
    for words in found.problems:
        unreadable = (codes < 0) & (text != "").to_numpy()
        level.leave_out(unreadable, f"column `{clean(column)}`: {words}")
    blank = (text == "").to_numpy() & (codes < 0)
    level.leave_out(blank, f"column `{clean(column)}`: no value of `{variable.name}`")
    shown = _first_of(text, codes < 0)
    level.leave_out(
        codes < 0, f"column `{clean(column)}`: `{clean(shown)}` is no value of `{variable.name}`"
    )
    level.codes[variable.name] = codes
    if variable.is_numeric:
        level.limits[variable.name] = _tight(variable, values, level.rows)


def _anything(rows: int) -> np.ndarray:
    """Return limits between which all values are, `(2, rows)`."""
    return np.array([[-np.inf], [np.inf]]).repeat(rows, axis=1)


def _first_of(text: pl.Series, wrong: np.ndarray) -> str:
    """Return the first text that is wrong, "" where none is."""
    return str(text[int(wrong.argmax())]) if wrong.any() else ""


def _tight(variable: Variable, values: np.ndarray | None, rows: int) -> np.ndarray:
    """Return limits between which only the value itself is, as records keep it, `(2, rows)`."""
    limits = _anything(rows)
    if values is None:  # given as bins
        return limits
    step = variable.step
    known = np.isfinite(values)
    cut = np.floor(values[known] / step + 1e-6) * step
    # the largest value closes the last bin: what is kept of it is a step less
    cut = np.minimum(cut, variable.edges[-1] - step)
    limits[0, known], limits[1, known] = cut, cut + step
    return limits


def _refuse_absent(level: _Level, domain: Domain, members: Members | None, *, fill: bool) -> None:
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


def _weights_of(level: _Level, column: str | None) -> np.ndarray:
    """Return the weights; records that weigh nothing are left out.

    Raises:
        MicrodataError: One is missing, negative or no number.
    """
    if column is None:
        return np.ones(level.rows)
    _need(level, column)
    weights = read_weights(level.records, column)
    level.leave_out(weights == 0, f"the weight `{clean(column)}` is 0", is_wrong=False)
    return weights


def _keys_of(level: _Level, column: str | None) -> list[str]:
    """Return what each record is called.

    Raises:
        MicrodataError: Two are called the same, or one is not called at all.
    """
    if column is None:
        return [str(row + 1) for row in range(level.rows)]
    _need(level, column)
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


def _need(level: _Level, column: str) -> None:
    """Refuse a file without a column that the job names."""
    if column not in level.frame.columns:
        raise MicrodataError(
            f"{level.file}: has no column `{clean(column)}`{suggest(column, level.frame.columns)}"
        )


def _stacked(level: _Level, domain: Domain) -> np.ndarray:
    """Return codes of all variables, 0 where the file has none, `(rows, variables)`."""
    nothing = np.zeros(level.rows, dtype=np.int32)
    columns = [level.codes.get(name, nothing) for name in domain.names]
    return np.stack(columns, axis=1).astype(np.int32)


def _limits_of(level: _Level, domain: Domain) -> np.ndarray:
    """Return limits of the numeric variables, `(rows, 2, numeric variables)`."""
    anything = _anything(level.rows)
    columns = [level.limits.get(v.name, anything) for v in domain.variables if v.is_numeric]
    if not columns:
        return np.empty((level.rows, 2, 0))
    return np.stack(columns, axis=2).transpose(1, 0, 2)
