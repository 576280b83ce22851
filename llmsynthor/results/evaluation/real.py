"""Real records read as codes of the job's variables, problems named; are they those of the run?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.errors import MicrodataError
from llmsynthor.files.inputs import Inputs
from llmsynthor.files.records import RecordFile, comma_hint
from llmsynthor.results.evaluation.records import Records, code_type
from llmsynthor.targets.encode import (
    alike,
    columns_of,
    listed,
    read_categories,
    read_numbers,
    read_weights,
    suggest,
)
from llmsynthor.text import clean, count_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from llmsynthor.job.file_form import Form
    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.table import Table

_FEWEST = 2
_SAME = 1e-6
"""Records, or share of a table; weights are added up in another order than when it was made."""


@dataclass(frozen=True, eq=False)
class Microdata:
    """Real records, with what can be said of the file without showing one of them.

    Attributes:
        file: The file's name, without folders.
        sha256: Of the file.
        records: The records, over the variables that the file has.
        columns: Variable -> column of the file.
        absent: Variable that the file does not have -> the column most like it, or None.
        weight: Column of the weights, or None.
        keys: Key of each record, as text, where the file has one that links it to another.
    """

    file: str
    sha256: str
    records: Records
    columns: Mapping[str, str]
    absent: Mapping[str, str | None]
    weight: str | None
    keys: pl.Series | None = None

    @property
    def in_bins(self) -> list[str]:
        """Return the numeric variables that are given as labels of bins."""
        records = self.records
        return [
            n for n in records.names if records.domain[n].is_numeric and n not in records.values
        ]


def read_microdata(
    path: Path,
    domain: Domain,
    mapped: Sequence[str] = (),
    weight: str | None = None,
    key: str | None = None,
    form: Form | None = None,
) -> Microdata:
    """Read real records.

    Args:
        path: A CSV, XLSX or parquet file, one record a row.
        domain: The job's variables with their categories and bins.
        mapped: `COLUMN=variable` for each column that is not named as its variable.
        weight: Column with what each record counts.
        key: Column that links the records to those of another file.
        form: How the file is written; what it leaves open, the file must tell.

    Raises:
        MicrodataError: With every problem of the file.
    """
    file = RecordFile(str(path), Inputs(), form)
    header = file.columns
    columns = _columns(path, header, domain, mapped)
    if weight is not None:
        _check_weight_column(path, header, columns, weight)
    if key is not None:
        _check_key_column(path, header, columns, key)
    wanted = sorted({*columns.values(), *(name for name in (weight, key) if name is not None)})
    read = file.read(wanted)
    if read.rows < _FEWEST:
        raise MicrodataError(
            f"{path}: {count_of(read.rows, 'record')} below the header; there must be at least {_FEWEST}"
        )
    problems: list[str] = []
    codes: dict[str, np.ndarray] = {}
    values: dict[str, np.ndarray] = {}
    comma: str | None = None
    for name, column in columns.items():
        variable = domain[name]
        text = read.numbers(column) if variable.is_numeric else read.text(column)
        found = (read_numbers if variable.is_numeric else read_categories)(variable, text)
        if variable.is_numeric and found.problems:
            comma = comma or comma_hint(text, file.form)
        codes[name] = found.codes.astype(code_type(variable))
        problems += [f"{path}: column `{clean(column)}`: {words}" for words in found.problems]
        if found.values is not None:
            values[name] = found.values
    weights = None if weight is None else read_weights(read, weight)
    keys = None if key is None else _keys(path, key, read.text(key), problems)
    if problems:
        raise MicrodataError(
            "\n".join(problems),
            hint=comma
            or "values must be spelled and cut as in the job: change them in the file, take out "
            "records that the job is not about, or leave the column out of the file",
        )
    records = Records(domain, read.rows, codes, values, weights)
    absent = {
        name: alike(name, [c for c in header if c not in wanted])
        for name in domain.names
        if name not in columns
    }
    return Microdata(path.name, file.sha256, records, columns, absent, weight, keys)


def _columns(
    path: Path, header: Sequence[str], domain: Domain, mapped: Sequence[str]
) -> dict[str, str]:
    """Return variable -> column, in domain order."""
    renamed: dict[str, str] = {}
    for text in mapped:
        column, equals, name = (part.strip() for part in text.rpartition("="))
        if not equals or not column or not name:
            raise MicrodataError(f"--columns `{text}`: write COLUMN=variable, as in AGEP=age")
        if column not in header:
            raise MicrodataError(
                f"--columns `{text}`: {path} has no column `{column}`{suggest(column, header)}"
            )
        if name not in domain.positions:
            raise MicrodataError(
                f"--columns `{text}`: the job has no variable `{name}`{suggest(name, domain.names)}"
            )
        if name in renamed or column in renamed.values():
            raise MicrodataError(f"--columns `{text}`: `{name}` or `{column}` is mapped twice")
        renamed[name] = column
    found = columns_of(domain, header, renamed)
    if not found:
        raise MicrodataError(
            f"{path}: no column is named as a variable of the job; the file has "
            f"{listed(header)}; the job has {listed(domain.names)}",
            hint="`--columns COLUMN=variable` names the variable of a column; repeatable",
        )
    return found


def _check_weight_column(
    path: Path, header: Sequence[str], columns: Mapping[str, str], weight: str
) -> None:
    if weight not in header:
        raise MicrodataError(
            f"--weight `{weight}`: {path} has no such column{suggest(weight, header)}"
        )
    if weight in columns.values():
        raise MicrodataError(f"--weight `{weight}`: the column is a variable of the job already")


def _check_key_column(
    path: Path, header: Sequence[str], columns: Mapping[str, str], key: str
) -> None:
    if key not in header:
        raise MicrodataError(
            f"{path}: has no column `{clean(key)}`, which links records and members"
            f"{suggest(key, header)}",
            hint="`--key COLUMN` names the column that both files have",
        )
    if key in columns.values():
        raise MicrodataError(f"--key `{clean(key)}`: the column is a variable of the job already")


def _keys(path: Path, column: str, text: pl.Series, problems: list[str]) -> pl.Series:
    """Return the keys, whole numbers alike however they are written; a missing one is a problem."""
    keys = text.str.replace(r"^(-?\d+)\.0+$", "$1")
    missing = (keys.is_null() | (keys == "")).to_numpy()
    if missing.any():
        problems.append(
            f"{path}: column `{clean(column)}`: {int(missing.sum()):,} of {len(missing):,} rows have "
            f"no key (first in row {int(missing.argmax()) + 1})"
        )
    return keys


def already_given(
    microdata: Microdata, tables: Sequence[Table], inputs: Mapping[str, str]
) -> str | None:
    """Return in words that a run was made from these records, or None.

    Args:
        microdata: The real records.
        tables: The run's control tables.
        inputs: Name -> sha256 of the files that the run read.
    """
    if microdata.sha256 in inputs.values():
        return (
            "this file is the run's seed sample: records are copies of these, and nothing here tests "
            "what it makes of others"
        )
    records = microdata.records
    own = [t for t in tables if t.members is None and set(t.scope) <= set(records.names)]
    if not own or not all(_counted_from(table, records) for table in own):
        return None
    which = "the control table is" if len(own) == 1 else f"all {len(own)} control tables are"
    return (
        f"{which} counted from these very records: what is in a control table is met because it was "
        "given; only what is in none of them tests the run"
    )


def _counted_from(table: Table, records: Records) -> bool:
    """Return whether a table's figures are the counts, or the shares, of the records."""
    held = records.counts(table.scope).cells
    for axis, (group, labels) in enumerate(zip(table.groups, table.labels, strict=True)):
        summed = np.zeros((len(labels), *np.moveaxis(held, axis, 0).shape[1:]))
        np.add.at(summed, group, np.moveaxis(held, axis, 0))
        held = np.moveaxis(summed, 0, axis)
    total = float(held.sum())
    if not total > 0:
        return False
    if table.measure == "count":
        return bool(np.abs(held - table.figures).max() <= table.rounding + _SAME * total)
    room = table.rounding / table.total + _SAME
    return bool(np.abs(held / total - table.share).max() <= room)
