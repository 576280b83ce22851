"""What `explain` and `preview` write to stdout: a record and where it came from; a run to come."""

from __future__ import annotations

import json
import shutil
import sys
from typing import TYPE_CHECKING, Any

from llmsynthor.cli.console import out
from llmsynthor.text import and_more, count_of, many, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def print_columns(
    rows: Sequence[Sequence[object]], heads: Sequence[str] = (), longest: int = 60
) -> None:
    """Write rows to stdout as columns as wide as their longest entry.

    On a terminal long entries are cut, the last column to what is left of the line; in a pipe or
    a file all is whole.
    """
    shown = [[_cut(str(entry), longest) for entry in row] for row in [heads, *rows] if row]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    room = max(_LEAST_LAST, shutil.get_terminal_size().columns - sum(widths[:-1]) - 2 * len(widths))
    for row in shown:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        cells[-1] = _cut(row[-1], room)
        out("  " + "  ".join(cells).rstrip())


_LEAST_LAST = 20
"""Characters that the last column has even on a narrow terminal."""


def _cut(text: str, longest: int) -> str:
    """Return the text on one line; where a person looks at a terminal, in `longest` characters."""
    line = printable(" ".join(text.split()))
    whole = len(line) <= longest or not sys.stdout.isatty()
    return line if whole else line[: longest - 1] + "…"


def print_explanation(found: dict[str, Any], folder: Path, *, prompt: bool) -> None:
    """Show where a record came from, with the whole prompt if `prompt`."""
    out(f"record {found['record']} of {folder} ({found['file']}, row {found['row']}; both from 0)")
    out(f"made in: {found['made_in']}")
    proposal = found["proposal"]
    if proposal is None:
        _print_without_proposal(found)
        _print_values(found["values"], found["table_share"], ("record", "in tables"))
        _print_members(found)
        return
    out(
        f"came from: proposal {proposal['id']} of iteration {proposal['iteration']}, with "
        f"{count_of(found['siblings'] - 1, 'other record')}; it asked for {proposal['count']:,}"
    )
    out(f"reason: {_cut(proposal['reason'] or '(none given)', 500)}")
    heads = ("record", "in proposal", "in tables", "proposal")
    _print_values(found["values"], found["table_share"], heads, proposal, proposal["values"])
    _print_members(found)
    _print_reply(found["model"], proposal)
    _print_guidance(proposal, prompt=prompt)


def _print_values(
    values: Mapping[str, object],
    tables: Mapping[str, float | None],
    heads: Sequence[str],
    proposed: Mapping[str, Any] | None = None,
    said: Mapping[str, object] | None = None,
) -> None:
    """Show each value with its share in the tables, and beside what was proposed if anything was."""
    rows: list[tuple[object, ...]] = []
    for name, value in values.items():
        share = _percent(tables.get(name))
        if proposed is None or said is None:
            rows.append((name, value, share))
        else:
            words = _MARKS[proposed["inside"].get(name)] + _said(said.get(name))
            rows.append((name, value, _percent(proposed["share"][name]), share, words))
    print_columns(rows, ("variable", *heads))


def _print_without_proposal(found: dict[str, Any]) -> None:
    """Show that a record is a copy of a real one, or came from the tables alone."""
    others = count_of(found["siblings"] - 1, "other record")
    copied = found["seed_record"]
    if copied is None:
        out(f"came from: the background, with {others}")
        out(f"  {found['meaning']}")
        return
    weight = "" if copied["weight"] is None else f" (weight {copied['weight']:g})"
    out(f"copied from seed record {_cut(copied['key'], 200)}{weight}, as {others} are")
    out("  a real record of the job's seed sample, with the values that it has there")


def _print_members(found: dict[str, Any]) -> None:
    """Show each member of a record beside the entry of the proposal that made it."""
    heading = f"in tables of {many(found.get('member', ''))}"
    for member in found.get("members", ()):
        title = f"{found['member']} {member['number']}"
        entry, tables = member["entry"], member["table_share"]
        if entry is None:
            why = "" if found["proposal"] is None else ": of no entry of the proposal's `members`"
            out(title + why)
            _print_values(member["values"], tables, (found["member"], heading))
            continue
        out(f"{title}: made by members.{entry} of the proposal")
        heads = (found["member"], "in proposal", heading, "proposal")
        _print_values(member["values"], tables, heads, member, member["said"])


_MARKS = {
    True: "",
    False: "not in the proposal: smoothing or rounding; it says ",
    None: "the proposal's value cannot be read: ",
}
_GAPS_SHOWN = 2


def _percent(share: float | None) -> str:
    """Return the share of a value's category or bin."""
    return "-" if share is None else f"{100 * share:.1f} %"


def _said(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _print_reply(model: str, proposal: dict[str, Any]) -> None:
    reply = proposal["reply"]
    if reply is None:
        out(f"model: {_cut(model, 200)}\nreply: {proposal['reply_problem']}")
    else:
        cost = "unknown" if reply["cost_usd"] is None else f"{reply['cost_usd']:.4f} USD"
        out(f"model: {_cut(model, 200)} (answered by {_cut(reply['model'], 200)})")
        out(
            f"reply: {reply['purpose']} {reply['sequence']} in replies.jsonl, key {reply['key']}, "
            f"{reply['prompt_tokens']:,} + {reply['completion_tokens']:,} tokens, cost {cost}"
        )


def _print_guidance(proposal: dict[str, Any], *, prompt: bool) -> None:
    """Show in a line or two what the model was guided by, and on request all of it."""
    guidance = proposal["guidance"]
    if guidance is None:
        out(f"guidance: {proposal['guidance_problem']}")
        return
    again = " (asked again, as the first answer could not be used)"
    focus = guidance["focus"] or "no focus of its own"
    out(f"guidance: {_cut(focus, 300)}{again if guidance['purpose'] == 'repair' else ''}")
    gaps = guidance["gaps"]
    if gaps:
        out(f"it was shown: {and_more([_cut(gap, 200) for gap in gaps], _GAPS_SHOWN, '; ')}")
    if prompt:
        out("\nthe prompt that it answered\n")
        out(printable(guidance["prompt"], "\n").rstrip())
    else:
        out("`--prompt` shows the whole prompt")


def print_preview(found: dict[str, Any]) -> None:
    """Show what a run would do."""
    asked = count_of(found["records_asked"], "record")
    out(f"{printable(found['name'])}: {asked}, model {_cut(found['model'], 200)}")
    if found["model_found"]:
        out(printable(found["model_found"], "\n"))
    if found["refused"]:
        out(printable(f"a run would not start: {found['refused']}", "\n"))
    if found["zones"] is not None:
        out(found["zones"]["words"])
        out("the model is shown the tables summed over zones; the records below have no zone yet")
    out("\ntables")
    print_columns(
        [
            (
                table["name"],
                " x ".join(table["scope"]),
                f"{table['cells']:,}",
                _ROLES[table["role"]],
                "soft (gives way)" if table["soft"] else "",
            )
            for table in found["tables"]
        ],
        ("name", "scope", "cells", "role", ""),
    )
    if found["statistics"]:
        out("\nmeans, quantiles and rates")
        print_columns(
            [
                (entry["name"], entry["what"], f"{entry['figures']:,}", _ROLES[entry["role"]])
                for entry in found["statistics"]
            ],
            ("name", "what", "figures", "role"),
        )
    _print_uncovered(found["uncovered"])
    if found["prompt"] is None:
        out("no model is asked: there is no prompt\n")
    else:
        _print_prompt(found)
    if found["plan"] is not None:
        _print_plan(found["plan"])
    source = "proposals of the plan" if found["records_from"] == "plan" else "background (no model)"
    made = count_of(len(found["records"]), "record")
    out(f"{made} from the {source}, not calibrated yet")
    _print_records(found["records"])
    if found.get("member_records"):
        made = count_of(len(found["member_records"]), found["member"], many(found["member"]))
        out(f"their members: {made}")
        _print_records(found["member_records"])
    out("")
    _print_most(found["most"], unknown=found["model"] == "auto")


def _print_records(records: Sequence[dict[str, Any]]) -> None:
    print_columns([list(r.values()) for r in records], list(records[0]) if records else (), 28)


_ROLES = {"control": "met", "validate": "held out", "released": "freed"}
_PAIRS_SHOWN = 10


def _print_uncovered(pairs: Sequence[Sequence[str]]) -> None:
    """Name the pairs of variables that no control table has together."""
    out(f"  pairs of variables in no control table: {len(pairs) or 'none'}")
    for first, second in pairs[:_PAIRS_SHOWN]:
        out(f"    {_cut(first, 60)} and {_cut(second, 60)}")
    if len(pairs) > _PAIRS_SHOWN:
        out(f"    and {len(pairs) - _PAIRS_SHOWN} more (`--json` and `--out FILE` have all)")
    out("")


def _print_prompt(found: dict[str, Any]) -> None:
    prompt = found["prompt"]
    tokens = count_of(prompt["tokens"], "token")
    out(f"first plan prompt, {prompt['tokens_are']} {tokens} (with the answer's form)")
    if found["groups_inferred_first"]:
        out("(a run asks first which variables depend on each other; its prompts name the answer)")
    for title, text in (("system", prompt["system"]), ("user", prompt["prompt"])):
        out(f"--- {title}")
        out(printable(text, "\n").rstrip())
    out("---\n")


def _print_plan(plan: dict[str, Any]) -> None:
    cost = "unknown" if plan["cost_usd"] is None else f"{plan['cost_usd']:.4f} USD"
    out(
        f"one plan: {count_of(len(plan['proposals']), 'proposal')}, {len(plan['rejections'])} rejected, "
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
        for block in entry.get("members", ()):
            out(f"     repeat {_said(block['repeat'])}: {_cut(_said(block['values']), 400)}")
    for entry in plan["rejections"]:
        out(f"  {entry['id']}: rejected: {_cut(entry['problem'], 300)}")
    out("")


def _print_most(most: dict[str, Any], *, unknown: bool) -> None:
    """Show the most that a run can use; `unknown`: no model is chosen yet."""
    out("the most that a run can use")
    if not most["calls"]:
        out("  no calls, no tokens, no cost")
        return
    out(
        f"  calls: {most['calls']:,} ({count_of(most['plan_calls'], 'plan')}, "
        f"{count_of(most['repair_calls'], 'repair')}, "
        f"{most['dependency_calls']} for dependencies)"
    )
    out(f"  tokens: about {most['tokens']:,}")
    if unknown:
        out("  cost: depends on the model, which is not chosen yet")
    elif most["cost_usd"] is None:
        out(
            "  cost: unknown; litellm knows no price of this model: give "
            "`provider.price_per_mtok: {input: ..., output: ...}`"
        )
    else:
        out(f"  cost: {most['cost_usd']:.4f} USD")
    if most["refused"] and not unknown:
        out("  `run` will refuse: `budget.cost_usd` cannot be kept without a price")
    if most["cut_by"]:
        out(f"  cut by {', '.join(most['cut_by'])}")
    if most["minutes"] is not None:
        out(f"  nothing is asked after {most['minutes']:g} min of the run (budget.minutes)")
    out("  a run stops earlier when the proposals level off (docs/stopping.md)")
