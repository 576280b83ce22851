"""What a run keeps of itself: its manifest, its rounds of asking, its bulk; and what damage is.

A key that is not known here is no damage: a later version wrote it, and what is written again keeps
it. Only keys that were set are written.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmsynthor.text import clean

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Iterator, Sequence

_Line = TypeVar("_Line")
_MUST_BE = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}
_LONGEST = 40


def damage(error: ValidationError) -> str:
    """Return in words the first thing that is wrong with what was read."""
    first = error.errors(include_url=False)[0]
    at = ".".join(str(step) for step in first["loc"])
    if first["type"] == "missing":
        return f"`{at}` is missing"
    given = clean(json.dumps(first["input"], ensure_ascii=False), _LONGEST)
    must_be = _MUST_BE.get(first["type"], "something else")
    return f"{f'`{at}` ' if at else ''}must be {must_be}, and is {given}"


class Line(BaseModel):
    """Part of a run's JSON files."""

    model_config = ConfigDict(strict=True, extra="allow")


def plain(content: Any) -> Any:  # noqa: ANN401 - a line, or any JSON value
    """Return the JSON value to be written: of a model the keys that were set."""
    return content.model_dump(exclude_unset=True) if isinstance(content, BaseModel) else content


def parsed(content: bytes, read: Callable[[Any], _Line]) -> Iterator[tuple[int, _Line | None, str]]:
    """Yield number and content of each line that is not empty; None and what is wrong where it is damaged."""
    for number, text in enumerate(content.decode("utf-8", "replace").split("\n"), start=1):
        if not text.strip():
            continue
        line, wrong = None, ""
        try:
            line = read(json.loads(text))
        except ValidationError as error:  # which is a ValueError too
            wrong = damage(error)
        except (ValueError, RecursionError) as error:
            wrong = f"no JSON ({str(error)[:120]})"
        yield number, line, wrong


def written_line(record: BaseModel | dict[str, Any]) -> str:
    """Return a line of a JSON-lines file."""
    return json.dumps(plain(record), sort_keys=True, ensure_ascii=False) + "\n"


def cut_half_line(file: io.BufferedRandom) -> None:
    """Truncate an appended file after its last whole line."""
    end = file.seek(0, os.SEEK_END)
    position = end
    while position > 0:
        start = max(0, position - 65536)
        file.seek(start)
        newline = file.read(position - start).rfind(b"\n")
        if newline >= 0:
            position = start + newline + 1
            break
        position = start
    if position < end:
        file.truncate(position)
    file.seek(0, os.SEEK_END)


class Attempt(Line):
    """One go at a run, from its start until it ended or was killed."""

    start: str
    end: str | None
    reason: str | None = None
    exit_code: int | None = None
    seconds: float | None = None
    seconds_before: float | None = None
    host: str | None = None
    pid: int | None = None
    slurm: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    git: dict[str, str] | None = None

    @property
    def took(self) -> float:
        """Return the seconds of an attempt that ended."""
        if self.seconds is not None:
            return self.seconds
        begun, ended = (datetime.fromisoformat(str(at)) for at in (self.start, self.end))
        return (ended - begun).total_seconds()


class Manifest(Line):
    """What a run is, and how it stands: `manifest.json`.

    `stop_reason` is for people; `stop_kind` says the same to later commands. `asking_ended` and its
    kind say it of the run that a replay makes again.
    """

    version: int = 1
    name: str
    status: str
    stop_reason: str | None
    stop_kind: str | None = None
    exit_code: int | None
    job_fingerprint: str
    fingerprint_version: int | None = None
    inputs: dict[str, str]
    templates: dict[str, str]
    model: str
    model_found: str | None = None
    structured: str | None = None
    api_base: str | None = None
    seed: int
    attempts: list[Attempt]
    replies_before: int | None = None
    asking_ended: str | None = None
    asking_ended_kind: str | None = None

    @property
    def is_complete(self) -> bool:
        """Return whether nothing is left to do."""
        return self.status == "complete"


def seconds_used(attempts: Sequence[Attempt], logged: Iterable[float]) -> float:
    """Return the seconds of wall time that a run's attempts took, the time between them left out.

    An attempt that was killed wrote no end: it counts up to what its last line of `iterations.jsonl`
    says was used until then.

    Example:
        >>> ended = Attempt(start="...", end="...", seconds=60.0)
        >>> seconds_used([ended, Attempt(start="...", end=None, seconds_before=60.0)], [75.5])
        75.5
    """
    total = 0.0
    for attempt in attempts:
        total = max(total, attempt.seconds_before or 0.0)
        if attempt.end is not None:
            total += attempt.took
    if attempts and attempts[-1].end is None:
        total = max([total, *logged])
    return total


class Used(Line):
    """What a run has used up to a line, earlier attempts included."""

    calls: int
    tokens: int
    cost_usd: float | None


class WorstTable(Line):
    """The control table that is furthest off."""

    name: str
    tvd: float


class Iteration(Line):
    """One iteration of asking, of `iterations.jsonl`."""

    iteration: int
    calls: int
    failed_calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    proposals_accepted: int
    proposals_rejected: int
    prior_tvd: float | None
    data_tvd: float | None
    records: int
    library: int = 0
    repairs: int = 0
    mended: int = 0
    unread_replies: int = 0
    kl: float | None = None
    effective_share: float | None = None
    background_share: float | None = None
    seconds: float
    seconds_asking: float
    seconds_used: float = 0.0
    so_far: Used
    worst_table: WorstTable | None = None


class Figures(Line):
    """What making records of weighted candidates took, at once or in a chunk."""

    background_prior: float = 0.0
    candidates: int = 0
    converged: bool = False
    effective_sample_size: float = 0.0
    error: float = 0.0
    kl: float = 0.0
    max_copies: int = 0
    mutants: int = 0
    notes: list[str] = Field(default_factory=list)
    seconds_drawing: float = 0.0
    seconds_calibrating: float = 0.0
    seconds_integerizing: float = 0.0
    seconds_writing: float = 0.0


class Bulk(Figures):
    """The records made when asking had ended: the line of iteration 0."""

    iteration: int = 0
    groups: list[list[str]] = Field(default_factory=list)
    stop_reason: str | None = None
    chunks: dict[str, Any] | None = None
    coarse: dict[str, Any] | None = None

    @property
    def is_calibrated(self) -> bool:
        """Return whether weights were fitted; the paper's loop fits none."""
        return "kl" in self.model_fields_set


def read_iteration(content: Any) -> Iteration | Bulk:  # noqa: ANN401 - whatever JSON holds
    """Return a line of `iterations.jsonl`."""
    is_bulk = isinstance(content, dict) and content.get("iteration") == 0
    return (Bulk if is_bulk else Iteration).model_validate(content)


class KeptReconciled(Line):
    """What was done so that the tables agree, by table: `tables_used/reconciled.json`."""

    notes: list[str] = []
    tables: dict[str, dict[str, Any]] = {}
    filled: dict[str, dict[str, Any]] = {}


class Made(Line):
    """How many records were asked for, and made."""

    asked: int
    made: int


class ReportParts(Line):
    """What every `report.json` has; its parts are not looked into."""

    passed: bool = Field(alias="pass")
    status: str
    stop_reason: str | None
    records: Made
    tables: list[Any]
    rules: list[Any]
    summary: dict[str, Any]
    llm: dict[str, Any]
    seconds: dict[str, Any]
