"""One column of real records as codes and raw numbers; what is wrong with it, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.errors import MicrodataError
from llmsynthor.files.bins import format_number, parse_bin
from llmsynthor.files.records import comma_hint
from llmsynthor.text import and_more, clean, count_of, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmsynthor.files.records import Records
    from llmsynthor.targets.domain import Domain, Variable

MISSING = -1
"""Code of a value that is not given."""
_NOT_GIVEN = frozenset({"", "na", "nan", "null"})
"""What R, pandas and polars write for a missing value; a category so spelled is a category."""
_SHOWN = 8


@dataclass(frozen=True, eq=False)
class Column:
    """One column as it was read.

    Attributes:
        codes: Code of each row, int32, `MISSING` where there is no value or a wrong one.
        values: Raw numbers, NaN where missing, or None where not all are raw.
        problems: What is wrong with it, in words.
    """

    codes: np.ndarray
    values: np.ndarray | None
    problems: list[str]


def columns_of(domain: Domain, header: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """Return variable -> column, in domain order: what it is said to be, else that of its name."""
    taken = set(named.values())
    return {
        name: named.get(name, name)
        for name in domain.names
        if name in named or (name in header and name not in taken)
    }


def read_categories(variable: Variable, text: pl.Series) -> Column:
    """Read the categories of a variable."""
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
            f"{listed(variable.labels)}"
        )
    return Column(_gather(text, codes), None, problems)


def read_numbers(variable: Variable, text: pl.Series) -> Column:
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
                f"`{variable.name}`, which has {listed(variable.labels)}"
            )
        known = {label: MISSING if code is None else code for label, code in bins.items()}
        codes[labelled] = _gather(text.filter(pl.Series(labelled)), known)
        return Column(codes, None, problems)
    return Column(codes, np.where(raw, numbers, np.nan), problems)


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


def read_weights(records: Records, column: str) -> np.ndarray:
    """Return what each record counts, 0 or more.

    Raises:
        MicrodataError: A weight is missing, negative or no number, or all are 0.
    """
    text = records.numbers(column)
    weights = text.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise MicrodataError(
            f"{records.file}:{records.place(row)}: the weight `{clean(column)}` is "
            f"`{clean(text[row] or '')}`, not a number of 0 or more "
            f"({count_of(int(wrong.sum()), 'such record')})",
            hint=comma_hint(text, records.form),
        )
    if not weights.any():
        raise MicrodataError(f"{records.file}: every weight in `{clean(column)}` is 0")
    return np.asarray(weights)


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
        near = alike(label, known)
        meant = f", did you mean `{clean(near)}`?" if near else ""
        parts.append(f"`{clean(label, 40)}` ({_rows(rows)}{meant})")
    more = len(unknown) - _SHOWN
    tail = f" and {more} more values" if more > 0 else ""
    total = sum(rows for _, rows in unknown)
    verb = "is" if len(unknown) == 1 else "are"
    return f"{', '.join(parts)}{tail}, in all {_rows(total)}, {verb}"


def _rows(number: int) -> str:
    return count_of(number, "row")


def alike(given: str, known: Iterable[str]) -> str | None:
    """Return the name that is most like the given one, if any is."""
    folded = {name.casefold().replace(" ", ""): name for name in known}
    plain = given.casefold().replace(" ", "")
    if plain in folded:
        return folded[plain]
    near = nearest(plain, folded)
    return None if near is None else folded[near]


def suggest(given: str, known: Iterable[str]) -> str:
    """Return which name may be meant, or which there are, to end a sentence with."""
    names = list(known)
    near = alike(given, names)
    return f"; did you mean `{clean(near)}`?" if near else f" (it has {listed(names)})"


def listed(names: Iterable[str]) -> str:
    """Return the names, the first twenty of them."""
    return and_more([f"`{clean(name, 40)}`" for name in names], 20)
