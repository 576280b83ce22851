"""Records as codes and raw values, real and synthetic alike, and their counts over any scope."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.errors import RunDirectoryError
from llmsynthor.store.batches import read_wide
from llmsynthor.store.directory import MENDING
from llmsynthor.store.materialize import encode_frame
from llmsynthor.targets.encode import MISSING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import polars as pl

    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.store.directory import RunDirectory
    from llmsynthor.targets.domain import Domain, Variable


@dataclass(frozen=True, eq=False)
class Records:
    """Records over some or all variables of a domain.

    Attributes:
        domain: The domain.
        rows: How many records.
        codes: Variable -> code of each record, `MISSING` where there is none, shape `(rows,)`.
        values: Numeric variable -> raw values in its unit, NaN where missing, shape `(rows,)`; a
            variable that is given in bins only is not here.
        weights: What each record counts, or None where each counts 1.
    """

    domain: Domain
    rows: int
    codes: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray]
    weights: np.ndarray | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the variables that are there, in domain order."""
        return tuple(name for name in self.domain.names if name in self.codes)

    @cached_property
    def missing(self) -> Mapping[str, np.ndarray]:
        """Return a mask of the records without a value, for each variable that misses any."""
        masks = {name: codes == MISSING for name, codes in self.codes.items()}
        return {name: mask for name, mask in masks.items() if mask.any()}

    def known(self, scope: Sequence[str]) -> np.ndarray | None:
        """Return a mask of the records with a value in every variable of `scope`; None for all."""
        masks = [self.missing[name] for name in scope if name in self.missing]
        return ~np.logical_or.reduce(masks) if masks else None

    def counts(self, scope: Sequence[str]) -> Counted:
        """Return the records in each cell over `scope`; those with a missing value are left out."""
        mask = self.known(scope)
        columns = [self.codes[name] for name in scope]
        weights = self.weights
        if mask is not None:
            columns = [column[mask] for column in columns]
            weights = None if weights is None else weights[mask]
        shape = [self.domain[name].size for name in scope]
        rows = self.rows if mask is None else int(mask.sum())
        return Counted(cell_counts(columns, shape, weights), rows, effective_rows(rows, weights))

    def take(self, rows: np.ndarray) -> Records:
        """Return the records at these positions, in this order."""
        return Records(
            self.domain,
            len(rows),
            {name: codes[rows] for name, codes in self.codes.items()},
            {name: values[rows] for name, values in self.values.items()},
            None if self.weights is None else self.weights[rows],
        )


@dataclass(frozen=True, eq=False)
class Counted:
    """Records over a scope.

    Attributes:
        cells: Records (or their weight) in each cell, one axis for each variable.
        rows: How many records are counted.
        effective: As many records of equal weight would know as much (Kish 1965).
    """

    cells: np.ndarray
    rows: int
    effective: float


def cell_counts(
    columns: Sequence[np.ndarray], shape: Sequence[int], weights: np.ndarray | None = None
) -> np.ndarray:
    """Return how many records, or how much of their weight, is in each cell.

    Args:
        columns: For each variable the code of each record, shape `(records,)`.
        shape: For each variable its number of codes.
        weights: What each record counts.

    Returns:
        An array of shape `shape`: int64, or float64 where weights are given.
    """
    index = np.zeros(len(columns[0]), dtype=np.int64)
    for column, size in zip(columns, shape, strict=True):
        index *= size
        index += column
    return np.bincount(index, weights, int(np.prod(shape))).reshape(shape)


def effective_rows(rows: int, weights: np.ndarray | None) -> float:
    """Return Kish's effective sample size, (sum w)^2 / sum w^2; without weights it is `rows`."""
    if weights is None:
        return float(rows)
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares > 0 else 0.0


def code_type(variable: Variable) -> np.dtype[np.signedinteger]:
    """Return the smallest integer type that holds the variable's codes and `MISSING`."""
    return np.dtype(
        np.int8 if variable.size < 128 else np.int16 if variable.size < 32768 else np.int32
    )


Columns = dict[str, np.ndarray]


def whole_batches(run: RunDirectory, sampler: Sampler) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    """Yield the records of each batch of a run, with their members beside them, and their codes.

    Raises:
        RunDirectoryError: A batch is missing or damaged, or there are no records.
    """
    files = run.batch_files()
    if not files:
        raise RunDirectoryError(f"{run.path}: holds no records")
    for index, path in enumerate(files):
        batch = read_wide(run, sampler, index)
        if batch is None:
            raise RunDirectoryError(
                f"{run.batch_path(index)}: is missing, though {path.name} is there",
                hint=MENDING,
            )
        if not batch[2].is_whole:
            raise RunDirectoryError(
                f"{run.members_path(index)}: does not fit its records",
                hint=MENDING,
            )
        yield batch[0], encode_frame(batch[0], sampler)


def level_of(frame: pl.DataFrame, codes: np.ndarray, domain: Domain) -> tuple[Columns, Columns]:
    """Return codes and raw numbers of a batch's records, over their own variables."""
    return narrow(codes, domain), {
        v.name: frame.get_column(v.name).to_numpy().astype(float)
        for v in domain.variables
        if v.is_numeric
    }


def narrow(codes: np.ndarray, domain: Domain) -> Columns:
    """Return the columns of codes, whose first are the domain's, as small as they can be."""
    return {v.name: codes[:, i].astype(code_type(v)) for i, v in enumerate(domain.variables)}


def joined(domain: Domain, parts: Iterable[tuple[Columns, Columns]]) -> Records:
    """Return the records of all batches."""
    codes, values = (
        {name: np.concatenate([part[name] for part in of]) for name in of[0]}
        for of in zip(*parts, strict=True)
    )
    return Records(domain, len(codes[domain.names[0]]), codes, values)


def read_synthetic(run: RunDirectory, sampler: Sampler) -> Records:
    """Return the records of a run; may raise as `whole_batches`."""
    domain = sampler.domain
    return joined(domain, [level_of(*batch, domain) for batch in whole_batches(run, sampler)])
