"""What became of tables that disagreed or lacked cells: kept in the run directory, and told in the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmsynthor.errors import RunDirectoryError
from llmsynthor.store.directory import MENDING
from llmsynthor.store.shapes import wrong_reconciled
from llmsynthor.store.targets_used import TABLES_USED
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.reconcile.reconcile import Reconciled
    from llmsynthor.targets.table import Table

_MOST_CELLS = 200
"""Filled cells of a table that the report names."""
_KEPT = f"{TABLES_USED}/reconciled.json"


def keep_reconciled(run: RunDirectory, reconciled: Reconciled) -> None:
    """Write what was done so that the tables agree into the run directory."""
    content = {
        "notes": [str(note) for note in reconciled.notes],
        "tables": {change.used.name: change.as_json() for change in reconciled.changes},
        "filled": {t.name: _filled(t) for t in reconciled.tables.tables if t.filled},
    }
    run.write_json(_KEPT, content)


def reconciled_notes(run: RunDirectory) -> list[str]:
    """Return what a reader must know of how the tables were made to agree."""
    return list(_kept(run).get("notes", []))


def with_changes(run: RunDirectory, scores: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the measures of each table with what was changed or filled in it, None where nothing was."""
    kept = _kept(run)
    changes, filled = kept.get("tables", {}), kept.get("filled", {})
    return [
        {
            **score,
            "reconciled": changes.get(score["name"]),
            "filled": filled.get(score["name"]),
        }
        for score in scores
    ]


def _kept(run: RunDirectory) -> dict[str, Any]:
    """Return what was kept, nothing where an older run kept none.

    Raises:
        RunDirectoryError: It is damaged.
    """
    found = run.read_json(_KEPT)
    wrong = None if found is None else wrong_reconciled(found)
    if wrong is not None:
        raise RunDirectoryError(f"{run.path / _KEPT}: damaged: {wrong}", hint=MENDING)
    return dict(found or {})


def _filled(table: Table) -> dict[str, Any]:
    """Return which cells the publisher does not give, and what stands in for them."""
    moe = table.moe
    return {
        "number": table.filled,
        "from": table.filled_from,
        "cells": [
            {
                "cell": clean(table.cell_name(cell)),
                "figure": float(table.figures.flat[cell]),
                "moe": 0.0 if moe is None else float(moe.flat[cell]),
            }
            for cell in table.filled_cells[:_MOST_CELLS]
        ],
    }
