"""Real records for tests of `evaluate`: made up, of the small job's variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from pathlib import Path


def real_frame(rows: int = 900, seed: int = 5, missing: float = 0.0) -> pl.DataFrame:
    """Return people whose mode depends on age and work; a share of each column may be missing."""
    random = np.random.default_rng(seed)
    age = np.minimum(18 + random.gamma(2.5, 13.0, rows), 90).astype(int)
    work = np.where(random.random(rows) < np.where(age < 65, 0.75, 0.15), "yes", "no")
    drives = random.random(rows) < np.where(work == "yes", 0.65, 0.3) * (age <= 85)
    mode = np.where(drives, "car", np.where(random.random(rows) < 0.6, "bus", "walk"))
    columns = {"age": pl.Series(age), "work": pl.Series(work), "mode": pl.Series(mode)}
    for name, column in columns.items():
        gone = pl.Series(random.random(rows) < missing)
        columns[name] = pl.select(pl.when(~gone).then(column)).to_series()
    weight = pl.Series(random.gamma(2.0, 10.0, rows).round(3))
    return pl.DataFrame({**columns, "weight": weight})


def write_real(path: Path, frame: pl.DataFrame) -> Path:
    """Write the records as CSV or parquet, as the name of the file says."""
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path)
    return path
