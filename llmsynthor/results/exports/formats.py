"""The formats of exports: one entry each, read by the command line without importing what writes them."""

from __future__ import annotations

from dataclasses import dataclass

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
        "llmsynthor.results.exports.activitysim:ACTIVITYSIM.export", _OF_HOUSEHOLDS
    ),
    "populationsim": Format(
        "llmsynthor.results.exports.populationsim:POPULATIONSIM.export", _OF_HOUSEHOLDS
    ),
    "matsim": Format("llmsynthor.results.exports.matsim:matsim_file", (*_OF_RECORDS, "--gzip")),
    "dictionary": Format("llmsynthor.results.exports.printed:dictionary_file", ()),
}
"""Name after `--format` -> the format."""


def formats_with(option: str) -> str:
    """Return for `--help` the formats for which an option means something."""
    return ", ".join(name for name, known in EXPORTS.items() if option in known.options)
