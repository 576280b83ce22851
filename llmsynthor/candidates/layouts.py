"""Layouts: a proposal of records with members, once for each way in which its members can be counted.

A block of a proposal may repeat: "one to three children". A layout fixes how often, and so the
number of members and which slot each block fills. It is a proposal over wide records.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.candidates.boxes import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.proposals import MemberBlock, Proposal
    from llmsynthor.targets.domain import Members

LAYOUTS = 64
"""Most layouts of one proposal; the least likely beyond are left out, and their share goes to the
others."""


@lru_cache(maxsize=4096)
def layouts(proposal: Proposal, members: Members | None) -> tuple[Proposal, ...]:
    """Return a proposal over wide records for each layout, the likeliest first.

    The ids are `LAYOUTS` times the proposal's, and up; the counts are shares of the proposal's.
    Without members it is the proposal itself, with its own id.
    """
    if members is None:
        return (proposal,)
    found = weighed(proposal.boxes, proposal.members, members)
    whole = sum(weight for weight, _ in found)
    return tuple(
        replace(
            proposal,
            id=proposal.id * LAYOUTS + number,
            count=proposal.count * weight / whole,
            boxes=_wide(proposal, repeats, members),
            members=(),
        )
        for number, (weight, repeats) in enumerate(found)
    )


def weighed(
    boxes: Sequence[Box], blocks: Sequence[MemberBlock], members: Members
) -> list[tuple[float, tuple[int, ...]]]:
    """Return how likely combinations of repeats are, the likeliest first, at most `LAYOUTS`.

    A size's share of the proposal is split evenly over the combinations that give it. Of more than
    `LAYOUTS` equally likely ones, those are taken that lie evenly among all.
    """
    share = boxes[members.record.positions[members.size]].share
    ways = _ways(blocks, members.most)
    found = []
    for size, weight in zip(members.number.tolist(), share.tolist(), strict=True):
        many = ways[0][size]
        if not weight > 0 or not many:
            continue
        taken = min(many, LAYOUTS)
        ranks = [number * many // taken for number in range(taken)]
        found += [(weight / many, _ranked(rank, size, blocks, ways)) for rank in ranks]
    return sorted(found, key=lambda item: (-item[0], item[1]))[:LAYOUTS]


def _ways(blocks: Sequence[MemberBlock], most: int) -> list[list[int]]:
    """Return in how many ways the blocks from each on add up to each number of members."""
    ways = [[0] * (most + 1) for _ in range(len(blocks) + 1)]
    ways[-1][0] = 1
    for k in range(len(blocks) - 1, -1, -1):
        for n in range(most + 1):
            repeats = range(blocks[k].low, min(blocks[k].high, n) + 1)
            ways[k][n] = sum(ways[k + 1][n - r] for r in repeats)
    return ways


def _ranked(
    rank: int, size: int, blocks: Sequence[MemberBlock], ways: Sequence[Sequence[int]]
) -> tuple[int, ...]:
    """Return the combination of this rank among those that add up to `size`."""
    repeats = []
    for k, block in enumerate(blocks):
        for repeat in range(block.low, min(block.high, size) + 1):
            here = ways[k + 1][size - repeat]
            if rank < here:
                break
            rank -= here
        repeats.append(repeat)
        size -= repeat
    return tuple(repeats)


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
