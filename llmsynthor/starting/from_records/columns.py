"""What each column of the records is, or why it is of no use, and the variable published of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.errors import JobError
from llmsynthor.files.bins import parse_bin
from llmsynthor.files.records import with_points
from llmsynthor.starting.from_records.bins import cut

if TYPE_CHECKING:
    from collections.abc import Sequence

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
MISSING = "(missing)"
OTHER = "other"
_BEGINS_AS_CODE = re.compile(r"0\d")
_PARTS = re.compile(r"\d+(?:\.\d+)?|\D+")
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
    """Return what a column is; one that an option names is kept where it can be.

    Raises:
        JobError: The type that is asked for does not fit the values.
    """
    name = values.name
    wanted = options.types.get(name) or (None if name not in options.bins else "number")
    if not name:
        return LeftOut(name, "has no name in the header")
    if values.dtype.is_nested() or values.dtype in (pl.Binary, pl.Object, pl.Duration):
        return LeftOut(name, f"holds {values.dtype}, not one value a record")
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


@dataclass(frozen=True, eq=False)
class Published:
    """One variable of the job.

    Attributes:
        name: In the job.
        column: In the file.
        kind: `category`, `integer` or `number`.
        labels: Categories or bins, in order.
        codes: Position of each record's label, int32, `(rows,)`.
        ordered: Whether the order of categories means something.
        low: Smallest legal number; 0 for categories.
        high: Largest legal number; 0 for categories.
        decimals: Digits after the point of a number.
        notes: What a reader must know of how it was made.
    """

    name: str
    column: str
    kind: Kind
    labels: tuple[str, ...]
    codes: np.ndarray
    ordered: bool = False
    low: float = 0.0
    high: float = 0.0
    decimals: int = 0
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Return the number of categories or bins."""
        return len(self.labels)


def publish(column: Column, name: str, kept: np.ndarray, options: TableOptions) -> Published:
    """Return a column as a variable over the records that are kept.

    Raises:
        JobError: The bins that are asked for are impossible.
    """
    if column.numbers is None:
        assert column.texts is not None  # noqa: S101 - one of the two is there
        texts = column.texts.filter(pl.Series(kept))
        return _categories(column, name, texts, options.rare)
    values = column.numbers[kept]
    there = ~np.isnan(values)
    kind: Kind = column.kind
    assert kind != "category"  # noqa: S101 - it has numbers
    bins = cut(column.name, values[there], kind, column.decimals, options.bins.get(column.name))
    codes = np.full(len(values), len(bins.labels), dtype=np.int32)
    codes[there] = bins.codes(values[there])
    if there.all():
        return Published(
            name, column.name, kind, bins.labels, codes, True, bins.low, bins.high,
            column.decimals, column.notes,
        )  # fmt: skip
    note = f"its bins are categories, since {int((~there).sum()):,} records have no value"
    return Published(
        name, column.name, "category", (*bins.labels, MISSING), codes,
        notes=(*column.notes, note),
    )  # fmt: skip


def _categories(column: Column, name: str, texts: pl.Series, rare: int) -> Published:
    counts = dict(texts.drop_nulls().value_counts(name=COUNTED).iter_rows())
    named = sorted(set(counts) - {OTHER, MISSING}, key=_natural)
    merged = [label for label in named if counts[label] < rare]
    labels = [label for label in named if counts[label] >= rare]
    notes = list(column.notes)
    ordered = (column.ordered and not merged) or _are_bins(labels)
    if merged or OTHER in counts:
        labels.append(OTHER)
        ordered = False
    if merged:
        records = sum(counts[label] for label in merged)
        notes.append(
            f"{len(merged)} categories with fewer than {rare} records ({records:,} records together) "
            f"are merged into `{OTHER}`"
        )
    if texts.null_count() or MISSING in counts:
        labels.append(MISSING)
        ordered = False
        notes.append(f"{texts.null_count():,} records without a value are `{MISSING}`")
    codes = {label: code for code, label in enumerate(labels)}
    codes |= dict.fromkeys(merged, codes.get(OTHER, 0))
    found = texts.fill_null(MISSING).replace_strict(codes, return_dtype=pl.Int32).to_numpy()
    return Published(
        name, column.name, "category", tuple(labels), found, ordered, notes=tuple(notes)
    )


def _natural(label: str) -> tuple[tuple[int, float, str], ...]:
    """Return a key that sorts `5-15` before `16-24`, `<5` before both, and `-2` before `1`."""
    low = _start(label)
    start = [] if low is None else [(0, low, "")]
    parts = [
        (0, float(part), "") if part[0].isdecimal() else (1, 0.0, part)
        for part in _PARTS.findall(label)
    ]
    return (*start, *parts, (2, 0.0, label))


def _start(label: str) -> float | None:
    """Return where a label that is a bin or a number begins, or None."""
    try:
        return parse_bin(label, "number", -1e18, 1e18).low
    except ValueError:
        pass
    try:
        return float(label)
    except ValueError:
        return None


def _are_bins(labels: Sequence[str]) -> bool:
    """Return whether the labels are bins of numbers, so that their order means something."""
    starts = [_start(label) for label in labels]
    codes = any(_BEGINS_AS_CODE.match(label) for label in labels)  # 007 is a code, not seven
    return not codes and len(labels) > 2 and None not in starts and len(set(starts)) == len(starts)
