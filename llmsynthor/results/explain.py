"""Explaining one record: what proposed it, what that answered, and how it stands to its proposal."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from llmsynthor.candidates.boxes import BoxError, read_box, takes_in
from llmsynthor.candidates.layouts import weighed
from llmsynthor.candidates.library import read_library
from llmsynthor.candidates.proposals import AcceptedLine, read_proposal_line
from llmsynthor.candidates.seed_sample import SEED_RECORD
from llmsynthor.errors import RunDirectoryError
from llmsynthor.llm.providers.replay import (
    PROMPT_LOG,
    REPLY_LOG,
    Answered,
    PromptLine,
    read_reply_line,
)
from llmsynthor.store.directory import PROPOSALS, DamagedBatchError
from llmsynthor.store.targets_used import load_used, weight_of
from llmsynthor.text import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.domain import Members, Variable

BACKGROUND_MEANS = (
    "no proposal: drawn from the tables alone, which needs no model; the record stands here because "
    "the tables want it"
)


def explain(run: RunDirectory, number: int) -> dict[str, Any]:
    """Return what is known of one record.

    Args:
        run: The run's directory.
        number: Of the record, from 0, through `data/*.parquet` in the order of their names.

    Raises:
        RunDirectoryError: There is no run, no such record, or nothing that says where it came from.
    """
    manifest = run.manifest()
    index, row = _place(run, number)
    record, iteration, source, copied = _read(run, index, row)
    _, sampler = load_used(run)
    members, variables = sampler.members, sampler.tables.of_records.domain.variables
    line = None if source is None else _proposal_line(run, source)
    more: dict[str, Any] = {}
    if members is not None:
        key = record.pop(members.key)
        own = run.read_members(index).filter(pl.col(members.key) == key).sort(members.ordinal)
        more = {
            "key": {members.key: key},
            "member": members.name,
            "members": members_beside(sampler, members, own, line),
        }
    # without what a zone lies within
    record = {variable.name: record[variable.name] for variable in variables}
    return {
        "record": number,
        "file": f"data/{index:05d}.parquet",
        "row": row,
        "values": record,
        "iteration": iteration,
        "made_in": _made_in(run, iteration),
        "source": "proposal" if source is not None else "seed_sample" if copied else "background",
        "meaning": BACKGROUND_MEANS if source is None and copied is None else None,
        "siblings": _records_of(run, source, copied),
        "seed_record": None
        if copied is None
        else {"key": copied, "weight": weight_of(run, copied)},
        "model": manifest.model,
        "table_share": table_shares(sampler, variables, record),
        "proposal": None if line is None else _proposal(run, sampler, line, record),
        **more,
    }


def _place(run: RunDirectory, number: int) -> tuple[int, int]:
    """Return the batch and the row in it of a record."""
    row = number
    for path in run.batch_files():
        held = run.batch_rows(int(path.stem))
        if row < held:
            return int(path.stem), row
        row -= held
    there = number - row
    last = f", so the last is {there - 1}" if there else ""
    raise RunDirectoryError(
        f"{run.path}: there is no record {number}: it holds {there:,} records, counted from 0{last}"
    )


def _read(
    run: RunDirectory, index: int, row: int
) -> tuple[dict[str, Any], int, int | None, str | None]:
    """Return a record's values, its batch's iteration, its proposal and what it is a copy of."""
    path = run.provenance_path(index)
    if not path.exists():
        raise RunDirectoryError(
            f"{path}: is missing, and nothing else says where the records of {run.batch_path(index)} "
            "came from",
            hint="`llmsynthor run JOB --out DIR --replay` makes records and provenance again from "
            "the recorded replies, without a call",
        )
    batch = run.read_batch(index)
    if batch is None:
        raise RunDirectoryError(f"{run.batch_path(index)}: has just been removed")
    records, provenance = batch
    entry = provenance.row(row, named=True)
    copied = entry.get(SEED_RECORD)
    return records.row(row, named=True), int(entry["iteration"]), entry["proposal"], copied


def _made_in(run: RunDirectory, iteration: int) -> str:
    """Return in words when the record was made."""
    if iteration:
        return f"the batch of iteration {iteration}"
    asked = len(run.iterations()[0])
    return f"the bulk, after {count_of(asked, 'iteration')} of asking" if asked else "the bulk"


def _records_of(run: RunDirectory, source: int | None, copied: str | None) -> int:
    """Return how many records came from a proposal, a seed record, or the background."""
    wanted = pl.col("proposal").is_null() if source is None else pl.col("proposal") == source
    total = 0
    for path in run.batch_files():
        there = run.provenance_path(int(path.stem))
        try:
            lines = pl.scan_parquet(there)
            if SEED_RECORD in lines.collect_schema().names():
                wanted = wanted & pl.col(SEED_RECORD).eq_missing(pl.lit(copied))
            total += int(lines.filter(wanted).select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DamagedBatchError(there, str(error).splitlines()[0][:120]) from None
    return total


def _proposal_line(run: RunDirectory, source: int) -> AcceptedLine:
    lines = run.lines(PROPOSALS, read_proposal_line)
    line = next((line for line in lines if line.id == source), None)
    if not isinstance(line, AcceptedLine):
        raise RunDirectoryError(f"{run.path / PROPOSALS}: does not have proposal {source}")
    return line


def _proposal(
    run: RunDirectory, sampler: Sampler, line: AcceptedLine, record: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a proposal with the record's values beside its own, and what it answered."""
    variables = sampler.tables.of_records.domain.variables
    guidance, problem = _guidance(run, line.request)
    reply, reply_problem = _reply(run, line.request)
    return {
        **line.model_dump(include={"id", "iteration", "reason", "count", "values"}),
        **beside(sampler, variables, line.values, record),
        "reply": reply,
        "reply_problem": reply_problem,
        "guidance": guidance,
        "guidance_problem": problem,
    }


def _why_missing(name: str, damaged: int) -> str:
    if damaged:
        return f"{name}: {count_of(damaged, 'line')} cannot be read, and this one may be there"
    return f"not kept (there is no such request in {name})"


def _reply(run: RunDirectory, key: str | None) -> tuple[dict[str, Any] | None, str | None]:
    """Return the logged reply that a proposal stands in, or why it cannot be shown."""
    lines, damaged = run.readable_lines(REPLY_LOG, read_reply_line)
    line = next((x for x in lines if isinstance(x, Answered) and x.key == key), None)
    if line is None:
        return None, _why_missing(REPLY_LOG, damaged)
    where = {"key": key, "purpose": line.purpose, "sequence": line.sequence}
    return {**where, **line.reply.model_dump()}, None


def _guidance(run: RunDirectory, key: str | None) -> tuple[dict[str, Any] | None, str | None]:
    """Return what the model was told and asked, as it was sent, or why that cannot be shown."""
    lines, damaged = run.readable_lines(PROMPT_LOG, PromptLine.model_validate)
    line = next((x for x in lines if x.key == key), None)
    if line is None:
        return None, _why_missing(PROMPT_LOG, damaged)
    return line.model_dump(include={"purpose", "system", "prompt", "focus", "gaps"}), None


def _code(variable: Variable, value: Any) -> int:  # noqa: ANN401 - a record's value
    """Return the category or bin of a record's value."""
    if variable.is_numeric:
        return int(variable.encode_values(np.array([value]))[0])
    return variable.codes[value]


def table_shares(
    sampler: Sampler, variables: Sequence[Variable], record: Mapping[str, Any]
) -> dict[str, float | None]:
    """Return for each variable the share that the tables give the record's category or bin.

    Shares of a member's variable are of members. It is None where no table of their level has it.
    """
    return {
        v.name: float(sampler.marginals[v.name][_code(v, record[v.name])])
        if sampler.tables.has_marginal(v.name)
        else None
        for v in variables
    }


def beside(
    sampler: Sampler,
    variables: Sequence[Variable],
    said: Mapping[str, Any],
    record: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Return how a record's values stand to what a proposal says; of what is unreadable None.

    Returns:
        `inside`: for each variable whether the value is in the proposal; `share`: the share that the
        proposal gives the value's category or bin.
    """
    found: dict[str, dict[str, Any]] = {"inside": {}, "share": {}}
    for v in variables:
        found["inside"][v.name] = found["share"][v.name] = None
        with suppress(BoxError, KeyError):
            holds = takes_in(v, said[v.name], record[v.name], sampler.marginals[v.name])
            found["inside"][v.name] = holds
        with suppress(BoxError, KeyError):
            box, _ = read_box(v, said[v.name], sampler.marginals[v.name])
            found["share"][v.name] = float(box.share[_code(v, record[v.name])])
    return found


def members_beside(
    sampler: Sampler, members: Members, own: pl.DataFrame, line: AcceptedLine | None
) -> list[dict[str, Any]]:
    """Return the members of one record, in order of their numbers, each beside what proposed it.

    That is an entry in the proposal's line; a record of the background has no line.
    """
    variables = members.own.variables
    rows = own.to_dicts()
    made = _entries(sampler, members, rows, line)
    found = []
    for row, entry in zip(rows, made, strict=True):
        values = {v.name: row[v.name] for v in variables}
        said = {} if line is None or entry is None else line.members[entry]["values"]
        found.append(
            {
                "number": int(row[members.ordinal]),
                "values": values,
                "table_share": table_shares(sampler, variables, values),
                "entry": entry,
                "said": said or None,
                "inside": None,
                "share": None,
                **(beside(sampler, variables, said, values) if said else {}),
            }
        )
    return found


def _entries(
    sampler: Sampler,
    members: Members,
    rows: Sequence[Mapping[str, Any]],
    line: AcceptedLine | None,
) -> list[int | None]:
    """Return which entry of a proposal's `members` made each member; None where none can have.

    Entries fill the slots in their order. Where their repeats can add up to the record's size in
    several ways, it is the way in which most values are among those named.
    """
    library = [] if line is None else read_library([line], sampler.tables)
    if not library or not library[0].members:
        return [None] * len(rows)
    proposal = library[0]
    fits = [
        [
            sum(
                v is True
                for v in beside(sampler, members.own.variables, b.values, row)["inside"].values()
            )
            for row in rows
        ]
        for b in proposal.members
    ]
    ways = [
        [entry for entry, n in enumerate(repeats) for _ in range(n)]
        for _, repeats in weighed(proposal.boxes, proposal.members, members)
        if sum(repeats) == len(rows)
    ]
    if not ways:  # whole counts took a record of another size
        return [None] * len(rows)
    best = max(ways, key=lambda way: sum(fits[entry][i] for i, entry in enumerate(way)))
    return list(best)
