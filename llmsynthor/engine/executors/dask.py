"""Chunks on Dask's workers: of a scheduler that runs, of this machine, or in jobs of Slurm.

Workers write their chunk's files themselves, so they must see the run directory under the same
path; that is tried before anything is given to them.
"""

from __future__ import annotations

import logging
import secrets
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsynthor.engine.zones.chunk import ENVIRONMENT, KILLED, MOST_KILLED, Ending, ended
from llmsynthor.errors import JobError, ProviderUnavailableError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from llmsynthor.job.zones import ExecutorSpec, SlurmSpec

_POLL_S = 0.2
_CONNECT_S = 20
_FIRST_WORKER_S = 60
"""Wait for the first worker of a cluster that runs or is local; Slurm's queue may take as long as it takes."""
_PROBE = ".seen"


class DaskWorkers:
    """Makes chunks on Dask's workers."""

    def __init__(self, given: ExecutorSpec) -> None:
        self._given = given

    def run(self, folder: Path, numbers: Sequence[int]) -> Generator[Ending]:
        """Yield how each chunk ended, as soon as it is known; stop all work when closed.

        Raises:
            JobError: Dask is not installed, or the workers do not see the folder.
            ProviderUnavailableError: There is no scheduler at the address, or it has no workers.
        """
        try:
            import distributed
        except ImportError:
            raise JobError(
                "`executor` asks for Dask, which is not installed",
                hint="`pip install 'llmsynthor[dask]'` installs it",
            ) from None
        with _quiet(), _cluster(self._given) as cluster:
            client = _client(distributed, self._given, cluster)
            try:
                _check_folder(client, folder, self._given)
                yield from _endings(distributed, client, folder, numbers)
            finally:
                client.close(timeout=5)


def _endings(
    distributed: Any,  # noqa: ANN401 - a library without types
    client: Any,  # noqa: ANN401
    folder: Path,
    numbers: Sequence[int],
) -> Iterator[Ending]:
    futures = {
        client.submit(_remote, str(folder), number, key=f"chunk-{number}-{secrets.token_hex(4)}"): number
        for number in numbers
    }  # fmt: skip
    waiting = set(futures)
    try:
        while waiting:
            try:  # a short wait, so that a signal is answered
                done, _ = distributed.wait(waiting, _POLL_S, return_when="FIRST_COMPLETED")
            except (TimeoutError, distributed.TimeoutError):
                continue
            waiting -= done
            for future in sorted(done, key=futures.__getitem__):
                yield _ending(future, futures[future])
    finally:
        client.cancel(list(waiting), force=True)


def _ending(future: Any, number: int) -> Ending:  # noqa: ANN401
    """Return how a chunk ended; one that took its workers with it has failed."""
    if future.status == "finished":
        return Ending(*future.result())
    error = future.exception() if future.status == "error" else None
    if type(error).__name__ == "KilledWorker":
        return Ending(number, "failed", KILLED)
    return Ending(number, "failed", f"{type(error).__name__}: {error}" if error else future.status)


def _remote(folder: str, number: int) -> tuple[int, Any, str]:
    """Make a chunk in a worker, on one thread as everywhere."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        ending = ended(Path(folder), number)
    return ending.number, ending.kind, ending.words


def _check_folder(client: Any, folder: Path, given: ExecutorSpec) -> None:  # noqa: ANN401
    """Refuse workers that do not see the run directory as this machine does."""
    limit = None if given.slurm is not None else _FIRST_WORKER_S
    try:
        client.wait_for_workers(1, timeout=limit)
    except (TimeoutError, OSError):
        raise ProviderUnavailableError(
            f"Dask's scheduler has had no worker for {_FIRST_WORKER_S} seconds",
            hint="start some (`dask worker ADDRESS`), then run the same command with `--resume`",
        ) from None
    token = secrets.token_hex(8)
    probe = folder / _PROBE
    probe.write_text(token, encoding="utf-8")
    try:
        seen = client.run(_content, str(probe))
    finally:
        probe.unlink(missing_ok=True)
    blind = sorted(worker for worker, content in seen.items() if content != token)
    if blind:
        raise JobError(
            f"executor: {len(blind)} of {len(seen)} workers do not see {folder} "
            f"(the first is {blind[0]})",
            hint="workers write into the run directory: put it on a file system that all of them "
            "share, under one path (`--out DIR`)",
        )


def _content(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        return str(error)


def _client(distributed: Any, given: ExecutorSpec, cluster: Any) -> Any:  # noqa: ANN401
    if cluster is not None:
        return distributed.Client(cluster)
    address = given.dask.address if given.dask is not None else None
    try:
        return distributed.Client(address, timeout=_CONNECT_S)
    except (OSError, TimeoutError) as error:
        raise ProviderUnavailableError(
            f"executor.dask.address: no scheduler answers at {address} ({_first_line(error)})",
            hint="`dask scheduler` starts one; then run the same command with `--resume`",
        ) from None


@contextmanager
def _cluster(given: ExecutorSpec) -> Iterator[Any]:
    """Start the cluster that the job asks for and end it; None where one runs already."""
    cluster = None
    if given.slurm is not None:
        cluster = _slurm(given.slurm)
    elif given.dask is not None and given.dask.workers is not None:
        cluster = _local(given.dask.workers)
    try:
        yield cluster
    finally:
        if cluster is not None:
            cluster.close(timeout=10)


def _local(workers: int) -> Any:  # noqa: ANN401
    import distributed

    library: Any = distributed
    return library.LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        env=dict(ENVIRONMENT),
    )


def _slurm(given: SlurmSpec) -> Any:  # noqa: ANN401
    import dask_jobqueue

    library: Any = dask_jobqueue
    try:
        cluster = library.SLURMCluster(
            queue=given.queue,
            account=given.account,
            cores=given.cores,
            processes=given.cores,
            memory=given.memory.replace(" ", ""),
            walltime=given.walltime,
            interface=given.interface,
            job_extra_directives=list(given.directives),
            job_script_prologue=[f"export {n}={v}" for n, v in ENVIRONMENT.items()]
            + list(given.prologue),
            scheduler_options={"dashboard_address": None},
        )
        cluster.scale(jobs=given.jobs)
    except (OSError, ValueError, RuntimeError) as error:
        raise JobError(f"executor.slurm: {_first_line(error)}") from None
    return cluster


@contextmanager
def _quiet() -> Iterator[None]:
    """Let Dask give up a task after as many lost workers as we do, and keep its log off the terminal."""
    import dask

    library: Any = dask
    levels = {logger: logger.level for logger in map(logging.getLogger, ("distributed", "tornado"))}
    with library.config.set({"distributed.scheduler.allowed-failures": MOST_KILLED - 1}):
        for logger in levels:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in levels.items():
                logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]
