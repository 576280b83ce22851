"""llmsynthor: published aggregate tables in, realistic individual records out."""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "Found", "InputError", "Iteration", "Job", "LLMSynthorError", "Listener", "LoadedJob", "Problem", "Run",
    "check", "example", "load", "open_run", "run", "tables_from",
]  # fmt: skip

if TYPE_CHECKING:
    from llmsynthor.app.api import Found, check, load, run
    from llmsynthor.app.finished import Run, open_run
    from llmsynthor.app.starts import example, tables_from
    from llmsynthor.engine.loop import Listener
    from llmsynthor.errors import InputError, LLMSynthorError, Problem
    from llmsynthor.job.load import LoadedJob
    from llmsynthor.job.model import Job
    from llmsynthor.store.lines import Iteration
else:
    _HOMES = {
        "app.api": ("Found", "check", "load", "run"),
        "app.finished": ("Run", "open_run"),
        "app.starts": ("example", "tables_from"),
        "engine.loop": ("Listener",),
        "errors": ("InputError", "LLMSynthorError", "Problem"),
        "job.load": ("LoadedJob",),
        "job.model": ("Job",),
        "store.lines": ("Iteration",),
    }
    """Where each name is at home: it is fetched when it is used, since `import` must cost nothing."""

    def __getattr__(name: str) -> object:
        for module, names in _HOMES.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{module}"), name)
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
