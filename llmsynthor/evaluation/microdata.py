"""Real records: reading a CSV or parquet file as codes of the job's variables, problems named."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.domain import format_number, parse_bin
from llmsynthor.errors import MicrodataError
from llmsynthor.evaluation.records import MISSING, Records, code_type
from llmsynthor.labels import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from llmsynthor.domain import Domain, Variable

_NOT_GIVEN = frozenset({"", "na", "nan", "null"})
"""What R, pandas and polars write for a missing value; a category so spelled is a category."""
_SHOWN = 8
_FEWEST = 2


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
    """

    file: str
    sha256: str
    records: Records
    columns: Mapping[str, str]
    absent: Mapping[str, str | None]
    weight: str | None

    @property
    def in_bins(self) -> list[str]:
        """Return the numeric variables that are given as labels of bins."""
        records = self.records
        return [
            n for n in records.names if records.domain[n].is_numeric and n not in records.values
        ]


def read_microdata(
    path: Path, domain: Domain, mapped: Sequence[str] = (), weight: str | None = None
) -> Microdata:
    """Read real records.

    Args:
        path: A CSV or parquet file, one record a row.
        domain: The job's variables with their categories and bins.
        mapped: `COLUMN=variable` for each column that is not named as its variable.
        weight: Column with what each record counts.

    Raises:
        MicrodataError: With every problem of the file.
    """
    header = _header(path)
    columns = _columns(path, header, domain, mapped)
    if weight is not None:
        _check_weight_column(path, header, columns, weight)
    wanted = sorted({*columns.values(), *([weight] if weight else [])})
    frame = _read(path, [header[name] for name in wanted]).rename(
        {header[name]: name for name in wanted}
    )
    if frame.height < _FEWEST:
        raise MicrodataError(
            f"{path}: {frame.height} records below the header; there must be at least {_FEWEST}"
        )
    problems: list[str] = []
    codes: dict[str, np.ndarray] = {}
    values: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        variable, text = domain[name], frame[column].str.strip_chars()
        found = (_numbers if variable.is_numeric else _categories)(variable, text)
        codes[name] = found.codes.astype(code_type(variable))
        problems += [f"{path}: column `{clean(column)}`: {words}" for words in found.problems]
        if found.values is not None:
            values[name] = found.values
    weights = None if weight is None else _weights(path, weight, frame[weight], problems)
    if problems:
        raise MicrodataError(
            "\n".join(problems),
            hint="values must be spelled and cut as in the job: change them in the file, take out "
            "records that the job is not about, or leave the column out of the file",
        )
    records = Records(domain, frame.height, codes, values, weights)
    absent = {
        name: _alike(name, [c for c in header if c not in wanted])
        for name in domain.names
        if name not in columns
    }
    return Microdata(path.name, _sha256(path), records, columns, absent, weight)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _header(path: Path) -> dict[str, str]:
    """Return the columns of the file: name without blanks -> name as written."""
    try:
        if path.suffix.lower() == ".csv":
            written = pl.read_csv(path, n_rows=0, infer_schema=False, glob=False).columns
        elif path.suffix.lower() == ".parquet":
            written = list(pl.read_parquet_schema(path))
        else:
            raise MicrodataError(f"{path}: the file name must end in .csv or .parquet")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unreadable(path, error) from None
    return {name.strip().removeprefix("\ufeff"): name for name in written}


def _read(path: Path, columns: list[str]) -> pl.DataFrame:
    """Return these columns as text."""
    try:
        if path.suffix.lower() == ".csv":
            return pl.read_csv(path, columns=columns, infer_schema=False, glob=False)
        return pl.read_parquet(path, columns=columns).with_columns(pl.all().cast(pl.String))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> MicrodataError:
    if isinstance(error, FileNotFoundError):
        return MicrodataError(f"{path}: no such file")
    if isinstance(error, pl.exceptions.NoDataError):
        return MicrodataError(f"{path}: the file is empty")
    if isinstance(error, OSError) and error.strerror:
        return MicrodataError(f"{path}: cannot be read ({error.strerror})")
    reason = str(error).splitlines()[0][:160]
    return MicrodataError(f"{path}: not a readable {path.suffix[1:]} file ({reason})")


def _columns(
    path: Path, header: Mapping[str, str], domain: Domain, mapped: Sequence[str]
) -> dict[str, str]:
    """Return variable -> column, in domain order."""
    renamed: dict[str, str] = {}
    for text in mapped:
        column, equals, name = (part.strip() for part in text.rpartition("="))
        if not equals or not column or not name:
            raise MicrodataError(f"--columns `{text}`: write COLUMN=variable, as in AGEP=age")
        if column not in header:
            raise MicrodataError(
                f"--columns `{text}`: {path} has no column `{column}`{_suggest(column, header)}"
            )
        if name not in domain.positions:
            raise MicrodataError(
                f"--columns `{text}`: the job has no variable `{name}`{_suggest(name, domain.names)}"
            )
        if name in renamed or column in renamed.values():
            raise MicrodataError(f"--columns `{text}`: `{name}` or `{column}` is mapped twice")
        renamed[name] = column
    found = {}
    for name in domain.names:
        if name in renamed:
            found[name] = renamed[name]
        elif name in header and name not in renamed.values():
            found[name] = name
    if not found:
        raise MicrodataError(
            f"{path}: no column is named as a variable of the job; the file has "
            f"{_listed(header)}; the job has {_listed(domain.names)}",
            hint="`--columns COLUMN=variable` names the variable of a column; repeatable",
        )
    return found


def _check_weight_column(
    path: Path, header: Mapping[str, str], columns: Mapping[str, str], weight: str
) -> None:
    if weight not in header:
        raise MicrodataError(
            f"--weight `{weight}`: {path} has no such column{_suggest(weight, header)}"
        )
    if weight in columns.values():
        raise MicrodataError(f"--weight `{weight}`: the column is a variable of the job already")


@dataclass(frozen=True, eq=False)
class _Column:
    codes: np.ndarray
    values: np.ndarray | None
    problems: list[str]


def _categories(variable: Variable, text: pl.Series) -> _Column:
    counts = text.fill_null("").value_counts(sort=True)
    codes: dict[str, int] = {}
    unknown: list[tuple[str, int]] = []
    for label, rows in counts.rows():
        plain = label.removesuffix(".0")  # whole numbers beside a missing value, as pandas writes
        known = label if label in variable.codes else plain
        if known in variable.codes:
            codes[label] = variable.codes[known]
        elif label.lower() in _NOT_GIVEN:
            codes[label] = MISSING
        else:
            unknown.append((label, rows))
            codes[label] = MISSING
    problems = []
    if unknown:
        problems.append(
            f"{_these(unknown, variable.labels)} no category of `{variable.name}`, which has "
            f"{_listed(variable.labels)}"
        )
    return _Column(_gather(text, codes), None, problems)


def _numbers(variable: Variable, text: pl.Series) -> _Column:
    """Read raw numbers, or labels of bins, or both; raw values are kept where all are raw."""
    text = text.fill_null("")
    given = ~text.str.to_lowercase().is_in(list(_NOT_GIVEN)).to_numpy()
    numbers = text.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    raw = np.isfinite(numbers)
    codes = np.full(len(numbers), MISSING, dtype=np.int32)
    codes[raw] = variable.encode_values(numbers[raw])
    whole = variable.kind == "number" or np.array_equal(numbers[raw], np.floor(numbers[raw]))
    problems = [] if whole else [_not_whole(variable, numbers[raw])]
    beyond = raw & (codes == MISSING)
    if beyond.any():
        problems.append(_beyond(variable, numbers[beyond]))
    labelled = given & ~raw
    if labelled.any():
        counts = text.filter(pl.Series(labelled)).value_counts(sort=True)
        bins = {label: _bin_code(variable, label) for label, _ in counts.rows()}
        unknown = [(label, rows) for label, rows in counts.rows() if bins[label] is None]
        if unknown:
            problems.append(
                f"{_these(unknown, variable.labels)} no number and inside no bin of "
                f"`{variable.name}`, which has {_listed(variable.labels)}"
            )
        known = {label: MISSING if code is None else code for label, code in bins.items()}
        codes[labelled] = _gather(text.filter(pl.Series(labelled)), known)
        return _Column(codes, None, problems)
    return _Column(codes, np.where(raw, numbers, np.nan), problems)


def _bin_code(variable: Variable, label: str) -> int | None:
    """Return the bin that a label names or lies in; None where it is no bin or takes in several."""
    if label in variable.codes:
        return variable.codes[label]
    try:
        interval = parse_bin(label, variable.kind, variable.low, variable.high)
    except ValueError:
        return None
    code = int(np.searchsorted(np.asarray(variable.edges), interval.low, side="right")) - 1
    return code if interval.high <= variable.edges[code + 1] else None


def _gather(text: pl.Series, codes: Mapping[str, int]) -> np.ndarray:
    mapped = text.fill_null("").replace_strict(
        list(codes), list(codes.values()), return_dtype=pl.Int32
    )
    return mapped.to_numpy()


def _weights(path: Path, column: str, text: pl.Series, problems: list[str]) -> np.ndarray:
    numbers = text.str.strip_chars().cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    wrong = ~(np.isfinite(numbers) & (numbers >= 0))
    if wrong.any():
        problems.append(
            f"{path}: column `{clean(column)}`: in {int(wrong.sum()):,} of {len(wrong):,} rows the "
            f"weight is missing, negative or no number (first in row {int(wrong.argmax()) + 1})"
        )
    elif not numbers.any():
        problems.append(f"{path}: column `{clean(column)}`: all weights are 0")
    return numbers


def _not_whole(variable: Variable, numbers: np.ndarray) -> str:
    wrong = numbers[numbers != np.floor(numbers)]
    return (
        f"`{variable.name}` is an integer, but in {_rows(len(wrong))} it is not whole "
        f"(for example {format_number(float(wrong[0]))})"
    )


def _beyond(variable: Variable, numbers: np.ndarray) -> str:
    return (
        f"{_rows(len(numbers))} beyond the limits of `{variable.name}`, "
        f"{format_number(variable.low)} to {format_number(variable.high)}: values go from "
        f"{format_number(float(numbers.min()))} to {format_number(float(numbers.max()))}"
    )


def _these(unknown: Sequence[tuple[str, int]], known: Sequence[str]) -> str:
    """Return the values with their rows and near misses, as the subject of a sentence."""
    parts = []
    for label, rows in unknown[:_SHOWN]:
        near = _alike(label, known)
        meant = f", did you mean `{clean(near)}`?" if near else ""
        parts.append(f"`{clean(label, 40)}` ({_rows(rows)}{meant})")
    more = len(unknown) - _SHOWN
    tail = f" and {more} more values" if more > 0 else ""
    total = sum(rows for _, rows in unknown)
    verb = "is" if len(unknown) == 1 else "are"
    return f"{', '.join(parts)}{tail}, in all {_rows(total)}, {verb}"


def _rows(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"


def _alike(given: str, known: Iterable[str]) -> str | None:
    folded = {name.casefold().replace(" ", ""): name for name in known}
    plain = given.casefold().replace(" ", "")
    if plain in folded:
        return folded[plain]
    near = get_close_matches(plain, list(folded), n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def _suggest(given: str, known: Iterable[str]) -> str:
    names = list(known)
    near = _alike(given, names)
    return f"; did you mean `{clean(near)}`?" if near else f" (it has {_listed(names)})"


def _listed(names: Iterable[str]) -> str:
    shown = [f"`{clean(name, 40)}`" for name in names]
    return ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "")
