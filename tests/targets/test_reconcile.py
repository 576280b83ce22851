"""Tables that disagree: five ways of it under three policies, as docs/tables.md promises."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from household_job import TABLES, write_job
from small_job import job_content, report
from zone_world import write_region

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

AGE_WORK = {
    ("18-39", "yes"): 2204, ("18-39", "no"): 803, ("40-64", "yes"): 1702,
    ("40-64", "no"): 598, ("65+", "yes"): 97, ("65+", "no"): 596,
}  # fmt: skip
"""6000 people, 4003 of them at work."""
AGREES = {
    ("yes", "car"): 2601, ("yes", "bus"): 1002, ("yes", "walk"): 400,
    ("no", "car"): 395, ("no", "bus"): 801, ("no", "walk"): 801,
}  # fmt: skip
OLD = {key: round(1.19 * n) + 30 * (key[1] == "walk") for key, n in AGREES.items()}
SECOND = {
    "total": AGREES | {("yes", "car"): 2624},
    "margin": AGREES | {("yes", "car"): 2431, ("no", "car"): 565},
    "category": {key: n for key, n in AGREES.items() if key[0] == "yes"},
    "year": OLD,
    "rounding": {key: 5 * round(n / 5) for key, n in AGREES.items()},
}
POLICIES: dict[str, Any] = {
    "error": "error",
    "least_squares": "least_squares",
    "scale_to": {"scale_to": "age_work"},
}
HINT = (
    "hint: tables that are met must agree; correct them, or give one a `weight` or `tolerance` (it "
    "then gives way), or `role: validate`, or let the job make them agree: `reconcile: "
    "least_squares`, or `reconcile: {scale_to: NAME}`\n\n"
)
REFUSED = {
    "total": "error: work_mode.csv: the counts add up to 6023, those of age_work.csv to 6000\n\n",
    "margin": "error: work_mode.csv: work=yes has 3833, and 4003 in age_work.csv\n"
    "error: work_mode.csv: work=no has 2167, and 1997 in age_work.csv\n",
    "category": "error: work_mode.csv: the counts add up to 4003, those of age_work.csv to 6000; "
    "work=no is 0 or not listed here\n\n",
    "year": "error: work_mode.csv: the counts add up to 7199, those of age_work.csv to 6000\n\n",
}
TOLD = {
    ("total", "least_squares"): [
        "age_work.csv: 6 cells changed (least_squares), which moves 0.0637 % of all; most in "
        "age=18-39, work=yes: 2,204 published, 2,206.1 used",
        "work_mode.csv: the counts add up to 6,023, and are multiplied by 0.996181 to fit the other "
        "tables (least_squares)",
        "work_mode.csv: 6 cells changed (least_squares), which moves 0.0634 % of all; most in "
        "work=yes, mode=car: 2,624 published (2,614.0 multiplied), 2,611.5 used",
    ],
}


def job_of(folder: Path, variant: str, policy: str, **changes: Any) -> Path:
    write_table(folder / "age_work.csv", ("age", "work"), AGE_WORK)
    write_table(folder / "work_mode.csv", ("work", "mode"), SECOND[variant])
    more = {"rounded_to": 5} if variant == "rounding" else {}
    content = job_content(
        records=6000,
        tables=[{"file": "age_work.csv"}, {"file": "work_mode.csv", **more}],
        provider={"model": "none"},
        reconcile=POLICIES[policy],
    )
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return path


def write_table(path: Path, names: tuple[str, ...], cells: dict[tuple[str, ...], float]) -> None:
    rows = [",".join([*key, str(n)]) for key, n in cells.items()]
    path.write_text("\n".join([",".join([*names, "count"]), *rows]) + "\n")


def run(job: Path, code: int) -> dict[str, Any]:
    assert main(["run", str(job), "--out", str(job.parent / "out"), "-q"]) == code
    return report(job.parent / "out") if code in (0, 3) else {}


def used(job: Path, number: int, *names: str, published: bool = False) -> dict[Any, float]:
    """Return a table as the run used it, or as it was published."""
    suffix = ".published.csv" if published else ".csv"
    file = job.parent / "out" / "tables_used" / f"{number:03d}{suffix}"
    rows = list(csv.DictReader(file.read_text().splitlines()))
    return {tuple(row[n] for n in names): float(row["count"]) for row in rows}


def by_work(cells: dict[tuple[str, str], float], place: int) -> dict[str, float]:
    return {
        work: sum(n for key, n in cells.items() if key[place] == work) for work in ("yes", "no")
    }


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("variant", SECOND)
def test_each_way_to_disagree_has_the_outcome_that_the_docs_promise(
    tmp_path, capsys, variant, policy
):
    job = job_of(tmp_path, variant, policy)
    if policy == "error" and variant != "rounding":
        assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 2
        many = "2 problems; nothing was spent\n" if variant == "margin" else ""
        hint = HINT if many else HINT.removesuffix("\n")
        assert capsys.readouterr().err == REFUSED[variant] + hint + many
        assert not (tmp_path / "out").exists()
        return
    content = run(job, 0)
    changes = {table["name"]: table["reconciled"] for table in content["tables"]}
    first, second = (used(job, 0, "age", "work"), used(job, 1, "work", "mode"))
    told = [line.split("WARNING ")[1] for line in capsys.readouterr().err.splitlines()]
    if (variant, policy) in TOLD:
        assert [line for line in told if line.startswith(("age_work", "work_mode"))] == (
            TOLD[variant, policy]
        )
    if policy == "error" or (variant, policy) == ("rounding", "scale_to"):
        assert changes == {"age_work": None, "work_mode": None}
        assert second == SECOND[variant]
        assert all(table["tae"] <= 5 * table["cells"] for table in content["tables"])
        return
    assert by_work(first, 1) == pytest.approx(by_work(second, 0), abs=1e-4)
    assert sum(first.values()) == pytest.approx(6000)
    if policy == "scale_to" or variant in ("category", "rounding"):
        assert changes["age_work"] is None
        assert first == AGE_WORK
    else:
        assert changes["age_work"]["by"] == policy
        assert used(job, 0, "age", "work", published=True) == AGE_WORK
        assert abs(by_work(first, 1)["yes"] - 4003) > 1
    if variant in ("total", "year"):
        factor = 6000 / sum(SECOND[variant].values())
        assert changes["work_mode"]["scaled_by"] == pytest.approx(factor)
    else:
        assert changes["work_mode"]["scaled_by"] == 1
    if variant == "category":
        assert {k: n for k, n in second.items() if k[0] == "yes"} == SECOND["category"]
        assert changes["work_mode"]["not_listed"] == ["work=no (age_work.csv)"]
    if variant == "rounding":
        assert all(abs(second[key] - n) <= 2.5 + 1e-9 for key, n in SECOND[variant].items())


def test_thousands_are_found_by_themselves_and_stay_within_their_rounding(tmp_path, capsys):
    exact = {key: 1000 * n + 137 * i for i, (key, n) in enumerate(AGE_WORK.items())}
    whole = {key: 1000 * n for key, n in AGREES.items()}
    for policy in ("error", "least_squares"):
        folder = tmp_path / policy
        folder.mkdir()
        job = job_of(folder, "total", policy)
        write_table(folder / "age_work.csv", ("age", "work"), exact)
        write_table(folder / "work_mode.csv", ("work", "mode"), whole)
        run(job, 0)
        assert (
            "work_mode.csv: all counts are multiples of 1,000, and taken as rounded to that; "
            "`rounded_to: 1000` in the table's entry says so\n"
        ) in capsys.readouterr().err
        second = used(job, 1, "work", "mode")
        assert all(abs(second[key] - n) <= 500 for key, n in whole.items())


def test_a_margin_of_error_says_how_far_a_table_gives_way(tmp_path):
    """Of two soft tables the one with the smaller margins of error moves less, as their squares."""
    job = job_of(tmp_path, "margin", "least_squares")
    for name, keys, cells, moe in (
        ("age_work", "age,work", AGE_WORK, 50),
        ("work_mode", "work,mode", SECOND["margin"], 150),
    ):
        rows = [f"{','.join(key)},{n},{moe}" for key, n in cells.items()]
        (tmp_path / f"{name}.csv").write_text("\n".join([f"{keys},count,moe", *rows]) + "\n")
    run(job, 0)
    works = by_work(used(job, 0, "age", "work"), 1)["yes"]
    assert works == pytest.approx(4003 - 170 / (1 + 9), abs=0.5)


def test_what_was_changed_is_in_the_report(tmp_path):
    job = job_of(tmp_path, "category", "scale_to")
    content = run(job, 0)
    change = next(t["reconciled"] for t in content["tables"] if t["name"] == "work_mode")
    assert change == {
        "by": "scale_to age_work",
        "scaled_by": 1.0,
        "cells_changed": 3,
        "tvd": pytest.approx(1997 / 6000),
        "worst": {
            "cell": "work=no, mode=car",
            "published": 0.0,
            "used": pytest.approx(1997 * 2601 / 4003),
        },
        "not_listed": ["work=no (age_work.csv)"],
    }
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Tables that were made to agree" in page
    assert "not listed in the table: work=no (age_work.csv)" in page
    again = main(["report", str(tmp_path / "out")])
    assert (again, report(tmp_path / "out")) == (0, content)


def test_a_run_without_disagreement_says_nothing_of_it(tmp_path):
    job = job_of(tmp_path, "total", "least_squares")
    write_table(tmp_path / "work_mode.csv", ("work", "mode"), AGREES)
    content = run(job, 0)
    assert [table["reconciled"] for table in content["tables"]] == [None, None]
    assert "Tables that were made to agree" not in (tmp_path / "out" / "report.html").read_text()


def test_others_that_differ_from_each_other_are_fitted_in_the_order_of_the_job(tmp_path):
    """The named table does not have what they disagree about."""
    job = job_of(tmp_path, "margin", "scale_to")
    write_table(tmp_path / "mode.csv", ("mode",), {("car",): 3010, ("bus",): 1990, ("walk",): 1000})
    content = yaml.safe_load(job.read_text())
    content["tables"].append({"file": "mode.csv"})
    job.write_text(yaml.safe_dump(content))
    run(job, 0)
    modes = used(job, 1, "work", "mode")
    for (mode,), count in used(job, 2, "mode").items():
        assert count == pytest.approx(modes["yes", mode] + modes["no", mode])


AGE_MODE = {
    ("18-39", "car"): 1600, ("18-39", "bus"): 1300, ("18-39", "walk"): 400,
    ("40-64", "car"): 1100, ("40-64", "bus"): 450, ("40-64", "walk"): 500,
    ("65+", "car"): 100, ("65+", "bus"): 150, ("65+", "walk"): 350,
}  # fmt: skip
"""5950 people of another year."""


@pytest.mark.parametrize("name", ["age_work", "work_mode", "age_mode"])
def test_each_of_three_tables_that_share_margins_can_be_the_measure(tmp_path, name):
    job = job_of(tmp_path, "total", "error", reconcile={"scale_to": name})
    write_table(tmp_path / "age_mode.csv", ("age", "mode"), AGE_MODE)
    content = yaml.safe_load(job.read_text())
    content["tables"].append({"file": "age_mode.csv"})
    job.write_text(yaml.safe_dump(content))
    changes = {table["name"]: table["reconciled"] for table in run(job, 0)["tables"]}
    assert [other for other, change in changes.items() if change is None] == [name]
    pairs = [used(job, 0, "age", "work"), used(job, 1, "work", "mode"), used(job, 2, "age", "mode")]
    ages, works, modes = [{k[i] for k in t} for t, i in zip(pairs, (0, 0, 1), strict=True)]
    for label in ages | works | modes:
        sums = [sum(n for k, n in t.items() if label in k) for t in pairs]
        held = [n for n in sums if n]
        assert held == pytest.approx([held[0]] * 2)


def test_a_total_that_the_measure_s_rounding_does_not_settle_is_multiplied(tmp_path):
    """Counts of thousands allow both totals, but the two cannot hold at once."""
    job = job_of(tmp_path, "total", "error", reconcile={"scale_to": "round"})
    write_table(
        tmp_path / "round.csv", ("mode",), {("car",): 3000, ("bus",): 2000, ("walk",): 1000}
    )
    content = yaml.safe_load(job.read_text())
    content["tables"].append({"file": "round.csv", "rounded_to": 1000})
    job.write_text(yaml.safe_dump(content))
    changes = {table["name"]: table["reconciled"] for table in run(job, 0)["tables"]}
    assert (changes["age_work"], changes["round"]) == (None, None)
    assert changes["work_mode"]["scaled_by"] == pytest.approx(6000 / 6023)


def test_records_that_are_not_those_of_the_tables_are_said_once(tmp_path, capsys):
    job = job_of(tmp_path, "total", "error", records=1000)
    write_table(tmp_path / "work_mode.csv", ("work", "mode"), AGREES)
    line = 1 + job.read_text().splitlines().index("records: 1000")
    note = (
        f"{job}:{line}:1: `records` is 1,000, and the tables count 6,000: their counts are "
        "multiplied by 0.1667"
    )
    assert main(["validate", str(job), "--json"]) == 0
    warnings = [w["message"] for w in json.loads(capsys.readouterr().out)["warnings"]]
    assert [w for w in warnings if w.startswith("`records`")] == [note.split(":1: ")[1]]
    content = run(job, 0)
    assert capsys.readouterr().err.count("`records` is 1,000") == 1
    assert content["notes"] == [note.split(":1: ")[1]]


def test_members_are_brought_to_what_the_sizes_say(tmp_path, capsys):
    """Persons of another year: a tenth more, and of other sexes than their first table says."""
    job = write_job(tmp_path, reconcile="least_squares")
    rows = [line.rsplit(",", 1) for line in TABLES["age_role.csv"].splitlines()]
    more = [rows[0], *([cell, str(1.1 * float(n))] for cell, n in rows[1:])]
    (tmp_path / "age_role.csv").write_text("\n".join(map(",".join, more)) + "\n")
    content = run(job, 0)
    assert content["members"]["made"] == 370
    changes = {table["name"]: table["reconciled"] for table in content["tables"]}
    assert {name for name, change in changes.items() if change} == {"age_role"}
    assert changes["age_role"]["scaled_by"] == pytest.approx(1 / 1.1)
    assert (
        "age_role.csv: the counts add up to 407, and are multiplied by 0.909091 to fit the other "
        "tables (least_squares)\n"
    ) in capsys.readouterr().err


def test_zones_are_reconciled_before_they_are_cut_into_chunks(tmp_path):
    job = write_region(tmp_path, 20, reconcile="least_squares")
    lines = (tmp_path / "tract_workers.csv").read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("tract2,w0,"))
    lines[place] = f"tract2,w0,{int(lines[place].split(',')[2]) + 37}"
    (tmp_path / "tract_workers.csv").write_text("\n".join(lines) + "\n")
    assert main(["validate", str(job), "--set", "reconcile=error"]) == 2
    assert main(["run", str(job), "--out", str(tmp_path / "out"), "-q"]) == 0
    content = report(tmp_path / "out")
    changes = {table["name"]: table["reconciled"] for table in content["tables"]}
    assert changes["tract_workers"]["worst"]["cell"] == "taz=tract2, workers=w0"
    assert changes["taz_size"]["scaled_by"] == 1
    assert content["chunks"]["number"] > 1
    used = (tmp_path / "out" / "tables_used" / "001.csv").read_text()
    assert used.startswith("tract,workers,count\n")


def test_shares_of_two_digits_are_met_to_the_record_once_they_are_made_to_agree(tmp_path):
    job = job_of(tmp_path, "margin", "least_squares", records=10_000)
    (tmp_path / "work_mode.csv").write_text(
        "work,mode,share\nyes,car,.41\nyes,bus,.16\nyes,walk,.05\nno,car,.07\nno,bus,.16\n"
        "no,walk,.15\n"
    )
    content = run(job, 0)
    changed = {table["name"]: table["reconciled"] is not None for table in content["tables"]}
    assert changed["work_mode"]
    assert all(table["tae"] < table["cells"] for table in content["tables"])
    kept = tmp_path / "out" / "tables_used"
    for number in (0, 1):  # what was used, fed back, is met as well
        text = (kept / f"{number:03d}.csv").read_text()
        (tmp_path / f"{('age_work', 'work_mode')[number]}.csv").write_text(text)
    content = yaml.safe_load(job.read_text()) | {"reconcile": "error"}
    job.write_text(yaml.safe_dump(content))
    assert main(["run", str(job), "--out", str(tmp_path / "again"), "-q"]) == 0
    again = report(tmp_path / "again")["tables"]
    assert all(table["tae"] < table["cells"] for table in again)


def test_a_published_figure_is_that_of_the_file(tmp_path, capsys):
    """One table is multiplied, another is lowered for an age in which it has nobody."""
    job = job_of(tmp_path, "total", "least_squares")
    write_table(tmp_path / "age.csv", ("age",), {("18-39",): 3500, ("40-64",): 2500})
    content = yaml.safe_load(job.read_text())
    content["tables"].append({"file": "age.csv"})
    job.write_text(yaml.safe_dump(content))
    changes = {table["name"]: table["reconciled"] for table in run(job, 0)["tables"]}
    said = capsys.readouterr().err
    assert changes["age"]["not_listed"] == ["age=65+ (age_work.csv)"]
    for number, (name, names) in enumerate(
        {"age_work": ("age", "work"), "work_mode": ("work", "mode"), "age": ("age",)}.items()
    ):
        worst = changes[name]["worst"]
        cell = tuple(part.split("=")[1] for part in worst["cell"].split(", "))
        assert worst["published"] == used(job, number, *names, published=True)[cell]
        assert worst["used"] == used(job, number, *names)[cell]
        if name != "age":
            assert f"most in {worst['cell']}: {worst['published']:,.0f} published" in said


@pytest.mark.parametrize("policy", ["least_squares", {"scale_to": "work_mode"}])
def test_what_a_table_lacks_is_filled_where_the_others_let_somebody_be(tmp_path, policy):
    """Nobody of 65 and over works, and all who walk do: a table without walkers gets no old ones."""
    job = job_of(tmp_path, "margin", "error", reconcile=policy, records=1000)
    ages = {("18-39", "yes"): 400, ("18-39", "no"): 100, ("40-64", "yes"): 300, ("65+", "no"): 200}
    modes = {("yes", "car"): 500, ("yes", "walk"): 210, ("no", "bus"): 290}
    write_table(tmp_path / "age_work.csv", ("age", "work"), ages)
    write_table(tmp_path / "work_mode.csv", ("work", "mode"), modes)
    write_table(
        tmp_path / "age_mode.csv",
        ("age", "mode"),
        {("18-39", "car"): 300, ("18-39", "bus"): 100, ("40-64", "car"): 200, ("65+", "bus"): 180},
    )
    content = yaml.safe_load(job.read_text())
    content["tables"].append({"file": "age_mode.csv"})
    job.write_text(yaml.safe_dump(content))
    changes = {table["name"]: table["reconciled"] for table in run(job, 0)["tables"]}
    assert changes["age_mode"]["not_listed"] == ["mode=walk (work_mode.csv)"]
    filled = used(job, 2, "age", "mode")
    assert filled["65+", "walk"] == 0
    assert min(filled["18-39", "walk"], filled["40-64", "walk"]) > 50


OPEN_SIZES = "size,count\n1,970\n2,830\n3,420\n4+,386\n"
PERSONS = "age,count\n0-17,1350\n18+,5200\n"


def sized_job(folder: Path, most: int, policy: Any = "error") -> Path:
    (folder / "size.csv").write_text(OPEN_SIZES)
    (folder / "age.csv").write_text(PERSONS)
    ages = {"age": {"type": "integer", "min": 0, "max": 95}}
    content = {
        "version": 1,
        "name": "homes",
        "records": 2606,
        "variables": {"size": {"type": "integer", "min": 1, "max": most}},
        "members": {"name": "person", "of": "household", "size": "size", "variables": ages},
        "tables": [{"file": "size.csv"}, {"file": "age.csv"}],
        "reconcile": policy,
        "provider": {"model": "none"},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


LARGER = "`size` has `max: 6`, so `4+` of size.csv is 6 at most; `max: 7` would allow 6592 persons"


def test_sizes_that_end_too_low_for_the_persons_are_told_with_the_max_that_would_do(
    tmp_path, capsys
):
    assert main(["validate", str(sized_job(tmp_path, 6))]) == 2
    said = capsys.readouterr().err
    assert said == (
        "error: age.csv: the counts add up to 6550, and the sizes in size.csv to 5434 to 6206 "
        f"persons\n\nhint: {LARGER}; or: {HINT.removeprefix('hint: ')[:-1]}"
    )
    assert main(["validate", str(sized_job(tmp_path, 7))]) == 0
    capsys.readouterr()
    for policy in ("least_squares", {"scale_to": "size"}):
        assert main(["validate", str(sized_job(tmp_path, 6, policy))]) == 0
        assert capsys.readouterr().err.startswith(
            "warning: age.csv: 6,550 persons are published, and the sizes in size.csv allow 5,434 "
            f"to 6,206: 6,206 are made; {LARGER}\n"
        )


def test_what_the_policy_itself_leaves_apart_does_not_advise_that_policy(tmp_path, capsys):
    assert main(["validate", str(sized_job(tmp_path, 6, {"scale_to": "age"}))]) == 2
    assert capsys.readouterr().err == (
        "error: age.csv: the counts add up to 6550, and the sizes in size.csv to 5434 to 6206 "
        f"persons\n\nhint: {LARGER}; or: `reconcile: {{scale_to: age}}` finds no figures with which "
        "these agree (shown are those that it comes to, not the files'); correct a table, or give "
        "one a `weight` or `tolerance` (it then gives way), or `role: validate`, or try "
        "`reconcile: least_squares`\n"
    )
