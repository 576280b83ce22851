"""Figures that a publisher rounds or hides: how far sums may be off, and what other tables tell."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.cli.main import main
from llmsynthor.job.load import load_job
from llmsynthor.targets.build import load_tables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llmsynthor.targets.table import TableSet

VARIABLES = {
    "sex": {"type": "category", "values": ["female", "male"]},
    "mode": {"type": "category", "values": ["car", "bus", "walk"]},
}


def job_of(folder: Path, files: Mapping[str, tuple[str, dict[str, Any]]], records: int) -> Path:
    for name, (content, _) in files.items():
        (folder / name).write_text(content)
    job = {
        "version": 1,
        "name": "rounded",
        "records": records,
        "variables": VARIABLES,
        "tables": [{"file": name, **more} for name, (_, more) in files.items()],
        "provider": {"model": "none"},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    return folder / "job.yaml"


def read(folder: Path, files: Mapping[str, tuple[str, dict[str, Any]]]) -> TableSet:
    return load_tables(load_job(job_of(folder, files, 100), []))


def validated(job: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(["validate", str(job)])
    return code, capsys.readouterr().err


ROUNDED = "sex,mode,count\nfemale,car,10\nfemale,bus,15\nmale,car,20\nmale,walk,5\n"
"""Rounded to 5 each: 12, 13, 18 and 7 persons, 50 in all."""
SEXES = "sex,count\nfemale,25\nmale,24\nTotal,50\n"


def test_a_total_may_be_off_by_the_rounding_that_is_declared(tmp_path, capsys):
    total = ROUNDED + "Total,Total,60\n"
    hint = (
        "\n\nhint: correct the file, say `rounded_to` where each count was rounded by itself, or leave "
        "the rows out with `drop`\n"
    )
    words = "error: t.csv:6: sex=Total, mode=Total is 60, and its cells add up to 50"
    assert validated(job_of(tmp_path, {"t.csv": (total, {})}, 50), capsys) == (2, words + hint)
    assert validated(job_of(tmp_path, {"t.csv": (total, {"rounded_to": 5})}, 50), capsys)[0] == 0
    far = total.replace("Total,60", "Total,65")  # 4 cells and the total: 2.5 each
    assert validated(job_of(tmp_path, {"t.csv": (far, {"rounded_to": 5})}, 50), capsys) == (
        2,
        words.replace("60", "65") + hint,
    )


def test_tables_may_disagree_by_the_rounding_that_is_declared(tmp_path, capsys):
    sexes = "sex,count\nfemale,26\nmale,24\n"
    exact = {"t.csv": (ROUNDED, {}), "sex.csv": (sexes, {})}
    code, err = validated(job_of(tmp_path, exact, 50), capsys)
    assert code == 2
    assert err.startswith("error: sex.csv: sex=female has 26, and 25 in t.csv\n")
    rounded = {"t.csv": (ROUNDED, {"rounded_to": 5}), "sex.csv": (sexes, {})}
    assert validated(job_of(tmp_path, rounded, 50), capsys)[0] == 0


def test_records_follow_the_exact_table_within_the_rounding_of_the_other(tmp_path):
    sexes = "sex,count\nfemale,26\nmale,24\n"
    files = {"t.csv": (ROUNDED, {"rounded_to": 5}), "sex.csv": (sexes, {})}
    out = tmp_path / "out"
    assert main(["run", str(job_of(tmp_path, files, 50)), "--out", str(out), "-q"]) in (0, 3)
    found = {t["name"]: t for t in json.loads((out / "report.json").read_text())["tables"]}
    assert found["sex"]["tae"] == 0
    assert 0 < found["t"]["tae"] <= 4


TRUE = {("female", "car"): 12, ("female", "bus"): 13, ("male", "car"): 18, ("male", "walk"): 7}


def hidden(*cells: tuple[str, str]) -> str:
    rows = [f"{s},{m},{'*' if (s, m) in cells else n}" for (s, m), n in TRUE.items()]
    return "\n".join(["sex,mode,count", *rows]) + "\n"


MARGINS = {
    "sex.csv": ("sex,count\nfemale,25\nmale,25\n", {}),
    "mode.csv": ("mode,count\ncar,30\nbus,13\nwalk,7\n", {}),
}


def test_a_cell_that_the_other_tables_determine_is_filled_with_its_truth(tmp_path, capsys):
    files = {"t.csv": (hidden(("female", "car")), {"missing": {"*": "unknown"}}), **MARGINS}
    table = read(tmp_path, files).tables[0]
    assert table.figures[0].tolist() == pytest.approx([12, 13, 0])
    assert table.moe is None  # it is known after all, so that nothing gives way
    code, err = validated(job_of(tmp_path, files, 50), capsys)
    assert code == 0
    assert (
        "warning: t.csv: 1 of 6 cells is not known; filled to fit the table sex.csv, the table "
        "mode.csv and the total of sex.csv\n"
    ) in err


def test_cells_that_the_other_tables_leave_open_meet_their_margins(tmp_path):
    cells = (("female", "car"), ("female", "bus"), ("male", "car"))
    files = {"t.csv": (hidden(*cells), {"missing": {"*": "unknown"}}), **MARGINS}
    table = read(tmp_path, files).tables[0]
    assert table.filled == 3
    assert table.figures.sum(axis=1).tolist() == pytest.approx([25, 25])
    assert table.figures.sum(axis=0).tolist() == pytest.approx([30, 13, 7])


def test_figures_that_the_other_tables_rule_out_are_refused(tmp_path, capsys):
    wrong = {**MARGINS, "mode.csv": ("mode,count\ncar,10\nbus,33\nwalk,7\n", {})}
    files = {"t.csv": (hidden(("female", "car")), {"missing": {"*": "unknown"}}), **wrong}
    assert validated(job_of(tmp_path, files, 50), capsys) == (
        2,
        "error: t.csv: mode=car is 10 (the table mode.csv), and its cells hold at least 18\n\n"
        "hint: correct the figures, or the ranges in `missing`\n",
    )


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 40), min_size=6, max_size=6),
    st.sets(st.integers(0, 5), min_size=1, max_size=5),
)
def test_whatever_is_hidden_the_margins_are_met_and_the_truth_is_in_reach(
    tmp_path, counts, unknown
):
    keys = [(s, m) for s in VARIABLES["sex"]["values"] for m in VARIABLES["mode"]["values"]]
    rows = [f"{s},{m},{'*' if i in unknown else n}" for i, ((s, m), n) in enumerate(zip(keys, counts, strict=True))]  # fmt: skip
    by_sex = [sum(counts[:3]), sum(counts[3:])]
    by_mode = [counts[i] + counts[i + 3] for i in range(3)]
    table = read(
        tmp_path,
        {
            "t.csv": ("\n".join(["sex,mode,count", *rows]) + "\n", {"missing": {"*": "unknown"}}),
            "sex.csv": (f"sex,count\nfemale,{by_sex[0]}\nmale,{by_sex[1]}\n", {}),
            "mode.csv": (
                f"mode,count\ncar,{by_mode[0]}\nbus,{by_mode[1]}\nwalk,{by_mode[2]}\n",
                {},
            ),
        },
    ).tables[0]
    assert table.figures.sum(axis=1).tolist() == pytest.approx(by_sex, rel=1e-5)
    assert table.figures.sum(axis=0).tolist() == pytest.approx(by_mode, rel=1e-5)
    for i, (held, true) in enumerate(zip(table.figures.ravel(), counts, strict=True)):
        moe = 0.0 if table.moe is None else table.moe.ravel()[i]
        assert abs(held - true) <= moe + 1e-3 * max(1, true)
        assert i in unknown or held == true


def test_a_workbook_without_the_reader_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    job = job_of(tmp_path, {"t.xlsx": ("", {})}, 50)
    assert validated(job, capsys) == (
        2,
        "error: t.xlsx: reading .xlsx files needs a package that is not installed\n\n"
        "hint: install the reader: pip install 'llmsynthor[excel]' (in a clone: pip install "
        "'.[excel]')\n",
    )


SEX_AND_MODE = {
    "sex.csv": "sex,count\nfemale,48231\nmale,51893\n",
    "mode.csv": "mode,count\ncar,47772\nbus,52352\n",
}
THOUSANDS = "sex,mode,count\nfemale,car,26000\nfemale,bus,22000\nmale,car,22000\nmale,bus,30000\n"
TWO_DIGITS = "sex,mode,share\nfemale,car,.26\nfemale,bus,.22\nmale,car,.22\nmale,bus,.30\n"


@pytest.mark.parametrize(
    ("both", "more"), [(THOUSANDS, {"rounded_to": 1000}), (THOUSANDS, {}), (TWO_DIGITS, {})]
)
def test_exact_tables_are_met_and_a_rounded_one_gives_way_within_its_rounding(
    tmp_path, capsys, both, more
):
    files = {name: (text, {}) for name, text in SEX_AND_MODE.items()} | {"both.csv": (both, more)}
    job = job_of(tmp_path, files, 20_000)
    code, err = validated(job, capsys)
    assert (code, "nothing" in err) == (0, False)
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    tables = json.loads((tmp_path / "out" / "report.json").read_text())["tables"]
    wrong = {table["name"]: table["tae"] for table in tables}
    assert max(wrong["sex"], wrong["mode"]) < 2
    assert 2 < wrong["both"] < 4 * 100  # 500 of 100,124, or .005, are 100 of 20,000
    assert all(table["pass"] for table in tables)


WITHIN_SEX = (
    "sex,mode,share\nfemale,car,{}\nfemale,bus,{}\nfemale,walk,{}\nmale,car,{}\nmale,bus,{}\n"
    "male,walk,{}\n"
)


@pytest.mark.parametrize(
    ("shares", "said", "entry"),
    [
        ((".33", ".33", ".33", ".5", ".25", ".25"), ("1.99", "1"), "given: [sex]"),
        ((50, 30, 20, 10, 20, 70), ("200", "100"), "given: [sex], percent: true"),
    ],
)
def test_shares_within_groups_are_told_with_the_entry_that_meets_them(
    tmp_path, capsys, shares, said, entry
):
    sexes = {"sex.csv": ("sex,count\nfemale,300\nmale,700\n", {})}
    files = {**sexes, "mode.csv": (WITHIN_SEX.format(*shares), {"name": "modes"})}
    job = job_of(tmp_path, files, 1000)
    assert validated(job, capsys) == (
        2,
        f"error: mode.csv: the shares add up to {said[0]}, and to {said[1]} within each `sex`: they "
        "are shares of each such group, not of all records\n\nhint: under `statistics` instead of "
        f"`tables` they are met so: `- {{file: mode.csv, {entry}}}`, with what else this entry says "
        "of the file (docs/statistics.md)\n",
    )
    content = yaml.safe_load(job.read_text())
    content["tables"] = content["tables"][:1]
    content["statistics"] = [yaml.safe_load(f"{{file: mode.csv, {entry}, name: modes}}")]
    job.write_text(yaml.safe_dump(content, sort_keys=False))
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert found["tables"][0]["tae"] == 0
    assert all(s["pass"] for s in found["statistics"])


def test_a_table_that_passes_beyond_its_tolerance_is_named_with_the_reason(tmp_path, capsys):
    files = {name: (text, {}) for name, text in SEX_AND_MODE.items()}
    files["both.csv"] = (THOUSANDS, {"rounded_to": 1000})
    job = job_of(tmp_path, files, 20_000)
    assert main(["run", str(job), "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "beyond the tolerance, but each cell within the rounding of its published figure: both (TVD "
        "0.0029, tolerance 0.0020) "
    ) in said
    tables = json.loads((tmp_path / "out" / "report.json").read_text())["tables"]
    by = {table["name"]: table["passes_by"] for table in tables}
    assert by == {"sex": "tolerance", "mode": "tolerance", "both": "rounding"}
    page = " ".join((tmp_path / "out" / "report.html").read_text().split())
    assert "All 3 control tables are within tolerance, or as near as can be." in page
    assert (
        "<li><b>both</b>: TVD 0.0029, tolerance 0.0020; it passes because each cell is within the "
        "rounding of its published figure</li>"
    ) in page


def test_few_records_pass_by_being_whole(tmp_path, capsys):
    job = job_of(tmp_path, {"sex.csv": ("sex,count\nfemale,61\nmale,39\n", {})}, 7)
    assert main(["run", str(job), "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "each cell within one record of its target: sex (TVD " in said
