"""What all tests share: how hypothesis draws its examples, and finished runs that tests only read."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

import household_job
import pytest
import small_job
import zone_world
from hypothesis import HealthCheck, settings
from scripted_server import ScriptedServer

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_DRAWN = {
    "deadline": None,  # seconds tell how busy the machine is
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("same", derandomize=True, **_DRAWN)
settings.register_profile("random", **_DRAWN)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(file.relative_to(folder)): (file.stat().st_size, file.stat().st_mtime_ns)
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.fixture(scope="session")
def made_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str, Callable[[Path], object]], Path]]:
    """Return what makes a folder once for all tests and their processes; nobody may change it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    before: dict[Path, dict[str, tuple[int, int]]] = {}

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = root / f"once_{name}", root / f"once_{name}.done"
        with (root / f"once_{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                done.touch()
        before.setdefault(folder, _state(folder))
        return folder

    yield make
    for folder, state in before.items():
        assert _state(folder) == state, f"a test changed {folder}, which others read"


def _run(job: Path) -> None:
    assert main(["run", str(job), "--out", str(job.parent / "out"), "-q"]) == 0


@pytest.fixture(scope="session")
def small_run(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Return a finished run of the small job without a model; the job is beside it."""
    return made_once("small", lambda folder: _run(small_job.write_job(folder))) / "out"


@pytest.fixture(scope="session")
def asked_run(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Return a finished run of the small job, with proposals of a scripted model."""

    def fill(folder: Path) -> None:
        with ScriptedServer(default=small_job.plan_for) as server:
            _run(small_job.write_job(folder, provider=small_job.provider(server.base_url)))

    return made_once("asked", fill) / "out"


@pytest.fixture(scope="session")
def household_run(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Return a finished run of the small job of households without a model."""
    return made_once("households", lambda folder: _run(household_job.write_job(folder))) / "out"


@pytest.fixture(scope="session")
def zone_run(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Return a finished run of the small region, by two processes."""

    def fill(folder: Path) -> None:
        zone_world.make(zone_world.write_region(folder), folder / "out", processes=2)

    return made_once("zones", fill) / "out"


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """Return what copies a run with its job, so that a test may change it."""

    def copy(run: Path) -> Path:
        shutil.copytree(run.parent, tmp_path / "copy")
        return tmp_path / "copy" / run.name

    return copy
