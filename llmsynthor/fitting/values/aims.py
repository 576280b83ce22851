"""Aims: the means that a batch of records must have, so that all batches together have those published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.statistic import Group, Statistic
    from llmsynthor.targets.table import TableSet


@dataclass(frozen=True, eq=False)
class Aim:
    """The mean that a number should have in one group.

    Attributes:
        statistic: Says which number.
        group: Whose.
        figure: As published: a mean, or a sum.
        mean: Of a batch.
    """

    statistic: Statistic
    group: Group
    figure: float
    mean: float = 0.0


def aims_of(tables: TableSet) -> tuple[Aim, ...]:
    """Return an aim for each published mean and sum that must be met, without what a batch needs."""
    return tuple(
        Aim(statistic, group, float(figure))
        for statistic in tables.statistics
        if statistic.role == "control" and statistic.measure in ("mean", "sum")
        for group, figure in zip(statistic.groups, statistic.figures, strict=True)
    )


def values_of(frame: pl.DataFrame, statistic: Statistic, domain: Domain) -> np.ndarray:
    """Return the values of a statistic's variable, shape `(slots, rows)`; 0 where there is nobody."""
    names = [domain.names[column] for column in statistic.columns(domain)]
    return np.stack([frame.get_column(name).fill_null(0).to_numpy() for name in names]).astype(
        float
    )


def held_by(frame: pl.DataFrame, codes: np.ndarray, tables: TableSet) -> np.ndarray:
    """Return for each aim the sum of its number over its group, and how many that are.

    Args:
        frame: Records with their members beside them.
        codes: Of these records, in the same order.
        tables: The job's.

    Returns:
        Shape `(aims, 2)`.
    """
    found = []
    for aim in aims_of(tables):
        inside = aim.group.inside(codes, tables.wide, aim.statistic.members)
        x = values_of(frame, aim.statistic, tables.wide)
        found.append((float(x[inside].sum()), float(inside.sum())))
    return np.array(found).reshape(-1, 2)


def batch_aims(
    tables: TableSet,
    codes: np.ndarray,
    counts: np.ndarray,
    held: np.ndarray,
    done: int,
    population: float,
) -> tuple[Aim, ...]:
    """Return the means that a batch needs, so that with what there is the published ones come out.

    Args:
        tables: The job's.
        codes: Of the batch's distinct records.
        counts: How many there are of each.
        held: What the batches before hold; see `held_by`.
        done: How many records they have.
        population: How many records sums are published for.
    """
    found = []
    records = done + float(counts.sum())
    for aim, (total, number) in zip(aims_of(tables), held, strict=True):
        inside = aim.group.inside(codes, tables.wide, aim.statistic.members)
        own = float((inside * counts).sum())
        if own == 0:
            continue
        if aim.statistic.measure == "mean":
            wanted = aim.figure * (number + own)
        else:
            wanted = aim.figure * records / population
        found.append(Aim(aim.statistic, aim.group, aim.figure, (wanted - total) / own))
    return tuple(found)
