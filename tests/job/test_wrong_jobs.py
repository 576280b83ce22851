"""Jobs that are wrong in one way each, and the whole of what is said; `docs/errors.md` speaks of them.

`wrong/TOPIC.yaml` holds a right job, its files, and what each case changes in them: `change` puts a
text in the place of another, `add` comes at the end, `files` are written beside it, and `commands`
are run in place of `validate job.yaml` (all but the last without an error). `wrong/TOPIC.txt` holds
what the terminal then shows. After a wanted change: `make snapshots`, then read the diff.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmsynthor.cli.main import main

WRONG = Path(__file__).parent / "wrong"
ERRORS = Path(__file__).parents[2] / "docs" / "errors.md"
TOPICS = {file.stem: yaml.safe_load(file.read_text()) for file in sorted(WRONG.glob("*.yaml"))}
CASES = [(topic, name) for topic, content in TOPICS.items() for name in content["cases"]]
ELSEWHERE = {
    "byte ... of this line ... is not UTF-8": "files/test_record_files.py",
    "the job names no model ...": "llm/test_discovery.py",
    "FILE:LINE: this line is damaged: ...": "store/test_damaged_runs.py",
    "manifest.json: damaged: ...": "store/test_damaged_runs.py",
    "data: ... is missing, though the run is finished": "store/test_damaged_runs.py",
    "has N categories, more than 300": "starting/test_from_records.py",
    "was changed since, so it is not replaced": "starting/test_from_records.py",
    "another run works here (process ...)": "store/test_directory.py",
}
"""Rows of `docs/errors.md` of which there is a test that says the whole message."""


def heading(name: str) -> str:
    return f"### {name}\n"


def kept(topic: str) -> dict[str, str]:
    """Return what is on file for each case of a topic."""
    file = WRONG / f"{topic}.txt"
    parts = re.split(r"^### (.*)\n", file.read_text() if file.exists() else "", flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def prepared(topic: str, name: str) -> list[str]:
    """Write a case's files into the working directory; return its commands."""
    content: dict[str, Any] = TOPICS[topic]
    case: dict[str, Any] = content["cases"][name]
    job = content.get("job", "")
    for old, new in case.get("change", {}).items():
        assert job.count(old) == 1, old
        job = job.replace(old, new)
    for file, text in (content["files"] | case.get("files", {}) | {"job.yaml": job}).items():
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text(text)
    with Path("job.yaml").open("a") as file:
        file.write(case.get("add", ""))
    return case.get("commands", ["validate job.yaml"])


@pytest.mark.parametrize(("topic", "name"), CASES, ids=[": ".join(case) for case in CASES])
def test_what_is_said_of_a_wrong_job_is_as_reviewed(tmp_path, monkeypatch, capsys, topic, name):
    monkeypatch.chdir(tmp_path)
    for variable in [v for v in os.environ if v.endswith(("_API_KEY", "_API_BASE"))]:
        monkeypatch.delenv(variable)
    *before, last = prepared(topic, name)
    for command in before:
        assert main(shlex.split(command)) == 0, command
    capsys.readouterr()
    there = sorted(tmp_path.rglob("*"))
    assert main(shlex.split(last)) == 2
    assert sorted(tmp_path.rglob("*")) == there or last.startswith("run")
    printed = capsys.readouterr()
    assert printed.out == ""
    said = f"$ llmsynthor {last}\n{printed.err}\n"
    if os.environ.get("REGENERATE"):
        told = kept(topic) | {name: said}
        order = [n for n in TOPICS[topic]["cases"] if n in told]
        (WRONG / f"{topic}.txt").write_text("".join(heading(n) + told[n] for n in order))
    assert said == kept(topic)[name]


@pytest.mark.parametrize("topic", TOPICS)
def test_nothing_is_on_file_that_is_no_case(topic):
    assert list(kept(topic)) == list(TOPICS[topic]["cases"])


def rows() -> list[str]:
    """Return the messages in the tables of `docs/errors.md`."""
    page = ERRORS.read_text().partition("\n## Exit code 2\n")[2].partition("\n## Exit code 3\n")[0]
    cells = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    return [text for cell in cells for _, text in re.findall(r"(`+) ?(.+?) ?\1(?!`)", cell)]


def pattern(message: str) -> str:
    """Return a row's message as a regular expression: `...` and capitals stand for anything."""
    parts = re.split(r"\s*\.\.\.\s*|\b(?:[A-Z]|FILE|LINE)\b", message)
    return ".*".join(map(re.escape, parts))


@pytest.mark.parametrize("message", rows())
def test_the_page_of_errors_has_the_words_that_are_said(message):
    if message in ELSEWHERE:
        test = Path(__file__).parents[1] / ELSEWHERE[message]
        assert re.search(pattern(message), test.read_text())
        return
    said = "".join(text for topic in TOPICS for text in kept(topic).values())
    assert re.search(pattern(message), said), f"no wrong job is told `{message}`"
