"""Which model to use when the job names none: the one that this machine offers, if it is only one."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmsynthor.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.job.model import ProviderSpec

AUTO = "auto"
KEYS = {
    "OPENAI_API_KEY": "openai/gpt-4.1-nano",
    "ANTHROPIC_API_KEY": "anthropic/claude-haiku-4-5",
    "GEMINI_API_KEY": "gemini/gemini-2.5-flash-lite",
    "MISTRAL_API_KEY": "mistral/mistral-small-latest",
    "GROQ_API_KEY": "groq/openai/gpt-oss-20b",
    "DEEPSEEK_API_KEY": "deepseek/deepseek-chat",
    "OPENROUTER_API_KEY": "openrouter/openai/gpt-oss-20b",
}
"""Environment variable of a provider's key -> a small model of that provider."""
SERVERS = (("Ollama", 11434), ("vLLM", 8000), ("llama-server", 8080))
"""Servers of one's own, each with the port on which it listens unless told otherwise."""
_WAIT_S = 1.0
_LONGEST_S = 1.5
_LONGEST_ANSWER = 1_000_000
_LONGEST_NAME = 200
_MOST_SHOWN = 8


class NoModelError(JobError):
    """The job names no model, and what is on offer is none or a choice."""


@dataclass(frozen=True)
class Found:
    """A model that can be asked.

    Attributes:
        model: For `provider.model`.
        api_base: For `provider.api_base`, or None.
        api_key_env: For `provider.api_key_env`, or None.
        where: What offers it, in words.
    """

    model: str
    api_base: str | None
    api_key_env: str | None
    where: str

    @property
    def words(self) -> str:
        """Return what is used and why, for the terminal and the manifest."""
        return f"the job names no `provider.model`: `{self.model}` is used ({self.where})"

    @property
    def option(self) -> str:
        """Return how a user would choose it."""
        given = f"--set 'provider.model={self.model}'"
        return given + (f" --set provider.api_base={self.api_base}" if self.api_base else "")


def discover(
    spec: ProviderSpec,
    environment: Mapping[str, str] | None = None,
    servers: Sequence[tuple[str, int]] | None = None,
) -> Found:
    """Return the only model that a key in the environment or a server on this machine offers.

    Raises:
        NoModelError: There is none, or a choice; the ways on are in the message.
        JobError: The job says something of the model, but not which.
    """
    given = next((k for k in ("api_base", "api_key_env") if getattr(spec, k) is not None), None)
    if given is not None:
        raise JobError(
            f"provider.model: this key is needed where `provider.{given}` is given",
            hint="name the model that is meant, for example `model: openai/gpt-4.1-nano`",
        )
    asked = SERVERS if servers is None else servers
    found = _by_key(os.environ if environment is None else environment) + _by_server(asked)
    if len(found) == 1:
        return found[0]
    if not found:
        raise _none_found(asked)
    shown = "".join(f"\n  {one.option}   ({one.where})" for one in found[:_MOST_SHOWN])
    more = f"\n  and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    raise NoModelError(
        f"provider.model: the job names no model, and there are {len(found)} to choose from:{shown}{more}",
        hint="add one of these to the command, or write it into the job",
    )


def _none_found(servers: Sequence[tuple[str, int]]) -> NoModelError:
    ports = ", ".join(f"{port} ({name})" for name, port in servers)
    return NoModelError(
        "provider.model: the job names no model, no provider's key is in the environment "
        f"({', '.join(KEYS)}), and no model server answers on 127.0.0.1 at {ports}",
        hint="the ways on:\n"
        "  a hosted model: `export OPENAI_API_KEY=...` (or another of these keys)\n"
        "  a server: start it, or name it with `provider.model` and `provider.api_base`\n"
        "  a model file: `provider.model: local:/path/model.gguf` (extra `local`)\n"
        "  no model: `provider.model: none` makes records from the tables alone",
    )


def _by_key(environment: Mapping[str, str]) -> list[Found]:
    return [
        Found(model, None, name, f"the environment has {name}")
        for name, model in KEYS.items()
        if environment.get(name, "").strip()
    ]


def _by_server(servers: Sequence[tuple[str, int]]) -> list[Found]:
    """Ask all servers at once; one that hangs, or answers drop by drop, is not waited for."""
    offered: dict[int, list[str]] = {}

    def ask(port: int) -> None:
        offered[port] = _models_at(port)

    threads = [threading.Thread(target=ask, args=(port,), daemon=True) for _, port in servers]
    until = time.monotonic() + _LONGEST_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    answers = dict(offered)
    return [
        Found(
            f"openai/{model}", f"http://127.0.0.1:{port}/v1", None, f"{name}'s port {port} answers"
        )
        for name, port in servers
        for model in answers.get(port, [])
    ]


def _models_at(port: int) -> list[str]:
    """Return the models that a server offers; none where nothing like a model server answers."""
    # No proxy: what is asked is this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        with opener.open(f"http://127.0.0.1:{port}/v1/models", timeout=_WAIT_S) as answer:
            content = json.loads(answer.read(_LONGEST_ANSWER))
    except Exception:  # noqa: BLE001 - whatever listens there may answer anything
        return []
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        return []
    return [name for entry in entries if (name := _name_of(entry)) is not None]


def _name_of(entry: Any) -> str | None:  # noqa: ANN401 - any JSON value
    """Return a model's name; one that would upset a terminal or a shell is no model's name."""
    name = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
        return None
    return name if name.isprintable() and not set(name) & set("'\"`$\\ ") else None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it could lead to another machine."""

    def redirect_request(self, *_: object) -> None:
        """Return None, which makes the redirect an error."""
