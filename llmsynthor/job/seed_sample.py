"""The model of a job's seed sample: real records that the records may be copies of."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from llmsynthor.job.file_form import Separator, TextForm


class SeedColumns(TextForm):
    """How to read one file of real records."""

    SAID_IN: ClassVar[str] = "`seed_sample`"

    file: str = Field(
        min_length=1,
        description="CSV, TSV, parquet or XLSX file of real records, relative to the job file.",
        examples=["seed_households.csv"],
    )
    separator: Separator | None = Field(
        None,
        description="What stands between the columns of a text file; default: what its header tells.",
        examples=[";"],
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="Column of the file -> variable of the job."
    )
    values: dict[str, dict[str, str]] = Field(
        default_factory=dict,
        description='Variable -> (value in the file -> category or bin); `""` is an empty cell.',
        examples=[{"income": {"1": "low", "2": "high"}}],
    )


class SeedMembersSpec(SeedColumns):
    """The members of the real records: a row for each."""

    SAID_IN: ClassVar[str] = "`seed_sample.members`"

    key: str = Field(
        min_length=1,
        description="Column that names the record which a member belongs to.",
        examples=["hhID"],
    )


class SeedSampleSpec(SeedColumns):
    """Real records: candidates beside those that a model proposes."""

    weight: str | None = Field(
        None,
        min_length=1,
        description="Column with the weight of each record; default: all weigh the same.",
        examples=["HHweight"],
    )
    key: str | None = Field(
        None,
        min_length=1,
        description="Column that names a record, in `provenance/` and for its members; default: "
        "its row in the file, from 1.",
        examples=["hhID"],
    )
    members: SeedMembersSpec | None = Field(
        None, description="The file with the members of the records, in a job with `members`."
    )
    share: Literal["auto"] | Annotated[float, Field(gt=0, le=1)] = Field(
        "auto",
        description="Share of the sample in the prior beside what a model proposes; `auto`: "
        "n / (n + 3000) for a sample worth n records of equal weight, and all of it where no model "
        "is asked.",
    )
    missing: Literal["error", "background"] = Field(
        "error",
        description="What to do about variables for which the sample has no column: `background` "
        "draws them from the tables, given the record's others.",
    )

    @model_validator(mode="after")
    def _key_for_members(self) -> SeedSampleSpec:
        if self.members is not None and self.key is None:
            raise ValueError("`members` needs `key`, the column that their `key` refers to")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files, as the job names them."""
        return (self.file,) if self.members is None else (self.file, self.members.file)
