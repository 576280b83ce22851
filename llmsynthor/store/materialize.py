"""Materialize: counts of candidates become records, file by file, in memory that N does not grow."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import polars as pl

from llmsynthor.candidates.rules import broken_mask
from llmsynthor.candidates.seed_sample import SEED_RECORD, seed_records
from llmsynthor.fitting.values.shift import Shifting
from llmsynthor.targets.domain import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from llmsynthor.candidates.drawn import Candidates
    from llmsynthor.candidates.proposals import Proposal
    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.candidates.seed_sample import SeedSample
    from llmsynthor.fitting.values.aims import Aim

_REDRAWS = 16
_SHIFTS = 4
_MOST_WORKERS = 8
"""Each holds a batch or two in memory."""
_POLL_S = 0.1
_T = TypeVar("_T")


def deal(counts: np.ndarray, group: int, groups: int) -> np.ndarray:
    """Return which candidates make the records of one of `groups` equal groups.

    Record k of the run, counted through the candidates in their order, goes to group k mod
    `groups`: every group is a systematic sample of all, so that each file is aligned by itself.

    Args:
        counts: Records of each candidate, shape `(candidates,)`.
        group: From 0.
        groups: How many groups there are.

    Returns:
        Candidate of each record of the group, shape `(records of the group,)`.
    """
    ends = np.cumsum(counts)
    return np.searchsorted(ends, np.arange(group, int(ends[-1]), groups), side="right")


def in_parallel(make: Callable[[int], _T], numbers: Iterable[int]) -> Iterator[_T]:
    """Yield `make(number)` for each number, in order; as many at once as there are cores.

    One more is begun than there are cores, so that none waits for the caller. A signal is answered at once: what is being
    written is finished, and nothing new is begun.
    """
    workers = min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
    waiting: deque[Future[_T]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for number in numbers:
                if len(waiting) > workers:
                    yield result_of(waiting.popleft())
                waiting.append(pool.submit(make, number))
            while waiting:
                yield result_of(waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()


def result_of(future: Future[_T]) -> _T:
    """Return what a thread makes, while this one can be stopped."""
    # a short wait: polars installs a SIGINT handler that restarts a blocked wait for ever
    while not future.done():
        wait([future], timeout=_POLL_S)
    return future.result()


class Materializer:
    """Turns candidates into records with values, sources and kept rules."""

    def __init__(
        self,
        sampler: Sampler,
        candidates: Candidates,
        library: Mapping[int, Proposal],
        aims: Sequence[Aim] = (),
    ) -> None:
        self._shifting = Shifting(sampler, aims) if Shifting.needed(sampler) else None
        self._sampler = sampler
        self._candidates = candidates
        self._numeric = bool(sampler.curves)
        names = {v.name for v in sampler.domain.variables if v.is_numeric}
        self._rules = [rule for rule in sampler.rules if names & set(rule.scope)]
        layouts = {layout.id: layout for layout in sampler.layouts(list(library.values()))}
        most = max(layouts, default=BACKGROUND)
        limits = [sampler.limits(layouts.get(number)) for number in range(BACKGROUND, most + 1)]
        sample = sampler.sample
        before = [] if sample is None else [sample.limits[::-1]]  # sources go down from -2
        self._lowest = BACKGROUND if sample is None else BACKGROUND - len(sample)
        self._limits = np.concatenate([*before, np.stack(limits)])

    def codes(self, rows: np.ndarray) -> np.ndarray:
        """Return the codes of the candidates `rows`, shape `(rows, variables)`."""
        return self._candidates.codes[rows]

    def records(
        self, rows: np.ndarray, random: np.random.Generator
    ) -> tuple[pl.DataFrame, np.ndarray]:
        """Return records in random order, and the proposal that each came from.

        Args:
            rows: Candidate of each record.
            random: Source of randomness.

        Returns:
            Columns in domain order, and proposal ids (`BACKGROUND` for none, below it records of
            the seed sample), int32.
        """
        rows = random.permutation(rows)
        source = self._sources(rows, random)
        codes = self._candidates.codes[rows]
        if not self._numeric:
            frame = self._sampler.frame(codes, np.empty((len(rows), 0)))
            return frame, self._sampler.proposal_of(source)
        limits = self._limits[source - self._lowest]
        low, high = limits[:, 0], limits[:, 1]
        position = self._sampler.draw_positions(codes, low, high, random)
        frame = self._sampler.frame(codes, position)
        wrong = np.flatnonzero(broken_mask(self._rules, frame))
        if len(wrong):
            self._redraw(rows, codes, low, high, position, wrong, random)
            frame = self._sampler.frame(codes, position)
        if self._shifting is not None:
            frame = self._shifted(self._shifting, codes, position, (low, high), random)
        return frame, self._sampler.proposal_of(source)

    def _shifted(
        self,
        shifting: Shifting,
        codes: np.ndarray,
        position: np.ndarray,
        limits: tuple[np.ndarray, np.ndarray],
        random: np.random.Generator,
    ) -> pl.DataFrame:
        """Return records whose values are shifted to the means that are wanted, but where rules forbid it."""
        fixed = np.zeros(len(codes), dtype=bool)
        shifted, moved = position, codes
        for _ in range(_SHIFTS):
            moved = codes.copy()
            shifted = shifting.shift(moved, position, limits, fixed, random)
            frame = self._sampler.frame(moved, shifted)
            broken = broken_mask(self._rules, frame) if self._rules else fixed[:0]
            if not broken.any():
                return frame
            fixed |= broken
        kept = fixed[:, None]
        return self._sampler.frame(np.where(kept, codes, moved), np.where(kept, position, shifted))

    def _redraw(
        self,
        rows: np.ndarray,
        codes: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        position: np.ndarray,
        wrong: np.ndarray,
        random: np.random.Generator,
    ) -> None:
        """Draw values anew where they break a rule; at last take the candidate's own, which keep all."""
        for _ in range(_REDRAWS):
            position[wrong] = self._sampler.draw_positions(
                codes[wrong], low[wrong], high[wrong], random
            )
            frame = self._sampler.frame(codes[wrong], position[wrong])
            wrong = wrong[broken_mask(self._rules, frame)]
            if not len(wrong):
                return
        position[wrong] = self._candidates.position[rows[wrong]]

    def _sources(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return a source for each record, in proportion to the sources' prior probabilities."""
        candidates = self._candidates
        first, last = candidates.start[rows], candidates.start[rows + 1] - 1
        single = first == last
        if single.all():
            return candidates.source[first]
        ends = candidates.source_end
        bottom = np.where(first > 0, ends[np.maximum(first - 1, 0)], 0.0)
        level = bottom + random.random(len(rows)) * (ends[last] - bottom)
        found = np.searchsorted(ends, level, side="right")
        return candidates.source[np.clip(found, first, last)]


def provenance_frame(
    iteration: int, source: np.ndarray, sample: SeedSample | None = None
) -> pl.DataFrame:
    """Return the provenance of a batch: its iteration, and the proposal (null for none).

    With a seed sample also the key of the record that each is a copy of (null for none).
    """
    ids = pl.Series("proposal", source, dtype=pl.Int32)
    frame = pl.DataFrame({"proposal": ids}).select(
        pl.lit(iteration, dtype=pl.Int32).alias("iteration"),
        pl.when(pl.col("proposal") > BACKGROUND).then(pl.col("proposal")).alias("proposal"),
    )
    if sample is None:
        return frame
    copied = seed_records(source)
    keys = pl.Series(SEED_RECORD, sample.keys, dtype=pl.String)
    there = pl.Series("there", copied >= 0)
    return pl.DataFrame([*frame, keys.gather(np.maximum(copied, 0)), there]).select(
        *frame.columns, pl.when("there").then(SEED_RECORD).alias(SEED_RECORD)
    )


def encode_frame(frame: pl.DataFrame, sampler: Sampler) -> np.ndarray:
    """Return the codes of records read back from a file, int32, shape `(rows, variables)`."""
    codes = np.zeros((frame.height, len(sampler.domain.names)), dtype=np.int32)
    for i, variable in enumerate(sampler.domain.variables):
        # under another name: polars takes names such as `^a$` for patterns
        column = frame.get_column(variable.name).alias("values")
        there = slice(None) if not column.null_count() else column.is_not_null().to_numpy()
        column = column.drop_nulls()  # slots without a member
        if variable.is_numeric:
            codes[there, i] = variable.encode_values(column.to_numpy())
        else:
            known = pl.Enum(variable.labels)
            codes[there, i] = column.cast(pl.String).cast(known).to_physical().to_numpy()
    return codes
