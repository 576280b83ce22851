"""What users write: job files, tables, rules. Errors are compared whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_job import write_job

from llmsynthor.domain import Interval, parse_bin
from llmsynthor.errors import InputError
from llmsynthor.jobfile import load_job
from llmsynthor.preflight import check_agreement
from llmsynthor.rules import compile_rules
from llmsynthor.tables import TableSet, load_tables


def tables_of(folder, files: dict[str, str], **changes) -> TableSet:
    job = write_job(folder, tables=[{"file": name} for name in files], rules=[], **changes)
    for name, text in files.items():
        (folder / name).write_text(text)
    return load_tables(load_job(job))


def problem(call, *arguments, **keywords) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **keywords)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "records: 600",
            "records: many",
            ":4:10: records: Input should be a valid integer, got 'many'",
        ),
        (
            "seed: 3",
            "seed: 3\nseed: 4",
            ":6:1: not valid YAML: key `seed` is given twice, first on line 5",
        ),
        (
            "- 'yes'",
            "- yes",
            ":15:7: variables.work.values.0: Input should be a valid string, got True (YAML reads bare yes/no/on/off as true/false; put it in quotes)",
        ),
        (
            "- walk",
            "- 01234",
            ":22:7: variables.mode.values.2: Input should be a valid string, got the number 668 (put it in quotes)",
        ),
        (
            "type: integer",
            "type: whole",
            ":7:3: variables.age: Input tag 'whole' found using 'type' does not match any of the expected tags: 'category', 'integer', 'number'",
        ),
    ],
)
def test_a_mistake_in_the_job_is_named_with_line_and_column(tmp_path, old, new, message):
    job = write_job(tmp_path)
    text = job.read_text()
    assert old in text
    job.write_text(text.replace(old, new, 1))
    assert problem(load_job, job) == f"{job}{message}"


def test_set_changes_a_nested_key_and_names_itself_in_errors(tmp_path):
    job = write_job(tmp_path)
    loaded = load_job(job, ["engine.iterations=7", "tables.3.role=control", "budget.calls=5"]).job
    assert (loaded.engine.iterations, loaded.tables[3].role, loaded.budget.calls) == (
        7,
        "control",
        5,
    )
    assert problem(load_job, job, ["engine.iterations=0"]) == (
        "--set engine.iterations=0: engine.iterations: Input should be greater than or equal to 1, got 0"
    )
    assert problem(load_job, job, ["nonsense"]) == "--set nonsense: write it as `dotted.key=value`"
    assert problem(load_job, job, ["tables.9.role=control"]) == (
        "--set tables.9.role=control: `9` is not a position from 0 to 3"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mode.csv: the file is empty"),
        ("mode,count\n", "mode.csv: there are no rows below the header"),
        (
            "mode,count\ncar,1\nbuss,2\n",
            "mode.csv:3: `buss` is no category of `mode`; did you mean `bus`?",
        ),
        ("mode,count\ncar,1\nbus,\n", "mode.csv:3: `count` is missing; write 0 where nobody is"),
        ("mode,count\ncar,-1\n", "mode.csv:2: `count` is -1; it must be 0 or more"),
        ("mode,count\ncar,few\n", "mode.csv:2: `count` is `few`, which is not a number"),
        ("mode,count\ncar,1\ncar,2\n", "mode.csv:3: mode=car is given twice, first on line 2"),
        ("mode,count\ncar,0\n", "mode.csv: every `count` is 0, so the table says nothing"),
        (
            "mode,share\ncar,60\nbus,40\n",
            "mode.csv: the shares add up to 100, not to 1; divide percentages by 100",
        ),
        (
            "mode,n\ncar,1\n",
            "mode.csv:1: the file has neither `count` nor `share`; one column must hold the figures (columns: mode, n)",
        ),
        (
            "mood,count\ncar,1\n",
            "mode.csv:1: column `mood` is no variable of the job; did you mean `mode`?",
        ),
        (
            "age,count\n18-39,1\n30-50,2\n",
            "mode.csv: age: the bins `18-39` and `30-50` overlap; leave subtotals out",
        ),
        (
            "age,count\nold,1\n",
            "mode.csv:2: age: `old` is not a bin; write for example `20-24`, `[20, 25)`, `65+` or `<5`",
        ),
        (
            "age,count\n10-20,1\n",
            "mode.csv:2: age: `10-20` reaches beyond the variable's limits 18 to 90",
        ),
    ],
)
def test_a_bad_table_says_where_and_what(tmp_path, text, message):
    assert problem(tables_of, tmp_path, {"mode.csv": text}) == message


def test_bins_of_two_tables_are_refined_and_map_back(tmp_path):
    found = tables_of(
        tmp_path,
        {
            "one.csv": "age,count\n18-64,80\n65+,20\n",
            "two.csv": 'age,share\n"[18, 40)",0.5\n40-90,0.5\n',
        },
    )
    age = found.domain["age"]
    assert age.labels == ("[18, 40)", "40-64", "65+")
    assert age.edges == (18, 40, 65, 91)
    assert [list(t.groups[0]) for t in found.tables] == [[0, 0, 1], [0, 1, 1]]
    check_agreement(found)


def test_columns_and_values_can_be_mapped_and_unlisted_cells_have_nobody(tmp_path):
    spec = {
        "file": "x.csv",
        "columns": {"MODE": "mode", "n": "count"},
        "values": {"mode": {"1": "car"}},
    }
    job = write_job(tmp_path, tables=[spec], rules=[])
    (tmp_path / "x.csv").write_text("MODE,n\n1,5\n")
    assert load_tables(load_job(job)).tables[0].share.tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("label", "kind", "interval"),
    [
        ("20-24", "integer", (20, 25)), ("[20, 25)", "integer", (20, 25)), ("(20, 25]", "integer", (21, 26)),
        ("65+", "integer", (65, 91)), ("<5", "integer", (0, 5)), ("<=5", "integer", (0, 6)), (">65", "integer", (66, 91)),
        ("7", "integer", (7, 8)), ("2.5-5", "number", (2.5, 5)), ("65+", "number", (65, 90)), ("20 to 24", "integer", (20, 25)),
    ],
)  # fmt: skip
def test_bins_are_read_as_published(label, kind, interval):
    assert parse_bin(label, kind, 0, 90) == Interval(*interval)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_margins_of_one_population_always_agree(tmp_path_factory, seed):
    random = np.random.default_rng(seed)
    ages, modes = random.integers(18, 91, 500), random.choice(["car", "bus", "walk"], 500)
    files = {}
    for name in ("a", "b"):
        cuts = np.unique([18, *random.integers(19, 90, 4), 91])
        rows = [
            f"{lo}-{hi - 1},{m},{((ages >= lo) & (ages < hi) & (modes == m)).sum()}"
            for lo, hi in itertools.pairwise(cuts)
            for m in ("car", "bus", "walk")
        ]
        files[f"{name}.csv"] = "age,mode,count\n" + "\n".join(rows) + "\n"
    found = tables_of(tmp_path_factory.mktemp("t"), files)
    check_agreement(found)
    assert [t.total for t in found.tables] == [500, 500]


def test_margins_that_differ_are_named_with_cell_and_both_numbers(tmp_path):
    found = tables_of(
        tmp_path,
        {
            "one.csv": "mode,count\ncar,5\nbus,5\n",
            "two.csv": "work,mode,count\nyes,car,4\nno,bus,6\n",
        },
    )
    assert problem(check_agreement, found) == (
        "one.csv and two.csv disagree on mode=car: 5 and 4\none.csv and two.csv disagree on mode=bus: 5 and 6"
    )


@pytest.mark.parametrize(
    ("rule", "start"),
    [
        ("agee < 15", "rules.0 `r`: `agee` is no variable"),
        ("mode = 'plane'", "rules.0 `r`: "),
        ("age <", "rules.0 `r`: not a SQL expression"),
        ("age + 1", "rules.0 `r`: is not a condition"),
    ],
)
def test_a_bad_rule_is_named(tmp_path, rule, start):
    loaded = load_job(write_job(tmp_path, rules=[{"name": "r", "forbid": rule}]))
    assert problem(compile_rules, loaded.job.rules, load_tables(loaded).domain).startswith(start)
