"""Pairs and triples of variables, of members too: how far the records are from real ones."""

from __future__ import annotations

import itertools
import math
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llmsynthor.fitting.maxent import TooLargeError
from llmsynthor.results.baselines import (
    BetweenMembers,
    OfMembers,
    SampledMaximumEntropy,
    table_over,
)
from llmsynthor.results.evaluation.linked import other, pairs_within
from llmsynthor.seeds import generator
from llmsynthor.targets.measures import discrepancy, noise_floor_tvd, tvd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.results.baselines import Baseline, Shares
    from llmsynthor.results.evaluation.linked import Clustered, Linked, LinkedFiles
    from llmsynthor.results.evaluation.records import Records
    from llmsynthor.targets.table import TableSet

Coverage = Literal["control", "validate", "released", "none"]
_ORDER: tuple[Coverage, ...] = ("control", "validate", "released")
KINDS = {2: "pairs", 3: "triples"}
LARGEST = 2_000_000
"""Cells; a larger scope has so few records in a cell that its TVD says nothing, and fills memory."""
_NO_ERROR = 1e-6
"""A TVD below this is none: the baseline's own precision."""


def coverage(scope: Sequence[str], tables: TableSet) -> Coverage:
    """Return in the scope of which kind of table all variables of `scope` stand together."""
    for role in _ORDER:
        if any(t.role == role and set(scope) <= set(t.scope) for t in tables.tables):
            return role
    return "none"


def choose_scopes(
    names: Sequence[str], size: int, most: int, seed: int
) -> tuple[list[tuple[str, ...]], int]:
    """Return sets of `size` variables, and how many there are in all.

    Args:
        names: The variables that can be compared, in domain order.
        size: Variables of a set.
        most: If there are more, this many are drawn, each as likely, in domain order.
        seed: The job's.
    """
    whole = math.comb(len(names), size)
    every = itertools.combinations(names, size)
    if whole <= most:
        return list(every), whole
    drawn = generator(seed, "evaluate", KINDS[size]).choice(whole, most, replace=False)
    wanted = set(drawn.tolist())
    return [scope for number, scope in enumerate(every) if number in wanted], whole


def compare_scopes(
    scopes: Sequence[tuple[str, ...]],
    real: Records,
    synthetic: Records,
    tables: TableSet,
    baseline: Shares,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the measures of each scope, and the scopes that could not be compared, with the reason."""
    compared, left_out = [], []
    for scope in scopes:
        cells = math.prod(real.domain[name].size for name in scope)
        if cells > LARGEST:
            why = f"{cells:,} cells, more than {LARGEST:,}"
            left_out.append({"scope": list(scope), "reason": why})
            continue
        entry = _compare(scope, real, synthetic, baseline)
        if entry is None:
            why = "no real record has a value in all of them"
            left_out.append({"scope": list(scope), "reason": why})
        else:
            compared.append({"scope": list(scope), "coverage": coverage(scope, tables), **entry})
    return compared, left_out


def _compare(
    scope: tuple[str, ...], real: Records, synthetic: Records, baseline: Shares
) -> dict[str, Any] | None:
    truth = real.counts(scope)
    total = float(truth.cells.sum())
    if total <= 0:
        return None
    target = truth.cells / total
    found = discrepancy(target, synthetic.counts(scope).cells)
    floor = noise_floor_tvd(target, max(round(truth.effective), 1))
    try:
        maxent = tvd(target, baseline.share(table_over(real.domain, scope)))
    except TooLargeError:
        maxent = None
    return {
        "cells": int(target.size),
        "rows": truth.rows,
        "tvd": found.tvd,
        "srmse": found.srmse,
        "noise_floor_tvd": floor,
        "maxent_tvd": maxent,
        "ratio_maxent": ratio(found.tvd, maxent),
        "ratio_noise_floor": ratio(found.tvd, floor),
    }


def ratio(value: float | None, base: float | None) -> float | None:
    """Return `value / base`, or None where one is not known or the base is as good as nothing."""
    return None if value is None or base is None or base <= _NO_ERROR else value / base


def part_of(
    found: Sequence[dict[str, Any]], left_out: Sequence[dict[str, Any]], whole: int
) -> dict[str, Any]:
    """Return the part of `evaluation.json` on scopes of one kind, the farthest first.

    Args:
        found: Measures of those compared.
        left_out: Those that could not be.
        whole: How many there are in all.
    """
    return {
        "whole": whole,
        "compared": len(found),
        "left_out": list(left_out),
        "without_maxent": sum(entry["maxent_tvd"] is None for entry in found),
        "summary": summarize(found),
        "scopes": sorted(found, key=lambda e: (-e["tvd"], e["scope"])),
    }


def summarize(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return means by coverage, and of all that no control table has (`uncovered`)."""
    groups = {
        mark: [e for e in entries if e["coverage"] == mark]
        for mark in ("control", "validate", "released", "none")
    }
    groups["uncovered"] = [e for e in entries if e["coverage"] != "control"]
    return {mark: _means(group) for mark, group in groups.items() if group}


def _means(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [e for e in entries if e["maxent_tvd"] is not None]
    maxent = _mean([e["maxent_tvd"] for e in known])
    found, floor = (
        _mean([e["tvd"] for e in entries]),
        _mean([e["noise_floor_tvd"] for e in entries]),
    )
    return {
        "number": len(entries),
        "tvd": found,
        "srmse": _mean([e["srmse"] for e in entries]),
        "noise_floor_tvd": floor,
        "maxent_tvd": maxent,
        "with_maxent": len(known),
        "ratio_maxent": ratio(_mean([e["tvd"] for e in known]), maxent),
        "ratio_noise_floor": ratio(found, floor),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def compare_members(
    files: LinkedFiles,
    made: Linked,
    sampler: Sampler,
    baseline: Baseline,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Return the part of `evaluation.json` on members.

    `members` are pairs of a member's variables, `across` pairs of a record's and a member's, each
    over all members. `between` takes one variable of two members of one record, over all ordered
    pairs of them.

    Args:
        files: The real records and members.
        made: Those of the run.
        sampler: Tables, rules and members of the job.
        baseline: Maximum entropy given the tables.
        tell: Is told what is being done.

    Raises:
        ValueError: The records have no members.
    """
    members = sampler.members
    if members is None or not isinstance(baseline, SampledMaximumEntropy):
        raise ValueError("the records have no members")
    real = files.linked.members
    own = files.members.records.names
    record = files.records.records.names
    each: Shares = OfMembers(baseline, members)
    found: dict[str, Any] = {
        "of": members.of,
        "name": members.name,
        "key": files.key,
        "made": made.members.rows,
        "without_members": files.without,
        "wrong_sizes": files.wrong_sizes,
    }
    tell(f"comparing pairs of variables of {real.rows:,} real {members.name}s")
    tables = sampler.tables
    for kind, scopes in (
        ("members", list(combinations(own, 2))),
        ("across", list(product(record, own))),
    ):
        compared = compare_scopes(scopes, real, made.members, tables, each)
        found[kind] = part_of(*compared, len(scopes))
    couples, made_couples = (pairs_within(level, own) for level in (real, made.members))
    tell(f"comparing {couples.rows:,} pairs of {members.name}s of one {members.of}")
    found["between"] = _between(couples, made_couples, own, sampler, BetweenMembers(baseline))
    return found


def _between(
    real: Clustered, made: Clustered, own: tuple[str, ...], sampler: Sampler, baseline: Shares
) -> dict[str, Any]:
    scopes = [(name, other(name)) for name in own]
    compared, left_out = compare_scopes(scopes, real, made, sampler.tables, baseline)
    for entry in [*compared, *left_out]:
        entry["scope"] = [entry["scope"][0]] * 2
    return part_of(compared, left_out, len(scopes))
