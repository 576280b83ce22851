"""Scores by libraries that need not be there: scikit-learn's predictors, SDMetrics' quality score.

Train on synthetic, test on real: is a model fitted to the records any good on real people? After
Esteban, Hyland and Rätsch (2017). Three predictors are tested on the same half of the real
records: one trained on synthetic records, one on the other half of the real ones, and the constant
that needs no variables. scikit-learn's histogram gradient boosting takes categories and missing
values as they are.
"""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.errors import JobError, MicrodataError
from llmsynthor.seeds import derive_seed, generator
from llmsynthor.targets.encode import MISSING
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from llmsynthor.results.evaluation.records import Records

INSTALL = (
    "`pip install 'llmsynthor[evaluate]'` installs it; without the option all else is computed"
)
_MOST_ROWS = 50_000
"""Records to train on: more hardly change the scores, and only cost time."""
_MOST_SCORED = 100_000
"""Records that SDMetrics is given."""
_TABLE = "records"
_PARTS = {"column_shapes": "Column Shapes", "column_pair_trends": "Column Pair Trends"}
_FEWEST_ROWS = 20
STEPS = 50
L2 = 1.0
"""Without it, scikit-learn's boosting diverges where a class has a handful of records."""
_MOST_CLASSES = 50
"""Boosting grows one tree for each class and step."""
_MOST_CATEGORIES = 255
"""What scikit-learn's trees can hold apart; a variable with more is taken as a number."""


def check_target(target: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Check that scikit-learn is there and the target can be predicted.

    Args:
        target: The variable to predict.
        names: The job's variables.
        known: Those that the real records have.

    Raises:
        JobError: Something must be installed, or another target chosen.
    """
    if target not in names:
        raise JobError(
            f"--target `{target}`: the job has no such variable; it has {', '.join(names)}"
        )
    if target not in known:
        raise JobError(
            f"--target `{target}`: the real records do not have it; they have {', '.join(known)}"
        )
    if len(known) == 1:
        raise JobError(
            f"--target `{target}`: the real records have no other variable to tell it by"
        )
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise JobError(
            "--target needs scikit-learn, which is not installed", hint=INSTALL
        ) from None


def train_and_test(real: Records, synthetic: Records, target: str, seed: int) -> dict[str, Any]:
    """Return the scores of the three predictors of a variable.

    A number given raw is predicted as a number (R squared, mean absolute error), all else as
    classes (accuracy, macro F1, and ROC AUC where there are two).

    Raises:
        MicrodataError: There are too few real records, or they all have one value.
    """
    import sklearn

    numeric = target in real.values
    rows = np.flatnonzero(real.codes[target] != MISSING)
    if real.weights is not None:
        rows = rows[real.weights[rows] > 0]
    _check_rows(real, target, rows)
    random = generator(seed, "evaluate", "target", target)
    shuffled = random.permutation(rows)
    half = len(rows) // 2
    train, test = shuffled[:half][:_MOST_ROWS], shuffled[half:]
    drawn = random.choice(synthetic.rows, min(len(train), synthetic.rows), replace=False)
    parts = {
        "synthetic": _Part(synthetic.take(drawn), real, target),
        "real": _Part(real.take(train), real, target),
    }
    tested = _Part(real.take(test), real, target)
    state = derive_seed(seed, "evaluate", "model", target) % 2**32
    score = _score_numbers if numeric else _score_classes
    scores = {
        name: score(tested, *_fitted(part, tested, state, numeric)) for name, part in parts.items()
    }
    scores["constant"] = score(tested, *_constant(parts["real"], tested, numeric))
    return {
        "target": target,
        "task": "numbers" if numeric else "classes",
        "model": f"HistGradientBoosting{'Regressor' if numeric else 'Classifier'}",
        "scikit_learn": sklearn.__version__,
        "features": parts["real"].names,
        "trained_on": {name: len(part.target) for name, part in parts.items()},
        "tested_on": len(tested.target),
        "scores": scores,
    }


def _check_rows(real: Records, target: str, rows: np.ndarray) -> None:
    if len(rows) < _FEWEST_ROWS:
        raise MicrodataError(
            f"--target `{target}`: {len(rows)} real records have it; at least {_FEWEST_ROWS} are needed"
        )
    if target in real.values:
        if np.ptp(real.values[target][rows]) == 0:
            raise MicrodataError(f"--target `{target}`: all real records have the same value")
        return
    classes = np.unique(real.codes[target][rows])
    if len(classes) == 1:
        label = clean(real.domain[target].labels[int(classes[0])])
        raise MicrodataError(f"--target `{target}`: all real records have `{label}`")
    if len(classes) > _MOST_CLASSES:
        raise MicrodataError(
            f"--target `{target}`: it has {len(classes)} values; choose one with at most "
            f"{_MOST_CLASSES}, or a number"
        )


class _Part:
    """Records as a matrix of features and what is to be predicted."""

    def __init__(self, records: Records, real: Records, target: str) -> None:
        """Choose raw numbers where the real records have them, else codes.

        Args:
            records: To train on or to test on.
            real: Says which variables there are, and in which form.
            target: The variable to predict.
        """
        self.names = [name for name in real.names if name != target]
        columns = [
            records.values[name]
            if name in real.values
            else np.where(records.codes[name] == MISSING, np.nan, records.codes[name])
            for name in self.names
        ]
        self.features = np.column_stack(columns).astype(np.float64)
        variables = [real.domain[name] for name in self.names]
        self.categorical = [
            not (v.is_numeric or v.ordered) and v.size <= _MOST_CATEGORIES for v in variables
        ]
        numeric = target in real.values
        self.target = records.values[target] if numeric else records.codes[target].astype(np.int64)
        self.weights = records.weights


def _fitted(
    part: _Part, tested: _Part, state: int, numeric: bool
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Return predictions, chances of each class (or None) and the classes."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    if len(np.unique(part.target)) == 1:
        return _constant(part, tested, numeric)
    kind = HistGradientBoostingRegressor if numeric else HistGradientBoostingClassifier
    model = kind(
        categorical_features=part.categorical if any(part.categorical) else None,
        max_iter=STEPS,
        l2_regularization=L2,
        early_stopping=False,  # it would hold out records at random, and fail on a class of one
        random_state=state,
    )
    # one thread: the same sums on every machine, and no cores that wait for a busy one
    with threadpool_limits(1, user_api="openmp"):
        model.fit(part.features, part.target, sample_weight=part.weights)
        predicted = np.asarray(model.predict(tested.features))
        chances = None if numeric else np.asarray(model.predict_proba(tested.features))
    return predicted, chances, np.empty(0) if numeric else np.asarray(model.classes_)


def _constant(
    part: _Part, tested: _Part, numeric: bool
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Return the mean, or the commonest class, for each record tested."""
    if numeric:
        mean = float(np.average(part.target, weights=part.weights))
        return np.full(len(tested.target), mean), None, np.empty(0)
    classes, index = np.unique(part.target, return_inverse=True)
    commonest = classes[int(np.argmax(np.bincount(index, part.weights)))]
    predicted = np.full(len(tested.target), commonest)
    return predicted, np.ones((len(predicted), 1)), np.array([commonest])


def _score_numbers(
    tested: _Part, predicted: np.ndarray, _chances: np.ndarray | None, _classes: np.ndarray
) -> Mapping[str, float | None]:
    from sklearn.metrics import mean_absolute_error, r2_score

    truth, weights = tested.target, tested.weights
    return {
        "r2": float(r2_score(truth, predicted, sample_weight=weights)),
        "mae": float(mean_absolute_error(truth, predicted, sample_weight=weights)),
    }


def _score_classes(
    tested: _Part, predicted: np.ndarray, chances: np.ndarray | None, classes: np.ndarray
) -> Mapping[str, float | None]:
    from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

    truth, weights = tested.target, tested.weights
    there = np.unique(truth)
    auc = None
    if len(there) == 2 and chances is not None:
        column = np.flatnonzero(classes == there[1])
        chance = chances[:, column[0]] if len(column) else np.zeros(len(truth))
        auc = float(roc_auc_score(truth == there[1], chance, sample_weight=weights))
    f1 = f1_score(truth, predicted, average="macro", sample_weight=weights, zero_division=0.0)
    return {
        "accuracy": float(accuracy_score(truth, predicted, sample_weight=weights)),
        "macro_f1": float(f1),
        "roc_auc": auc,
    }


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
        return records.take(random.choice(records.rows, min(records.rows, _MOST_SCORED), p=chance))
    if records.rows > _MOST_SCORED:
        return records.take(random.choice(records.rows, _MOST_SCORED, replace=False))
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
