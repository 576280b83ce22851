"""The scenario in the report: what it frees, and what holds against it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmsynthor.fitting.controls import implies

if TYPE_CHECKING:
    from llmsynthor.job.model import Job
    from llmsynthor.targets.table import Table, TableSet


def scenario_part(job: Job, tables: TableSet) -> dict[str, Any] | None:
    """Return the report's part on the scenario, or None."""
    if job.scenario is None:
        return None
    return {"text": job.scenario.text, "released": [table.name for table in tables.released]}


def scenario_notes(job: Job, tables: TableSet) -> list[str]:
    """Return what a reader must know of a scenario: which shifts the tables forbid."""
    if job.scenario is None:
        return []
    if not tables.released:
        return [
            "the scenario frees no table: the control tables hold, so it cannot shift what they "
            "count, only what goes together elsewhere; `scenario: {text: ..., release: [...]}` "
            "frees tables by name"
        ]
    return [note for table in tables.released if (note := _still_held(table, tables))]


def _still_held(table: Table, tables: TableSet) -> str | None:
    fixing = [other.name for other in tables.hard if implies(other, table)]
    if fixing:
        return (
            f"the scenario frees `{table.name}`, but `{fixing[0]}` gives the same figures and is "
            "met: release it too"
        )
    held = [name for name in table.scope if any(name in t.scope for t in tables.control)]
    if held:
        return (
            f"the scenario frees `{table.name}`; the shares of {', '.join(held)} still hold, other "
            "control tables have them"
        )
    return None
