"""Renders the results of a comparison as Markdown."""

from __future__ import annotations

from typing import Any

HEAD = (
    "| | sees | wall s | x | peak MB | x | tables: mean TVD | max | wrong records | pairs | "
    "of max. ent. | triples | of max. ent. | rules broken |"
)
LINE = "|---|---|" + "---:|" * 12
BASE, ENTROPY = "llmsynthor", "maximum entropy, exact"


def markdown(results: dict[str, Any]) -> str:
    """Return the results as Markdown: the machine, a table for each pack, zones, how each ran.

    Columns `x` are multiples of llmsynthor's row; `wrong records` is the total absolute error
    summed over all target tables.
    """
    machine = results["machine"]
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; "
        f"Python {machine['python']}, llmsynthor {machine['llmsynthor']}; {machine['date']}."
    ]
    for name, pack in results["packs"].items():
        parts.append(f"### {name}: {pack['records']:,} records\n\n{_pack_table(pack)}")
    if "zones" in results:
        parts.append(f"### Households in zones\n\n{_zones_table(results['zones'])}")
    parts.append(f"### How each was used\n\n{_methods(results)}")
    return "\n\n".join(parts) + "\n"


def _pack_table(pack: dict[str, Any]) -> str:
    base = pack["rows"].get(BASE, {})
    entropy = pack["reference"][ENTROPY]
    lines = [HEAD, LINE]
    for name, scores in pack["reference"].items():
        cells = [f"*{name}*", "", "", "", "", "", *_scores(scores, entropy)]
        lines.append(_row(cells))
    for name, row in pack["rows"].items():
        if "error" in row:
            lines.append(_row([name, f"failed: {row['error']}", *[""] * 12]))
            continue
        cost = [
            f"{row['wall_s']:.1f}",
            _ratio(row, base, "wall_s"),
            f"{row['peak_mb']:,}",
            _ratio(row, base, "peak_mb"),
        ]
        lines.append(_row([name, row["sees"], *cost, *_scores(row["scores"], entropy)]))
    return "\n".join(lines)


def _scores(scores: dict[str, Any], entropy: dict[str, Any]) -> list[str]:
    violations = scores["violations"]
    return [
        f"{scores['control_tvd_mean']:.4f}",
        f"{scores['control_tvd_max']:.4f}",
        f"{scores['control_tae_sum']:,.0f}",
        f"{scores['pairs_tvd']:.4f}",
        _ratio(scores, entropy, "pairs_tvd"),
        f"{scores['triples_tvd']:.4f}",
        _ratio(scores, entropy, "triples_tvd"),
        "" if violations is None else f"{violations:,}",
    ]


def _ratio(row: dict[str, Any], base: dict[str, Any], key: str) -> str:
    return f"{row[key] / base[key]:.2f}" if base.get(key) else ""


def _zones_table(zones: dict[str, Any]) -> str:
    lines = [
        "| | households | wall s | peak MB | geography | zones | controls | sum of controls | "
        "wrong | largest error |",
        "|---|---:|---:|---:|---|" + "---:|" * 5,
    ]
    for name, row in zones.items():
        if "error" in row:
            lines.append(_row([name, f"failed: {row['error']}", *[""] * 8]))
            continue
        cost = [f"{row['households']:,}", f"{row['wall_s']:.1f}", f"{row['peak_mb']:,}"]
        for geography, found in row["geographies"].items():
            figures = [f"{found[k]:,.0f}" for k in ("zones", "controls", "total", "tae")]
            lines.append(_row([name, *cost, geography, *figures, f"{found['max_error']:,.0f}"]))
    return "\n".join(lines)


def _methods(results: dict[str, Any]) -> str:
    lines = ["| | pack | version | how | own seconds | notes |", "|---|---|---|---|---:|---|"]
    places = [(pack, found["rows"]) for pack, found in results["packs"].items()]
    for pack, rows in [*places, ("CALM", results.get("zones", {}))]:
        for name, row in rows.items():
            if "error" not in row:
                figures = [row["version"], row["method"], f"{row['seconds']:.1f}", row["notes"]]
                lines.append(_row([name, pack, *figures]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"
