"""Tables with some cells missing: what is known is met to the record, only the rest gives way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from small_job import job_content, report

from llmsynthor.cli.main import main
from llmsynthor.fitting.calibrate import calibrate
from llmsynthor.fitting.controls import Controls, cell_variance, rounding_importance
from llmsynthor.job.load import load_job
from llmsynthor.targets.build import load_tables

if TYPE_CHECKING:
    from pathlib import Path

AGE_WORK = "age,work,count\n18-39,yes,220\n18-39,no,80\n40-64,yes,170\n40-64,no,60\n65+,yes,10\n65+,no,60\n"
MODE = "mode,count\ncar,300\nbus,180\nwalk,120\n"
HOLES = "work,mode,count\nyes,car,260\nyes,bus,*\nyes,walk,*\nno,car,40\nno,bus,*\nno,walk,*\n"


def write_job(folder: Path, holes: str = HOLES, **more: Any) -> Path:
    for name, text in (("age_work", AGE_WORK), ("mode", MODE), ("work_mode", holes)):
        (folder / f"{name}.csv").write_text(text)
    entry = {"file": "work_mode.csv", "missing": {"*": "unknown"}}
    tables = [{"file": "age_work.csv"}, {"file": "mode.csv"}, entry]
    path = folder / "job.yaml"
    content = job_content(tables=tables, provider={"model": "none"}, **more)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_known_cells_are_met_to_the_record_and_the_report_names_the_others(tmp_path, capsys):
    job = write_job(tmp_path)
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    assert (
        "work_mode.csv: 4 of 6 cells are not known; filled to fit the table age_work.csv, the "
        "table mode.csv and the total of age_work.csv; what they leave open may give way\n"
    ) in capsys.readouterr().err
    content = report(tmp_path / "out")
    table = next(table for table in content["tables"] if table["name"] == "work_mode")
    assert [cell["cell"] for cell in table["filled"]["cells"]] == [
        "work=yes, mode=bus", "work=yes, mode=walk", "work=no, mode=bus", "work=no, mode=walk"
    ]  # fmt: skip
    assert table["filled"]["number"] == 4
    assert sum(cell["figure"] for cell in table["filled"]["cells"]) == pytest.approx(300)
    held = cells_made(tmp_path / "out")
    assert (held["yes", "car"], held["no", "car"]) == (260, 40)
    assert "4 cells estimated" in (tmp_path / "out" / "report.html").read_text()


def cells_made(out: Path) -> dict[tuple[str, str], int]:
    import polars as pl

    records = pl.read_parquet(out / "data" / "*.parquet").with_columns(
        pl.col("work", "mode").cast(pl.String)
    )
    return {(a, b): n for a, b, n in records.group_by("work", "mode").len().iter_rows()}


def test_known_margins_that_another_table_has_otherwise_are_refused(tmp_path, capsys):
    job = write_job(tmp_path, HOLES.replace("no,car,40", "no,car,50"), rules=[])
    assert main(["validate", str(job)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: work_mode.csv: mode=car has 310, and 300 in mode.csv\n")


def test_only_what_is_not_known_may_give_way(tmp_path):
    job = write_job(tmp_path)
    table = load_tables(load_job(job, [])).tables[2]
    assert table.firm.tolist() == [True, False, False, True, False, False]
    variance = cell_variance(table, table.wanted(600).ravel())
    assert variance is not None
    assert (variance > 0).tolist() == (~table.firm).tolist()
    assert (rounding_importance([table])[0] >= 1).tolist() == table.firm.tolist()


def test_calibration_meets_a_cell_without_variance_though_others_of_its_table_give_way():
    index = (np.array([0, 1, 2]), np.array([0, 1, 1]))
    target = (np.array([50.0, 30.0, 20.0]), np.array([40.0, 60.0]))
    variance = (np.array([0.0, 4.0, 4.0]), None)
    found = calibrate(Controls(index, target, variance), np.array([0.4, 0.3, 0.3]))
    assert not found.converged  # 50 and 40 exclude each other
    able = Controls(index, (np.array([40.0, 30.0, 20.0]), target[1]), variance)
    found = calibrate(able, np.array([0.4, 0.3, 0.3]))
    assert found.converged
    assert found.weights == pytest.approx([40, 35, 25], abs=1e-3)
    never = Controls(index, (np.array([0.0, 60.0, 40.0]), np.array([0.0, 100.0])), variance)
    assert never.fillable().tolist() == [False, True, True]


def test_known_cells_that_exclude_what_another_table_says_are_reconciled(tmp_path, capsys):
    """Of 400 at work 500 go by car: refused, or the known cells give way as little as they can."""
    job = write_job(tmp_path, HOLES.replace("yes,car,260", "yes,car,500"), rules=[])
    assert main(["validate", str(job)]) == 2
    assert capsys.readouterr().err == (
        "error: work_mode.csv: work=yes is 400 (the table age_work.csv), and its cells hold at least "
        "500\n\nhint: correct the figures, or the ranges in `missing`\n"
    )
    content = yaml.safe_load(job.read_text())
    job.write_text(yaml.safe_dump(content | {"reconcile": "least_squares"}))
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    changes = {t["name"]: t["reconciled"] for t in report(tmp_path / "out")["tables"]}
    assert changes["age_work"] is None
    assert changes["mode"] is None
    assert changes["work_mode"]["worst"]["cell"] == "work=yes, mode=car"
    held = cells_made(tmp_path / "out")
    assert held["yes", "car"] + held.get(("no", "car"), 0) == 300


def test_a_total_that_the_other_sums_exclude_is_an_error_with_both_numbers(tmp_path, capsys):
    """Each sum alone can be met: what is not known of one is determined by the others."""
    holes = (
        "work,mode,count\nyes,car,260\nyes,bus,100\nyes,walk,<5\nno,car,40\nno,bus,80\nno,walk,*\n"
        "Total,car,300\nTotal,bus,180\nno,Total,200\nTotal,Total,{}\n"
    )
    path = write_job(tmp_path)
    entry = {"file": "work_mode.csv", "missing": {"*": "unknown", "<5": [0, 4]}}
    content = yaml.safe_load(path.read_text()) | {"tables": [entry], "records": 600}
    content["engine"] = {"tolerance": 0.5}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    for total, says in ((600, "most 564"), (565, "most 564"), (559, "least 560"), (562, "")):
        (tmp_path / "work_mode.csv").write_text(holes.format(total))
        assert main(["validate", str(path)]) == (2 if says else 0)
        err = capsys.readouterr().err
        if says:
            assert err == (
                f"error: work_mode.csv: work=Total, mode=Total is {total} (its own totals), and its "
                f"cells hold at {says}\n\nhint: correct the figures, or the ranges in `missing`\n"
            )
