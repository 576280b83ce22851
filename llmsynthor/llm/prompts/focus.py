"""Focus: code fixes one cell, the model only completes it. The plan style for small models.

A small model cannot weigh tables against each other, nor count. So each call fixes the values of
one cell, the model says what goes with them, and the count is the cell's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.candidates.boxes import ANY, can_be_open
from llmsynthor.candidates.proposals import read_json
from llmsynthor.candidates.reply_schema import MOST_LABELS
from llmsynthor.llm.prompts.plan import PlanPrompt
from llmsynthor.llm.prompts.views import even_room, within
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from llmsynthor.targets.domain import Domain, Variable
    from llmsynthor.targets.table import Table, TableSet

MOST_VALUES = 3
"""Values of one variable in a proposal."""
_MOST_SHOWN = 20
_MOST_RULES = 8
_MOST_REJECTED = 4
_SHOWN_CHARACTERS = 5000
_DESCRIPTIONS_CHARACTERS = 2000
_LEAST_WORDS = 20
_LEAST_GAP = 0.0005
_LEAST_LACK = 0.1
"""Of a value's target share: what a pair without a table asks for where nothing lacks."""


@dataclass(frozen=True)
class Target:
    """What one call is about.

    Attributes:
        fixed: Variable -> categories or bins that the proposal has, whatever the model says.
        count: Records that the proposal stands for.
        look: The variable whose companions no table gives, or None.
    """

    fixed: Mapping[str, Sequence[str]]
    count: int
    look: str | None = None


class FocusPrompt(PlanPrompt):
    """Renders nothing for a whole iteration: each call has a target of its own."""

    def plan_context(self, **given: Any) -> dict[str, Any]:  # noqa: ANN401 - as the base's
        """Return what the targets are chosen from."""
        return {name: given[name] for name in ("prior", "groups", "rejected")}

    def targets(self, context: Mapping[str, Any], iteration: int) -> list[Target]:
        """Return the targets of one iteration; of the same state always the same."""
        calls, records = self.job.engine.calls_per_iteration, self.job.records
        chooser = _Chooser(self.tables, context["prior"], records)
        return chooser.choose(context["groups"], calls, iteration)

    def focus_context(self, target: Target, rejected: Sequence[str]) -> dict[str, Any]:
        """Return what the template of a focus is given, in a bounded number of characters."""
        domain, marginal = self.tables.domain, self.tables.marginal
        free = [v for v in domain.variables if v.name not in target.fixed]
        texts = [_texts(v, marginal(v.name)) for v in free]
        room = even_room([sum(len(t) + 2 for t in some) for some in texts], _SHOWN_CHARACTERS)
        words = max(_LEAST_WORDS, even_room([100] * len(free), _DESCRIPTIONS_CHARACTERS))
        rules: Any = self._fixed["rules"]
        return {
            "description": self._fixed["description"],
            "scenario": self._fixed["scenario"],
            "released": self._fixed["released"],
            "rules": rules[:_MOST_RULES],
            "target": [
                {
                    "name": domain.shown[name],
                    "shown": " or ".join(_set_off(clean(label)) for label in labels[:_MOST_SHOWN]),
                    "description": clean(domain[name].description, 100),
                }
                for name, labels in target.fixed.items()
            ],
            "variables": [
                {
                    "name": domain.shown[variable.name],
                    "key": json.dumps(domain.shown[variable.name], ensure_ascii=False),
                    "shown": _shown(variable, marginal(variable.name), some, room),
                    "description": clean(variable.description, min(words, 100)),
                    "before": "yes" if variable.name in self.freed else "",
                }
                for variable, some in zip(free, texts, strict=True)
            ],
            "rejected": [clean(problem, 160) for problem in dict.fromkeys(rejected)][
                :_MOST_REJECTED
            ],
            "most": MOST_VALUES,
            "look": domain.shown[target.look] if target.look else None,
        }


def focus_words(given: Mapping[str, Any]) -> str:
    """Return in words what a call is about, of what its template is given."""
    parts = [
        f"{part['name']}: {part['shown']}"
        + (f" ({part['description']})" if part["description"] else "")
        for part in given["target"]
    ]
    look = f"; and their {given['look']}" if given["look"] else ""
    return f"records with {', '.join(parts)}{look}"


def focus_schema(domain: Domain, target: Target, released: Collection[str] = ()) -> dict[str, Any]:
    """Return the JSON Schema of what completes `target`; numbers are named by their bins.

    `released` may not be left open, as the scenario changes their shares.
    """
    free = [v for v in domain.variables if v.name not in target.fixed]
    listed = sorted(free, key=lambda v: (v.size, domain.positions[v.name]))
    while sum(v.size for v in listed) > MOST_LABELS:
        listed.pop()  # the largest first, as in the schema of a plan
    names, closed = {v.name for v in listed}, {target.look, *released}
    values = {
        "type": "object",
        "properties": {
            domain.shown[v.name]: _values_schema(v, v.name in names, v.name not in closed)
            for v in free
        },
        "required": [domain.shown[v.name] for v in free],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"reason": {"type": "string"}, "values": values},
        "required": ["reason", "values"],
        "additionalProperties": False,
    }


def _values_schema(variable: Variable, listed: bool, may_be_open: bool) -> dict[str, Any]:
    label: dict[str, Any] = {"type": "string"}
    if listed:
        whole = [ANY] if may_be_open and can_be_open(variable) else []
        label["enum"] = [*variable.shown, *whole]
    return {"type": "array", "items": label, "minItems": 1, "maxItems": MOST_VALUES}


def completed(text: str, target: Target) -> str:
    """Return the plan that a reply and its target make; nothing where it cannot be read.

    Example:
        >>> target = Target({"work": ["yes"]}, 40)
        >>> completed('{"reason": "r", "values": {"mode": ["car"], "work": ["no"]}}', target)
        '{"proposals": [{"reason": "r", "count": 40, "values": {"mode": ["car"], "work": ["yes"]}}]}'
    """
    content = read_json(text)
    if isinstance(content, dict) and isinstance(content.get("proposals"), list):
        content = content["proposals"]  # a whole plan, though one was not asked
    entries = content if isinstance(content, list) else [content]
    content = next(
        (e for e in entries if isinstance(e, dict) and isinstance(e.get("values"), dict)), None
    )
    if content is None:
        return ""  # never as it is: its counts and cell would be the model's
    fixed = {name: list(labels) for name, labels in target.fixed.items()}
    proposal = {
        "reason": content.get("reason"),
        "count": target.count,
        "values": {**content["values"], **fixed},
    }
    return json.dumps({"proposals": [proposal]}, ensure_ascii=False)


def _texts(variable: Variable, marginal: np.ndarray) -> list[str]:
    """Return the most frequent values with their shares, the most frequent first."""
    order = sorted(range(variable.size), key=lambda c: (-marginal[c], c))[:_MOST_SHOWN]
    return [f"{_set_off(variable.shown[c])} {_percent(float(marginal[c]))}" for c in order]


def _set_off(label: str) -> str:
    """Return a label in quotes where it could be taken for two."""
    return json.dumps(label, ensure_ascii=False) if "," in label else label


def _percent(share: float) -> str:
    return "<1%" if 0 < share < 0.005 else f"{100 * share:.0f}%"


def _shown(variable: Variable, marginal: np.ndarray, texts: Sequence[str], room: int) -> str:
    """Return those of `texts` that fit, in the order of the codes, and how many more there are."""
    order = sorted(range(variable.size), key=lambda c: (-marginal[c], c))
    kept, _ = within(texts, room, _MOST_SHOWN)
    inside = sorted(zip(order, kept, strict=False))
    more = variable.size - len(kept)
    return ", ".join(text for _, text in inside) + (f", and {more} more" if more else "")


class _Chooser:
    """Chooses targets: by turns the cells that lack most, and pairs that no table has together."""

    def __init__(self, tables: TableSet, prior: Sequence[np.ndarray] | None, records: int) -> None:
        self.tables = tables
        self.records = records
        self._held = (
            [np.zeros_like(t.share) for t in tables.control] if prior is None else list(prior)
        )

    def choose(self, groups: Sequence[Sequence[str]], calls: int, iteration: int) -> list[Target]:
        """Return one target a call; of the same state always the same."""
        pairs = self._pairs(groups)
        cells = self._cells(calls)
        found: list[Target] = []
        for call in range(calls):
            number = (iteration - 1) * calls + call  # over all iterations: one may have one call
            if pairs and (number % 2 or not cells):
                found.append(self._of_pair(pairs, number // 2, call))
            else:
                found.append(cells[(call // 2 if pairs else call) % len(cells)])
        return found

    def _pairs(self, groups: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
        """Return the pairs without a table, those inside a named group first."""
        inside = {frozenset((a, b)) for group in groups for a in group for b in group}
        pairs = self.tables.uncovered_pairs()
        return sorted(pairs, key=lambda pair: frozenset(pair) not in inside)

    def _cells(self, calls: int) -> list[Target]:
        """Return the cells that lack most, each table's first one before any table's second."""
        ranked: list[tuple[int, float, int, int, Table]] = []
        for number, table in enumerate(self.tables.control):
            if not self._says_most(table):
                continue
            apart = (table.share - self._held[number].reshape(table.share.shape)).ravel()
            order = sorted(range(table.cells), key=lambda c: (-apart[c], c))[:calls]
            ranked += [
                (rank, -float(apart[c]), number, c, table)
                for rank, c in enumerate(order)
                if apart[c] > _LEAST_GAP
            ]
        ranked.sort(key=lambda item: item[:4])
        found = [self._of_cell(table, c, -lack) for _, lack, _, c, table in ranked[:calls]]
        return found or [self._largest()]

    def _says_most(self, table: Table) -> bool:
        """Return whether no other table has this one's variables, and more."""
        scope = set(table.scope)
        return not any(scope < set(other.scope) for other in self.tables.control)

    def _largest(self) -> Target:
        table = max(self.tables.control, key=lambda t: (len(t.scope), t.cells))
        cell = int(np.argmax(table.flat_share))
        return self._of_cell(table, cell, float(table.flat_share[cell]))

    def _of_cell(self, table: Table, cell: int, lack: float) -> Target:
        position = np.unravel_index(cell, table.share.shape)
        domain, fixed = self.tables.domain, {}
        for name, group, place in zip(table.scope, table.groups, position, strict=True):
            labels = domain[name].labels
            fixed[name] = [labels[c] for c in np.flatnonzero(group == place)]
        if len(fixed) == len(domain.names):  # something must be left for the model to say
            del fixed[max(fixed, key=lambda name: domain[name].size)]
        return Target(fixed, self._count(lack))

    def _of_pair(self, pairs: Sequence[tuple[str, str]], turn: int, call: int) -> Target:
        """Fix a value of one of the two that the library lacks, and ask for the other.

        Fixing both would say how often they come together, which is what only the model may know.
        """
        known, look = pairs[turn % len(pairs)]
        if turn // len(pairs) % 2:
            known, look = look, known
        marginal = self.tables.marginal(known)
        lack = np.maximum(marginal - self._library(known), _LEAST_LACK * marginal)
        order = sorted(np.flatnonzero(marginal > 0), key=lambda c: (-lack[c], c))
        code = int(order[call // 2 % len(order)])
        label = self.tables.domain[known].labels[code]
        return Target({known: [label]}, self._count(float(lack[code])), look)

    def _library(self, name: str) -> np.ndarray:
        """Return the library's share of each category or bin of a variable."""
        marginal = self.tables.marginal(name)
        for table, held in zip(self.tables.control, self._held, strict=True):
            if name not in table.scope:
                continue
            axis = table.scope.index(name)
            others = tuple(i for i in range(table.share.ndim) if i != axis)
            coarse = held.reshape(table.share.shape).sum(axis=others)
            group = table.groups[axis]
            target = np.bincount(group, weights=marginal, minlength=len(coarse))
            ratio = np.divide(coarse, target, out=np.zeros_like(coarse), where=target > 0)
            return np.asarray(marginal * ratio[group])
        return np.zeros_like(marginal)

    def _count(self, lack: float) -> int:
        return max(1, round(lack * self.records))
