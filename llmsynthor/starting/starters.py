"""Starter jobs: small examples that come with the package and run as they are."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING

from llmsynthor.job.model import job_schema
from llmsynthor.starting.safe_folder import fill

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from pathlib import Path

EXAMPLES = ("population", "mobility", "ecommerce")
SCHEMA = "job.schema.json"


def write_starter(folder: Path, example: str, *, overwrite: bool = False) -> None:
    """Write one of `EXAMPLES` with its tables and recording, and the schema that its editor line names.

    Raises:
        FolderError: There is something in the folder, or it cannot be written.
    """
    files = _files(resources.files("llmsynthor") / "starters" / example, "")
    schema = json.dumps(job_schema(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    fill(folder, {**files, SCHEMA: schema}, overwrite=overwrite)


def _files(place: Traversable, prefix: str) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for entry in sorted(place.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found |= _files(entry, f"{prefix}{entry.name}/")
        else:
            found[prefix + entry.name] = entry.read_bytes()
    return found
