"""Tables fitted to one of them: every margin that they share with it is made as that has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.drafts import Draft, covered, drafted, likely
from llmsynthor.margins import margin_of
from llmsynthor.preflight import differs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.domain import Domain
    from llmsynthor.tables import Table


def scaled_to(tables: Sequence[Table], total: float, name: str, domain: Domain) -> list[Draft]:
    """Return the tables with the margins that they share with one of them as that has them.

    Args:
        tables: Tables that count the same.
        total: What they are brought to where that one has shares.
        name: Of that one; where it is not among them, nothing is returned.
        domain: Of all.
    """
    named = next((table for table in tables if table.name == name), None)
    if named is None:  # it counts records and these count members, or the other way round
        return []
    whole = named.total if named.measure == "count" else total
    slack = named.rounding * named.cells if named.measure == "count" else 0.0
    given = drafted(named, whole)
    return [
        given if table is named else _fitted(drafted(table, whole, slack), given, domain)
        for table in tables
    ]


def _fitted(draft: Draft, given: Draft, domain: Domain) -> Draft:
    """Return a table with the margins that it shares with a given one as that has them."""
    table = draft.table
    if (
        table.measure == "count" and draft.factor == 1.0
    ):  # the totals are the same, but for rounding
        draft = drafted(table, table.total)
    if not set(table.scope) & set(given.table.scope):
        return draft
    margin = margin_of(domain, table, given.table)
    shares = [margin.summed(d.share, d.table) for d in (given, draft)]
    if not differs(margin, (given.table, table), shares).any():
        return draft
    draft = covered(drafted(table, given.whole), [given], domain)
    cells = margin.cells(table)
    wanted = margin.summed(given.figures, given.table).ravel()
    held = np.bincount(cells.ravel(), draft.figures.ravel(), len(wanted))
    basis = np.where((held <= 0)[cells], likely(draft.figures), draft.figures)
    held = np.bincount(cells.ravel(), basis.ravel(), len(wanted))
    return draft.with_figures(basis * (wanted / held)[cells])
