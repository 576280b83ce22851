"""A local model behind real processes: it crashes, hangs and refuses, and the run goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_job import data_hash, report, write_job
from stand_in_library import install

from llmsynthor.cli.main import main
from llmsynthor.errors import ProviderRefusedError, ProviderUnavailableError
from llmsynthor.job.model import ProviderSpec
from llmsynthor.llm.providers.base import Request
from llmsynthor.llm.providers.local import LocalProvider

SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x"]}}, "required": ["a"]}


@pytest.fixture
def library(tmp_path, monkeypatch):
    return install(tmp_path / "library", monkeypatch)


def local_job(folder: Path, **provider) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "m.gguf").write_bytes(b"GGUF and more")
    return write_job(folder, provider={"model": "local:m.gguf", **provider})


def run(folder: Path, *options: str, **provider) -> int:
    job = local_job(folder, **provider)
    return main(["run", str(job), "--out", str(folder / "out"), "-q", *options])


def request(sequence: int = 0, **changes) -> Request:
    fields = {
        "purpose": "plan",
        "sequence": sequence,
        "system": "S",
        "prompt": "P",
        "schema": SCHEMA,
        "model": "local:m.gguf",
        "temperature": 0.5,
        "max_output_tokens": 64,
    }
    return Request(**fields | changes)


def spec(**changes) -> ProviderSpec:
    return ProviderSpec(model="local:m.gguf", timeout_s=1.0, **changes)


@pytest.mark.slow
def test_a_run_goes_on_after_crashes_and_time_outs(tmp_path, library):
    library.script("answer", "crash", "answer", "hang")
    assert run(tmp_path, timeout_s=1.0) == 0
    found = report(tmp_path / "out")
    assert found["records"]["made"] == 600
    assert (found["llm"]["calls"], found["llm"]["failed_calls"]) == (6, 0)
    assert found["llm"]["cost_usd"] == 0.0
    assert (found["llm"]["prompt_tokens"], found["llm"]["completion_tokens"]) == (300, 54)
    assert len(library.lines("loads")) == 3  # at first, after the crash, after the time-out
    assert library.lines("loads")[0] == {
        "threads": max(1, (os.cpu_count() or 1) - 1),
        "cache": False,
    }


@pytest.mark.slow
def test_a_run_without_trouble_gives_the_same_records(tmp_path, library):
    assert run(tmp_path / "one", timeout_s=5.0) == 0
    asked = [line["seed"] for line in library.lines("requests")]
    library.script("crash", "answer", "hang")
    assert run(tmp_path / "two", timeout_s=1.0, concurrency=1) == 0
    again = [line["seed"] for line in library.lines("requests")]
    assert data_hash(tmp_path / "one/out") == data_hash(tmp_path / "two/out")
    assert len(set(asked)) == 6
    assert set(again) == set(asked)


def test_the_processes_end_with_the_run(tmp_path, library):
    assert run(tmp_path) == 0
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if children.exists():
        assert not [
            pid
            for pid in children.read_text().split()
            if b"local_child" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]


@pytest.mark.slow
def test_a_model_that_always_crashes_stops_the_run_and_says_how(tmp_path, library, capsys):
    library.script(*["crash"] * 9)
    assert run(tmp_path, retries=1) == 75
    told = capsys.readouterr().err
    assert "did not answer in 2 tries" in told
    assert "ended by SIGSEGV (ggml.c:1: illegal instruction)" in told
    library.script()
    assert run(tmp_path, "--resume") == 0


def test_a_model_that_cannot_be_loaded_is_refused(tmp_path, library, capsys):
    (library.folder / "unloadable").touch()
    assert run(tmp_path) == 4
    assert "cannot be loaded: Failed to init server" in capsys.readouterr().err


def test_a_request_that_is_too_long_is_refused(library):
    library.script("refuse")
    model = LocalProvider(spec(), Path("m.gguf"), 0)
    with pytest.raises(ProviderRefusedError, match="exceeds the available context size"):
        model.complete(request())
    model.close()


@pytest.mark.slow
def test_a_time_out_ends_in_time(library):
    library.script("hang")
    model = LocalProvider(spec(retries=0), Path("m.gguf"), 0)
    started = time.monotonic()
    with pytest.raises(ProviderUnavailableError, match="took more than 1 s to answer"):
        model.complete(request())
    assert time.monotonic() - started < 120  # of ten minutes
    model.close()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("print('not JSON', flush=True)", "said what is no reply"),
        ("raise SystemExit(7)", "ended with exit code 7"),
        ("import sys; sys.exit('no such CPU')", "ended with exit code 1 .no such CPU."),
    ],
)
def test_a_process_that_fails_at_once(words, reason):
    program = f"import sys, time\n{words}\ntime.sleep(9)"
    model = LocalProvider(
        spec(retries=1), Path("m.gguf"), 0, command=[sys.executable, "-c", program]
    )
    with pytest.raises(ProviderUnavailableError, match=reason):
        model.complete(request())
    model.close()


def test_what_is_asked(library):
    model = LocalProvider(spec(), Path("m.gguf"), 9)
    model.complete(request())
    model.complete(request(schema=None, max_output_tokens=4096))
    model.close()
    first, second = library.lines("requests")
    assert first["grammar"].startswith('root ::= "{\\"a\\":"')
    assert first["max_tokens"] == 64
    assert first["cache_prompt"] is False
    assert "grammar" not in second
    assert second["max_tokens"] == 512
    assert first["seed"] == second["seed"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "provider.model: m.gguf: no such file (looked for "),
        (b"PK\x03\x04", "m.gguf: not a GGUF file: it begins with b'PK\\x03\\x04', not b'GGUF'"),
    ],
)
def test_a_file_that_is_no_model(tmp_path, library, capsys, content, told):
    job = local_job(tmp_path)
    (tmp_path / "m.gguf").unlink()
    if content is not None:
        (tmp_path / "m.gguf").write_bytes(content)
    assert main(["run", str(job), "--out", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_extra(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "site-packages" not in p])
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    assert main(["run", str(local_job(tmp_path)), "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert "needs the extra `local`, which is not installed" in told
    assert "pip install 'llmsynthor[local]'" in told


def test_another_file_of_the_same_name_is_a_changed_input(tmp_path, library, capsys):
    assert run(tmp_path) == 0
    (tmp_path / "m.gguf").write_bytes(b"GGUF and other")
    job = str(tmp_path / "job.yaml")
    assert main(["run", job, "--out", str(tmp_path / "out"), "--resume", "-q"]) == 2
    assert "m.gguf (content)" in capsys.readouterr().err
    assert json.loads((tmp_path / "out/manifest.json").read_text())["model"] == "local:m.gguf"


@pytest.mark.slow
def test_a_signal_amid_a_reply_ends_both_processes_at_once(tmp_path, library, monkeypatch):
    library.script("hang")
    root = Path(__file__).parents[2]
    monkeypatch.setenv("PYTHONPATH", f"{library.folder}{os.pathsep}{root}")
    command = [sys.executable, "-m", "llmsynthor", "run", str(local_job(tmp_path))]
    options = ["--out", str(tmp_path / "out"), "-q"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 60
        while not library.lines("requests") and time.monotonic() < until:
            time.sleep(0.05)
        pid = int((library.folder / "pid").read_text())
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "add `--resume`" in told
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
