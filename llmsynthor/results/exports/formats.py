"""`llmsynthor export`: formats, one entry each, read by the command line without what writes them."""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmsynthor.results.exports.files import ExportError
from llmsynthor.text import clean, did_you_mean

if TYPE_CHECKING:
    from llmsynthor.results.exports.asked import Exported, ExportOptions
    from llmsynthor.store.directory import RunDirectory

_OF_RECORDS = ("--map", "--map-file", "--provenance", "--partial")
_OF_HOUSEHOLDS = (*_OF_RECORDS, "--records", "--one-person-households")


@dataclass(frozen=True)
class Format:
    """A format of exports.

    Attributes:
        writer: Who writes a run so, as `module:name`: takes the run's directory and
            `asked.ExportOptions`, returns `asked.Exported`.
        options: What of the command means something for it, beside `--out` and `--overwrite`.
    """

    writer: str
    options: tuple[str, ...] = _OF_RECORDS


EXPORTS = {
    "csv": Format("llmsynthor.results.exports.plain:csv_files", (*_OF_RECORDS, "--gzip")),
    "parquet": Format("llmsynthor.results.exports.plain:parquet_files"),
    "activitysim": Format(
        "llmsynthor.results.exports.population:ACTIVITYSIM.export", _OF_HOUSEHOLDS
    ),
    "populationsim": Format(
        "llmsynthor.results.exports.population:POPULATIONSIM.export", _OF_HOUSEHOLDS
    ),
    "matsim": Format("llmsynthor.results.exports.matsim:matsim_file", (*_OF_RECORDS, "--gzip")),
    "dictionary": Format("llmsynthor.results.exports.printed:dictionary_file", ()),
}
"""Name after `--format` -> the format."""


def formats_with(option: str) -> str:
    """Return for `--help` the formats for which an option means something."""
    return ", ".join(name for name, known in EXPORTS.items() if option in known.options)


def export(run: RunDirectory, options: ExportOptions) -> Exported:
    """Write a run's records for another program; nothing in the run changes.

    Raises:
        ExportError: It cannot be made as asked for; nothing was written.
        RunDirectoryError: The run has no records, or not all of them.
        DiskError: The disk refused a write; nothing was written.
    """
    known = EXPORTS.get(options.format)
    if known is None:
        advice = did_you_mean(options.format, EXPORTS)
        raise ExportError(
            f"`{clean(options.format)}` is no format of exports{advice} "
            f"(formats: {', '.join(EXPORTS)})"
        )
    given = {
        "--records": options.records is not None,
        "--one-person-households": options.alone,
        "--gzip": options.zipped,
        "--map": bool(options.maps),
        "--map-file": options.map_file is not None,
        "--provenance": options.provenance,
        "--partial": options.partial,
    }
    for name, is_given in given.items():
        if is_given and name not in known.options:
            raise ExportError(f"`{name}` means nothing for `--format {options.format}`")
    exported: Exported = pkgutil.resolve_name(known.writer)(run, options)
    return exported
