"""The Slurm scripts of `configs/hpc`, run here by tools that stand in for Slurm's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from zone_world import data_of, make, report_of, write_region

SCRIPTS = Path(__file__).parents[2] / "configs" / "hpc"
_SBATCH = """#!/bin/bash
# runs a script as Slurm would, once for each task of its array
number=$(($(cat "$LOGS/number" 2>/dev/null || echo 100) + 1))
echo "$number" >"$LOGS/number"
echo "$*" >>"$LOGS/submitted"
tasks=none
for word; do
  case "$word" in --array=1-*) tasks=$(seq 1 "${word#--array=1-}") ;; esac
  script="$word"
done
for task in $tasks; do
  [ "$task" = none ] || export SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_JOB_ID=$number
  SLURM_JOB_ID=$number SLURM_CPUS_PER_TASK=1 bash "$script" >>"$LOGS/out" 2>&1
  echo "$?" >>"$LOGS/codes"
done
echo "$number"
"""


def _tools(folder: Path, llmsynthor: str) -> dict[str, str]:
    """Put stand-ins for sbatch, scontrol and llmsynthor on a path; return the environment."""
    tools, logs = folder / "bin", folder / "logs"
    tools.mkdir()
    logs.mkdir()
    scontrol = '#!/bin/bash\necho "$*" >>"$LOGS/requeued"\n'
    for name, text in (("sbatch", _SBATCH), ("scontrol", scontrol), ("llmsynthor", llmsynthor)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    root = str(Path(__file__).parents[2])
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "LOGS": str(logs), "PYTHONPATH": root}


@pytest.mark.slow
def test_the_three_steps_make_what_one_run_makes(tmp_path):
    job = write_region(tmp_path, 30)
    environment = _tools(tmp_path, f'#!/bin/bash\nexec {sys.executable} -m llmsynthor "$@"\n')
    out = tmp_path / "out"
    done = subprocess.run(
        [SCRIPTS / "submit.sh", job, out, "2"], env=environment, capture_output=True, text=True
    )
    logs = tmp_path / "logs"
    assert done.stdout == "submitted: prepare 101, array 102 (1-2), merge 103\n", done.stderr
    assert (logs / "codes").read_text().split() == ["0"] * 4, (logs / "out").read_text()
    assert [line.rpartition(" ")[0] for line in (logs / "submitted").read_text().splitlines()] == [
        "--parsable",
        "--parsable --array=1-2 --dependency=afterok:101",
        "--parsable --dependency=afterany:102",
    ]
    assert report_of(out)["pass"]
    make(job, tmp_path / "plain")
    assert data_of(out) == data_of(tmp_path / "plain")
    assert json.loads((out / "manifest.json").read_text())["status"] == "complete"


def test_what_was_stopped_early_is_requeued(tmp_path):
    environment = _tools(tmp_path, "#!/bin/bash\nexit 75\n")
    done = subprocess.run(
        [SCRIPTS / "submit.sh", "j.yaml", "o", "2"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "logs" / "requeued").read_text().splitlines() == [
        "requeue 101",
        "requeue 102_1",
        "requeue 102_2",
    ]
    assert (tmp_path / "logs" / "codes").read_text().split() == ["75"] * 4


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.s*")), ids=lambda path: path.name)
def test_scripts_are_right_bash(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_usage():
    done = subprocess.run([SCRIPTS / "submit.sh"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "usage: submit.sh JOB OUT [TASKS]\n")
