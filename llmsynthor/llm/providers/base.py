"""The contract between the engine and whoever answers its requests, and the form of a reply."""

from __future__ import annotations

import hashlib
import json
import os
import pkgutil
import re
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from llmsynthor.job.providers import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from llmsynthor.job.model import ProviderSpec

REQUEST_VERSION = 1
"""Goes up when a request's hash is made differently; old reply logs then do not match."""

Purpose = Literal["plan", "repair", "dependencies"]
Structured = Literal["schema", "json", "text"]

StopKind = Literal["budget", "recording", "preview", "iterations", "gain", "records", "unasked"]

STEP_DOWN: dict[Structured, Structured] = {"schema": "json", "json": "text"}
FORM_COMPLAINT = re.compile(
    r"response[_ ]?(format|schema)|json[_ ](schema|object|mode)|structured|schema|grammar|guided",
    re.I,
)
FORM_CRASH = re.compile(r"grammar|guided|(json|response)[_ ]schema", re.I)
"""vLLM and llama-server answer 500 where they cannot make a grammar of a schema: so they would again."""
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD", re.I)
_SHORTEST_SECRET = 8
"""Characters. A shorter value keeps nothing secret: it is what a server that asks for any key gets
(`none`, `EMPTY`, `abc`), and striking it out everywhere would cut words out of prompts and errors."""


@dataclass(frozen=True)
class Request:
    """One question to a model; equal requests have equal hashes on every machine.

    Attributes:
        purpose: What the reply is for.
        sequence: Position among the run's requests of this purpose, from 0; keeps equal prompts
            of one iteration apart and gives recorded replies their order.
        system: System message.
        prompt: User message.
        schema: JSON Schema of the reply, or None.
        model: Model asked for.
        temperature: Sampling temperature.
        max_output_tokens: Longest reply.
        focus: What the prompt asks to look at above all, in words; kept for people, not in the hash.
        gaps: The shortfalls that it shows, in words; likewise.
    """

    purpose: Purpose
    sequence: int
    system: str
    prompt: str
    schema: dict[str, Any] | None
    model: str
    temperature: float
    max_output_tokens: int
    focus: str | None = field(default=None, compare=False)
    gaps: tuple[str, ...] = field(default=(), compare=False)

    def key(self) -> str:
        """Return the hash under which the reply is logged."""
        return self._key

    @cached_property
    def _key(self) -> str:
        content = {field.name: getattr(self, field.name) for field in fields(self) if field.compare}
        text = json.dumps([REQUEST_VERSION, content], sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Reply(BaseModel):
    """What came back, with what it cost.

    Attributes:
        text: The model's words.
        model: The model that answered.
        prompt_tokens: Tokens read, 0 when not told.
        completion_tokens: Tokens written, 0 when not told.
        cost_usd: US dollars, or None when the price is unknown.
        truncated: Whether the reply was cut at its longest length.
        structured: How its form was asked for (`schema`, `json`, `text`), or None where not known.
    """

    model_config = ConfigDict(strict=True, frozen=True)

    text: str
    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    truncated: bool = False
    structured: str | None = None


class Provider(Protocol):
    """Answers requests; called from several threads at once."""

    def complete(self, request: Request) -> Reply:
        """Return the reply to `request`.

        Raises:
            ProviderRefusedError: It refuses and would again.
            ProviderUnavailableError: It did not answer in spite of retries.
            OutOfRepliesError: A recording has no more replies; asking ends, the run goes on.
        """
        ...

    def close(self) -> None:
        """Let go of what is kept open, such as a process; nothing is asked after that."""
        ...


@dataclass(frozen=True)
class Setup:
    """What a provider is made of.

    Attributes:
        spec: What the job says of it.
        file: Where its replies come from; the job's folder where its kind has no file.
        seed: The job's.
        style: The plan style that it will be asked in.
        structured: The form that this run's earlier replies came in; None where there is none.
        on_retry: Told before each wait: the try that failed (from 1), the wait, the reason.
    """

    spec: ProviderSpec
    file: Path
    seed: int
    style: Literal["plan", "focus"] = "plan"
    structured: Structured | None = None
    on_retry: Callable[[int, float, str], None] | None = None


class Source(Provider, Protocol):
    """A provider that a job names; `job.providers` says which kinds there are.

    Making one spends nothing and may check its file.
    """

    counts: Literal["about", "at most"]
    """How sure `count_tokens` is."""

    def check(self) -> None:
        """Check that it can be asked, without a call.

        Raises:
            InputError: It cannot.
        """
        ...

    def count_tokens(self, request: Request) -> int:
        """Return about how many tokens a prompt has; 0 where none are read."""
        ...

    def price(self) -> tuple[float, float] | None:
        """Return US dollars per prompt token and per completion token, or None when unknown."""
        ...


def source_of(setup: Setup) -> Source:
    """Return who proposes as the job says, where anybody is asked.

    Raises:
        InputError: Its file is missing or damaged.
    """
    source: Source = pkgutil.resolve_name(str(kind_of(setup.spec.model).source))(setup)
    return source


@dataclass(frozen=True)
class Stop:
    """Why asking ended.

    Attributes:
        kind: What ended it: a limit of the `budget`, the end of a `recording`, a `preview`'s one
            call, the last of the `iterations`, no more `gain`, enough `records`, or nobody was
            there to ask (`unasked`); None where the run did not keep it.
        words: The same for people; nothing depends on them.
    """

    kind: StopKind | None
    words: str


class OutOfRepliesError(Exception):
    """A recording has no more replies: asking ends, as `stop` says, and the run goes on with what it has."""

    def __init__(self, stop: Stop = Stop("recording", "the recording has no more replies")) -> None:
        super().__init__(stop.words)
        self.stop = stop


def response_format(request: Request, form: Structured) -> dict[str, Any] | None:
    """Return the form to ask for; a request without a schema is not known to want JSON."""
    if request.schema is None or form == "text":
        return None
    if form == "json":
        return {"type": "json_object"}
    strict = _is_strict(request.schema)
    described = {"name": request.purpose, "schema": request.schema, "strict": strict}
    return {"type": "json_schema", "json_schema": described}


def simplest(forms: Iterable[str | None]) -> Structured | None:
    """Return the form that a run came down to, given those of its replies; None where none is known."""
    known = set(forms)
    order: tuple[Structured, ...] = ("text", "json", "schema")
    return next((form for form in order if form in known), None)


def _is_strict(schema: Any) -> bool:  # noqa: ANN401 - any part of a JSON Schema
    """Return whether OpenAI takes `schema` as strict: every object closed, every key required."""
    if isinstance(schema, list):
        return all(_is_strict(part) for part in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object":
        keys = set(schema.get("properties", {}))
        if (
            schema.get("additionalProperties") is not False
            or set(schema.get("required", ())) != keys
        ):
            return False
    return all(_is_strict(part) for part in schema.values())


def scrubbed(text: str, key_env: str | None) -> str:
    """Return `text` without the value of any key that may have been sent.

    Values of fewer than 8 characters stay, whichever variable they are in.
    """
    secrets = {
        value.strip()
        for name, value in os.environ.items()
        if len(value.strip()) >= _SHORTEST_SECRET and (name == key_env or _SECRET_NAME.search(name))
    }
    for secret in sorted(secrets, key=len, reverse=True):  # one may begin with another
        text = text.replace(secret, "***")
    return text
