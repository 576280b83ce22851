"""The errors that a user can act on, each with the exit code that scripts read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """What the process returns; a shell script decides by nothing else."""

    DONE = 0
    BUG = 1
    CHANGE_INPUT = 2
    TOLERANCE_MISSED = 3
    PROVIDER_REFUSES = 4
    STOPPED_EARLY = 75
    INTERRUPTED = 130


class LLMSynthorError(Exception):
    """An expected failure: the message is for the user, so no traceback is shown.

    Attributes:
        exit_code: Process exit code; see "Exit codes" in the README.
        hint: What the user can do next, in one sentence, or None.
    """

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Problem:
    """One thing that must change, or that is odd.

    Attributes:
        message: What is wrong, without the place.
        file: The file to look at, as the job or the command names it; else None.
        line: Its line, from 1; None where the whole file is meant.
        column: Its column, from 1.
        hint: What to do about it, where the message does not say so.
        at: The key of the job that it is about, for whoever knows on which line that key is.
    """

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None
    at: tuple[str | int, ...] = ()

    def __str__(self) -> str:
        place = [str(part) for part in (self.file, self.line, self.column) if part is not None]
        return f"{':'.join(place)}: {self.message}" if place else self.message

    def for_machines(self) -> dict[str, Any]:
        """Return what `--json` gives: file, line, message and hint, None where there is none."""
        return {"file": self.file, "line": self.line, "message": self.message, "hint": self.hint}


class InputError(LLMSynthorError):
    """Something the user gave must change first; nothing was spent.

    Attributes:
        problems: All that must change, at least one.
    """

    exit_code = ExitCode.CHANGE_INPUT

    def __init__(
        self, message: str, *, hint: str | None = None, problems: Iterable[Problem] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems) or (Problem(message, hint=hint),)

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> Self:
        """Return the error that holds these problems, each once; its hint is the first one's."""
        kept = tuple(dict.fromkeys(problems))
        hint = next((problem.hint for problem in kept if problem.hint), None)
        return cls("\n".join(map(str, kept)), hint=hint, problems=kept)


class JobError(InputError):
    """The job file, a template or an option must change."""


class TableError(InputError):
    """A table file must change, or the job must say how to read it."""


class MicrodataError(InputError):
    """The file of real records must change, or an option must say how to read it."""


class InfeasibleError(InputError):
    """The tables and the rules cannot all hold."""


class RunDirectoryError(InputError):
    """The run directory cannot be used as it is."""


class ReplayError(InputError):
    """A recorded reply that the run needs is not there."""


class ProviderRefusedError(LLMSynthorError):
    """The provider refuses and would refuse again: key, model or quota."""

    exit_code = ExitCode.PROVIDER_REFUSES


class ProviderUnavailableError(LLMSynthorError):
    """The provider did not answer in spite of retries; later it may."""

    exit_code = ExitCode.STOPPED_EARLY


class DiskError(LLMSynthorError):
    """The disk refused a write (full, quota, read-only): what is there is whole."""

    exit_code = ExitCode.STOPPED_EARLY


class StopRequestedError(BaseException):
    """A signal asked the run to stop.

    It derives from BaseException so that no handler for ordinary errors can swallow it.

    Attributes:
        signal_name: For example `SIGTERM`.
        exit_code: 130 for Ctrl-C, else 75.
        kept: Whether there is a run that `--resume` can go on with.
    """

    kept = False

    def __init__(self, signal_name: str) -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name
        interrupted = signal_name == "SIGINT"
        self.exit_code = ExitCode.INTERRUPTED if interrupted else ExitCode.STOPPED_EARLY
