"""Layouts: a proposal of records with members, once for each way in which its members can be counted.

A block of a proposal may repeat: "one to three children". A layout fixes how often, and so the
number of members and which slot each block fills. It is a proposal over wide records.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.boxes import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.members import Members
    from llmsynthor.plan import MemberBlock, Proposal

LAYOUTS = 64
"""Most layouts of one proposal; the least likely beyond are left out."""
_MOST_TRIED = 100_000


def layouts(proposal: Proposal, members: Members) -> list[Proposal]:
    """Return a proposal over wide records for each layout, the likeliest first.

    The ids are `LAYOUTS` times the proposal's, and up; the counts are shares of the proposal's.
    """
    found = weighed(proposal.boxes, proposal.members, members)[:LAYOUTS]
    whole = sum(weight for weight, _ in found)
    return [
        replace(
            proposal,
            id=proposal.id * LAYOUTS + number,
            count=proposal.count * weight / whole,
            boxes=_wide(proposal, repeats, members),
            members=(),
        )
        for number, (weight, repeats) in enumerate(found)
    ]


def weighed(
    boxes: Sequence[Box], blocks: Sequence[MemberBlock], members: Members
) -> list[tuple[float, tuple[int, ...]]]:
    """Return how likely each possible combination of repeats is, the likeliest first.

    A size's share of the proposal is split evenly over the combinations that give it.
    """
    share = boxes[members.record.positions[members.size]].share
    by_size = {int(n): float(s) for n, s in zip(members.number, share, strict=True) if s > 0}
    ways: dict[int, list[tuple[int, ...]]] = {}
    for tried, repeats in enumerate(product(*(range(b.low, b.high + 1) for b in blocks))):
        if tried >= _MOST_TRIED:
            break
        if sum(repeats) in by_size:
            ways.setdefault(sum(repeats), []).append(repeats)
    found = [
        (by_size[size] / len(combinations), repeats)
        for size, combinations in ways.items()
        for repeats in combinations
    ]
    return sorted(found, key=lambda item: (-item[0], item[1]))


def proposal_of(source: np.ndarray, members: Members | None) -> np.ndarray:
    """Return the proposal of each layout; what is below 0 is no proposal and stays as it is."""
    if members is None:
        return source
    return np.where(source < 0, source, source // LAYOUTS).astype(source.dtype)


def _wide(proposal: Proposal, repeats: Sequence[int], members: Members) -> tuple[Box, ...]:
    boxes = list(proposal.boxes)
    size = members.record.positions[members.size]
    boxes[size] = Box((members.number == sum(repeats)).astype(float))
    blocks = [b for b, n in zip(proposal.members, repeats, strict=True) for _ in range(n)]
    nobody = tuple(Box(np.eye(1, v.size)[0]) for v in members.own.variables)
    for slot in range(members.most):
        boxes += blocks[slot].boxes if slot < len(blocks) else nobody
    return tuple(boxes)
