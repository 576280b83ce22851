"""SDMetrics' quality score, under its own name and by its own code."""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.errors import JobError
from llmsynthor.results.evaluation.downstream import INSTALL
from llmsynthor.seeds import generator

if TYPE_CHECKING:
    import pandas as pd

    from llmsynthor.results.evaluation.records import Records

_MOST_ROWS = 100_000
_TABLE = "records"
_PARTS = {"column_shapes": "Column Shapes", "column_pair_trends": "Column Pair Trends"}


def check_sdmetrics() -> None:
    """Check that SDMetrics is there.

    Raises:
        JobError: It must be installed, or is too old.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):
            from sdmetrics.reports import QualityReport  # noqa: F401
    except ImportError:
        raise JobError(
            "--sdmetrics needs SDMetrics 0.32 or newer, which is not installed", hint=INSTALL
        ) from None


def quality_score(real: Records, synthetic: Records, seed: int) -> dict[str, Any]:
    """Return SDMetrics' quality score with its two parts, from 0 (worst) to 1 (best).

    SDMetrics knows no weights: weighted real records are drawn with replacement in proportion to
    them. At most 100,000 records of each are taken, at random. A part is None where SDMetrics
    gives none (no pair of columns is associated enough, or there is one column).
    """
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        # what it warns of (columns without variance) it gives as a missing score too
        warnings.simplefilter("ignore")
        import sdmetrics
        from sdmetrics.reports import QualityReport

        columns = {
            name: {"sdtype": "numerical" if name in real.values else "categorical"}
            for name in real.names
        }
        frames = quality_frames(real, synthetic, seed)
        report = QualityReport()
        report.generate(
            {_TABLE: frames[0]},
            {_TABLE: frames[1]},
            {"tables": {_TABLE: {"columns": columns}}},
            verbose=False,
        )
        parts = dict(report.get_properties().itertuples(index=False, name=None))
    return {
        "name": "SDMetrics QualityReport",
        "version": sdmetrics.__version__,
        "rows": {"real": len(frames[0]), "synthetic": len(frames[1])},
        "overall": _known(report.get_score()),
        **{key: _known(parts.get(name)) for key, name in _PARTS.items()},
    }


def quality_frames(
    real: Records, synthetic: Records, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what SDMetrics is given: real and synthetic records, raw numbers where both have them."""
    random = generator(seed, "evaluate", "sdmetrics")
    return (
        _frame(_sample(real, random), real),
        _frame(_sample(synthetic, random), real),
    )


def _sample(records: Records, random: np.random.Generator) -> Records:
    if records.weights is not None:
        chance = records.weights / records.weights.sum()
        return records.take(random.choice(records.rows, min(records.rows, _MOST_ROWS), p=chance))
    if records.rows > _MOST_ROWS:
        return records.take(random.choice(records.rows, _MOST_ROWS, replace=False))
    return records


def _frame(records: Records, real: Records) -> pd.DataFrame:
    import pandas as pd

    columns = {}
    for name in real.names:
        if name in real.values:
            columns[name] = records.values[name]
            continue
        labels = np.array([*real.domain[name].labels, None], dtype=object)
        columns[name] = labels[records.codes[name]]  # MISSING is the last: None
    return pd.DataFrame(columns)


def _known(score: float | None) -> float | None:
    return None if score is None or math.isnan(score) else float(score)
