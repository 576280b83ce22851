"""A kill, a signal or a full disk in the middle of an export leaves no half file under its name."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time

import pytest
from small_job import write_job

from llmsynthor.cli.main import main

pytestmark = pytest.mark.slow

RECORDS = 400_000


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    job = write_job(folder, records=RECORDS, rules=[], output={"row_group": 2000})
    assert main(["run", str(job), "--out", str(folder / "run"), "-q"]) == 0
    return folder / "run"


def begin(run, form, out, **more):
    command = [sys.executable, "-m", "llmsynthor", "export", str(run), "--format", form]
    return subprocess.Popen(
        [*command, "--out", str(out), "--overwrite"], stderr=subprocess.PIPE, text=True, **more
    )


def until_it_writes(process, folder):
    """Wait until the file under its temporary name has begun to grow."""
    while process.poll() is None:
        if any(part.stat().st_size > 0 for part in folder.glob(".*.part")):
            return
        time.sleep(0.001)
    raise AssertionError(f"ended before it was caught: {process.stderr.read()}")


@pytest.mark.parametrize(
    ("form", "name", "number"),
    [
        ("matsim", "x.xml", signal.SIGKILL),
        ("csv", "x.csv.gz", signal.SIGKILL),
        ("matsim", "x.xml", signal.SIGTERM),
        ("matsim", "x.xml.gz", signal.SIGTERM),
    ],
)
def test_a_stop_in_the_middle_keeps_what_was_there(done, tmp_path, form, name, number):
    file = tmp_path / name
    file.write_text("old")
    process = begin(done, form, file)
    until_it_writes(process, tmp_path)
    process.send_signal(number)
    words = process.communicate()[1]
    assert file.read_text() == "old"
    left = [p.name for p in tmp_path.iterdir() if p != file]
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert len(left) == 1
        assert left[0].startswith(f".{name}.")
        assert left[0].endswith(".part")
    else:
        assert process.returncode == 75
        assert left == []
        assert words == "stopped by SIGTERM; nothing was written\n"
    process = begin(done, form, file)
    process.communicate()
    assert process.returncode == 0
    assert file.stat().st_size > RECORDS / 10


@pytest.mark.parametrize("form", ["csv", "parquet", "matsim"])
def test_a_full_disk_is_said_and_keeps_what_was_there(done, tmp_path, form):
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    name = {"csv": "x.csv", "parquet": "x.parquet", "matsim": "x.xml"}[form]
    (tmp_path / name).write_text("old")
    process = begin(
        done, form, tmp_path / name, preexec_fn=small_files, env={**os.environ, "NO_COLOR": "1"}
    )
    words = process.communicate()[1]
    assert words.startswith(f"error: {tmp_path / name}: cannot be written (")
    assert words.endswith(
        "); the export has left nothing\n\nhint: make room, then run the same command again\n"
    )
    assert "File too large" in words
    assert process.returncode == 75
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"
