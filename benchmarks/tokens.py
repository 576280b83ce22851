"""What proposals cost in tokens, and what each call wins: held-out error after 0, 4, 8, ... calls.

Prompts are those that this version writes, with the schema that goes with each; replies are the
recorded ones. Both are counted with OpenAI's tokenizer (gpt-4o).

Example: python benchmarks/tokens.py --jobs trips population
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from processes import measured

from llmsynthor.llm.providers.litellm import load_litellm

ROOT = Path(__file__).parents[1]


def tokens(text: str) -> int:
    """Return how many tokens a text has."""
    return int(load_litellm().token_counter(model="gpt-4o", text=text))


def measure(job: str, iterations: int) -> dict[str, Any]:
    """Run one job with so many iterations of asking; return what they cost and won."""
    changes = [f"engine.iterations={iterations}"] if iterations else ["provider.model=none"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        sets = [word for change in changes for word in ("--set", change)]
        words = ["run", str(ROOT / "configs" / f"{job}.yaml"), "--out", str(out), "-q", *sets]
        measured([sys.executable, "-m", "llmsynthor", *words], Path(folder), accepted=(0, 3))
        report = json.loads((out / "report.json").read_text())
        prompts = lines(out / "prompts.jsonl")
        replies = lines(out / "replies.jsonl")
    accepted = report["llm"]["proposals"]["accepted"]
    prompt = [tokens(f"{line['system']}\n{line['prompt']}") for line in prompts]
    reply = [tokens(line["reply"]["text"]) for line in replies if "reply" in line]
    whole = sum(prompt) + sum(reply)
    summary = report["summary"]
    won = 100 * (summary["validate_maxent_mean"] - summary["validate_tvd_mean"])
    return {
        "job": job,
        "calls": len(reply),
        "prompt_tokens": sum(prompt),
        "longest_prompt": max(prompt, default=0),
        "reply_tokens": sum(reply),
        "accepted": accepted,
        "tokens_per_accepted": round(whole / accepted) if accepted else None,
        "held_out_tvd": round(summary["validate_tvd_mean"], 4),
        "ratio": round(summary["validate_ratio"], 3),
        "points_won": round(won, 2),
        "tokens_per_point": round(whole / won) if iterations and won > 0 else None,
    }


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a JSON-lines file, none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Print one line of JSON a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", nargs="+", default=["trips", "population"])
    parser.add_argument("--iterations", type=int, nargs="+", default=[0, 1, 2, 3, 4, 6])
    options = parser.parse_args()
    for job in options.jobs:
        for iterations in options.iterations:
            print(json.dumps(measure(job, iterations)), flush=True)


if __name__ == "__main__":
    main()
