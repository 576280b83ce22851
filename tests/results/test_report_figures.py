"""The report's figures equal an independent recomputation from the parquet files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import wasserstein_distance
from scipy.stats.contingency import association
from small_job import report, write_job

from llmsynthor.cli.main import main
from llmsynthor.results.report.variables import cramers_v, percent_differences

if TYPE_CHECKING:
    from pathlib import Path

ZONES = [f"z{k:02d}" for k in range(36)]
WANTED = {zone: (k % 7, 3 + k % 5) for k, zone in enumerate(ZONES)}
"""Records in each zone that do not work and do; some zones want nobody who does not."""
EDGES = {"18-39": (18, 40), "40-64": (40, 65), "65+": (65, 91)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over zones; a table that disagrees is soft, so that errors are not all 0."""
    folder = tmp_path_factory.mktemp("zones")
    total = sum(map(sum, WANTED.values()))
    job = write_job(
        folder,
        records=total,
        rules=[],
        variables={
            "age": {"type": "integer", "min": 18, "max": 90, "unit": "years"},
            "work": {"type": "category", "values": ["yes", "no"]},
            "mode": {"type": "category", "values": ["car", "bus", "walk"], "ordered": True},
            "zone": {"type": "category", "values": ZONES},
        },
        tables=[
            {"file": "zone_work.csv", "tolerance": 0.2, "weight": 0.5},
            {"file": "age_work.csv", "tolerance": 0.2},
            {"file": "mode.csv", "tolerance": 0.05},
            {"file": "work_mode.csv", "role": "validate"},
        ],
    )
    lines = [f"{z},no,{no}\n{z},yes,{yes}\n" for z, (no, yes) in WANTED.items()]
    (folder / "zone_work.csv").write_text("zone,work,count\n" + "".join(lines))
    out = folder / "run"
    assert main(["run", str(job), "--out", str(out)]) in (0, 3)
    return out


@pytest.fixture(scope="module")
def records(run: Path) -> pl.DataFrame:
    frame = pl.concat([pl.read_parquet(file) for file in sorted((run / "data").glob("*"))])
    return frame.with_columns(pl.col("work", "mode", "zone").cast(pl.String))


def target(run: Path, position: int) -> pl.DataFrame:
    frame = pl.read_csv(run / "tables_used" / f"{position:03d}.csv", infer_schema=False)
    return frame.with_columns(pl.col("count").cast(pl.Float64))


def crossed(first: list[Any], second: list[Any]) -> np.ndarray:
    rows, columns = sorted(set(first)), sorted(set(second))
    counts = np.zeros((len(rows), len(columns)), dtype=int)
    for a, b in zip(first, second, strict=True):
        counts[rows.index(a), columns.index(b)] += 1
    return counts


def in_bins(ages: list[int]) -> list[str]:
    return [next(b for b, (low, high) in EDGES.items() if low <= age < high) for age in ages]


def test_cramers_v_of_every_pair_is_scipys(run: Path, records: pl.DataFrame) -> None:
    columns = {name: records[name].to_list() for name in ("work", "mode", "zone")}
    columns["age"] = in_bins(records["age"].to_list())
    pairs = {frozenset(p["variables"]): p for p in report(run)["association"]}
    assert len(pairs) == 6
    for pair, found in pairs.items():
        first, second = sorted(pair)
        expected = association(crossed(columns[first], columns[second]), method="cramer")
        assert found["v"] == pytest.approx(expected, abs=1e-9)
    given = pairs[frozenset(("work", "mode"))]["target"]
    cells = target(run, 3)["count"].to_numpy().reshape(2, 3).astype(int)
    assert given["table"] == "work_mode"
    assert given["role"] == "validate"
    assert given["v"] == pytest.approx(association(cells, method="cramer"), abs=1e-9)
    assert given["v_synthetic"] == pairs[frozenset(("work", "mode"))]["v"]
    assert pairs[frozenset(("mode", "zone"))]["target"] is None


def test_earth_movers_distance_is_scipys(run: Path, records: pl.DataFrame) -> None:
    found = {entry["variable"]: entry for entry in report(run)["ordered"]}
    assert set(found) == {"age", "mode"}  # `work` and `zone` have no order

    order = ["car", "bus", "walk"]
    wanted = dict(target(run, 2).iter_rows())
    held = [records["mode"].to_list().count(mode) for mode in order]
    expected = wasserstein_distance(range(3), range(3), [wanted[m] for m in order], held)
    assert found["mode"]["emd"] == pytest.approx(expected, abs=1e-9)
    assert found["mode"]["emd_unit"] is None

    table = target(run, 1).group_by("age").agg(pl.col("count").sum())
    wanted = dict(table.iter_rows())
    bins = in_bins(records["age"].to_list())
    held = [bins.count(b) for b in EDGES]
    shares = [wanted[b] for b in EDGES]
    middles = [(low + high) / 2 for low, high in EDGES.values()]
    age = found["age"]
    assert age["emd"] == pytest.approx(
        wasserstein_distance(range(3), range(3), shares, held), abs=1e-9
    )
    assert age["emd_unit"] == pytest.approx(
        wasserstein_distance(middles, middles, shares, held), abs=1e-9
    )
    assert age["unit"] == "years"
    assert age["edges"] == [40, 65, 91]
    assert age["low"] == 18
    assert age["cumulative"] == pytest.approx(np.cumsum(held) / sum(held), abs=1e-9)


def test_zones_have_populationsims_figures(run: Path, records: pl.DataFrame) -> None:
    (zones,) = report(run)["zones"]
    assert zones["variable"] == "zone"
    assert zones["categories"] == 36
    (table,) = zones["tables"]
    held = {
        work: np.array(
            [records.filter((pl.col("zone") == z) & (pl.col("work") == work)).height for z in ZONES]
        )
        for work in ("yes", "no")
    }
    wanted = {
        "no": np.array([WANTED[z][0] for z in ZONES]),
        "yes": np.array([WANTED[z][1] for z in ZONES]),
    }
    for control in table["controls"]:
        work = control["control"].removeprefix("work=")
        made, goal = held[work], wanted[work]
        there = goal > 0
        percent = 100 * (made[there] - goal[there]) / goal[there]
        number = int(there.sum())
        square = ((made[there] - goal[there]) ** 2).sum()
        rmse = np.sqrt(square / (number - 1)) / goal[there].sum() * number * 100
        assert control["zones"] == number
        assert control["mean_percent"] == pytest.approx(np.mean(percent), abs=1e-9)
        assert control["sd_percent"] == pytest.approx(np.std(percent, ddof=1), abs=1e-9)
        assert control["rmse_percent"] == pytest.approx(rmse, abs=1e-9)
    apart = sum(abs(held[w] - wanted[w]) for w in held)
    error = 100 * apart / (wanted["no"] + wanted["yes"])
    assert error.max() > 0, "the fixture must have errors"
    assert table["error_percent"]["median"] == pytest.approx(np.median(error), abs=1e-9)
    assert table["error_percent"]["p95"] == pytest.approx(np.percentile(error, 95), abs=1e-9)
    assert table["error_percent"]["max"] == pytest.approx(error.max(), abs=1e-9)
    assert sum(table["error_percent"]["counts"]) == 36
    assert table["beyond"] == (error > zones["threshold_percent"]).sum()
    assert table["worst"][0]["error_percent"] == pytest.approx(error.max(), abs=1e-9)


def test_copies_are_counted_over_all_files(run: Path, records: pl.DataFrame) -> None:
    groups: dict[tuple[Any, ...], int] = {}
    for row in records.iter_rows():
        groups[row] = groups.get(row, 0) + 1
    assert report(run)["copies"] == {
        "distinct": len(groups),
        "distinct_share": pytest.approx(len(groups) / records.height, abs=1e-12),
        "records_with_a_twin": sum(n for n in groups.values() if n > 1),
        "most_alike": max(groups.values()),
    }


def test_attempts_tell_versions_but_not_where(run: Path) -> None:
    (attempt,) = report(run)["attempts"]
    assert set(attempt) == {"start", "end", "reason", "versions", "git"}
    assert {"python", "polars", "numpy"} <= set(attempt["versions"])


def test_the_page_of_a_run_is_written_again_with_the_same_bytes(run: Path) -> None:
    before = (run / "report.html").read_bytes()
    assert main(["report", str(run)]) in (0, 3)
    assert (run / "report.html").read_bytes() == before


def test_v_is_unknown_where_nothing_varies_and_ignores_empty_rows() -> None:
    assert cramers_v(np.array([[3.0, 2.0], [0.0, 0.0]])) is None
    table = np.array([[5, 1, 0], [2, 7, 0], [0, 0, 0]])
    expected = association(table[:2, :2], method="cramer")
    assert cramers_v(table.astype(float)) == pytest.approx(expected, abs=1e-12)


def test_percent_differences_of_too_few_zones_are_unknown() -> None:
    nothing = percent_differences(np.zeros(3), np.ones(3))
    assert nothing["zones"] == 0
    assert nothing["mean_percent"] is None
    one = percent_differences(np.array([4.0, 0.0]), np.array([5.0, 2.0]))
    assert one["mean_percent"] == 25.0
    assert one["sd_percent"] is None
    assert one["rmse_percent"] is None
