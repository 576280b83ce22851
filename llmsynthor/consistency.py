"""Parts of a job that are each right by themselves and do not fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsynthor.options import given_in_vain

if TYPE_CHECKING:
    from llmsynthor.job import Job


def inconsistencies(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    """Return where parts of a job, each right by itself, do not fit: the place and what is wrong."""
    return [*_bad_names(job), *_bad_groups(job), *_bad_release(job), *given_in_vain(job)]


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


def _bad_groups(job: Job) -> list[tuple[tuple[str | int, ...], str]]:
    if isinstance(job.dependencies, str):
        return []
    return [
        (("dependencies", i, j), f"`{name}` is no variable (variables: {', '.join(job.variables)})")
        for i, group in enumerate(job.dependencies)
        for j, name in enumerate(group)
        if name not in job.variables
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
