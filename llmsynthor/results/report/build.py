"""Building `report.json`: every figure of the records is recounted from the parquet files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import UndefinedError

from llmsynthor import __version__
from llmsynthor.candidates.library import read_library
from llmsynthor.candidates.proposals import read_proposal_line
from llmsynthor.errors import RunDirectoryError
from llmsynthor.llm.prompts.groups import cover
from llmsynthor.results.dictionary import write_dictionary
from llmsynthor.results.report.counting import count_records
from llmsynthor.results.report.page import render_page
from llmsynthor.results.report.scores import gave_way, scenario_notes, summary, table_scores
from llmsynthor.results.report.spending import (
    calibration_part,
    convergence,
    model_part,
    seconds_part,
)
from llmsynthor.results.report.statistics import missed_statistics
from llmsynthor.results.report.tables import TableView
from llmsynthor.results.report.variables import association_part, ordered_part, zones_part
from llmsynthor.store.directory import EVALUATION, PROPOSALS
from llmsynthor.store.targets_used import load_used, reconciled_notes, with_changes

if TYPE_CHECKING:
    from llmsynthor.candidates.proposals import ProposalLine
    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.job.model import Job
    from llmsynthor.results.report.counting import Counted
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.store.lines import Bulk, Iteration, Manifest
    from llmsynthor.targets.domain import Members

VERSION = 1
"""Of the format of `report.json`; goes up when a key changes its meaning or goes away."""
_OF_AN_ATTEMPT = {"start", "end", "reason", "versions", "git"}
"""What the report tells of an attempt: no host, no process, since reports are passed on."""


@dataclass(frozen=True)
class Sources:
    """What a report is made from."""

    run: RunDirectory
    manifest: Manifest
    job: Job
    sampler: Sampler
    counted: Counted
    iterations: list[Iteration]
    bulk: Bulk
    proposals: list[ProposalLine]


def write_report(run: RunDirectory) -> dict[str, Any]:
    """Write `data_dictionary.json`, `report.html` and last `report.json`; return the latter's content.

    Raises:
        RunDirectoryError: The directory holds no run, or a file of it is damaged.
    """
    sources = read_run(run)
    report, views = build_report(sources)
    write_dictionary(run, sources.job, sources.sampler.tables)
    evaluation = run.read_json(EVALUATION)
    try:
        page = render_page(report, views, sources.iterations, sources.proposals, evaluation)
    except (TypeError, KeyError, ValueError, AttributeError, UndefinedError):
        if evaluation is None:
            raise
        render_page(
            report, views, sources.iterations, sources.proposals, None
        )  # else it is a bug of ours
        raise RunDirectoryError(
            f"{run.path / EVALUATION}: damaged: not what `llmsynthor evaluate` writes",
            hint="remove it, or make it anew: `llmsynthor evaluate DIR MICRODATA`",
        ) from None
    run.write_text("report.html", page)
    run.write_json("report.json", report)
    return report


def build_report(sources: Sources) -> tuple[dict[str, Any], list[TableView]]:
    """Return the report of a run, and the tables' cells."""
    counted, tables = sources.counted, sources.sampler.tables
    held = {
        table.name: counts.reshape(table.share.shape)
        for table, counts in zip(tables.tables, counted.tables, strict=True)
    }
    views = [
        TableView(
            table.name,
            table.role,
            table.scope,
            table.labels,
            table.wanted(max(counted.records, 1)),
            held[table.name],
            table.counted,
        )
        for table in tables.tables
    ]
    report = {
        **_verdict(sources),
        **_provenance(sources),
        "dependencies": [cover(group, tables.control).as_json() for group in sources.bulk.groups],
        "uncovered_pairs": len(tables.uncovered_pairs()),
        "association": association_part(tables, counted.pairs, held),
        "ordered": ordered_part(tables, held),
        "zones": zones_part(tables, held),
        "chunks": sources.bulk.chunks,
        "copies": counted.copies(),
        "llm": model_part(sources.run, sources.job, sources.iterations, sources.proposals),
        "convergence": convergence(sources.iterations),
        "calibration": calibration_part(sources.bulk, counted),
        "seconds": seconds_part(sources.iterations, sources.bulk),
    }
    return report, views


def read_run(run: RunDirectory) -> Sources:
    """Return what the report of a run is made from; its records are counted.

    Raises:
        RunDirectoryError: The directory holds no run, or a file of it is damaged.
    """
    manifest = run.manifest()
    job, sampler = load_used(run)
    iterations, bulk = run.iterations()
    return Sources(
        run,
        manifest,
        job,
        sampler,
        count_records(run, sampler),
        iterations=iterations,
        bulk=bulk,
        proposals=run.lines(PROPOSALS, read_proposal_line),
    )


def _verdict(sources: Sources) -> dict[str, Any]:
    """Return whether the run passes, and what that is judged by: tables, rules, records."""
    job, sampler, counted = sources.job, sources.sampler, sources.counted
    library = read_library(sources.proposals, sampler.tables)
    scores = table_scores(job, sampler, counted.tables, counted.records, library)
    statistics = counted.statistics.part(counted.records)
    manifest = sources.manifest
    complete, members = manifest.is_complete, sampler.members
    return {
        "status": "complete" if complete else "partial",
        "stop_reason": sources.bulk.stop_reason or manifest.stop_reason or "",
        "records": {"asked": job.records, "made": counted.records},
        "pass": complete
        and counted.records == job.records
        and not (sources.bulk.chunks or {}).get("failed")
        and not any(counted.violations.values())
        and counted.linkage.is_whole
        and all(score["pass"] for score in scores if score["role"] == "control")
        and all(entry["pass"] for entry in statistics if entry["role"] == "control"),
        "tables": with_changes(sources.run, scores),
        "statistics": statistics,
        "summary": summary(scores),
        "rules": [
            {
                "name": rule.name,
                "expression": rule.text,
                "violations": counted.violations[rule.name],
            }
            for rule in sampler.rules
        ],
        **({"members": _members_part(members, counted)} if members is not None else {}),
        **({"sources": _sources_part(counted)} if job.seed_sample is not None else {}),
        "scenario": None
        if job.scenario is None
        else {
            "text": job.scenario.text,
            "released": [table.name for table in sampler.tables.released],
        },
        "notes": [
            *reconciled_notes(sources.run),
            *scenario_notes(job, sampler.tables),
            *sources.bulk.notes,
            *gave_way(sampler, counted.tables),
            *missed_statistics(statistics),
        ],
    }


def _members_part(members: Members, counted: Counted) -> dict[str, Any]:
    return {
        "of": members.of,
        "name": members.name,
        "size": members.size,
        "made": counted.members,
        "linkage": asdict(counted.linkage),
    }


def _sources_part(counted: Counted) -> dict[str, int]:
    """Return how many records came from where, in a job with a seed sample."""
    return {
        "seed_sample": counted.copied,
        "model": counted.records - counted.copied - counted.background,
        "background": counted.background,
    }


def _provenance(sources: Sources) -> dict[str, Any]:
    """Return what made the records."""
    manifest, job = sources.manifest, sources.job
    return {
        "version": VERSION,
        "version_llmsynthor": __version__,
        "name": job.name,
        "description": job.description,
        "created": manifest.attempts[-1].end,
        "inputs": manifest.inputs,
        "seed": job.seed,
        "job_fingerprint": manifest.job_fingerprint,
        "attempts": [attempt.model_dump(include=_OF_AN_ATTEMPT) for attempt in manifest.attempts],
    }
