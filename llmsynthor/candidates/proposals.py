"""Proposals and plans: what a reply holds, parsed with repair and checked, and the lines kept of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from llmsynthor.candidates.boxes import Box, BoxError, read_box
from llmsynthor.candidates.layouts import weighed
from llmsynthor.text import one

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from llmsynthor.targets.domain import Domain, Members

_REASON_LENGTH = 400
_MOST = 1000
_MOST_PROPOSALS = 200
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)


@dataclass(frozen=True, eq=False)
class MemberBlock:
    """One or more members alike, as a proposal has them.

    Attributes:
        low: Least number of such members.
        high: Largest number.
        boxes: Per variable of the members, what the proposal allows.
        values: As the model wrote them.
    """

    low: int
    high: int
    boxes: tuple[Box, ...]
    values: Mapping[str, Any]

    def line(self) -> dict[str, Any]:
        """Return the block as it stands in a reply."""
        repeat = self.low if self.low == self.high else [self.low, self.high]
        return {"repeat": repeat, "values": self.values}


@dataclass(frozen=True, eq=False)
class Proposal:
    """A kind of record that a model says exists.

    A layout of one is the same over wide records; see `layouts.py`.

    Attributes:
        id: Position among all proposals of the run, rejected ones included, from 0.
        iteration: When it was proposed, from 1.
        reason: The model's words.
        count: How many records the model says there are; only its ratio to others matters.
        boxes: Per variable of the record, what the proposal allows.
        values: As the model wrote them.
        members: Of a record with members, in order.
    """

    id: int
    iteration: int
    reason: str
    count: float
    boxes: tuple[Box, ...]
    values: Mapping[str, Any]
    members: tuple[MemberBlock, ...] = ()


class ProposalLine(BaseModel):
    """A proposal as `proposals.jsonl` has it, a refused one as the model wrote it.

    Further keys are kept, and only those that were set are written.
    """

    model_config = ConfigDict(strict=True, extra="allow")

    id: int
    iteration: int
    accepted: bool
    reason: str
    problem: str | None
    count: Any = None
    values: Any = None
    members: Any = None
    records: int
    request: str | None = None


class AcceptedLine(ProposalLine):
    """A proposal that was taken into the library, with the records that it made."""

    count: int
    values: dict[str, Any]
    members: list[dict[str, Any]] = []


def read_proposal_line(content: Any) -> ProposalLine:  # noqa: ANN401 - whatever JSON holds
    """Return a line of `proposals.jsonl`."""
    is_accepted = isinstance(content, dict) and content.get("accepted") is True
    return (AcceptedLine if is_accepted else ProposalLine).model_validate(content)


def refused(id_: int, iteration: int, reason: str, problem: str, raw: Any) -> ProposalLine:  # noqa: ANN401
    """Return the line of a proposal that cannot be used, with the problem in words that a model can act on."""
    said = raw if isinstance(raw, dict) else {"values": raw}
    return ProposalLine(
        id=id_,
        iteration=iteration,
        reason=reason,
        count=said.get("count"),
        values=said.get("values"),
        **{name: said[name] for name in ("members",) if name in said},
        accepted=False,
        problem=problem,
        records=0,
    )


@dataclass
class Plan:
    """One reply, read.

    Attributes:
        proposals: What can be used.
        rejections: What cannot.
        mended: How many small slips were put right (swapped ends, spelling of categories, counts).
        problem: Why nothing at all could be read, or None.
        request: Key of the request that the reply answers.
    """

    proposals: list[Proposal] = field(default_factory=list)
    rejections: list[ProposalLine] = field(default_factory=list)
    mended: int = 0
    problem: str | None = None
    request: str = ""


def parse_plan(
    text: str,
    domain: Domain,
    marginals: Mapping[str, np.ndarray],
    *,
    iteration: int,
    first_id: int,
    most_count: int,
    members: Members | None = None,
) -> Plan:
    """Read a reply: JSON, or what can be repaired into it, then each proposal by itself.

    Args:
        text: The model's words.
        domain: What a proposal may say; with members, of the record.
        marginals: Target share of each category or bin by variable; a set of values is drawn in
            proportion to it.
        iteration: Kept with each proposal.
        first_id: Id of the reply's first proposal.
        most_count: Larger counts are capped to this.
        members: What the members of a record are.
    """
    entries = _entries(text)
    if not entries:
        return Plan(problem="the reply holds no JSON object with a list `proposals`")
    plan = Plan()
    for offset, entry in enumerate(entries[:_MOST_PROPOSALS]):
        reader = _Reader(domain, marginals, most_count, members)
        proposal_id = first_id + offset
        reason = _reason(entry)
        boxes, blocks, count = reader.read(entry)
        if reader.problems:
            problem = "; ".join(reader.problems)
            plan.rejections.append(refused(proposal_id, iteration, reason, problem, entry))
            continue
        plan.mended += reader.mended
        plan.proposals.append(
            Proposal(proposal_id, iteration, reason, count, boxes, entry["values"], blocks)
        )
    return plan


def _entries(text: str) -> list[Any]:
    """Return the raw proposals of a reply, or nothing."""
    content = read_json(text)
    if isinstance(content, dict) and isinstance(content.get("proposals"), list):
        return list(content["proposals"])
    if isinstance(content, dict) and "values" in content:
        return [content]
    if isinstance(content, list):
        nested = [
            c for c in content if isinstance(c, dict) and isinstance(c.get("proposals"), list)
        ]
        if nested:
            return [entry for c in nested for entry in c["proposals"]]
        return [entry for entry in content if isinstance(entry, dict) and "values" in entry]
    return []


def read_json(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return the JSON in a model's words, repaired where it must be, or None."""
    fenced = _FENCE.search(text)
    body = (fenced[1] if fenced else text).strip()
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # a plain ValueError: a number of thousands of digits
        return _repaired(body)


def _repaired(body: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    import json_repair  # for damaged replies only

    start = min((i for i in (body.find("{"), body.find("[")) if i >= 0), default=-1)
    if start < 0:
        return None
    try:
        return json_repair.loads(body[start:])
    except (ValueError, RecursionError, IndexError):
        return None


def _by_variable(values: dict[Any, Any], domain: Domain) -> dict[Any, Any]:
    """Return the values with the names that a prompt had to cut or clean spelt out."""
    known = domain.names_of_shown
    return {known.get(name, name): value for name, value in values.items()}


def _reason(entry: Any) -> str:  # noqa: ANN401 - whatever the model wrote
    reason = entry.get("reason") if isinstance(entry, dict) else None
    return reason[:_REASON_LENGTH] if isinstance(reason, str) else ""


class _Reader:
    """Reads one raw proposal, gathering every problem."""

    def __init__(
        self,
        domain: Domain,
        marginals: Mapping[str, np.ndarray],
        most_count: int,
        members: Members | None,
    ) -> None:
        self.domain = domain
        self.members = members
        self.marginals = marginals
        self.most_count = most_count
        self.problems: list[str] = []
        self.mended = 0

    def read(
        self,
        entry: Any,  # noqa: ANN401
    ) -> tuple[tuple[Box, ...], tuple[MemberBlock, ...], int]:
        if not isinstance(entry, dict) or not isinstance(entry.get("values"), dict):
            self.problems.append("a proposal needs `reason`, `count` and an object `values`")
            return (), (), 0
        values = entry["values"] = _by_variable(entry["values"], self.domain)
        count = self._count(entry.get("count"))
        boxes = self._boxes(values, self.domain, "")
        if self.members is None:
            return boxes, (), count
        blocks = self._blocks(entry.get("members"), self.members)
        if not self.problems:
            self._fit(boxes, blocks, self.members)
        return boxes, blocks, count

    def _boxes(self, values: dict[Any, Any], domain: Domain, where: str) -> tuple[Box, ...]:
        """Return the box of each variable; `where` goes before what is wrong."""
        unknown = [str(name)[:40] for name in values if name not in domain.positions]
        if unknown:
            self.problems.append(f"{where}`{unknown[0]}` is no variable{self._level(unknown[0])}")
        missing = [name for name in domain.names if name not in values]
        if missing:
            self.problems.append(
                f"{where}no value for " + ", ".join(f"`{name}`" for name in missing)
            )
        boxes = []
        for variable in domain.variables:
            if variable.name not in values:
                continue
            try:
                box, mended = read_box(
                    variable, values[variable.name], self.marginals[variable.name]
                )
            except BoxError as error:
                self.problems.append(f"{where}{variable.name}: {error}")
            else:
                boxes.append(box)
                self.mended += mended
        return tuple(boxes)

    def _level(self, name: str) -> str:
        """Return whose variable a name is that stands at the wrong level, or nothing."""
        members = self.members
        if members is None:
            return ""
        if name in members.own.positions:
            return f" of {one(members.of)}; it belongs into the `values` of each of its `members`"
        if name in members.record.positions:
            return f" of {one(members.name)}; it belongs into the `values` of the {members.of}"
        return ""

    def _blocks(self, given: Any, members: Members) -> tuple[MemberBlock, ...]:  # noqa: ANN401
        """Return the members as the model wrote them."""
        if not isinstance(given, list) or not all(
            isinstance(block, dict) and isinstance(block.get("values"), dict) for block in given
        ):
            self.problems.append(
                "`members` must be a list of objects with `repeat` and `values`, one for each "
                f"{members.name} or kind of {members.name}"
            )
            return ()
        blocks = []
        for number, block in enumerate(given):
            where = f"members.{number}: "
            values = block["values"] = _by_variable(block["values"], members.own)
            boxes = self._boxes(values, members.own, where)
            ends = self._repeat(block.get("repeat", 1))
            if ends is None:
                self.problems.append(
                    f"{where}`repeat` must be a whole number or two, the least and the most"
                )
            else:
                blocks.append(MemberBlock(*ends, boxes, values))
        return tuple(blocks)

    def _repeat(self, given: Any) -> tuple[int, int] | None:  # noqa: ANN401
        if isinstance(given, str) and given.strip().isdecimal():
            given, self.mended = int(given), self.mended + 1
        ends = given if isinstance(given, list) else [given]
        whole = [
            int(end)
            for end in ends
            if isinstance(end, (int, float)) and not isinstance(end, bool) and 0 <= end < _MOST
            if float(end).is_integer()
        ]
        if len(whole) != len(ends) or not 1 <= len(whole) <= 2:
            return None
        self.mended += whole[0] > whole[-1]
        return min(whole), max(whole)

    def _fit(
        self, boxes: tuple[Box, ...], blocks: tuple[MemberBlock, ...], members: Members
    ) -> None:
        """Refuse members that cannot be as many as the record says."""
        if weighed(boxes, blocks, members):
            return
        share = boxes[members.record.positions[members.size]].share
        said = sorted(int(n) for n in members.number[share > 0])
        low, high = sum(b.low for b in blocks), sum(b.high for b in blocks)
        adds = str(low) if low == high else f"{low} to {high}"
        self.problems.append(
            f"the `members` add up to {adds}, and `{members.size}` says "
            + " or ".join(str(n) for n in said)
        )

    def _count(self, given: Any) -> int:  # noqa: ANN401
        if isinstance(given, str) and given.strip().replace(".", "", 1).isdecimal():
            given, self.mended = float(given), self.mended + 1
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not given > 0:
            self.problems.append("`count` must be a whole number above 0")
            return 0
        if given > self.most_count:
            self.mended += 1
        return int(max(1, min(round(min(given, self.most_count)), self.most_count)))
