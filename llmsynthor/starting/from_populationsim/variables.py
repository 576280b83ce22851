"""Variables from controls: categories where these name single values, bins where they cut a range."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmsynthor.files.bins import format_number
from llmsynthor.starting.from_populationsim.expressions import UnreadableError
from llmsynthor.starting.from_populationsim.reading import is_numeric, read_value

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from llmsynthor.starting.from_populationsim.expressions import Accepted, End
    from llmsynthor.starting.from_populationsim.reading import ReadControl
    from llmsynthor.starting.from_populationsim.setup import SeedFile

_DECIMALS = 2


@dataclass(eq=False)
class MadeVariable:
    """A variable of the job to be.

    Attributes:
        name: In the job.
        kind: `category`, `integer` or `number`.
        pieces: What the controls tell apart, each with its label in the tables.
        rest: Label of what no control takes in, or None where there is nothing.
        low: Smallest value of a number.
        high: Largest.
        column: Of the seed; None where the number of persons is counted.
        values: Value in the seed's file -> category.
    """

    name: str
    kind: str
    pieces: dict[Accepted, str]
    rest: str | None = None
    low: float = 0.0
    high: float = 0.0
    column: str | None = None
    values: dict[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """Return the labels of all pieces and of the rest."""
        return [*self.pieces.values(), *([self.rest] if self.rest is not None else [])]


def categories(
    name: str, seed: SeedFile, column: str, controls: Sequence[ReadControl]
) -> MadeVariable:
    """Return a variable with a category for each control's values, and one for all others.

    Raises:
        UnreadableError: Controls of different tables cut the values differently.
    """
    pieces: dict[Accepted, str] = {}
    named = _stripped([control.control.target for control in controls])
    for control, label in zip(controls, named, strict=True):
        accepted = control.box[column]
        if accepted in pieces:
            continue
        if any(not (accepted & other).is_nothing for other in pieces):
            raise UnreadableError(f"its values of `{column}` overlap those of another control")
        if len(accepted.texts) == 1 and accepted == type(accepted).of(*accepted.texts):
            label = next(iter(accepted.texts))
        pieces[accepted] = label if label not in pieces.values() else control.control.target
    made = MadeVariable(name, "category", pieces, column=column)
    numeric = is_numeric(seed, column)
    for text in seed.frame.get_column(column).fill_null("").unique().sort().to_list():
        value = read_value(text, numeric=numeric)
        piece = next((label for accepted, label in pieces.items() if accepted.takes(value)), None)
        if piece is None:
            piece = made.rest = made.rest or _free("other", set(pieces.values()))
        if text.strip() != piece:
            made.values[text.strip()] = piece
    return made


def _stripped(targets: Sequence[str]) -> list[str]:
    """Return names without the words that all begin with."""
    if len(targets) == 1:
        return list(targets)
    alike = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*targets, strict=False))
    start = "".join(letters[0] for letters in alike).rfind("_") + 1
    return [target[start:] or target for target in targets]


def _free(label: str, taken: Container[str]) -> str:
    while label in taken:
        label += "_"
    return label


def bins(
    name: str,
    column: str | None,
    pieces: Sequence[Accepted],
    values: Sequence[float],
) -> MadeVariable:
    """Return a number with these values in the seed, cut where the controls cut it.

    Raises:
        UnreadableError: A control takes in no single range, or cuts across another.
    """
    whole = all(float(value).is_integer() for value in values)
    low, high = min(values), max(values)
    if not whole:
        scale = 10.0**_DECIMALS
        low, high = math.floor(low * scale) / scale, math.ceil(high * scale) / scale
    cut: dict[Accepted, tuple[float, float]] = {}
    for accepted in dict.fromkeys(pieces):
        ends = _range(accepted, low, high, whole=whole)
        for other in cut.values():
            if ends != other and max(ends[0], other[0]) < min(ends[1], other[1]):
                raise UnreadableError(
                    f"its range of `{column or name}` cuts across another control's"
                )
        cut[accepted] = ends
    made = MadeVariable(name, "integer" if whole else "number", {}, None, low, high, column)
    for accepted, (start, end) in cut.items():
        made.pieces[accepted] = _label(start, end, whole=whole)
    gaps = _gaps(sorted(set(cut.values())), low, high + (1.0 if whole else 0.0))
    held = [gap for gap in gaps if any(gap[0] <= v < gap[1] for v in values)]
    if len(held) > 1:
        raise UnreadableError(f"the controls leave out several ranges of `{column or name}`")
    if held:
        made.rest = _label(*held[0], whole=whole)
    return made


def _range(accepted: Accepted, low: float, high: float, *, whole: bool) -> tuple[float, float]:
    """Return the one range `[start, end)` that is accepted between the limits."""
    top = high + (1.0 if whole else 0.0)
    found: list[tuple[float, float]] = []
    for span in accepted.spans:
        start, end = (_edge(end, whole=whole) for end in span)
        start, end = max(start, low), min(end, top)
        if start < end and found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        elif start < end:
            found.append((start, end))
    if len(found) != 1:
        raise UnreadableError("it takes in several ranges of numbers")
    return found[0]


def _edge(end: End, *, whole: bool) -> float:
    """Return where a range of half-open bins begins or ends: between whole numbers, on the upper."""
    value, above = end
    if not whole or math.isinf(value):
        return value
    return math.floor(value) + 1.0 if above or value != math.floor(value) else value


def _label(start: float, end: float, *, whole: bool) -> str:
    if not whole:
        return f"[{format_number(start)}, {format_number(end)})"
    last = end - 1
    return (
        format_number(start) if start == last else f"{format_number(start)}-{format_number(last)}"
    )


def _gaps(
    taken: Sequence[tuple[float, float]], low: float, top: float
) -> list[tuple[float, float]]:
    gaps, start = [], low
    for first, end in taken:
        if first > start:
            gaps.append((start, first))
        start = max(start, end)
    if start < top:
        gaps.append((start, top))
    return gaps


def on_an_edge(made: MadeVariable, values: Sequence[float]) -> int:
    """Return how many of the values lie on an edge that a control counts to the bin below.

    Bins of real numbers take in their lower ends; a control may take in its upper end instead.
    """
    if made.kind != "number":
        return 0
    count = 0
    for accepted in made.pieces:
        upper = {high[0] for _, high in accepted.spans if high[1] and math.isfinite(high[0])}
        count += sum(value in upper and value < made.high for value in values)
    return count
