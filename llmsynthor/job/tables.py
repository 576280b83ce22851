"""The model of a job's tables: which file, what it means, how it was published, what if two disagree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from llmsynthor.job.file_form import FileSpec
from llmsynthor.job.variables import JobModel

Range = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=2, max_length=2)]
_PLACE = re.compile(r"\{([^{}]*)\}")
_OWN_LAYOUT = ("separator", "skip_rows", "comment", "footer_rows")


@dataclass(frozen=True)
class Office:
    """A publisher's form.

    Attributes:
        reader: Module that reads it; see `files.offices.Form`.
        download: Which of the office's files are meant, for people.
        separator: What stands between the columns.
    """

    reader: str
    download: str
    separator: str = ","


OFFICES = {
    "acs": Office("llmsynthor.files.offices.acs", "data.census.gov"),
    "eurostat": Office("llmsynthor.files.offices.eurostat", "TSV of the bulk download", "\t"),
    "nomis": Office("llmsynthor.files.offices.nomis", "CSV"),
}
"""Name in a table's `format` -> the office's form."""


def _known(name: str) -> str:
    if name not in OFFICES:
        raise PydanticCustomError("unknown_office", "no such form")
    return name


def describe_offices(schema: dict[str, Any]) -> None:
    """Complete the schema of the key `format`."""
    forms = [f"`{name}` ({office.download})" for name, office in OFFICES.items()]
    schema["description"] = f"A publisher's own form: {', '.join(forms)}."


OfficeName = Annotated[
    str,
    AfterValidator(_known),
    Field(json_schema_extra=lambda schema: schema.update(enum=list(OFFICES))),
]


class WideColumns(JobModel):
    """A wide file: a variable's categories or bins are columns."""

    variable: str | list[str] = Field(
        description="The variable that runs over the columns; a list where headers name several.",
        examples=["size"],
    )
    columns: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Column -> its category or bin; a list where `variable` is one. Without "
        "`columns` and `pattern`, all columns that are nothing else are read, each header being "
        "the category.",
        examples=[{"HHSIZE1": "1", "HHSIZE2": "2+"}],
    )
    pattern: str | None = Field(
        None,
        description="What the headers look like, with each variable in braces; other columns are "
        "not read.",
        examples=["{sex} {age}"],
    )

    @property
    def takes_rest(self) -> bool:
        """Return whether all columns that are nothing else are categories."""
        return not self.columns and self.pattern is None

    @property
    def variables(self) -> list[str]:
        """Return the variables that run over the columns."""
        return [self.variable] if isinstance(self.variable, str) else self.variable

    def labels(self, column: str) -> list[str]:
        """Return the categories or bins that `columns` gives a column, one for each variable."""
        given = self.columns[column]
        return [given] if isinstance(given, str) else given

    @model_validator(mode="after")
    def _fits(self) -> WideColumns:
        names = self.variables
        if not names or len(set(names)) < len(names):
            raise ValueError("`variable` must name one or more variables, each once")
        if self.columns and self.pattern is not None:
            raise ValueError("give `columns` or `pattern`, not both")
        if self.pattern is not None and sorted(_PLACE.findall(self.pattern)) != sorted(names):
            wanted = " ".join(f"{{{name}}}" for name in names)
            raise ValueError(f"`pattern` must hold each variable once in braces: `{wanted}`")
        if len(names) > 1 and self.takes_rest:
            raise ValueError("several variables need `columns` or a `pattern` that splits headers")
        for column in self.columns:
            if len(self.labels(column)) != len(names):
                raise ValueError(
                    f"`columns` gives `{column}` {len(self.labels(column))} labels, and there are "
                    f"{len(names)} variables"
                )
        return self


class WideSpec(WideColumns):
    """A wide table: a variable's categories or bins are columns."""

    measure: Literal["count", "share"] = Field("count", description="What the cells hold.")


class TableSpec(FileSpec):
    """One target table and how to read it."""

    tolerance: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Largest total variation distance at which this table passes. A table with "
        "`tolerance`, `weight` or a column `moe` is soft: where tables disagree it gives way to "
        "those without.",
    )
    weight: float | None = Field(
        None,
        gt=0,
        description="How strongly this table holds among soft tables that disagree: one of weight "
        "2 gives way half as much as one of weight 1.",
    )
    counts: Literal["records", "members"] | None = Field(
        None,
        description="What the figures count, in a job with `members`; default: `members` where "
        "the table has a variable of theirs, else `records`.",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Column of the file -> variable, `count`, `share` or `moe` (margin of error).",
    )
    wide: WideSpec | None = Field(None, description="Reads a table with categories as columns.")
    add_up: bool = Field(
        False,
        description="Add up rows of the same cell, where labels were merged or columns ignored. "
        "Without it, a cell that is given twice is an error.",
    )
    totals: list[str] = Field(
        default_factory=list,
        description="Labels that stand for a total, beside words such as `Total` and `All`: they "
        "are checked against the sum of their cells, and not counted.",
        examples=[["Ensemble"]],
    )
    missing: dict[str, Literal["unknown"] | Annotated[float, Field(ge=0)] | Range] = Field(
        default_factory=dict,
        description="Text in place of a figure -> `unknown`, a range such as `[0, 4]`, or a number.",
        examples=[{"*": "unknown", "<5": [0, 4]}],
    )
    total: float | None = Field(
        None,
        gt=0,
        description="What the counts add up to, where cells are unknown and no total is in the file.",
    )
    rounded_to: float | None = Field(
        None,
        gt=0,
        description="The counts were rounded to multiples of this, each by itself: sums may be off "
        "by half of it for each cell, and so may the records.",
        examples=[5],
    )
    format: OfficeName | None = Field(None, json_schema_extra=describe_offices)
    normalize: bool = Field(
        False,
        description="Rescale the shares of this table so that they add up to 1. Without it, shares "
        "that do not are an error, unless rounding explains it.",
    )

    @model_validator(mode="after")
    def _form(self) -> TableSpec:
        if self.format is not None:
            for key in _OWN_LAYOUT:
                if getattr(self, key) not in (None, 0):
                    raise ValueError(
                        f"`{key}` and `format` exclude each other: a form knows its own"
                    )
        if self.ignore == "others" and self.wide is not None and self.wide.takes_rest:
            raise ValueError("with `ignore: others`, `wide` must name its `columns` or a `pattern`")
        for text, meaning in self.missing.items():
            if isinstance(meaning, list) and meaning[0] > meaning[1]:
                raise ValueError(f"`missing`: the range of `{text}` ends below its start")
        return self

    @model_validator(mode="after")
    def _soft_controls(self) -> TableSpec:
        if self.role == "validate" and not (self.tolerance is None and self.weight is None):
            raise ValueError(
                "`tolerance` and `weight` are for control tables; this one is only scored"
            )
        return self

    @property
    def known_as(self) -> str:
        """Return the table's name: as given, or the file's."""
        return self.name or PurePath(self.file).stem

    @property
    def separated_by(self) -> str:
        """Return what stands between the columns of a text file."""
        if self.format is not None:
            return OFFICES[self.format].separator
        return super().separated_by


class ScaleTo(JobModel):
    """The table that all others are fitted to."""

    scale_to: str = Field(min_length=1, description="Name of a control table.", examples=["age"])

    @property
    def words(self) -> str:
        """Return the policy in one line."""
        return f"scale_to {self.scale_to}"


Reconcile = Literal["error", "least_squares"] | ScaleTo
