"""The prompts of a run, kept once each beside the reply log, so that a record can be explained.

A line is written before its call, so that nothing stands between a paid reply and the reply log.
Nothing reads the file but `explain`: a run resumes and replays without it.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

from llmsynthor.llm.providers.secrets import scrubbed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmsynthor.llm.providers.base import Provider, Reply, Request

PROMPT_LOG = "prompts.jsonl"


class PromptKeeper:
    """Passes requests on to a provider, and writes down what each one asked."""

    def __init__(
        self,
        inner: Provider,
        kept: Iterable[str],
        append: Callable[[dict[str, Any]], None],
        key_env: str | None,
    ) -> None:
        """Wrap a provider.

        Args:
            inner: Who is asked.
            kept: Keys of the requests that are written down already.
            append: Writes a line.
            key_env: Environment variable of the provider's key, whose value is never written.
        """
        self._inner = inner
        self._kept = set(kept)
        self._append = append
        self._key_env = key_env
        self._lock = Lock()

    def complete(self, request: Request) -> Reply:
        """Return the reply to `request`; see `Provider.complete`."""
        key = request.key()
        with self._lock:
            fresh = key not in self._kept
            self._kept.add(key)
        if fresh:
            self._append(
                {
                    "key": key,
                    "purpose": request.purpose,
                    "sequence": request.sequence,
                    "model": request.model,
                    "temperature": request.temperature,
                    "max_output_tokens": request.max_output_tokens,
                    "system": scrubbed(request.system, self._key_env),
                    "prompt": scrubbed(request.prompt, self._key_env),
                }
            )
        return self._inner.complete(request)

    def close(self) -> None:
        """Close the wrapped provider."""
        self._inner.close()
