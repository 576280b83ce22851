from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from engine_world import JOB, load

from llmsynthor.errors import JobError
from llmsynthor.job import fingerprinted
from llmsynthor.jobfile import dump_job, load_job, parse_job

if TYPE_CHECKING:
    from pathlib import Path

YAML_BOOLEAN = "(YAML reads bare yes/no/on/off as true/false; put it in quotes)"
UNKNOWN_KEY = "unknown key; see `llmsynthor schema` for the keys there are"


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(JobError) as caught:
        load(folder, text, *overrides)
    return str(caught.value).replace(str(folder) + "/", "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("records: 100", "records: 100\nrecs: 1", f"job.yaml:4:7: recs: {UNKNOWN_KEY}"),
        (
            "{model: none}",
            "\n  model: none\n  temprature: 1",
            f"job.yaml:12:15: provider.temprature: {UNKNOWN_KEY}",
        ),
        (
            "records: 100",
            "records: many",
            "job.yaml:3:10: records: Input should be a valid integer, got 'many'",
        ),
        (
            "records: 100",
            'records: "100"',
            "job.yaml:3:10: records: Input should be a valid integer, got '100'",
        ),
        (
            "records: 100",
            "records: 0",
            "job.yaml:3:10: records: Input should be greater than or equal to 1, got 0",
        ),
        (
            "[female, male]",
            "[yes, no]",
            "job.yaml:5:34: variables.sex.values.0: Input should be a valid string, got True "
            f"{YAML_BOOLEAN}\n"
            "job.yaml:5:39: variables.sex.values.1: Input should be a valid string, got False "
            f"{YAML_BOOLEAN}",
        ),
        (
            "[female, male]",
            "[01234, male]",
            "job.yaml:5:34: variables.sex.values.0: Input should be a valid string, "
            "got the number 668 (put it in quotes)",
        ),
        (
            "[female, male]",
            "[female, female]",
            "job.yaml:5:3: variables.sex: the category `female` is given twice",
        ),
        (
            "records: 100",
            "records: 100\nname: again",
            "job.yaml:4:1: not valid YAML: key `name` is given twice, first on line 2",
        ),
        (
            "{model: none}",
            "{model: none, model: replay}",
            "job.yaml:10:25: not valid YAML: key `model` is given twice, first on line 10",
        ),
        ("name: tiny\n", "", "job.yaml:1:1: name: this key is needed"),
        ("min: 0, max: 89", "min: 0", "job.yaml:6:3: variables.age.max: this key is needed"),
        (
            "type: category",
            "type: text",
            "job.yaml:5:3: variables.sex: Input tag 'text' found using 'type' does not match any "
            "of the expected tags: 'category', 'integer', 'number'",
        ),
        (
            "type: category, ",
            "",
            "job.yaml:5:3: variables.sex: give the `type`: category, integer or number",
        ),
        ("max: 89", "max: -1", "job.yaml:6:3: variables.age: min 0 is above max -1"),
        (
            "max: 50",
            "max: .inf",
            "job.yaml:7:35: variables.km.max: Input should be a finite number, got inf",
        ),
        (
            "{model: none}",
            "{model: replay}",
            "job.yaml:10:1: provider: `model: replay` needs `replies`, the file of recorded replies",
        ),
        (
            "{file: t.csv}",
            "{file: t.csv, role: validate}",
            "job.yaml:1:1: no table has `role: control`, so nothing would be met",
        ),
        ("sex: {", "count: {", "job.yaml:1:1: `count` cannot name a variable: tables use it"),
        (
            "records: 100",
            "records: 100\ndependencies: [[sex, foo]]",
            "job.yaml:1:1: `dependencies` names `foo`, which is no variable",
        ),
        (
            "records: 100",
            "records: 100\ndependencies: off",
            "job.yaml:4:15: dependencies: Input should be 'infer' or 'off', got False "
            f"{YAML_BOOLEAN}\n"
            "job.yaml:4:15: dependencies: Input should be a valid list, got False",
        ),
        (
            "records: 100",
            "records: 100\nengine: {background: 2}",
            "job.yaml:4:22: engine.background: Input should be 'auto', got 2\n"
            "job.yaml:4:22: engine.background: Input should be less than or equal to 1, got 2",
        ),
        (
            "records: 100",
            "records: 100\nrules:\n  - {name: a, forbid: x, require: y}",
            "job.yaml:5:5: rules.0: give exactly one of `forbid` and `require`",
        ),
        (JOB, "- a\n", "job.yaml:1:1: a job is a mapping of keys such as `name` and `tables`"),
        (JOB, "", "job.yaml:1:1: a job is a mapping of keys such as `name` and `tables`"),
        (
            JOB,
            "a: [1\n",
            "job.yaml:2:1: not valid YAML: expected ',' or ']', but got '<stream end>'",
        ),
    ],
)
def test_a_wrong_job_is_refused_with_place_and_advice(tmp_path, old, new, message):
    assert JOB.count(old) == 1
    assert refusal(tmp_path, JOB.replace(old, new)) == message


def test_every_problem_of_a_job_is_named_at_once(tmp_path):
    text = JOB.replace("records: 100", "records: x").replace("name: tiny", "nmae: tiny")
    assert refusal(tmp_path, text) == (
        "job.yaml:1:1: name: this key is needed\n"
        "job.yaml:3:10: records: Input should be a valid integer, got 'x'\n"
        f"job.yaml:2:7: nmae: {UNKNOWN_KEY}"
    )


def test_a_missing_job_file_is_named(tmp_path):
    with pytest.raises(JobError) as caught:
        load_job(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: no such file"


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(JobError) as caught:
        load_job(path)
    assert (str(caught.value), caught.value.hint) == (
        f"{path}: byte 9 is not UTF-8",
        "save the file as UTF-8",
    )


def test_set_overrides_nested_keys_list_items_and_absent_sections(tmp_path):
    job = load(
        tmp_path, JOB, "records=5", "tables.0.name=ages", "engine.iterations=3", "variables.sex.values.1=man"
    ).job  # fmt: skip
    assert (job.records, job.tables[0].name, job.engine.iterations) == (5, "ages", 3)
    assert job.variables["sex"].values == ["female", "man"]


def test_the_last_of_two_overrides_wins(tmp_path):
    assert load(tmp_path, JOB, "records=5", "records=6").job.records == 6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("records", "--set records: write it as `dotted.key=value`"),
        ("=3", "--set =3: write it as `dotted.key=value`"),
        ("a..b=3", "--set a..b=3: write it as `dotted.key=value`"),
        ("records=[", "--set records=[: the value is not valid YAML"),
        ("name=2024-13-45", "--set name=2024-13-45: the value is not valid YAML"),
        ("records.a=3", "--set records.a=3: `records` has no keys inside"),
        ("tables.1.name=x", "--set tables.1.name=x: `1` is not a position from 0 to 0"),
        ("tables.x.name=x", "--set tables.x.name=x: `x` is not a position from 0 to 0"),
        ("foo=1", f"--set foo=1: foo: {UNKNOWN_KEY}"),
        (
            "engine.iterations=0",
            "--set engine.iterations=0: engine.iterations: "
            "Input should be greater than or equal to 1, got 0",
        ),
        (
            "variables.sex.values=[a, yes]",
            "--set variables.sex.values=[a, yes]: variables.sex.values.1: "
            f"Input should be a valid string, got True {YAML_BOOLEAN}",
        ),
        (
            "scenario.a=1",
            "job.yaml:1:1: scenario.text: this key is needed\n--set scenario.a=1: scenario.a: "
            "unknown key; see `llmsynthor schema` for the keys there are",
        ),
    ],
)
def test_a_wrong_override_is_named_as_the_place(tmp_path, override, message):
    assert refusal(tmp_path, JOB, override) == message


def test_a_job_survives_being_written_and_read(tmp_path):
    job = load(tmp_path).job
    assert parse_job(dump_job(job), tmp_path / "job.resolved.yaml") == job


def test_a_budget_does_not_change_what_a_run_is(tmp_path):
    plain, limited = load(tmp_path).job, load(tmp_path, JOB, "budget.calls=3").job
    other = load(tmp_path, JOB, "seed=3").job
    assert fingerprinted(plain) == fingerprinted(limited) != fingerprinted(other)


def test_calls_in_a_minute_change_nothing_and_must_hold_a_reply(tmp_path):
    plain = load(tmp_path).job
    limited = load(tmp_path, JOB, "provider.rpm=30", "provider.tpm=90000").job
    assert fingerprinted(plain) == fingerprinted(limited)
    told = refusal(tmp_path, JOB, "provider.tpm=1000")
    assert "`tpm` 1000 is below `max_output_tokens` 4096: no call would fit" in told
