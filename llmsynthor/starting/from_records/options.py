"""What `llmsynthor tables` was asked for: its options, checked by themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from llmsynthor.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        """Refuse options that do not exist, or contradict each other.

        Raises:
            JobError: Names the options and says what to do.
        """
        for name, kind in self.types.items():
            if kind not in get_args(Kind):
                raise JobError(f"--type {name}={kind}: the types are {', '.join(get_args(Kind))}")
        if self.missing not in get_args(Missing):
            choices = ", ".join(get_args(Missing))
            raise JobError(f"--missing {self.missing}: the choices are {choices}")
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
