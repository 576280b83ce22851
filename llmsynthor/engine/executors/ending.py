"""How the work on one chunk ended, as workers tell it."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llmsynthor.engine.zones.chunk import make_chunk
from llmsynthor.errors import DiskError, LLMSynthorError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Protocol

    class Executor(Protocol):
        """Makes chunks, wherever and in whatever order."""

        def run(self, folder: Path, numbers: Sequence[int]) -> Generator[Ending]:
            """Yield how each chunk ended, as soon as it is known; stop all work when closed."""


MOST_KILLED = 3
"""Times that a chunk may take its worker with it before it is given up."""
KILLED = f"killed its worker {MOST_KILLED} times: it may need more memory than there is"
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
}
"""What a worker's process is started with: it has one core, and the order in which several threads
add numbers up would show in the last digits."""


@dataclass(frozen=True)
class Ending:
    """How a chunk ended.

    Attributes:
        number: The chunk.
        kind: `done`; `failed`, the others may go on; `disk`, none can.
        words: What is wrong.
    """

    number: int
    kind: Literal["done", "failed", "disk"] = "done"
    words: str = ""


def ended(folder: Path, number: int) -> Ending:
    """Make a chunk and return how that ended; nothing is raised, for it would have to travel."""
    try:
        make_chunk(Path(folder), number)
    except DiskError as error:
        return Ending(number, "disk", str(error))
    except LLMSynthorError as error:
        return Ending(number, "failed", str(error))
    except MemoryError:
        return Ending(number, "failed", "there is not enough memory for it")
    except Exception:  # noqa: BLE001 - a bug in one chunk must not cost the others
        last = traceback.format_exc(limit=-1).strip().replace("\n", " ")
        return Ending(number, "failed", f"a bug in llmsynthor: {last}")
    return Ending(number)
