"""Pairs, triples and whole combinations of variables: how far the records are from real ones.

Feasibility and diversity of whole combinations are after Garrido et al. (2020) and Kim and Bansal
(2023): do those made occur in reality, and is all of reality among them? One that no real record of a
sample has may be impossible (a structural zero) or only not in the sample (a sampling zero), so real
records held against other real records are the yardstick.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations, product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llmsynthor.fitting.maxent import TooLargeError
from llmsynthor.results.baselines import SampledMaximumEntropy, table_over
from llmsynthor.results.evaluation.linked import other, pairs_within
from llmsynthor.seeds import generator
from llmsynthor.targets.measures import discrepancy, noise_floor_tvd, tvd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.results.baselines import Baseline
    from llmsynthor.results.evaluation.linked import Clustered, LinkedFiles
    from llmsynthor.results.evaluation.records import Records
    from llmsynthor.targets.table import Table, TableSet

    Share = Callable[[Table], np.ndarray]
    """Table -> share of each of its cells; may raise `TooLargeError`."""

Coverage = Literal["control", "validate", "released", "none"]
_ORDER: tuple[Coverage, ...] = ("control", "validate", "released")
KINDS = {2: "pairs", 3: "triples"}
LARGEST = 2_000_000
"""Cells; a larger scope has so few records in a cell that its TVD says nothing, and fills memory."""
_FEWEST = 4
"""Whole real records, so that each half has two."""
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
    every = combinations(names, size)
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
    baseline: Share,
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
    scope: tuple[str, ...], real: Records, synthetic: Records, baseline: Share
) -> dict[str, Any] | None:
    truth = real.counts(scope)
    total = float(truth.cells.sum())
    if total <= 0:
        return None
    target = truth.cells / total
    found = discrepancy(target, synthetic.counts(scope).cells)
    floor = noise_floor_tvd(target, max(round(truth.effective), 1))
    try:
        maxent = tvd(target, baseline(table_over(real.domain, scope)))
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
    """Return the part of `evaluation.json` on scopes of one kind, of `whole`, the farthest first."""
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
    groups: dict[str, list[Mapping[str, Any]]] = {
        mark: [e for e in entries if e["coverage"] == mark] for mark in (*_ORDER, "none")
    }
    groups["uncovered"] = [e for e in entries if e["coverage"] != "control"]
    return {mark: _means(group) for mark, group in groups.items() if group}


def _means(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [e for e in entries if e["maxent_tvd"] is not None]
    maxent = _mean([e["maxent_tvd"] for e in known])
    found, floor = (_mean([e[key] for e in entries]) for key in ("tvd", "noise_floor_tvd"))
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
    made: Clustered,
    sampler: Sampler,
    baseline: Baseline,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Return the part of `evaluation.json` on members.

    `members` are pairs of a member's variables, `across` pairs of a record's and a member's, each
    over all members. `between` takes one variable of two members of one record, over all ordered
    pairs of them.

    Raises:
        ValueError: The records have no members.
    """
    members = sampler.members
    if members is None or not isinstance(baseline, SampledMaximumEntropy):
        raise ValueError("the records have no members")
    real = files.linked
    own = files.members.records.names
    record = files.records.records.names
    found: dict[str, Any] = {
        "of": members.of,
        "name": members.name,
        "key": files.key,
        "made": made.rows,
        "without_members": files.without,
        "wrong_sizes": files.wrong_sizes,
    }

    def of_members(table: Table) -> np.ndarray:
        return baseline.share(replace(table, members=members))

    tell(f"comparing pairs of variables of {real.rows:,} real {members.name}s")
    tables = sampler.tables
    of_kind = {"members": [*combinations(own, 2)], "across": [*product(record, own)]}
    for kind, scopes in of_kind.items():
        compared = compare_scopes(scopes, real, made, tables, of_members)
        found[kind] = part_of(*compared, len(scopes))
    couples, made_couples = (pairs_within(level, own) for level in (real, made))
    tell(f"comparing {couples.rows:,} pairs of {members.name}s of one {members.of}")
    scopes = [(name, other(name)) for name in own]
    compared = compare_scopes(
        scopes, couples, made_couples, tables, lambda table: baseline.between(table.scope[0])
    )
    for entry in [*compared[0], *compared[1]]:
        entry["scope"] = [entry["scope"][0]] * 2
    found["between"] = part_of(*compared, len(scopes))
    return found


def compare_support(
    real: Records, synthetic: Records, baselines: Mapping[str, Baseline], seed: int
) -> dict[str, Any]:
    """Return feasibility and diversity over all variables that both have, binned.

    `all` holds all synthetic records against all real ones. `halves` is like with like: real
    records are split in two halves at random, and each source gives as many records as the one
    half has (fewer if there are fewer synthetic ones), held against the other half.

    Args:
        real: The real records; those with a missing value are left out.
        synthetic: The records of the run.
        baselines: Name -> what can be had without a model; one that cannot be drawn from is None.
        seed: The job's.
    """
    names = real.names
    whole = real.known(names)
    rows = np.arange(real.rows) if whole is None else np.flatnonzero(whole)
    result: dict[str, Any] = {
        "variables": len(names),
        "rows": len(rows),
        "all": None,
        "halves": None,
    }
    if len(rows) < _FEWEST:
        return result
    random = generator(seed, "evaluate", "halves")
    shuffled, half = random.permutation(rows), len(rows) // 2
    taken = min(half, synthetic.rows)
    first, second = shuffled[:taken], shuffled[half:]
    drawn = random.choice(synthetic.rows, taken, replace=False)
    draws = {
        name: _drawn(baseline, taken, names, real, generator(seed, "evaluate", "draws", name))
        for name, baseline in baselines.items()
    }
    columns = {
        "real": [real.codes[name] for name in names],
        "synthetic": [synthetic.codes[name] for name in names],
    } | {name: codes for name, codes in draws.items() if codes is not None}
    sizes = [real.domain[name].size for name in names]
    keys = dict(zip(columns, combination_ids(list(columns.values()), sizes), strict=True))
    weights = np.ones(real.rows) if real.weights is None else real.weights
    there, own = keys["real"], np.ones(synthetic.rows)
    result["all"] = support(keys["synthetic"], own, there[rows], weights[rows])
    against = (there[second], weights[second])
    halves: dict[str, Any] = {"records": taken, "against": len(second)}
    halves["real"] = support(there[first], weights[first], *against)
    halves["synthetic"] = support(keys["synthetic"][drawn], own[drawn], *against)
    for name, codes in draws.items():
        known = codes is not None
        halves[name] = support(keys[name], np.ones(taken), *against) if known else None
    result["halves"] = halves
    return result


def support(
    made: np.ndarray, made_weights: np.ndarray, real: np.ndarray, real_weights: np.ndarray
) -> dict[str, float | int] | None:
    """Return the measures of combinations `made` against those of `real` records.

    Args:
        made: Number of the combination of each record, shape `(records,)`.
        made_weights: What each of them counts.
        real: Number of the combination of each real record.
        real_weights: What each of them counts.

    Returns:
        `feasibility`: share of the records made whose combination a real record has.
        `diversity`: share of the real records whose combination was made.
        `diversity_distinct`: share of the distinct real combinations that were made.
        `combinations`, `real_combinations`: how many distinct ones there are. None where nothing
        weighs anything.
    """
    counted, made = real_weights > 0, made[made_weights > 0]
    made_weights = made_weights[made_weights > 0]
    real, real_weights = real[counted], real_weights[counted]
    if not len(made) or not len(real):
        return None
    distinct, distinct_real = np.unique(made), np.unique(real)
    occurs, covered = np.isin(made, distinct_real), np.isin(real, distinct)
    return {
        "feasibility": float(made_weights[occurs].sum() / made_weights.sum()),
        "diversity": float(real_weights[covered].sum() / real_weights.sum()),
        "diversity_distinct": float(np.isin(distinct_real, distinct).mean()),
        "combinations": len(distinct),
        "real_combinations": len(distinct_real),
    }


def combination_ids(
    sources: Sequence[Sequence[np.ndarray]], sizes: Sequence[int]
) -> list[np.ndarray]:
    """Return a number for each record's whole combination, int64, the same in all sources.

    Args:
        sources: For each source the codes of each variable, shape `(records,)`; -1 is a value too.
        sizes: Codes of each variable.
    """
    lengths = [len(source[0]) for source in sources]
    ids = np.zeros(sum(lengths), dtype=np.int64)
    most = 1
    for position, size in enumerate(sizes):
        if most > np.iinfo(np.int64).max // (size + 1):
            ids = np.unique(ids, return_inverse=True)[1].astype(np.int64)
            most = int(ids.max()) + 1
        column = np.concatenate([source[position] for source in sources])
        ids = ids * (size + 1) + column + 1
        most *= size + 1
    return np.split(ids, np.cumsum(lengths)[:-1])


def _drawn(
    baseline: Baseline,
    records: int,
    names: Sequence[str],
    real: Records,
    random: np.random.Generator,
) -> list[np.ndarray] | None:
    """Return codes of draws, one array for each variable; None where they cannot be had."""
    try:
        codes = baseline.draw(records, random)
    except TooLargeError:
        return None
    return [codes[:, real.domain.positions[name]] for name in names]
