"""What a job with zones is made of: its tables in full and without zones, its chunks, its memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmsynthor.engine.executors.processes import cores
from llmsynthor.errors import Problem, TableError
from llmsynthor.targets.by_zone import Chunking, chunk_zones, over_parts, without_zones
from llmsynthor.text import clean

if TYPE_CHECKING:
    import numpy as np

    from llmsynthor.job.model import Job
    from llmsynthor.targets.table import TableSet

_BASE_MB = 140
"""What a process holds with its libraries and nothing else."""
_CANDIDATE_BYTES = (30, 11)
"""What drawing, calibrating and rounding hold for each candidate, and besides for each of its variables
and tables, as measured."""
_HESSIAN_BYTES = 24
"""What calibration holds for each pair of cells."""


@dataclass(frozen=True, eq=False)
class Zoned:
    """A job's tables and chunks.

    Attributes:
        tables: All tables, with zones.
        chunking: The chunks.
        known: Codes of records that the tables need and chance misses; see `check_feasible`.
    """

    tables: TableSet
    chunking: Chunking
    known: np.ndarray | None = None

    @cached_property
    def shared(self) -> TableSet:
        """Return the tables without zones: what a model is shown."""
        return without_zones(self.tables)

    @cached_property
    def coarse(self) -> TableSet:
        """Return the tables over the parts of chunks."""
        return over_parts(self.tables, self.chunking)

    @property
    def largest(self) -> int:
        """Return how many zones the largest chunk has."""
        return max(len(zones) for zones in self.chunking.zones)


def zoned(tables: TableSet, job: Job) -> Zoned:
    """Return the zones of a job in chunks.

    Raises:
        TableError: No control table has more than zones, so that nothing is left without them.
    """
    if tables.zones is None or job.zones is None:
        raise ValueError("the job has no zones")
    found = Zoned(tables, chunk_zones(tables, tables.zones, job.records, job.zones.chunk_records))
    if not found.shared.control:
        name = clean(tables.zones.variable)
        message = f"no control table has a variable beside `{name}`"
        raise TableError.of([Problem(message, at=("tables",))])
    return found


def workers_of(job: Job) -> int:
    """Return how many chunks are worked on at once; of a running Dask cluster that is not known: 0."""
    given = job.executor
    if given is not None and given.dask is not None:
        return given.dask.workers or 0
    if given is not None and given.slurm is not None:
        return given.slurm.jobs * given.slurm.cores
    if given is not None and isinstance(given.processes, int):
        return given.processes
    return cores()


def planned(found: Zoned, job: Job) -> dict[str, Any]:
    """Return what the run will need: chunks, workers, memory of each, in MB."""
    control = found.tables.control
    members = found.tables.members
    rows = sum(1 if table.members is None or members is None else members.most for table in control)
    columns = len(found.tables.wide.names) + rows
    chunks = len(found.chunking)
    records = job.records / chunks
    given = job.engine.candidates
    candidates = (
        given if isinstance(given, int) else min(max(12 * round(1.5 * records), 100_000), 400_000)
    )
    cells = _cells(found)
    alone, each = _CANDIDATE_BYTES
    per_candidate = alone + each * columns
    memory = _BASE_MB + candidates * per_candidate / 1e6 + _HESSIAN_BYTES * cells**2 / 1e6
    return {
        "zones": sum(len(zones) for zones in found.chunking.zones),
        "chunks": chunks,
        "largest_chunk_zones": found.largest,
        "records_per_chunk": round(records),
        "workers": min(workers_of(job), chunks) or None,
        "memory_per_worker_mb": round(memory),
    }


def plan_words(plan: dict[str, Any]) -> str:
    """Return in one line what `planned` found."""
    chunks = "1 chunk" if plan["chunks"] == 1 else f"{plan['chunks']:,} chunks"
    at_once = plan["workers"]
    workers = "as many workers as the cluster has" if at_once is None else (
        "1 worker" if at_once == 1 else f"{at_once:,} workers"
    )  # fmt: skip
    return (
        f"zones: {plan['zones']:,} in {chunks} of about {plan['records_per_chunk']:,} records "
        f"(largest: {plan['largest_chunk_zones']:,} zones), {workers}, about "
        f"{plan['memory_per_worker_mb']:,} MB each"
    )


def _cells(found: Zoned) -> int:
    """Return the cells of the control tables of a chunk, about."""
    name = found.tables.zones.variable if found.tables.zones else ""
    share = found.largest / max(sum(len(z) for z in found.chunking.zones), 1)
    return round(sum(t.cells * share if name in t.scope else t.cells for t in found.tables.control))
