"""A stand-in for the native library of local models: same calls, answers, crashes and hangs as told.

The process that holds a model imports it as `xllamacpp`. What it does with each request is in the
file `script.json` beside it: a list of acts, one for each request over all processes; `answer` is
the default. It writes down every request that it gets.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

SOURCE = """
import hashlib, json, os, pathlib, signal, sys, time
HERE = pathlib.Path(__file__).parent
class _Any: pass
class CommonParams:
    def __init__(self):
        self.model, self.cpuparams, self.cpuparams_batch = _Any(), _Any(), _Any()
class Server:
    def __init__(self, params):
        os.write(1, b"native code prints to stdout\\n")
        if (HERE / "unloadable").exists():
            raise RuntimeError("Failed to init server")
        sys.path.insert(0, TESTS)
        self.answer = __import__("small_job").local_answer  # takes seconds, of which no reply has many
        (HERE / "pid").write_text(str(os.getpid()))
        with (HERE / "loads").open("a") as file:
            file.write(json.dumps({"threads": params.cpuparams.n_threads, "cache": params.cache_prompt}) + "\\n")
    def handle_chat_completions(self, request):
        with (HERE / "requests").open("a") as file:
            file.write(json.dumps(request) + "\\n")
        number = len((HERE / "requests").read_text().splitlines()) - 1
        script = json.loads((HERE / "script.json").read_text())
        act = script[number] if number < len(script) else "answer"
        if act == "crash":
            sys.stderr.write("ggml.c:1: illegal instruction\\n"); sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGSEGV)
        if act == "hang":
            time.sleep(600)
        if act == "refuse":
            return {"error": {"code": 400, "message": "request (9999 tokens) exceeds the available context size"}}
        key = json.dumps([request["messages"], request["seed"]])
        seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
        text = self.answer(request, seed)
        return {"choices": [{"message": {"content": text}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 50, "completion_tokens": 9}}
"""


class StandIn:
    """The library, installed for this test alone."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        tests = f"TESTS = {str(Path(__file__).parent)!r}\n"
        (folder / "xllamacpp.py").write_text(tests + SOURCE)
        self.script()

    def script(self, *acts: str) -> None:
        """Say what is done with the next requests, from the first on; forget those that came."""
        for name in ("requests", "loads"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "script.json").write_text(json.dumps(acts))

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Return the `requests` or the `loads` of the model so far."""
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Put the stand-in where this process and its children find it."""
    shutil.rmtree(folder, ignore_errors=True)
    library = StandIn(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    return library
