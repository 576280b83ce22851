"""The process that holds a local model: reads a request a line from stdin, writes a reply a line.

Started by `local.py` by its path; it must import nothing of llmsynthor, so that a model starts
fast. A native library may end the whole process, which is why it has one of its own.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import secrets
import sys
import threading
from typing import Any, TextIO


def main(arguments: list[str]) -> int:
    """Load the model named by the first argument, then answer until stdin ends."""
    settings = json.loads(arguments[0])
    replies = _own_stdout()
    try:
        server = _load(settings)
    except Exception as error:  # noqa: BLE001 - the library's own classes
        _write(replies, {"error": f"the model cannot be loaded: {error}"})
        return 1
    _write(replies, {"ready": True})
    requests = _requests()
    while True:
        _write(replies, _answer(server, requests.get()))


def _own_stdout() -> TextIO:
    """Return the pipe to the parent; what native code prints to stdout goes to stderr instead."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return pipe


def _write(replies: TextIO, content: dict[str, Any]) -> None:
    replies.write(json.dumps(content) + "\n")
    replies.flush()


def _requests() -> queue.SimpleQueue[dict[str, Any]]:
    """Return the requests as they come; the end of stdin ends the process, even amid a reply."""
    waiting: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            waiting.put(json.loads(line))
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return waiting


def _load(settings: dict[str, Any]) -> Any:  # noqa: ANN401 - xllamacpp has no types
    library = importlib.import_module("xllamacpp")
    params = library.CommonParams()
    params.model.path = settings["path"]
    params.n_ctx = settings["context"]
    params.n_parallel = 1
    # What was asked before must not move a reply: a part of a prompt that is taken from a cache
    # is computed in other steps, and rounds otherwise.
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.warmup = False
    params.ui = False
    params.verbosity = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    # The library also listens on a port of this machine; nobody is told this key.
    params.api_keys = [secrets.token_hex(32)]
    return library.Server(params)


def _answer(server: Any, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    try:
        answer = server.handle_chat_completions({**request, "cache_prompt": False})
    except Exception as error:  # noqa: BLE001 - the library's own classes
        return {"error": str(error)}
    if "error" in answer:
        return {"error": str(answer["error"].get("message", answer["error"]))}
    choice, usage = answer["choices"][0], answer.get("usage", {})
    return {
        "text": choice["message"].get("content") or "",
        "truncated": choice.get("finish_reason") == "length",
        "prompt_tokens": usage.get("prompt_tokens", 0),
        "completion_tokens": usage.get("completion_tokens", 0),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
