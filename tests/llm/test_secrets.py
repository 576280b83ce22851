"""Keys are struck out of what people read, and words that happen to be a short key are not."""

from __future__ import annotations

import json

import pytest
from scripted_server import ScriptedServer
from small_job import plan_for, provider, write_job

from llmsynthor.cli.main import main
from llmsynthor.llm.providers.base import scrubbed


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("none", "there is none; none at all", "there is none; none at all"),
        ("abc", "abcdef", "abcdef"),
        ("1234567", "id 1234567", "id 1234567"),
        ("12345678", "id 12345678.", "id ***."),
        (" sk-long-enough \n", "got sk-long-enough", "got ***"),
        ("", "nothing", "nothing"),
        ("        ", "a        b", "a        b"),
    ],
)
def test_a_value_is_struck_out_from_eight_characters_on(monkeypatch, key, text, shown):
    monkeypatch.setenv("MY_OWN", key)
    assert scrubbed(text, "MY_OWN") == shown


def test_other_keys_of_the_environment_are_struck_out_too(monkeypatch):
    monkeypatch.setenv("OTHER_TOKEN", "tok-12345678")
    monkeypatch.setenv("OTHER_TOKEN_2", "tok-12345678-longer")
    monkeypatch.setenv("PLAIN", "plain-words-here")
    text = "tok-12345678-longer, tok-12345678, plain-words-here"
    assert scrubbed(text, None) == "***, ***, plain-words-here"


def test_a_key_that_is_a_word_leaves_the_prompts_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("TINY_KEY", "car")
    with ScriptedServer(default=plan_for) as server:
        given = provider(server.base_url, api_key_env="TINY_KEY")
        job = write_job(tmp_path, provider=given)
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
        sent = server.bodies[0]["messages"][1]["content"]
    kept = [json.loads(line) for line in (tmp_path / "out/prompts.jsonl").read_text().splitlines()]
    assert sent in [line["prompt"] for line in kept]
    assert "***" not in (tmp_path / "out/prompts.jsonl").read_text()
