"""MATSim's population file (format of `population_v6.dtd`): persons with attributes, without plans.

Each `person` has one `attributes` element with an `attribute name class` for every variable, and no
`plan`: activities and legs would have to be invented.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO
from xml.sax.saxutils import escape

import polars as pl

from llmsynthor.results.exports.asked import opened
from llmsynthor.results.exports.filling import Filling
from llmsynthor.results.exports.layout import key_columns, provenance_columns
from llmsynthor.results.exports.plain import csv_text
from llmsynthor.results.exports.records import NUMBER, pieces_made_aside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmsynthor.results.exports.asked import Exported, ExportOptions
    from llmsynthor.results.exports.layout import Filled, Mapped
    from llmsynthor.results.exports.records import Records
    from llmsynthor.store.directory import RunDirectory

DOCTYPE = '<!DOCTYPE population SYSTEM "http://www.matsim.org/files/dtd/population_v6.dtd">'
_CLASSES = {
    "text": "java.lang.String",
    "integer": "java.lang.Integer",
    "number": "java.lang.Double",
    "boolean": "java.lang.Boolean",
}
_ROWS = 20_000
"""Persons that are made into text at once; each takes some hundred bytes for each attribute."""
_LARGEST_INTEGER = 2**31 - 1
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, escaped or not."""
_SPACES = {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
"""Else a reader would turn them into spaces (attributes) or other line ends (text)."""


def matsim_file(run: RunDirectory, options: ExportOptions) -> Exported:
    """Write a run's persons: its records, or their members."""
    path = options.file("population.xml", ".xml.gz")
    asked = opened(run, options)
    records = asked.records
    if records.members is not None:
        records = records.of_members(records.members)
    columns = matsim_columns(records, asked.mapped)
    return asked.written({path: (records, columns)}, write_matsim)


def matsim_columns(records: Records, mapped: Mapping[str, Mapped]) -> list[Filled]:
    """Return an attribute for every variable, under its own name or the one that it is mapped to.

    Members have their record's key and variables too.

    Raises:
        ExportError: Two attributes would have one name, or a label cannot be written as XML.
    """
    filling = Filling(records.variables, mapped)
    own = records.owners is not None and records.members is not None
    first = key_columns(records.members, own=True) if own and records.members else []
    columns = filling.completed(first, provenance_columns(records))
    for column in columns:
        wrong = [label for label in (column.name, *column.labels) if _UNWRITABLE.search(label)]
        filling.problems += [
            f"{column.name!r}: XML cannot hold the character "
            f"U+{ord(_UNWRITABLE.findall(label)[0]):04X} of {label!r}; give it another name or value"
            for label in wrong
        ]
    filling.checked("MATSim")
    return columns


def write_matsim(records: Records, columns: Sequence[Filled], file: BinaryIO) -> None:
    """Write the persons, batch by batch; the id of each is its number from 1."""
    head = f'<?xml version="1.0" encoding="utf-8"?>\n{DOCTYPE}\n'
    file.write(f'{head}<population desc="{_escaped(records.name)}">\n'.encode())
    file.writelines(pieces_made_aside(_people(records, _person(columns))))
    file.write(b"</population>\n")


def _people(records: Records, person: pl.Expr) -> Iterator[bytes]:
    for batch in records.batches():
        for rows in batch.iter_slices(_ROWS):
            yield csv_text(rows.select(person), include_header=False, quote_style="never")


def _person(columns: Sequence[Filled]) -> pl.Expr:
    """Return an expression that makes each record one line of XML."""
    parts = [pl.lit('<person id="'), (pl.col(NUMBER) + 1).cast(pl.String), pl.lit('"><attributes>')]
    for column in columns:
        opening = f'<attribute name="{_escaped(column.name)}" class="{_class(column)}">'
        value = column.expression().cast(pl.String)
        if column.kind == "text":
            labels = list(dict.fromkeys(column.labels))
            value = value.replace_strict(
                labels, [_escaped(label) for label in labels], return_dtype=pl.String
            )
        # where there is no value (a record of the background has no proposal) there is no attribute
        whole = pl.concat_str([pl.lit(opening), value, pl.lit("</attribute>")])
        parts.append(whole.fill_null(""))
    return pl.concat_str([*parts, pl.lit("</attributes></person>")]).alias("person")


def _class(column: Filled) -> str:
    if column.kind == "integer" and column.most > _LARGEST_INTEGER:
        return "java.lang.Long"
    return _CLASSES[column.kind]


def _escaped(text: str) -> str:
    return escape(text, {'"': "&quot;", **_SPACES})
