"""The library: all accepted proposals, and what they say together before any calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.boxes import BoxError, read_box
from llmsynthor.discrepancy import tvd
from llmsynthor.plan import Proposal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmsynthor.plan import Rejection
    from llmsynthor.tables import Table, TableSet


def library_share(library: Sequence[Proposal], table: Table, tables: TableSet) -> np.ndarray:
    """Return the library's share of each cell of `table`, in the table's shape.

    A proposal's variables are independent, so this needs no draws.
    """
    mass = np.array([proposal.count for proposal in library], dtype=float)
    operands: list[Any] = [mass / mass.sum(), [0]]
    for axis, (name, group) in enumerate(zip(table.scope, table.groups, strict=True), start=1):
        column = tables.domain.positions[name]
        fine = np.stack([proposal.boxes[column].share for proposal in library])
        coarse = np.zeros((len(library), table.share.shape[axis - 1]))
        np.add.at(coarse.T, group, fine.T)
        operands += [coarse, [0, axis]]
    kept = list(range(1, len(table.scope) + 1))
    return np.asarray(np.einsum(*operands, kept, optimize="greedy"))


def library_tvd(library: Sequence[Proposal], tables: TableSet) -> float:
    """Return the mean TVD of the library to the control tables; 1 where it is empty."""
    if not library:
        return 1.0
    return float(np.mean([tvd(t.share, library_share(library, t, tables)) for t in tables.control]))


def proposal_line(proposal: Proposal, records: int) -> dict[str, Any]:
    """Return an accepted proposal's line of `proposals.jsonl`."""
    return {
        "id": proposal.id,
        "iteration": proposal.iteration,
        "reason": proposal.reason,
        "count": proposal.count,
        "values": proposal.values,
        "accepted": True,
        "problem": None,
        "records": records,
    }


def rejection_line(rejection: Rejection) -> dict[str, Any]:
    """Return a refused proposal's line of `proposals.jsonl`."""
    raw = rejection.raw
    return {
        "id": rejection.id,
        "iteration": rejection.iteration,
        "reason": rejection.reason,
        "count": raw.get("count") if isinstance(raw, dict) else None,
        "values": raw.get("values") if isinstance(raw, dict) else raw,
        "accepted": False,
        "problem": rejection.problem,
        "records": 0,
    }


def read_library(lines: Iterable[Mapping[str, Any]], tables: TableSet) -> list[Proposal]:
    """Return the accepted proposals of `proposals.jsonl`; a line that no longer fits is left out."""
    marginals = {name: tables.marginal(name) for name in tables.domain.names}
    library = []
    for line in lines:
        if not line["accepted"]:
            continue
        try:
            boxes = tuple(
                read_box(v, line["values"][v.name], marginals[v.name])[0]
                for v in tables.domain.variables
            )
        except (BoxError, KeyError):
            continue
        library.append(
            Proposal(
                line["id"], line["iteration"], line["reason"], line["count"], boxes, line["values"]
            )
        )
    return library
