"""Building `report.json`: every figure of the records is recounted from the parquet files."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor import __version__
from llmsynthor.calibration import calibrate
from llmsynthor.controls import controls_of_all
from llmsynthor.dependencies import cover, holds_groups
from llmsynthor.discrepancy import Discrepancy, discrepancy, least_tae, noise_floor_tvd, tvd
from llmsynthor.errors import RunDirectoryError
from llmsynthor.exports.dictionary import write_dictionary
from llmsynthor.jobfile import LoadedJob, parse_job
from llmsynthor.library import library_share, read_library
from llmsynthor.materialize import encode_frame
from llmsynthor.maxent import Factor, MaximumEntropy, TooLargeError, independent_share
from llmsynthor.providers.budget import total_usage
from llmsynthor.providers.replay import REPLY_LOG, replies_in, reply_of
from llmsynthor.providers.structured import simplest
from llmsynthor.report.page import TableView, render_page
from llmsynthor.report.scenario import scenario_notes, scenario_part
from llmsynthor.rules import allowed_share, compile_rules, violations
from llmsynthor.rundir import EVALUATION
from llmsynthor.sampling import Sampler
from llmsynthor.stopping import Effort
from llmsynthor.tables import load_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.job import Job
    from llmsynthor.rundir import RunDirectory
    from llmsynthor.tables import Table, TableSet

TABLES_USED = "tables_used"
_STAGES = ("drawing", "calibrating", "integerizing", "writing")
_SAMPLE = 300_000
_NO_ERROR = 1e-6
"""A TVD below this is none: the baseline's own precision."""


def write_report(run: RunDirectory) -> dict[str, Any]:
    """Write `data_dictionary.json`, `report.html` and last `report.json`; return the latter's content.

    Raises:
        RunDirectoryError: The directory holds no run, or a file of it is damaged.
    """
    report, views, iterations, proposals = build_report(run)
    write_dictionary(run, *used_tables(run))
    evaluation = run.read_json(EVALUATION)
    page = render_page(report, views, iterations, proposals, evaluation)
    run.write_text("report.html", page)
    run.write_json("report.json", report)
    return report


def build_report(
    run: RunDirectory,
) -> tuple[dict[str, Any], list[TableView], list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the report, the tables' cells, the iterations and the proposals of a run."""
    manifest = run.read_json("manifest.json")
    if manifest is None:
        raise RunDirectoryError(f"{run.path}: holds no run (there is no manifest.json)")
    job, sampler = load_used(run)
    lines = run.lines("iterations.jsonl")
    iterations = [line for line in lines if line["iteration"] > 0]
    last = next((line for line in lines if line["iteration"] == 0), {})
    proposals = run.lines("proposals.jsonl")
    counted = _count(run, sampler)
    scores = _table_scores(job, sampler, counted.tables, read_library(proposals, sampler.tables))
    views = [
        TableView(
            t.name,
            t.role,
            t.scope,
            t.labels,
            t.share * max(counted.records, 1),
            c.reshape(t.share.shape),
        )
        for t, c in zip(sampler.tables.tables, counted.tables, strict=True)
    ]
    complete = manifest["status"] == "complete"
    report = {
        "version": 1,
        "version_llmsynthor": __version__,
        "name": job.name,
        "description": job.description,
        "created": manifest["attempts"][-1]["end"],
        "status": "complete" if complete else "partial",
        "stop_reason": last.get("stop_reason") or manifest.get("stop_reason") or "",
        "records": {"asked": job.records, "made": counted.records},
        "pass": complete
        and counted.records == job.records
        and not any(counted.violations.values())
        and all(score["pass"] for score in scores if score["role"] == "control"),
        "tables": scores,
        "summary": _summary(scores),
        "rules": [
            {
                "name": rule.name,
                "expression": rule.text,
                "violations": counted.violations[rule.name],
            }
            for rule in sampler.rules
        ],
        "scenario": scenario_part(job, sampler.tables),
        "dependencies": [
            cover(group, sampler.tables.control).as_json() for group in last.get("groups", [])
        ],
        "uncovered_pairs": len(sampler.tables.uncovered_pairs()),
        "llm": _llm(run, job, iterations, proposals),
        "convergence": _convergence(iterations),
        "calibration": _calibration(last, counted),
        "seconds": _seconds(iterations, last),
        "inputs": manifest["inputs"],
        "seed": job.seed,
        "job_fingerprint": manifest["job_fingerprint"],
        "notes": [
            *scenario_notes(job, sampler.tables),
            *last.get("notes", []),
            *_gave_way(sampler, counted.tables),
        ],
    }
    return report, views, iterations, proposals


def load_used(run: RunDirectory) -> tuple[Job, Sampler]:
    """Return the job of a run, and a sampler over the tables kept in its directory."""
    job, tables = used_tables(run)
    return job, Sampler(tables, compile_rules(job.rules, tables.domain), job.seed)


def used_tables(run: RunDirectory) -> tuple[Job, TableSet]:
    """Return the job of a run, and the tables kept in its directory.

    Raises:
        RunDirectoryError: The job that the run wrote cannot be read.
    """
    path = run.path / "job.resolved.yaml"
    try:
        job = parse_job(path.read_text(encoding="utf-8"), path)
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be read ({error.strerror})") from None
    kept = [
        spec.model_copy(update={"file": used_name(i), "columns": {}, "values": {}, "name": name})
        for i, (spec, name) in enumerate(zip(job.tables, _used_names(run), strict=True))
    ]
    return job, load_tables(LoadedJob(job.model_copy(update={"tables": kept}), path))


def used_name(position: int) -> str:
    """Return where a table that the run used is kept, relative to the run directory."""
    return f"{TABLES_USED}/{position:03d}.csv"


def _used_names(run: RunDirectory) -> list[str]:
    return list(run.read_json(f"{TABLES_USED}/names.json") or [])


def keep_tables(run: RunDirectory, tables: TableSet) -> None:
    """Write the tables as used into the run directory, so that it can be reported on anywhere."""
    import polars as pl

    for position, table in enumerate(tables.tables):
        cells = [np.unravel_index(cell, table.figures.shape) for cell in range(table.cells)]
        columns = {
            name: [table.labels[axis][int(cell[axis])] for cell in cells]
            for axis, name in enumerate(table.scope)
        }
        measures = {table.measure: table.figures} | (
            {} if table.moe is None else {"moe": table.moe}
        )
        for name, array in measures.items():
            columns[name] = [repr(float(x)) for x in array.ravel()]
        frame = pl.DataFrame(columns)
        run.write_text(used_name(position), frame.write_csv())
    run.write_json(f"{TABLES_USED}/names.json", [table.name for table in tables.tables])


class _Counted:
    """What the parquet files hold."""

    def __init__(self, sampler: Sampler) -> None:
        self.records = 0
        self.background = 0
        self.tables = [np.zeros(table.cells) for table in sampler.tables.tables]
        self.violations = {rule.name: 0 for rule in sampler.rules}


def _count(run: RunDirectory, sampler: Sampler) -> _Counted:
    counted = _Counted(sampler)
    domain = sampler.domain
    for index in range(len(run.batch_files())):
        batch = run.read_batch(index)
        if batch is None:
            raise RunDirectoryError(
                f"{run.batch_path(index)}: is missing, though later batches exist; where a run was "
                "stopped amid writing, that is to be expected",
                hint="`llmsynthor run JOB --resume` finishes the run and writes its report",
            )
        records, provenance = batch
        codes = encode_frame(records, sampler)
        counted.records += records.height
        counted.background += provenance["proposal"].null_count()
        for counts, table in zip(counted.tables, sampler.tables.tables, strict=True):
            counts += table.tally(codes, domain)
        for name, number in violations(sampler.rules, records).items():
            counted.violations[name] += number
    return counted


def _table_scores(
    job: Job, sampler: Sampler, counts: Sequence[np.ndarray], library: Sequence[Any]
) -> list[dict[str, Any]]:
    tables = sampler.tables
    maxent = maxent_shares(sampler, job.records)
    scores = []
    for table, held, baseline in zip(tables.tables, counts, maxent, strict=True):
        found: Discrepancy = discrepancy(table.flat_share, held)
        control = table.role == "control"
        tolerance = job.engine.tolerance if table.tolerance is None else table.tolerance
        beyond = _beyond_moe(table, held)
        scores.append(
            {
                "name": table.name,
                "scope": list(table.scope),
                "role": table.role,
                "cells": table.cells,
                **asdict(found),
                "noise_floor_tvd": noise_floor_tvd(table.share, job.records),
                "tae_least": least_tae(table.flat_share, int(held.sum())),
                "soft": table.is_soft,
                "weight": table.weight,
                "cells_beyond_moe": beyond,
                "tolerance": tolerance if control else None,
                "pass": bool(found.tvd <= tolerance or beyond == 0) if control else None,
                "baseline": {
                    "independent": tvd(table.share, independent_share(table, sampler.marginals)),
                    "maxent": _or_zero(tvd(table.share, baseline)),
                },
                "prior_tvd": tvd(table.share, library_share(library, table, tables))
                if library
                else None,
            }
        )
    return scores


def _beyond_moe(table: Table, held: np.ndarray) -> int | None:
    """Return how many cells lie outside their margin of error; None where none is published."""
    if table.moe is None:
        return None
    scale = float(held.sum()) / table.total
    apart = np.abs(held - table.figures.ravel() * scale)
    return int((apart > table.moe.ravel() * scale + 1.0).sum())  # records are whole


def _gave_way(sampler: Sampler, counts: Sequence[np.ndarray]) -> list[str]:
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
            f"`{table.name}` (soft) gave way: {moved:,.0f} of {held.sum():,.0f} records are in other "
            f"cells of it than it says; most in {table.cell_name(cell)}, which wants "
            f"{target[cell]:,.1f} records and has {held[cell]:,.0f}"
        )
    return notes


def maxent_shares(sampler: Sampler, records: int) -> list[np.ndarray]:
    """Return the maximum-entropy share of each cell, by table, given the control tables and rules.

    Exact where no table is soft and the tables are not too entangled, else from a large sample
    calibrated to them.
    """
    if any(table.is_soft for table in sampler.tables.control):
        return _sampled_maxent(sampler, records)
    factors: list[Factor] = []
    for rule in sampler.rules:
        allowed = allowed_share(rule, sampler.domain)
        if allowed is None:
            return _sampled_maxent(sampler, records)
        factors.append((rule.scope, allowed))
    try:
        fitted = MaximumEntropy(sampler.tables, factors)
        return [fitted.margin(table) for table in sampler.tables.tables]
    except TooLargeError:
        return _sampled_maxent(sampler, records)


def _sampled_maxent(sampler: Sampler, records: int) -> list[np.ndarray]:
    candidates, _ = sampler.candidates([], 1.0, _SAMPLE, 0)
    controls = controls_of_all(sampler.tables.control, records, candidates.codes, sampler.domain)
    weights = calibrate(controls, candidates.prior).weights
    return [_weighted(table, candidates.codes, weights, sampler) for table in sampler.tables.tables]


def _weighted(table: Table, codes: np.ndarray, weights: np.ndarray, sampler: Sampler) -> np.ndarray:
    held = table.tally(codes, sampler.domain, weights)
    return np.asarray((held / held.sum()).reshape(table.share.shape))


def _or_zero(distance: float) -> float:
    return distance if distance > _NO_ERROR else 0.0


def _summary(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
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


def _llm(
    run: RunDirectory,
    job: Job,
    iterations: Sequence[dict[str, Any]],
    proposals: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    log = run.lines(REPLY_LOG)
    replies = replies_in(log)
    usage = total_usage(replies)
    accepted = sum(bool(line["accepted"]) for line in proposals)
    repairs, mended = (
        sum(line.get(name, 0) for line in iterations) for name in ("repairs", "mended")
    )
    to_read, unread = _read(log, iterations)
    return {
        "model": job.provider.model,
        "models_answered": sorted({reply.model for reply in replies}),
        "calls": usage.calls,
        "failed_calls": sum(line["failed_calls"] for line in iterations),
        "repair_calls": repairs,
        "unread_replies": unread,
        "parse_failure_rate": unread / to_read if to_read else None,
        "mended": mended,
        "structured": simplest(reply.structured for reply in replies),
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "cost_usd": 0.0 if job.provider.model in ("none", "replay") else usage.known_cost_usd,
        "proposals": {"accepted": accepted, "rejected": len(proposals) - accepted},
        "rejection_rate": 1 - accepted / len(proposals) if proposals else None,
    }


def _read(log: Sequence[dict[str, Any]], iterations: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Return how many replies were to be read, and how many of them held nothing readable.

    To be read are plans, repairs and the groups of dependent variables. Nothing readable is a reply
    without a list of proposals, or of groups; one whose proposals are all refused was read.
    """
    groups = [reply_of(r).text for r in log if r["purpose"] == "dependencies" and "reply" in r]
    to_read = len(groups) + sum(line["calls"] for line in iterations)
    unread = sum(line.get("unread_replies", 0) for line in iterations)
    return to_read, unread + sum(not holds_groups(text) for text in groups)


def _calibration(last: dict[str, Any], counted: _Counted) -> dict[str, Any] | None:
    if "kl" not in last:
        return None
    return {
        "kl": last["kl"],
        "effective_sample_size": last["effective_sample_size"],
        "max_copies": last["max_copies"],
        "background_share": counted.background / max(counted.records, 1),
        "candidates": last["candidates"],
        "mutants": last["mutants"],
        "converged": last["converged"],
    }


def _convergence(iterations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what asking came to after each iteration: what it had used, and what that was worth."""
    keys = ("iteration", "prior_tvd", "data_tvd", *(f.name for f in fields(Effort)))
    return [{**{key: line.get(key) for key in keys}, **line["so_far"]} for line in iterations]


def _seconds(iterations: Sequence[dict[str, Any]], last: dict[str, Any]) -> dict[str, float]:
    asking = sum(line["seconds_asking"] for line in iterations)
    parts = {
        "asking": asking,
        "pilots": sum(line["seconds"] for line in iterations) - asking,
        **{name: last.get(f"seconds_{name}", 0.0) for name in _STAGES},
    }
    return {name: round(x, 3) for name, x in {**parts, "total": sum(parts.values())}.items()}
