"""Pairs of variables where records have members: of one member, across levels, between two members."""

from __future__ import annotations

from itertools import combinations, product
from typing import TYPE_CHECKING, Any

from llmsynthor.results.evaluation.baselines import BetweenMembers, OfMembers, SampledMaximumEntropy
from llmsynthor.results.evaluation.combinations import compare_scopes, part_of
from llmsynthor.results.evaluation.linked import other, pairs_within

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.results.evaluation.baselines import Baseline, Shares
    from llmsynthor.results.evaluation.linked import Clustered, Linked
    from llmsynthor.results.evaluation.linked_files import LinkedFiles


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
