"""What a person sees of a run: live lines on a terminal, lines of `key=value` elsewhere, run.log."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scripted_server import ScriptedServer, Step, error
from small_job import data_hash, plan, plan_for, proposal, provider, report, write_job

from llmsynthor.cli import progress
from llmsynthor.cli.console import fit, print_summary, width_of
from llmsynthor.cli.main import main
from llmsynthor.cli.progress import ConsoleListener
from llmsynthor.store.lines import Attempt, Iteration, seconds_used

ROOT = Path(__file__).parents[2]
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"


def run(job: Path, *options: str) -> int:
    return main(["run", str(job), "--out", str(job.parent / "out"), *options])


def log(job: Path) -> str:
    return (job.parent / "out" / "run.log").read_text()


def slow_plan(body: dict) -> Step:
    time.sleep(0.2)
    return plan_for(body)


def test_off_a_terminal_an_iteration_is_a_line_with_the_worst_table(tmp_path, capsys):
    with ScriptedServer(default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url))
        assert run(job) == 0
    story = capsys.readouterr().err
    found = re.findall(
        rf"^{STAMP} INFO iteration (\d) of 3 proposals=\d+ accepted=\d+ rejected=0 "
        r"prior_tvd=0\.\d{4} worst_table=(\w+) worst_tvd=(0\.\d{4}) records=(\d+)/600 calls=(\d) "
        r"tokens=\d+ cost_usd=unknown$",
        story,
        re.M,
    )
    assert [(n, records, calls) for n, _, _, records, calls in found] == [
        ("1", "30", "2"),
        ("2", "60", "4"),
        ("3", "90", "6"),
    ]
    lines = [json.loads(x) for x in (tmp_path / "out/iterations.jsonl").read_text().splitlines()]
    assert [(t, float(d)) for _, t, d, _, _ in found] == [
        (line["worst_table"]["name"], round(line["worst_table"]["tvd"], 4)) for line in lines[:3]
    ]
    assert "\x1b" not in story
    assert "\r" not in story


@pytest.mark.slow
def test_a_long_silence_is_broken(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SILENCE_S", 0.0)
    monkeypatch.setattr(progress, "_REDRAW_S", 0.01)
    with ScriptedServer(default=slow_plan) as server:
        job = write_job(tmp_path, provider=provider(server.base_url))
        assert run(job) == 0
    story = capsys.readouterr().err
    assert len(re.findall(rf"^{STAMP} INFO asking iteration=1/3 records=0/600 ", story, re.M)) > 1
    assert re.search(
        r"INFO asking iteration=3/3 records=60/600 seconds=\d+ eta_s=\d+$", story, re.M
    )


def test_each_tenth_of_the_records_is_a_line(tmp_path, capsys):
    job = write_job(tmp_path, records=20_000, output={"row_group": 1000})
    assert run(job) == 0
    tenths = re.findall(r"INFO writing records=(\d+)/20000", capsys.readouterr().err)
    assert tenths == [str(n) for n in range(2000, 20_001, 2000)]


def test_quiet_and_verbose(tmp_path, capsys):
    with ScriptedServer(default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url))
        assert run(job, "-q") == 0
        assert " INFO " not in capsys.readouterr().err
        whole = log(job)
        assert run(job, "-v", "--overwrite") == 0
    told = capsys.readouterr().err
    for stage in ("asking", "drawing", "calibrating", "integerizing"):
        words = f"INFO {stage} iteration=2/3 records=30/600"
        assert words in told
        assert words in whole
    assert "INFO beginning records=0/600" in whole
    assert "INFO iteration 3 of 3 " in whole
    assert "INFO pass records=600/600 calls=6 cost_usd=unknown worst_tvd=0.00000 " in whole
    assert 'stop_reason="all iterations done"' in whole
    assert run(job, "-q", "-v") == 2
    assert capsys.readouterr().err == "error: `-q` and `-v` exclude each other; give one of them\n"


def test_the_log_says_how_a_run_ended_and_a_refused_command_leaves_it_alone(tmp_path, capsys):
    with ScriptedServer(default=lambda _: error(401)) as server:
        job = write_job(tmp_path, provider=provider(server.base_url))
        assert run(job, "-q") == 4
    before = log(job)
    assert re.search(rf"^{STAMP} ERROR .*401", before.splitlines()[-1])
    assert run(job, "-q") == 2
    assert log(job) == before


class Terminal(io.StringIO):
    """A terminal that nobody looks at."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_live_lines_fit_it(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "76")
    monkeypatch.setattr(sys, "stderr", Terminal())
    now = [0.0]
    listener = ConsoleListener(
        quiet=False, verbose=False, log=tmp_path / "log", records=30_000, iterations=12,
        clock=lambda: now[0],
    )  # fmt: skip
    line = {
        "iteration": 1, "records": 450, "library": 24, "prior_tvd": 0.0412, "seconds": 60.0,
        "proposals_accepted": 24, "proposals_rejected": 0, "calls": 4, "failed_calls": 0,
        "prompt_tokens": 1, "completion_tokens": 1, "cost_usd": 0.01, "data_tvd": None,
        "seconds_asking": 60.0,
        "worst_table": {"name": "\u4ea4\u901a\u624b\u6bb5\x1b[2J" * 9, "tvd": 0.0123},
        "so_far": {"calls": 4, "tokens": 41_200, "cost_usd": 0.01},
    }  # fmt: skip
    with listener:
        listener.progress("asking", 0, 30_000)
        listener.iteration(Iteration.model_validate(line))
        listener.progress("asking", 450, 30_000)
        now[0] = 30.0
        listener.progress("asking", 450, 30_000)
    shown = sys.stderr.getvalue()
    assert "iteration 2/12, asking 30 s" in shown
    assert "450/30,000 records, ETA 10 min at most" in shown
    assert "TVD 0.0123; 4 calls, 41,200 tokens, 0.0100 USD" in shown
    assert "iteration 1/12: 24 proposals, prior TVD 0.0412, 450 records\n" in shown
    assert "\x1b[2J" not in shown
    plain = re.sub(r"\x1b\[\d*[A-Z]", "", shown)
    live = [part for part in re.split(r"[\r\n]", plain) if "prior TVD" not in part]
    assert max(map(width_of, live)) < 76
    assert shown.endswith("\r\x1b[K\n\x1b[K\x1b[1A\r")  # nothing live is left behind


def watched(job: Path, **environment: str) -> str:
    """Run in a terminal of its own; return all that it was sent."""
    main_end, child_end = pty.openpty()
    command = [sys.executable, "-m", "llmsynthor", "run", str(job), "--out", str(job.parent / "t")]
    more = {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "80", **environment}
    with subprocess.Popen(
        [*command, "--overwrite"], stderr=child_end, stdout=subprocess.DEVNULL,
        env={**os.environ, **more},
    ) as process:  # fmt: skip
        os.close(child_end)
        shown = b""
        while True:
            try:
                part = os.read(main_end, 65536)
            except OSError:  # the child's end is closed
                break
            if not part:
                break
            shown += part
    os.close(main_end)
    assert process.returncode == 0
    return shown.decode()


@pytest.mark.slow
def test_a_real_terminal_gets_live_lines_without_colour_and_a_dumb_one_none(tmp_path):
    plans = [plan(proposal(i), proposal(i + 7)) for i in range(6)]
    lines = [
        {"purpose": "plan", "sequence": i, "reply": {"text": text, "model": "m"}}
        for i, text in enumerate(plans)
    ]
    (tmp_path / "rec.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = write_job(tmp_path, provider={"model": "replay", "replies": "rec.jsonl"})
    live = watched(job, NO_COLOR="1")
    assert "iteration 1/3, asking" in live
    assert "worst table age_work TVD 0." in live
    assert re.findall(r"\x1b\[[\d;]*m", live) == []
    drawn = data_hash(tmp_path / "t")
    dumb = watched(job, TERM="dumb")
    assert "\x1b" not in dumb
    assert "INFO iteration 1 of 3" in dumb
    assert data_hash(tmp_path / "t") == drawn


def many_tables(asked: int, name: str) -> dict:
    table = {
        "role": "control", "tae": 1_234_567.0, "noise_floor_tvd": 0.0123, "pass": False,
        "baseline": {"maxent": 0.0456},
    }  # fmt: skip
    rows = [{**table, "name": f"{name} {n:02d}", "tvd": n / 100} for n in range(asked)]
    return {
        "tables": rows,
        "records": {"asked": 1, "made": 1},
        "rules": [{"name": "a rule with quite a long name " * 4, "violations": 2}],
        "pass": False,
        "summary": {"validate_ratio": None},
        "llm": {
            "model": "some/model-of-a-long-name" * 3,
            "calls": 1,
            "cost_usd": 0.01,
            "proposals": {"accepted": 1},
        },
        "seconds": {"total": 12.3},
        "stop_reason": "in the last 3 iterations the proposals came no nearer " * 3,
    }


@pytest.mark.parametrize("name", ["period_purpose", "\u4ea4\u901a\u624b\u6bb5" * 12, "x" * 90])
def test_the_summary_of_forty_tables_fits_80_columns(capsys, name):
    print_summary(many_tables(40, name), Path("out"))
    lines = capsys.readouterr().err.splitlines()
    assert max(map(width_of, lines)) <= 80
    assert sum("1,234,567 rec" in line for line in lines) == 10
    assert "0.39000" in lines[2]
    assert "  and 30 more: see report.html" in lines
    text = " ".join(" ".join(lines).split())
    assert "not passed: 1 of 1 record; 40 tables miss the tolerance; rules broken: a rule" in text
    assert "1 call, 1 proposal, cost 0.0100 USD, 12.3 s" in text


def test_one_table_misses(capsys):
    print_summary(many_tables(1, "t"), Path("out"))
    assert "1 table misses the tolerance" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("\u4ea4\u901a", 4, "\u4ea4\u901a"),
        ("\u4ea4\u901a", 3, "\u4ea4…"),
        ("a\nb", 9, "a b"),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
    ],
)
def test_text_is_cut_to_columns(text, columns, shown):
    assert fit(text, columns) == shown


@pytest.mark.slow
def test_ctrl_c_before_the_run_began_says_that_nothing_was_made(tmp_path):
    os.mkfifo(tmp_path / "job.yaml")
    command = [sys.executable, "-m", "llmsynthor", "run", str(tmp_path / "job.yaml")]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")], stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        with (tmp_path / "job.yaml").open("w"):  # returns once the child reads
            process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert told == "\nstopped by SIGINT; nothing was made\n"
    assert not (tmp_path / "out").exists()


def test_minutes_are_wall_time_of_all_attempts(tmp_path):
    with ScriptedServer([error(401)], default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url, concurrency=1))
        assert run(job, "-q") == 4
        path = tmp_path / "out" / "manifest.json"
        manifest = json.loads(path.read_text())
        assert manifest["attempts"][0]["seconds"] > 0
        manifest["attempts"][0]["seconds"] = 1801.0  # as if it had waited for half an hour
        path.write_text(json.dumps(manifest))
        assert run(job, "-q", "--resume", "--set", "budget.minutes=30") == 0
        assert len(server.requests) == 1
    found = report(tmp_path / "out")
    assert (found["stop_reason"], found["llm"]["calls"]) == ("budget.minutes 30", 0)
    last = json.loads(path.read_text())["attempts"][1]
    assert last["seconds_before"] == 1801.0
    assert 0 < last["seconds"] < 1800


def test_calibration_counts(tmp_path):
    with ScriptedServer(default=plan_for) as server:
        job = write_job(tmp_path, provider=provider(server.base_url))
        assert run(job, "-q") == 0
    lines = [json.loads(x) for x in (tmp_path / "out/iterations.jsonl").read_text().splitlines()]
    used = [line["seconds_used"] for line in lines[:3]]
    assert used == sorted(used)
    assert used[2] >= sum(line["seconds"] for line in lines[:3]) - 0.01
    attempt = json.loads((tmp_path / "out/manifest.json").read_text())["attempts"][0]
    assert attempt["seconds"] >= used[2]


@pytest.mark.parametrize(
    ("attempts", "logged", "seconds"),
    [
        ([], [], 0.0),
        ([{"seconds_before": 0.0, "seconds": 9.5, "end": "x"}], [9.0], 9.5),
        ([{"seconds_before": 0.0, "seconds": None, "end": None}], [5.0, 8.0], 8.0),
        (
            [
                {"seconds_before": 0.0, "seconds": None, "end": None},  # killed
                {"seconds_before": 8.0, "seconds": 2.0, "end": "x"},
            ],
            [5.0, 8.0, 9.0],
            10.0,
        ),
        (
            [
                {"seconds_before": 0.0, "seconds": 4.0, "end": "x"},
                {"seconds_before": 4.0, "seconds": None, "end": None},
            ],
            [3.0],
            4.0,
        ),
        (  # an older run's manifest
            [{"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-01T00:01:30+00:00"}],
            [],
            90.0,
        ),
    ],
)
def test_the_time_of_attempts(attempts, logged, seconds):
    given = [Attempt.model_validate({"start": "x"} | attempt) for attempt in attempts]
    assert seconds_used(given, logged) == seconds
