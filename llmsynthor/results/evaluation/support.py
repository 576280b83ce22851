"""Whole combinations: do the records made occur in reality, and is all of reality among them?

Feasibility and diversity after Garrido et al. (2020) and Kim and Bansal (2023). A
combination that no real record of a sample has may be impossible (a structural zero) or only not in
the sample (a sampling zero), so real records held against other real records are the yardstick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.fitting.maxent import TooLargeError
from llmsynthor.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.results.baselines import Baseline
    from llmsynthor.results.evaluation.records import Records

_FEWEST = 4
"""Whole real records, so that each half has two."""


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
    """Return a number for each record's whole combination, the same in all sources.

    Args:
        sources: For each source the codes of each variable, shape `(records,)`; -1 is a value too.
        sizes: Codes of each variable.

    Returns:
        For each source int64, shape `(records,)`.
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
