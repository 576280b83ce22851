"""What of a job may not change while a run of it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmsynthor.job.model import Job

UNFINGERPRINTED: dict[str, str] = {
    "executor": "who makes a chunk does not change what is in it",
    "budget": "a limit stops a run; it does not change what a reply turns into",
    "provider.concurrency": "replies are used in the order of asking, not of arrival",
    "provider.rpm": "when a call is made does not change its reply",
    "provider.tpm": "when a call is made does not change its reply",
    "provider.timeout_s": "waiting longer does not change a reply",
    "provider.retries": "trying again does not change a reply",
    "provider.api_key_env": "another key buys the same reply",
    "provider.price_per_mtok": "what a call costs does not change its reply",
}
"""Keys that may change between attempts of one run, each with the reason."""


def fingerprinted(job: Job) -> dict[str, Any]:
    """Return the job as flat `dotted.key -> value`, without the keys in `UNFINGERPRINTED`."""
    flat: dict[str, Any] = {}
    _flatten("", job.model_dump(mode="json"), flat)
    excluded = tuple(UNFINGERPRINTED)
    return {
        key: value
        for key, value in flat.items()
        if not any(key == name or key.startswith(f"{name}.") for name in excluded)
    }


def _flatten(prefix: str, value: Any, into: dict[str, Any]) -> None:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{prefix}.{key}" if prefix else str(key), inner, into)
    else:
        into[prefix] = value
