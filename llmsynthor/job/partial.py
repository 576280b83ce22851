"""What can be read of a job that has something wrong, and what is missing for that reason."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from llmsynthor.job.messages import meant_keys
from llmsynthor.job.model import Job, RuleSpec
from llmsynthor.job.statistics import StatisticSpec
from llmsynthor.job.tables import TableSpec
from llmsynthor.job.variables import VariableSpec

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from llmsynthor.job.yaml_nodes import Nodes

_NEEDED: dict[str, Any] = {"version": 1, "name": "job", "records": 1, "variables": {}, "tables": []}
"""What stands in for a needed key that is wrong, while the rest is looked at."""
_RESTS_ON = {
    "dependencies": {"variables", "members"},
    "executor": {"zones"},
    "scenario": {"tables"},
    "seed_sample": {"members"},
    "tables": {"tables", "members"},
}
"""Key -> the keys without which what does not fit in it may be right."""


@dataclass(frozen=True)
class Gaps:
    """What of a job is wrong, and so missing from what could be read.

    Attributes:
        keys: Its keys at the top that are wrong or have something wrong inside.
        unsure: Names that may be variables.
        kept: Of `tables` and `rules`, where they have gaps, the positions in the file of those
            that are left.
    """

    keys: frozenset[str] = frozenset()
    unsure: Container[str] = ()
    kept: dict[str, list[int]] = field(default_factory=dict)

    def in_file(self, at: tuple[str | int, ...]) -> tuple[str | int, ...]:
        """Return a key of the job without its gaps as the file has it."""
        if len(at) > 1 and at[0] in self.kept and isinstance(at[1], int):
            return (at[0], self.kept[str(at[0])][at[1]], *at[2:])
        return at

    def may_excuse(self, at: tuple[str | int, ...]) -> bool:
        """Return whether what does not fit at a key may do so only because of what is missing."""
        return bool(_RESTS_ON.get(str(at[0]), set()) & self.keys)

    def lack(self, *keys: str) -> bool:
        """Return whether one of these keys is wrong or has something wrong inside."""
        return not self.keys.isdisjoint(keys)


class _Anything:
    def __contains__(self, _: object) -> bool:
        return True


ANYTHING: Container[str] = _Anything()
"""Every name."""


def read_partly(
    nodes: Nodes, content: dict[Any, Any], errors: Sequence[Mapping[str, Any]]
) -> tuple[Job, Gaps]:
    """Return the job without what is wrong; a misspelt key is taken as the one that is meant."""
    content = deepcopy(content)
    for steps, wrong, meant in meant_keys(nodes, errors):
        inside: Any = content
        for step in steps:
            inside = inside[int(step) if isinstance(inside, list) else step]
        if wrong in inside:  # else an option of `--set` has put something else there
            inside[meant] = inside.pop(wrong)
    try:
        return Job.model_validate(content), Gaps()
    except ValidationError as error:
        return _without(content, {str(e["loc"][0]) for e in error.errors() if e["loc"]})


def _without(content: dict[Any, Any], bad: set[str]) -> tuple[Job, Gaps]:
    """Return the job without what is wrong in the keys `bad`."""
    values = dict(_NEEDED)
    for key, info in Job.model_fields.items():
        if key in content and key not in bad:
            adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
            values[key] = adapter.validate_python(content[key], strict=True)
    given = content.get("variables")
    if "variables" in bad and isinstance(given, dict):
        named = ((name, entry) for name, entry in given.items() if isinstance(name, str))
        values["variables"] = {n: spec for n, entry in named for spec in _good(VariableSpec, entry)}
    kept: dict[str, list[int]] = {}
    models = {"tables": TableSpec, "statistics": StatisticSpec, "rules": RuleSpec}
    for key, model in models.items():
        given = content.get(key)
        if key in bad and isinstance(given, list):
            good = [(i, item) for i, e in enumerate(given) for item in _good(model, e)]
            kept[key] = [i for i, _ in good]
            values[key] = [item for _, item in good]
    return Job.model_construct(**values), Gaps(frozenset(bad), _unsure(content, bad), kept)


def _unsure(content: dict[Any, Any], bad: set[str]) -> Container[str]:
    """Return the names that would be variables if the keys `bad` were right."""
    if "zones" in bad:
        return ANYTHING
    found: set[str] = set()
    for key in bad & {"variables", "members"}:
        given = content.get(key)
        if key == "members" and isinstance(given, dict):
            given = given.get("variables")
        if not isinstance(given, dict) or not given:
            return ANYTHING
        found |= {str(name) for name in given}
    return found


def _good(kind: Any, entry: object) -> list[Any]:  # noqa: ANN401 - an alias is no type
    """Return what an entry is, if it is right."""
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return [adapter.validate_python(entry)]
    except ValidationError:
        return []
