"""The real library with the real very small model; skipped where either is absent.

LLMSYNTHOR_TEST_GGUF names the file that `llmsynthor model fetch` got.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from pathlib import Path

import pytest
from odd_jobs import DOMAIN, NASTY
from small_job import data_hash, report, write_job

from llmsynthor.candidates.reply_schema import plan_schema
from llmsynthor.cli.main import main
from llmsynthor.job.model import ProviderSpec
from llmsynthor.llm.providers.base import Request
from llmsynthor.llm.providers.local import LocalProvider

GGUF = os.environ.get("LLMSYNTHOR_TEST_GGUF", "")
pytestmark = [
    pytest.mark.gguf,
    pytest.mark.skipif(
        not GGUF or importlib.util.find_spec("xllamacpp") is None,
        reason="needs the extra `local` and LLMSYNTHOR_TEST_GGUF",
    ),
]


@pytest.fixture(scope="module")
def model():
    local = LocalProvider(ProviderSpec(model="local:m"), Path(GGUF), 1)
    yield local
    local.close()


def ask(model, schema, sequence=0):
    system = "You answer with JSON."
    return model.complete(Request("plan", sequence, system, "Go on.", schema, "local:m", 0.8, 400))


def test_every_legal_label_comes_out_as_it_is(model):
    one = {name: {"enum": [label]} for name, label in zip("abcdefg", NASTY, strict=True)}
    answer = ask(model, {"type": "object", "properties": one, "required": list(one)})
    assert list(json.loads(answer.text).values()) == list(NASTY)
    assert answer.prompt_tokens > 0
    assert answer.completion_tokens > 0


def test_a_plan_is_valid_has_no_free_blanks_and_is_repeatable(model):
    answers = [ask(model, plan_schema(DOMAIN), sequence).text for sequence in (3, 4, 3)]
    assert answers[0] == answers[2] != answers[1]
    for answer in answers:
        outside = re.sub(r'"(?:\\.|[^"\\])*"', "", answer)
        assert not re.search(r"\s", outside)
        assert answer.startswith('{"proposals":[{"reason":"')


def test_two_runs_are_byte_identical(tmp_path):
    for name in ("one", "two"):
        job = write_job(tmp_path / name, provider={"model": f"local:{GGUF}"})
        options = ["--set", "engine.iterations=1", "-q"]
        assert main(["run", str(job), "--out", str(tmp_path / name / "out"), *options]) == 0
    assert data_hash(tmp_path / "one/out") == data_hash(tmp_path / "two/out")
    found = report(tmp_path / "one/out")["llm"]
    assert (found["calls"], found["unread_replies"], found["cost_usd"]) == (2, 0, 0.0)
