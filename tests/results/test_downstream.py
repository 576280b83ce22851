"""Train on synthetic and test on real; SDMetrics' score; and what is said without their extra."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from real_records import real_frame, write_real

from llmsynthor.cli.main import main
from llmsynthor.results.evaluation import extras
from llmsynthor.results.evaluation.extras import quality_frames
from llmsynthor.results.evaluation.real import read_microdata
from llmsynthor.results.evaluation.records import read_synthetic
from llmsynthor.store.directory import RunDirectory
from llmsynthor.store.targets_used import load_used

pytestmark = pytest.mark.slow
EXACT = 1e-9


@pytest.fixture(scope="module")
def run(small_run, tmp_path_factory) -> Path:
    """Return a copy of a run, since each evaluation is written into it."""
    return Path(shutil.copytree(small_run, tmp_path_factory.mktemp("copy") / "out"))


def evaluated(run: Path, real: Path, *options: str) -> dict:
    assert main(["evaluate", str(run), str(real), *options]) == 0
    return json.loads((run / "evaluation.json").read_text())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("target", ["work", "mode", "age"])
def test_the_scores_are_scikit_learns_of_what_was_predicted(
    run, tmp_path, monkeypatch, target, weighted
):
    from sklearn import metrics  # its import takes seconds

    kept = []

    def keep(name):
        made = getattr(extras, name)

        def predictions(part, tested, *rest):
            found = made(part, tested, *rest)
            kept.append((part, tested, found))
            return found

        monkeypatch.setattr(extras, name, predictions)

    keep("_fitted")
    keep("_constant")
    path = write_real(tmp_path / "real.csv", real_frame(missing=0.03))
    options = ["--target", target, *(["--weight", "weight"] if weighted else [])]
    found = evaluated(run, path, *options)["downstream"]
    assert found["features"] == [name for name in ("age", "work", "mode") if name != target]
    assert len(kept) == 3
    for (part, tested, (predicted, chances, classes)), name in zip(
        kept, ("synthetic", "real", "constant"), strict=True
    ):
        truth, weights = tested.target, tested.weights
        assert (weights is not None) == weighted
        assert len(truth) == found["tested_on"]
        scores = found["scores"][name]
        if name != "constant":
            assert len(part.target) == found["trained_on"][name]
        if target == "age":
            assert scores == {
                "r2": pytest.approx(
                    metrics.r2_score(truth, predicted, sample_weight=weights), abs=EXACT
                ),
                "mae": pytest.approx(
                    metrics.mean_absolute_error(truth, predicted, sample_weight=weights), abs=EXACT
                ),
            }
            continue
        accuracy = metrics.accuracy_score(truth, predicted, sample_weight=weights)
        assert scores["accuracy"] == pytest.approx(accuracy, abs=EXACT)
        f1 = metrics.f1_score(
            truth, predicted, average="macro", sample_weight=weights, zero_division=0
        )
        assert scores["macro_f1"] == pytest.approx(f1, abs=EXACT)
        if target == "mode":
            assert scores["roc_auc"] is None
        elif name == "constant":
            assert scores["roc_auc"] == 0.5
        else:
            chance = chances[:, classes.tolist().index(1)]
            auc = metrics.roc_auc_score(truth, chance, sample_weight=weights)
            assert scores["roc_auc"] == pytest.approx(auc, abs=EXACT)


def test_the_halves_share_no_record_and_synthetic_ones_are_as_many(run, tmp_path):
    found = evaluated(run, write_real(tmp_path / "r.csv", real_frame(901)), "--target", "mode")
    trained = found["downstream"]["trained_on"]
    assert trained == {"synthetic": 450, "real": 450}
    assert found["downstream"]["tested_on"] == 451


def test_what_depends_on_nothing_is_predicted_no_better_than_by_the_constant(run, tmp_path):
    random = np.random.default_rng(3)
    frame = real_frame(600).with_columns(work=pl.Series(random.choice(["yes", "no"], 600)))
    scores = evaluated(run, write_real(tmp_path / "r.csv", frame), "--target", "work")
    assert abs(scores["downstream"]["scores"]["real"]["roc_auc"] - 0.5) < 0.12
    told = evaluated(run, write_real(tmp_path / "told.csv", real_frame(600)), "--target", "work")
    scores = told["downstream"]["scores"]
    assert scores["real"]["roc_auc"] > 0.6
    assert scores["synthetic"]["roc_auc"] > 0.6  # a table of age and work was met


@pytest.mark.parametrize(
    ("change", "target", "words"),
    [
        ({"work": pl.lit("yes")}, "work", "all real records have `yes`"),
        ({"age": pl.lit(40)}, "age", "all real records have the same value"),
        ({"mode": pl.lit(None, pl.String)}, "mode", "0 real records have it; at least 20"),
    ],
)
def test_targets_that_say_nothing_are_refused(run, tmp_path, capsys, change, target, words):
    path = write_real(tmp_path / "real.csv", real_frame(60).with_columns(**change))
    assert main(["evaluate", str(run), str(path), "--target", target]) == 2
    assert words in capsys.readouterr().err


def test_bins_are_predicted_as_classes(run, tmp_path):
    age = pl.col("age")
    bins = pl.when(age < 40).then(pl.lit("18-39")).when(age < 65).then(pl.lit("40-64"))
    frame = real_frame().with_columns(age=bins.otherwise(pl.lit("65+")))
    path = write_real(tmp_path / "real.csv", frame)
    found = evaluated(run, path, "--target", "age")
    assert found["downstream"]["task"] == "classes"
    assert found["numbers"] == []
    assert found["microdata"]["in_bins"] == ["age"]


@pytest.mark.parametrize("weighted", [False, True])
def test_the_quality_score_is_sdmetrics_own(run, tmp_path, weighted):
    path = write_real(tmp_path / "real.csv", real_frame(400, missing=0.05))
    options = ["--weight", "weight"] if weighted else []
    found = evaluated(run, path, "--sdmetrics", *options)["sdmetrics"]
    job, sampler = load_used(RunDirectory(run))
    real = read_microdata(path, sampler.domain, (), "weight" if weighted else None).records
    frames = quality_frames(real, read_synthetic(RunDirectory(run), sampler), job.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sdmetrics.reports import QualityReport

        kinds = {"age": "numerical", "work": "categorical", "mode": "categorical"}
        columns = {name: {"sdtype": kind} for name, kind in kinds.items()}
        report = QualityReport()
        report.generate(
            {"t": frames[0]},
            {"t": frames[1]},
            {"tables": {"t": {"columns": columns}}},
            verbose=False,
        )
        shapes, trends = report.get_properties()["Score"]
    assert found["name"] == "SDMetrics QualityReport"
    assert found["overall"] == pytest.approx(report.get_score(), abs=EXACT)
    assert found["column_shapes"] == pytest.approx(shapes, abs=EXACT)
    assert found["column_pair_trends"] == pytest.approx(trends, abs=EXACT)
    if not weighted:  # its frames are the records themselves
        given = pl.read_csv(path)
        assert frames[0]["mode"].fillna("").tolist() == given["mode"].fill_null("").to_list()
        assert frames[0]["age"].fillna(0).tolist() == given["age"].fill_null(0).to_list()


@pytest.mark.parametrize(
    ("option", "library", "words"),
    [
        (("--target", "mode"), "sklearn", "--target needs scikit-learn, which is not installed"),
        (("--sdmetrics",), "sdmetrics.reports", "--sdmetrics needs SDMetrics 0.32 or newer"),
    ],
)
def test_without_the_extra_the_rest_is_computed(
    run, tmp_path, capsys, monkeypatch, option, library, words
):
    path = write_real(tmp_path / "real.csv", real_frame())
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed
    assert main(["evaluate", str(run), str(path), *option]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert "pip install 'llmsynthor[evaluate]'" in told
    found = evaluated(run, path)
    assert found["downstream"] is None
    assert found["sdmetrics"] is None
    assert found["combinations"]["pairs"]["compared"] == 3
