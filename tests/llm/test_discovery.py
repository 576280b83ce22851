"""A job without a model: the only one that this machine offers is used and named, else exit 2."""

from __future__ import annotations

import json
import socket
import threading

import pytest
import yaml
from scripted_server import ScriptedServer
from small_job import data_hash, plan_for, write_job

from llmsynthor.cli.main import main
from llmsynthor.llm.providers import discovery


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch):
    """Take away what the machine that runs the tests may offer."""
    for name in discovery.KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(discovery, "SERVERS", ())
    monkeypatch.setattr(discovery, "_WAIT_S", 60.0)  # this machine may be busy
    monkeypatch.setattr(discovery, "_LONGEST_S", 60.0)


def run(job, folder, *options) -> int:
    return main(["run", str(job), "--out", str(folder), *options])


def serve(monkeypatch, *servers: ScriptedServer) -> None:
    names = ("Ollama", "vLLM", "llama-server")
    ports = [server.port for server in servers]
    monkeypatch.setattr(discovery, "SERVERS", tuple(zip(names, ports, strict=False)))


def resolved(folder):
    return yaml.safe_load((folder / "job.resolved.yaml").read_text())["provider"]


def test_the_only_server_is_used_named_and_kept(tmp_path, monkeypatch, capsys):
    job, out = write_job(tmp_path, provider={"concurrency": 1}), tmp_path / "out"
    with ScriptedServer(default=plan_for) as server:
        server.models = ["tiny:1b"]
        serve(monkeypatch, server)
        assert run(job, out, "--set", "budget.calls=2") == 0
        told = f"`openai/tiny:1b` is used (Ollama's port {server.port} answers)"
        assert told in capsys.readouterr().err
        assert server.bodies[0]["model"] == "tiny:1b"
        assert server.requests[0].headers["authorization"] == "Bearer not-needed"
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["model"] == "openai/tiny:1b"
        assert told in manifest["model_found"]
        assert resolved(out)["api_base"] == server.base_url
    before = data_hash(out)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-another-way-now")
    assert run(job, out, "--replay") == 0
    assert "this run began with `openai/tiny:1b`" in capsys.readouterr().err
    assert resolved(out)["model"] == "openai/tiny:1b"
    assert data_hash(out) == before


def test_a_resume_keeps_the_model(tmp_path, monkeypatch):
    job, out = write_job(tmp_path, provider={"retries": 0}), tmp_path / "out"
    with ScriptedServer() as server:
        server.models = ["tiny"]
        serve(monkeypatch, server)
        assert run(job, out, "-q") == 4  # the script is used up: 400
    with ScriptedServer(default=plan_for) as other:
        other.models = ["greater"]
        serve(monkeypatch, other)
        assert run(job, out, "-q", "--resume") == 75  # the first server is gone, and no other asked
        assert not other.requests
    assert resolved(out)["model"] == "openai/tiny"


@pytest.mark.parametrize("name", sorted(discovery.KEYS))
def test_the_only_key_is_used_by_name(tmp_path, monkeypatch, capsys, name):
    monkeypatch.setenv(name, "sk-secret-123456")
    assert main(["validate", str(write_job(tmp_path, provider={})), "--json"]) == 0
    told = capsys.readouterr().out
    found = json.loads(told)
    assert found["model"] == discovery.KEYS[name]
    assert (
        found["model_found"]
        == f"the job names no `provider.model`: `{discovery.KEYS[name]}` is used (the environment has {name})"
    )
    assert found["key_set"] is True
    assert "sk-secret" not in told


def test_nothing_found(tmp_path, monkeypatch, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setattr(discovery, "SERVERS", (("Ollama", port),))
    monkeypatch.setenv("OPENAI_API_KEY", "  ")
    content = write_job(tmp_path)
    job = yaml.safe_load(content.read_text())
    del job["provider"]
    content.write_text(yaml.safe_dump(job))
    assert run(content, tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "the job names no model, no provider's key is in the environment" in told
    assert f"no model server answers on 127.0.0.1 at {port} (Ollama)" in told
    for way in (
        "export OPENAI_API_KEY",
        "provider.api_base",
        "local:/path",
        "provider.model: none",
    ):
        assert way in told
    assert not (tmp_path / "out").exists()


def test_a_choice_is_left_to_the_user(tmp_path, monkeypatch, capsys):
    job = write_job(tmp_path, provider={})
    monkeypatch.setenv("GROQ_API_KEY", "gsk-secret-123456")
    with ScriptedServer() as one, ScriptedServer() as two:
        one.models, two.models = ["a", "b"], ["Qwen/Q-7B", "evil'; rm", "\x1b[31mred", 7]
        serve(monkeypatch, one, two)
        assert run(job, tmp_path / "out") == 2
        told = capsys.readouterr().err
        assert "there are 4 to choose from:" in told
        assert "--set 'provider.model=groq/openai/gpt-oss-20b'   (the environment has GROQ" in told
        assert f"--set 'provider.model=openai/b' --set provider.api_base={one.base_url}" in told
        assert "Qwen/Q-7B" in told
        assert "evil" not in told
        assert "\x1b" not in told
        assert "secret" not in told
        assert not one.requests


@pytest.mark.parametrize("given", [{"api_base": "http://127.0.0.1:9/v1"}, {"api_key_env": "K"}])
def test_half_a_provider_is_no_provider(tmp_path, capsys, given):
    assert run(write_job(tmp_path, provider=given), tmp_path / "out") == 2
    assert "provider.model: this key is needed where" in capsys.readouterr().err


@pytest.mark.slow
def test_what_is_no_model_server_is_passed_over(tmp_path, monkeypatch, capsys):
    with ScriptedServer() as server, socket.create_server(("127.0.0.1", 0)) as silent:
        ports = (("vLLM", server.port), ("Ollama", silent.getsockname()[1]))
        monkeypatch.setattr(discovery, "SERVERS", ports)
        monkeypatch.setattr(discovery, "_LONGEST_S", 1.5)  # the second never answers
        assert run(write_job(tmp_path, provider={}), tmp_path / "out") == 2
    assert "no model server answers" in capsys.readouterr().err


def without_model(folder):
    job = write_job(folder, provider={})
    content = yaml.safe_load(job.read_text())
    del content["provider"]
    job.write_text(yaml.safe_dump(content))
    return job


def test_validate_and_preview_say_that_a_run_would_not_start(tmp_path, capsys):
    job = without_model(tmp_path)
    assert main(["validate", str(job), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["valid"], found["model"], found["model_found"]) == (True, "auto", None)
    assert found["refused"].startswith("provider.model: the job names no model, no provider's key")
    assert main(["validate", str(job)]) == 0
    told = capsys.readouterr().out
    assert "`run` would not start yet: provider.model: the job names no model" in told
    assert "export OPENAI_API_KEY" in told
    assert main(["preview", str(job)]) == 0
    told = capsys.readouterr().out
    assert "a run would not start: provider.model: the job names no model" in told
    assert "# Rules that every record keeps" in told
    assert "cost: depends on the model, which is not chosen yet" in told
    assert main(["preview", str(job), "--ask"]) == 2
    assert main(["run", str(job), "--out", str(tmp_path / "out")]) == 2


def test_validate_and_preview_name_the_model_that_would_be_used(tmp_path, monkeypatch, capsys):
    job = without_model(tmp_path)
    with ScriptedServer() as server:
        server.models = ["tiny"]
        serve(monkeypatch, server)
        for command in ("validate", "preview"):
            assert main([command, str(job)]) == 0
            assert "`openai/tiny` is used (Ollama's port" in capsys.readouterr().out
        assert not server.requests


def test_a_server_that_answers_drop_by_drop_is_not_waited_for(tmp_path, monkeypatch, capsys):
    over = threading.Event()

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
            while not over.wait(0.05):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as slow:
        thread = threading.Thread(target=drip, args=(slow,))
        thread.start()
        monkeypatch.setattr(discovery, "SERVERS", (("vLLM", slow.getsockname()[1]),))
        monkeypatch.setattr(discovery, "_LONGEST_S", 0.3)
        assert main(["validate", str(without_model(tmp_path))]) == 0  # a drop comes for ever
        over.set()
        thread.join()
    assert "no model server answers" in capsys.readouterr().out
