from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from engine_world import JOB, load

from llmsynthor.errors import JobError
from llmsynthor.job.load import dump_job, load_job, parse_job
from llmsynthor.job.model import fingerprinted

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = "must be a whole number of 1 or more"
TOP = (
    "version, name, description, records, seed, scenario, variables, members, zones, tables, "
    "reconcile, statistics, seed_sample, rules, ..."
)


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(JobError) as caught:
        load(folder, text, *overrides)
    return str(caught.value).replace(str(folder) + "/", "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "records: 100",
            "recrods: 100",
            "job.yaml:3:1: recrods: unknown key; did you mean `records`?",
        ),
        (
            "records: 100",
            "records: 100\nrecs: 1",
            "job.yaml:4:1: recs: unknown key; did you mean `records`, which is given too?",
        ),
        (
            "records: 100",
            "records: 100\nfoo: 1",
            f"job.yaml:4:1: foo: unknown key (keys here: {TOP})",
        ),
        (
            "records: 100",
            "records: 100\ntemperature: 1",
            "job.yaml:4:1: temperature: unknown key here; did you mean `provider.temperature`?",
        ),
        (
            "{model: none}",
            "\n  model: none\n  temprature: 1",
            "job.yaml:12:3: provider.temprature: unknown key; did you mean `temperature`?",
        ),
        (
            "ordered",
            "ordred",
            "job.yaml:5:49: variables.sex.ordred: unknown key; did you mean `ordered`?",
        ),
        (
            "records: 100",
            "records: many",
            f"job.yaml:3:10: records: {WHOLE}, got `many`; write for example `records: 10000`",
        ),
        (
            "records: 100",
            'records: "100"',
            f"job.yaml:3:10: records: {WHOLE}, got the text `100`; take the quotes away",
        ),
        (
            "records: 100",
            "records: 1e5",
            f"job.yaml:3:10: records: {WHOLE}, got `1e5`; write 100000",
        ),
        (
            "records: 100",
            "records: 10,000",
            f"job.yaml:3:10: records: {WHOLE}, got `10,000`; write 10000",
        ),
        (
            "records: 100",
            "records: 100.0",
            f"job.yaml:3:10: records: {WHOLE}, got `100.0`; write 100",
        ),
        ("records: 100", "records: 0", f"job.yaml:3:10: records: {WHOLE}, got `0`"),
        (
            "records: 100",
            "records:",
            f"job.yaml:3:9: records: {WHOLE}, got nothing; write for example `records: 10000`",
        ),
        (
            "records: 100",
            "records: [1]",
            f"job.yaml:3:1: records: {WHOLE}, got a list; write for example `records: 10000`",
        ),
        (
            "records: 100",
            "records: 12:30",
            "job.yaml:3:10: YAML reads `12:30` as the number 750 (base 60); quote it if it is a "
            'text: "12:30"',
        ),
        (
            "records: 100",
            "records: 0100",
            "job.yaml:3:10: YAML reads `0100` as the number 64 (base 8); quote it if it is a text: "
            '"0100", else write 100',
        ),
        (
            "name: tiny",
            "name: my study",
            "job.yaml:2:7: name: must begin with a letter or digit and hold only letters, digits, "
            "`_`, `.` and `-`, got `my study`; write for example `my-study`",
        ),
        (
            "[female, male]",
            "[yes, NO, on]",
            "job.yaml:5:34: variables.sex.values.0: must be a text, got `yes`, which YAML reads as "
            'true; put it in quotes: "yes"\n'
            "job.yaml:5:39: variables.sex.values.1: must be a text, got `NO`, which YAML reads as "
            'false; put it in quotes: "NO"\n'
            "job.yaml:5:43: variables.sex.values.2: must be a text, got `on`, which YAML reads as "
            'true; put it in quotes: "on"',
        ),
        (
            "[female, male]",
            "[01234, 12:30, 2022-01-01, 5]",
            "job.yaml:5:34: variables.sex.values.0: must be a text, got `01234`, which YAML reads as "
            'the number 668; put it in quotes: "01234"\n'
            "job.yaml:5:41: variables.sex.values.1: must be a text, got `12:30`, which YAML reads as "
            'the number 750; put it in quotes: "12:30"\n'
            "job.yaml:5:48: variables.sex.values.2: must be a text, got `2022-01-01`, which YAML reads "
            'as a date; put it in quotes: "2022-01-01"\n'
            "job.yaml:5:60: variables.sex.values.3: must be a text, got `5`, a number; put it in "
            'quotes: "5"',
        ),
        (
            "[female, male]",
            "female",
            "job.yaml:5:33: variables.sex.values: must be a list of texts, got `female`; write [female]",
        ),
        ("[female, male]", "[]", "job.yaml:5:25: variables.sex.values: must not be empty"),
        (
            "[female, male]",
            "[female, female]",
            "job.yaml:5:3: variables.sex: the category `female` is given twice",
        ),
        (
            "sex: {",
            "yes: {",
            "job.yaml:5:3: variables: the key `yes`, which YAML reads as true, must be a text; put it "
            'in quotes: "yes"',
        ),
        (
            "{file: t.csv}",
            "{file: t.csv, values: {sex: {1: male}}}",
            "job.yaml:9:34: tables.0.values.sex: the key `1`, a number, must be a text; put it in "
            'quotes: "1"',
        ),
        (
            "max: 50}",
            "max: 10,000}",
            "job.yaml:7:38: variables.km: the key `000` has no value; if it ends a number with "
            "thousands separators, write that number without them",
        ),
        (
            "records: 100",
            "records: 100\nname: again",
            "job.yaml:4:1: key `name` is given twice, first on line 2",
        ),
        (
            "{model: none}",
            "{model: none, model: auto}",
            "job.yaml:10:25: key `model` is given twice, first on line 10",
        ),
        (
            "name: tiny\n",
            "",
            "job.yaml:1:1: name: this key is needed; add for example `name: commuters`",
        ),
        (
            "min: 0, max: 89",
            "min: 0",
            "job.yaml:6:3: variables.age.max: this key is needed; add for example `max: 100`",
        ),
        (
            "type: category",
            "type: text",
            "job.yaml:5:15: variables.sex.type: must be `category`, `integer` or `number`, got `text`",
        ),
        (
            "type: category",
            "type: categroy",
            "job.yaml:5:15: variables.sex.type: must be `category`, `integer` or `number`, got "
            "`categroy`; did you mean `category`?",
        ),
        (
            "type: category, ",
            "",
            "job.yaml:5:3: variables.sex.type: this key is needed: `category`, `integer` or `number`",
        ),
        ("max: 89", "max: -1", "job.yaml:6:3: variables.age: min 0 is above max -1"),
        (
            "max: 50",
            "max: .inf",
            "job.yaml:7:35: variables.km.max: must be a finite number, got `.inf`",
        ),
        (
            "{file: t.csv}",
            "t.csv",
            "job.yaml:9:5: tables.0: must be a mapping with `file`, `name`, `role` and `values`, "
            "got `t.csv`; write `{file: t.csv}`",
        ),
        (
            "{file: t.csv}",
            "{file: t.csv, role: controll, weight: 0}",
            "job.yaml:9:25: tables.0.role: must be `control` or `validate`, got `controll`; did you "
            "mean `control`?\n"
            "job.yaml:9:43: tables.0.weight: must be a number above 0, got `0`",
        ),
        (
            "{file: t.csv}",
            '{file: t.csv, separator: ":"}',
            'job.yaml:9:30: tables.0.separator: must be `,`, `;`, `"\\t"` or `|`, got `:`; write for '
            "example `separator: ;`",
        ),
        (
            "{file: t.csv}",
            '{file: t.parquet, separator: ";"}',
            "job.yaml:9:5: tables.0: `separator` is for CSV files; a parquet file has none",
        ),
        (
            "{model: none}",
            "{model: x, temperature: 3}",
            "job.yaml:10:35: provider.temperature: must be a number from 0 to 2, got `3`",
        ),
        (
            "{model: none}",
            "{model: x, api_key_env: sk-secret}",
            "job.yaml:10:35: provider.api_key_env: must be the NAME of an environment variable, such "
            "as `OPENAI_API_KEY`; never put the key itself into a job",
        ),
        (
            "{model: none}",
            "{model: x, api_base: me:secret@host}",
            "job.yaml:10:32: provider.api_base: must begin with http:// or https://",
        ),
        (
            "{model: none}",
            "{model: replay}",
            "job.yaml:10:1: provider: `model: replay` needs `replies`, the file of recorded replies",
        ),
        (
            "{file: t.csv}",
            "{file: t.csv, role: validate}",
            "job.yaml:8:1: tables: no table has `role: control`, so nothing would be met",
        ),
        (
            "sex: {",
            "count: {",
            "job.yaml:5:3: variables.count: `count` cannot name a variable: tables use it",
        ),
        (
            "records: 100",
            "records: 100\nscenario: {text: x, release: [t, u]}",
            "job.yaml:4:21: scenario.release: every control table is freed, so nothing would be met\n"
            "job.yaml:4:34: scenario.release.1: `u` is no table (tables: t)",
        ),
        (
            "records: 100",
            "records: 100\nscenario: 5",
            "job.yaml:4:11: scenario: must be a text or a mapping with `text` and `release`, got `5`, "
            'a number; put it in quotes: "5"',
        ),
        (
            "records: 100",
            "records: 100\ndependencies: [[sex, foo]]",
            "job.yaml:4:22: dependencies.0.1: `foo` is no variable (variables: sex, age, km)",
        ),
        (
            "records: 100",
            "records: 100\ndependencies: [[sex, 1]]",
            "job.yaml:4:22: dependencies.0.1: must be a text, got `1`, a number; put it in quotes: "
            '"1"',
        ),
        (
            "records: 100",
            "records: 100\ndependencies: off",
            "job.yaml:4:15: dependencies: must be `infer` or `off` or a list of lists of texts, got "
            '`off`, which YAML reads as false; put it in quotes: "off"',
        ),
        (
            "records: 100",
            "records: 100\nengine: {background: 2}",
            "job.yaml:4:22: engine.background: must be `auto` or a number from 0 to 1, got `2`",
        ),
        (
            "records: 100",
            "records: 100\nbudget: []",
            "job.yaml:4:1: budget: must be a mapping with `calls`, `tokens`, `cost_usd` and "
            "`minutes`, got a list",
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
        (JOB, "a:\n\tb: 1\n", "job.yaml:2:1: not valid YAML: a tab: YAML indents with spaces only"),
        (
            JOB,
            "a: b: c\n",
            "job.yaml:1:5: not valid YAML: a `:` that YAML does not expect here; put a text with a "
            "colon in quotes, or check the indentation",
        ),
        (
            JOB,
            'a: "b\nc: d\n',
            "job.yaml:1:4: not valid YAML: a quote opens here and is never closed",
        ),
        (
            JOB,
            "a: @b\n",
            "job.yaml:1:4: not valid YAML: a text that begins with `@`, `%` or a backtick must be put "
            "in quotes",
        ),
        (JOB, "a: \x00\n", "job.yaml: character U+0000 may not stand in a YAML file"),
    ],
)
def test_a_wrong_job_is_refused_with_place_and_advice(tmp_path, old, new, message):
    job = JOB.replace("male]}", "male], ordered: true}") if old == "ordered" else JOB
    assert job.count(old) == 1
    assert refusal(tmp_path, job.replace(old, new)) == message


def test_every_problem_of_a_job_is_named_at_once(tmp_path):
    text = JOB.replace("records: 100", "records: x").replace("name: tiny", "nmae: tiny")
    assert refusal(tmp_path, text) == (
        "job.yaml:2:1: nmae: unknown key; did you mean `name`?\n"
        f"job.yaml:3:10: records: {WHOLE}, got `x`; write for example `records: 10000`"
    )


def test_a_missing_job_file_is_named(tmp_path):
    with pytest.raises(JobError) as caught:
        load_job(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: no such file"
    (tmp_path / "nine.yaml").touch()
    with pytest.raises(JobError) as caught:
        load_job(tmp_path / "none.yaml")
    assert str(caught.value) == f"{tmp_path}/none.yaml: no such file; did you mean `nine.yaml`?"


def test_a_folder_is_no_job_file(tmp_path):
    with pytest.raises(JobError) as caught:
        load_job(tmp_path)
    assert str(caught.value) == f"{tmp_path}: this is a folder, not a job file"


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_bytes(b"name: caf\xe9\n")
    with pytest.raises(JobError) as caught:
        load_job(path)
    assert (str(caught.value), caught.value.hint) == (
        f"{path}:1: byte 9 (0xE9) is not UTF-8",
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
        ("foo=1", f"--set foo=1: foo: unknown key (keys here: {TOP})"),
        (
            "seed=010",
            '--set seed=010: YAML reads `010` as the number 8 (base 8); quote it if it is a text: "010", else write 10',
        ),
        (
            "engine.iterations=0",
            f"--set engine.iterations=0: engine.iterations: {WHOLE}, got `0`",
        ),
        (
            "variables.sex.values=[a, yes]",
            "--set variables.sex.values=[a, yes]: variables.sex.values.1: "
            "must be a text, got `true` (YAML reads a bare yes, no, on or off so); put it in quotes: "
            '"true"',
        ),
        (
            "scenario.a=1",
            "job.yaml:1:1: scenario.text: this key is needed; add for example `text: There is a "
            "concert tonight.`\n"
            "--set scenario.a=1: scenario.a: unknown key (keys here: text, release)",
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


def test_calls_in_a_minute_change_nothing(tmp_path):
    plain = load(tmp_path).job
    limited = load(tmp_path, JOB, "provider.rpm=30", "provider.tpm=90000").job
    assert fingerprinted(plain) == fingerprinted(limited)
