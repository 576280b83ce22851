"""Are real records the very ones that a run was made from? Then what its tables say is no test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.results.evaluation.real import Microdata
    from llmsynthor.results.evaluation.records import Records
    from llmsynthor.targets.table import Table

_SAME = 1e-6
"""Records, or share of a table; weights are added up in another order than when it was made."""


def already_given(
    microdata: Microdata, tables: Sequence[Table], inputs: Mapping[str, str]
) -> str | None:
    """Return in words that a run was made from these records, or None.

    Args:
        microdata: The real records.
        tables: The run's control tables.
        inputs: Name -> sha256 of the files that the run read.
    """
    if microdata.sha256 in inputs.values():
        return (
            "this file is the run's seed sample: records are copies of these, and nothing here tests "
            "what it makes of others"
        )
    records = microdata.records
    own = [t for t in tables if t.members is None and set(t.scope) <= set(records.names)]
    if not own or not all(_counted_from(table, records) for table in own):
        return None
    which = "the control table is" if len(own) == 1 else f"all {len(own)} control tables are"
    return (
        f"{which} counted from these very records: what is in a control table is met because it was "
        "given; only what is in none of them tests the run"
    )


def _counted_from(table: Table, records: Records) -> bool:
    """Return whether a table's figures are the counts, or the shares, of the records."""
    held = records.counts(table.scope).cells
    for axis, (group, labels) in enumerate(zip(table.groups, table.labels, strict=True)):
        summed = np.zeros((len(labels), *np.moveaxis(held, axis, 0).shape[1:]))
        np.add.at(summed, group, np.moveaxis(held, axis, 0))
        held = np.moveaxis(summed, 0, axis)
    total = float(held.sum())
    if not total > 0:
        return False
    if table.measure == "count":
        return bool(np.abs(held - table.figures).max() <= table.rounding + _SAME * total)
    room = table.rounding / table.total + _SAME
    return bool(np.abs(held / total - table.share).max() <= room)
