"""Cuts the starter files of `llmsynthor init` out of the example jobs: tables, and recorded replies.

    python configs/make_starters.py

Each starter keeps some of an example's variables; a recorded proposal keeps its values of these.
`job.yaml` and `SOURCE.md` of the starters are written by hand.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

CONFIGS = Path(__file__).parent
STARTERS = CONFIGS.parent / "llmsynthor" / "starters"

STARTS: dict[str, tuple[str, list[str], list[str], list[str], int]] = {
    # starter: (example, variables, tables, held out, replies)
    "population": (
        "population",
        ["age_band", "sex", "marital-status", "relationship", "education", "income", "hours_band"],
        ["hours_band", "age_band_marital-status", "sex_relationship", "education_income"],
        ["age_band_hours_band", "age_band_income", "relationship_income", "sex_income"],
        6,
    ),
    "mobility": (
        "trips",
        ["weekday", "period", "purpose", "mode", "distance_band", "age_band", "worker"],
        ["weekday", "period_purpose", "mode_distance_band", "worker_age_band"],
        ["mode_age_band", "period_worker", "purpose_age_band", "weekday_purpose"],
        8,
    ),
    "ecommerce": (
        "ecommerce",
        ["age", "gender", "location", "category", "price", "payment"],
        ["age_gender_category", "category_price", "location_payment"],
        ["age_price", "location_category"],
        8,
    ),
}


def cut_reply(line: str, variables: list[str]) -> str:
    """Return a recorded reply whose proposals hold the given variables alone."""
    record = json.loads(line)
    plan = json.loads(record["reply"]["text"])
    for proposal in plan["proposals"]:
        proposal["values"] = {name: proposal["values"][name] for name in variables}
    record["reply"]["text"] = json.dumps(plan, ensure_ascii=False)
    return json.dumps(
        {
            "purpose": record["purpose"],
            "sequence": record["sequence"],
            "reply": {"text": record["reply"]["text"], "model": record["reply"]["model"]},
        },
        ensure_ascii=False,
    )


def make(name: str, folder: Path) -> None:
    """Write the tables and the recording of one starter into `folder`."""
    example, variables, tables, held_out, replies = STARTS[name]
    for kind, files in (("tables", tables), ("validate", held_out)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(CONFIGS / example / kind / f"{file}.csv", folder / kind / f"{file}.csv")
    lines = (CONFIGS / example / "replies.jsonl").read_text(encoding="utf-8").splitlines()
    cut = [cut_reply(line, variables) for line in lines[:replies]]
    (folder / "replies.jsonl").write_text("\n".join(cut) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for starter in STARTS:
        make(starter, STARTERS / starter)
