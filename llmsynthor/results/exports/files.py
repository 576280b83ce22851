"""Where an export goes: files that appear whole or not at all, and replace nothing unasked."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from llmsynthor.errors import DiskError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_OF_A_RUN = ("data", "members", "provenance", "tables_used")


class ExportError(InputError):
    """An export cannot be made as it was asked for."""


def check_free(paths: Sequence[Path], run: Path, *, overwrite: bool) -> None:
    """Refuse to write over what is there, and into a run's own folders.

    Raises:
        ExportError: A file is there and `--overwrite` was not given, or its place is a run's.
    """
    own = [(run / name).resolve() for name in _OF_A_RUN]
    for path in paths:
        place = path.resolve()
        inside = next((folder for folder in own if place.is_relative_to(folder)), None)
        if inside is not None:
            raise ExportError(
                f"{path}: would be among the run's own files in {inside}",
                hint="`--out` names another place",
            )
        if place.is_dir():
            raise ExportError(f"{path}: is a folder, so no file can be written there")
        if place.exists() and not overwrite:
            raise ExportError(
                f"{path}: is there already",
                hint="`--overwrite` replaces it, `--out` names another place",
            )


@contextmanager
def new_files(paths: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    """Open files for writing that get their names only when all of them are written and synced.

    What was there before stays until then. A kill leaves files named `.NAME.*.part`, which nothing
    reads and which may be deleted.

    Raises:
        ExportError: A file cannot be made there.
        DiskError: The disk refused a write.
    """
    temporary = [path.with_name(f".{path.name}.{secrets.token_hex(4)}.part") for path in paths]
    try:
        with ExitStack() as stack:
            opened = [
                _opened(stack, path, part) for path, part in zip(paths, temporary, strict=True)
            ]
            yield opened
            for file in opened:
                file.flush()
                os.fsync(file.fileno())
        for path, part in zip(paths, temporary, strict=True):
            part.replace(path)
    except OSError as error:
        raise DiskError(
            f"{paths[0]}: cannot be written ({error.strerror or error}); the export has left nothing",
            hint="make room, then run the same command again",
        ) from None
    finally:
        for part in temporary:
            with suppress(OSError):  # the error that led here says more
                part.unlink(missing_ok=True)


def _opened(stack: ExitStack, path: Path, part: Path) -> BinaryIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(part.open("xb"))
    except OSError as error:
        raise ExportError(
            f"{path}: cannot be made ({error.strerror})", hint="`--out` names another place"
        ) from None
