"""What became of tables that disagreed: kept in the run directory, and told in the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmsynthor.report.used import TABLES_USED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.reconcile import Reconciled
    from llmsynthor.rundir import RunDirectory

_KEPT = f"{TABLES_USED}/reconciled.json"


def keep_reconciled(run: RunDirectory, reconciled: Reconciled) -> None:
    """Write what was done so that the tables agree into the run directory."""
    content = {
        "notes": [str(note) for note in reconciled.notes],
        "tables": {change.used.name: change.as_json() for change in reconciled.changes},
    }
    run.write_json(_KEPT, content)


def reconciled_notes(run: RunDirectory) -> list[str]:
    """Return what a reader must know of how the tables were made to agree."""
    return list((run.read_json(_KEPT) or {}).get("notes", []))


def with_changes(run: RunDirectory, scores: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the measures of each table with what was changed in it, None where nothing was."""
    changes = (run.read_json(_KEPT) or {}).get("tables", {})
    return [{**score, "reconciled": changes.get(score["name"])} for score in scores]
