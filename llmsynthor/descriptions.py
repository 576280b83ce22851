"""What `explain` and `preview` write to stdout: a record and where it came from; a run to come."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmsynthor.console import out

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def printable(text: str) -> str:
    """Return lines without what could steer a terminal: control characters, bidi marks.

    Example:
        >>> printable("a" + chr(27) + "b")
        'a b'
    """
    lines = text.split("\n")
    return "\n".join("".join(c if c.isprintable() else " " for c in line) for line in lines)


def print_columns(
    rows: Sequence[Sequence[object]], heads: Sequence[str] = (), longest: int = 60
) -> None:
    """Write rows to stdout as columns as wide as their longest entry; long entries are cut."""
    shown = [[_cut(str(entry), longest) for entry in row] for row in [heads, *rows] if row]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        out("  " + "  ".join(cells).rstrip())


def _cut(text: str, longest: int) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def print_explanation(found: dict[str, Any], folder: Path) -> None:
    """Show where a record came from."""
    out(f"record {found['record']} of {folder} ({found['file']}, row {found['row']}; both from 0)")
    out(f"made in: {found['made_in']}")
    proposal = found["proposal"]
    if proposal is None:
        out(f"came from: the background, with {found['siblings'] - 1:,} other records")
        out(f"  {found['meaning']}")
        print_columns(list(found["values"].items()), ("variable", "record"))
        return
    out(
        f"came from: proposal {proposal['id']} of iteration {proposal['iteration']}, "
        f"with {found['siblings'] - 1:,} other records; it asked for {proposal['count']:,}"
    )
    out(f"reason: {_cut(proposal['reason'] or '(none given)', 500)}")
    print_columns(
        [
            (name, value, _said(proposal["values"].get(name)), _MARKS[proposal["inside"].get(name)])
            for name, value in found["values"].items()
        ],
        ("variable", "record", "proposal", ""),
    )
    _print_reply(found["model"], proposal)


_MARKS = {
    True: "",
    False: "not in the proposal: smoothing or rounding",
    None: "the proposal's value cannot be read",
}


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_reply(model: str, proposal: dict[str, Any]) -> None:
    reply, guidance = proposal["reply"], proposal["guidance"]
    if reply is None:
        out(f"model: {model}; the reply is not in replies.jsonl")
    else:
        cost = "unknown" if reply["cost_usd"] is None else f"{reply['cost_usd']:.4f} USD"
        out(f"model: {_cut(model, 200)} (answered by {_cut(reply['model'], 200)})")
        out(
            f"reply: {reply['purpose']} {reply['sequence']} in replies.jsonl, key {reply['key']}, "
            f"{reply['prompt_tokens']:,} + {reply['completion_tokens']:,} tokens, cost {cost}"
        )
    if guidance is None:
        out("guidance: not kept (there is no such request in prompts.jsonl)")
        return
    out("guidance: the prompt that it answered\n")
    out(printable(guidance["prompt"]).rstrip())


def print_preview(found: dict[str, Any]) -> None:
    """Show what a run would do."""
    out(f"{found['name']}: {found['records_asked']:,} records, model {_cut(found['model'], 200)}\n")
    out("tables")
    print_columns(
        [
            (
                table["name"],
                " x ".join(table["scope"]),
                f"{table['cells']:,}",
                "held out" if table["role"] == "validate" else "met",
                "soft (gives way)" if table["soft"] else "",
            )
            for table in found["tables"]
        ],
        ("name", "scope", "cells", "role", ""),
    )
    out(f"  pairs of variables in no control table: {found['uncovered_pairs']}\n")
    if found["prompt"] is None:
        out("no model is asked: there is no prompt\n")
    else:
        _print_prompt(found)
    if found["plan"] is not None:
        _print_plan(found["plan"])
    source = "proposals of the plan" if found["records_from"] == "plan" else "background (no model)"
    out(f"{len(found['records'])} records from the {source}, not calibrated yet")
    records = found["records"]
    print_columns([list(r.values()) for r in records], list(records[0]) if records else (), 28)
    out("")
    _print_most(found["most"])


def _print_prompt(found: dict[str, Any]) -> None:
    prompt = found["prompt"]
    out(f"first plan prompt, about {prompt['tokens']:,} tokens (with the answer's form)")
    if found["groups_inferred_first"]:
        out("(a run asks first which variables depend on each other; its prompts name the answer)")
    for title, text in (("system", prompt["system"]), ("user", prompt["prompt"])):
        out(f"--- {title}")
        out(printable(text).rstrip())
    out("---\n")


def _print_plan(plan: dict[str, Any]) -> None:
    cost = "unknown" if plan["cost_usd"] is None else f"{plan['cost_usd']:.4f} USD"
    out(
        f"one plan: {len(plan['proposals'])} proposals, {len(plan['rejections'])} rejected, "
        f"{plan['prompt_tokens']:,} + {plan['completion_tokens']:,} tokens, cost {cost}"
    )
    for problem in (plan["problem"], plan["stop"]):
        if problem:
            out(f"  nothing could be used: {_cut(problem, 300)}")
    for entry in plan["proposals"]:
        out(
            f"  {entry['id']}: {_cut(entry['reason'] or '(no reason)', 200)} (count {entry['count']:,})"
        )
        out(f"     {_cut(_said(entry['values']), 400)}")
    for entry in plan["rejections"]:
        out(f"  {entry['id']}: rejected: {_cut(entry['problem'], 300)}")
    out("")


def _print_most(most: dict[str, Any]) -> None:
    out("the most that a run can use")
    if not most["calls"]:
        out("  no calls, no tokens, no cost")
        return
    out(
        f"  calls: {most['calls']:,} ({most['plan_calls']:,} plans, {most['repair_calls']:,} repairs, "
        f"{most['dependency_calls']} for dependencies)"
    )
    out(f"  tokens: about {most['tokens']:,}")
    if most["cost_usd"] is None:
        out(
            "  cost: unknown; litellm knows no price of this model: give "
            "`provider.price_per_mtok: {input: ..., output: ...}`"
        )
    else:
        out(f"  cost: {most['cost_usd']:.4f} USD")
    if most["refused"]:
        out("  `run` will refuse: `budget.cost_usd` cannot be kept without a price")
    if most["cut_by"]:
        out(f"  cut by {', '.join(most['cut_by'])}")
    if most["minutes"] is not None:
        out(f"  asking ends after {most['minutes']:g} minutes at the latest (budget.minutes)")
    out("  a run stops earlier when the proposals level off (docs/stopping.md)")
