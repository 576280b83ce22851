"""Parts of a job that are each right by themselves and do not fit together, or cannot have an effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmsynthor.job.providers import kind_of, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.job.model import Job, MembersSpec
    from llmsynthor.job.seed_sample import SeedColumns
    from llmsynthor.job.variables import VariableSpec


MOST_MEMBERS = 30
"""Of one record."""
MOST_APPENDED = 5
"""The paper's loop takes at most five proposals in an iteration."""
_FOR_CALIBRATION = ("background", "candidates", "pilot_share", "patience")
_TAKEN = frozenset({"count", "share", "moe"})
"""Columns of tables that are no variable."""
Path = tuple[str, str]
Found = Iterator[tuple[tuple[str | int, ...], str]]
"""Where parts of a job do not fit, and what is wrong there."""


def inconsistencies(job: Job) -> Found:
    """Yield where parts of a job, each right by itself, do not fit: the place and what is wrong."""
    yield from _bad_names(job)
    yield from _bad_members(job)
    yield from _bad_sample(job)
    yield from _bad_groups(job)
    yield from _bad_release(job)
    yield from _bad_statistics(job)
    yield from _bad_reconcile(job)
    yield from _bad_zones(job)
    yield from given_in_vain(job)


def _taken(variables: Mapping[str, VariableSpec], *at: str) -> Found:
    for name in sorted(_TAKEN & set(variables)):
        yield (*at, "variables", name), f"`{name}` cannot name a variable: tables use it"


def _named_twice(names: Sequence[str]) -> Iterator[tuple[int, str]]:
    return ((i, name) for i, name in enumerate(names) if names.index(name) < i)


def _bad_names(job: Job) -> Found:
    yield from _taken(job.variables)
    for i, name in _named_twice([rule.name for rule in job.rules]):
        yield ("rules", i), f"two rules are named `{name}`"
    if all(table.role == "validate" for table in job.tables):
        yield ("tables",), "no table has `role: control`, so nothing would be met"


def _counting_members(job: Job, key: str) -> Found:
    for i, spec in enumerate(getattr(job, key)):
        if job.members is None and spec.counts is not None:
            yield (key, i, "counts"), "the job has no `members`; leave `counts` out"


def _bad_members(job: Job) -> Found:
    """Yield what is wrong between members, variables and tables."""
    members = job.members
    if members is None:
        yield from _counting_members(job, "tables")
        return
    for name in sorted(set(members.variables) & set(job.variables)):
        message = f"`{name}` names a variable of the record too; call one of them otherwise"
        yield ("members", "variables", name), message
    yield from _taken(members.variables, "members")
    keys = {f"{members.of}_id", f"{members.name}_number"}
    for name in sorted(keys & {*job.all_variables, *_geographies(job)}):
        yield (
            ("members",),
            f"`{name}` names a variable and a key of the data; choose another `members.of` or "
            "`members.name`",
        )
    for name in dict.fromkeys((*job.variables, *_geographies(job))):
        stem, _, number = name.rpartition(".")
        if number.isdigit() and stem in members.variables:  # as a member's variable in a slot
            message = f"`{name}` could be a column of a member (`{stem}`); call it otherwise"
            yield ("variables", name), message
    if job.engine.method == "append":
        yield ("members",), "`engine.method: append` makes records without members"
    if job.engine.plan_style == "focus":
        yield ("members",), "`engine.plan_style: focus` asks for records without members"
    size = _bad_size(job, members)
    if size:
        yield ("members", "size"), size


def _geographies(job: Job) -> tuple[str, ...]:
    """Return the columns that records get besides: the zone, and what it lies within."""
    return (job.zones.variable, *job.zones.within) if job.zones is not None else ()


def _bad_size(job: Job, members: MembersSpec) -> str | None:
    """Return what keeps `members.size` from being a number of members, or None."""
    spec = job.variables.get(members.size)
    if spec is None:
        return (
            f"`{members.size}` is no variable of the record (variables: {', '.join(job.variables)})"
        )
    if spec.type == "number":
        return f"`{members.size}` is a real number; make it an `integer`"
    if spec.type == "category":
        words = [value for value in spec.values if not (value.isascii() and value.isdigit())]
        if words:
            return (
                f"`{members.size}` has the category `{words[0]}`, which is no whole number; an open "
                "class such as `4+` needs `type: integer` with a `max`"
            )
        sizes = [int(value) for value in spec.values]
        if len(set(sizes)) < len(sizes):
            return f"`{members.size}` has two categories that are the same number"
        least, most = min(sizes), max(sizes)
    else:
        least, most = spec.min, spec.max
    if least < 0 or not 1 <= most <= MOST_MEMBERS:
        return (
            f"`{members.size}` goes from {least} to {most}; members number from 0 to at most "
            f"{MOST_MEMBERS}"
        )
    return None


def _bad_sample(job: Job) -> Found:
    """Yield what is wrong between the seed sample and the rest."""
    sample = job.seed_sample
    if sample is None:
        return
    if sample.members is not None and job.members is None:
        message = "the job has no `members`; leave them out here, or describe them"
        yield ("seed_sample", "members"), message
    if job.engine.method == "append":
        yield ("seed_sample",), "`engine.method: append` makes records of proposals alone"
    if sample.share != "auto" and kind_of(job.provider.model).source is None:
        message = "no model is asked, so that there is nothing beside the sample; leave it out"
        yield ("seed_sample", "share"), message
    yield from _bad_columns(job, ("seed_sample",), sample, job.variables)
    if sample.members is not None:
        own = job.members.variables if job.members else {}
        yield from _bad_columns(job, ("seed_sample", "members"), sample.members, own)


def _bad_columns(
    job: Job, at: tuple[str, ...], spec: SeedColumns, variables: Mapping[str, VariableSpec]
) -> Found:
    """Yield what a file of the seed sample names that its records do not have."""
    zone = job.zones.variable if job.zones is not None else None
    known = [name for name in variables if name != zone]
    wanted = [((*at, "columns", column), name) for column, name in spec.columns.items()]
    wanted += [((*at, "values", name), name) for name in spec.values]
    for key, name in wanted:
        if name == zone:
            message = f"`{name}` is the zone variable; all zones share the sample, so leave it out"
            yield key, message
    for key, name in wanted:
        if name != zone and name not in known:
            message = f"`{name}` is no variable of this file's records"
            yield key, f"{message} (variables: {', '.join(known)})"


def _bad_groups(job: Job) -> Found:
    known = job.all_variables
    for i, group in enumerate(job.dependencies if isinstance(job.dependencies, list) else ()):
        for j, name in enumerate(group):
            if name not in known:
                message = f"`{name}` is no variable (variables: {', '.join(known)})"
                yield ("dependencies", i, j), message


def _bad_release(job: Job) -> Found:
    roles = {table.known_as: table.role for table in job.tables}
    for i, name in enumerate(job.scenario.release if job.scenario else ()):
        at = ("scenario", "release", i)
        if name not in roles:
            yield at, f"`{name}` is no table (tables: {', '.join(roles)})"
        elif roles[name] == "validate":
            yield at, f"`{name}` has `role: validate` and is not met anyway"
    control = {name for name, role in roles.items() if role == "control"}
    if control and control <= set(job.released):
        yield ("scenario", "release"), "every control table is freed, so nothing would be met"


def _bad_statistics(job: Job) -> Found:
    """Yield what is wrong between statistics and the rest."""
    if job.statistics and job.zones is not None:
        message = "`zones` and `statistics` do not go together yet; leave one of the two out"
        yield ("statistics",), message
    yield from _counting_members(job, "statistics")
    for i, name in _named_twice([spec.known_as for spec in job.statistics]):
        yield ("statistics", i), f"two statistics are named `{name}`; give one of them a `name`"


def _bad_reconcile(job: Job) -> Found:
    if isinstance(job.reconcile, str):
        return
    name, at = job.reconcile.scale_to, ("reconcile", "scale_to")
    roles = {table.known_as: table.role for table in job.tables}
    if name not in roles:
        yield at, f"`{name}` is no table (tables: {', '.join(roles)})"
    elif roles[name] == "validate" or name in job.released:
        yield at, f"`{name}` is not met itself; name a control table"


def _bad_zones(job: Job) -> Found:
    zones = job.zones
    if zones is None:
        if job.executor is not None:
            yield ("executor",), "has no effect without `zones`; leave it out"
        return
    given = job.variables.get(zones.variable)
    if given is not None and given.type != "category":
        message = f"`{zones.variable}` is not of `type: category`, which a zone variable must be"
        yield ("zones", "variable"), message
    if job.engine.method == "append":
        yield ("zones",), "`engine.method: append` makes no zones; leave one of the two out"
    for i, name in enumerate(zones.within):
        if name in job.all_variables:
            yield ("zones", "within", i), f"`{name}` is a variable already; name it only here"
    if job.members is not None and zones.variable in job.members.variables:
        message = f"`{zones.variable}` is a variable of a {job.members.name}; zones are where a "
        yield ("zones", "variable"), f"{message}{job.members.of} is"
    for i, group in enumerate(job.dependencies if isinstance(job.dependencies, list) else ()):
        if zones.variable in group:
            message = f"`{zones.variable}` is the zone variable, no part of a group"
            yield ("dependencies", i), message


def asks_in_focus(job: Job) -> bool:
    """Return whether the job's model is asked in focus style.

    `auto` is what is best for the kind of model, where records have no members.
    """
    style = job.engine.plan_style
    if style == "auto" and job.members is None:
        style = kind_of(job.provider.model).style
    return style == "focus"


def without_effect(job: Job) -> Mapping[Path, str]:
    """Return the options that do nothing in this job, given or not, each with why.

    Example of a reason: ``has no effect with `engine.method: append```.
    """
    kind, beside = kind_of(job.provider.model), "has no effect with `{}`".format
    why = beside(f"provider.model: {name_of(job.provider.model)}")
    found: dict[Path, str] = {("provider", key): why for key in kind.in_vain}
    if job.engine.plan_style == "focus":
        why = beside("engine.plan_style: focus")
        found["engine", "proposals_per_call"] = f"{why} (one proposal a call)"
    elif asks_in_focus(job):
        found["engine", "proposals_per_call"] = (
            f"{why}, which is asked in the style `focus` (one proposal a call) unless "
            "`engine.plan_style: plan` is given"
        )
    if job.engine.method == "append":
        append = beside("engine.method: append")
        found |= {("engine", name): append for name in _FOR_CALIBRATION}
        found["output", "row_group"] = append
        if job.engine.proposals_per_call > MOST_APPENDED:
            found.setdefault(
                ("engine", "proposals_per_call"),
                f"is {job.engine.proposals_per_call}, and `engine.method: append` takes at most "
                f"{MOST_APPENDED} in an iteration",
            )
    return found


def given_in_vain(job: Job) -> Iterator[tuple[Path, str]]:
    """Yield the options that the job gives and that do nothing, each with what to do."""
    for (part, name), why in without_effect(job).items():
        if name in getattr(job, part).model_fields_set:
            yield (part, name), f"{why}; leave it out, or `--set {part}.{name}=null`"
