"""`llmsynthor tables`: from real records to a job that runs, with odd columns, noise and bad input."""

from __future__ import annotations

import csv
import json
import random
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmsynthor.cli.main import main
from llmsynthor.cli.start import parse_joints, parse_names, parse_pairs
from llmsynthor.files.bins import parse_bin
from llmsynthor.job.load import load_job
from llmsynthor.starting.from_records.bins import cut
from llmsynthor.starting.from_records.noise import (
    expected_size,
    margin_of_error,
    to_total,
    whole_laplace,
)
from llmsynthor.starting.from_records.strength import chance, mutual_information
from llmsynthor.targets.build import load_tables

if TYPE_CHECKING:
    from pathlib import Path


def people(count: int = 400, seed: int = 1) -> list[dict[str, str]]:
    """Return records in which mode depends on age, and work on both, and nothing else."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        age = min(max(int(draw.gauss(42, 16)), 0), 95)
        mode = draw.choice(["car", "car", "bus"] if age > 30 else ["bike", "bus"])
        work = "yes" if 18 < age < 65 and draw.random() < 0.8 else "no"
        wage = 0 if work == "no" else round(draw.lognormvariate(10, 0.5), 2)
        rows.append({"person_id": f"p{number}", "age": age, "mode": mode, "work": work, "wage": wage,
                     "children": draw.choice("00123")})  # fmt: skip
    return [{k: str(v) for k, v in row.items()} for row in rows]


def write_csv(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def tables(source: Path, out: Path, *options: str) -> int:
    return main(["tables", str(source), "--out", str(out), *options])


def marginal(folder: Path, name: str) -> dict[str, float]:
    """Return the counts of a variable, from whichever control table has it."""
    specs = load_job(folder / "job.yaml").job.tables
    for spec in specs:
        with (folder / spec.file).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        if spec.role == "control" and name in rows[0]:
            found: dict[str, float] = {}
            for row in rows:
                found[row[name]] = found.get(row[name], 0) + float(row["count"])
            return found
    raise AssertionError(name)


def test_the_job_runs_as_it_is_and_meets_the_records_counts(tmp_path, capsys):
    rows = people()
    source = write_csv(tmp_path / "survey.csv", rows)
    assert tables(source, tmp_path / "my") == 0
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'my' / 'job.yaml'}\n"
    assert "person_id: looks like an identifier or free text" in captured.err
    assert "age x " in captured.err
    job = tmp_path / "my" / "job.yaml"
    assert (
        main(["run", str(job), "--set", "provider.model=none", "--out", str(tmp_path / "r"), "-q"])
        == 0
    )
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert {t["tae"] for t in report["tables"] if t["role"] == "control"} == {0}
    work = [row["work"] for row in rows]
    assert marginal(tmp_path / "my", "work") == {w: work.count(w) for w in set(work)}
    kept = load_job(job).job
    assert kept.records == 400
    assert kept.variables["children"].values == ["0", "1", "2", "3"]
    assert kept.variables["children"].ordered
    assert kept.variables["age"].type == "integer"
    assert kept.variables["wage"].type == "number"


def test_no_record_and_no_folder_of_the_user_is_in_the_output(tmp_path):
    source = write_csv(tmp_path / "survey.csv", people())
    assert tables(source, tmp_path / "my") == 0
    text = "".join(p.read_text() for p in (tmp_path / "my").rglob("*") if p.is_file())
    assert "p17" not in text
    assert str(tmp_path) not in text


def test_bins_types_joints_and_variables_are_as_asked(tmp_path):
    source = write_csv(tmp_path / "survey.csv", people())
    assert tables(
        source, tmp_path / "my", "--bins", "age=0,18,65", "--bins", "wage=width:20000",
        "--type", "children=integer", "--joints", "age*mode*work,children*mode",
        "--strongest", "1", "--hold-out", "1", "--variables", "age,wage,children,mode,work",
    ) == 0  # fmt: skip
    names = sorted(p.stem for p in (tmp_path / "my" / "tables").glob("*.csv"))
    assert {"age_mode_work", "children_mode"} < set(names)
    ages = marginal(tmp_path / "my", "age")
    assert [label.split("-")[0] for label in ages] == ["0", "18", "65"]
    job = load_job(tmp_path / "my" / "job.yaml")
    assert job.job.variables["children"].type == "integer"
    assert [t.role for t in job.job.tables].count("validate") == 1
    load_tables(job)


ODD = [
    "with space",
    "da-sh",
    'quo"te',
    "ünï/코드",
    "count",
    "share",
    "and",
    "a*b",
    "c,d",
    "null",
    "7",
]


def test_odd_column_names_and_labels_survive(tmp_path):
    draw = random.Random(2)
    labels = ["a b", "c,d", 'e"f', "g'h", "null", "- x", ": y", "#z", "yes", "é", "{% raw %}"]
    rows = [{name: draw.choice(labels) for name in ODD} for _ in range(200)]
    source = write_csv(tmp_path / "odd names.csv", rows)
    options = ["--joints", '"c,d"*"a*b"', "--hold-out", "0"]
    assert tables(source, tmp_path / "my", *options) == 0
    job = tmp_path / "my" / "job.yaml"
    assert list(load_job(job).job.variables) == [
        {"count": "count_", "share": "share_"}.get(name, name) for name in ODD
    ]
    assert load_job(job).job.variables["null"].values == sorted(set(labels))
    assert (
        main(["run", str(job), "--set", "provider.model=none", "--out", str(tmp_path / "r"), "-q"])
        == 0
    )
    made = pl.read_parquet(tmp_path / "r" / "data" / "*.parquet")
    assert sorted(made['quo"te'].to_list()) == sorted(row['quo"te'] for row in rows)


def test_values_are_read_as_what_they_are(tmp_path, capsys):
    draw = random.Random(3)
    days = [date(2024, 1, 1) + timedelta(days=i % 90) for i in range(100)]
    rows = [
        {"day": str(days[i]), "zip": draw.choice(["00501", "99999"]), "sales": f"{draw.randint(0, 9000):,}",
         "change": str(draw.randint(-40, 40)), "code": draw.choice(["1.0", "2.0", "NA"]),
         "band": draw.choice(["5-15", "16-24", "65+"]), "empty": "", "same": "k",
         "town": f"t{i % 40}" if i % 2 else f"u{i}", "answer": draw.choice(["x", ""])}
        for i in range(100)
    ]  # fmt: skip
    source = write_csv(tmp_path / "v.csv", rows)
    assert tables(source, tmp_path / "my") == 0
    told = capsys.readouterr().err
    assert "day: holds dates; make a column of what matters in them" in told
    assert "empty: holds no value" in told
    assert "same: has the same value in every record" in told
    assert "is read as" in told
    made = load_job(tmp_path / "my" / "job.yaml").job.variables
    assert made["zip"].values == ["00501", "99999"]
    assert made["sales"].type == "integer"
    assert made["change"].min < 0
    assert made["code"].values == ["1", "2", "(missing)"]
    assert made["band"].values == ["5-15", "16-24", "65+"]
    assert made["band"].ordered
    assert made["answer"].values == ["x", "(missing)"]


def test_parquet_with_booleans_nulls_dates_and_lists(tmp_path, capsys):
    frame = pl.DataFrame(
        {
            "b": [True, False, None, True] * 30,
            "d": [date(2024, 1, 1) + timedelta(days=i % 50) for i in range(120)],
            "f": [float("nan") if i % 40 == 0 else i * 0.5 + 0.25 for i in range(120)],
            "l": [[1]] * 120,
            "c": pl.Series(["a", "b", "a"] * 40, dtype=pl.Categorical),
            "t": [timedelta(seconds=i) for i in range(120)],
        }
    )
    frame.write_parquet(tmp_path / "p.parquet")
    assert tables(tmp_path / "p.parquet", tmp_path / "my") == 0
    told = capsys.readouterr().err
    assert "117 of 120 records counted" in told
    assert "dropped: 3 records have no `f`" in told
    made = load_job(tmp_path / "my" / "job.yaml").job
    assert list(made.variables) == ["b", "f", "c"]
    assert made.variables["b"].values == ["false", "true", "(missing)"]
    assert tables(tmp_path / "p.parquet", tmp_path / "all", "--missing", "category") == 0
    assert load_job(tmp_path / "all" / "job.yaml").job.variables["f"].values[-1] == "(missing)"
    assert tables(tmp_path / "p.parquet", tmp_path / "few", "--missing", "drop") == 0
    assert (
        load_job(tmp_path / "few" / "job.yaml").job.records
        == frame.drop_nans("f").drop_nulls().height
    )


def test_too_many_categories_are_left_out_and_rare_ones_merged_only_on_demand(tmp_path, capsys):
    rows = [{"shop": f"s{i % 350}" if i < 700 else "s0", "size": "SML"[i % 3]} for i in range(900)]
    source = write_csv(tmp_path / "v.csv", rows)
    assert tables(source, tmp_path / "a") == 0
    assert "shop: has 350 categories, more than 300" in capsys.readouterr().err
    assert tables(source, tmp_path / "b", "--rare", "5") == 0
    assert (
        "349 categories with fewer than 5 records (698 records together) are merged into `other`"
        in (capsys.readouterr().err)
    )
    assert marginal(tmp_path / "b", "shop") == {"s0": 202, "other": 698}
    assert tables(source, tmp_path / "c", "--variables", "shop") == 2


def test_weights_make_the_counts(tmp_path):
    rows = [r | {"w": str(0.5 + i % 3)} for i, r in enumerate(people(200))]
    source = write_csv(tmp_path / "v.csv", rows)
    assert tables(source, tmp_path / "my", "--weight", "w") == 0
    expected: dict[str, float] = {}
    for row in rows:
        expected[row["mode"]] = expected.get(row["mode"], 0) + float(row["w"])
    assert marginal(tmp_path / "my", "mode") == pytest.approx(expected)
    assert "w" not in load_job(tmp_path / "my" / "job.yaml").job.variables
    job = str(tmp_path / "my" / "job.yaml")
    assert (
        main(["run", job, "--set", "provider.model=none", "--out", str(tmp_path / "r"), "-q"]) == 0
    )


def test_noise_is_said_seeded_only_with_a_warning_and_the_job_runs(tmp_path, capsys):
    source = write_csv(tmp_path / "v.csv", people(1500))
    noisy = [
        "--epsilon",
        "4",
        "--variables",
        "mode,work,children",
        "--strongest",
        "1",
        "--hold-out",
        "0",
    ]
    for name in ("a", "b"):
        assert tables(source, tmp_path / name, *noisy, "--seed", "5") == 0
        assert "NOT PRIVATE" in capsys.readouterr().err
    assert tables(source, tmp_path / "c", *noisy) == 0
    assert "NOT PRIVATE" not in capsys.readouterr().err
    files = {n: (tmp_path / n / "tables" / "children.csv").read_text() for n in "abc"}
    assert files["a"] == files["b"] != files["c"]
    with (tmp_path / "a" / "tables" / "children.csv").open() as file:
        found = list(csv.DictReader(file))
    assert sum(int(row["count"]) for row in found) == 1500
    assert {row["moe"] for row in found} == {f"{margin_of_error(1.0):.4g}"}
    told = (tmp_path / "c" / "README.txt").read_text()
    assert "scale 1 = 4 tables / epsilon 4" in told
    assert "sha256" not in told
    job = str(tmp_path / "c" / "job.yaml")
    assert (
        main(["run", job, "--set", "provider.model=none", "--out", str(tmp_path / "r"), "-q"]) == 0
    )


def test_a_folder_that_is_there_is_left_alone(tmp_path, capsys):
    source, out = write_csv(tmp_path / "v.csv", people()), tmp_path / "my"
    plain = ["--strongest", "0", "--hold-out", "0"]
    out.mkdir()
    (out / "thesis.docx").write_text("mine")
    assert tables(source, out, *plain) == 2
    assert tables(source, out, *plain, "--overwrite") == 2
    assert "is not empty (`thesis.docx` is there); nothing was written" in capsys.readouterr().err
    (out / "thesis.docx").unlink()
    assert tables(source, out, *plain) == 0
    (out / "thesis.docx").write_text("mine")
    assert tables(source, out, *plain) == 2
    assert tables(source, out, *plain, "--overwrite", "--variables", "age,mode") == 0
    assert (out / "thesis.docx").read_text() == "mine"
    assert not (out / "tables" / "work.csv").exists()
    (out / "job.yaml").write_text("edited")
    capsys.readouterr()
    assert tables(source, out, *plain, "--overwrite") == 2
    assert "job.yaml: was changed since, so it is not replaced" in capsys.readouterr().err
    (out / "job.yaml").unlink()
    (out / "tables" / "work.csv").write_text("mine")
    assert tables(source, out, *plain, "--overwrite") == 2
    assert (out / "tables" / "work.csv").read_text() == "mine"


numbers = st.lists(
    st.one_of(st.integers(-(10**9), 10**9), st.sampled_from([0, 0, 0, 1, 7])),
    min_size=1,
    max_size=200,
)


@given(numbers, st.sampled_from(["integer", "number"]), st.integers(0, 5), st.integers(1, 12))
@example([1, -9_999_999], "number", 0, 1)  # a last value far below the step of the limits
@settings(max_examples=150)
def test_bins_cover_all_values_and_their_labels_say_which(values, kind, digits, count):
    decimals = digits + 1 if kind == "number" else 0
    array = np.array(values, dtype=float) / 10**decimals
    bins = cut("x", array, kind, decimals, f"quantile:{count}")
    assert len(bins.labels) <= count + 2
    codes = bins.codes(array)
    read = [parse_bin(label, kind, bins.low, bins.high) for label in bins.labels]
    assert [interval.low for interval in read] == list(bins.edges[:-1])
    assert [interval.high for interval in read] == list(bins.edges[1:])
    for value, code in zip(array, codes, strict=True):
        assert read[code].low <= value
        assert value < read[code].high or value == bins.high


@given(st.lists(st.integers(-50, 200), min_size=1, max_size=60), st.integers(1, 5000))
@settings(max_examples=200)
def test_noisy_counts_become_whole_ones_of_the_right_total_as_near_as_can_be(noisy, total):
    found = to_total(np.array(noisy, dtype=float), total)
    assert found.sum() == total
    assert found.min() >= 0
    shift = (found - np.array(noisy))[found > 0]
    assert shift.max() - shift.min() <= 1  # one amount for all that hold somebody, but for rounding
    assert ((np.array(noisy) + shift.max())[found == 0] <= 1).all()


def test_noise_has_the_law_that_epsilon_asks_for():
    drawn = whole_laplace(400_000, 3.0, 11)
    ratio = np.exp(-1 / 3)
    for k in range(-4, 5):
        expected = (1 - ratio) / (1 + ratio) * ratio ** abs(k)
        assert (drawn == k).mean() == pytest.approx(expected, abs=0.003)
    assert np.abs(drawn).mean() == pytest.approx(expected_size(3.0), rel=0.01)
    assert 1.645 * drawn.std() == pytest.approx(margin_of_error(3.0), rel=0.01)
    assert not np.array_equal(whole_laplace(50, 3.0, None), whole_laplace(50, 3.0, None))


def test_mutual_information_equals_scikit_learns_and_chance_is_taken_off():
    from sklearn.metrics import mutual_info_score

    generator = np.random.default_rng(4)
    a = generator.integers(0, 5, 3000)
    b = (a + generator.integers(0, 3, 3000)) % 6
    table = np.zeros((5, 6))
    np.add.at(table, (a, b), 1)
    assert mutual_information(table) == pytest.approx(mutual_info_score(a, b), abs=1e-12)
    found = []
    for _ in range(300):
        free = np.zeros((5, 6))
        np.add.at(free, (a, generator.integers(0, 6, 3000)), 1)
        found.append(mutual_information(free))
    mean, deviation = chance(free, 3000)
    assert np.mean(found) == pytest.approx(mean, rel=0.08)
    assert np.std(found) == pytest.approx(deviation, rel=0.2)


def test_sparse_pairs_without_dependence_are_not_chosen(tmp_path):
    draw = random.Random(5)
    rows = [{"town": f"t{draw.randint(0, 250)}", "colour": draw.choice("rgb")} for _ in range(400)]
    assert tables(write_csv(tmp_path / "v.csv", rows), tmp_path / "my") == 0
    assert sorted(p.stem for p in (tmp_path / "my" / "tables").glob("*")) == ["colour", "town"]


def test_names_with_commas_and_stars_are_quoted():
    assert parse_names(['a,"b,c"', "d"]) == ("a", "b,c", "d")
    assert parse_joints(['a*"b*c",d*e*f']) == (("a", "b*c"), ("d", "e", "f"))
    assert parse_pairs("--bins", ["a=b=1,2"], "") == {"a=b": "1,2"}
