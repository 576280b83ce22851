"""The figures of a table file: numbers from text, what they add up to, and how far they are rounded."""

from __future__ import annotations

import contextlib
import math
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import combinations
from typing import TYPE_CHECKING

from llmsynthor.errors import Problem
from llmsynthor.job.file_form import FileSpec
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.job.tables import TableSpec

_LARGEST = 1e15
"""Above it, whole numbers are no longer told apart."""
_FLOAT_NOISE = 1e-9
Missing = float | str | list[float]
"""`unknown`, a range or a number."""
_NO_DIGITS = -10_000
"""Stands for the first digit of 0, which has none: its decimals alone tell its rounding."""
_BLANKS = " \u00a0\u2009\u202f"
_QUOTES = "'\u2019"
_SIGN = re.compile(r"\s*%$")
_BELOW = re.compile(r"<\s*(\d+)")
_THOUSANDS = re.compile(rf"\d{{1,3}}([,._{_BLANKS}{_QUOTES}])\d{{3}}(?:\1\d{{3}})*(?:[.,]\d+)?")
_DECIMAL_COMMA = re.compile(r"\d*,\d+")
_PERCENT = re.compile(r"(\d+(?:[.,]\d+)?)\s*%")
SUPPRESSED = re.compile(r"[*.:\u2026x#c-]+|n/?a|\(?[a-z]\)?|[<>]\s*\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Figures:
    """A column of figures.

    Attributes:
        values: The numbers; NaN where the job calls the text unknown or gives a range.
        texts: As plain numbers, "" where there is none: what tells their rounding.
        ranges: Row -> the least and the most that a figure which is not known can be.
    """

    values: list[float]
    texts: list[str]
    ranges: dict[int, tuple[float, float]]


def read_numbers(
    spec: TableSpec,
    column: str,
    texts: Sequence[str],
    lines: Sequence[int],
    problems: list[Problem],
    missing: Mapping[str, Missing] | None = None,
    headers: Sequence[str] | None = None,
) -> Figures:
    """Return the figures of a column, 0 where there is none; add what is wrong to `problems`.

    Args:
        spec: The table's entry, which says how numbers are written.
        column: `count`, `share` or `moe`.
        texts: As the file has them.
        lines: Per row its line.
        problems: Takes up one for each text that is not a number of 0 or more.
        missing: What a text in place of a figure means.
        headers: Per row the header of its column, where the file has several columns of figures.
    """
    missing = missing or {}
    values, plain, ranges = [], [], {}
    scale = 0.01 if spec.percent and column != "count" else 1.0
    for row, (line, text) in enumerate(zip(lines, texts, strict=True)):
        meaning = missing.get(text.strip())
        if meaning is not None:
            low, high = _bounds(meaning)
            ranges[row] = (low * scale, high * scale)
            values.append(math.nan)
            plain.append("")
            continue
        written = plain_number(text.strip(), spec, column)
        number, wrong = _number(written, text.strip(), column, spec)
        values.append(number)
        plain.append(written)
        if wrong is not None:
            where = "" if headers is None else f" in column `{clean(headers[row])}`"
            problems.append(Problem(f"`{column}`{where} {wrong}", spec.file, line))
    for row, (low, high) in list(ranges.items()):
        if low == high:  # the job gives the number itself
            values[row] = low
            del ranges[row]
    return Figures(values, plain, ranges)


def _bounds(meaning: Missing) -> tuple[float, float]:
    if meaning == "unknown":
        return 0.0, math.inf
    if isinstance(meaning, list):
        return meaning[0], meaning[1]
    return float(meaning), float(meaning)


def plain_number(text: str, spec: TableSpec, column: str) -> str:
    """Return a number with a decimal point and nothing between its digits, else the text."""
    text = _SIGN.sub("", text).strip() if spec.percent and column != "count" else text
    written = text
    if spec.thousands is not None:
        marks = {" ": _BLANKS, "'": _QUOTES}.get(spec.thousands, spec.thousands)
        grouped = rf"\d{{1,3}}(?:[{re.escape(marks)}]\d{{3}})+(?={re.escape(spec.decimal)}|$)"
        found = re.match(grouped, text)
        if found:
            written = re.sub(f"[{re.escape(marks)}]", "", found[0]) + text[found.end() :]
    if spec.decimal == ",":
        if "." in written:
            return text  # neither a decimal sign nor, so far, one between thousands
        written = written.replace(",", ".")
    if spec.percent and column != "count":
        with contextlib.suppress(InvalidOperation):
            return f"{Decimal(written).scaleb(-2):f}"
    return written


def _number(written: str, text: str, column: str, spec: TableSpec) -> tuple[float, str | None]:
    if not text:
        meaning = "where it is exact" if column == "moe" else "where nobody is"
        return 0.0, f"is missing; write 0 {meaning}"
    try:
        value = float(written.replace("_", "?"))  # Python alone reads 1_000 as a number
    except ValueError:
        return 0.0, f"is `{clean(text, 40)}`, {_advice(text, column, spec)}"
    if not math.isfinite(value) or value < 0:
        return 0.0, f"is {clean(text, 40)}; it must be 0 or more"
    if value > _LARGEST:
        return 0.0, f"is {clean(text, 40)}; more than {_LARGEST:.0e} cannot be counted"
    return value, None


def _advice(text: str, column: str, spec: TableSpec) -> str:
    """Return what a text that is no number seems to be, and what to write in the job."""
    grouped = _THOUSANDS.fullmatch(text)
    if grouped and grouped[1] != spec.thousands and (column != "share" or len(text) > 7):
        mark = " " if grouped[1] in _BLANKS else "'" if grouped[1] in _QUOTES else grouped[1]
        return (
            f"with thousands separators; say so in the table's entry: `thousands: {_quoted(mark)}`"
        )
    if _DECIMAL_COMMA.fullmatch(text) and spec.decimal == ".":
        return 'with a decimal comma; say so in the table\'s entry: `decimal: ","`'
    if _PERCENT.fullmatch(text) and not spec.percent:
        if column == "share":
            return "a percentage; say so in the table's entry: `percent: true`"
        return "a percentage; read the column as `share`, with `percent: true`"
    if SUPPRESSED.fullmatch(text):
        bound = _BELOW.fullmatch(text)
        meaning = f"[0, {max(int(bound[1]) - 1, 0)}]" if bound else "unknown"
        return (
            "which is not a number; if the cell is suppressed, say so in the table's entry: "
            f"`missing: {{{_quoted(clean(text, 40))}: {meaning}}}`"
        )
    return "which is not a number"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def check_sum(
    spec: TableSpec,
    column: str,
    texts: Sequence[str],
    figures: Sequence[float],
    labels: Mapping[str, Sequence[str]],
) -> list[Problem]:
    """Return what is wrong with the sum of a table's figures.

    Shares must add up to 1, but for the rounding that the printed digits explain, unless the job
    says `normalize: true`.
    """
    unknown = any(math.isnan(value) for value in figures)
    total = math.fsum(value for value in figures if not math.isnan(value))
    if unknown and column == "share" and spec.normalize:
        message = "`normalize` needs all shares, and some are not known; leave it out"
        return [Problem(message, spec.file)]
    if unknown:
        return [] if column == "count" or total <= 1.0 else [_too_large(spec, total)]
    if total <= 0:
        return [Problem(f"every `{column}` is 0, so the table says nothing", spec.file)]
    if column != "share":
        if spec.normalize:
            message = "`normalize` is for shares, and this file has `count`; leave it out"
            return [Problem(message, spec.file)]
        return []
    room = rounding_of_sum(texts)
    if spec.normalize or abs(total - 1.0) <= room + _FLOAT_NOISE:
        return []
    given = _given(texts, figures, labels)
    if given is not None:
        return [_conditional(spec, total, labels, *given)]
    message = f"the shares add up to {total:.6g}, not to 1"
    if abs(total - 100.0) <= 2.0:
        message += "; they look like percentages"
        hint = "let the job divide them by 100: `percent: true` in the table's entry"
    else:
        message += f" (rounding explains up to {room:.2g})"
        rescale = f"`- {{file: {spec.file}, normalize: true}}`"
        hint = f"correct them, or write counts, or let the job rescale them: {rescale}"
    return [Problem(message, spec.file, hint=hint)]


def _given(
    texts: Sequence[str], figures: Sequence[float], labels: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], float] | None:
    """Return within each combination of which variables shares add up to 1 or 100, and to which."""
    for size in range(1, len(labels)):
        for names in combinations(labels, size):
            groups: dict[tuple[str, ...], list[int]] = {}
            for row, key in enumerate(zip(*(labels[name] for name in names), strict=True)):
                groups.setdefault(key, []).append(row)
            sums = [math.fsum(figures[row] for row in rows) for rows in groups.values()]
            rooms = [rounding_of_sum([texts[row] for row in rows]) for rows in groups.values()]
            for whole in (1.0, 100.0):
                pairs = zip(sums, rooms, strict=True)
                if all(abs(own - whole) <= room + _FLOAT_NOISE * whole for own, room in pairs):
                    return names, whole
    return None


def _conditional(
    spec: TableSpec,
    total: float,
    labels: Mapping[str, Sequence[str]],
    given: tuple[str, ...],
    whole: float,
) -> Problem:
    """Return that the shares are not of all records, but of those of each combination."""
    names = [clean(name) for name in given]
    each = " and ".join(f"`{name}`" for name in names)
    own = spec.format is not None
    file = "LONG.csv" if own else clean(spec.file)
    percent = ", percent: true" if whole > 1 or (own and spec.percent) else ""
    over = [clean(name) for name in spec.wide.variables] if spec.wide is not None else []
    wide = f", wide: {{variable: {over[0] if len(over) == 1 else over}}}" if over else ""
    entry = f"`- {{file: {file}, given: [{', '.join(names)}]{percent}{wide}}}`"
    form = set(spec.model_fields_set) & set(FileSpec.model_fields) - {"file"}
    columns = ", ".join(clean(name) for name in labels)
    more = (
        f", with a file of columns {columns}, share: statistics are not read in a publisher's form"
        if own
        else ", with what else this entry says of the file"
        if form or (spec.wide is not None and (spec.wide.columns or spec.wide.pattern))
        else ""
    )
    return Problem(
        f"the shares add up to {total:.6g}, and to {whole:g} within each {each}: they are shares of "
        "each such group, not of all records",
        spec.file,
        hint=f"under `statistics` instead of `tables` they are met so: {entry}{more} "
        "(docs/statistics.md)",
    )


def _too_large(spec: TableSpec, total: float) -> Problem:
    message = (
        f"the shares that are known add up to {total:.6g}, which leaves nothing for the others"
    )
    return Problem(message, spec.file, hint="write `percent: true` where they are percentages")


def rounding_of_sum(texts: Sequence[str]) -> float:
    """Return by how much rounding can move the sum of the printed figures.

    Half a unit of each figure's last digit. Trailing zeros may have been dropped, so all figures
    are taken to show as many decimals as the one with most of them, or, if that is less, as many
    significant digits as the one with most of those.

    Example:
        >>> round(rounding_of_sum(["0.5", "0.25", "0.24"]), 6)
        0.015
    """
    read = [_digits(text) for text in texts]
    decimals = max((-exponent for exponent, _ in read), default=0)
    significant = max((size - exponent for exponent, size in read), default=0)
    return math.fsum(0.5 * 10.0 ** max(-decimals, size - significant) for _, size in read)


def _digits(text: str) -> tuple[int, int]:
    """Return the powers of ten of a printed number's last digit and of the place above its first."""
    try:
        _, digits, exponent = Decimal(text.strip()).as_tuple()
    except InvalidOperation:
        return 0, _NO_DIGITS
    if not isinstance(exponent, int):
        return 0, _NO_DIGITS
    last = max(min(exponent, 0), -300)
    return last, len(digits) + exponent if any(digits) else _NO_DIGITS


def rounding(texts: Sequence[str]) -> float:
    """Return half a unit of the last digit that any of the figures shows."""
    digits = max(
        (len(t.strip().partition(".")[2]) for t in texts if t.strip() and "e" not in t.lower()),
        default=12,
    )
    return 0.5 * 10.0 ** -min(digits, 15)
