"""Which variable goes into which column, and under which values: `--map` and the map file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from llmsynthor.job.load import load_yaml
from llmsynthor.job.variables import JobModel
from llmsynthor.results.exports.files import ExportError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from llmsynthor.targets.levels import Members

Code = str | int | float | bool


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

    Args:
        path: The map file, or None.
        options: `VARIABLE=COLUMN` texts.

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


def by_level(
    mapped: Mapping[str, Mapped], members: Members
) -> tuple[dict[str, Mapped], dict[str, Mapped]]:
    """Return the entries for variables of records, and all others: those of members, or of nobody."""
    own = {column: e for column, e in mapped.items() if e.variable in members.record.positions}
    return own, {column: e for column, e in mapped.items() if column not in own}
