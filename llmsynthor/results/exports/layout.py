"""The columns of exports: those a layout fixes, and which variable goes into which (`--map`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import polars as pl
from pydantic import BeforeValidator, Field

from llmsynthor.job.load import load_yaml
from llmsynthor.job.variables import JobModel
from llmsynthor.results.exports.files import ExportError
from llmsynthor.results.exports.records import ITERATION, KEY, NUMBER, ORDINAL, PROPOSAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from llmsynthor.results.exports.records import Records
    from llmsynthor.targets.domain import Members


ONE = "one"
"""Stands in place of a source for a column that is 1 in every row."""
Made = Literal["number", "one", "key", "ordinal"]
SOURCES: dict[Made, str] = {"number": NUMBER, "one": ONE, "key": KEY, "ordinal": ORDINAL}
Linked = Literal["key", "ordinal", "size"]
Kind = Literal["text", "integer", "number", "boolean"]
_TYPES: dict[Kind, type[pl.DataType]] = {
    "text": pl.String,
    "integer": pl.Int64,
    "number": pl.Float64,
    "boolean": pl.Boolean,
}
Code = str | int | float | bool


@dataclass(frozen=True)
class Fixed:
    """A column that a layout fixes.

    Attributes:
        name: Its heading.
        meaning: For people, with unit.
        holds: What its values must be.
        least: Smallest value that makes sense, or None.
        codes: Code -> meaning, where only these are understood; they say what the column means.
        required: Whether readers of the layout cannot do without it.
        made: What the export makes it from, in place of a variable: the record's number from 1
            (`number`), or 1 (`one`).
        alone: The same, where every person is a household of one.
        linked: The same, where the run's records have members: the number of a person's household
            from 1 (`key`), of the person within it (`ordinal`), or the variable that says how many
            members there are (`size`), if a map names no other.
        shared: Whether a person has it from the household.
    """

    name: str
    meaning: str
    holds: Literal["anything", "numbers", "whole numbers"] = "whole numbers"
    least: int | None = None
    codes: Mapping[int, str] = field(default_factory=dict)
    required: bool = True
    made: Made | None = None
    alone: Made | None = None
    linked: Linked | None = None
    shared: bool = False

    @property
    def words(self) -> str:
        """Return name and meaning, with codes, on one line."""
        codes = [f"{code} {meaning}" for code, meaning in self.codes.items()]
        return f"{self.name} ({', '.join(codes) or self.meaning})"

    @property
    def wanted(self) -> str:
        """Return in words what it takes."""
        if self.codes:
            return "these codes"
        return self.holds if self.least is None else f"{self.holds} from {self.least}"

    def takes(self, value: Code) -> bool:
        """Return whether it may hold a value."""
        if self.holds == "anything":
            return True
        if isinstance(value, (str, bool)) or (self.holds != "numbers" and isinstance(value, float)):
            return False
        return value in self.codes if self.codes else self.least is None or value >= self.least


@dataclass(frozen=True)
class Filled:
    """A column of an export, and what fills it.

    Attributes:
        name: Its heading.
        source: Column of a batch of records, or `ONE`.
        kind: What its values are.
        values: Label -> value, or None for the source's own values.
        labels: What the source can hold, where it is text.
        most: Largest whole number that it can hold, in size.
        counted_from: Number of the first record, where the source is a number of records.
    """

    name: str
    source: str
    kind: Kind
    values: dict[str, Code] | None = None
    labels: tuple[str, ...] = ()
    most: int = 0
    counted_from: int = 1

    def expression(self) -> pl.Expr:
        """Return the column, as made from a batch of records."""
        if self.source == ONE:
            return pl.lit(1, dtype=pl.Int64).alias(self.name)
        if self.source in (NUMBER, KEY) and self.counted_from:
            return (pl.col(self.source) + self.counted_from).alias(self.name)
        column = pl.col(self.source)
        if self.values is not None:
            column = column.cast(pl.String).replace_strict(
                list(self.values), list(self.values.values()), return_dtype=_TYPES[self.kind]
            )
        return column.alias(self.name)


def key_columns(members: Members, *, own: bool) -> list[Filled]:
    """Return the columns that link records and members, as the run's files have them.

    In the members' `own` table these are numbered within their record.
    """
    key = Filled(members.key, KEY, "integer", counted_from=0)
    return [key, Filled(members.ordinal, ORDINAL, "integer")] if own else [key]


def provenance_columns(records: Records) -> list[Filled]:
    """Return the columns that say where a record came from, where they are asked for."""
    names = (ITERATION, PROPOSAL) if records.provenance else ()
    return [Filled(name, name, "integer") for name in names]


class MappedColumn(JobModel):
    """The variable that fills a column."""

    variable: str = Field(description="Name of a variable of the job.")
    values: dict[str, Code] | None = Field(
        None, min_length=1, description="Category or whole number -> what the column shall hold."
    )


def _column(given: Any) -> Any:  # noqa: ANN401 - whatever the file has
    """Return a plain name as the variable of that name with its own values."""
    return {"variable": given} if isinstance(given, str) else given


class MapFile(JobModel):
    """A map file: the columns of a layout and what fills them."""

    columns: dict[
        str,
        Annotated[
            MappedColumn,
            BeforeValidator(_column, json_schema_input_type=str | MappedColumn),
        ],
    ] = Field(min_length=1, description="Column -> variable, or `{variable, values}`.")


@dataclass(frozen=True)
class Mapped:
    """One entry of a map.

    Attributes:
        variable: Whose values the column holds.
        values: Label -> what to write, or None for the variable's own values.
        place: Where this was said, for messages.
    """

    variable: str
    values: dict[str, Code] | None
    place: str


def read_map(path: Path | None, options: Sequence[str]) -> dict[str, Mapped]:
    """Return for each column that is mapped what fills it.

    Raises:
        ExportError: An option is not of that form, or a column is given twice.
        JobError: The file is wrong; with every problem and its line.
    """
    found: dict[str, Mapped] = {}
    if path is not None:
        content, place_of = load_yaml(path, MapFile, "docs/exports.md has the keys")
        for column, entry in content.columns.items():
            found[column] = Mapped(entry.variable, entry.values, place_of(["columns", column]))
    for option in options:
        variable, separator, column = option.rpartition("=")
        if not separator or not variable or not column:
            raise ExportError(f"--map {option}: write it as `VARIABLE=COLUMN`")
        if column in found:
            raise ExportError(
                f"--map {option}: the column `{column}` has `{found[column].variable}` already "
                f"({found[column].place})"
            )
        found[column] = Mapped(variable, None, f"--map {option}")
    return found
