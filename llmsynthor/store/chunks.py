"""The files of a run's chunks: the plan, what each must meet (its tables, packed), what came of it.

`chunks/plan.json` is written last when chunks are made ready: once it is there, all else is.
"""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from llmsynthor.candidates import seed_sample as seedsample
from llmsynthor.errors import RunDirectoryError
from llmsynthor.store.lines import Figures, Line
from llmsynthor.targets import domain, zones
from llmsynthor.targets import table as tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmsynthor.candidates.seed_sample import SeedSample
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.table import TableSet

CHUNKS = "chunks"
PLAN = f"{CHUNKS}/plan.json"
LIBRARY = f"{CHUNKS}/library.jsonl"
SAMPLE = f"{CHUNKS}/sample.npz"
_MOST_ZONES_NAMED = 3
_ANEW = "`llmsynthor run JOB --overwrite` starts the run anew"
_KINDS = {
    name: kind
    for module in (domain, seedsample, tables, zones)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and dataclasses.is_dataclass(kind)
}
"""What can be packed, by name: dataclasses of tables, variables, members, zones and seed samples."""


class Planned(Line):
    """One chunk as planned.

    Attributes:
        number: From 0.
        records: How many records it makes; none has no files.
        first_file: Number of its first file in `data/`.
        files: How many files it makes.
        zones: How many zones it has.
        named: In words: its first and last zone.
        first_record: Number of its first record in the run, which is the key of that record where
            records have members.
    """

    number: int
    records: int
    first_file: int
    files: int
    zones: int
    named: str
    first_record: int = 0

    @property
    def words(self) -> str:
        """Return what the chunk is called."""
        return f"chunk {self.number} ({self.named})"


class Plan(Line):
    """What chunks a run makes, and how it came to them.

    Attributes:
        chunks: In order.
        stop_reason: Why asking ended.
        stop_kind: What ended it.
        groups: Variables that depend on each other.
        notes: What the report must mention.
        coarse: What the coarse step took; None where there is one chunk.
    """

    chunks: list[Planned]
    stop_reason: str
    stop_kind: str | None = None
    groups: list[list[str]]
    notes: list[str]
    coarse: dict[str, Any] | None = None


class Outcome(Figures):
    """What came of a chunk.

    Attributes:
        records: How many it made.
        members: Whether its records have members.
        files: How many files it made.
        failed: Why its records do not meet the tables, if so.
        by_proposal: Proposals, each with the records that it made.
        peak_mb: The most memory that its process held.
    """

    records: int
    members: bool
    files: int
    failed: str | None = None
    by_proposal: list[list[int]]
    peak_mb: int


def range_named(labels: Sequence[str]) -> str:
    """Return a few zones in words.

    Example:
        >>> range_named(["a", "b", "c", "d"])
        '4 zones, a to d'
    """
    if len(labels) <= _MOST_ZONES_NAMED:
        return f"zone{'s' if len(labels) > 1 else ''} {', '.join(labels)}"
    return f"{len(labels)} zones, {labels[0]} to {labels[-1]}"


def write_task(run: RunDirectory, number: int, tables: TableSet) -> None:
    """Write what a chunk must meet."""
    run.write_bytes(_task(number), packed(tables))


def read_task(run: RunDirectory, number: int) -> TableSet:
    """Return what a chunk must meet.

    Raises:
        RunDirectoryError: The file is missing or damaged.
    """
    return _read(run.path / _task(number))


def write_sample(run: RunDirectory, sample: SeedSample) -> None:
    """Write the seed sample, which all chunks share; it knows no zones."""
    run.write_bytes(SAMPLE, packed(sample))


def read_sample(run: RunDirectory) -> SeedSample:
    """Return the seed sample that all chunks share.

    Raises:
        RunDirectoryError: The file is missing or damaged.
    """
    return _read(run.path / SAMPLE)


def _read(path: Path) -> Any:  # noqa: ANN401 - whatever was packed
    try:
        return unpacked(path.read_bytes())
    except (OSError, ValueError) as error:
        message = f"{path}: cannot be read ({str(error)[:80]})"
        raise RunDirectoryError(message, hint=_ANEW) from None


def read_plan(run: RunDirectory) -> Plan | None:
    """Return the plan of a run whose chunks are ready, else None.

    Raises:
        RunDirectoryError: The plan is damaged.
    """
    return run.read(PLAN, Plan.model_validate, _ANEW)


def write_outcome(run: RunDirectory, number: int, outcome: Outcome) -> None:
    """Write what came of a chunk, when its records are written."""
    run.write_json(_outcome(number), outcome)


def read_outcome(run: RunDirectory, chunk: Planned) -> Outcome | None:
    """Return what came of a chunk, or None where it is not done yet or nothing tells."""
    try:
        found = Outcome.model_validate(run.read_json(_outcome(chunk.number)))
    except ValidationError:
        return None
    files = range(chunk.first_file, chunk.first_file + found.files)
    paths = [run.batch_path, run.provenance_path, *([run.members_path] if found.members else [])]
    done = all(path(index).exists() for index in files for path in paths)
    return found if done else None


def missing(run: RunDirectory, plan: Plan) -> list[Planned]:
    """Return the chunks that are not done."""
    return [chunk for chunk in plan.chunks if chunk.records and read_outcome(run, chunk) is None]


def _task(number: int) -> str:
    return f"{CHUNKS}/{number:05d}.npz"


def _outcome(number: int) -> str:
    return f"{CHUNKS}/{number:05d}.json"


def packed(content: object) -> bytes:
    """Return dataclasses, tuples, dicts, lists, arrays and plain values as the bytes of a file."""
    arrays: list[np.ndarray] = []
    text = json.dumps(_plain(content, arrays), ensure_ascii=False)
    buffer = io.BytesIO()
    named = {f"a{number}": array for number, array in enumerate(arrays)}
    np.savez_compressed(buffer, text=np.array(text), **named)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpacked(content: bytes) -> Any:  # noqa: ANN401 - whatever was packed
    """Return what `packed` was given.

    Raises:
        ValueError: The bytes are not what `packed` returned.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return _filled(json.loads(str(file["text"])), file)
    except (OSError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from None


def _plain(content: Any, arrays: list[np.ndarray]) -> Any:  # noqa: ANN401
    """Return JSON's kinds of value; arrays go into the list."""
    if isinstance(content, np.ndarray):
        arrays.append(content)
        return {"array": len(arrays) - 1}
    if dataclasses.is_dataclass(content):
        fields = {
            field.name: _plain(getattr(content, field.name), arrays)
            for field in dataclasses.fields(content)
        }
        return {"kind": type(content).__name__, "fields": fields}
    if isinstance(content, tuple):
        return {"tuple": [_plain(item, arrays) for item in content]}
    if isinstance(content, list):
        return [_plain(item, arrays) for item in content]
    if isinstance(content, dict):
        return {"dict": [[_plain(k, arrays), _plain(v, arrays)] for k, v in content.items()]}
    return content.item() if isinstance(content, np.generic) else content


def _filled(content: Any, arrays: Any) -> Any:  # noqa: ANN401
    if isinstance(content, list):
        return [_filled(item, arrays) for item in content]
    if not isinstance(content, dict):
        return content
    if "array" in content:
        return arrays[f"a{content['array']}"]
    if "tuple" in content:
        return tuple(_filled(item, arrays) for item in content["tuple"])
    if "dict" in content:
        return {_filled(k, arrays): _filled(v, arrays) for k, v in content["dict"]}
    fields = {name: _filled(value, arrays) for name, value in content["fields"].items()}
    return _KINDS[content["kind"]](**fields)
