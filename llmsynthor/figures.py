"""The figures of a table file: numbers from text, what they add up to, and how far they are rounded."""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from llmsynthor.errors import Problem
from llmsynthor.labels import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.job import TableSpec

_LARGEST = 1e15
"""Above it, whole numbers are no longer told apart."""
_FLOAT_NOISE = 1e-9
_NO_DIGITS = -10_000
"""Stands for the first digit of 0, which has none: its decimals alone tell its rounding."""
_SPACES = " '\u00a0\u2009\u202f\u2019"
_THOUSANDS = re.compile(rf"\d{{1,3}}([,._{_SPACES}])\d{{3}}(?:\1\d{{3}})*")
_DECIMAL_COMMA = re.compile(r"\d*,\d+")
_PERCENT = re.compile(r"(\d+(?:[.,]\d+)?)\s*%")
_SUPPRESSED = re.compile(r"[*.:\u2026x#c-]+|n/?a|\(?[a-z]\)?|[<>]\s*\d+", re.IGNORECASE)


def read_numbers(
    file: str, column: str, texts: Sequence[str], lines: Sequence[int], problems: list[Problem]
) -> list[float]:
    """Return the numbers of a column, 0 where there is none; add what is wrong to `problems`.

    Args:
        file: The file's name, for messages.
        column: `count`, `share` or `moe`.
        texts: As the file has them.
        lines: Per row its line.
        problems: Takes up one for each text that is not a number of 0 or more.
    """
    numbers = []
    for line, text in zip(lines, texts, strict=True):
        number, wrong = _number(text.strip(), column)
        numbers.append(number)
        if wrong is not None:
            problems.append(Problem(f"`{column}` {wrong}", file, line))
    return numbers


def _number(text: str, column: str) -> tuple[float, str | None]:
    if not text:
        meaning = "where it is exact" if column == "moe" else "where nobody is"
        return 0.0, f"is missing; write 0 {meaning}"
    try:
        value = float(text.replace("_", "?"))  # Python alone reads 1_000 as a number
    except ValueError:
        return 0.0, f"is `{clean(text, 40)}`, {_advice(text, column)}"
    if not math.isfinite(value) or value < 0:
        return 0.0, f"is {clean(text, 40)}; it must be 0 or more"
    if value > _LARGEST:
        return 0.0, f"is {clean(text, 40)}; more than {_LARGEST:.0e} cannot be counted"
    return value, None


def _advice(text: str, column: str) -> str:
    """Return what a text that is no number seems to be, and what to write."""
    if column != "share" and _THOUSANDS.fullmatch(text):
        return f"with thousands separators; write {re.sub(r'[^0-9]', '', text)}"
    if _DECIMAL_COMMA.fullmatch(text):
        return f"with a decimal comma; write {text.replace(',', '.')}"
    if percent := _PERCENT.fullmatch(text):
        share = Decimal(percent[1].replace(",", ".")) / 100
        if column == "share":
            return f"a percentage; write {share:f}"
        return f"a percentage; name the column `share` and write {share:f}"
    if _SUPPRESSED.fullmatch(text):
        return (
            "which is not a number; if the cell is suppressed, write an estimate, and give the table "
            "a `weight` so that it gives way"
        )
    return "which is not a number"


def check_sum(
    spec: TableSpec, column: str, texts: Sequence[str], figures: Sequence[float]
) -> list[Problem]:
    """Return what is wrong with the sum of a table's figures.

    Shares must add up to 1, but for the rounding that the printed digits explain, unless the job
    says `normalize: true`.

    Args:
        spec: The table's entry in the job.
        column: `count` or `share`.
        texts: As the file has them.
        figures: Their numbers.
    """
    total = math.fsum(figures)
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
    rescale = f"`- {{file: {spec.file}, normalize: true}}`"
    if abs(total - 100.0) <= 2.0:
        return [
            Problem(
                f"the shares add up to {total:.6g}, not to 1; they look like percentages",
                spec.file,
                hint=f"divide them by 100, or let the job do so: {rescale}",
            )
        ]
    return [
        Problem(
            f"the shares add up to {total:.6g}, not to 1 (rounding explains up to {room:.2g})",
            spec.file,
            hint=f"correct them, or write counts, or let the job rescale them: {rescale}",
        )
    ]


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
        (len(text.strip().partition(".")[2]) for text in texts if "e" not in text.lower()),
        default=12,
    )
    return 0.5 * 10.0 ** -min(digits, 15)
