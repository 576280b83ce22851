"""Virtual environments of the peers, made on demand from `peers/<name>.txt` under `.bench/`.

The first line of a requirements file names the Python versions that it installs on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "benchmarks" / "peers"
FOLDER = ROOT / ".bench"
_READY = "ready.txt"


class EnvironmentUnavailableError(Exception):
    """There is no Python for it, or a package index refuses."""


def environment(name: str) -> Path:
    """Return the Python of a peer's environment, which is made first where it is missing.

    Args:
        name: `peers/<name>.txt`, or `own` for the project's environment.

    Raises:
        EnvironmentUnavailableError: It cannot be made; the message says why.
    """
    if name == "own":
        return Path(sys.executable)
    requirements = REQUIREMENTS / f"{name}.txt"
    text = requirements.read_text(encoding="utf-8")
    folder = FOLDER / name
    python = folder / "bin" / "python"
    ready = folder / _READY
    if ready.exists() and ready.read_text(encoding="utf-8") == text:
        return python
    versions = text.splitlines()[0].removeprefix("# python:").split()
    interpreter = find_interpreter(versions)
    print(f"making .bench/{name} with {interpreter}", file=sys.stderr)
    started = time.monotonic()
    _uv("venv", "--quiet", "--clear", "--python", str(interpreter), str(folder))
    _uv("pip", "install", "--quiet", "--python", str(python), "--requirement", str(requirements))
    print(f"made .bench/{name} in {time.monotonic() - started:.0f} s", file=sys.stderr)
    ready.write_text(text, encoding="utf-8")
    return python


def find_interpreter(versions: list[str]) -> Path:
    """Return a Python of one of `versions`: this one, one on the path, or one of pyenv's.

    Raises:
        EnvironmentUnavailableError: There is none.
    """
    for version in versions:
        places: list[str | Path | None] = [sys.executable, shutil.which(f"python{version}")]
        places += sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python"))
        for place in places:
            if place is not None and _version(place) == version:
                return Path(place)
    raise EnvironmentUnavailableError(
        f"needs Python {' or '.join(versions)}: none of these is on the path or among pyenv's"
    )


def _version(python: str | Path) -> str | None:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None  # pyenv's shims may refuse


def _uv(*words: str) -> None:
    command = [sys.executable, "-m", "uv", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise EnvironmentUnavailableError(f"uv {words[0]}: {' '.join(lines)[-300:]}")


def describe_environments() -> dict[str, Any]:
    """Return the size on disk of each environment that is there, in MB."""
    return {
        folder.name: round(sum(f.lstat().st_size for f in folder.rglob("*")) / 1e6)
        for folder in sorted(FOLDER.glob("*"))
        if (folder / _READY).exists()
    }
