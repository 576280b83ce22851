"""A small job for tests: three categories and a number, tables of 600 people, a scripted model."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import yaml
from scripted_server import ScriptedServer, Step, reply

from llmsynthor.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLES = {
    "age_work.csv": "age,work,count\n18-39,yes,220\n18-39,no,80\n40-64,yes,170\n40-64,no,60\n65+,yes,10\n65+,no,60\n",
    "work.csv": "work,count\nyes,400\nno,200\n",
    "mode.csv": "mode,count\ncar,300\nbus,180\nwalk,120\n",
    "work_mode.csv": "work,mode,count\nyes,car,260\nyes,bus,100\nyes,walk,40\nno,car,40\nno,bus,80\nno,walk,80\n",
}


def job_content(**changes: Any) -> dict[str, Any]:
    content = {
        "version": 1,
        "name": "small",
        "description": "A person on one day.",
        "records": 600,
        "seed": 3,
        "variables": {
            "age": {"type": "integer", "min": 18, "max": 90, "unit": "years"},
            "work": {"type": "category", "values": ["yes", "no"]},
            "mode": {"type": "category", "values": ["car", "bus", "walk"]},
        },
        "tables": [
            {"file": "age_work.csv"},
            {"file": "work.csv"},
            {"file": "mode.csv"},
            {"file": "work_mode.csv", "role": "validate"},
        ],
        "rules": [{"name": "the old do not drive", "forbid": "age > 85 AND mode = 'car'"}],
        "dependencies": "off",
        "provider": {"model": "none"},
        "engine": {
            "iterations": 3,
            "calls_per_iteration": 2,
            "candidates": 4000,
            "pilot_share": 0.05,
        },
    }
    return content | changes


def write_job(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in TABLES.items():
        (folder / name).write_text(text)
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job_content(**changes), sort_keys=False))
    return path


APPEND = [
    word
    for option in ("method=append", "candidates=null", "pilot_share=null")
    for word in ("--set", f"engine.{option}")
]
"""Options for the paper's loop, which takes no `candidates` and makes no pilots."""


def provider(base_url: str, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "api_base": base_url, "concurrency": 2, "timeout_s": 60.0, **more}


def proposal(seed: int = 0, **changes: Any) -> dict[str, Any]:
    values = {
        "age": [18 + seed % 20, 60 + seed % 30],
        "work": {"yes": 1 + seed % 5, "no": 1 + seed % 3},
        "mode": [["car", "bus"], ["walk"], ["car"], ["bus", "walk"]][seed % 4],
    }
    return {"reason": f"kind {seed}", "count": 20 + seed % 50, "values": values | changes}


def plan(*proposals: dict[str, Any]) -> str:
    return json.dumps({"proposals": list(proposals)})


def plan_for(body: dict[str, Any]) -> Step:
    """Answer with a plan that depends on the request alone, as a resumed run must see it again."""
    prompt = json.dumps(body["messages"])
    seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")
    return reply(plan(*(proposal(seed + i) for i in range(3))))


def prompts_of(
    job: Path, steps: list[Step], default: Callable[[dict[str, Any]], Step], *more: str
) -> list[str]:
    """Run a job on the scripted server; return the prompts in the order of asking.

    Steps may end the run with a refusal, which saves making and reporting records.
    """
    out = str(job.parent / "out")
    with ScriptedServer(steps, default=default) as server:
        options = ["--set", f"provider.api_base={server.base_url}", *more]
        assert main(["run", str(job), "--out", out, "-q", *options]) in (0, 3, 4)
        return [body["messages"][-1]["content"] for body in server.bodies]


def data_hash(run: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted([*(run / "data").glob("*"), *(run / "provenance").glob("*")]):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()


def report(run: Path) -> dict[str, Any]:
    return json.loads((run / "report.json").read_text())


def local_answer(request: dict[str, Any], seed: int) -> str:
    """Answer a local model's request with groups, a plan, or what completes a focus."""
    if '\\"groups\\"' in request.get("grammar", ""):
        return '{"groups": [["age", "mode"]]}'
    if '\\"proposals\\"' in request.get("grammar", ""):
        return plan(proposal(seed), proposal(seed + 1))
    values = {"age": ["18-39", "40-64"], "work": ["yes", "no"], "mode": ["walk", "bus"]}
    return json.dumps({"reason": f"kind {seed}", "values": values})
