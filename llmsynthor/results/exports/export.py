"""`llmsynthor export`: a run's records in the format that the next program reads."""

from __future__ import annotations

import pkgutil
from typing import TYPE_CHECKING

from llmsynthor.results.exports.files import ExportError
from llmsynthor.results.exports.formats import EXPORTS
from llmsynthor.text import clean, did_you_mean

if TYPE_CHECKING:
    from llmsynthor.results.exports.asked import Exported, ExportOptions
    from llmsynthor.store.directory import RunDirectory


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
