"""An OpenAI-compatible HTTP server on 127.0.0.1 that answers from a script, for tests."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

COMPLETIONS_PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Step:
    """What the server does with one request; made by the functions below."""

    kind: Literal["answer", "hang", "drop"]
    status: int = 200
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class RecordedRequest:
    """One request as it arrived: `headers` have lower-case names, `at_s` is a monotonic time."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at_s: float


def reply(
    text: str,
    *,
    prompt_tokens: int = 11,
    completion_tokens: int = 7,
    usage: bool = True,
    finish_reason: str = "stop",
    model: str | None = None,
) -> Step:
    """Return a step that answers with `text`; `model` is the request's unless given."""
    body: dict[str, Any] = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish_reason,
            }
        ],
    }
    if usage:
        body["usage"] = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
    return Step("answer", body=body)


def half(text: str, *, finish_reason: str = "length") -> Step:
    """Return a step whose content is the first half of `text`: a half JSON in a whole answer."""
    return reply(text[: len(text) // 2], finish_reason=finish_reason)


def error(
    status: int,
    *,
    message: str | None = None,
    code: str | None = None,
    kind: str | None = None,
    retry_after: float | str | None = None,
) -> Step:
    """Return a step that fails with `status`; `kind` is the `type` in the error's body."""
    told = {"message": message or "scripted failure", "type": kind, "param": None, "code": code}
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return Step("answer", status=status, body={"error": told}, headers=headers)


def hang(seconds: float) -> Step:
    """Return a step that says nothing for `seconds` (or until the server closes), then hangs up."""
    return Step("hang", seconds=seconds)


def drop() -> Step:
    """Return a step that closes the connection without an answer."""
    return Step("drop")


class _Http(ThreadingHTTPServer):
    """Counts the connections that are being served.

    Attributes:
        at_work: How many there are.
    """

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.at_work = 0
        self._counting = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._count(1)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self._count(-1)

    def _count(self, change: int) -> None:
        with self._counting:
            self.at_work += change


class ScriptedServer:
    """Answers requests with `steps`, in order of arrival, and records them.

    Example:
        with ScriptedServer([error(500), reply("hello")]) as server:
            call(server.base_url)
        assert len(server.requests) == 2

    Attributes:
        requests: Every request so far, in order of arrival.
        models: Names that `GET /v1/models` answers with.
    """

    models: Sequence[str] = ()

    def __init__(
        self, steps: Iterable[Step] = (), *, default: Callable[[dict[str, Any]], Step] | None = None
    ) -> None:
        """Prepare the script.

        Args:
            steps: One for each request.
            default: Makes the step from the request's JSON when `steps` are used up; without it
                such a request is refused (400), so that a test which asks too much fails.
        """
        self._steps = deque(steps)
        self._default = default
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self.requests: list[RecordedRequest] = []
        self._http = _Http(("127.0.0.1", 0), _make_handler(self))
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._http.server_address[1])

    @property
    def base_url(self) -> str:
        """The address to give as `api_base`."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    @property
    def bodies(self) -> Sequence[dict[str, Any]]:
        """The JSON of every request so far."""
        return [request.body for request in self.requests]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()  # wakes the hanging, whose threads are then joined by server_close
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def settle(self) -> None:
        """Wait until every request that was sent so far has been recorded and dealt with."""
        with urlopen(f"{self.base_url}/models") as answer:  # comes after them in the queue
            answer.read()
        while self._http.at_work > 0:
            time.sleep(0.001)

    def wait(self, seconds: float) -> None:
        """Wait for `seconds`, or until the server closes."""
        self._closing.wait(seconds)

    def next_step(self, request: RecordedRequest) -> Step:
        """Record `request` and return what to do with it."""
        with self._lock:
            self.requests.append(request)
            if self._steps:
                return self._steps.popleft()
        if self._default is not None:
            return self._default(request.body)
        return error(400, message="the script is used up")


def _make_handler(server: ScriptedServer) -> type[BaseHTTPRequestHandler]:
    """Return the handler class of `server`.

    It speaks HTTP/1.0: a connection ends with its answer, so none is left open after a test.
    """

    class ScriptedHandler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            request = RecordedRequest(
                self.path,
                {name.lower(): value for name, value in self.headers.items()},
                json.loads(raw or b"{}"),
                time.monotonic(),
            )
            step = server.next_step(request)
            if "choices" in step.body and self.path != COMPLETIONS_PATH:
                step = error(404, message=f"no such path: {self.path}")
            if step.kind == "hang":
                server.wait(step.seconds)
            elif step.kind == "answer":
                self._answer(step, request.body.get("model"))

        def do_GET(self) -> None:
            names = [{"id": name, "object": "model"} for name in server.models]
            there = self.path == "/v1/models" and bool(names)
            self._answer(Step("answer", 200 if there else 404, {"data": names}), None)

        def _answer(self, step: Step, asked_model: str | None) -> None:
            body = dict(step.body)
            if "choices" in body:
                body["model"] = body["model"] or asked_model
            payload = json.dumps(body).encode()
            try:
                self.send_response(step.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                for name, value in step.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(payload)
            except OSError:
                pass  # the client has given up, as a test of time-outs wants

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: stderr belongs to the test."""

    return ScriptedHandler
