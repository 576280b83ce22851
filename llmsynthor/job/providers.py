"""Who can propose: one entry a kind of model, all else follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmsynthor.job.model import ProviderSpec


@dataclass(frozen=True)
class ProviderKind:
    """A kind of model that a job can name.

    Attributes:
        about: What to write as `provider.model`, and what it means, for people.
        source: Who makes one, as `module:name`; see `llm.providers.base.Source`. None: nobody is
            asked.
        file: Returns the file that replies come from, as the job writes it, or None.
        needs: Key of `provider` that must be given -> what it is.
        in_vain: Keys of `provider` that do nothing.
        style: The plan style that is best for it.
    """

    about: str
    source: str | None
    file: Callable[[ProviderSpec], str | None] = lambda _: None
    needs: Mapping[str, str] = field(default_factory=dict)
    in_vain: tuple[str, ...] = ()
    style: Literal["plan", "focus"] = "plan"


ANY_OTHER = "*"
PROVIDERS = {
    ANY_OTHER: ProviderKind(
        "A litellm model such as `openai/gpt-4.1-nano`",
        "llmsynthor.llm.providers.litellm:LitellmProvider.of",
    ),
    "local:": ProviderKind(
        "`local:FILE.gguf` for a model on this machine (extra `local`)",
        "llmsynthor.llm.providers.local:LocalProvider.of",
        file=lambda spec: spec.model.removeprefix("local:"),
        in_vain=("api_base", "api_key_env", "rpm", "tpm", "price_per_mtok", "structured"),
        style="focus",
    ),
    "replay": ProviderKind(
        "`replay` for recorded replies",
        "llmsynthor.llm.providers.replay:ReplayProvider.of",
        file=lambda spec: spec.replies,
        needs={"replies": "the file of recorded replies"},
    ),
    "none": ProviderKind("`none` for the background only", None),
}
"""The whole `provider.model`, or how it begins up to a colon -> who proposes then."""


def name_of(model: str) -> str:
    """Return the entry of `PROVIDERS` that a model is of."""
    head, colon, _ = model.partition(":")
    return next((name for name in (model, head + colon) if name in PROVIDERS), ANY_OTHER)


def kind_of(model: str) -> ProviderKind:
    """Return what kind of model a job names."""
    return PROVIDERS[name_of(model)]


def file_of(spec: ProviderSpec) -> str | None:
    """Return the file that replies come from, as written in the job: a recording or a model."""
    return kind_of(spec.model).file(spec)


def describe_providers(schema: dict[str, Any]) -> None:
    """Complete the schema of the key `provider.model`."""
    kinds = "; ".join(kind.about for kind in PROVIDERS.values())
    schema["description"] = f"{kinds}. {schema['description']}"
