"""The model of a job's statistics: means, sums, quantiles and rates, and where they are published."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from llmsynthor.job.file_form import FileSpec
from llmsynthor.job.tables import WideColumns, WideSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

RATE, MEAN, SUM, SHARE = "rate", "mean", "sum", "share"
TOLERANCE = 0.001
"""By how much of itself a statistic may be missed."""
_QUANTILE = re.compile(r"q(\d{1,2}(?:\.\d+)?)")
_OF_FILES = frozenset(FileSpec.model_fields) - {"file", "name", "role", "percent"}
Figure = Annotated[float, Field(allow_inf_nan=False)]


def quantile_level(column: str) -> float | None:
    """Return the level that a column such as `q10`, `q2.5` or `median` is the quantile of.

    Returns:
        A share between 0 and 1; None where the column is no quantile.
    """
    if column == "median":
        return 0.5
    found = _QUANTILE.fullmatch(column)
    level = float(found[1]) / 100 if found else 0.0
    return level if 0 < level < 1 else None


def listed(labels: str | Sequence[str]) -> list[str]:
    """Return one label or several as a list."""
    return [labels] if isinstance(labels, str) else list(labels)


def is_of_number(column: str) -> bool:
    """Return whether a column of this name holds means, sums or quantiles."""
    return column in (MEAN, SUM) or quantile_level(column) is not None


class WideStatistics(WideColumns):
    """A wide file of statistics: a variable's categories or bins are columns."""

    measure: str | None = Field(
        None,
        min_length=1,
        description="What the cells hold: `mean`, `sum`, `median` or a quantile such as `q10`; needed "
        "with `of: VARIABLE` only.",
        examples=["mean"],
    )


class StatisticSpec(FileSpec):
    """Means, sums or quantiles of a number, or rates; of all records or of groups of them."""

    file: str = Field(
        "",
        description="File with a column for each variable of the groups and one for each statistic; "
        "leave it out where `figures` gives the statistics.",
        examples=["tables/miles_by_purpose.csv"],
    )
    name: str | None = Field(
        None, min_length=1, description="Name in reports; default: the file's, or that of `of`."
    )
    of: str | dict[str, str | list[str]] | None = Field(
        None,
        description="The integer or number variable that columns `mean`, `sum`, `median` and `q10` "
        "to `q90` are of; or, for a column `rate`, variable -> the category, categories or bin "
        "whose share the rate is.",
        examples=["miles", {"status": "unemployed"}],
    )
    among: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Variable -> category, categories or bin: the statistics are of these records "
        "only.",
        examples=[{"age": "15-64"}],
    )
    given: list[str] = Field(
        default_factory=list,
        description="For a file with `share`: its shares add up to 1 within each combination of "
        "these variables. How many records each combination has is left open.",
        examples=[["purpose"]],
    )
    figures: dict[str, Figure] = Field(
        default_factory=dict,
        description="Statistics of all records, in place of a file.",
        examples=[{"mean": 38.4, "q90": 71}],
    )
    counts: Literal["records", "members"] | None = Field(
        None,
        description="What the statistics are of, in a job with `members`; default: `members` where "
        "a variable of theirs is named, else `records`.",
    )
    tolerance: float = Field(
        TOLERANCE,
        gt=0,
        le=1,
        description="By how much of itself a statistic may be missed: 0.001 lets a mean of 40 be "
        "39.96 to 40.04. A rate of 0.05 may be missed by 0.05 times that, or by one record.",
    )
    wide: WideStatistics | None = Field(
        None, description="Reads a file with categories as columns."
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Column of the file -> variable, `mean`, `sum`, `median`, `q10`, `rate` or `share`.",
        examples=[{"average_miles": "mean"}],
    )

    @model_validator(mode="after")
    def _one_source(self) -> StatisticSpec:
        if bool(self.file) == bool(self.figures):
            raise ValueError("give `file` or `figures`, one of the two")
        if (self.of is None) == (not self.given):
            raise ValueError(
                "give `of`, the variable of means, sums and quantiles or the categories of a rate; or "
                "`given`, for shares within groups"
            )
        if self.given and self.figures:
            raise ValueError("`given` needs a `file` with the shares")
        if self.percent and isinstance(self.of, str):
            raise ValueError("`percent` is for rates and shares, not for means, sums or quantiles")
        for column in self.figures:
            if isinstance(self.of, dict) and column != RATE:
                raise ValueError(f"`figures` of categories are a `rate`, not a `{column}`")
            if isinstance(self.of, str) and not is_of_number(column):
                raise ValueError(
                    f"`figures` has `{column}`, which is no `mean`, `sum`, `median` or quantile such as `q10`"
                )
        return self

    @model_validator(mode="after")
    def _for_files(self) -> StatisticSpec:
        fields = type(self).model_fields
        given = [
            key
            for key in sorted(_OF_FILES | {"columns", "wide"})
            # a job that was written out has the defaults, too
            if getattr(self, key) != fields[key].get_default(call_default_factory=True)
        ]
        if self.figures and given:
            raise ValueError(f"`{given[0]}` says how a file is read, and `figures` need none")
        wide = self.wide
        if wide is None:
            return self
        if wide.measure is None and isinstance(self.of, str):
            raise ValueError("`wide` needs its `measure`: `mean`, `sum`, `median` or such as `q10`")
        if wide.measure is not None and not (
            isinstance(self.of, str) and is_of_number(wide.measure)
        ):
            raise ValueError(
                f"`wide.measure` is `{wide.measure}`; it is for `of: VARIABLE`, and is `mean`, `sum`, "
                "`median` or a quantile such as `q10`"
            )
        return self

    @property
    def read_wide(self) -> WideSpec | None:
        """Return how a wide file is made long, with the column that its cells go into."""
        if self.wide is None:
            return None
        held = SHARE if self.given else RATE if isinstance(self.of, dict) else self.wide.measure
        return WideSpec.model_construct(**dict(self.wide) | {"measure": held})

    @property
    def known_as(self) -> str:
        """Return the statistics' name: as given, or the file's, or what they are of."""
        if self.name or self.file:
            return self.name or PurePath(self.file).stem
        return self.of if isinstance(self.of, str) else "-".join(self.of or {})
