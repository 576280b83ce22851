"""The model of a job's statistics: means, sums, quantiles and rates, and where they are published."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmsynthor.jobforms import FileSpec

RATE, MEAN, SUM, SHARE = "rate", "mean", "sum", "share"
TOLERANCE = 0.001
"""By how much of itself a statistic may be missed."""
_QUANTILE = re.compile(r"q(\d{1,2}(?:\.\d+)?)")
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


def is_of_number(column: str) -> bool:
    """Return whether a column of this name holds means, sums or quantiles."""
    return column in (MEAN, SUM) or quantile_level(column) is not None


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
        for column in self.figures:
            if isinstance(self.of, dict) and column != RATE:
                raise ValueError(f"`figures` of categories are a `rate`, not a `{column}`")
            if isinstance(self.of, str) and not is_of_number(column):
                raise ValueError(
                    f"`figures` has `{column}`, which is no `mean`, `sum`, `median` or quantile such as `q10`"
                )
        return self

    @property
    def known_as(self) -> str:
        """Return the statistics' name: as given, or the file's, or what they are of."""
        if self.name or self.file:
            return self.name or PurePath(self.file).stem
        return self.of if isinstance(self.of, str) else "-".join(self.of or {})
