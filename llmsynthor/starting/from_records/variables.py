"""A variable as it is published: its labels, and the label of every record."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.files.bins import parse_bin
from llmsynthor.starting.from_records.bins import cut
from llmsynthor.starting.from_records.columns import COUNTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.starting.from_records.columns import Column
    from llmsynthor.starting.from_records.options import Kind, TableOptions

MISSING = "(missing)"
OTHER = "other"
_CODE = re.compile(r"0\d")
_PARTS = re.compile(r"\d+(?:\.\d+)?|\D+")


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

    Args:
        column: What the column is.
        name: Its name in the job.
        kept: Which records are used, `(rows,)`.
        options: How to cut, and what to do with rare and missing values.

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
    merged = sorted(
        (
            label
            for label, count in counts.items()
            if count < rare and label not in (OTHER, MISSING)
        ),
        key=_natural,
    )
    labels = sorted(set(counts) - set(merged) - {OTHER, MISSING}, key=_natural)
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
    codes = any(_CODE.match(label) for label in labels)  # 007 is a code, not seven
    return not codes and len(labels) > 2 and None not in starts and len(set(starts)) == len(starts)
