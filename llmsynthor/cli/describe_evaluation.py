"""What `evaluate` shows on the terminal: the figures of `evaluation.json`, at most 80 columns wide."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from llmsynthor.cli.console import say
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

WIDTH = 80
_SHOWN = 8
_GROUPS = {
    "uncovered": "in no control table",
    "validate": "  of these in validate",
    "control": "in a control table",
}
_HEADS = ("number", "TVD", "max.ent", "ratio", "noise", "ratio")
SOURCES = {
    "real": "other real records",
    "synthetic": "synthetic records",
    "maximum_entropy": "maximum entropy",
    "independent": "independent marginals",
}
TRAINED = {
    "synthetic": "trained on synthetic",
    "real": "trained on real",
    "constant": "constant",
}
MEASURES = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "ROC AUC",
    "r2": "R squared",
    "mae": "mean abs. error",
}


def print_evaluation(content: Mapping[str, Any], folder: Path) -> None:
    """Show an evaluation, and where the report is."""
    say("")
    _print_microdata(content["microdata"])
    _print_combinations(content["combinations"])
    if "members" in content:
        _print_members(content["members"])
    _print_support(content["support"])
    _print_numbers(content["numbers"], content["microdata"]["in_bins"])
    if content["downstream"] is not None:
        _print_downstream(content["downstream"])
    if content["sdmetrics"] is not None:
        score = content["sdmetrics"]
        _wrapped(
            f"{score['name']} {score['version']}: overall {_figure(score['overall'], 4)}, column "
            f"shapes {_figure(score['column_shapes'], 4)}, column pair trends "
            f"{_figure(score['column_pair_trends'], 4)}"
        )
    say(f"report: {folder / 'report.html'}")


def _print_microdata(real: Mapping[str, Any]) -> None:
    weighted = ""
    if real["weight"] is not None:
        weighted = (
            f", weighted by {clean(real['weight'])}, worth {real['effective_rows']:,.0f} of "
            "equal weight"
        )
    _wrapped(f"real records: {clean(real['file'])}, {real['rows']:,} rows{weighted}")
    say(f"  sha256 {real['sha256']}")
    if real["absent"]:
        alike = real["alike"]
        names = [
            f"{clean(name)}{f' (is it {clean(alike[name])}?)' if name in alike else ''}"
            for name in real["absent"]
        ]
        _wrapped(f"not in the file, so not compared: {', '.join(names)}")
    if real["missing"]:
        counts = [f"{clean(name)} {rows:,}" for name, rows in real["missing"].items()]
        _wrapped(f"rows without a value, left out where it is used: {', '.join(counts)}")
    say("")


def _print_combinations(combinations: Mapping[str, Any]) -> None:
    for kind in ("pairs", "triples"):
        part = combinations[kind]
        if not part["compared"] and not part["left_out"]:
            continue
        _row(f"{kind} of variables, means", _HEADS)
        _print_part(part, kind)
    if combinations["maxent_method"] == "sample":
        _wrapped("  maximum entropy is from a calibrated sample, not exact")
    say("")


def _print_part(part: Mapping[str, Any], kind: str) -> None:
    """Show the means over scopes of one kind, and what could not be compared."""
    for group, title in _GROUPS.items():
        if group in part["summary"]:
            _row(
                f"  {title}",
                _figures(part["summary"][group], f"{part['summary'][group]['number']:,}"),
            )
    taken = part["compared"] + len(part["left_out"])
    if taken < part["whole"]:
        _wrapped(f"  {taken:,} of {part['whole']:,} {kind}, drawn with the job's seed")
    if part["left_out"]:
        _wrapped(f"  {len(part['left_out']):,} left out; evaluation.json says why")
    if part["without_maxent"]:
        _wrapped(f"  {part['without_maxent']:,} without maximum entropy: too large to be computed")


def _figures(entry: Mapping[str, Any], first: str) -> list[str]:
    return [
        first,
        _figure(entry["tvd"], 4),
        _figure(entry["maxent_tvd"], 4),
        _figure(entry["ratio_maxent"], 2),
        _figure(entry["noise_floor_tvd"], 4),
        _figure(entry["ratio_noise_floor"], 2),
    ]


def _print_members(found: Mapping[str, Any]) -> None:
    """Show pairs of members' variables, pairs across levels, and pairs of members."""
    of, name, real = found["of"], found["name"], found["microdata"]
    _wrapped(f"real {name}s: {clean(real['file'])}, {real['rows']:,} rows, {found['made']:,} made")
    say(f"  sha256 {real['sha256']}")
    if real["absent"]:
        _wrapped(f"not in the file, so not compared: {', '.join(map(clean, real['absent']))}")
    if found["wrong_sizes"]:
        _wrapped(
            f"real {of}s that say another number of {name}s than the file has: {found['wrong_sizes']:,}"
        )
    elif found["without_members"]:
        _wrapped(f"real {of}s without {name}s: {found['without_members']:,}")
    say("")
    for kind, title in (
        ("members", f"pairs of {name}s' variables"),
        ("across", f"pairs of {of} and {name}"),
    ):
        part = found[kind]
        if part["compared"] or part["left_out"]:
            _row(title, _HEADS)
            _print_part(part, "pairs")
    _row(f"two {name}s of one {of}", ("pairs", *_HEADS[1:]))
    for entry in found["between"]["scopes"]:
        _row(f"  {clean(entry['scope'][0], 28)}", _figures(entry, f"{entry['rows']:,}"))
    if found["between"]["left_out"]:
        _wrapped(f"  {len(found['between']['left_out']):,} left out; evaluation.json says why")
    say("")


def _print_support(support: Mapping[str, Any]) -> None:
    title = f"whole combinations ({support['variables']} variables)"
    if support["all"] is None:
        _wrapped(f"{title}: too few real records have a value in all of them")
        say("")
        return
    keys = ("feasibility", "diversity", "diversity_distinct")
    _row(title, ("occur", "covered", "distinct"), 11)
    _row("  all synthetic records", [_figure(support["all"][key], 4) for key in keys], 11)
    halves = support["halves"]
    _wrapped(
        f"  like with like: {halves['records']:,} records each against {halves['against']:,} real ones"
    )
    for source, name in SOURCES.items():
        known = halves[source]
        figures = [_figure(known[key] if known else None, 4) for key in keys]
        _row(f"    {name}", figures, 11)
    _wrapped(
        "  occur: share of the records made whose combination a real record has (feasibility); "
        "covered: share of the real records whose combination was made (diversity); distinct: the "
        "same, each real combination counted once"
    )
    say("")


def _print_numbers(numbers: Sequence[Mapping[str, Any]], in_bins: Sequence[str]) -> None:
    if numbers:
        heads = ("Wasserstein", "real halves", "of std.dev.")
        _row("numbers, in their unit", heads, 13)
    for entry in numbers:
        unit = f" ({clean(entry['unit'], 14)})" if entry["unit"] else ""
        figures = [
            _significant(entry["wasserstein"]),
            _significant(entry["halves"]),
            _figure(entry["share_of_deviation"], 4),
        ]
        _row(f"  {clean(entry['variable'], 24)}{unit}", figures, 13)
    if in_bins:
        names = ", ".join(clean(name) for name in in_bins)
        _wrapped(f"no Wasserstein distance, for the file has bins only: {names}")
    if numbers or in_bins:
        say("")


def _print_downstream(found: Mapping[str, Any]) -> None:
    scores = found["scores"]
    measures = [m for m in MEASURES if scores["synthetic"].get(m) is not None]
    trained = found["trained_on"]
    _wrapped(
        f"{clean(found['target'])} predicted from {len(found['features'])} variables, trained on "
        f"{trained['synthetic']:,} synthetic or {trained['real']:,} real records, tested on "
        f"{found['tested_on']:,} other real ones"
    )
    _row("", [MEASURES[measure] for measure in measures], 16)
    for name, title in TRAINED.items():
        _row(f"  {title}", [_figure(scores[name][m], 4) for m in measures], 16)
    say("")


def _row(title: str, figures: Sequence[str], width: int = 8) -> None:
    rest = WIDTH - width * len(figures)
    shown = title if len(title) <= rest else title[: rest - 1] + "…"
    say((f"{shown:<{rest}}" + "".join(f"{figure:>{width}}" for figure in figures)).rstrip())


def _wrapped(text: str) -> None:
    indent = " " * (len(text) - len(text.lstrip()))
    for line in textwrap.wrap(
        text.strip(), WIDTH, initial_indent=indent, subsequent_indent=indent + "  "
    ):
        say(line)


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _significant(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
