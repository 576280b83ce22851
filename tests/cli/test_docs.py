"""Every `llmsynthor ...` command in README.md and docs/ runs as it stands there, and exits with 0."""

from __future__ import annotations

import csv
import random
import re
import shlex
from pathlib import Path

import pytest

from llmsynthor.cli.main import main
from llmsynthor.job.model import job_schema
from llmsynthor.job.reference import job_reference

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS = {"sh", "bash", "console", ""}

NOT_RUN = {
    "llmsynthor model fetch": "downloads 93 MB",
    "llmsynthor run job.yaml --set provider.model=local:models/SmolLM2-135M-Instruct.Q4_1.gguf": (
        "needs a model file and the extra `local`"
    ),
    "llmsynthor import populationsim example_survey --out survey": "needs PopulationSim's example",
    "llmsynthor run survey/job.yaml": "needs PopulationSim's example",
    "llmsynthor run job.yaml --out runs/job --resume": "a line of a Slurm script, for your own job",
}
"""Commands that need a key, a model or a job of one's own, each with the reason."""


def commands(page: Path) -> list[str]:
    """Return the commands in a page's fenced blocks, in order, without comments."""
    found = []
    for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
        if language not in SHELLS:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True) if "llmsynthor " in line else []
            if words and words[0] in {"srun", "$"}:
                words = words[1:]
            if words and words[0].rpartition("/")[2] == "llmsynthor":
                found.append(shlex.join(["llmsynthor", *words[1:]]))
    return found


def shown_files(page: Path) -> dict[str, str]:
    """Return the files that a page shows: a block after a line that names one in backticks."""
    text = page.read_text(encoding="utf-8")
    found = {}
    for block in FENCE.finditer(text):
        before = text[: block.start()].rstrip().rpartition("\n")[2]
        names = re.findall(r"`([\w-]+\.(?:yaml|csv))`", before)
        if block[1] in {"yaml", "text", "csv"} and names:
            found.setdefault(names[-1], block[2])
    return found


def lay_out(folder: Path, page: Path) -> None:
    """Put into `folder` what a page speaks of: `configs/`, a survey, its own files, runs/trips."""
    (folder / "configs").symlink_to(ROOT / "configs")
    for name, text in shown_files(page).items():
        (folder / name).write_text(text, encoding="utf-8")
    if any("runs/trips" in command for command in commands(page)):
        plain = ["--set", "provider.model=none"]
        assert main(["run", "configs/trips.yaml", "--out", "runs/trips", "-q", *plain]) == 0
    draw = random.Random(1)
    with (folder / "survey.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["person_id", "age", "mode", "work", "income"])
        for number in range(1000):
            age = min(max(int(draw.gauss(42, 16)), 0), 90)
            work = "yes" if 17 < age < 66 and draw.random() < 0.8 else "no"
            mode = draw.choice(["car", "car", "bus"] if work == "yes" else ["bus", "bike", "walk"])
            income = round(draw.lognormvariate(9.8, 0.5)) if work == "yes" else 0
            writer.writerow([f"p{number}", age, mode, work, income])


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay_out(tmp_path, page)
    for command in commands(page):
        if command not in NOT_RUN:
            words = [word for word in shlex.split(command)[1:] if word != ">"]
            assert main(words) == 0, command


def test_no_exception_is_left_over_and_the_pages_are_read():
    found = [command for page in PAGES for command in commands(page)]
    assert set(NOT_RUN) <= set(found)
    assert len(found) > 20


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_job_reference_is_the_models():
    assert (ROOT / "docs" / "job-reference.md").read_text() == job_reference(job_schema()) + "\n"


def test_the_job_reference_has_every_key():
    schema = job_schema()
    reference = job_reference(schema)
    for part in (schema, *schema["$defs"].values()):
        for key in part["properties"]:
            assert f"| `{key}` |" in reference
