"""Explaining one record: where in the run it stands, what proposed it, and what that answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from llmsynthor.boxes import BoxError, takes_in
from llmsynthor.engine import ITERATIONS, PROPOSALS
from llmsynthor.errors import RunDirectoryError
from llmsynthor.providers.promptlog import PROMPT_LOG
from llmsynthor.providers.replay import REPLY_LOG
from llmsynthor.report.build import load_used
from llmsynthor.rundir import DamagedBatchError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmsynthor.rundir import RunDirectory

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
    manifest = run.read_json("manifest.json")
    if manifest is None:
        raise RunDirectoryError(f"{run.path}: holds no run (there is no manifest.json)")
    index, row = _place(run, number)
    record, iteration, source = _read(run, index, row)
    return {
        "record": number,
        "file": f"data/{index:05d}.parquet",
        "row": row,
        "values": record,
        "iteration": iteration,
        "made_in": _made_in(run, iteration),
        "source": "background" if source is None else "proposal",
        "meaning": BACKGROUND_MEANS if source is None else None,
        "siblings": _records_of(run, source),
        "model": manifest["model"],
        "proposal": None if source is None else _proposal(run, source, record),
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


def _read(run: RunDirectory, index: int, row: int) -> tuple[dict[str, Any], int, int | None]:
    """Return a record's values, its batch's iteration and its proposal."""
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
    return records.row(row, named=True), int(entry["iteration"]), entry["proposal"]


def _made_in(run: RunDirectory, iteration: int) -> str:
    """Return in words when the record was made."""
    if iteration:
        return f"the batch of iteration {iteration}"
    asked = sum(line["iteration"] > 0 for line in run.lines(ITERATIONS))
    return f"the bulk, after {asked} iterations of asking" if asked else "the bulk"


def _records_of(run: RunDirectory, source: int | None) -> int:
    """Return how many records came from a proposal, or from the background."""
    wanted = pl.col("proposal").is_null() if source is None else pl.col("proposal") == source
    total = 0
    for path in run.batch_files():
        there = run.provenance_path(int(path.stem))
        try:
            total += int(pl.scan_parquet(there).filter(wanted).select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DamagedBatchError(there, str(error).splitlines()[0][:120]) from None
    return total


def _proposal(run: RunDirectory, source: int, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a proposal with the record's values beside its own, and what it answered."""
    line = next((line for line in run.lines(PROPOSALS) if line["id"] == source), None)
    if line is None:
        raise RunDirectoryError(f"{run.path / PROPOSALS}: does not have proposal {source}")
    key = line.get("request")
    return {
        "id": source,
        "iteration": line["iteration"],
        "reason": line["reason"],
        "count": line["count"],
        "values": line["values"],
        "inside": _inside(run, line["values"], record),
        "reply": _reply(run, key),
        "guidance": _guidance(run, key),
    }


def _inside(
    run: RunDirectory, said: Mapping[str, Any], record: Mapping[str, Any]
) -> dict[str, bool | None]:
    """Return for each variable whether the record's value is in the proposal; None if unreadable."""
    _, sampler = load_used(run)
    found: dict[str, bool | None] = {}
    for variable in sampler.domain.variables:
        name = variable.name
        try:
            found[name] = takes_in(variable, said[name], record[name], sampler.marginals[name])
        except (BoxError, KeyError):
            found[name] = None
    return found


def _reply(run: RunDirectory, key: str | None) -> dict[str, Any] | None:
    """Return the logged reply that a proposal stands in."""
    for line in run.lines(REPLY_LOG):
        if key is not None and line["key"] == key:
            return {
                "key": key,
                "purpose": line["purpose"],
                "sequence": line["sequence"],
                **line["reply"],
            }
    return None


def _guidance(run: RunDirectory, key: str | None) -> dict[str, str] | None:
    """Return what the model was told and asked, as it was sent."""
    for line in run.lines(PROMPT_LOG):
        if key is not None and line["key"] == key:
            return {"system": line["system"], "prompt": line["prompt"]}
    return None
