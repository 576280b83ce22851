"""`llmsynthor evaluate`: its figures equal another reckoning, its page and its words."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from real_records import real_frame, write_real
from scipy.stats import binom, wasserstein_distance
from small_job import write_job

from llmsynthor.cli.main import main

BINS = {"age": [18, 40, 65, 91]}
NAMES = ("age", "work", "mode")
EXACT = 1e-9


@pytest.fixture(scope="module")
def run(small_run, tmp_path_factory) -> Path:
    """Return a copy of a run, since each evaluation is written into it."""
    return Path(shutil.copytree(small_run, tmp_path_factory.mktemp("copy") / "out"))


def evaluated(run: Path, real: Path, *options: str) -> dict:
    assert main(["evaluate", str(run), str(real), *options]) == 0
    return json.loads((run / "evaluation.json").read_text())


def synthetic(run: Path) -> pd.DataFrame:
    files = sorted((run / "data").glob("*.parquet"))
    return pandas(pl.concat([pl.read_parquet(file) for file in files]))


def pandas(frame: pl.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(frame.to_dict(as_series=False))


def binned(frame: pd.DataFrame) -> pd.DataFrame:
    age = pd.cut(frame["age"], BINS["age"], right=False, labels=["18-39", "40-64", "65+"])
    return frame.assign(age=age.astype(object)).astype({"work": object, "mode": object})


def shares(frame: pd.DataFrame, scope: list[str], weights: pd.Series | None = None) -> pd.Series:
    levels = {
        "age": ["18-39", "40-64", "65+"],
        "work": ["yes", "no"],
        "mode": ["car", "bus", "walk"],
    }
    mass = pd.Series(1.0, frame.index) if weights is None else weights
    whole = frame[scope].notna().all(axis=1)
    summed = mass[whole].groupby([frame.loc[whole, name] for name in scope]).sum()
    index = pd.MultiIndex.from_product([levels[name] for name in scope])
    return (summed / summed.sum()).reindex(index, fill_value=0.0)


def floor(target: np.ndarray, rows: int) -> float:
    m = np.floor(rows * target) + 1
    return float((m * (1 - target) * binom.pmf(m, rows, target)).sum() / rows)


def maximum_entropy(scope: list[str]) -> pd.Series:
    """Fit the small job's control tables and rule by proportional fitting of the whole array."""
    age_work = np.array([[220, 80], [170, 60], [10, 60]]) / 600
    mode = np.array([300, 180, 120]) / 600
    share = np.ones((3, 2, 3))
    share[2, :, 0] *= 13 / 16  # of 16 points from 65 to 91, those below 86 may drive
    for _ in range(500):
        share *= (age_work / share.sum(axis=2))[:, :, None]
        share *= mode / share.sum(axis=(0, 1))
    away = tuple(axis for axis, name in enumerate(NAMES) if name not in scope)
    return share.sum(axis=away).ravel()


@pytest.mark.parametrize("weighted", [False, True])
def test_pairs_and_triples_equal_another_reckoning(run, tmp_path, weighted):
    frame = real_frame(missing=0.06)
    path = write_real(tmp_path / "real.csv", frame)
    found = evaluated(run, path, *(["--weight", "weight"] if weighted else []))
    real, made = binned(pandas(frame)), binned(synthetic(run))
    entries = [
        *found["combinations"]["pairs"]["scopes"],
        *found["combinations"]["triples"]["scopes"],
    ]
    assert {tuple(e["scope"]) for e in entries} == {
        *itertools.combinations(NAMES, 2),
        NAMES,
    }
    marks = {("age", "work"): "control", ("work", "mode"): "validate"}
    for entry in entries:
        scope = entry["scope"]
        whole = real[scope].notna().all(axis=1)
        weights = real.loc[whole, "weight"] if weighted else pd.Series(1.0, real.index[whole])
        target = shares(real, scope, real["weight"] if weighted else None)
        apart = shares(made, scope) - target
        effective = weights.sum() ** 2 / (weights**2).sum()
        noise = floor(target.to_numpy(), round(effective))
        maxent = np.abs(maximum_entropy(scope) - target.to_numpy()).sum() / 2
        assert entry["coverage"] == marks.get(tuple(scope), "none")
        assert entry["rows"] == whole.sum() < 900
        assert entry["cells"] == len(target)
        assert entry["tvd"] == pytest.approx(apart.abs().sum() / 2, abs=EXACT)
        srmse = math.sqrt((apart**2).mean()) / target.mean()
        assert entry["srmse"] == pytest.approx(srmse, abs=EXACT)
        assert entry["noise_floor_tvd"] == pytest.approx(noise, abs=EXACT)
        assert entry["maxent_tvd"] == pytest.approx(maxent, abs=1e-7)  # both are iterations
        assert entry["ratio_maxent"] == pytest.approx(entry["tvd"] / entry["maxent_tvd"])
        assert entry["ratio_noise_floor"] == pytest.approx(entry["tvd"] / noise)
    uncovered = [e for e in entries if e["coverage"] != "control" and len(e["scope"]) == 2]
    means = found["combinations"]["pairs"]["summary"]["uncovered"]
    assert means["number"] == len(uncovered) == 2
    for key in ("tvd", "srmse", "noise_floor_tvd", "maxent_tvd"):
        assert means[key] == pytest.approx(np.mean([e[key] for e in uncovered]), abs=EXACT)
    assert means["ratio_maxent"] == pytest.approx(means["tvd"] / means["maxent_tvd"], abs=EXACT)
    assert means["ratio_noise_floor"] == pytest.approx(
        means["tvd"] / means["noise_floor_tvd"], abs=EXACT
    )
    assert found["microdata"]["missing"] == {n: int(real[n].isna().sum()) for n in NAMES}


@pytest.mark.parametrize("weighted", [False, True])
def test_feasibility_and_diversity_equal_another_reckoning(run, tmp_path, weighted):
    frame = real_frame(40, missing=0.05)
    path = write_real(tmp_path / "real.parquet", frame)
    found = evaluated(run, path, *(["--weight", "weight"] if weighted else []))["support"]
    real, made = binned(pandas(frame)), binned(synthetic(run))
    real = real[real[list(NAMES)].notna().all(axis=1)]
    there = set(real[list(NAMES)].itertuples(index=False, name=None))
    own = set(made[list(NAMES)].itertuples(index=False, name=None))
    weights = real["weight"] if weighted else pd.Series(1.0, real.index)
    covered = np.array([row in own for row in real[list(NAMES)].itertuples(index=False, name=None)])
    occurs = [row in there for row in made[list(NAMES)].itertuples(index=False, name=None)]
    assert len(there) < len(own)
    assert found["rows"] == len(real) < 40
    assert found["all"]["feasibility"] == pytest.approx(np.mean(occurs), abs=EXACT)
    assert 0 < found["all"]["feasibility"] < 1
    assert found["all"]["diversity"] == pytest.approx(
        weights[covered].sum() / weights.sum(), abs=EXACT
    )
    distinct = len(own & there) / len(there)
    assert found["all"]["diversity_distinct"] == pytest.approx(distinct, abs=EXACT)
    assert found["all"]["combinations"] == len(own)
    assert found["all"]["real_combinations"] == len(there)
    halves = found["halves"]
    assert (halves["records"], halves["against"]) == (len(real) // 2, len(real) - len(real) // 2)
    for source in ("real", "synthetic", "maximum_entropy", "independent"):
        assert 0 < halves[source]["feasibility"] <= 1
        assert halves[source]["real_combinations"] <= len(there)


def test_a_run_that_holds_the_real_records_is_at_its_best(run, tmp_path):
    frame = pl.DataFrame(synthetic(run).to_dict("list"))
    found = evaluated(run, write_real(tmp_path / "real.csv", frame))
    assert found["combinations"]["pairs"]["summary"]["uncovered"]["tvd"] == 0
    assert found["support"]["all"]["feasibility"] == found["support"]["all"]["diversity"] == 1
    assert found["numbers"][0]["wasserstein"] == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_the_distance_of_numbers_is_scipys(run, tmp_path, weighted):
    frame = real_frame(missing=0.1)
    path = write_real(tmp_path / "real.csv", frame)
    (found,) = evaluated(run, path, *(["--weight", "weight"] if weighted else []))["numbers"]
    real = frame.drop_nulls("age")
    weights = real["weight"].to_numpy() if weighted else np.ones(real.height)
    age, made = real["age"].to_numpy(), synthetic(run)["age"].to_numpy()
    mean = np.average(age, weights=weights)
    deviation = math.sqrt(np.average((age - mean) ** 2, weights=weights))
    distance = wasserstein_distance(age, made, weights)
    assert found["wasserstein"] == pytest.approx(distance, abs=EXACT)
    assert found["share_of_deviation"] == pytest.approx(distance / deviation, abs=EXACT)
    assert found["mean"] == pytest.approx({"real": mean, "synthetic": made.mean()}, abs=EXACT)
    assert found["deviation"] == pytest.approx(
        {"real": deviation, "synthetic": made.std()}, abs=EXACT
    )
    assert found["rows"] == real.height
    assert found["unit"] == "years"
    assert 0 < found["halves"] < 3 * deviation


def test_the_order_of_what_is_drawn_depends_on_the_seed_alone(run, tmp_path):
    path = write_real(tmp_path / "real.csv", real_frame())
    options = ["--target", "mode", "--weight", "weight"]
    first = evaluated(run, path, *options)
    content = (run / "evaluation.json").read_bytes()
    assert evaluated(run, path, *options) == first
    assert (run / "evaluation.json").read_bytes() == content


def test_triples_beyond_the_most_are_drawn_and_that_is_said(tmp_path, capsys):
    variables = {f"v{i}": {"type": "category", "values": ["a", "b"]} for i in range(6)}
    job = write_job(tmp_path, variables=variables, tables=[{"file": "v0.csv"}], rules=[])
    (tmp_path / "v0.csv").write_text("v0,count\na,5\nb,5\n")
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    random = np.random.default_rng(2)
    frame = pl.DataFrame({name: random.choice(["a", "b"], 60) for name in variables})
    path = write_real(tmp_path / "real.csv", frame)
    found = evaluated(tmp_path / "out", path, "--most-triples", "7")["combinations"]
    scopes = {tuple(e["scope"]) for e in found["triples"]["scopes"]}
    assert (found["triples"]["whole"], found["triples"]["compared"], len(scopes)) == (20, 7, 7)
    assert scopes < set(itertools.combinations(variables, 3))
    assert found["pairs"]["compared"] == found["pairs"]["whole"] == 15
    assert "7 of 20 triples, drawn with the job's seed" in capsys.readouterr().err
    assert "7 of 20 triples were compared" in (tmp_path / "out" / "report.html").read_text()
    none = evaluated(tmp_path / "out", path, "--most-triples", "0")["combinations"]["triples"]
    assert (none["compared"], none["summary"]) == (0, {})


def test_nothing_of_the_records_but_aggregates_is_written(run, tmp_path):
    frame = real_frame().with_columns(secret=pl.Series([f"person-{i:05d}" for i in range(900)]))
    before = {p.name for p in run.rglob("*")}
    evaluated(run, write_real(tmp_path / "people.csv", frame), "--target", "mode", "--sdmetrics")
    after = {p.name for p in run.rglob("*")}
    assert after - before <= {"evaluation.json"}
    for name in ("evaluation.json", "report.html", "report.json"):
        text = (run / name).read_text()
        assert "person-" not in text
        assert "secret" not in text
    assert "people.csv" in (run / "report.html").read_text()


def test_the_page_keeps_the_section_and_overwriting_takes_it_away(tmp_path):
    job = write_job(tmp_path)
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    page = tmp_path / "out" / "report.html"
    assert "Against real records" not in page.read_text()
    found = evaluated(tmp_path / "out", write_real(tmp_path / "real.csv", real_frame()))
    shown = page.read_text()
    assert "Against real records" in shown
    assert found["microdata"]["sha256"] in shown
    means = found["combinations"]["pairs"]["summary"]["uncovered"]
    assert f">{means['tvd']:.4f}</td>" in shown
    assert main(["report", str(tmp_path / "out")]) == 0
    assert page.read_text() == shown
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "--overwrite", "-q"]) == 0
    assert "Against real records" not in page.read_text()
    assert not (tmp_path / "out" / "evaluation.json").exists()


def test_the_terminal_has_the_figures_within_80_columns(run, tmp_path, capsys):
    path = write_real(tmp_path / "real.csv", real_frame(missing=0.02))
    capsys.readouterr()
    found = evaluated(run, path, "--target", "age", "--sdmetrics", "--weight", "weight")
    printed = capsys.readouterr()
    assert printed.out == f"{run / 'report.html'}\n"
    story = printed.err.replace(str(run), "")
    assert max(map(len, story.splitlines())) <= 80
    support, scores = found["support"], found["downstream"]["scores"]
    for figure in (
        found["combinations"]["pairs"]["summary"]["uncovered"]["tvd"],
        found["combinations"]["triples"]["summary"]["uncovered"]["maxent_tvd"],
        support["all"]["feasibility"],
        support["halves"]["real"]["diversity"],
        found["numbers"][0]["share_of_deviation"],
        scores["synthetic"]["mae"],
        scores["real"]["r2"],
        found["sdmetrics"]["overall"],
    ):
        assert f"{figure:.4f}" in story
    assert re.search(r"worth [56]\d\d of\s+equal weight", story)


def test_json_is_all_that_stdout_gets(run, tmp_path, capsys):
    path = write_real(tmp_path / "real.csv", real_frame())
    capsys.readouterr()
    found = evaluated(run, path, "--json", "--sdmetrics")
    assert json.loads(capsys.readouterr().out) == found
