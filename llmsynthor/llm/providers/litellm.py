"""Replies from any model that litellm knows; the only file that talks to litellm."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import math
import os
import re
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from llmsynthor.errors import InputError, ProviderRefusedError, ProviderUnavailableError
from llmsynthor.llm.providers.base import (
    FORM_COMPLAINT,
    FORM_CRASH,
    STEP_DOWN,
    Reply,
    response_format,
    scrubbed,
)
from llmsynthor.llm.providers.retry import (
    CROWDED,
    Limiter,
    RetryableError,
    asked_wait_s,
    http_status,
    may_pass,
    reason_of,
    with_retries,
)
from llmsynthor.text import count_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmsynthor.job.model import ProviderSpec
    from llmsynthor.llm.providers.base import Request, Setup, Structured

logger = logging.getLogger(__name__)

NO_KEY = "not-needed"
"""Sent to a server of one's own when no key is named: a key meant for another must not go there."""

_OPTIONAL_SETTINGS = frozenset(
    {
        "OLLAMA_API_BASE",  # litellm's default is this machine
        "AWS_ACCESS_KEY_ID",  # the AWS libraries also read profiles and instance roles
        "AWS_SECRET_ACCESS_KEY",
        "VERTEXAI_PROJECT",  # Google's libraries also read a credentials file
        "VERTEXAI_LOCATION",
    }
)
_LONGEST_REASON = 300

_litellm_lock = threading.Lock()
_litellm: Any = None


def load_litellm() -> Any:  # noqa: ANN401 - typing litellm would make mypy read all of it
    """Return the litellm module, imported at the first call with its chatter switched off.

    The import takes seconds; without these settings it also fetches a price map, reads `.env` and
    prints to stdout.
    """
    global _litellm
    with _litellm_lock:
        if _litellm is None:
            os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
            os.environ.setdefault("LITELLM_MODE", "PRODUCTION")
            with warnings.catch_warnings():
                # litellm finishes its pydantic models at first use, with warnings that say
                # nothing to a user; and as errors they would fail the first call.
                warnings.simplefilter("ignore")
                module = importlib.import_module("litellm")
                module.ModelResponse()
                # A finalizer of its clients imports this; where garbage is collected amid another
                # import, that waits for ever (Python before 3.12). What is loaded needs no import.
                with contextlib.suppress(ImportError):
                    importlib.import_module("litellm.llms.custom_httpx.aiohttp_transport")
            _quieten(module)
            _litellm = module
    return _litellm


def _quieten(litellm: Any) -> None:  # noqa: ANN401 - see load_litellm
    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.redact_messages_in_exceptions = True
    # Else counting the tokens of a Llama fetches its tokenizer, and waits 24 s without a network.
    litellm.disable_hf_tokenizer_download = True
    # Ollama's models are finished at the first call; of no use to a user.
    warnings.filterwarnings("ignore", message=r"Items? '.*' on TypedDict", category=UserWarning)
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        # Its handlers write to stdout; what concerns the user arrives as an exception.
        library = logging.getLogger(name)
        library.handlers.clear()
        library.setLevel(logging.CRITICAL)


class LitellmProvider:
    """Answers requests through litellm; may be called from several threads at once."""

    counts: Literal["about"] = "about"

    @classmethod
    def of(cls, setup: Setup) -> LitellmProvider:
        """Return the model that a job names."""
        return cls(setup.spec, on_retry=setup.on_retry, structured=setup.structured)

    def __init__(
        self,
        spec: ProviderSpec,
        *,
        backoff_s: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
        on_retry: Callable[[int, float, str], None] | None = None,
        structured: Structured | None = None,
        limiter: Limiter | None = None,
    ) -> None:
        """Prepare to ask; imports nothing and spends nothing.

        `backoff_s` is the first wait after a failure that may pass; `sleep` waits between tries, in
        the calling thread.
        """
        self._spec = spec
        self._backoff_s = backoff_s
        self._sleep = sleep
        self._on_retry = on_retry
        self._lock = threading.Lock()
        self._limiter = limiter or Limiter(spec.concurrency, rpm=spec.rpm, tpm=spec.tpm)
        given = None if spec.structured == "auto" else spec.structured
        self._structured: Structured | None = structured or given

    def check(self) -> None:
        """Check model and key; makes no call.

        Raises:
            InputError: litellm does not know the provider, or the key is not set.
        """
        model = self._routed(self._spec.model)
        _provider_of(model)
        missing = self._missing_settings(model)
        if missing:
            raise self._lacking(missing)
        key = self._key()
        if key is not None and not re.fullmatch(r"[!-~]+", key):
            raise InputError(
                f"the value of `{self._spec.api_key_env}` is no key: it has spaces or "
                "characters outside ASCII"
            )

    @property
    def structured_used(self) -> Structured:
        """How the reply's form is enforced now; a server's refusal lowers it."""
        with self._lock:
            if self._structured is None:
                self._structured = self._best_structured()
            return self._structured

    def complete(self, request: Request) -> Reply:
        """Return the reply to `request`.

        Raises:
            ProviderRefusedError: It refuses and would again.
            ProviderUnavailableError: It did not answer in spite of retries.
        """
        try:
            return with_retries(
                lambda: self._ask(request),
                retries=self._spec.retries,
                sleep=self._sleep,
                backoff_s=self._backoff_s,
                on_retry=self._on_retry,
            )
        except RetryableError as error:
            last = error
        raise self._unavailable(last)

    def close(self) -> None:
        """Do nothing: no call is left open, and connections end with the process."""

    def price(self, model: str | None = None) -> tuple[float, float] | None:
        """Return US dollars per prompt token and per completion token, or None when unknown.

        Args:
            model: The model that answered; default: the job's.
        """
        given = self._spec.price_per_mtok
        if given is not None:
            return given.input / 1e6, given.output / 1e6
        litellm, name = load_litellm(), self._routed(model or self._spec.model)
        try:
            bare, provider = _provider_of(name)
            keys = {name, bare, f"{provider}/{bare}"} & litellm.model_cost.keys()
            if provider.startswith("ollama") and not keys:
                return None  # litellm would ask the server, and then say 0
            prompt, completion = litellm.cost_per_token(
                model=name, prompt_tokens=1, completion_tokens=1
            )
        except Exception:  # noqa: BLE001 - it raises bare Exceptions for what it does not know
            return None
        # 0 is a price only where the map says 0; it is also what litellm makes of a missing entry.
        said = (
            {"input_cost_per_token", "output_cost_per_token"} <= litellm.model_cost[key].keys()
            for key in keys
        )
        return (prompt, completion) if prompt or completion or any(said) else None

    def count_tokens(self, request: Request) -> int:
        """Return about how many tokens the prompt has, rather too many than too few.

        Counted with OpenAI's tokenizer, which litellm has on board. Other tokenizers cut words a
        little finer, and several spend a token on every digit, where OpenAI's joins up to three.
        """
        text = f"{request.system}\n{request.prompt}"
        if request.schema is not None:
            text += json.dumps(request.schema)
        counted: int = load_litellm().token_counter(model="gpt-4o", text=text)
        digits = sum(character.isdigit() for character in text)
        return math.ceil(1.15 * counted + 2 / 3 * digits) + 16

    def _ask(self, request: Request) -> Reply:
        """Ask once, or once for each form that the server refuses."""
        litellm = load_litellm()
        worst = 0
        if self._limiter.counts_tokens:
            worst = self.count_tokens(request) + request.max_output_tokens
        while True:
            form = self.structured_used
            arguments = self._arguments(request, form)
            with self._limiter.slot(worst) as slot:
                try:
                    response = litellm.completion(**arguments)
                except Exception as error:  # noqa: BLE001 - litellm passes on its clients' own classes
                    failure = self._failure(error, request, form)
                    if isinstance(failure, RetryableError) and failure.crowded:
                        self._limiter.refused(slot, failure.retry_after_s)
                else:
                    reply = self._reply(response, request, form)
                    self._limiter.answered(slot, reply.prompt_tokens + reply.completion_tokens)
                    return reply
            # Raised out here so that it does not drag litellm's error, which may hold the key,
            # along as its context.
            if failure is not None:
                raise failure

    def _arguments(self, request: Request, form: Structured) -> dict[str, Any]:
        key, named = self._key(), self._spec.api_key_env
        if key is None and named is not None:
            raise self._lacking([named])  # else litellm would send a key that was not named
        model = self._routed(request.model)
        arguments: dict[str, Any] = {
            "model": model,
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": request.prompt},
            ],
            "temperature": request.temperature,
            "max_tokens": request.max_output_tokens,
            "timeout": self._spec.timeout_s,
            "api_base": self._spec.api_base,
            "api_key": key,
            "drop_params": True,
            "num_retries": 0,
            "max_retries": 0,
        }
        asked_form = response_format(request, form)
        if asked_form is not None:
            arguments["response_format"] = asked_form
            if not self._takes_response_format(model):
                # Asked for by the job, so it must not be dropped; the server may refuse it.
                arguments["allowed_openai_params"] = ["response_format"]
        return arguments

    def _reply(self, response: Any, request: Request, form: Structured) -> Reply:  # noqa: ANN401
        if not response.choices:
            raise RetryableError("the answer has no choices")
        choice = response.choices[0]
        usage = getattr(response, "usage", None)
        prompt_tokens = int(getattr(usage, "prompt_tokens", 0) or 0)
        completion_tokens = int(getattr(usage, "completion_tokens", 0) or 0)
        return Reply(
            text=choice.message.content or "",
            model=response.model or request.model,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            cost_usd=self._cost(response, request.model, prompt_tokens, completion_tokens),
            truncated=choice.finish_reason == "length",
            structured=form if request.schema is not None else None,
        )

    def _cost(self, response: Any, model: str, prompt: int, completion: int) -> float | None:  # noqa: ANN401
        price = self.price(model)
        if price is None or not (prompt or completion):
            return None  # without usage, 0 would be a guess
        if self._spec.price_per_mtok is None:
            try:  # knows of cached prompts and prices that rise with length
                return float(
                    load_litellm().completion_cost(
                        completion_response=response, model=self._routed(model)
                    )
                )
            except Exception:  # noqa: BLE001 - the model that answered may be unknown
                logger.debug("litellm has no cost for the reply of %s", response.model)
        return prompt * price[0] + completion * price[1]

    def _failure(self, error: Exception, request: Request, form: Structured) -> Exception | None:
        """Return what to raise for litellm's `error`, or None to ask again in a simpler form."""
        litellm = load_litellm()
        status = http_status(error) or getattr(error, "status_code", None)
        told = f"{error} {getattr(error, 'body', '')}"
        reason = scrubbed(reason_of(error), self._spec.api_key_env)[
            :_LONGEST_REASON
        ]  # a cut key would not be found
        if isinstance(error, litellm.Timeout) and http_status(error) is None:
            reason = f"no reply within {self._spec.timeout_s:g} s"
        too_long = isinstance(error, litellm.ContextWindowExceededError)
        shaped = not too_long and response_format(request, form) is not None
        if shaped and status == 500 and FORM_CRASH.search(told):
            self._step_down(form, reason)
            return None
        if not too_long and may_pass(status, told):
            crowded = status in CROWDED and http_status(error) is not None
            return RetryableError(reason, retry_after_s=asked_wait_s(error), crowded=crowded)
        if shaped and status in (400, 422) and FORM_COMPLAINT.search(told):
            self._step_down(form, reason)
            return None
        return self._refusal(status, reason)

    def _refusal(self, status: int | None, reason: str) -> ProviderRefusedError:
        key = self._spec.api_key_env
        hints = {
            401: f"check the key in `{key}`"
            if key
            else "name the key's variable in `provider.api_key_env`",
            402: "the account needs credit",
            403: "the key may not use this model",
            404: "check `provider.model`"
            + (" and `provider.api_base`" if self._spec.api_base else ""),
            429: "the account needs credit, or the request is larger than it may be",
        }
        return ProviderRefusedError(
            f"{self._where()} refuses: {reason}",
            hint=hints.get(status or 0, "it would refuse the same request again"),
        )

    def _unavailable(self, last: RetryableError) -> ProviderUnavailableError:
        tries = self._spec.retries + 1
        return ProviderUnavailableError(
            f"{self._where()} did not answer in {count_of(tries, 'try', 'tries')}; "
            f"the last: {last}",
            hint="what was made is kept: run the same command with `--resume` later"
            + (", when the server is up at `provider.api_base`" if self._spec.api_base else ""),
        )

    def _where(self) -> str:
        """Return model and address for a message; a password in the address is left out."""
        if self._spec.api_base is None:
            return f"`{self._spec.model}`"
        parts = urlsplit(self._spec.api_base)
        return f"`{self._spec.model}` at `{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}`"

    def _step_down(self, refused: Structured, reason: str) -> None:
        with self._lock:
            if self._structured != refused:
                return  # another thread has been told the same
            self._structured = STEP_DOWN[refused]
        logger.warning(
            "%s does not take `structured: %s`, asking with `%s` from now on (%s)",
            self._where(),
            refused,
            STEP_DOWN[refused],
            reason,
        )

    def _routed(self, model: str) -> str:
        """Return `model` as litellm wants it: behind `api_base`, OpenAI's protocol is the default.

        Servers name models as they please (`qwen2.5`, `Qwen/Qwen2.5-7B`), so only a prefix that
        litellm knows as a provider is taken for one.
        """
        if self._spec.api_base is None:
            return model
        prefix, slash, _ = model.partition("/")
        known = bool(slash) and prefix in load_litellm().provider_list
        return model if known else f"openai/{model}"

    def _best_structured(self) -> Structured:
        litellm, model = load_litellm(), self._routed(self._spec.model)
        # litellm says no for servers of one's own, most of which take a schema.
        if self._spec.api_base is not None or litellm.supports_response_schema(model=model):
            return "schema"
        return "json" if self._takes_response_format(model) else "text"

    def _takes_response_format(self, model: str) -> bool:
        bare, provider = _provider_of(model)
        taken = load_litellm().get_supported_openai_params(model=bare, custom_llm_provider=provider)
        return "response_format" in (taken or ())

    def _key(self) -> str | None:
        """Return the key to send, or None to let litellm look for the provider's own variable."""
        if self._spec.api_key_env is not None:
            return os.environ.get(self._spec.api_key_env, "").strip() or None
        return None if self._spec.api_base is None else NO_KEY

    def _missing_settings(self, model: str) -> list[str]:
        """Return the environment variables that must be set first."""
        if self._spec.api_key_env is not None:
            return [] if self._key() else [self._spec.api_key_env]
        if self._spec.api_base is not None:
            return []
        missing = load_litellm().validate_environment(model=model)["missing_keys"]
        own = f"{_provider_of(model)[1].upper()}_API_KEY"
        if own not in missing and os.environ.get(own, "set").strip() == "":
            missing = [own]  # to litellm an empty key is a key
        return [name for name in missing if name not in _OPTIONAL_SETTINGS]

    def _lacking(self, names: list[str]) -> InputError:
        # Several keys are the alternatives of one provider (Gemini); Azure needs all it lists.
        joint = " or " if all(name.endswith("_API_KEY") for name in names) else " and "
        listed = joint.join(f"`{name}`" for name in names)
        return InputError(
            f"the model `{self._spec.model}` needs {listed} in the environment",
            hint=f"`export {names[0]}=...`, or name another variable in `provider.api_key_env`",
        )


def _provider_of(model: str) -> tuple[str, str]:
    """Return the name that the provider has for `model`, and litellm's name of the provider.

    Raises:
        InputError: litellm does not know the provider.
    """
    try:
        bare, provider = load_litellm().get_llm_provider(model=model)[:2]
    except Exception:  # noqa: BLE001 - whatever it raises means that no provider was found
        raise InputError(
            f"litellm knows no provider for the model `{model}`",
            hint="write `provider/model`, such as `openai/gpt-4.1-nano`, or set "
            "`provider.api_base` for a server of your own",
        ) from None
    return bare, provider
