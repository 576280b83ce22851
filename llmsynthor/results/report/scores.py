"""How near the records are to each table, beside chance and baselines; what of it is worth a note."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.candidates.library import library_share
from llmsynthor.fitting.controls import implies
from llmsynthor.fitting.maxent import independent_share
from llmsynthor.results.baselines import maxent_shares
from llmsynthor.targets.measures import discrepancy, least_tae, noise_floor_tvd, tvd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.job.model import Job
    from llmsynthor.targets.table import Table, TableSet

_NOISE = 1e-6
_NO_ERROR = 1e-6
"""A TVD below this is none: the baseline's own precision."""


def table_scores(
    job: Job, sampler: Sampler, counts: Sequence[np.ndarray], made: int, library: Sequence[Any]
) -> list[dict[str, Any]]:
    """Return the measures of each table, in the job's order.

    `counts` are records in each cell, by table, or members where the table counts them; the library
    of accepted proposals is empty where no model was asked.
    """
    tables = sampler.tables
    maxent = maxent_shares(sampler, job.records)
    return [
        {
            "name": table.name,
            "scope": list(table.scope),
            "role": table.role,
            "counts": table.counted,
            "cells": table.cells,
            **asdict(discrepancy(table.flat_share, held, _wanted(table, made))),
            "noise_floor_tvd": noise_floor_tvd(table.share, round(job.records * table.per_record)),
            "tae_least": least_tae(table.flat_share, int(held.sum())),
            "soft": table.is_soft,
            "weight": table.weight,
            **_verdict(table, held, job),
            "baseline": {
                "independent": tvd(table.share, independent_share(table, sampler.marginals)),
                "maxent": _or_zero(tvd(table.share, baseline)),
            },
            "prior_tvd": tvd(table.share, library_share(library, table, tables))
            if library
            else None,
        }
        for table, held, baseline in zip(tables.tables, counts, maxent, strict=True)
    ]


def _wanted(table: Table, records: int) -> float | None:
    """Return how many members so many records should have, for a table that counts members."""
    return None if table.members is None else records * table.per_record


def _verdict(table: Table, held: np.ndarray, job: Job) -> dict[str, Any]:
    """Return tolerance, cells beyond their margin of error, and whether a control table passes."""
    control = table.role == "control"
    tolerance = job.engine.tolerance if table.tolerance is None else table.tolerance
    beyond = _beyond_moe(table, held)
    apart = np.abs(held - table.flat_share * held.sum()).max(initial=0.0)
    # a target that is no whole number of records cannot be met more nearly than to one record
    reasons = {
        "tolerance": discrepancy(table.flat_share, held).tvd <= tolerance,
        "margin of error": beyond == 0,
        "whole records": apart < 1 - _NOISE,
        "rounding": _within_rounding(table, held),
    }
    passes_by = next((reason for reason, holds in reasons.items() if holds), None)
    return {
        "cells_beyond_moe": beyond,
        "tolerance": tolerance if control else None,
        "pass": passes_by is not None if control else None,
        "passes_by": passes_by if control else None,
    }


def _beyond_moe(table: Table, held: np.ndarray) -> int | None:
    """Return how many cells lie outside their margin of error; None where none is published."""
    if table.moe is None:
        return None
    scale = float(held.sum()) / table.total
    apart = np.abs(held - table.figures.ravel() * scale)
    return int((apart > table.moe.ravel() * scale + 1.0).sum())  # records are whole


def _within_rounding(table: Table, held: np.ndarray) -> bool:
    """Return whether each cell is as near to the published figure as its rounding lets the true one be."""
    if table.rounding <= 0:
        return False
    room = table.rounding_room(table.flat_share) * held.sum()
    apart = np.abs(held - table.flat_share * held.sum())
    return bool((apart <= room + 1.0).all())  # records are whole


def _or_zero(distance: float) -> float:
    return distance if distance > _NO_ERROR else 0.0


def summary(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the scores in a few figures: control tables, held-out tables, and their ratio."""
    control = [s["tvd"] for s in scores if s["role"] == "control"]
    held_out = [s["tvd"] for s in scores if s["role"] == "validate"]
    baseline = [s["baseline"]["maxent"] for s in scores if s["role"] == "validate"]
    known = bool(held_out) and float(np.mean(baseline)) > _NO_ERROR
    ratio = float(np.mean(held_out) / np.mean(baseline)) if known else None
    return {
        "control_tvd_max": max(control),
        "control_tvd_mean": float(np.mean(control)),
        "validate_tvd_mean": float(np.mean(held_out)) if held_out else None,
        "validate_maxent_mean": float(np.mean(baseline)) if held_out else None,
        "validate_ratio": ratio,
    }


def gave_way(sampler: Sampler, counts: Sequence[np.ndarray]) -> list[str]:
    """Return a sentence for each soft table that records could not meet, with its worst cell."""
    notes = []
    for table, held in zip(sampler.tables.tables, counts, strict=True):
        target = table.flat_share * held.sum()
        apart = np.abs(held - target)
        moved = apart.sum() / 2
        if not (table.is_soft and table.role == "control" and apart.max(initial=0.0) >= 1):
            continue
        cell = int(np.argmax(apart))
        notes.append(
            f"`{table.name}` (soft) gave way: {moved:,.0f} of {held.sum():,.0f} {table.counted} are in "
            f"other cells of it than it says; most in {table.cell_name(cell)}, which wants "
            f"{target[cell]:,.1f} {table.counted} and has {held[cell]:,.0f}"
        )
    return notes


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
