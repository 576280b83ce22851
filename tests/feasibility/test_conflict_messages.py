"""What a person reads when tables and rules clash: whole messages, through the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from engine_world import category_domain, table_of

from llmsynthor.cli.main import main
from llmsynthor.feasibility.words import Cells, Conflict, describe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LETTERS = {n: {"type": "category", "values": ["x", "y"]} for n in "abc"}
PEOPLE = {
    "age": {"type": "integer", "min": 5, "max": 90},
    "marital": {"type": "category", "values": ["single", "married", "widowed"]},
    "km": {"type": "number", "min": 0, "max": 50},
    "hours": {"type": "number", "min": 0, "max": 3},
}
AGE = {"age.csv": "age,count\n5-15,20\n16-79,70\n80+,10\n"}
MARITAL = {"marital.csv": "marital,count\nsingle,40\nmarried,30\nwidowed,30\n"}
BOTH_HINT = (
    "\nhint: correct a table or a rule, or give a table a `weight` or `tolerance` so that it "
    "gives way\n"
)


def refusal(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, Any],
    tables: dict[str, str],
    rules: Sequence[dict[str, str]] = (),
) -> str:
    """Return what `validate` says of a job that it refuses; `run` says the same and writes nothing."""
    for name, text in tables.items():
        (folder / name).write_text(text)
    job = {"version": 1, "name": "clash", "records": 100, "variables": variables}
    job |= {"tables": [{"file": name} for name in tables], "rules": list(rules)}
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job | {"provider": {"model": "none"}}, sort_keys=False))
    assert main(["validate", str(path)]) == 2
    said = capsys.readouterr()
    assert main(["run", str(path), "--out", str(folder / "out")]) == 2
    assert capsys.readouterr() == said
    assert not (folder / "out").exists()
    assert said.out == ""
    return said.err


def test_three_tables_that_agree_in_pairs_but_not_together(tmp_path, capsys):
    same = "x,x,50\ny,y,50\n"
    tables = {
        "ab.csv": f"a,b,count\n{same}",
        "bc.csv": f"b,c,count\n{same}",
        "ac.csv": "a,c,count\nx,x,38\nx,y,12\ny,x,12\ny,y,38\n",
    }
    assert refusal(tmp_path, capsys, LETTERS, tables) == (
        "error: ab.csv, bc.csv and ac.csv cannot all be met:\n"
        "    bc.csv: b=y, c=y  50 of 100 records\n"
        "  every record in this cell is also in one of these:\n"
        "    ab.csv: a=x, b=y   0 of 100 records\n"
        "    ac.csv: a=y, c=y  38 of 100 records\n"
        "  50 are wanted above, and at most 38 can be there\n"
        "  if only ab.csv gave way: at least 24 of its 100 records would be in other cells\n"
        "  if only bc.csv gave way: at least 24 of its 100 records would be in other cells\n"
        "  if only ac.csv gave way: at least 24 of its 100 records would be in other cells\n"
        "\nhint: correct a table, or give one a `weight` or `tolerance` so that it gives way\n"
    )


def test_a_table_that_gives_way_is_no_conflict(tmp_path, capsys):
    (tmp_path / "age.csv").write_text(AGE["age.csv"])
    job = {"version": 1, "name": "soft", "records": 100, "variables": PEOPLE}
    job |= {"tables": [{"file": "age.csv", "tolerance": 0.1}], "provider": {"model": "none"}}
    job |= {"rules": [{"name": "nobody is old", "forbid": "age >= 80"}]}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    assert main(["validate", str(tmp_path / "job.yaml")]) == 0
    assert "valid" in capsys.readouterr().out


def test_counts_that_cannot_work_though_every_cell_can_be_filled(tmp_path, capsys):
    rules = [
        {"name": "married at 18", "require": "marital <> 'married' OR age >= 18"},
        {"name": "widows are old", "forbid": "marital = 'widowed' AND age < 80"},
    ]
    assert refusal(tmp_path, capsys, PEOPLE, AGE | MARITAL, rules) == (
        "error: age.csv and marital.csv cannot all be met while the rule `widows are old` holds:\n"
        "  rules.1 `widows are old` (forbid: marital = 'widowed' AND age < 80)\n"
        "    marital.csv: marital=widowed  30 of 100 records\n"
        "  every lawful record in this cell is also in this one:\n"
        "    age.csv: age=80+  10 of 100 records\n"
        "  30 are wanted above, and at most 10 can be there\n"
        "  if only age.csv gave way: at least 20 of its 100 records would be in other cells\n"
        "  if only marital.csv gave way: at least 20 of its 100 records would be in other cells\n"
        "  if only the rule `widows are old` were dropped: at least 20 of 100 records would break it\n"
        + BOTH_HINT
    )


def test_a_rule_that_no_record_can_keep(tmp_path, capsys):
    rules = [
        {"name": "fine", "forbid": "age = 50"},
        {"name": "too old", "require": "age > 90 OR (age < 5 AND marital = 'single')"},
    ]
    assert refusal(tmp_path, capsys, PEOPLE, AGE, rules) == (
        "error: rules.1 `too old` (require: age > 90 OR (age < 5 AND marital = 'single')) allows no "
        "combination of values of age and marital\n\nhint: change or drop a rule\n"
    )


def test_rules_that_no_record_can_keep_together(tmp_path, capsys):
    rules = [
        {"name": "young", "require": "age < 30"},
        {"name": "fine", "forbid": "age = 20"},
        {"name": "old or widowed", "require": "age > 40 OR marital = 'widowed'"},
        {"name": "no widows", "forbid": "marital = 'widowed'"},
    ]
    assert refusal(tmp_path, capsys, PEOPLE, AGE | MARITAL, rules) == (
        "error: no record can keep these rules together; each could be kept if one of the others "
        "went:\n"
        "  rules.0 `young` (require: age < 30)\n"
        "  rules.2 `old or widowed` (require: age > 40 OR marital = 'widowed')\n"
        "  rules.3 `no widows` (forbid: marital = 'widowed')\n"
        "\nhint: change or drop a rule\n"
    )


def test_cells_without_a_lawful_record_are_all_named(tmp_path, capsys):
    """Two components: each gives its conflict, and of a long list the first cells are shown."""
    rules = [
        {"name": "nobody is married", "forbid": "marital = 'married'"},
        {"name": "short trips", "forbid": "km >= 30"},
    ]
    bins = "".join(f"{n}-{n + 1},2\n" for n in range(50))
    shown = "".join(
        f"km.csv: km={n}-{n + 1} wants 2 of 100 records, and the rule `short trips` allows 0\n"
        for n in range(30, 38)
    )
    tables = MARITAL | {"km.csv": f"km,count\n{bins}"}
    assert refusal(tmp_path, capsys, PEOPLE, tables, rules) == (
        "error: marital.csv: marital=married wants 30 of 100 records, and the rule `nobody is "
        "married` allows 0\n"
        "  rules.0 `nobody is married` (forbid: marital = 'married')\n"
        "  if only marital.csv gave way: at least 30 of its 100 records would be in other cells\n"
        "  if only the rule `nobody is married` were dropped: at least 30 of 100 records would "
        "break it\n\n"
        f"{shown}km.csv: and 12 more such cells, with 24 records\n"
        "  rules.1 `short trips` (forbid: km >= 30)\n"
        "  if only km.csv gave way: at least 40 of its 100 records would be in other cells\n"
        "  if only the rule `short trips` were dropped: at least 40 of 100 records would break it\n"
        + BOTH_HINT
    )


def test_what_helps_only_together_with_something_else_is_left_out(tmp_path, capsys):
    """Without `no single children` two kinds of children are allowed, but too few of one are there."""
    rules = [
        {"name": "no widowed children", "forbid": "marital = 'widowed' AND age < 80"},
        {"name": "no married children", "forbid": "marital = 'married' AND age < 18"},
        {"name": "no single children", "forbid": "marital = 'single' AND age <= 15"},
    ]
    said = refusal(tmp_path, capsys, PEOPLE, AGE | MARITAL, rules)
    assert said.splitlines()[0] == (
        "error: age.csv: age=5-15 wants 20 of 100 records, and the rules `no widowed children`, "
        "`no married children` and `no single children` together allow 0"
    )
    assert said.count("  if only ") == 2
    assert "if only the rule `no widowed children` were dropped: at least 20 of 100" in said


def test_what_cannot_be_proven_is_not_claimed(tmp_path, capsys):
    rules = [{"name": "slow", "require": "km * hours < 0"}]
    assert refusal(tmp_path, capsys, PEOPLE, AGE, rules) == (
        "error: none of 20,000 records drawn from the tables keeps the rules (`slow`)\n\n"
        "hint: loosen the rule, or give the table a `weight` or `tolerance` so that it gives way\n"
    )
    rules = [{"name": "slow", "require": "age < 80 OR km * hours < 0"}]
    assert refusal(tmp_path, capsys, PEOPLE, AGE, rules) == (
        "error: age.csv: age=80+ wants 10 of 100 records, and none of the records tried there keeps "
        "the rules (`slow`)\n\n"
        "hint: loosen the rule, or give the table a `weight` or `tolerance` so that it gives way\n"
    )


TABLE = table_of(category_domain(2), ("v0",), np.array([60, 40]))
SENTENCES = [
    (
        [("a", 60, 1), ("b", 70, 1)],
        1,
        "no record is in two of these cells: 130 records are wanted in them, and there are 100",
    ),
    (
        [("a", 80, 1), ("b", 90, 1), ("c", 70, 1)],
        2,
        "no record is in more than 2 of these cells, so 100 records can be in them 200 times: "
        "240 times is wanted",
    ),
    (
        [("a", 20, -1), ("b", 30, -1)],
        -1,
        "every record is in one of these cells: the tables want 50 records in them, and there are 100",
    ),
    (
        [("a", 60, -1), ("b", 60, -1), ("c", 60, -1)],
        -2,
        "every record is in at least 2 of these cells, so 100 records are in them 200 times: "
        "180 times is wanted",
    ),
    (
        [("a", 90, 1), ("b", 80, 1), ("c", 10, -1)],
        1,
        "no record is in over 1 more of the cells above than of these:\n"
        "    v0.csv: c  10 of 100 records\n"
        "  170 are wanted above, and at most 110 (10 + 100) can be there",
    ),
    (
        [("a", 50, 2), ("c", 120, -1)],
        -1,
        "every record is in at least 1 more of these cells than of those above:\n"
        "    v0.csv: c  120 of 100 records\n"
        "  100 are wanted above, and at most 20 (120 - 100) can be there",
    ),
]


@pytest.mark.parametrize(("cells", "most", "sentence"), SENTENCES)
def test_every_form_of_a_proof_has_its_sentence(cells, most, sentence):
    counted = tuple(Cells(TABLE, label, wanted, times) for label, wanted, times in cells)
    said = describe(Conflict(100, (TABLE, TABLE), (), counted, float(most), alone=False))
    first = [c for c in counted if c.times > 0] or counted
    head = ["v0.csv and v0.csv cannot all be met:"]
    for cell in first:
        twice = ", each counted twice" if abs(cell.times) == 2 else ""
        head.append(f"    v0.csv: {cell.label}  {cell.wanted} of 100 records{twice}")
    assert said == "\n".join([*head, f"  {sentence}"])
