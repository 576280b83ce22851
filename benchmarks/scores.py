"""Scores of synthetic records, and of exact distributions, against a pack."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from exact import Margin, independent, make_domain, maximum_entropy
from packs import Pack, decode

from llmsynthor.candidates.rules import broken_mask, compile_rules
from llmsynthor.job.model import RuleSpec
from llmsynthor.targets.measures import noise_floor_tvd, tvd

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Scores:
    """How far something is from a pack; TVD is the total variation distance of shares.

    Attributes:
        control_tvd_mean: Mean TVD of the target tables.
        control_tvd_max: Largest TVD of a target table.
        control_tae_sum: Total absolute error in records, summed over the target tables; the
            target of a cell is its share times the number of records.
        control_tae_max: Largest total absolute error of a target table.
        pairs_tvd: Mean TVD of the pairs of variables that are in no table.
        triples_tvd: Mean TVD of all sets of three variables.
        violations: Records that break a rule; None for what is no set of records.
    """

    control_tvd_mean: float
    control_tvd_max: float
    control_tae_sum: float
    control_tae_max: float
    pairs_tvd: float
    triples_tvd: float
    violations: int | None = None

    def as_json(self) -> dict[str, float | int | None]:
        """Return the fields by name."""
        return asdict(self)


def score_records(pack: Pack, codes: np.ndarray) -> Scores:
    """Return the scores of records as codes, shape `(records, variables)`."""
    found = score_shares(
        pack, lambda scope: pack.cell_counts(codes, scope) / len(codes), len(codes)
    )
    rules = compile_rules(pack_rules(pack), make_domain(pack.columns))
    broken = int(broken_mask(rules, decode(codes, pack.columns)).sum())
    return replace(found, violations=broken)


def score_shares(pack: Pack, margin: Margin, records: int) -> Scores:
    """Return the scores of a distribution, as if it were `records` records."""
    return _scores(pack, lambda scope, target: tvd(target, margin(scope)), records)


def noise_floor(pack: Pack, records: int) -> Scores:
    """Return the expected scores of a true random sample of the real records."""
    return _scores(pack, lambda _, target: noise_floor_tvd(target, records), records)


def reference_scores(pack: Pack, records: int) -> dict[str, Scores]:
    """Return the scores that nobody's records are needed for."""
    entropy = maximum_entropy(make_domain(pack.columns), pack.tables, pack_rules(pack))
    return {
        "noise floor": noise_floor(pack, records),
        "independent, exact": score_shares(pack, independent(pack.tables), records),
        "maximum entropy, exact": score_shares(pack, entropy, records),
    }


def pack_rules(pack: Pack) -> list[RuleSpec]:
    """Return the rules of the pack's example job."""
    return [RuleSpec.model_validate(rule) for rule in pack.example["rules"]]


def _scores(
    pack: Pack, distance: Callable[[tuple[str, ...], np.ndarray], float], records: int
) -> Scores:
    control = np.array([distance(table.scope, table.share) for table in pack.tables])
    held_out = {
        scope: distance(scope, pack.cell_counts(pack.truth, scope) / pack.records)
        for scope in (*pack.pairs, *pack.triples)
    }
    return Scores(
        control_tvd_mean=float(control.mean()),
        control_tvd_max=float(control.max()),
        control_tae_sum=float(2 * records * control.sum()),
        control_tae_max=float(2 * records * control.max()),
        pairs_tvd=float(np.mean([held_out[scope] for scope in pack.pairs])),
        triples_tvd=float(np.mean([held_out[scope] for scope in pack.triples])),
    )
