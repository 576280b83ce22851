"""Replies from a GGUF file on this machine, run by a child process that may crash or hang."""

from __future__ import annotations

import importlib.util
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llmsynthor.errors import InputError, ProviderRefusedError, ProviderUnavailableError
from llmsynthor.job.providers import file_of
from llmsynthor.llm.providers.base import Reply
from llmsynthor.llm.providers.grammar import gbnf
from llmsynthor.seeds import derive_seed
from llmsynthor.text import count_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO

    from llmsynthor.job.model import ProviderSpec
    from llmsynthor.llm.providers.base import Request, Setup

_MAGIC = b"GGUF"
_MOST_TRIES = 3
"""A crash is answered by a new process; what crashes again and again is not asked for ever."""
_CONTEXT = 8192
"""Tokens of prompt and reply together."""
_LONGEST_LOAD_S = 600.0
_LONGEST_FREE = 512
"""Tokens of a reply without a grammar: a small model may not stop by itself."""
_TAIL = 300


class LocalProvider:
    """Answers requests one after the other; may be called from several threads at once."""

    counts: Literal["at most"] = "at most"

    @classmethod
    def of(cls, setup: Setup) -> LocalProvider:
        """Return the local model that a job names."""
        return cls(setup.spec, setup.file, setup.seed)

    def __init__(
        self, spec: ProviderSpec, path: Path, seed: int, *, command: Sequence[str] | None = None
    ) -> None:
        """Prepare to ask; the model is loaded at the first request, by `command` or `local_child.py`."""
        self._spec = spec
        self._path = path
        self._seed = seed
        child = Path(__file__).with_name("local_child.py")
        # -P: no file in the child's folder may hide a module of Python's or of the library's
        self._command = list(command or (sys.executable, "-P", str(child)))
        settings = {
            "path": str(path.absolute()),
            "context": _CONTEXT,
            "threads": max(1, (os.cpu_count() or 1) - 1),
        }
        self._command.append(json.dumps(settings))
        self._turn = threading.Lock()
        self._child: _Child | None = None
        self._closed = False

    def check(self) -> None:
        """Check that the model is there and can be run, without loading it.

        Raises:
            InputError: It is missing, is no GGUF file, or the extra is not installed.
        """
        shown = f"provider.model: {file_of(self._spec)}"
        fetch = "`llmsynthor model fetch` gets a very small one, to try things out"
        try:
            with self._path.open("rb") as file:
                magic = file.read(len(_MAGIC))
        except FileNotFoundError:
            message = f"{shown}: no such file (looked for {self._path})"
            raise InputError(message, hint=fetch) from None
        except OSError as error:
            raise InputError(f"{shown}: cannot be read ({error.strerror})") from None
        if magic != _MAGIC:
            raise InputError(
                f"{shown}: not a GGUF file: it begins with {magic!r}, not {_MAGIC!r}",
                hint=f"a local model is one GGUF file, as llama.cpp reads it; {fetch}",
            )
        if importlib.util.find_spec("xllamacpp") is None:
            raise InputError(
                "provider.model: a local model needs the extra `local`, which is not installed",
                hint="`pip install 'llmsynthor[local]'`",
            )

    def complete(self, request: Request) -> Reply:
        """Return the reply to `request`.

        Raises:
            ProviderRefusedError: The model cannot be loaded, or the request is none it can take.
            ProviderUnavailableError: The process crashed or took too long, in every try.
        """
        asked = self._asked(request)
        tries = 1 + min(self._spec.retries, _MOST_TRIES - 1)
        reason = ""
        with self._turn:
            for _ in range(tries):
                if self._closed:
                    reason = "the run is over"
                    break
                try:
                    return self._reply(self._ask(asked), request)
                except _LostError as lost:
                    self._stop()
                    reason = str(lost)
        raise ProviderUnavailableError(
            f"`{request.model}` did not answer in {count_of(tries, 'try', 'tries')}: {reason}",
            hint="a larger `provider.timeout_s`, a smaller model or shorter replies may help; the "
            "same command with `--resume` goes on",
        )

    def count_tokens(self, request: Request) -> int:
        """Return about how many tokens the prompt has, rather too many than too few.

        Only the model's process could count them; tokens of a language's letters are longer than
        these, and digits and rare characters may take one for each byte.
        """
        text = f"{request.system}\n{request.prompt}"
        letters = sum(c.isascii() and not c.isdigit() for c in text)
        return letters // 2 + len(text.encode("utf-8", "replace")) - letters + 64

    def price(self) -> tuple[float, float]:
        """Return 0: a model of one's own costs nothing."""
        return 0.0, 0.0

    def close(self) -> None:
        """End the process that holds the model, also amid a reply that nobody waits for."""
        self._closed = True
        child = self._child
        if child is not None:
            child.kill()

    def _asked(self, request: Request) -> dict[str, Any]:
        seed = derive_seed(self._seed, "local", request.purpose, request.sequence) % 2**31
        asked: dict[str, Any] = {
            "messages": [
                {"role": "system", "content": request.system},
                {"role": "user", "content": request.prompt},
            ],
            "temperature": request.temperature,
            "max_tokens": request.max_output_tokens,
            "seed": seed,
        }
        if request.schema is None:
            asked["max_tokens"] = min(request.max_output_tokens, _LONGEST_FREE)
        else:
            asked["grammar"] = gbnf(request.schema)
        return asked

    def _ask(self, asked: dict[str, Any]) -> dict[str, Any]:
        if self._child is None:
            self._child = _Child.started(self._command)
            ready = self._child.receive(max(_LONGEST_LOAD_S, self._spec.timeout_s), "to load")
            if "error" in ready:
                return ready
        self._child.send(asked)
        return self._child.receive(self._spec.timeout_s, "to answer")

    def _reply(self, answer: dict[str, Any], request: Request) -> Reply:
        if "error" in answer:
            self._stop()
            raise ProviderRefusedError(
                f"`{request.model}` refuses: {str(answer['error'])[:_TAIL]}",
                hint="it would refuse the same request again: check that the file is whole, or use "
                "another model",
            )
        return Reply(
            text=str(answer["text"]),
            model=request.model,
            prompt_tokens=int(answer["prompt_tokens"]),
            completion_tokens=int(answer["completion_tokens"]),
            cost_usd=0.0,
            truncated=bool(answer["truncated"]),
            structured="text" if request.schema is None else "schema",
        )

    def _stop(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


class _LostError(Exception):
    """The process ended, took too long or said what nobody understands."""


@dataclass
class _Child:
    """One process that holds the model, with a thread that reads what it says."""

    process: subprocess.Popen[str]
    said: queue.SimpleQueue[str | None]
    complaints: IO[bytes]

    @classmethod
    def started(cls, command: Sequence[str]) -> _Child:
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            process = subprocess.Popen(  # noqa: S603 - our own program, by its full path
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,  # Ctrl-C is ours to answer
            )
        except OSError as error:
            complaints.close()
            raise _LostError(f"the model's process does not start ({error.strerror})") from None
        said: queue.SimpleQueue[str | None] = queue.SimpleQueue()

        def read() -> None:
            with process.stdout as pipe:  # type: ignore[union-attr] # it is a pipe
                for line in pipe:
                    said.put(line)
            said.put(None)

        threading.Thread(target=read, daemon=True).start()
        return cls(process, said, complaints)

    def send(self, content: dict[str, Any]) -> None:
        if self.process.stdin is None:
            return
        try:
            self.process.stdin.write(json.dumps(content) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise _LostError(self._end()) from None

    def receive(self, seconds: float, doing: str) -> dict[str, Any]:
        """Return the next line, waited for at most `seconds`."""
        try:
            line = self.said.get(timeout=seconds)
        except queue.Empty:
            raise _LostError(f"the model took more than {seconds:g} s {doing}") from None
        if line is None:
            raise _LostError(self._end())
        try:
            content = json.loads(line)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise _LostError(f"the model's process said what is no reply: {line[:80]!r}")
        return content

    def _end(self) -> str:
        """Return how the process ended, with its last words."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5.0)
        code = self.process.poll()
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        else:
            how = "stopped answering" if code is None else f"ended with exit code {code}"
        self.complaints.seek(0)
        words = self.complaints.read().decode("utf-8", "replace").strip().splitlines()
        last = "".join(c for c in words[-1] if c.isprintable())[-_TAIL:] if words else ""
        return f"the model's process {how}{f' ({last})' if last else ''}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.complaints):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
