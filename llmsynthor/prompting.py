"""Prompts: finding, checking and rendering the templates; what the model is shown."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmsynthor.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from llmsynthor.domain import Variable
    from llmsynthor.job import Job
    from llmsynthor.rules import Rule
    from llmsynthor.tables import Table, TableSet

_MOST_GAPS = 24
_MOST_TOO_MANY = 8
_LEAST_GAP = 0.0005
"""Share below which a difference is not worth a line."""
_MOST_UNCOVERED = 60
_MOST_REJECTED = 8
_MOST_VALUES = 40
_LONGEST_LABEL = 120
_ANSWER_CUT = 4000
_MOST_GROUPS = 12

CONTEXT: dict[str, frozenset[str]] = {
    "system.md.j2": frozenset(),
    "propose_plan.md.j2": frozenset(
        [
            "description",
            "scenario",
            "variables",
            "rules",
            "groups",
            "uncovered",
            "uncovered_more",
            "library_size",
            "gaps",
            "too_many",
            "rejected",
            "proposals",
            "call",
            "calls",
            "names",
            "examples",
            "records",
            "numeric",
        ]
    ),
    "propose_focus.md.j2": frozenset(
        {"description", "scenario", "target", "variables", "rules", "most", "look"}
    ),
    "repair_plan.md.j2": frozenset({"problems", "answer", "cut", "prompt"}),
    "dependencies.md.j2": frozenset({"description", "scenario", "variables", "scopes", "most"}),
}
"""What each template may use."""


@dataclass(frozen=True)
class Gap:
    """A cell whose share is off, as the prompt shows it."""

    cell: str
    target: str
    present: str
    points: str
    records: str


class Templates:
    """The templates of a job: the job's folder first, then the package's."""

    def __init__(self, folder: Path | None) -> None:
        """Find and check all templates.

        Raises:
            JobError: A template has an error, or uses a name that it is not given.
        """
        self.environment = (
            ImmutableSandboxedEnvironment(  # text for a model, not HTML: no autoescape
                undefined=jinja2.StrictUndefined,
                trim_blocks=True,
                lstrip_blocks=True,
                keep_trailing_newline=False,
            )
        )
        if folder is not None and not folder.is_dir():
            raise JobError(f"prompts: {folder} is no folder")
        self.sources = {name: _source(name, folder) for name in CONTEXT}
        self._compiled = {name: self._compile(name) for name in CONTEXT}

    def _compile(self, name: str) -> jinja2.Template:
        source = self.sources[name]
        try:
            used = meta.find_undeclared_variables(self.environment.parse(source))
        except jinja2.TemplateSyntaxError as error:
            raise JobError(f"prompts/{name}:{error.lineno}: {error.message}") from None
        unknown = sorted(used - CONTEXT[name])
        if unknown:
            given = ", ".join(sorted(CONTEXT[name])) or "nothing"
            raise JobError(
                f"prompts/{name}: `{unknown[0]}` is not given to this template (given: {given})"
            )
        return self.environment.from_string(source)

    def render(self, name: str, context: Mapping[str, Any]) -> str:
        """Return a rendered template.

        Raises:
            JobError: The template fails on this context.
        """
        try:
            return self._compiled[name].render(**context).strip() + "\n"
        except jinja2.TemplateError as error:
            raise JobError(f"prompts/{name}: {error}") from None

    def hashes(self) -> dict[str, str]:
        """Return each template's sha256."""
        return {n: hashlib.sha256(s.encode()).hexdigest() for n, s in sorted(self.sources.items())}


def _source(name: str, folder: Path | None) -> str:
    if folder is not None and (folder / name).exists():
        try:
            return (folder / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise JobError(f"{folder / name}: cannot be read ({error})") from None
    return _packaged(name)


@lru_cache
def _packaged(name: str) -> str:
    return (resources.files("llmsynthor") / "prompts" / name).read_text(encoding="utf-8")


def clean(text: str, longest: int = _LONGEST_LABEL) -> str:
    """Return a label fit for one line: no control characters, no bidi marks, not endless.

    Example:
        >>> clean("a" + chr(10) + "b")
        'a b'
    """
    kept = "".join(c if c.isprintable() else " " for c in text)
    kept = " ".join(kept.split()).replace("</data>", "< /data>")
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


class PlanPrompt:
    """Renders the plan prompts of one job."""

    def __init__(
        self, job: Job, tables: TableSet, rules: Sequence[Rule], marginals: Mapping[str, np.ndarray]
    ) -> None:
        self.job = job
        self.tables = tables
        self._fixed = {
            "description": clean(job.description or job.name, 2000),
            "scenario": clean(job.scenario, 2000) if job.scenario else None,
            "variables": [_shown_variable(v, marginals[v.name]) for v in tables.domain.variables],
            "rules": [{"name": clean(r.name), "text": clean(r.text, 300)} for r in rules],
            "names": [clean(name) for name in tables.domain.names],
            "examples": [_example(variable) for variable in tables.domain.variables],
            "numeric": any(variable.is_numeric for variable in tables.domain.variables),
            "records": job.records,
            "proposals": job.engine.proposals_per_call,
            "calls": job.engine.calls_per_iteration,
        }

    def plan_context(
        self,
        *,
        prior: Sequence[np.ndarray] | None,
        library_size: int,
        groups: Sequence[Sequence[str]],
        rejected: Sequence[str],
        positive_only: bool = False,
    ) -> dict[str, Any]:
        """Return what the plan template is given.

        Args:
            prior: Per control table the library's share of each cell; None where it is empty.
            library_size: Accepted proposals so far.
            groups: Variables that depend on each other.
            rejected: Why proposals were refused last time.
            positive_only: Leave out what is already too frequent.
        """
        lacking, too_many = self._gaps(prior)
        pairs = _grouped_first(self.tables.uncovered_pairs(), groups)
        return {
            **self._fixed,
            "groups": [[clean(name) for name in group] for group in groups],
            "uncovered": [f"{clean(a)} and {clean(b)}" for a, b in pairs[:_MOST_UNCOVERED]],
            "uncovered_more": max(0, len(pairs) - _MOST_UNCOVERED),
            "library_size": library_size,
            "gaps": lacking,
            "too_many": [] if positive_only else too_many,
            "rejected": [
                clean(text, 240) for text in list(dict.fromkeys(rejected))[:_MOST_REJECTED]
            ],
            "call": 1,
        }

    def dependency_context(self) -> dict[str, Any]:
        """Return what the dependency template is given."""
        return {
            "description": self._fixed["description"],
            "scenario": self._fixed["scenario"],
            "variables": self._fixed["variables"],
            "scopes": [list(table.scope) for table in self.tables.control if len(table.scope) > 1],
            "most": _MOST_GROUPS,
        }

    def repair_context(self, prompt: str, answer: str, problems: Sequence[str]) -> dict[str, Any]:
        """Return what the repair template is given."""
        shown = [clean(problem, 240) for problem in list(dict.fromkeys(problems))[:_MOST_REJECTED]]
        cut = answer[:_ANSWER_CUT].replace("</data>", "< /data>")
        return {"problems": shown, "answer": cut, "cut": _ANSWER_CUT, "prompt": prompt}

    def _gaps(self, prior: Sequence[np.ndarray] | None) -> tuple[list[Gap], list[Gap]]:
        """Return the cells that lack most and those that are too full, in stable order."""
        found: list[tuple[float, str, Table, int, float]] = []
        for number, table in enumerate(self.tables.control):
            held = table.flat_share * 0.0 if prior is None else prior[number].ravel()
            apart = table.flat_share - held
            found += [
                (float(apart[c]), table.name, table, c, float(held[c])) for c in range(table.cells)
            ]
        found.sort(key=lambda item: (-item[0], item[1], item[3]))
        # a joint's cells are smaller than a marginal's, and say more: they have places of their own
        single = [item for item in found if len(item[2].scope) == 1][: _MOST_GAPS // 3]
        joint = [item for item in found if len(item[2].scope) > 1][: _MOST_GAPS - len(single)]
        lacking = [self._gap(item) for item in [*single, *joint] if item[0] > _LEAST_GAP]
        too_full = [item for item in reversed(found[-_MOST_TOO_MANY:]) if item[0] < -_LEAST_GAP]
        return lacking, [self._gap(item) for item in too_full] if prior is not None else []

    def _gap(self, item: tuple[float, str, Table, int, float]) -> Gap:
        apart, _, table, cell, held = item
        return Gap(
            cell=clean(table.cell_name(cell), 200),
            target=_percent(float(table.flat_share[cell])),
            present=_percent(held),
            points=f"{100 * apart:+.1f}",
            records=f"{apart * self.job.records:+.0f}",
        )


def _grouped_first(
    pairs: Sequence[tuple[str, str]], groups: Sequence[Sequence[str]]
) -> list[tuple[str, str]]:
    """Return the pairs, those inside a named group first."""
    inside = {frozenset((a, b)) for group in groups for a in group for b in group}
    return sorted(pairs, key=lambda pair: frozenset(pair) not in inside)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _shown_variable(variable: Variable, marginal: np.ndarray) -> dict[str, str]:
    order = range(variable.size)
    if variable.size > _MOST_VALUES:
        kept = sorted(sorted(order, key=lambda c: (-marginal[c], c))[:_MOST_VALUES])
    else:
        kept = list(order)
    shares = ", ".join(
        f"{json.dumps(clean(variable.labels[c]), ensure_ascii=False)} {_percent(float(marginal[c]))}"
        for c in kept
    )
    more = variable.size - len(kept)
    limits = f"; from {variable.low:g} to {variable.high:g}" if variable.is_numeric else ""
    return {
        "name": clean(variable.name),
        "kind": "ordered category"
        if variable.ordered and not variable.is_numeric
        else variable.kind,
        "unit": clean(variable.unit),
        "description": clean(variable.description, 400),
        "shares": shares
        + (f", and {more} more values with smaller shares" if more else "")
        + limits,
    }


def _example(variable: Variable) -> str:
    value = "[low, high]" if variable.is_numeric else "..."
    return f"{json.dumps(clean(variable.name), ensure_ascii=False)}: {value}"
