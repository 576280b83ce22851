"""The errors that a user can act on, each with the exit code that scripts read."""

from __future__ import annotations

from enum import IntEnum


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


class InputError(LLMSynthorError):
    """Something the user gave must change first; nothing was spent."""

    exit_code = ExitCode.CHANGE_INPUT


class JobError(InputError):
    """The job file, a template or an option must change."""


class TableError(InputError):
    """A table file must change, or the job must say how to read it."""


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
    """

    def __init__(self, signal_name: str) -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name
        interrupted = signal_name == "SIGINT"
        self.exit_code = ExitCode.INTERRUPTED if interrupted else ExitCode.STOPPED_EARLY
