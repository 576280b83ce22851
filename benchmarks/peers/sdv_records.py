"""What both SDV peers share: real records as SDV wants them, and its records as codes."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sdv.metadata import Metadata

if TYPE_CHECKING:
    from peers.interface import Task
    from sdv.single_table.base import BaseSynthesizer

TABLE = "records"


def metadata(task: Task) -> Metadata:
    """Return SDV's description of the records: every variable is categorical."""
    columns = {name: {"sdtype": "categorical"} for name in task.names}
    return Metadata.load_from_dict({"tables": {TABLE: {"columns": columns}}})


def real_records(task: Task) -> dict[str, pd.DataFrame]:
    """Return the real records as SDV 2 takes them: one table by name."""
    if task.truth is None:
        raise SystemExit("this peer is fitted to real records: give --truth")
    columns = {
        name: np.array(labels, dtype=object)[task.truth[:, position]]
        for position, (name, labels) in enumerate(task.variables.items())
    }
    return {TABLE: pd.DataFrame(columns)}


def draw(synthesizer: BaseSynthesizer, task: Task) -> np.ndarray:
    """Return drawn records as codes."""
    frame = synthesizer.sample(task.records)[TABLE]
    return np.column_stack(
        [
            pd.Categorical(frame[name], categories=labels).codes
            for name, labels in task.variables.items()
        ]
    )


def sdv_version() -> str:
    """Return the versions that matter."""
    return f"{version('sdv')} (torch {version('torch')})"
