"""The run directory: what exists in it is complete, and it says how far a run is.

Files are written under another name, synced and renamed; lines are appended and synced. A kill at
any moment leaves at most one half line at the end of a log, which is cut off before the next.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl
from pydantic import BaseModel, ValidationError

from llmsynthor.errors import DiskError, RunDirectoryError
from llmsynthor.store.lines import (
    Bulk,
    Iteration,
    Manifest,
    ReportParts,
    cut_half_line,
    damage,
    parsed,
    plain,
    read_iteration,
    written_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

_Line = TypeVar("_Line")
ITERATIONS = "iterations.jsonl"
PROPOSALS = "proposals.jsonl"
EVALUATION = "evaluation.json"
"""What `evaluate` found; the report shows it as long as it is there."""
_TEMPORARY = ".part"
PART_OF_LOCK = "-zones-"

_OWN_BATCH = re.compile(r"\d{5,}\.parquet((\.[^/]+)?\.part)?")
"""Batches, and what a kill left of one that was being written."""
_BEFORE_A_RUN = frozenset(
    {"lock", "run.log", "job.resolved.yaml", "data", "members", "provenance", "tables_used"}
)


MENDING = (
    "`llmsynthor run JOB --out DIR --resume` (of a finished run: `--replay`) makes it again from the "
    "recorded replies"
)
"""What to do about a file that the replies tell again."""
_WITHOUT = "take the line out: its call is then made again; `--overwrite` starts the run anew"
"""What to do about a line of the replies."""


class RunDirectory:
    """One run's files; see DESIGN of the formats in `docs/run-directory.md`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._append_lock = Lock()

    def create(self) -> None:
        """Make the folders.

        Raises:
            RunDirectoryError: The place cannot be written to.
        """
        try:
            for name in ("data", "provenance"):
                (self.path / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(
                f"{self.path}: cannot make the run directory ({error.strerror})",
                hint="`--out DIR` names another place",
            ) from None

    @contextmanager
    def locked(self, started: str, part: str = "") -> Iterator[None]:
        """Hold the directory's lock, or that of one part of its chunks, beside which others may work.

        Raises:
            RunDirectoryError: Another process holds it, or one that excludes it.
        """
        others = [] if part else sorted(self.path.glob(f"lock{PART_OF_LOCK}*"))
        for other in [self.path / "lock"] if part else others:
            if other.exists():
                self._break_stale_lock(other)
        holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
            "started": started,
        }
        lock = self.path / f"lock{PART_OF_LOCK if part else ''}{part}"
        self._take_lock(lock, json.dumps(holder))
        try:
            if not part:  # what looks like a leftover may be written by another part just now
                self._remove_leftovers()
            yield
        finally:
            lock.unlink(missing_ok=True)

    def _take_lock(self, lock: Path, text: str) -> None:
        for _ in range(2):
            try:
                descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                self._break_stale_lock(lock)
            except OSError as error:
                raise RunDirectoryError(
                    f"{self.path}: cannot be written to ({error.strerror})",
                    hint="`--out DIR` names another place",
                ) from None
            else:
                with os.fdopen(descriptor, "w") as file:
                    file.write(text)
                return
        raise RunDirectoryError(f"{lock}: another process took the lock just now")

    def _break_stale_lock(self, lock: Path) -> None:
        """Remove a lock whose process on this machine is gone; else refuse."""
        try:
            holder = json.loads(lock.read_text())
            host, pid = str(holder["host"]), int(holder["pid"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError):
            host, pid = "", 0  # a kill between making and writing it
        if host in ("", socket.gethostname()) and not _alive(pid):
            lock.unlink(missing_ok=True)
            return
        raise RunDirectoryError(
            f"{self.path}: another run works here (process {pid} on {host})",
            hint=f"wait for it, or if it is surely gone remove `{lock}`",
        )

    def _remove_leftovers(self) -> None:
        for leftover in self.path.rglob(f"*{_TEMPORARY}"):
            leftover.unlink(missing_ok=True)

    def write_text(self, name: str, text: str) -> None:
        """Write a whole text file so that it is there either old or new, never half."""
        self._write(self.path / name, text.encode("utf-8", "backslashreplace"))

    def write_json(self, name: str, content: Any) -> None:  # noqa: ANN401 - any JSON value
        """Write a JSON file with sorted keys, a model or any JSON value; see `write_text`."""
        self.write_text(
            name, json.dumps(plain(content), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        )

    def write_lines(self, name: str, records: Sequence[BaseModel | dict[str, Any]]) -> None:
        """Write a whole JSON-lines file; see `write_text`."""
        self.write_text(name, "".join(written_line(record) for record in records))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a whole file; see `write_text`."""
        self._write(self.path / name, content)

    def _write(self, path: Path, content: bytes, own: str = "") -> None:
        temporary = path.with_name(path.name + own + _TEMPORARY)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise _disk_error(path, error) from None
        finally:
            temporary.unlink(missing_ok=True)

    def append(self, name: str, record: BaseModel | dict[str, Any]) -> None:
        """Append one line to a JSON-lines file and sync it; safe to call from several threads."""
        path = self.path / name
        with self._append_lock:
            try:
                with path.open("a+b") as file:
                    cut_half_line(file)
                    file.write(written_line(record).encode("utf-8", "backslashreplace"))
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise _disk_error(path, error) from None

    def lines(self, name: str, read: Callable[[Any], _Line]) -> list[_Line]:
        """Return what `read` makes of a JSON-lines file, without a half line at its end.

        Raises:
            RunDirectoryError: A line is damaged.
        """
        try:
            content = (self.path / name).read_bytes()
        except FileNotFoundError:
            return []
        found = []
        for number, line, wrong in parsed(content[: content.rfind(b"\n") + 1], read):
            if line is None:
                raise RunDirectoryError(
                    f"{self.path / name}:{number}: this line is damaged: {wrong}",
                    hint=_WITHOUT if name == "replies.jsonl" else MENDING,
                )
            found.append(line)
        return found

    def readable_lines(self, name: str, read: Callable[[Any], _Line]) -> tuple[list[_Line], int]:
        """Return the records of a JSON-lines file that can be read, and how many lines cannot."""
        try:
            content = (self.path / name).read_bytes()
        except OSError:
            return [], 0
        lines = [line for _, line, _ in parsed(content, read)]
        return [line for line in lines if line is not None], lines.count(None)

    def iterations(self) -> tuple[list[Iteration], Bulk]:
        """Return the rounds of asking and the bulk, which is empty where it is not made yet.

        Raises:
            RunDirectoryError: A line is damaged.
        """
        lines = self.lines(ITERATIONS, read_iteration)
        rounds = [line for line in lines if isinstance(line, Iteration)]
        return rounds, next((line for line in lines if isinstance(line, Bulk)), Bulk())

    def read_json(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return a JSON file's content, or None where there is none.

        Raises:
            RunDirectoryError: It is damaged.
        """
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            raise RunDirectoryError(
                f"{path}: cannot be read ({error})", hint="`--overwrite` starts the run anew"
            ) from None

    def read(self, name: str, kind: Callable[[Any], _Line], hint: str) -> _Line | None:
        """Return what `kind` makes of a JSON file, or None where there is none.

        Raises:
            RunDirectoryError: It is damaged.
        """
        found = self.read_json(name)
        try:
            return None if found is None else kind(found)
        except ValidationError as error:
            message = f"{self.path / name}: damaged: {damage(error)}"
            raise RunDirectoryError(message, hint=hint) from None

    def manifest(self) -> Manifest:
        """Return what the run here is.

        Raises:
            RunDirectoryError: There is no run here, or its manifest is damaged.
        """
        anew = "`--overwrite` starts the run anew"
        found = self.read("manifest.json", Manifest.model_validate, anew)
        if found is None:
            raise RunDirectoryError(f"{self.path}: holds no run (there is no manifest.json)")
        return found

    def report(self) -> dict[str, Any] | None:
        """Return what `report.json` says; None where it is missing, or is no report."""
        try:
            found = self.read_json("report.json")
            ReportParts.model_validate(found)
        except (RunDirectoryError, ValidationError):
            return None
        return dict(found)

    def lost_batches(self) -> list[Path]:
        """Return the data files that are missing, though their provenance is there."""
        there = sorted((self.path / "provenance").glob("[0-9]*.parquet"))
        paths = [self.path / "data" / path.name for path in there]
        return [path for path in paths if not path.exists()]

    def clear(self) -> None:
        """Remove what a run wrote, and nothing else."""
        for folder in ("data", "members", "provenance"):
            for file in (self.path / folder).glob("*"):
                if _OWN_BATCH.fullmatch(file.name):
                    file.unlink()
        for folder in ("tables_used", "chunks"):
            for file in (self.path / folder).glob("*"):
                file.unlink()
        names = (
            "job.resolved.yaml", "proposals.jsonl", "replies.jsonl", "prompts.jsonl",
            "iterations.jsonl", "report.json", "report.html", EVALUATION, "data_dictionary.json",
            "run.log",
            "manifest.json",  # last: what is left after a kill is still known as a run
        )  # fmt: skip
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def holds_run(self) -> bool:
        """Return whether a run was begun here."""
        return (self.path / "manifest.json").exists()

    def strangers(self) -> list[str]:
        """Return what is here although no run was begun, but for what a run leaves that never began."""
        if not self.path.is_dir():
            return []
        found = [
            p.name
            for p in self.path.iterdir()
            if p.name.removesuffix(_TEMPORARY) not in {*_BEFORE_A_RUN, "manifest.json"}
        ]
        for folder in ("data", "members", "provenance"):
            place = self.path / folder
            found += [f"{folder}/{p.name}" for p in (place.iterdir() if place.is_dir() else ())]
        return sorted(found)

    def batch_path(self, index: int) -> Path:
        """Return the data file of a batch."""
        return self.path / "data" / f"{index:05d}.parquet"

    def provenance_path(self, index: int) -> Path:
        """Return the provenance file of a batch."""
        return self.path / "provenance" / f"{index:05d}.parquet"

    def members_path(self, index: int) -> Path:
        """Return the file with the members of a batch's records."""
        return self.path / "members" / f"{index:05d}.parquet"

    def write_batch(
        self,
        index: int,
        records: pl.DataFrame,
        provenance: pl.DataFrame,
        members: pl.DataFrame | None = None,
    ) -> None:
        """Write a batch; once its data file is there, all its files are there."""
        # two that make the same batch, one of them given up for lost, must not share a file
        own = f".{socket.gethostname()}-{os.getpid()}"
        self._write(self.provenance_path(index), _parquet(provenance), own)
        if members is not None:
            self._write(self.members_path(index), _parquet(members), own)
        self._write(self.batch_path(index), _parquet(records), own)

    def batch_files(self) -> list[Path]:
        """Return the data files in order."""
        return sorted((self.path / "data").glob("[0-9]*.parquet"))

    def batch_rows(self, index: int) -> int:
        """Return how many records a batch holds, without reading them.

        Raises:
            DamagedBatchError: Its data file cannot be read.
        """
        path = self.batch_path(index)
        try:
            return int(pl.scan_parquet(path).select(pl.len()).collect().item())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DamagedBatchError(path, str(error).splitlines()[0][:120]) from None

    def read_batch(self, index: int) -> tuple[pl.DataFrame, pl.DataFrame] | None:
        """Return a batch's records and provenance, or None where there is none.

        Raises:
            DamagedBatchError: A file of it cannot be read.
        """
        if not self.batch_path(index).exists():
            return None
        frames = [_read_parquet(p) for p in (self.batch_path(index), self.provenance_path(index))]
        if frames[0].height != frames[1].height:
            raise DamagedBatchError(self.provenance_path(index), "not as many rows as the data")
        return frames[0], frames[1]

    def read_keys(self, index: int) -> pl.Series:
        """Return the keys of a batch's records, which stand first where records have members.

        Raises:
            DamagedBatchError: They cannot be read.
        """
        return _read_parquet(self.batch_path(index), [0]).to_series()

    def read_members(self, index: int) -> pl.DataFrame:
        """Return the members of a batch's records.

        Raises:
            DamagedBatchError: They cannot be read.
        """
        return _read_parquet(self.members_path(index))

    def read_all(self, folder: str) -> pl.DataFrame:
        """Return all rows of `data`, `members` or `provenance`, in order.

        Raises:
            RunDirectoryError: There are none yet, or a file cannot be read.
        """
        names = [path.name for path in self.batch_files()]
        if not names:
            raise RunDirectoryError(f"{self.path}: holds no records yet")
        return pl.concat([_read_parquet(self.path / folder / name) for name in names])


class DamagedBatchError(RunDirectoryError):
    """A parquet file of the run cannot be read."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: damaged ({reason})", hint=MENDING)
        self.path = path


def _read_parquet(path: Path, columns: list[int] | None = None) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, columns=columns)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DamagedBatchError(path, str(error).splitlines()[0][:120]) from None


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=1)
    return buffer.getvalue()


def _disk_error(path: Path, error: OSError) -> DiskError:
    return DiskError(
        f"{path}: cannot be written ({error.strerror or error}); what was written before is whole",
        hint="make room, then run the same command with `--resume`",
    )
