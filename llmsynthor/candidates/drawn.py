"""Candidates: distinct records that can exist, how likely the prior makes each, and whose they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.targets.domain import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.fitting.whole.mutations import Mutants

Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Codes, positions, prior probability and source of each row."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Distinct records that calibration may use.

    Attributes:
        codes: Int32, shape `(candidates, variables)`, no row twice, sorted; mutants behind may be
            the same as another.
        prior: Prior probability of each, shape `(candidates,)`, sum 1 without mutants.
        start: Where each candidate's sources begin, shape `(candidates + 1,)`.
        source: Proposal ids (`BACKGROUND` for none, below it records of the seed sample), grouped by
            candidate.
        source_end: Running sum of the sources' prior probabilities over the whole array.
        position: Shape `(candidates, numeric variables)`: a position inside the bins at
            which every rule holds.
        share_background: Prior probability that came from the background.
    """

    codes: np.ndarray
    prior: np.ndarray
    start: np.ndarray
    source: np.ndarray
    source_end: np.ndarray
    position: np.ndarray
    share_background: float

    def __len__(self) -> int:
        return len(self.codes)

    def background_share(self) -> np.ndarray:
        """Return which share of each candidate's prior came from the background."""
        mass = np.diff(np.concatenate([[0.0], self.source_end]))
        row = np.repeat(np.arange(len(self)), np.diff(self.start))
        return np.bincount(row, mass * (self.source == BACKGROUND), len(self)) / self.prior

    @cached_property
    def main_source(self) -> np.ndarray:
        """Return where most of each candidate's prior came from, shape `(candidates,)`."""
        mass = np.diff(self.source_end, prepend=0.0)
        most = np.maximum.reduceat(mass, self.start[:-1])
        largest = np.flatnonzero(mass == np.repeat(most, np.diff(self.start)))
        return np.asarray(self.source[largest[np.searchsorted(largest, self.start[:-1])]])

    def with_mutants(self, mutants: Mutants, copied: np.ndarray | None = None) -> Candidates:
        """Return the candidates and, behind them, mutants; their prior is that of their parents.

        Args:
            mutants: Candidates that have another value in a variable.
            copied: Which variables a seed sample has, shape `(variables,)`: what differs from a
                record of it there is no copy any more, and counts to the background.
        """
        if not len(mutants):
            return self
        source = self.main_source[mutants.parent]
        if copied is not None:
            changed = (mutants.codes != self.codes[mutants.parent])[:, copied].any(axis=1)
            source = np.where((source < BACKGROUND) & changed, BACKGROUND, source)
        prior = self.prior[mutants.parent]
        ends = self.start[-1] + np.arange(1, len(mutants) + 1)
        return Candidates(
            codes=np.concatenate([self.codes, mutants.codes]),
            prior=np.concatenate([self.prior, prior]),
            start=np.concatenate([self.start, ends]),
            source=np.concatenate([self.source, source.astype(np.int32)]),
            source_end=np.concatenate([self.source_end, self.source_end[-1] + np.cumsum(prior)]),
            position=np.concatenate([self.position, mutants.position]),
            share_background=self.share_background,
        )


def row_keys(codes: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return one int64 for each row, equal for equal rows and in lexicographic order."""
    key = np.zeros(len(codes), dtype=np.int64)
    room = 1
    for column, size in enumerate(sizes):
        if room * size >= 2**62:  # squeeze the keys so far before they overflow
            distinct, key = np.unique(key, return_inverse=True)
            room = len(distinct)
        key = key * size + codes[:, column]
        room *= size
    return key


def distinct(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each distinct key stands first, and for each key which of the distinct it is.

    As `numpy.unique` does, whose stable sort takes several times longer.

    Args:
        keys: At least one, shape `(rows,)`.
    """
    order = np.argsort(keys)
    ranked = keys[order]
    begins = np.concatenate([[True], ranked[1:] != ranked[:-1]])
    inverse = np.empty(len(keys), dtype=np.int64)
    inverse[order] = np.cumsum(begins) - 1
    return np.minimum.reduceat(order, np.flatnonzero(begins)), inverse


def merged(parts: Sequence[Part], sizes: Sequence[int], numeric: int) -> Candidates:
    """Return the distinct rows of the parts, in lexicographic order, with what each came from.

    Args:
        parts: Rows; prior probabilities of any sum.
        sizes: Categories or bins of each variable.
        numeric: How many variables are numbers.
    """
    codes = np.concatenate([part[0] for part in parts])
    position = np.concatenate([part[1].reshape(len(part[0]), numeric) for part in parts])
    mass = np.concatenate([part[2] for part in parts])
    source = np.concatenate([part[3] for part in parts])
    mass = mass / mass.sum()
    first, inverse = distinct(row_keys(codes, sizes))
    lowest = int(source.min())  # records of a seed sample have sources below the background's
    span = int(source.max()) - lowest + 1
    if span == 1:  # sorted as they are, which is what takes time
        pair, where = np.arange(len(first)), inverse
    else:
        pair, where = np.unique(inverse * span + (source - lowest), return_inverse=True)
    pair_mass = np.bincount(where, weights=mass)
    owner = pair // span
    return Candidates(
        codes=codes[first],
        prior=np.bincount(inverse, weights=mass),
        start=np.searchsorted(owner, np.arange(len(first) + 1)),
        source=(pair % span + lowest).astype(np.int32),
        source_end=np.cumsum(pair_mass),
        position=position[first],
        share_background=float(mass[source == BACKGROUND].sum()),
    )
