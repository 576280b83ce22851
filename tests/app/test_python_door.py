"""The package in Python: a script or a notebook does what the commands do, with the same bytes and words."""

from __future__ import annotations

import builtins
import io
import json
import logging
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import household_job
import polars as pl
import pytest
from scripted_server import ScriptedServer, hang
from small_job import TABLES, data_hash, job_content, plan_for, provider, write_job
from zone_world import write_region

import llmsynthor as ls
from llmsynthor.cli.main import main

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_block_of_the_page_runs_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in BLOCK.findall((ROOT / "docs" / "python.md").read_text()):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert str(names["problem"]).startswith("weekday.csv:3: `Mondya` is no category of `weekday`")
    assert names["run"].path == Path("my/run")
    assert names["commuters"].records().height == 600
    assert set(ls.__all__) - {"Found", "LoadedJob", "Problem", "Run", "Listener", "Job"} <= set(
        re.findall(r"ls\.(\w+)", (ROOT / "docs" / "python.md").read_text())
    )


@pytest.mark.slow
def test_the_notebook_runs_and_holds_no_outputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = []
    notebook = json.loads((ROOT / "docs" / "tutorials" / "python.ipynb").read_text())
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert cell["outputs"] == []
        lines = "".join(cell["source"]).splitlines()
        exec("\n".join(lines[:-1]), names)
        last = eval(lines[-1], names)
        shown.append(last._repr_html_() if hasattr(last, "_repr_html_") else repr(last))
    assert shown[0] == "<Job trips/job.yaml: 31,053 records, 8 tables, model replay>"
    assert "valid (7 variables, 4 control tables" in shown[1]
    assert "<td>weekday</td><td>0.00000</td>" in shown[2]
    assert "pass: 31,053 of 31,053 records" in shown[2]


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules); import llmsynthor; dir(llmsynthor); "
        "print(*{m.split('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "llmsynthor\n"
    own = "import sys, llmsynthor; print(*(m for m in sys.modules if m.startswith('llmsynthor.')))"
    found = subprocess.run([sys.executable, "-c", own], capture_output=True, text=True, check=True)
    assert found.stdout == "\n"


def test_what_is_not_there_is_said():
    with pytest.raises(AttributeError, match="module `llmsynthor` has no attribute `laod`"):
        _ = ls.laod
    assert set(ls.__all__) <= set(dir(ls))
    assert all(getattr(ls, name) is not None for name in ls.__all__)


@pytest.mark.slow
def test_a_users_script_is_checked_by_mypy(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import llmsynthor as ls\n"
        "job = ls.load('trips.yaml', records=5000)\n"
        "run = ls.run(job, out='runs/trips')\n"
        "reveal_type(run.records())\n"
        "reveal_type(ls.check(job).problems)\n"
        "ls.laod('trips.yaml')\n"
    )
    cache = [
        "--cache-dir",
        str(ROOT / ".mypy_cache"),
        "--config-file",
        str(ROOT / "pyproject.toml"),
    ]
    command = [sys.executable, "-m", "mypy", "--strict", *cache, str(script)]
    told = subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout
    lines = [line.split(": ", 1)[1] for line in told.splitlines() if "script.py:" in line]
    assert lines == [
        'note: Revealed type is "polars.dataframe.frame.DataFrame"',
        'note: Revealed type is "tuple[llmsynthor.errors.Problem, ...]"',
        'error: Module has no attribute "laod"  [attr-defined]',
    ]


@pytest.fixture(scope="module")
def by_command(tmp_path_factory):
    """The small job as a command makes it."""
    folder = tmp_path_factory.mktemp("small")
    path = write_job(folder)
    assert main(["run", str(path), "--out", str(folder / "out"), "-q"]) == 0
    return path


def frames() -> dict[str, pl.DataFrame]:
    return {name: pl.read_csv(io.StringIO(text)) for name, text in TABLES.items()}


@pytest.mark.parametrize(
    "job",
    [
        lambda path: path,
        lambda path: str(path),
        lambda path: ls.load(path),
        lambda _: ls.load(job_content(), frames=frames()),
        lambda _: ls.load(ls.Job.model_validate(job_content()), frames=frames()),
        lambda path: ls.load(ls.load(path, records=5, seed=9), "seed=3", records=600),
    ],
    ids=["path", "text", "loaded", "mapping", "model", "changed"],
)
def test_the_same_job_has_the_same_bytes_whoever_runs_it(by_command, tmp_path, job):
    run = ls.run(job(by_command), tmp_path / "out")
    assert data_hash(tmp_path / "out") == data_hash(by_command.parent / "out")
    assert run.passed


def test_pandas_frames_stand_in_place_of_files(by_command, tmp_path):
    pandas = pytest.importorskip("pandas")
    given = {name: pandas.read_csv(io.StringIO(text)) for name, text in TABLES.items()}
    ls.run(ls.load(job_content(), frames=given), tmp_path / "out")
    assert data_hash(tmp_path / "out") == data_hash(by_command.parent / "out")


def test_a_run_that_is_there_is_read(by_command):
    run = ls.open_run(by_command.parent / "out")
    records = run.records()
    assert records.columns == ["age", "work", "mode"]
    assert records.height == run.provenance().height == run.job.records == 600
    assert repr(run) == f"<Run {run.path}: pass: 600 of 600 records>"
    assert run.targets.filter(role="control").select("name", "tvd", "tae", "pass").rows() == [
        ("age_work", 0.0, 0.0, True),
        ("work", 0.0, 0.0, True),
        ("mode", 0.0, 0.0, True),
    ]
    assert run.report["pass"] is run.passed is True
    assert run.explain(17)["values"] == records.row(17, named=True)
    with pytest.raises(ls.InputError, match="its records have no members"):
        run.members()


def test_results_are_those_of_the_commands(by_command, tmp_path, capsys):
    run = ls.open_run(by_command.parent / "out")
    real = tmp_path / "real.csv"
    run.records().sample(300, seed=1).rename({"mode": "how"}).write_csv(real)
    found = run.evaluate(real, columns={"how": "mode"}, most_triples=3)
    words = ["evaluate", str(run.path), str(real), "--columns", "how=mode", "--most-triples", "3"]
    capsys.readouterr()
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))
    with pytest.raises(ls.InputError) as wrong:
        run.export("cvs", tmp_path / "x.csv")
    assert str(wrong.value) == (
        "`cvs` is no format of exports; did you mean `csv`? "
        "(formats: csv, parquet, activitysim, populationsim, matsim, dictionary)"
    )
    made = run.export("csv", tmp_path / "x.csv", columns={"mode": "how"})
    assert made.files == [tmp_path / "x.csv"]
    assert main(["export", str(run.path), "--format", "csv", "--out", str(tmp_path / "y.csv"),
                 "--map", "mode=how"]) == 0  # fmt: skip
    assert (tmp_path / "x.csv").read_bytes() == (tmp_path / "y.csv").read_bytes()
    assert "how" in (tmp_path / "x.csv").read_text().splitlines()[0]
    (run.path / "report.json").unlink()
    assert ls.open_run(run.path).passed  # made anew from the records


def test_households_have_their_persons(tmp_path):
    run = ls.run(household_job.write_job(tmp_path), tmp_path / "out")
    persons = run.members()
    assert persons.height == 370
    assert persons["household_id"].n_unique() == run.records().height == 200


def test_tables_are_made_of_records_in_a_file_or_a_frame(by_command, tmp_path):
    records = ls.open_run(by_command.parent / "out").records()
    records.write_csv(tmp_path / "survey.csv")
    told: list[str] = []
    made = ls.tables_from(tmp_path / "survey.csv", tmp_path / "made", rare=5, tell=told.append)
    assert made.path == tmp_path / "made" / "job.yaml"
    assert told[0] == f"{tmp_path / 'survey.csv'}: 600 records counted"
    in_memory = ls.tables_from(records, rare=5)
    assert in_memory.job.tables == made.job.tables
    runs = []
    for number, job in enumerate((made, in_memory)):
        same = ls.load(job, "provider.model=none", seed=1)
        runs.append(ls.run(same, tmp_path / f"run{number}"))
    assert all(run.passed for run in runs)
    assert data_hash(runs[0].path) == data_hash(runs[1].path)
    with pytest.raises(
        ls.InputError, match=r"--missing drpo: the choices are auto, drop, category"
    ):
        ls.tables_from(records, missing="drpo")  # type: ignore[arg-type]


def test_a_check_finds_all_at_once_with_the_words_of_validate(tmp_path, capsys):
    path = write_job(tmp_path, records="many", tables=[{"file": "mode.csv"}, {"file": "wrok.csv"}])
    assert main(["validate", str(path)]) == 2
    told = capsys.readouterr().err
    found = ls.check(path)
    assert len(found.problems) > 1
    assert [f"error: {p}" for p in found.problems] == [
        line for line in told.splitlines() if line.startswith("error: ")
    ]
    assert found.targets.is_empty()
    assert repr(found).splitlines()[0] == f"<Found {len(found.problems)} problems>"
    with pytest.raises(ls.InputError) as caught:
        ls.run(path, tmp_path / "out")
    assert caught.value.problems == found.problems
    assert not (tmp_path / "out").exists()


def test_a_valid_job_is_told_as_validate_tells_it(by_command, capsys):
    assert main(["validate", str(by_command)]) == 0
    told = capsys.readouterr()
    found = ls.check(ls.load(by_command))
    assert found.problems == ()
    assert told.out == f"{by_command}: {found.summary}\n"
    assert told.err.splitlines() == [f"warning: {warning}" for warning in found.warnings]
    assert found.targets.select("name", "of", "figures", "role").rows() == [
        ("age_work", "age x work", 6, "control"),
        ("work", "work", 2, "control"),
        ("mode", "mode", 3, "control"),
        ("work_mode", "work x mode", 6, "validate"),
    ]


def test_a_job_made_in_python_is_complained_of_without_a_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ls.InputError) as caught:
        ls.load(job_content(records=0), "engine.iterations=x")
    assert [str(problem).partition(": ")[0] for problem in caught.value.problems] == [
        "records",
        "--set engine.iterations=x",
    ]
    with pytest.raises(ls.InputError, match="a job is made of texts, numbers, lists and mappings"):
        ls.load(job_content(seed=object()))
    assert str(ls.check(job_content()).problems[0]).startswith("age_work.csv: no such file")


def test_keywords_are_read_as_they_are(by_command):
    changed = ls.load(
        by_command,
        budget={"cost_usd": 1e-05, "calls": 3},
        description="no: yes",
        rules=None,
        scenario="Rain,\nall day. " * 20,
    ).job
    assert changed.budget.cost_usd == 1e-05
    assert changed.description == "no: yes"
    assert changed.rules == []
    assert changed.scenario is not None
    assert changed.scenario.text == "Rain,\nall day. " * 20


def test_nothing_in_a_name_is_read_as_html(tmp_path):
    content = job_content(tables=[{"file": "mode.csv", "name": "<b>&mode"}, {"file": "work.csv"}])
    run = ls.run(ls.load(content, frames={n: frames()[n] for n in ("mode.csv", "work.csv")}),
                 tmp_path / "<i>out")  # fmt: skip
    assert "<td>&lt;b&gt;&amp;mode</td>" in run._repr_html_()
    assert "&lt;i&gt;out" in run._repr_html_()
    found = ls.check(ls.load(content, frames={n: frames()[n] for n in ("mode.csv", "work.csv")}))
    assert "<td>&lt;b&gt;&amp;mode</td>" in found._repr_html_()
    assert not re.search(r"<[bi]>", run._repr_html_() + found._repr_html_())
    wrong = ls.check(job_content(name="<script>"))
    assert "<script>" in repr(wrong)
    assert "&lt;script&gt;" in wrong._repr_html_()


def test_a_run_that_is_there_is_not_touched_unless_asked(by_command, tmp_path):
    job = ls.load(by_command)
    run = ls.run(job, tmp_path / "out")
    before = data_hash(run.path)
    with pytest.raises(ls.InputError, match=r"holds a run already \(complete\)"):
        ls.run(job, tmp_path / "out")
    for how in ({"resume": True}, {"replay": True}, {"overwrite": True}):
        ls.run(job, tmp_path / "out", **how)
        assert data_hash(run.path) == before
    with pytest.raises(ls.InputError, match="`--overwrite` throws away"):
        ls.run(job, tmp_path / "out", resume=True, overwrite=True)
    with pytest.raises(ls.InputError, match="the job has changed since this run began: seed"):
        ls.run(ls.load(job, seed=4), tmp_path / "out", resume=True)
    with pytest.raises(ls.InputError, match="holds no run"):
        ls.open_run(tmp_path / "nowhere")


def test_the_folder_of_a_run_is_named_as_the_command_names_it(by_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ls.run(by_command).path == Path("runs/job")
    assert ls.run(ls.load(job_content(), frames=frames())).path == Path("runs/small")


def test_a_listener_hears_the_run_and_else_the_log_does(by_command, tmp_path, caplog):
    heard: list[str] = []

    class Listener:
        def iteration(self, line: dict[str, Any]) -> None:
            heard.append("iteration")

        def progress(self, stage: str, done: int, whole: int) -> None:
            heard.append(stage)

        def warn(self, text: str) -> None:
            heard.append(text)

    caplog.set_level(logging.INFO, "llmsynthor")
    odd = ls.load(by_command, rules=[{"name": "idle", "forbid": "age > 200"}])
    ls.run(odd, tmp_path / "heard", listener=Listener())
    assert heard[0] == "beginning"
    assert any("no combination of values breaks it" in words for words in heard)
    assert caplog.records == []
    ls.run(odd, tmp_path / "logged")
    warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert warned == [words for words in heard if "combination" in words or "table" in words]


SCRIPT = """
import sys
import llmsynthor as ls
try:
    ls.run(sys.argv[1], sys.argv[2], resume=True)
finally:
    print("tidied", flush=True)
"""


def slow_plan(body: dict[str, Any]) -> Any:
    time.sleep(0.1)
    return plan_for(body)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_a_script_that_is_stopped_goes_on_with_the_same_bytes(tmp_path, number):
    with ScriptedServer(default=slow_plan) as server:
        path = write_job(tmp_path, provider=provider(server.base_url))
        ls.run(path, tmp_path / "whole")
        asked = len(server.requests)
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(path), str(tmp_path / "out")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while len(server.requests) < asked + 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        told, story = process.communicate(timeout=30)
        assert (
            process.returncode == -number
        )  # as the signal ends a program that knows nothing of it
        out = tmp_path / "out"
        manifest = json.loads((out / "manifest.json").read_text())
        assert (manifest["status"], manifest["attempts"][0]["reason"]) == ("partial", number.name)
        assert not (out / "lock").exists()
        if number == signal.SIGINT:
            assert told == "tidied\n"
            last = f"KeyboardInterrupt: {out}: what was made is kept: `resume=True` goes on with it"
            assert story.splitlines()[-1] == last
        assert repr(ls.open_run(out)) == f"<Run {out}: partial, no report yet>"
        ls.run(path, out, resume=True)
    assert data_hash(out) == data_hash(tmp_path / "whole")


@pytest.mark.slow
def test_a_script_with_zones_is_not_run_again_by_its_workers(tmp_path):
    path = write_region(tmp_path / "region", executor={"processes": 2})
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nimport llmsynthor as ls\nprint('begins')\n"
        "print(ls.run(sys.argv[1], sys.argv[2]).passed)\n"
    )
    command = [sys.executable, str(script), str(path), str(tmp_path / "out")]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.stdout.split() == ["begins", "True"], found.stderr


def test_signals_are_as_before_after_a_run(by_command, tmp_path):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    ls.run(by_command, tmp_path / "out")
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)] == before


def test_a_run_works_on_another_thread(by_command, tmp_path):
    runs: list[ls.Run] = []
    thread = threading.Thread(target=lambda: runs.append(ls.run(by_command, tmp_path / "out")))
    thread.start()
    thread.join(timeout=60)
    assert runs[0].passed
    assert data_hash(tmp_path / "out") == data_hash(by_command.parent / "out")


def test_an_interrupt_of_a_notebook_is_an_ordinary_one(tmp_path):
    """A kernel is interrupted by SIGINT to its main thread, and lives on."""
    with ScriptedServer(default=lambda _: hang(30.0)) as server:
        path = write_job(tmp_path, provider=provider(server.base_url, timeout_s=30.0))

        def interrupt() -> None:
            while not server.requests:
                time.sleep(0.05)
            signal.raise_signal(signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(builtins.KeyboardInterrupt, match="`resume=True` goes on with it"):
            ls.run(path, tmp_path / "out")
    assert ls.open_run(tmp_path / "out").job.name == "small"


def test_changes_reach_a_job_that_is_loaded_too(tmp_path):
    job = ls.load(write_job(tmp_path))
    assert (
        ls.check(job, "tables=[]").problems == ls.check(tmp_path / "job.yaml", "tables=[]").problems
    )
    assert "nonsense" in str(ls.check(job, "nonsense.key=9").problems[0])


def test_overwriting_without_a_folder_is_refused(tmp_path):
    with pytest.raises(ls.InputError, match="`overwrite` is for a folder"):
        ls.tables_from(pl.DataFrame({"a": ["x", "y"]}), overwrite=True)
