"""Parts of a job that are each right by themselves and do not fit together, or cannot have an effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsynthor.job.providers import kind_of, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmsynthor.job.model import Job, MembersSpec
    from llmsynthor.job.seed_sample import SeedColumns
    from llmsynthor.job.variables import VariableSpec


MOST_MEMBERS = 30
"""Of one record."""
MOST_APPENDED = 5
"""The paper's loop takes at most five proposals in an iteration."""
_FOR_CALIBRATION = ("background", "candidates", "pilot_share", "patience")
Path = tuple[str, str]


def inconsistencies(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    """Return where parts of a job, each right by itself, do not fit: the place and what is wrong."""
    return [
        *_bad_names(job),
        *_bad_members(job),
        *_bad_sample(job),
        *_bad_groups(job),
        *_bad_release(job),
        *_bad_statistics(job),
        *_bad_reconcile(job),
        *_bad_zones(job),
        *given_in_vain(job),
    ]


def _bad_names(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    found: list[tuple[tuple[str | int, ...], str]] = [
        (("variables", name), f"`{name}` cannot name a variable: tables use it")
        for name in sorted({"count", "share", "moe"} & set(job.variables))
    ]
    names = [rule.name for rule in job.rules]
    found += [
        (("rules", i), f"two rules are named `{name}`")
        for i, name in enumerate(names)
        if names.index(name) < i
    ]
    if all(table.role == "validate" for table in job.tables):
        found.append((("tables",), "no table has `role: control`, so nothing would be met"))
    return found


def _bad_members(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    """Return what is wrong between members, variables and tables."""
    found: list[tuple[tuple[str | int, ...], str]] = []
    members = job.members
    if members is None:
        return [
            (("tables", i, "counts"), "the job has no `members`; leave `counts` out")
            for i, table in enumerate(job.tables)
            if table.counts is not None
        ]
    found += [
        (
            ("members", "variables", name),
            f"`{name}` names a variable of the record too; call one of them otherwise",
        )
        for name in sorted(set(members.variables) & set(job.variables))
    ]
    found += [
        (("members", "variables", name), f"`{name}` cannot name a variable: tables use it")
        for name in sorted({"count", "share", "moe"} & set(members.variables))
    ]
    keys = {f"{members.of}_id", f"{members.name}_number"}
    found += [
        (
            ("members",),
            f"`{name}` names a variable and a key of the data; choose another `members.of` or "
            "`members.name`",
        )
        for name in sorted(keys & {*job.all_variables, *_geographies(job)})
    ]
    found += [
        (
            ("variables", name),
            f"`{name}` could be a column of a member (`{name.rpartition('.')[0]}`); call it otherwise",
        )
        for name in dict.fromkeys((*job.variables, *_geographies(job)))
        if _is_slot(name, members)
    ]
    if job.engine.method == "append":
        found.append((("members",), "`engine.method: append` makes records without members"))
    if job.engine.plan_style == "focus":
        found.append((("members",), "`engine.plan_style: focus` asks for records without members"))
    size = _bad_size(job, members)
    return [*found, (("members", "size"), size)] if size else found


def _geographies(job: Job) -> tuple[str, ...]:
    """Return the columns that records get besides: the zone, and what it lies within."""
    return (job.zones.variable, *job.zones.within) if job.zones is not None else ()


def _is_slot(name: str, members: MembersSpec) -> bool:
    """Return whether a name is one that a member's variable gets in a slot, such as `age.1`."""
    stem, dot, number = name.rpartition(".")
    return bool(dot) and number.isdigit() and stem in members.variables


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


def _bad_sample(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    """Return what is wrong between the seed sample and the rest."""
    sample = job.seed_sample
    if sample is None:
        return []
    found: list[tuple[tuple[str | int, ...], str]] = []
    if sample.members is not None and job.members is None:
        message = "the job has no `members`; leave them out here, or describe them"
        found.append((("seed_sample", "members"), message))
    if job.engine.method == "append":
        message = "`engine.method: append` makes records of proposals alone"
        found.append((("seed_sample",), message))
    if sample.share != "auto" and kind_of(job.provider.model).source is None:
        message = "no model is asked, so that there is nothing beside the sample; leave it out"
        found.append((("seed_sample", "share"), message))
    own = job.members.variables if job.members else {}
    levels: list[tuple[tuple[str, ...], SeedColumns, dict[str, VariableSpec]]] = []
    levels.append((("seed_sample",), sample, job.variables))
    if sample.members is not None:
        levels.append((("seed_sample", "members"), sample.members, own))
    for at, spec, known in levels:
        wanted = [(("columns", column), name) for column, name in spec.columns.items()]
        wanted += [(("values", name), name) for name in spec.values]
        if job.zones is not None:
            found += [
                (
                    (*at, *key),
                    f"`{name}` is the zone variable; all zones share the sample, so leave it out",
                )
                for key, name in wanted
                if name == job.zones.variable
            ]
            known = {name: v for name, v in known.items() if name != job.zones.variable}
            wanted = [(key, name) for key, name in wanted if name != job.zones.variable]
        found += [
            (
                (*at, *key),
                f"`{name}` is no variable of this file's records (variables: {', '.join(known)})",
            )
            for key, name in wanted
            if name not in known
        ]
    return found


def _bad_groups(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    if isinstance(job.dependencies, str):
        return []
    known = job.all_variables
    return [
        (("dependencies", i, j), f"`{name}` is no variable (variables: {', '.join(known)})")
        for i, group in enumerate(job.dependencies)
        for j, name in enumerate(group)
        if name not in known
    ]


def _bad_release(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    roles = {table.known_as: table.role for table in job.tables}
    found: list[tuple[tuple[str | int, ...], str]] = []
    for i, name in enumerate(job.scenario.release if job.scenario else ()):
        at = ("scenario", "release", i)
        if name not in roles:
            found.append((at, f"`{name}` is no table (tables: {', '.join(roles)})"))
        elif roles[name] == "validate":
            found.append((at, f"`{name}` has `role: validate` and is not met anyway"))
    control = {name for name, role in roles.items() if role == "control"}
    if control and control <= set(job.released):
        message = "every control table is freed, so nothing would be met"
        found.append((("scenario", "release"), message))
    return found


def _bad_statistics(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    """Return what is wrong between statistics and the rest."""
    if not job.statistics:
        return []
    found: list[tuple[tuple[str | int, ...], str]] = []
    if job.zones is not None:
        message = "`zones` and `statistics` do not go together yet; leave one of the two out"
        found.append((("statistics",), message))
    if job.members is None:
        found += [
            (("statistics", i, "counts"), "the job has no `members`; leave `counts` out")
            for i, spec in enumerate(job.statistics)
            if spec.counts is not None
        ]
    names = [spec.known_as for spec in job.statistics]
    found += [
        (("statistics", i), f"two statistics are named `{name}`; give one of them a `name`")
        for i, name in enumerate(names)
        if names.index(name) < i
    ]
    return found


def _bad_reconcile(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    if isinstance(job.reconcile, str):
        return []
    name, at = job.reconcile.scale_to, ("reconcile", "scale_to")
    roles = {table.known_as: table.role for table in job.tables}
    if name not in roles:
        return [(at, f"`{name}` is no table (tables: {', '.join(roles)})")]
    if roles[name] == "validate" or name in job.released:
        return [(at, f"`{name}` is not met itself; name a control table")]
    return []


def _bad_zones(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    found: list[tuple[tuple[str | int, ...], str]] = []
    zones = job.zones
    if zones is None:
        if job.executor is not None:
            found.append((("executor",), "has no effect without `zones`; leave it out"))
        return found
    given = job.variables.get(zones.variable)
    if given is not None and given.type != "category":
        message = f"`{zones.variable}` is not of `type: category`, which a zone variable must be"
        found.append((("zones", "variable"), message))
    if job.engine.method == "append":
        message = "`engine.method: append` makes no zones; leave one of the two out"
        found.append((("zones",), message))
    found += [
        (("zones", "within", i), f"`{name}` is a variable already; name it only here")
        for i, name in enumerate(zones.within)
        if name in job.all_variables
    ]
    if job.members is not None and zones.variable in job.members.variables:
        message = (
            f"`{zones.variable}` is a variable of a {job.members.name}; zones are where a "
            f"{job.members.of} is"
        )
        found.append((("zones", "variable"), message))
    if isinstance(job.dependencies, list):
        found += [
            (("dependencies", i), f"`{zones.variable}` is the zone variable, no part of a group")
            for i, group in enumerate(job.dependencies)
            if zones.variable in group
        ]
    return found


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
    why, kind = (
        _beside(f"provider.model: {name_of(job.provider.model)}"),
        kind_of(job.provider.model),
    )
    found: dict[Path, str] = {("provider", key): why for key in kind.in_vain}
    if asks_in_focus(job):
        found["engine", "proposals_per_call"] = _one_a_call(job)
    if job.engine.method == "append":
        append = _beside("engine.method: append")
        found |= {("engine", name): append for name in _FOR_CALIBRATION}
        found["output", "row_group"] = append
        if job.engine.proposals_per_call > MOST_APPENDED:
            found.setdefault(
                ("engine", "proposals_per_call"),
                f"is {job.engine.proposals_per_call}, and `engine.method: append` takes at most "
                f"{MOST_APPENDED} in an iteration",
            )
    return found


def given_in_vain(job: Job) -> list[tuple[Path, str]]:
    """Return the options that the job gives and that do nothing, each with what to do."""
    return [
        ((part, name), f"{why}; leave it out, or `--set {part}.{name}=null`")
        for (part, name), why in without_effect(job).items()
        if name in getattr(job, part).model_fields_set
    ]


def _beside(other: str) -> str:
    return f"has no effect with `{other}`"


def _one_a_call(job: Job) -> str:
    if job.engine.plan_style == "focus":
        return f"{_beside('engine.plan_style: focus')} (one proposal a call)"
    return (
        f"{_beside(f'provider.model: {name_of(job.provider.model)}')}, which is asked in the style "
        "`focus` (one proposal a call) unless `engine.plan_style: plan` is given"
    )
