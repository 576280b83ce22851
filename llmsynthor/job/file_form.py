"""The model of a file as it was published: its columns and rows, and how its figures are written."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, model_validator

from llmsynthor.job.variables import JobModel

Encoding = Literal[
    "utf-8", "utf-16", "latin-1", "windows-1250", "windows-1251", "windows-1252", "iso-8859-2",
    "iso-8859-15", "cp437", "cp850", "mac-roman", "shift-jis", "gb18030", "big5", "euc-kr",
]  # fmt: skip
_NOT_TEXT = (".parquet", ".xlsx")
_TEXT_KEYS = ("separator", "encoding", "comment")


class FileSpec(JobModel):
    """A file as it was published, and how to read it."""

    file: str = Field(
        min_length=1,
        description="CSV, TSV, parquet or XLSX file, relative to the job file.",
        examples=["tables/age.csv"],
    )
    name: str | None = Field(
        None, min_length=1, description="Name in reports; default: the file's."
    )
    role: Literal["control", "validate"] = Field(
        "control", description="`control` is met; `validate` is only scored, never used."
    )
    values: dict[str, dict[str, str]] = Field(
        default_factory=dict, description="Variable -> (label in the file -> category or bin)."
    )
    groups: dict[str, dict[str, list[str]]] = Field(
        default_factory=dict,
        description="Variable -> (group -> its categories): this table counts groups of a category "
        "variable's values. Every category stands in one group.",
        examples=[{"education": {"low": ["none", "primary"], "high": ["degree"]}}],
    )
    ignore: Literal["others"] | list[str] = Field(
        default_factory=list,
        description="Columns that are not read; `others`: all that are no variable, no figure and "
        "in no other key.",
        examples=[["moe_pct"]],
    )
    where: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Column of the file -> the text, or texts, of the rows that are read.",
        examples=[{"unit": "NR"}],
    )
    drop: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description="Column of the file -> the text, or texts, of the rows that are not read.",
        examples=[{"age": "UNK"}],
    )
    bins: dict[str, list[str]] = Field(
        default_factory=dict,
        description="Variable -> the two columns with the low and the high end of its bins, both "
        "included for whole numbers; an empty end is open.",
        examples=[{"age": ["age_min", "age_max"]}],
    )
    thousands: Literal[",", ".", " ", "'", "_"] | None = Field(
        None,
        description='What stands between thousands; `" "` is any kind of space. Default: nothing.',
        examples=[","],
    )
    decimal: Literal[".", ","] = Field(".", description="What stands before decimals.")
    percent: bool = Field(
        False, description="The shares are percentages, with or without the sign."
    )
    separator: Literal[",", ";", "\t", "|"] | None = Field(
        None,
        description='What stands between the columns of a text file: `";"`, `"\\t"` (a tab) or '
        '`"|"`; default: a comma, in .tsv and .tab a tab.',
        examples=[";"],
    )
    encoding: Encoding | None = Field(
        None,
        description="How a text file's characters are stored; default: UTF-8, or as its mark says.",
    )
    sheet: str | None = Field(
        None, min_length=1, description="Sheet of an XLSX file, if it has several."
    )
    skip_rows: int = Field(0, ge=0, description="Lines above the header that are not read.")
    comment: str | None = Field(
        None, min_length=1, description="Lines that begin so are not read.", examples=["#"]
    )
    footer_rows: Annotated[int, Field(ge=0)] | Literal["blank"] = Field(
        0,
        description="Rows at the end that are notes: how many, or `blank`: all below the first blank "
        "line that follows the figures.",
    )

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> FileSpec:
        kind = PurePath(self.file).suffix.lower()
        if kind in _NOT_TEXT:
            for key in (*_TEXT_KEYS, *(["skip_rows", "footer_rows"] if kind == ".parquet" else [])):
                if getattr(self, key) not in (None, 0):
                    files = "CSV" if key == "separator" else "text"
                    raise ValueError(f"`{key}` is for {files} files; a {kind[1:]} file has none")
        if self.sheet is not None and kind != ".xlsx":
            raise ValueError("`sheet` is for .xlsx files")
        return self

    @model_validator(mode="after")
    def _signs_and_ends(self) -> FileSpec:
        if self.thousands is not None and self.thousands == self.decimal:
            raise ValueError(f"`thousands` and `decimal` are both `{self.decimal}`")
        for name, ends in self.bins.items():
            if len(ends) != 2:
                raise ValueError(f"`bins.{name}` must name two columns: the low and the high end")
        return self

    @property
    def separated_by(self) -> str:
        """Return what stands between the columns of a text file."""
        if self.separator is not None:
            return self.separator
        return "\t" if PurePath(self.file).suffix.lower() in {".tsv", ".tab"} else ","
