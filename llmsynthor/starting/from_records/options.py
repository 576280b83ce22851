"""What `llmsynthor tables` was asked for: its options, taken apart and checked by themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from llmsynthor.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind = Literal["category", "integer", "number"]
Missing = Literal["auto", "drop", "category"]


@dataclass(frozen=True)
class TableOptions:
    """The options of `tables`; a column is named as in the file.

    Attributes:
        variables: Columns to use, or None for all that are fit.
        types: Column -> type, where it is not to be inferred.
        bins: Column -> how to cut it.
        joints: Column sets of joint tables that are asked for by name.
        strongest: How many pairs to choose as control tables; None leaves it to the program.
        hold_out: How many pairs to choose for scoring; None leaves it to the program.
        rare: Categories with fewer records are merged into `other`; 0 merges none.
        missing: What happens to records without a value.
        weight: Column that each record is weighted by, or None.
        epsilon: Privacy loss of Laplace noise over all tables together, or None for exact tables.
        seed: Seed of the noise, for tests; None takes the operating system's randomness.
    """

    variables: tuple[str, ...] | None = None
    types: Mapping[str, Kind] = field(default_factory=dict)
    bins: Mapping[str, str] = field(default_factory=dict)
    joints: tuple[tuple[str, ...], ...] = ()
    strongest: int | None = None
    hold_out: int | None = None
    rare: int = 0
    missing: Missing = "auto"
    weight: str | None = None
    epsilon: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            JobError: Names the options and says what to do.
        """
        if self.epsilon is not None and not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise JobError(f"--epsilon {self.epsilon}: must be a number above 0")
        if self.epsilon is not None and self.weight is not None:
            raise JobError(
                "`--epsilon` and `--weight` exclude each other: a record of a large weight changes a "
                "table by more than 1, so that the noise would not cover it"
            )
        if self.seed is not None and self.epsilon is None:
            raise JobError("`--seed` is for the noise of `--epsilon`; without it nothing is random")

    @property
    def named(self) -> set[str]:
        """Return the columns that the user speaks of, which are therefore wanted."""
        joined = {name for joint in self.joints for name in joint}
        return {*(self.variables or ()), *self.types, *self.bins, *joined}


def split_outside_quotes(text: str, mark: str) -> list[str]:
    """Return the parts of `text` between `mark`s that stand in no double quotes, quotes kept.

    Example:
        >>> split_outside_quotes('age*"a*b"', "*")
        ['age', '"a*b"']
    """
    parts, quoted = [""], False
    for letter in text:
        quoted ^= letter == '"'
        if letter == mark and not quoted:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _unquoted(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('""', '"')
    return text


def parse_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of `a,b,"c, with a comma"`, each once.

    Raises:
        JobError: A name is empty.
    """
    names = [_unquoted(part) for text in texts for part in split_outside_quotes(text, ",")]
    if not all(names):
        raise JobError(f"--variables {','.join(texts)}: a name is empty; write `a,b,c`")
    return tuple(dict.fromkeys(names))


def parse_joints(texts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the column sets of `a*b,c*d*e`.

    Raises:
        JobError: A joint has fewer than two columns, or the same one twice.
    """
    joints = []
    for text in texts:
        for part in split_outside_quotes(text, ","):
            names = tuple(_unquoted(name) for name in split_outside_quotes(part, "*"))
            if len(names) < 2 or not all(names) or len(set(names)) < len(names):
                raise JobError(
                    f"--joints {text}: `{part}` does not name two or more different columns; "
                    'write `a*b,c*d*e` (a name with `*` or `,` in double quotes: `"a,b"*c`)'
                )
            joints.append(names)
    return tuple(joints)


def parse_pairs(option: str, texts: Sequence[str], example: str) -> dict[str, str]:
    """Return column -> value of `column=value` texts; the last `=` divides.

    Raises:
        JobError: A text has no `=`, or a column comes twice with different values.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.rpartition("=")
        name, value = _unquoted(name), value.strip()
        if not separator or not name or not value:
            raise JobError(f"{option} {text}: write it as `{example}`")
        if found.setdefault(name, value) != value:
            raise JobError(f"{option} {text}: `{name}` was given `{found[name]}` before")
    return found


def parse_types(texts: Sequence[str]) -> dict[str, Kind]:
    """Return column -> type of `column=integer` texts.

    Raises:
        JobError: A type does not exist.
    """
    known: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
    found: dict[str, Kind] = {}
    for name, value in parse_pairs("--type", texts, "age=integer").items():
        if value not in known:
            raise JobError(f"--type {name}={value}: the types are {', '.join(known)}")
        found[name] = known[value]
    return found
