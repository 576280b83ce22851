"""Bins as publishers word them (`Under 5 years`, `$10,000 to $14,999`, `Y_GE85`) as plain bins."""

from __future__ import annotations

import re

_NOISE = re.compile(
    r"^(?:aged?|ages)\s+|[$\u00a3\u20ac]|\s*\b(?:years?|yrs?)(?:\s+old|\s+of\s+age)?\b",
    re.IGNORECASE,
)
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_CODE = re.compile(r"Y(\d+)(?:-(\d+))?")
_N = r"(\d+(?:\.\d+)?)"
_FORMS = (
    (re.compile(rf"(?:under|less than|below|younger than)\s+{_N}", re.I), "<{}"),
    (re.compile(rf"(?:up to|at most)\s+{_N}|{_N}\s+(?:and|or)\s+(?:under|less|below|younger|fewer)", re.I), "<={}"),
    (re.compile(rf"{_N}\s+(?:and|or)\s+(?:over|older|more|above)|(?:at least)\s+{_N}", re.I), "{}+"),
    (re.compile(rf"(?:over|more than|above)\s+{_N}", re.I), ">{}"),
    (re.compile(rf"Y_LT{_N}"), "<{}"),
    (re.compile(rf"Y_GE{_N}"), "{}+"),
)  # fmt: skip
_TWO = re.compile(
    rf"(?:from\s+|between\s+)?{_N}(?:\s+(?:to|and)\s+|\s*[-\u2013]\s*){_N}", re.IGNORECASE
)


def plain_bin(label: str) -> str:
    """Return a bin in the plain form that `domain.parse_bin` reads; another text as it is.

    Example:
        >>> [plain_bin(text) for text in ("Under 5 years", "Aged 20 to 24", "Y_GE85", "Aged 65+")]
        ['<5', '20-24', '85+', '65+']
    """
    text = label.strip()
    if code := _CODE.fullmatch(text):
        return "-".join(filter(None, code.groups()))
    text = _GROUPED.sub("", _NOISE.sub("", text)).strip()
    for form, written in _FORMS:
        if found := form.fullmatch(text):
            return written.format(next(filter(None, found.groups())))
    if found := _TWO.fullmatch(text):
        return f"{found[1]}-{found[2]}"
    return text if re.fullmatch(rf"{_N}\+?", text) else label.strip()
