"""Options of a job that cannot have an effect beside others; given all the same, they are errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmsynthor.job.model import Job

LOCAL_PREFIX = "local:"
MOST_APPENDED = 5
"""The paper's loop takes at most five proposals in an iteration."""
_FOR_SERVERS = ("api_base", "api_key_env", "rpm", "tpm", "price_per_mtok", "structured")
_FOR_CALIBRATION = ("background", "candidates", "pilot_share", "patience")
Path = tuple[str, str]


def is_local(model: str) -> bool:
    """Return whether a model is a file on this machine."""
    return model.startswith(LOCAL_PREFIX)


def asks_in_focus(job: Job) -> bool:
    """Return whether the job's model is asked in focus style.

    `auto` is that for local models, where records have no members.
    """
    style = job.engine.plan_style
    auto = style == "auto" and job.members is None
    return style == "focus" or (auto and is_local(job.provider.model))


def without_effect(job: Job) -> Mapping[Path, str]:
    """Return the options that do nothing in this job, given or not, each with why.

    Example of a reason: ``has no effect with `engine.method: append```.
    """
    found: dict[Path, str] = {}
    if is_local(job.provider.model):
        found |= {("provider", name): _beside("provider.model: local:") for name in _FOR_SERVERS}
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
        f"{_beside('provider.model: local:')}, which is asked in the style `focus` (one proposal a "
        "call) unless `engine.plan_style: plan` is given"
    )
