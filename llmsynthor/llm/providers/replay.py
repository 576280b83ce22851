"""What was asked and answered, kept and given again: by request hash, else in the order of asking."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from llmsynthor.candidates.proposals import read_json
from llmsynthor.errors import ProviderUnavailableError, ReplayError
from llmsynthor.llm.providers.base import OutOfRepliesError, Reply, scrubbed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from llmsynthor.llm.providers.base import Provider, Request, Setup, Stop

REPLY_LOG = "replies.jsonl"
PROMPT_LOG = "prompts.jsonl"


class _Line(BaseModel):
    """A line about one request."""

    model_config = ConfigDict(strict=True)

    key: str
    purpose: str
    sequence: int


class Answered(_Line):
    """A reply, as the log keeps it."""

    reply: Reply


class GivenUp(_Line):
    """A request that the run went on without, and why."""

    given_up: str


class PromptLine(_Line):
    """What a request asked, as sent, and in a few words what it was to look at."""

    system: str
    prompt: str
    focus: str | None = None
    gaps: list[str] = []


ReplyLine = Answered | GivenUp


def read_reply_line(content: Any) -> ReplyLine:  # noqa: ANN401 - whatever JSON holds
    """Return a line of a reply log."""
    is_given_up = isinstance(content, dict) and "given_up" in content
    return (GivenUp if is_given_up else Answered).model_validate(content)


def replies_in(lines: Iterable[ReplyLine]) -> list[Reply]:
    """Return the replies in a reply log."""
    return [line.reply for line in lines if isinstance(line, Answered)]


def style_of(lines: Iterable[Answered]) -> str | None:
    """Return the plan style (`plan` or `focus`) that most recorded replies have; None where unclear.

    A plan is a list `proposals`; what completes a focus is one object `values` without a count.
    """
    votes = {"plan": 0, "focus": 0}
    for line in lines:
        if line.purpose != "plan":
            continue
        content = read_json(line.reply.text)
        if isinstance(content, list) and content:
            content = content[0]
        if not isinstance(content, dict):
            continue
        if "proposals" in content or "count" in content:
            votes["plan"] += 1
        elif isinstance(content.get("values"), dict):
            votes["focus"] += 1
    if votes["plan"] == votes["focus"]:
        return None
    return max(votes, key=lambda style: votes[style])


def _named(request: Request) -> dict[str, Any]:
    """Return how a line of a log names its request."""
    return {"key": request.key(), "purpose": request.purpose, "sequence": request.sequence}


def prompt_record(request: Request, key_env: str | None) -> dict[str, Any]:
    """Return the line of the prompt log; values of keys, that of the variable `key_env` too, are struck out."""
    return {
        **_named(request),
        "model": request.model,
        "temperature": request.temperature,
        "max_output_tokens": request.max_output_tokens,
        "system": scrubbed(request.system, key_env),
        "prompt": scrubbed(request.prompt, key_env),
        "focus": request.focus and scrubbed(request.focus, key_env),
        "gaps": [scrubbed(gap, key_env) for gap in request.gaps],
    }


class GivenUpError(ProviderUnavailableError):
    """The run went on without this reply before, so what was made since does not know of it."""


class ReplayProvider:
    """Answers from a recording: a run's `replies.jsonl`, or plans written down in order."""

    counts: Literal["about"] = "about"

    @classmethod
    def of(cls, setup: Setup) -> ReplayProvider:
        """Return a job's recording."""
        return cls(setup.file, str(setup.spec.replies), setup.style)

    def __init__(self, path: Path, shown: str, style: Literal["plan", "focus"] = "plan") -> None:
        """Read the recording at `path`, which the job calls `shown`.

        Raises:
            ReplayError: It is missing or damaged.
        """
        self._style = style
        self._by_key: dict[str, Reply] = {}
        self._by_order: dict[tuple[str, int], Reply] = {}
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ReplayError(f"{shown}: no such file (looked for {path})") from None
        except (OSError, UnicodeDecodeError) as error:
            raise ReplayError(f"{shown}: cannot be read ({error})") from None
        self._given_up: set[tuple[str, int]] = set()
        self._shown = shown
        self._lines: list[Answered] = []
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                self._add(shown, number, line)
        if not self._by_order:
            raise ReplayError(f"{shown}: the recording holds no replies")

    def _add(self, shown: str, number: int, line: str) -> None:
        try:
            content = json.loads(line)  # written by hand it has no key
            record = read_reply_line({**content, "key": content.get("key") or ""})
        except (ValueError, RecursionError, TypeError, AttributeError):
            raise ReplayError(
                f"{shown}:{number}: not a recorded reply; a line is an object with `purpose`, "
                "`sequence` and `reply`"
            ) from None
        place = (record.purpose, record.sequence)
        if isinstance(record, GivenUp):
            self._given_up.add(place)
            return
        reply = record.reply.model_copy(update={"cost_usd": 0.0})  # reading it costs nothing
        self._lines.append(record)
        self._by_order.setdefault(place, reply)
        if record.key:
            self._by_key[record.key] = reply

    def check(self) -> None:
        """Check that the recording was made in the plan style that the job asks in.

        Raises:
            ReplayError: It was made in the other one, so no reply would be of use.
        """
        style, wanted = style_of(self._lines), self._style
        if style is not None and style != wanted:
            holds = {"plan": "lists of proposals", "focus": "what completes one cell each"}
            raise ReplayError(
                f"provider.replies: {self._shown}: its replies are {holds[style]} (plan style "
                f"`{style}`), and the job asks for {holds[wanted]} (plan style `{wanted}`)",
                hint=f"write `engine: {{plan_style: {style}}}`, or `--set engine.plan_style={style}`",
            )

    def complete(self, request: Request) -> Reply:
        """Return the recorded reply to `request`; see `Provider.complete`."""
        place = (request.purpose, request.sequence)
        reply = self._by_key.get(request.key()) or self._by_order.get(place)
        if reply is None and place in self._given_up:
            raise GivenUpError("the recorded run went on without this reply")
        if reply is None:
            raise OutOfRepliesError
        return reply

    def count_tokens(self, _: Request) -> int:
        """Return 0: a recording reads no tokens."""
        return 0

    def price(self) -> tuple[float, float]:
        """Return 0: reading a recording costs nothing."""
        return 0.0, 0.0

    def close(self) -> None:
        """Do nothing: the recording was read whole."""


class LoggedProvider:
    """Answers from the run's own reply log; what is not there is asked for and logged at once.

    The log is written by the thread that received the reply, before anybody uses it, so that no
    paid reply is lost whenever the process is killed.
    """

    def __init__(
        self,
        inner: Provider | None,
        records: Sequence[ReplyLine],
        append: Callable[[dict[str, Any]], None],
        ended: Stop | None = None,
        keep: Callable[[Request], None] = lambda _: None,
    ) -> None:
        """Wrap a provider; without one only the log may answer (`--replay`).

        `append` writes a line of the log, `keep` what is asked, before it is; `ended` is why the run
        that is replayed asked no further, where a limit ended its asking.
        """
        self._keep = keep
        self._ended = ended
        self._has_plans = any(record.purpose == "plan" for record in records)
        self._inner = inner
        self._append = append
        self._known = {r.key: r.reply for r in records if isinstance(r, Answered)}
        self._given_up = {r.key for r in records if isinstance(r, GivenUp)} - self._known.keys()

    def knows(self, request: Request) -> bool:
        """Return whether the log answers this, be it by saying that there was no reply."""
        return request.key() in self._known or request.key() in self._given_up

    def give_up(self, request: Request, reason: str) -> None:
        """Note that the run goes on without a reply, so that a resumed run does so too.

        A reply that came later would change the proposals that records already point to.
        """
        if request.key() not in self._given_up:
            self._append({**_named(request), "given_up": reason})
            self._given_up.add(request.key())

    def close(self) -> None:
        """Close the wrapped provider."""
        if self._inner is not None:
            self._inner.close()

    def complete(self, request: Request) -> Reply:
        """Return the reply to `request`; see `Provider.complete`."""
        known = self._known.get(request.key())
        if known is not None:
            return known
        if request.key() in self._given_up:
            raise GivenUpError("the run went on without this reply before")
        unasked = self._ended is not None and not self._has_plans  # the limit was 0 calls
        first = request.purpose == "plan" and request.sequence == 0
        if self._inner is None and first and not unasked:
            raise ReplayError(
                "`--replay`: the reply log has no reply to the first request of this job",
                hint="run without `--replay` to ask for it",
            )
        if self._inner is None:
            raise OutOfRepliesError(self._ended) if self._ended else OutOfRepliesError
        self._keep(request)
        reply = self._inner.complete(request)
        self._append({**_named(request), "reply": reply.model_dump()})
        self._known[request.key()] = reply
        return reply
