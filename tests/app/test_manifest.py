"""What a manifest says of the place that a run was made at, and how it is found out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from small_job import write_job

from llmsynthor.cli.main import main

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder, *words: str) -> str:
    named = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    done = subprocess.run(
        ["git", "-C", str(folder), *named, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def git_of_a_run(job) -> dict[str, str] | None:
    assert main(["run", str(job), "--out", str(job.parent / "out"), "-q"]) == 0
    manifest = json.loads((job.parent / "out" / "manifest.json").read_text())
    return manifest["attempts"][0]["git"]


def test_the_commit_of_the_jobs_folder_is_kept(tmp_path):
    job = write_job(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "job.yaml")
    git(tmp_path, "commit", "-q", "-m", "a job")
    assert git_of_a_run(job) == {"commit": git(tmp_path, "rev-parse", "HEAD")}


def test_nothing_that_the_git_folder_of_a_job_names_is_started(tmp_path):
    job = write_job(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "a job")
    started = tmp_path / "started"
    program = tmp_path / "program.sh"
    program.write_text(f'#!/bin/sh\necho "$0" >>"{started}"\ncat\n')
    program.chmod(0o755)
    (tmp_path / ".gitattributes").write_text("* filter=own diff=own\n")
    names = ("core.fsmonitor", "filter.own.clean", "filter.own.process", "diff.own.textconv")
    for name in (*names, "core.pager", "core.sshCommand", "diff.external", "core.editor"):
        git(tmp_path, "config", name, str(program))
    os.utime(job, (1, 1))  # what looks changed is read again, through the filter
    assert git_of_a_run(job) is not None
    assert not started.exists()


def test_without_a_commit_none_is_kept(tmp_path):
    job = write_job(tmp_path)
    git(tmp_path, "init", "-q")
    assert git_of_a_run(job) is None
