"""Work of polars away from the main thread, where a signal that arrives in it would be lost."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_POLL_S = 0.1
_T = TypeVar("_T")


def pieces_made_aside(pieces: Iterator[_T]) -> Iterator[_T]:
    """Yield the pieces, each made on another thread while this one can be stopped.

    Python answers signals on the main thread only. Where polars has called back into Python there,
    it drops what the handler raises, and the work would go on as if nobody had asked it to stop.
    """
    with ThreadPoolExecutor(1) as pool:
        while True:
            found = _result(pool.submit(lambda: next(pieces, None)))
            if found is None:
                return
            yield found


def made_aside(make: Callable[[], _T], stop: Callable[[], None]) -> _T:
    """Return what `make` returns, made on another thread.

    Args:
        make: The work.
        stop: Called when this thread is stopped, so that the work ends soon.
    """
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(make)
        try:
            return _result(future)
        except BaseException:
            stop()
            raise


def _result(future: Future[_T]) -> _T:
    # a short wait: polars installs a SIGINT handler that restarts a blocked wait for ever
    while not future.done():
        wait([future], timeout=_POLL_S)
    return future.result()
