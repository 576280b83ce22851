"""How a record and its members stand to what their proposal says, and to the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.candidates.boxes import BoxError, read_box, takes_in
from llmsynthor.candidates.layouts import weighed
from llmsynthor.candidates.library import read_library

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.targets.domain import Variable
    from llmsynthor.targets.levels import Members


def _code(variable: Variable, value: Any) -> int:  # noqa: ANN401 - a record's value
    """Return the category or bin of a record's value."""
    if variable.is_numeric:
        return int(variable.encode_values(np.array([value]))[0])
    return variable.codes[value]


def table_shares(
    sampler: Sampler, variables: Sequence[Variable], record: Mapping[str, Any]
) -> dict[str, float | None]:
    """Return for each variable the share that the tables give the record's category or bin.

    Shares of a member's variable are of members. It is None where no table of their level has it.
    """
    return {
        v.name: float(sampler.marginals[v.name][_code(v, record[v.name])])
        if sampler.tables.has_marginal(v.name)
        else None
        for v in variables
    }


def shares(
    sampler: Sampler,
    variables: Sequence[Variable],
    said: Mapping[str, Any],
    record: Mapping[str, Any],
) -> dict[str, float | None]:
    """Return for each variable the share that the proposal gives the record's category or bin."""
    found: dict[str, float | None] = {}
    for variable in variables:
        name = variable.name
        try:
            box, _ = read_box(variable, said[name], sampler.marginals[name])
            found[name] = float(box.share[_code(variable, record[name])])
        except (BoxError, KeyError):
            found[name] = None
    return found


def inside(
    sampler: Sampler,
    variables: Sequence[Variable],
    said: Mapping[str, Any],
    record: Mapping[str, Any],
) -> dict[str, bool | None]:
    """Return for each variable whether the record's value is in the proposal; None if unreadable."""
    found: dict[str, bool | None] = {}
    for variable in variables:
        name = variable.name
        try:
            found[name] = takes_in(variable, said[name], record[name], sampler.marginals[name])
        except (BoxError, KeyError):
            found[name] = None
    return found


def members_beside(
    sampler: Sampler, members: Members, own: pl.DataFrame, line: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Return the members of one record, each beside the entry of the proposal that made it.

    Args:
        sampler: The run's.
        members: What the members are.
        own: The record's members, in order of their numbers.
        line: The proposal's line of `proposals.jsonl`; None for a record of the background.
    """
    variables = members.own.variables
    rows = own.to_dicts()
    made = _entries(sampler, members, rows, line)
    found = []
    for row, entry in zip(rows, made, strict=True):
        values = {v.name: row[v.name] for v in variables}
        said = {} if line is None or entry is None else line["members"][entry]["values"]
        found.append(
            {
                "number": int(row[members.ordinal]),
                "values": values,
                "table_share": table_shares(sampler, variables, values),
                "entry": entry,
                "said": said or None,
                "inside": inside(sampler, variables, said, values) if said else None,
                "share": shares(sampler, variables, said, values) if said else None,
            }
        )
    return found


def _entries(
    sampler: Sampler,
    members: Members,
    rows: Sequence[Mapping[str, Any]],
    line: Mapping[str, Any] | None,
) -> list[int | None]:
    """Return which entry of a proposal's `members` made each member; None where none can have.

    Entries fill the slots in their order. Where their repeats can add up to the record's size in
    several ways, it is the way in which most values are among those named.
    """
    library = [] if line is None else read_library([line], sampler.tables)
    if not library or not library[0].members:
        return [None] * len(rows)
    proposal = library[0]
    fits = [
        [
            sum(v is True for v in inside(sampler, members.own.variables, b.values, row).values())
            for row in rows
        ]
        for b in proposal.members
    ]
    ways = [
        [entry for entry, n in enumerate(repeats) for _ in range(n)]
        for _, repeats in weighed(proposal.boxes, proposal.members, members)
        if sum(repeats) == len(rows)
    ]
    if not ways:  # whole counts took a record of another size
        return [None] * len(rows)
    best = max(ways, key=lambda way: sum(fits[entry][i] for i, entry in enumerate(way)))
    return list(best)
