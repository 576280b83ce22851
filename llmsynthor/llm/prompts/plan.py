"""What the model is shown: the contexts that the templates are rendered with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.files.bins import cell_label
from llmsynthor.llm.prompts.gaps import among_members, focuses, gaps, statistics, without_table
from llmsynthor.llm.prompts.groups import MOST_GROUPS, cover
from llmsynthor.llm.prompts.templates import LEVELS
from llmsynthor.llm.prompts.views import (
    among,
    by_level,
    companions,
    counted,
    forms,
    library_view,
    member_context,
    percent,
    shown_variables,
    turned,
    unit,
    within,
)
from llmsynthor.text import clean, fenced, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.candidates.proposals import Proposal
    from llmsynthor.candidates.rules import Rule
    from llmsynthor.job.model import Job
    from llmsynthor.llm.prompts.gaps import Focus, Lack
    from llmsynthor.llm.prompts.groups import Coverage
    from llmsynthor.targets.table import TableSet

_MOST_GROUPS_SHOWN = 24
_MOST_PAIRS = (1800, 150)
"""Of lists in a prompt: how many characters, and how many lines."""
_MOST_UNKNOWN = (1600, 24)
_MOST_RULES = (2500, 24)
_MOST_FIGURES = (2500, 24)
_MOST_SCOPES = (2400, 60)
_MOST_REJECTED = 8
_MOST_TAKEN = 8
_LONGEST_TEXT = 1500
_LONGEST_FIGURES = 600
_ANSWER_CUT = 4000


@dataclass(frozen=True)
class Gap:
    """A cell whose share is off, as the prompt shows it."""

    cell: str
    target: str
    present: str
    points: str
    records: str
    unit: str = "records"

    def words(self, *, has_library: bool) -> str:
        """Return the gap in a line; before there are proposals, only what is wanted."""
        now = f", now {self.present} ({self.points} pp, {self.records} {self.unit})"
        return f"{self.cell}: target {self.target}{now if has_library else ''}"


class PlanPrompt:
    """Renders the plan prompts of one job: all of it bounded, whatever the job and the iteration."""

    def __init__(
        self, job: Job, tables: TableSet, rules: Sequence[Rule], marginals: Mapping[str, np.ndarray]
    ) -> None:
        self.job = job
        self.tables = tables
        self.marginals = marginals
        self.template = "propose_plan.md.j2" if tables.members is None else "propose_members.md.j2"
        shown = tables.domain.shown
        self.freed = {n for t in tables.released for n in t.scope} - {
            n for t in tables.control for n in t.scope
        }
        laws = [f"{clean(r.name)}: {clean(r.text, 300)}" for r in rules]
        kept, laws_more = within(laws, *_MOST_RULES)
        figures, figures_more = within(known_figures(tables), *_MOST_FIGURES)
        self._fixed = {
            "description": clean(job.description or job.name, _LONGEST_TEXT),
            "scenario": clean(job.scenario.text, _LONGEST_TEXT) if job.scenario else None,
            "released": [counted(t, t.scope, tables) for t in tables.released],
            "variables": shown_variables(tables.domain, marginals, sorted(self.freed)),
            "rules": kept,
            "rules_more": laws_more,
            "figures": figures,
            "figures_more": figures_more,
            "names": list(shown.values()),
            "examples": forms(tables.domain),
            "numeric": any(variable.is_numeric for variable in tables.domain.variables),
            "records": job.records,
            "proposals": job.engine.proposals_per_call,
            "calls": job.engine.calls_per_iteration,
        }
        if tables.members is not None:
            self._fixed |= member_context(tables, tables.members, marginals, sorted(self.freed))

    def plan_context(
        self,
        *,
        prior: Sequence[np.ndarray] | None,
        library_size: int,
        groups: Sequence[Sequence[str]],
        rejected: Sequence[str],
        positive_only: bool = False,
        library: Sequence[Proposal] = (),
        iteration: int = 1,
    ) -> dict[str, Any]:
        """Return what the plan template is given, for all calls of an iteration.

        `prior` is per control table the library's share of each cell, None where it is empty;
        `rejected` says why proposals were refused last time; with `positive_only` what is already
        too frequent, and what is there, is left out. Where there is more than a prompt has room
        for, each iteration shows other parts of it.
        """
        domain, shown = self.tables.domain, statistics(self.tables, groups)
        covered = [cover(group, self.tables.control) for group in groups]
        matter, others = without_table(self.tables, covered)
        lacking, too_many = gaps(shown, prior, iteration - 1)
        calls = self.job.engine.calls_per_iteration
        knowledge = [*matter, *among_members(self.tables, others)]
        # one call has nobody to divide the work with, and should look at everything
        found = focuses(shown, prior, knowledge, calls, iteration) if calls > 1 else []
        return {
            **self._fixed,
            "groups": [self._group(g) for g in covered if g.how != "none"][:_MOST_GROUPS_SHOWN],
            "no_table": [_together(scope, domain.shown) for scope in matter],
            "uncovered": [(domain.shown[a], domain.shown[b]) for a, b in others],
            "library_size": library_size,
            "kinds": [] if positive_only else self._kinds(library),
            "gaps": [self._gap(lack) for lack in lacking],
            "too_many": []
            if positive_only or prior is None
            else [self._gap(lack) for lack in too_many],
            "rejected": [
                clean(text, 240) for text in list(dict.fromkeys(rejected))[:_MOST_REJECTED]
            ],
            "focuses": [self._focus(focus) for focus in found],
            "turn": (iteration - 1) * calls,
        }

    def call_context(self, context: Mapping[str, Any], call: int) -> dict[str, Any]:
        """Return what the plan template is given for one call, from 0, of `plan_context`.

        Variables that no table has together are listed by turns, over calls and iterations, where
        a prompt cannot hold them all; those of a named group go before, and have places of their own.
        """
        given = {k: v for k, v in context.items() if k not in ("focuses", "turn")}
        turn = context["turn"] + call
        groups, pairs = context["no_table"], context["uncovered"]
        scopes = turned(groups, [len(scope) for scope in groups], *_MOST_UNKNOWN, turn)
        listed = turned(pairs, [len(b) for _, b in pairs], *_MOST_PAIRS, turn)
        members = self.tables.members
        lines = {"uncovered": companions(listed)} if members is None else by_level(listed, members)
        every = context["focuses"]
        others = [focus for number, focus in enumerate(every) if number != call]
        return {
            **given,
            "no_table": scopes,
            **lines,
            "uncovered_more": len(groups) - len(scopes) + len(pairs) - len(listed),
            "call": call + 1,
            "focus": every[call] if call < len(every) else "",
            "taken": others[:_MOST_TAKEN],
            "taken_more": max(0, len(others) - _MOST_TAKEN),
        }

    def dependency_context(self) -> dict[str, Any]:
        """Return what the dependency template is given."""
        tables = self.tables
        scopes = [counted(t, t.scope, tables) for t in tables.control if len(t.scope) > 1]
        kept, more = within(scopes, *_MOST_SCOPES)
        return {
            "description": self._fixed["description"],
            "scenario": self._fixed["scenario"],
            "released": self._fixed["released"],
            "variables": self._fixed["variables"],
            "scopes": kept,
            "scopes_more": more,
            "most": MOST_GROUPS,
            **{name: self._fixed.get(name, "") for name in LEVELS},
        }

    def repair_context(self, prompt: str, answer: str, problems: Sequence[str]) -> dict[str, Any]:
        """Return what the repair template is given."""
        shown = [clean(problem, 240) for problem in list(dict.fromkeys(problems))[:_MOST_REJECTED]]
        cut = fenced(printable(answer[:_ANSWER_CUT], "\n"))
        return {
            "problems": shown,
            "answer": cut,
            "cut": _ANSWER_CUT,
            "prompt": prompt,
            "member": self._fixed.get("member", ""),
        }

    def _group(self, group: Coverage) -> str:
        names = _together(group.variables, self.tables.domain.shown)
        return f"{names} ({'a table gives' if group.how == 'given' else 'a larger table gives'} the figures)"

    def _focus(self, focus: Focus) -> str:
        if focus.lack is not None:
            return f"the shortfall at {self._cell(focus.lack)}{self._of(focus.lack)}"
        if self.tables.members is not None and len(focus.scope) > len(set(focus.scope)):
            return among(focus.scope[0], self.tables.members)
        return f"how {_together(focus.scope, self.tables.domain.shown)} go together (no table is given)"

    def _cell(self, lack: Lack) -> str:
        table, domain = lack.statistic.table, self.tables.domain
        position = np.unravel_index(lack.cell, table.share.shape)
        labels = [
            domain[name].shown[int(code)]
            if labels == domain[name].labels and not domain[name].is_numeric
            else clean(labels[int(code)])
            for name, labels, code in zip(table.scope, table.labels, position, strict=True)
        ]
        return clean(cell_label([domain.shown[name] for name in table.scope], labels), 200)

    def _of(self, lack: Lack) -> str:
        """Return what the cell counts, where that must be said."""
        members = self.tables.members
        return "" if members is None else f" (of {unit(lack.statistic.table, members)})"

    def _kinds(self, library: Sequence[Proposal]) -> list[str]:
        """Return the library at a glance."""
        tables = self.tables
        return library_view(library, tables.of_records.domain, self.marginals, tables.members)

    def _gap(self, lack: Lack) -> Gap:
        members = self.tables.members
        return Gap(
            cell=self._cell(lack),
            target=percent(lack.target),
            present=percent(lack.held),
            points=f"{100 * lack.apart:+.1f}",
            records=f"{lack.apart * self.job.records * lack.statistic.table.per_record:+.0f}",
            unit="records" if members is None else unit(lack.statistic.table, members),
        )


def known_figures(tables: TableSet) -> list[str]:
    """Return a line for each statistic that is to be met, with its figures group by group."""
    lines = []
    for statistic in tables.statistics:
        if statistic.role != "control":
            continue
        figures = [
            f"{clean(statistic.label(i))} {percent(figure) if statistic.measure == 'rate' else f'{figure:g}'}"
            for i, figure in enumerate(statistic.figures.tolist())
        ]
        kept, more = within(figures, _LONGEST_FIGURES, len(figures))
        what = "share of" if statistic.measure == "rate" else f"{statistic.column} of"
        rest = f"; and {more} more" if more else ""
        lines.append(f"{what} {clean(statistic.of)}: {'; '.join(kept)}{rest}")
    return lines


def _together(names: Sequence[str], shown: Mapping[str, str]) -> str:
    return ", ".join(shown[name] for name in names)
