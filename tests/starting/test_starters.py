"""`llmsynthor init`: starter jobs that run at once, point editors to their schema, and spare folders."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from llmsynthor.cli.main import main
from llmsynthor.starting.starters import EXAMPLES

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "configs"))
from make_starters import STARTS, make  # noqa: E402 - a script beside the jobs, no package


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_the_three_commands_that_init_prints_run(example, tmp_path, capsys):
    folder = tmp_path / "my job"
    assert main(["init", str(folder), "--example", example]) == 0
    commands = capsys.readouterr().out.splitlines()
    assert [shlex.split(line)[:2] for line in commands] == [
        ["llmsynthor", "preview"], ["llmsynthor", "run"], ["llmsynthor", "explain"],
    ]  # fmt: skip
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
    told = capsys.readouterr().err
    assert "WARNING" not in told
    report = json.loads((folder / "run" / "report.json").read_text())
    assert report["pass"] is True
    assert report["llm"]["proposals"]["rejected"] == 0
    ratio = report["summary"]["validate_ratio"]
    assert ratio is None if example == "ecommerce" else ratio < 0.6


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_job_says_what_to_do_next_and_every_block_has_a_comment(example, tmp_path):
    assert main(["init", str(tmp_path / "my"), "--example", example]) == 0
    lines = (tmp_path / "my" / "job.yaml").read_text().splitlines()
    assert lines[0] == "# yaml-language-server: $schema=job.schema.json"
    assert [line[:4] for line in lines[1:4]] == ["# 1.", "# 2.", "# 3."]
    for before, line in pairwise(lines):
        if line[:1].isalpha():
            assert before.startswith("#"), line
    assert (tmp_path / "my" / "SOURCE.md").exists()
    assert max(map(len, lines)) <= 100


def test_the_commented_block_for_a_real_model_is_valid(tmp_path, capsys):
    assert main(["init", str(tmp_path / "my")]) == 0
    job = tmp_path / "my" / "job.yaml"
    text = job.read_text()
    start = text.index("# provider:\n")
    block = text[start : text.index("\n\n", start)].replace("\n# ", "\n").removeprefix("# ")
    wanted = yaml.safe_load(block)
    assert set(wanted) == {"provider", "budget"}
    replaced = text.replace(
        "provider:\n  model: replay\n  replies: replies.jsonl\n", block + "\n", 1
    )
    job.write_text(replaced)
    assert main(["validate", str(job)]) == 0
    assert "OPENAI_API_KEY" in capsys.readouterr().out


def test_the_schema_beside_the_job_is_the_programs(tmp_path, capsys):
    assert main(["init", str(tmp_path / "my")]) == 0
    capsys.readouterr()
    assert main(["schema"]) == 0
    assert (tmp_path / "my" / "job.schema.json").read_text() == capsys.readouterr().out


def test_init_overwrites_nothing(tmp_path, capsys):
    assert main(["init", str(tmp_path / "my")]) == 0
    before = {p: p.read_bytes() for p in (tmp_path / "my").rglob("*") if p.is_file()}
    assert main(["init", str(tmp_path / "my"), "--example", "mobility"]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in (tmp_path / "my").rglob("*") if p.is_file()} == before
    (tmp_path / "file").write_text("mine")
    assert main(["init", str(tmp_path / "file")]) == 2
    assert "is a file, not a folder" in capsys.readouterr().err
    assert main(["init", str(tmp_path / "other"), "--example", "zoo"]) == 2
    assert "the examples are population, mobility, ecommerce" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["init", str(tmp_path / "my")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_starters_files_are_cut_from_the_examples(example, tmp_path):
    make(example, tmp_path)
    own = ROOT / "llmsynthor" / "starters" / example
    cut = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    there = {p.relative_to(own): p.read_bytes() for p in own.rglob("*") if p.is_file()}
    assert {p.as_posix() for p in there.keys() - cut.keys()} == {"job.yaml", "SOURCE.md"}
    assert all(there[path] == content for path, content in cut.items())
    assert set(STARTS) == set(EXAMPLES)


def test_the_shell_completes_commands_and_options(tmp_path):
    def completed(words: str, position: int) -> list[str]:
        found = subprocess.run(
            [sys.executable, "-m", "llmsynthor"], text=True, capture_output=True, check=True,
            env={**os.environ, "_LLMSYNTHOR_COMPLETE": "complete_bash", "COMP_WORDS": words,
                 "COMP_CWORD": str(position)},
        )  # fmt: skip
        return found.stdout.split()

    assert completed("llmsynthor ta", 1) == ["tables"]
    assert completed("llmsynthor run --re", 2) == ["--resume", "--replay"]
