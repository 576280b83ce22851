"""Signals that ask to stop become one exception, so that what is on disk stays whole."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmsynthor.errors import StopRequestedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_ASK_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Raise `StopRequestedError` inside where a signal asks to stop; after it all is as before.

    Python lets the main thread alone hear signals: on another one nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    old = {number: signal.signal(number, _stop) for number in _ASK_TO_STOP if main}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler or signal.SIG_DFL)


def _stop(number: int, _frame: FrameType | None) -> None:
    for caught in _ASK_TO_STOP:  # the first signal stops; a second must not cut the tidying
        signal.signal(caught, signal.SIG_IGN)
    raise StopRequestedError(signal.Signals(number).name)


def end_as_asked(stop: StopRequestedError, words: str) -> None:
    """End a program of a user's as the signal would have ended it, now that all is tidy.

    Raises:
        KeyboardInterrupt: It was Ctrl-C.
    """
    if stop.signal_name == "SIGINT":
        raise KeyboardInterrupt(words) from None
    signal.raise_signal(signal.Signals[stop.signal_name])
