"""Can any records meet all hard tables and all rules? If not: which of them clash, and by how much.

A cheap calibration answers for most jobs. Where it does not converge, a linear program over all
lawful records does, component by component of the variables that tables and rules link. Its dual
is the proof that there is no solution (Farkas' lemma), and what cannot be taken out of it without
losing the proof is what the message names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.errors import InfeasibleError
from llmsynthor.feasibility.lawful import components, impossible_rules, tabulate
from llmsynthor.feasibility.search import Search
from llmsynthor.feasibility.words import Conflict, joined
from llmsynthor.fitting.calibrate import calibrate
from llmsynthor.fitting.controls import binding_tables, controls_of_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.covering import EmptyCell
    from llmsynthor.candidates.drawn import Candidates
    from llmsynthor.candidates.rules import Rule
    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.targets.table import TableSet

_DRAWS = 20_000
_CALIBRATION_ROUNDS = 120


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What was found: conflicts, or else records that meet the tables.

    Attributes:
        conflicts: What clashes.
        codes: Records that the tables can be met with, int32, shape `(records, variables)`; -1 in
            the variables that a record leaves open.
        exact: Whether it is certain that the tables can be met; else no conflict was found.
    """

    conflicts: tuple[Conflict, ...]
    codes: np.ndarray
    exact: bool


def check_feasible(sampler: Sampler, records: int) -> np.ndarray:
    """Refuse tables and rules that no set of records can meet together.

    Returns:
        Codes of records that the tables need and chance draws miss; see `Diagnosis`. None where
        drawn records suffice.

    Raises:
        InfeasibleError: Names what clashes, with numbers.
    """
    tables, rules = sampler.tables, sampler.rules
    nothing = np.zeros((0, len(tables.domain.names)), dtype=np.int32)
    if not tables.hard and not rules:
        return nothing
    drawn = _draw(sampler)
    empty: list[EmptyCell] = []
    if drawn is not None:
        candidates, empty = drawn
        empty = [cell for cell in empty if not cell.table.is_soft]
        if not empty and _calibrates(tables, candidates, records):
            return nothing
    start = nothing if drawn is None else drawn[0].codes
    found = diagnose(tables, rules, records, start)
    if found.conflicts:
        raise InfeasibleError(joined(found.conflicts), hint=_hint(found.conflicts))
    if drawn is None or (empty and not found.exact):
        _refuse_untried(sampler, empty, records)
    return found.codes


def diagnose(
    tables: TableSet, rules: Sequence[Rule], records: int, start_codes: np.ndarray
) -> Diagnosis:
    """Return what clashes among the hard tables and the rules, or records that meet them.

    Args:
        tables: Their targets are shares of `records`.
        rules: The job's rules.
        records: How many records there are to be.
        start_codes: Drawn records, shape `(rows, variables)`: they speed up the search, and show
            where to look for a conflict if the tables are too entangled to look at all records.
    """
    lawful = tabulate(rules, tables.domain)
    nothing = np.zeros((0, len(tables.domain.names)), dtype=np.int32)
    impossible = impossible_rules(lawful, records)
    if impossible:
        return Diagnosis(tuple(impossible), nothing, exact=True)
    conflicts: list[Conflict] = []
    codes, exact = [nothing], lawful.is_complete
    binding = set(binding_tables(tables.hard, records))
    for component in components([t for t in tables.hard if t in binding], lawful):
        search = Search(lawful, *component, records, start_codes)
        found, own = search.run()
        conflicts += found
        codes.append(own)
        exact = exact and search.is_settled
    return Diagnosis(tuple(conflicts), np.concatenate(codes), exact and not conflicts)


class _EnoughError(Exception):
    """The calibration takes too long to be the cheap way."""


def _draw(sampler: Sampler) -> tuple[Candidates, list[EmptyCell]] | None:
    """Return background candidates, or None where no drawn record is lawful."""
    if sampler.rules and not sampler.lawful(*sampler.draw_background(_DRAWS, "feasibility")).any():
        return None
    return sampler.candidates([], 1.0, _DRAWS, 0)


def _calibrates(tables: TableSet, candidates: Candidates, records: int) -> bool:
    """Return whether weights of the candidates meet the hard tables, as far as is cheap to see."""
    rounds = 0

    def check() -> None:
        nonlocal rounds
        rounds += 1
        if rounds > _CALIBRATION_ROUNDS:
            raise _EnoughError

    if not tables.hard:
        return True
    controls = controls_of_all(tables.hard, records, candidates.codes, tables.domain)
    try:
        return calibrate(controls, candidates.prior, check=check).converged
    except _EnoughError:
        return False


def _hint(conflicts: Sequence[Conflict]) -> str:
    if not any(conflict.tables for conflict in conflicts):
        return "change or drop a rule"
    if not any(conflict.rules for conflict in conflicts):
        return "correct a table, or give one a `weight` or `tolerance` so that it gives way"
    return (
        "correct a table or a rule, or give a table a `weight` or `tolerance` so that it gives way"
    )


def _refuse_untried(sampler: Sampler, empty: Sequence[EmptyCell], records: int) -> None:
    """Refuse what no drawn record can do, where a proof is out of reach; claim no more than that."""
    hint = "loosen the rule, or give the table a `weight` or `tolerance` so that it gives way"
    if not empty:
        names = ", ".join(f"`{rule.name}`" for rule in sampler.rules)
        raise InfeasibleError(
            f"none of {_DRAWS:,} records drawn from the tables keeps the rules ({names})",
            hint=hint,
        )
    raise InfeasibleError(
        "\n".join(
            f"{cell.table.file}: {cell.table.cell_name(cell.cell)} wants "
            f"{cell.table.flat_share[cell.cell] * records:.0f} of {records:,} records, and none of "
            f"the records tried there keeps the rules ({', '.join(f'`{n}`' for n in cell.broken)})"
            for cell in empty
        ),
        hint=hint,
    )
