"""How a file is written: the model of one as it was published, and what a user says of any."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from llmsynthor.errors import JobError
from llmsynthor.job.variables import JobModel

Encoding = Literal[
    "utf-8", "utf-16", "latin-1", "windows-1250", "windows-1251", "windows-1252", "iso-8859-2",
    "iso-8859-15", "cp437", "cp850", "mac-roman", "shift-jis", "gb18030", "big5", "euc-kr",
]  # fmt: skip
Separator = Literal[",", ";", "\t", "|"]
Decimal = Literal[".", ","]
_WRITTEN = {"\t": '"\\t"', ";": '";"', ",": '","', "|": '"|"'}
"""Each separator as a YAML text."""
_NOT_FOR = {
    ".xlsx": ("separator", "encoding", "comment"),
    ".parquet": ("separator", "encoding", "comment", "skip_rows", "footer_rows"),
}
"""Keys that say nothing of files of a kind."""


@dataclass(frozen=True)
class Form:
    """How a file is written, and where a user says so.

    Attributes:
        encoding: None is UTF-8, or as the file's mark says.
        separator: What stands between columns; None is what the header tells.
        decimal: What stands before decimals.
        sheet: Sheet of a workbook; None is the only one.
        said_in: The part of a job that says it; None where options of a command do.
        keys: What can be said there.
    """

    encoding: str | None = None
    separator: str | None = None
    decimal: str = "."
    sheet: str | None = None
    said_in: str | None = None
    keys: frozenset[str] = frozenset()

    def key(self, name: str, value: object = None) -> str:
        """Return a key, or option, as a user writes it.

        Example:
            >>> Form(said_in="`zones`").key("separator", ";"), Form().key("separator", ";")
            ('`separator: ";"`', "`--separator ';'`")
        """
        if self.said_in is None:
            written = "" if value is None else f" {shlex.quote(str(value))}"
            return f"`--{name}{written}`"
        return f"`{name}`" if value is None else f"`{name}: {_WRITTEN.get(str(value), value)}`"

    def way_out(self, words: str, name: str, value: object, otherwise: str) -> str:
        """Return a hint that names a key, or what to do where there is no such key.

        Args:
            words: The hint; `{place}` is where the job says it, `{key}` the key with its value.
            name: The key.
            value: Its value.
            otherwise: The hint where the key is not there.
        """
        if name not in self.keys:
            return otherwise
        place = "" if self.said_in is None else f" in {self.said_in}"
        return words.format(place=place, key=self.key(name, value))


def form_of_options(encoding: str | None, separator: str | None, decimal: str) -> Form:
    """Return the form of a file that a command is given, from the command's options.

    Raises:
        JobError: An option is none of its choices.
    """
    separator = "\t" if separator in ("\\t", "tab") else separator
    for name, value, known in (
        ("encoding", encoding, get_args(Encoding)),
        ("separator", separator, get_args(Separator)),
        ("decimal", decimal, get_args(Decimal)),
    ):
        if value is not None and value not in known:
            choices = (
                ", ".join(known) if name == "encoding" else " ".join(known).replace("\t", "tab")
            )
            raise JobError(f"--{name} {value}: the choices are {choices}")
    keys = frozenset({"encoding", "separator", "decimal"})
    return Form(encoding, separator, decimal, keys=keys)


def check_text_keys(model: JobModel, file: str) -> None:
    """Refuse keys about text for a file that is none.

    Raises:
        ValueError: Names the key.
    """
    kind = PurePath(file).suffix.lower()
    for key in _NOT_FOR.get(kind, ()):
        if getattr(model, key, None) not in (None, 0):
            files = "CSV" if key == "separator" else "text"
            raise ValueError(f"`{key}` is for {files} files; a {kind[1:]} file has none")
    if getattr(model, "sheet", None) is not None and kind != ".xlsx":
        raise ValueError("`sheet` is for .xlsx files")


class TextForm(JobModel):
    """A file, and how it is written."""

    SAID_IN: ClassVar[str] = "the table's entry"

    file: str = Field(
        min_length=1,
        description="CSV, TSV, parquet or XLSX file, relative to the job file.",
        examples=["tables/age.csv"],
    )
    separator: Separator | None = Field(
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
    decimal: Decimal = Field(".", description="What stands before decimals.")

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> Self:
        check_text_keys(self, self.file)
        return self

    @property
    def separated_by(self) -> str | None:
        """Return what stands between the columns of a text file; None is what the header tells."""
        return self.separator

    @property
    def form(self) -> Form:
        """Return how the file is written."""
        keys = frozenset(type(self).model_fields)
        return Form(self.encoding, self.separated_by, self.decimal, self.sheet, self.SAID_IN, keys)


class _Content(JobModel):
    """What of a file is meant; a class of its own, so that its keys come before those of the form."""

    file: str
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
    percent: bool = Field(
        False, description="The shares are percentages, with or without the sign."
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


class FileSpec(TextForm, _Content):
    """A file as it was published, and how to read it."""

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
