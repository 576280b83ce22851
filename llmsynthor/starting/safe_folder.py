"""Folders that a command fills: nothing of anybody else's is replaced, nothing half is left."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import TYPE_CHECKING, Any

from llmsynthor.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LIST = "made.json"
"""Names the files of a folder that a command wrote, with their hashes."""


NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]+")
"""What the name of a job, or of a file on any system, cannot hold."""


class FolderError(InputError):
    """A folder cannot be filled as it is."""


def job_name(text: str, otherwise: str) -> str:
    """Return a job's name made from a file's or a folder's; `otherwise` where nothing is left of it.

    Example:
        >>> job_name("_my survey", "records"), job_name("...", "records")
        ('my-survey', 'records')
    """
    return NOT_IN_NAMES.sub("-", text).strip("._-") or otherwise


def fill(folder: Path, files: Mapping[str, str | bytes], *, overwrite: bool = False) -> None:
    """Write files into a folder that is new, empty, or, with `overwrite`, filled by us before.

    With `overwrite`, the files that the list in the folder names are replaced or, where there is no
    new one of the name, removed, unless somebody has changed them since. All others stay.

    Raises:
        FolderError: The folder holds what is not ours, or cannot be written to.
    """
    contents = {
        name: content.encode() if isinstance(content, str) else content
        for name, content in files.items()
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    listed = json.dumps({"version": 1, "files": hashes}, indent=1, sort_keys=True) + "\n"
    try:
        old = _own_files(folder, set(contents), overwrite=overwrite)
        for name, content in [*contents.items(), (LIST, listed.encode())]:
            _write(folder / name, content)
        for name in old - set(contents):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise FolderError(
            f"{error.filename or folder}: cannot be written ({error.strerror or error})",
            hint="name another folder",
        ) from None


def check_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Refuse a folder that `fill` would refuse whatever the files, before these are made.

    Raises:
        FolderError: The folder holds what is not ours.
    """
    try:
        _own_files(folder, set(), overwrite=overwrite)
    except OSError as error:
        raise FolderError(
            f"{error.filename or folder}: cannot be read ({error.strerror or error})",
            hint="name another folder",
        ) from None


def _own_files(folder: Path, wanted: set[str], *, overwrite: bool) -> set[str]:
    """Return the files that may be replaced.

    Raises:
        FolderError: There is something that may not.
    """
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"{folder}: is a file, not a folder", hint="name another folder")
    there = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    if not there:
        return set()
    recorded = _recorded(folder)
    if not (overwrite and recorded is not None):
        raise FolderError(
            f"{folder}: is not empty (`{there[0]}` is there); nothing was written",
            hint="name another folder"
            + ("" if recorded is None else ", or add `--overwrite` to replace what it wrote there"),
        )
    changed = [
        name
        for name, known in sorted(recorded.items())
        if (folder / name).is_file() and _hash(folder / name) != known
    ]
    strange = sorted(n for n in wanted - set(recorded) if os.path.lexists(folder / n))
    if changed or strange:
        name, why = (changed[0], "was changed since") if changed else (strange[0], "is not ours")
        raise FolderError(
            f"{folder / name}: {why}, so it is not replaced; nothing was written",
            hint="move it away, or name another folder",
        )
    return set(recorded)


def _recorded(folder: Path) -> dict[str, str] | None:
    """Return name -> hash of what was written here, or None where nothing says so."""
    try:
        content: Any = json.loads((folder / LIST).read_text(encoding="utf-8"))
        files = {str(name): str(known) for name, known in content["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    inside = folder.resolve()
    ours = all((folder / name).resolve().is_relative_to(inside) for name in files)
    return files if ours else None


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except FileExistsError:
        raise  # somebody else's
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
