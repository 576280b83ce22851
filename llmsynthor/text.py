"""Labels as people and models are shown them: on one line, printable, not endless, told apart."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LONGEST_LABEL = 120
_FENCE = re.compile(r"<(?=\s*/?\s*data\b)", re.IGNORECASE)
"""What could open or close the part of a prompt that is data."""


def printable(text: str, kept: str = "") -> str:
    """Return the text with a space for each control character, bidi mark and half surrogate.

    Args:
        text: Any text.
        kept: Characters that may stay all the same, such as a line break.
    """
    return "".join(c if c.isprintable() or c in kept else " " for c in text)


def fenced(text: str) -> str:
    """Return the text without anything that could end the part of a prompt that is data."""
    return _FENCE.sub("\N{SINGLE LEFT-POINTING ANGLE QUOTATION MARK}", text)


def clean(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return a label fit for one line of a prompt, cut to `longest` characters.

    Example:
        >>> clean("a" + chr(10) + "b")
        'a b'
    """
    kept = fenced(" ".join(printable(text).split()))
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


def distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """Return each label cleaned; those that would look the same get a number, so each is one.

    Example:
        >>> distinct(["a", "a" + chr(9), "b"])
        ('a', 'a (2)', 'b')
    """
    raw, taken, shown = set(labels), set[str](), []
    for label in labels:
        start = clean(label) or "(blank)"
        name, number = start, 1
        while name in taken or (name != label and name in raw):
            number += 1
            name = f"{start} ({number})"
        taken.add(name)
        shown.append(name)
    return tuple(shown)


def nearest(given: str, known: Iterable[object]) -> str | None:
    """Return the known word that a mistyped one seems to mean, or None."""
    near = get_close_matches(given, [str(word) for word in known], n=1, cutoff=0.6)
    return near[0] if near else None


def did_you_mean(given: str, known: Iterable[object], otherwise: str = "") -> str:
    """Return which known word seems to be meant, to end a message with.

    Args:
        given: What is not known.
        known: What is.
        otherwise: What to end with where nothing is like it.

    Example:
        >>> did_you_mean("colour", ["size", "color"]), did_you_mean("x", ["size"], " (known: size)")
        ('; did you mean `color`?', ' (known: size)')
    """
    near = nearest(given, known)
    return otherwise if near is None else f"; did you mean `{clean(near)}`?"


def listed(words: Sequence[str], last: str = "and") -> str:
    """Return words as one lists them in a sentence.

    Example:
        >>> listed(["a"]), listed(["a", "b", "c"], "or")
        ('a', 'a, b or c')
    """
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def quoted(words: Iterable[str]) -> list[str]:
    """Return each word fit for one line, as names of a user's stand in messages."""
    return [f"`{clean(word)}`" for word in words]


def and_more(words: Sequence[str], most: int, between: str = ", ") -> str:
    """Return the first words, and how many more there are.

    Example:
        >>> and_more(["a", "b", "c"], 2), and_more(["a", "b", "c"], 2, "; ")
        ('a, b and 1 more', 'a; b; and 1 more')
    """
    tail = " and" if between == ", " else f"{between}and"
    more = f"{tail} {len(words) - most} more" if len(words) > most else ""
    return between.join(words[:most]) + more


def first_of(words: Sequence[str], most: int) -> str:
    """Return the first words, and a mark where there are more.

    Example:
        >>> first_of(["a", "b", "c"], 2)
        'a, b, ...'
    """
    return ", ".join(words[:most]) + (", ..." if len(words) > most else "")


def count_of(number: int, noun: str, many: str | None = None) -> str:
    """Return a number with its noun, in the plural unless it is one.

    Example:
        >>> count_of(1, "table"), count_of(1200, "reply", "replies")
        ('1 table', '1,200 replies')
    """
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def one(noun: str) -> str:
    """Return a noun that a job gives with its article.

    Example:
        >>> one("order"), one("household")
        ('an order', 'a household')
    """
    return f"{'an' if noun[:1].lower() in tuple('aeiou') else 'a'} {noun}"


def many(noun: str) -> str:
    """Return the plural of a noun that a job gives, as English mostly has it.

    Example:
        >>> many("household"), many("diary"), many("box")
        ('households', 'diaries', 'boxes')
    """
    if noun.endswith("y") and noun[-2:-1] not in tuple("aeiou") and len(noun) > 1:
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")
