"""What the rules alone allow, and which tables and rules are linked by variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.feasibility.maxsum import LARGEST, max_out
from llmsynthor.feasibility.words import Conflict
from llmsynthor.fitting.maxent import TooLargeError, elimination_order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from llmsynthor.feasibility.lawful import Lawful
    from llmsynthor.targets.table import Table


def impossible_rules(lawful: Lawful, records: int) -> list[Conflict]:
    """Return each rule that allows nothing, or else sets of rules that allow nothing together."""
    found = [
        Conflict(records, (), ((n, lawful.rules[n]),))
        for n, allowed in sorted(lawful.allowed.items())
        if not allowed.any()
    ]
    if found:
        return found
    for _, rules in components((), lawful):
        if not reach(lawful, rules, ()).any():
            least = shrunk(rules, lambda some: not reach(lawful, some, ()).any())
            found.append(Conflict(records, (), tuple((n, lawful.rules[n]) for n in least)))
    return found


def components(
    tables: Sequence[Table], lawful: Lawful
) -> list[tuple[tuple[Table, ...], tuple[int, ...]]]:
    """Return tables and tabulated rules, apart where no variable links them."""
    parts: list[tuple[set[str], list[Table | int]]] = []
    members: list[Table | int] = [*tables, *sorted(lawful.allowed)]
    for member in members:
        scope = set(lawful.rules[member].scope if isinstance(member, int) else member.scope)
        near = [part for part in parts if part[0] & scope]
        parts = [part for part in parts if not part[0] & scope]
        linked = [m for part in near for m in part[1]]
        parts.append((scope.union(*(part[0] for part in near)), [*linked, member]))
    return [
        (
            tuple(m for m in own if not isinstance(m, int)),
            tuple(sorted(m for m in own if isinstance(m, int))),
        )
        for _, own in parts
    ]


def reach(lawful: Lawful, rules: Iterable[int], keep: tuple[str, ...]) -> np.ndarray:
    """Return which combinations of atoms of `keep` some record has that keeps all `rules`.

    All are, where the rules are too entangled to tell.
    """
    factors = [
        (lawful.rules[n].scope, np.where(lawful.allowed[n], 0.0, -np.inf)) for n in sorted(rules)
    ]
    sizes = {name: len(codes) for name, codes in lawful.bins.items()}
    try:
        order = elimination_order([scope for scope, _ in factors], sizes, keep, LARGEST)
    except TooLargeError:
        return np.ones([sizes[name] for name in keep], dtype=bool)
    return np.asarray(max_out(factors, sizes, keep, order)[0] > -np.inf)


def shrunk(members: Sequence[int], still: Callable[[Sequence[int]], bool]) -> list[int]:
    """Return members of which none can be left out without losing the conflict (deletion filter)."""
    kept = list(members)
    for member in members:
        fewer = [m for m in kept if m != member]
        if still(fewer):
            kept = fewer
    return kept
