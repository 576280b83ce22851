"""Choosing records: candidates are drawn, calibrated to what the tables still want, made whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from llmsynthor.candidates.library import library_tvd
from llmsynthor.candidates.seed_sample import FILLING
from llmsynthor.engine.stopping import Effort, effort_of
from llmsynthor.engine.value_swaps import swap_values
from llmsynthor.feasibility.drawn import find_clash
from llmsynthor.fitting.calibrate import Calibration, calibrate
from llmsynthor.fitting.controls import (
    Controls,
    binding_tables,
    controls_for,
    rounding_importance,
    rounding_tables,
)
from llmsynthor.fitting.moments import MomentMaker
from llmsynthor.fitting.values.aims import batch_aims
from llmsynthor.fitting.whole.integerize import integerize
from llmsynthor.fitting.whole.pivotal import Balance, choose_scopes
from llmsynthor.seeds import generator
from llmsynthor.targets.statistic import statistic_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmsynthor.candidates.covering import EmptyCell
    from llmsynthor.candidates.drawn import Candidates
    from llmsynthor.candidates.sampler import Sampler
    from llmsynthor.engine.state import State
    from llmsynthor.fitting.moments import Moments
    from llmsynthor.fitting.values.aims import Aim
    from llmsynthor.fitting.whole.mutations import Variety
    from llmsynthor.job.model import Job
    from llmsynthor.targets.table import Table

_MET = 1e-3
"""Records; weights that are nearer to a table have met it."""
_STAGES = ("drawing", "calibrating", "integerizing")
_MORE = "more `engine.candidates` or a larger `engine.background` may help"
_WORST = 3


@dataclass(frozen=True, eq=False)
class Chosen:
    """Records chosen.

    Attributes:
        candidates: Those drawn, and behind them the mutants.
        calibration: Of those drawn.
        counts: Copies of all of them.
        drawn: How many were drawn.
        mutants: How many records were changed in a variable while weights were made whole.
        seconds: By stage.
        notes: What the report must mention.
    """

    candidates: Candidates
    calibration: Calibration
    counts: np.ndarray
    drawn: int
    mutants: int
    seconds: dict[str, float]
    notes: list[str]

    def figures(self) -> dict[str, Any]:
        """Return what choosing them took, as `Figures` names it."""
        found = self.calibration
        return {
            "kl": found.kl,
            "effective_sample_size": found.effective_sample_size,
            "candidates": self.drawn,
            "mutants": self.mutants,
            "converged": found.converged,
            "error": found.error,
            "max_copies": int(self.counts.max(initial=0)),
            "background_prior": self.candidates.share_background,
            **self.seconds,
        }

    def effort(self) -> Effort:
        """Return what it took to fit the candidates to the tables; mutants came after that."""
        found = self.calibration
        held = len(found.weights)
        background = self.candidates.background_share()[:held]
        return effort_of(
            found.kl,
            found.effective_sample_size / held,
            float(found.weights @ background) / max(float(found.weights.sum()), 1e-300),
        )


class Chooser:
    """Chooses the records of one batch after the other, each for what the others leave."""

    def __init__(
        self,
        job: Job,
        sampler: Sampler,
        state: State,
        clock: Callable[[], float],
        tell: Callable[[str], None] = lambda _: None,
        zone: str | None = None,
    ) -> None:
        self.tell = tell
        self._zone = None if zone is None else sampler.tables.wide.positions[zone]
        self.job = job
        self.sampler = sampler
        self.tables = sampler.tables
        self.state = state
        self.clock = clock
        self._positions = {table.name: i for i, table in enumerate(self.tables.control)}
        self._binding = binding_tables(self.tables.control, job.records)
        self._rounded = rounding_tables(self.tables.control, job.records)
        self._statistics = [s for s in self.tables.statistics if s.role == "control"]
        self._population = self.tables.population or float(job.records)
        self._by_statistic = statistic_tables(self.tables, job.records)
        self._followed = (*self._rounded, *self._by_statistic)
        self._moments: Moments | None = None

    def background_share(self) -> float:
        """Return the share of the prior that is background.

        `auto` is twice the library's own mean TVD to the tables: a library that covers them needs
        little help. It never sees a table that is held out. A seed sample takes the library's
        place in part or in whole, and needs the background for empty cells only.
        """
        given, library = self.job.engine.background, self.state.library
        if given != "auto":
            return float(given)
        sample = self.sampler.sample
        if sample is None:
            return float(np.clip(2 * library_tvd(library, self.tables), 0.03, 0.5))
        proposed = 1 - sample.share_beside(len(library))
        return float(np.clip(2 * proposed * library_tvd(library, self.tables), FILLING, 0.5))

    def candidate_count(self, records: int) -> int:
        """Return how many candidates to draw for a batch of `records`."""
        given = self.job.engine.candidates
        return int(np.clip(12 * records, 100_000, 400_000)) if given == "auto" else given

    def residual(self, records: int, tables: Sequence[Table]) -> list[np.ndarray]:
        """Return per given table the records that each cell of the next batch should get.

        Below 0 where a cell has got a part of a record too many.
        """
        left = self.job.records - self.state.records
        return [
            (
                table.wanted(self.job.records).ravel()
                - self.state.counts[self._positions[table.name]]
            )
            * (records / left)
            for table in tables
        ]

    def takes_too_much(self, codes: np.ndarray) -> bool:
        """Return whether records with these codes leave a hard cell a whole record above its target."""
        left = self.residual(self.job.records - self.state.records, self._rounded)
        for table, wanted in zip(self._rounded, left, strict=True):
            held = table.tally(codes, self.tables.wide)
            if (held - np.maximum(wanted, 0.0) >= 1 - _MET)[table.firm].any():
                return True
        return False

    def choose(self, records: int, size: int, iteration: int) -> Chosen:
        """Choose `records` records: draw candidates, calibrate them, make their weights whole."""
        times = [self.clock()]
        self.tell("drawing")
        candidates, empty = self.sampler.candidates(
            self.state.library, self.background_share(), size, iteration
        )
        times.append(self.clock())
        self.tell("calibrating")
        domain, sizes = self.tables.wide, self.tables.wide.sizes
        targets = self.residual(records, self._binding)
        self._moments = self._moments_of(candidates, records)
        controls = controls_for(self._binding, targets, candidates.codes, domain, records)
        calibration = calibrate(replace(controls, moments=self._moments), candidates.prior)
        times.append(self.clock())
        self.tell("integerizing")
        random = generator(self.job.seed, "integers", iteration)
        whole = integerize(
            calibration.weights,
            self._reachable(candidates, calibration, records),
            records,
            random,
            balance=Balance(
                candidates.codes, sizes, choose_scopes(sizes, random, self.tables.members)
            ),
            variety=self._variety(candidates, iteration),
            last_resort=self._last_resort(candidates, iteration),
            zones=None if self._zone is None else candidates.codes[:, self._zone],
            importance=rounding_importance(self._followed),
            thorough=iteration == 0,
        )
        sample = self.sampler.sample
        counts = np.concatenate([whole.counts, np.ones(len(whole.mutants), dtype=np.int64)])
        chosen = Chosen(
            candidates=candidates.with_mutants(
                whole.mutants, None if sample is None else sample.present
            ),
            calibration=calibration,
            counts=counts,
            drawn=len(candidates),
            mutants=len(whole.mutants),
            seconds={},
            notes=[self._empty(cell) for cell in empty],
        )
        aims = self.aims(chosen)
        if aims:
            tables = [*self._rounded, *(t for t in self._by_statistic if not t.is_soft)]
            chosen = swap_values(
                chosen, aims, tables, self.sampler, generator(self.job.seed, "swaps", iteration)
            )
        times.append(self.clock())
        seconds = {
            f"seconds_{stage}": round(end - start, 3)
            for stage, (start, end) in zip(_STAGES, pairwise(times), strict=True)
        }
        return replace(chosen, seconds=seconds)

    def aims(self, chosen: Chosen) -> tuple[Aim, ...]:
        """Return the means that the chosen records need; see `aims`."""
        held = np.flatnonzero(chosen.counts)
        return batch_aims(
            self.tables,
            chosen.candidates.codes[held],
            chosen.counts[held],
            self.state.sums,
            self.state.records,
            self._population,
        )

    def _moments_of(self, candidates: Candidates, records: int) -> Moments | None:
        """Return the statistics as conditions on the candidates; None where there are none."""
        if not self._statistics:
            return None
        codes = candidates.codes
        domain = self.tables.wide
        values = [
            curve.values(codes[:, column], position)
            for curve, column, position in zip(
                self.sampler.curves, domain.numeric, candidates.position.T, strict=True
            )
        ]
        return MomentMaker(
            self._statistics, codes, values, domain, records, self._population
        ).make()

    def _variety(
        self, candidates: Candidates, iteration: int, *, changing_copies: bool = False
    ) -> Variety:
        return self.sampler.variety(
            candidates,
            self.state.library,
            self._followed,
            iteration,
            changing_copies=changing_copies,
        )

    def _last_resort(self, candidates: Candidates, iteration: int) -> Variety | None:
        """Return in what else candidates may change where errors are left: copies in all they tell."""
        if self.sampler.sample is None or iteration != 0:
            return None
        return self._variety(candidates, iteration, changing_copies=True)

    def _empty(self, cell: EmptyCell) -> str:
        wanted = cell.table.wanted(self.job.records).ravel()[cell.cell]
        return (
            f"{cell.table.file}: no candidate is in {cell.table.cell_name(cell.cell)}, which wants "
            f"{wanted:.0f} {self._counted(cell.table)}"
        )

    def _counted(self, table: Table) -> str:
        """Return what a table counts, in words: households where records are some."""
        members = self.tables.members
        return table.counted if members is None or table.members else f"{members.of}s"

    def _reachable(
        self, candidates: Candidates, calibration: Calibration, records: int
    ) -> Controls:
        """Return the controls that whole counts should follow.

        That is what was asked, but for tables that gave way or could not be met: there it is what
        the weights have, for chasing the impossible would only spoil the other tables. With zones
        that is decided for each zone of a table: one that cannot be met leaves the others as asked.
        """
        targets = self.residual(records, self._rounded)
        weights = calibration.weights * (records / max(float(calibration.weights.sum()), 1e-300))
        domain = self.tables.wide
        asked = Controls(
            tuple(t.cell_index(candidates.codes, domain).astype(np.int32) for t in self._followed),
            (*targets, *(np.zeros(table.cells) for table in self._by_statistic)),
        )
        sums = asked.sums(weights)
        reachable = [
            np.where(self._within_reach(table, target, fitted), target, fitted)
            for table, target, fitted in zip(self._rounded, targets, sums, strict=False)
        ] + sums[len(targets) :]
        return Controls(asked.index, tuple(reachable))

    def _within_reach(self, table: Table, target: np.ndarray, fitted: np.ndarray) -> np.ndarray:
        """Return which cells of a table the weights have met, its zones or all together, bool."""
        near = (np.abs(fitted - target) < 1 - _MET).reshape(table.figures.shape)
        zone = None if self._zone is None else self.tables.wide.names[self._zone]
        if zone not in table.scope:
            return np.full(target.shape, bool(near.all()))
        axis = table.scope.index(zone)
        others = tuple(i for i in range(near.ndim) if i != axis)
        return np.broadcast_to(near.all(axis=others, keepdims=True), near.shape).ravel()

    def unmet(
        self, calibration: Calibration, records: int, candidates: Candidates | None = None
    ) -> str:
        """Return in words where the weights stopped short of the tables that they should have met.

        In `candidates` of a job with members, what clashes is looked for.
        """
        members = self.tables.members
        if candidates is not None and members is not None:
            clash = find_clash(self.sampler, candidates.codes, self.job.records)
            if clash is not None:
                help_ = "" if clash.is_clear(self.job.records) else f"; {_MORE}"
                return f"calibration did not converge: {clash.words(members)}{help_}"
        targets = self.residual(records, self._binding)
        worst: list[tuple[float, str]] = []
        for table, target, fitted in zip(self._binding, targets, calibration.fitted, strict=True):
            if table.is_soft:
                continue
            cell = int(np.argmax(np.abs(fitted - target)))
            words = (
                f"{table.file}: {table.cell_name(cell)} wants {target[cell]:,.1f} {self._counted(table)} and the "
                f"candidates give {fitted[cell]:,.1f}"
            )
            worst.append((-abs(float(fitted[cell] - target[cell])), words))
        worst += [
            (-apart, words)
            for apart, words in (self._moments.misses(calibration.weights) if self._moments else ())
        ]
        return (
            f"calibration did not converge: a cell is {calibration.error:.2g} of all records away "
            f"from where it should be; {_MORE}. "
            + "; ".join(words for _, words in sorted(worst)[:_WORST])
        )
