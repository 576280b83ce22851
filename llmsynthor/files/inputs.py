"""The files of a job, by the names that the job gives them: each is found, read and hashed here."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from llmsynthor.errors import JobError, Problem, TableError
from llmsynthor.text import clean, did_you_mean, first_of, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from io import BufferedReader

    from llmsynthor.job.model import Job

_TABLES = (".csv", ".parquet", ".tsv", ".txt", ".xlsx")
_AS_TEXT = {".csv": ",", ".txt": ",", ".tsv": "\t", ".tab": "\t"}
"""What stands between the columns of a frame that is given in place of a file."""
_SHOWN = 12


def files_of(job: Job) -> list[str]:
    """Return the files that the records depend on, as the job names them; no model, no recording."""
    names = [spec.file for spec in (*job.tables, *job.statistics) if spec.file]
    names += job.seed_sample.files if job.seed_sample is not None else ()
    return names + ([job.zones.crosswalk] if job.zones is not None else [])


class Inputs:
    r"""The files that a job reads.

    What is given in memory stands in place of the file of that name, as if it had been written there
    as CSV: it is read, hashed and complained of alike.

    Example:
        >>> import polars as pl
        >>> given = {"age.csv": pl.DataFrame({"age": ["0-17", "18+"], "count": [5, 20]})}
        >>> Inputs(Path("jobs"), given).read("age.csv")
        b'age,count\n0-17,5\n18+,20\n'
    """

    def __init__(self, folder: Path = Path(), given: Mapping[str, Any] | None = None) -> None:
        """Take a job's folder, and what stands in place of files there.

        Args:
            folder: Relative names start from it.
            given: Name as in the job -> a frame (polars, or pandas), or the bytes of the file.

        Raises:
            JobError: Something that is given is no frame, or its name is not that of a text file.
        """
        self.folder = folder
        self._given = {name: _as_file(name, frame) for name, frame in (given or {}).items()}
        self._hashes: dict[str, str] = {}

    def path(self, name: str) -> Path:
        """Return where a file is, or would be if it were not given."""
        return self.folder / name

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Raises:
            TableError: It is not there, or cannot be read; files of like names are named.
        """
        content = self._given.get(name)
        if content is None:
            with self._open(name) as file:
                content = file.read()
        self._hashes[name] = hashlib.sha256(content).hexdigest()
        return content

    def sha256(self, name: str) -> str:
        """Return the hash of a file: of what was read of it, if it was.

        Raises:
            TableError: As `read`.
        """
        if name not in self._hashes and name in self._given:
            self.read(name)
        if name not in self._hashes:
            with self._open(name) as file:  # a model may be larger than the memory
                self._hashes[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._hashes[name]

    def hashes(self, job: Job) -> dict[str, str]:
        """Return the hash of each file that the records of a job depend on, by name.

        Raises:
            TableError: As `read`.
        """
        return {name: self.sha256(name) for name in files_of(job)}

    @contextmanager
    def _open(self, name: str) -> Iterator[BufferedReader]:
        path = self.path(name)
        _must_be_a_file(name, path)
        try:
            with path.open("rb") as file:
                yield file
        except OSError as error:
            message = f"cannot be read ({error.strerror or error})"
            raise TableError.of([Problem(message, name)]) from None

    def unused(self, job: Job) -> list[Problem]:
        """Return what is given and no part of the job reads: a name is misspelled."""
        known = files_of(job)
        problems = []
        for name in sorted(self._given.keys() - set(known)):
            advice = did_you_mean(name, known)
            message = f"`{clean(name)}` is given, and the job names no such file{advice}"
            problems.append(Problem(message))
        return problems


def _as_file(name: str, frame: Any) -> bytes:  # noqa: ANN401 - a frame of any library
    """Return a frame as the bytes of the file that it stands for."""
    if isinstance(frame, bytes):
        return frame
    separator = _AS_TEXT.get(PurePath(name).suffix.lower())
    if separator is None:
        message = f"`{clean(name)}` is given as a frame; its name must end in .csv or .tsv"
        raise JobError(message, hint="bytes can be given in place of a file of any kind")
    if hasattr(frame, "write_csv"):  # polars
        return str(frame.write_csv(separator=separator)).encode()
    if hasattr(frame, "to_csv"):  # pandas: what its index is named, it is a column of the table
        index = any(level is not None for level in frame.index.names)
        text = frame.to_csv(index=index, sep=separator, lineterminator="\n")
        return str(text).encode()
    kind = type(frame).__name__
    raise JobError(f"`{clean(name)}` is given as {kind}; give a polars or pandas frame, or bytes")


def _must_be_a_file(file: str, path: Path) -> None:
    if path.is_dir():
        raise TableError.of([Problem("this is a folder, not a table file", file)])
    if path.exists():
        return
    folder = path.parent
    if not folder.is_dir():
        message = f"no such file: there is no folder {folder}"
        raise TableError.of([Problem(message, file)])
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    tables = [name for name in names if name.lower().endswith(_TABLES)]
    stems = {name.lower().rpartition(".")[0]: name for name in tables}  # `.csv` makes all alike
    near = nearest(path.stem.lower(), stems)
    if near:
        advice = f"; did you mean `{clean(stems[near])}`?"
    else:
        there = first_of([clean(name) for name in tables], _SHOWN)
        advice = f"; there are {there}" if tables else ""
    raise TableError.of([Problem(f"no such file (looked for {path}){advice}", file)])
