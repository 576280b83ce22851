"""The library: all accepted proposals, and what they say together before any calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.candidates.boxes import BoxError, read_box
from llmsynthor.candidates.layouts import layouts
from llmsynthor.candidates.proposals import AcceptedLine, MemberBlock, Proposal, ProposalLine
from llmsynthor.targets.domain import Domain
from llmsynthor.targets.measures import tvd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmsynthor.candidates.boxes import Box
    from llmsynthor.targets.table import Table, TableSet


def library_share(library: Sequence[Proposal], table: Table, tables: TableSet) -> np.ndarray:
    """Return the library's share of each cell of `table`, in the table's shape.

    A proposal's variables are independent, so this needs no draws.
    """
    members = tables.members
    if members is None:
        return _held(library, table, tables.domain, table.scope)
    every = [layout for proposal in library for layout in layouts(proposal, members)]
    if table.members is None:
        return _held(every, table, members.wide, table.scope)
    size = members.record.positions[members.size]
    total = np.zeros(table.share.shape)
    for slot in range(members.most):
        there = [p for p in every if p.boxes[size].share @ members.number > slot]
        if there:
            names = [members.column(name, slot) for name in table.scope]
            count = sum(layout.count for layout in there)
            total += count * _held(there, table, members.wide, names)
    return total / max(float(total.sum()), 1e-300)


def _held(
    library: Sequence[Proposal], table: Table, domain: Domain, names: Sequence[str]
) -> np.ndarray:
    """Return the share of the library in each cell; `names` stand for the table's scope."""
    mass = np.array([proposal.count for proposal in library], dtype=float)
    operands: list[Any] = [mass / mass.sum(), [0]]
    for axis, (name, group) in enumerate(zip(names, table.groups, strict=True), start=1):
        column = domain.positions[name]
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


def said(proposal: Proposal) -> dict[str, Any]:
    """Return what a proposal says of a record and its members, as it stands in a reply."""
    if not proposal.members:
        return {"values": proposal.values}
    return {"values": proposal.values, "members": [block.line() for block in proposal.members]}


def proposal_line(proposal: Proposal, records: int = 0) -> AcceptedLine:
    """Return an accepted proposal's line of `proposals.jsonl`."""
    return AcceptedLine(
        id=proposal.id,
        iteration=proposal.iteration,
        reason=proposal.reason,
        count=int(proposal.count),
        **said(proposal),
        accepted=True,
        problem=None,
        records=records,
    )


def read_library(lines: Iterable[ProposalLine], tables: TableSet) -> list[Proposal]:
    """Return the accepted proposals of `proposals.jsonl`; a line that no longer fits is left out."""
    marginals = {name: tables.marginal(name) for name in tables.domain.names}
    library = []
    own = Domain(()) if tables.members is None else tables.members.own

    def boxes(domain: Domain, values: Mapping[str, Any]) -> tuple[Box, ...]:
        return tuple(read_box(v, values[v.name], marginals[v.name])[0] for v in domain.variables)

    def block(member: Mapping[str, Any]) -> MemberBlock:
        repeat, values = member["repeat"], member["values"]
        low, high = repeat if isinstance(repeat, list) else (repeat, repeat)
        return MemberBlock(low, high, boxes(own, values), values)

    for line in lines:
        if not isinstance(line, AcceptedLine):
            continue
        try:
            blocks = tuple(block(member) for member in line.members)
            proposal = Proposal(
                line.id,
                line.iteration,
                line.reason,
                line.count,
                boxes(tables.of_records.domain, line.values),
                line.values,
                blocks,
            )
        except (BoxError, KeyError, TypeError, ValueError):
            continue
        library.append(proposal)
    return library
