"""Preview: what a run would ask, what it could use at most, and what its records look like."""

from __future__ import annotations

import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsynthor.app.asker import make_asker, nobody_asked
from llmsynthor.app.prepare import setup_of
from llmsynthor.candidates.library import said
from llmsynthor.engine.loop import Engine
from llmsynthor.engine.paper_loop import AppendEngine, append_job
from llmsynthor.engine.zones.plan import plan_words, planned
from llmsynthor.errors import InputError
from llmsynthor.job.providers import kind_of
from llmsynthor.llm.budget import most_usage
from llmsynthor.llm.providers.base import OutOfRepliesError, Stop, source_of
from llmsynthor.llm.providers.discovery import AUTO
from llmsynthor.seeds import generator
from llmsynthor.store.batches import split
from llmsynthor.store.directory import RunDirectory
from llmsynthor.store.materialize import Materializer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.app.prepare import Prepared
    from llmsynthor.candidates.proposals import Proposal
    from llmsynthor.engine.loop import Listener
    from llmsynthor.job.model import Job
    from llmsynthor.llm.ask import Round
    from llmsynthor.llm.providers.base import Provider, Reply, Request

RECORDS = 20
_CANDIDATES = 4000
_NOTHING: dict[str, Any] = {
    "calls": 0,
    "plan_calls": 0,
    "repair_calls": 0,
    "dependency_calls": 0,
    "tokens": 0,
    "cost_usd": 0.0,
    "cut_by": [],
    "price": "none",
    "refused": False,
    "minutes": None,
}
"""What a run without a model can use."""


class _OneCall:
    """Lets one plan request through, the first; a recording would say that it has no more."""

    def __init__(self, inner: Provider) -> None:
        self._inner = inner

    def complete(self, request: Request) -> Reply:
        """Return the reply to the first plan request; see `Provider.complete`."""
        if (request.purpose, request.sequence) != ("plan", 0):
            raise OutOfRepliesError(Stop("preview", "a preview makes one call"))
        return self._inner.complete(request)

    def close(self) -> None:
        """End what the provider keeps open, such as a process of its own."""
        self._inner.close()


def preview(
    prepared: Prepared, listener: Listener, *, ask: bool, page: Path | None = None
) -> dict[str, Any]:
    """Return what a run of the job would do; with `ask` one plan call is made.

    A place for a `page` is checked before anything is asked.

    Raises:
        InputError: `ask`, and the job names no model or lacks its key.
    """
    if page is not None:
        _check_page(page)
    job = prepared.job
    job = append_job(job) if job.engine.method == "append" else job
    if kind_of(job.provider.model).source is None:
        if ask:
            raise InputError(
                f"`--ask`: the job names no model (`provider.model: {job.provider.model}`)"
            )
        return _found(prepared, None, None, [], None)
    first, found = _first_round(prepared, job, listener, ask=ask)
    prompt, most = _metered(prepared, job, first)
    library = found.proposals if found else []
    return _found(prepared, prompt, most, library, _shown_plan(found) if found else None)


def write_page(found: dict[str, Any], path: Path) -> None:
    """Write what `preview` returned as a page.

    Raises:
        InputError: The file cannot be written.
    """
    from llmsynthor.results.report.page import render_preview

    temporary = path.with_name(path.name + ".part")
    try:
        temporary.write_text(render_preview(found), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written ({error.strerror})") from None
    finally:
        temporary.unlink(missing_ok=True)


def _check_page(path: Path) -> None:
    """Refuse a place where something else would be lost, before a call is paid for.

    Raises:
        InputError: It does not end in `.html`, or there is no such folder.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"--out {path}: the page is HTML; name a file that ends in `.html`")
    if not path.parent.is_dir() or path.is_dir():
        reason = "is a folder" if path.is_dir() else f"there is no folder `{path.parent}`"
        raise InputError(f"--out {path}: {reason}")


def _first_round(
    prepared: Prepared, job: Job, listener: Listener, *, ask: bool
) -> tuple[Request, Round | None]:
    """Return the first plan request of a run, and what came of it if it was sent."""
    with tempfile.TemporaryDirectory(prefix="llmsynthor-") as folder:
        run = RunDirectory(Path(folder))
        asker = make_asker(prepared, job, run, listener) if ask else nobody_asked(prepared, job)
        only = _OneCall(asker.provider)
        asker.provider = only
        kind = AppendEngine if job.engine.method == "append" else Engine
        engine = kind(job, prepared.sampler, run, listener, time.monotonic, asker)
        if isinstance(job.dependencies, list):
            engine.state.groups = [list(group) for group in job.dependencies]
        with closing(only):
            context = engine.plan_context(asker, 1)
            first = asker.plan_requests(1, context)[0]
            return first, asker.ask_plans(1, context, 0) if ask else None


def _metered(prepared: Prepared, job: Job, first: Request) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the first prompt with its tokens, and the most that a run can use; nobody is asked."""
    known = job.provider.model != AUTO
    source = source_of(setup_of(job, prepared.loaded)) if known else None
    # where no tokenizer is meant: four bytes each, as English has
    roughly = -(-len(f"{first.system}{first.prompt}".encode("utf-8", "replace")) // 4)
    tokens = (source.count_tokens(first) if source else 0) or roughly
    prompt = {
        "system": first.system,
        "prompt": first.prompt,
        "tokens": tokens,
        "tokens_are": source.counts if source else "about",
    }
    return prompt, most_usage(job, tokens, source.price() if source else None)


def _found(
    prepared: Prepared,
    prompt: dict[str, Any] | None,
    most: dict[str, Any] | None,
    library: Sequence[Proposal],
    plan: dict[str, Any] | None,
) -> dict[str, Any]:
    job = prepared.job
    pairs = prepared.sampler.tables.uncovered_pairs()
    records, own = _records(prepared, library)
    return {
        "name": job.name,
        "description": job.description,
        "model": job.provider.model,
        "model_found": prepared.model_found,
        "refused": prepared.refused,
        "records_asked": job.records,
        "zones": None
        if prepared.zoned is None
        else {**(chunks := planned(prepared.zoned, job)), "words": plan_words(chunks)},
        "tables": [
            {
                "name": table.name,
                "scope": list(table.scope),
                "cells": table.cells,
                "role": table.role,
                "soft": table.is_soft,
            }
            for table in prepared.tables.tables
        ],
        "statistics": [
            {
                "name": statistic.name,
                "what": statistic.words,
                "figures": len(statistic.groups),
                "role": statistic.role,
            }
            for statistic in prepared.tables.statistics
        ],
        "uncovered_pairs": len(pairs),
        "uncovered": [list(pair) for pair in pairs],
        "groups_inferred_first": prompt is not None and job.dependencies == "infer",
        "prompt": prompt,
        "plan": plan,
        "records": records,
        **({"member": job.members.name, "member_records": own} if job.members else {}),
        "records_from": "plan" if library else "background",
        "most": most or dict(_NOTHING),
    }


def _shown_plan(found: Round) -> dict[str, Any]:
    return {
        "calls": found.usage.calls,
        "prompt_tokens": found.usage.prompt_tokens,
        "completion_tokens": found.usage.completion_tokens,
        "cost_usd": found.usage.known_cost_usd,
        "problem": next((plan.problem for plan in found.plans if plan.problem), None),
        "proposals": [
            {"id": p.id, "count": p.count, "reason": p.reason, **said(p)} for p in found.proposals
        ],
        "rejections": [
            {"id": r.id, "reason": r.reason, "problem": r.problem} for r in found.rejections
        ],
        "stop": None if found.plans or found.stop is None else found.stop.words,
    }


def _records(
    prepared: Prepared, library: Sequence[Proposal]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a few records of the prior, and their members.

    They are not calibrated to the tables, but no rule is broken.
    """
    sampler = prepared.sampler
    candidates, _ = sampler.candidates(library, 0.0 if library else 1.0, _CANDIDATES, 0)
    random = generator(prepared.job.seed, "preview")
    number = min(RECORDS, prepared.job.records)
    rows = random.choice(len(candidates), size=number, p=candidates.prior / candidates.prior.sum())
    materializer = Materializer(sampler, candidates, {p.id: p for p in library})
    frame, _ = materializer.records(rows, random)
    if sampler.members is None:
        return frame.to_dicts(), []
    records, own = split(frame, sampler.members, 0)
    return records.to_dicts(), own.to_dicts()
