"""What each column of the records is: categories, integers, numbers, or of no use, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.errors import JobError
from llmsynthor.files.records import with_points

if TYPE_CHECKING:
    from llmsynthor.job.file_form import Form
    from llmsynthor.starting.from_records.options import Kind, TableOptions

FEW_VALUES = 20
"""Whole numbers with no more values than this are categories in order (children, vehicles)."""
MOST_CATEGORIES = 300
_MISSING_WORDS = ("NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""Stand for a missing value in a column of numbers; among categories they stay what they are."""
COUNTED = "\0records"
"""Name of a column of counts that no file's column has."""
_LARGEST_EXACT = 1e15
_MOST_DECIMALS = 6
_PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_GROUPED = r"^[+-]?\d{1,3}(,\d{3})+(\.\d+)?$"
_DECIMAL_COMMA = r"^[+-]?\d+,\d+$"
_CODE = r"^[+-]?0\d"
_DATE = r"^(\d{4}-\d{1,2}-\d{1,2}([T ].*)?|\d{1,2}[./]\d{1,2}[./](\d{2}|\d{4}))$"
_IDENTIFIER = re.compile(r"(^|[^A-Za-z])(id|uuid|guid)$|[a-z](ID|Id)$", re.IGNORECASE)
_CAMEL_ID = re.compile(r"[a-z](ID|Id)$")


@dataclass(frozen=True)
class LeftOut:
    """A column that becomes no variable, with the reason."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Column:
    """A column that is fit to be a variable.

    Attributes:
        name: As in the file.
        kind: `category`, `integer` or `number`.
        texts: The labels of a category, null where missing; None for numbers.
        numbers: The values of a numeric column, NaN where missing, `(rows,)`; None for categories.
        ordered: Whether the order of the categories means something.
        notes: What a reader must know of how it was read.
    """

    name: str
    kind: Kind
    texts: pl.Series | None
    numbers: np.ndarray | None
    ordered: bool
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> np.ndarray:
        """Return which records have no value, `(rows,)`."""
        if self.numbers is not None:
            return np.isnan(self.numbers)
        assert self.texts is not None  # noqa: S101 - one of the two is there
        return self.texts.is_null().to_numpy()

    @property
    def decimals(self) -> int:
        """Return how many digits after the point tell the values apart, at most 6."""
        if self.numbers is None or self.kind == "integer":
            return 0
        values = self.numbers[~np.isnan(self.numbers)]
        for digits in range(1, _MOST_DECIMALS):
            if np.allclose(values, np.round(values, digits), rtol=1e-12, atol=1e-9):
                return digits
        return _MOST_DECIMALS


def understand(values: pl.Series, options: TableOptions, form: Form) -> Column | LeftOut:
    """Return what a column is.

    Args:
        values: The column as read.
        options: A column that they name is kept where it can be, and has the type they give.
        form: How their file is written.

    Raises:
        JobError: The type that is asked for does not fit the values.
    """
    name = values.name
    wanted = options.types.get(name) or (None if name not in options.bins else "number")
    if not name:
        return LeftOut(name, "has no name in the header")
    unfit = _unfit_type(values)
    if unfit:
        return LeftOut(name, unfit)
    dates = values.dtype.is_temporal()
    texts = _as_text(values)
    if texts.null_count() == len(texts):
        return LeftOut(name, "holds no value")
    if wanted == "category":
        return _category(texts, name in options.named, options.rare)
    if dates or (wanted is None and _all_match(texts, _DATE)):
        return LeftOut(
            name,
            "holds dates; make a column of what matters in them (month, weekday, hour), "
            f"or keep them as they are with `--type {name}=category`",
        )
    numbers, notes = _as_numbers(with_points(texts, form), forced=wanted is not None)
    if numbers is None and wanted is not None:
        _refuse_number(texts, name, "--bins" if name not in options.types else "--type")
    if numbers is None:
        return _category(texts, name in options.named, options.rare)
    return _number(name, numbers, notes, options)


def _unfit_type(values: pl.Series) -> str | None:
    if values.dtype.is_nested() or values.dtype in (pl.Binary, pl.Object, pl.Duration):
        return f"holds {values.dtype}, not one value a record"
    return None


def _as_text(values: pl.Series) -> pl.Series:
    """Return the values as text without blanks around it, null where nothing stands."""
    if values.dtype.is_float():
        values = values.fill_nan(None)
        values = values.set(values.is_infinite().fill_null(value=False), None)
    # control characters cannot be told apart on a page, and some of them Python strips as blanks
    text = values.cast(pl.String).str.replace_all(r"\p{Cc}+", " ").str.strip_chars()
    return text.set((text == "").fill_null(value=False), None)


def _all_match(texts: pl.Series, pattern: str) -> bool:
    return bool(texts.drop_nulls().str.contains(pattern).all())


def _as_numbers(texts: pl.Series, *, forced: bool) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Return the values as numbers, or None where they are none, and what is worth a note."""
    word = texts.is_in(_MISSING_WORDS).fill_null(value=False)
    texts = texts.set(word, None)
    plain = texts.str.contains(_PLAIN).fill_null(value=True)
    grouped = texts.str.contains(_GROUPED).fill_null(value=False)
    if texts.null_count() == len(texts) or not (plain | grouped).all():
        return None, ()
    if not forced and texts.str.contains(_CODE).any():
        return None, ()  # 007 is a code, not seven
    numbers = texts.str.replace_all(",", "").cast(pl.Float64, strict=False).fill_null(np.nan)
    notes = []
    if grouped.any():
        example = texts.filter(grouped)[0]
        notes.append(f"`{example}` is read as {example.replace(',', '')}")
    if word.any():
        notes.append(f"{int(word.sum()):,} words such as `NA` are read as missing")
    found = numbers.to_numpy().copy()
    found[~np.isfinite(found)] = np.nan
    return (None, ()) if np.isnan(found).all() else (found, tuple(notes))


def _refuse_number(texts: pl.Series, name: str, option: str) -> None:
    bad = texts.filter(~texts.str.contains(_PLAIN) & ~texts.is_in(_MISSING_WORDS)).head(1)
    example = f"`{bad[0]}` is none" if len(bad) else "there is no number in it"
    raise JobError(
        f"{option} {name}: the column must hold numbers, and {example}",
        hint=f"`--type {name}=category` takes its values as categories",
    )


def _number(
    name: str, numbers: np.ndarray, notes: tuple[str, ...], options: TableOptions
) -> Column | LeftOut:
    there = numbers[~np.isnan(numbers)]
    distinct = np.unique(there)
    whole = bool(np.all(distinct == np.round(distinct)))
    wanted = options.types.get(name)
    if wanted == "integer" and not whole:
        odd = distinct[distinct != np.round(distinct)][0]
        raise JobError(f"--type {name}=integer: `{odd}` is not whole; use `--type {name}=number`")
    if np.abs(distinct).max() > _LARGEST_EXACT:
        return LeftOut(name, "holds numbers beyond 10^15, which are codes rather than quantities")
    if name not in options.named:
        if len(distinct) == 1 and len(there) == len(numbers):
            return LeftOut(name, "has the same value in every record")
        all_distinct = whole and len(there) > FEW_VALUES and len(distinct) == len(there)
        if all_distinct or (whole and _named_as_id(name) and len(distinct) > FEW_VALUES):
            return LeftOut(
                name,
                f"looks like an identifier ({len(distinct):,} different whole numbers in "
                f"{len(there):,} records); `--type {name}=integer` keeps it",
            )
    if whole and len(distinct) <= FEW_VALUES and wanted is None and name not in options.bins:
        labels = pl.Series(name, numbers).fill_nan(None).cast(pl.Int64).cast(pl.String)
        return Column(name, "category", labels, None, ordered=True, notes=notes)
    kind: Kind = "integer" if whole and wanted != "number" else "number"
    return Column(name, kind, None, numbers, ordered=True, notes=notes)


def _named_as_id(name: str) -> bool:
    return bool(_IDENTIFIER.search(name) or _CAMEL_ID.search(name))


def _category(texts: pl.Series, named: bool, rare: int) -> Column | LeftOut:
    name = texts.name
    counts = texts.drop_nulls().value_counts(name=COUNTED)[COUNTED]
    if not named:
        if len(counts) == 1 and texts.null_count() == 0:
            return LeftOut(name, "has the same value in every record")
        all_distinct = len(counts) > FEW_VALUES and counts.max() == 1
        if all_distinct or (_named_as_id(name) and len(counts) > FEW_VALUES):
            return LeftOut(
                name,
                f"looks like an identifier or free text ({len(counts):,} different values in "
                f"{len(texts) - texts.null_count():,} records)",
            )
    kept = int((counts >= rare).sum()) + int((counts < rare).any())
    if kept > MOST_CATEGORIES:
        return LeftOut(
            name,
            f"has {kept:,} categories, more than {MOST_CATEGORIES}; group them first, "
            "or merge rare ones with `--rare COUNT`",
        )
    notes: tuple[str, ...] = ()
    if len(counts) and _all_match(texts, _DECIMAL_COMMA):
        notes = ("they look like numbers with a decimal comma; `--decimal ,` has them cut",)
    return Column(name, "category", texts, None, ordered=False, notes=notes)
