"""What a prompt asked for in a few words: the focus of its call and the gaps that it named."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile

_FOCUS = "# Your focus"
_TARGET = "# The kind of record that is wanted"
_GAPS = "# Where the proposals so far fall short"
_LOOK = "# No table says how this goes with the wanted kind"
_FULL = "Already too frequent:"
_GAP_MARK = ": target "


@dataclass(frozen=True)
class Guidance:
    """What a model was guided by.

    Attributes:
        focus: What its call was to look at; None where the prompt gives none.
        gaps: The first shortfalls that it was shown, as the prompt words them.
    """

    focus: str | None
    gaps: tuple[str, ...]


def read_guidance(prompt: str) -> Guidance:
    r"""Return what a prompt of the built-in templates asked for; of another template, nothing.

    Example:
        >>> read_guidance("# Your focus\nhow age, mode go together\n\n# Form").focus
        'how age, mode go together'
        >>> text = "# Where the proposals so far fall short of the tables\nThere are no proposals yet."
        >>> read_guidance(text + "\n- a=b: target 60.0 %\nAlready too frequent:\n- a=c: target 4 %").gaps
        ('a=b: target 60.0 %',)
    """
    lines = prompt.split("\n")
    focus = " ".join(_section(lines, _FOCUS)) or None
    target = [line.removeprefix("- ") for line in _section(lines, _TARGET)]
    if focus is None and target:
        look = _section(lines, _LOOK)
        focus = f"records with {', '.join(target)}" + (f"; and their {look[0]}" if look else "")
    below = takewhile(lambda line: line != _FULL, _section(lines, _GAPS))
    short = [line.removeprefix("- ") for line in below if line.startswith("- ")]
    return Guidance(focus, tuple(gap for gap in short if _GAP_MARK in gap))


def _section(lines: list[str], heading: str) -> list[str]:
    """Return the lines of text under a heading, without blank ones."""
    start = next((i for i, line in enumerate(lines) if line.startswith(heading)), None)
    if start is None:
        return []
    found: list[str] = []
    for line in lines[start + 1 :]:
        if line.startswith("#") or line.strip() in ("</data>", "<data>"):
            break
        if line.strip():
            found.append(line.strip())
    return found
