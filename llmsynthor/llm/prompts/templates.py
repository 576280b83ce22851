"""Templates of prompts: finding, checking and rendering them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmsynthor.errors import JobError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_JOB = frozenset({"description", "scenario", "released", "variables"})
_PLAN = (
    _JOB
    | {"rules", "rules_more", "figures", "figures_more", "groups"}
    | {"no_table", "uncovered", "uncovered_more"}
    | {"library_size", "kinds", "gaps", "too_many", "rejected"}
    | {"call", "calls", "focus", "taken", "taken_more"}
    | {"names", "examples", "records", "proposals", "numeric"}
)
LEVELS = frozenset({"of", "of_many", "member", "member_many", "member_variables"})
"""What templates are given of the members of records."""
CONTEXT: dict[str, frozenset[str]] = {
    "system.md.j2": frozenset(),
    "propose_plan.md.j2": _PLAN,
    "propose_members.md.j2": _PLAN
    | LEVELS
    | {"size", "most", "mean", "own_names", "given", "given_more", "member_examples", "example"}
    | {"uncovered_across", "uncovered_members"},
    "propose_focus.md.j2": _JOB | {"rejected", "target", "rules", "most", "look"},
    "repair_plan.md.j2": frozenset({"problems", "answer", "cut", "prompt", "member"}),
    "dependencies.md.j2": _JOB | LEVELS | {"scopes", "scopes_more", "most"},
}
"""What each template may use."""


class Templates:
    """The templates of a job: the job's folder first, then the package's."""

    def __init__(self, folder: Path | None) -> None:
        """Find all templates and check the folder's own; the package's are compiled when they are used.

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
            message = f"prompts: {folder} is no folder"
            raise JobError.of([Problem(message, at=("prompts",))])
        self.sources = {name: _source(name, folder) for name in CONTEXT}
        problems: list[Problem] = []
        self._compiled: dict[str, jinja2.Template] = {}
        for name in CONTEXT:
            if self.sources[name] == _packaged(name):
                continue
            try:
                self._compiled[name] = self._compile(name)
            except JobError as error:
                problems += error.problems
        if problems:
            raise JobError.of(problems)

    def _compile(self, name: str) -> jinja2.Template:
        source = self.sources[name]
        try:
            used = meta.find_undeclared_variables(self.environment.parse(source))
        except jinja2.TemplateSyntaxError as error:
            where = f"prompts/{name}"
            raise JobError.of(
                [Problem(error.message or "no template", where, error.lineno)]
            ) from None
        unknown = sorted(used - CONTEXT[name])
        if unknown:
            given = ", ".join(sorted(CONTEXT[name])) or "nothing"
            message = f"`{unknown[0]}` is not given to this template (given: {given})"
            raise JobError.of([Problem(message, f"prompts/{name}")])
        return self.environment.from_string(source)

    def render(self, name: str, context: Mapping[str, Any]) -> str:
        """Return a rendered template.

        Raises:
            JobError: The template fails on this context.
        """
        if name not in self._compiled:
            self._compiled[name] = self._compile(name)
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
