"""The offices whose own forms of tables are read: one entry an office, all else follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError


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
