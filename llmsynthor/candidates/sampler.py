"""Sampling: candidates drawn from the prior, which is the library mixed with background."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.candidates.background import Background, MemberBackground, stratified_draw
from llmsynthor.candidates.covering import EmptyCell, cover
from llmsynthor.candidates.drawn import merged
from llmsynthor.candidates.layouts import layouts, proposal_of
from llmsynthor.candidates.rules import Rule, broken_mask, category_series
from llmsynthor.candidates.seed_sample import draw_in_zones
from llmsynthor.fitting.controls import binding_tables
from llmsynthor.fitting.values.curve import BinCurve
from llmsynthor.fitting.whole.mutations import Variety
from llmsynthor.seeds import generator
from llmsynthor.targets.domain import BACKGROUND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.candidates.boxes import Box
    from llmsynthor.candidates.drawn import Candidates, Part
    from llmsynthor.candidates.proposals import Proposal
    from llmsynthor.candidates.seed_sample import SeedSample
    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.table import Table, TableSet

SMOOTHING = 0.02
"""Share of each proposal's distribution of each variable that is the variable's marginal instead:
it gives coverage at no cost in held-out error (8 % and more hurt)."""

MEMBER_SMOOTHING = 0.005
"""The same where records have members: a household has several times as many variables, and with
2 % most would have a value at random."""

DEPENDENCE = 0.5
"""Power of the tables' own dependence inside a proposal. 0 draws its variables independently, 1
multiplies by all of joint / (product of marginals), some of which the proposal's choice of values
holds already. 0.3 to 0.7 lowered the held-out error on both data sets of `docs/benchmarks.md`."""

_LEAST_DRAWS = 40
_LAWFUL_DRAWS = 400
_KNOWN_DRAWS = 6
_KNOWN_MASS = 0.05
"""Share of the background's mass that records known to be needed get: a little, for they are few."""


class Sampler:
    """Draws candidates for one job: knows domain, tables, rules and the root seed."""

    def __init__(
        self,
        tables: TableSet,
        rules: Sequence[Rule],
        seed: int,
        known: np.ndarray | None = None,
        sample: SeedSample | None = None,
    ) -> None:
        """Prepare to draw.

        Args:
            tables: The job's tables and domain.
            rules: What no record may break.
            seed: Root of all random numbers.
            known: Codes of records that the tables need and chance draws miss, int32, shape
                `(records, variables)`; -1 leaves a variable open.
            sample: Real records that records may be copies of.
        """
        self.sample = sample
        self._known = np.empty((0, len(tables.wide.names)), np.int32) if known is None else known
        self.tables = tables
        self.domain: Domain = tables.wide
        self.members = tables.members
        self.rules = tuple(rules)
        self.seed = seed
        self.background = (
            Background(tables) if self.members is None else MemberBackground(tables, self.members)
        )
        self.marginals = self.background.marginals
        self.curves = [
            BinCurve(v, self.marginals[v.name]) for v in self.domain.variables if v.is_numeric
        ]
        self._factors = [(t, _dependence_factor(t)) for t in binding_tables(tables.control)]

    def with_sample(self, sample: SeedSample) -> Sampler:
        """Return a sampler of the same job that copies real records, too."""
        return Sampler(self.tables, self.rules, self.seed, self._known, sample)

    def unlawful(self, proposal: Proposal) -> str | None:
        """Return why no record of the proposal would keep the rules, or None."""
        random = generator(self.seed, "proposal", proposal.id, "lawful")
        drawn = self.layouts([proposal])
        owner = np.arange(_LAWFUL_DRAWS) % len(drawn)
        codes = self._draw_boxes([layout.boxes for layout in drawn], owner, 0.0, random)
        limits = np.stack([self.limits(layout) for layout in drawn])[owner]
        frame = self.frame(codes, self.draw_positions(codes, limits[:, 0], limits[:, 1], random))
        if not self.rules or not broken_mask(self.rules, frame).all():
            return None
        for rule in self.rules:
            if broken_mask([rule], frame).all():
                return f"every such record breaks the rule `{rule.name}` ({rule.text})"
        return "every such record breaks one of the rules " + ", ".join(
            f"`{r.name}`" for r in self.rules
        )

    def candidates(
        self, library: Sequence[Proposal], background_share: float, size: int, iteration: int
    ) -> tuple[Candidates, list[EmptyCell]]:
        """Draw candidates from the prior, keep those that break no rule, and cover every cell.

        Args:
            library: Accepted proposals.
            background_share: Share of the prior that is background; 1 where there is neither a
                library nor a seed sample.
            size: About how many to draw.
            iteration: Names the random numbers.

        Returns:
            The candidates, and the cells with a target that none of them is in.
        """
        sample = self.sample
        share = background_share if library or sample else 1.0
        copied = 0.0 if sample is None else (1 - share) * sample.share_beside(len(library))
        parts = [
            self._library_part(self.layouts(library), 1 - share - copied, size, iteration),
            self._sample_part(copied, size, iteration),
            self._background_rows(max(1000, round(size * share)), share, "iteration", iteration),
            self._known_part(max(share, 0.01), iteration),
        ]
        parts = [part for part in parts if len(part[0])]
        more, empty = cover(self, parts, max(share, 0.01), iteration)
        return merged([*parts, *more], self.domain.sizes, len(self.curves)), empty

    def layouts(self, library: Sequence[Proposal]) -> list[Proposal]:
        """Return the proposals; where records have members, each in every layout of its members."""
        return [layout for proposal in library for layout in layouts(proposal, self.members)]

    def proposal_of(self, source: np.ndarray) -> np.ndarray:
        """Return the proposals that sources of candidates belong to, int32."""
        return proposal_of(source, self.members)

    def frame(self, codes: np.ndarray, position: np.ndarray) -> pl.DataFrame:
        """Return records as polars columns in domain order, null in slots without a member.

        Args:
            codes: Shape `(rows, variables)`.
            position: Shape `(rows, numeric variables)`, positions inside the bins.
        """
        columns, curve = [], 0
        for i, variable in enumerate(self.domain.variables):
            if variable.is_numeric:
                values = self.curves[curve].values(codes[:, i], position[:, curve])
                columns.append(pl.Series(variable.name, values))
                curve += 1
            else:
                columns.append(category_series(variable, codes[:, i]))
        return self._blanked(columns, codes)

    def _blanked(self, columns: list[pl.Series], codes: np.ndarray) -> pl.DataFrame:
        """Return columns as a frame, with nulls where a slot has no member."""
        members = self.members
        if members is None:
            return pl.DataFrame(columns)
        first = len(members.record.names)
        there = [pl.Series(f"slot {slot}", row) for slot, row in enumerate(members.present(codes))]
        width = len(members.own.names)
        # under other names: polars takes names such as `^a$` for patterns
        named = [column.alias(f"column {i}") for i, column in enumerate(columns[first:])]
        blanked = pl.DataFrame([*there, *named]).select(
            pl.when(pl.col(f"slot {i // width}")).then(pl.col(f"column {i}")).alias(f"column {i}")
            for i in range(len(named))
        )
        names = self.domain.names[first:]
        slots = [c.alias(n) for c, n in zip(blanked.get_columns(), names, strict=True)]
        return pl.DataFrame([*columns[:first], *slots])

    def variety(
        self,
        candidates: Candidates,
        library: Sequence[Proposal],
        tables: Sequence[Table],
        iteration: int,
        *,
        changing_copies: bool = False,
    ) -> Variety:
        """Return in what candidates may be changed: to what their proposals say exists.

        A copy of a seed record may change in what the sample does not tell, and in all else only
        with `changing_copies`; then it is no copy any more.
        """
        random = generator(self.seed, "mutants", "iteration", iteration)
        sample = self.sample
        library = self.layouts(library)
        # the last row is the seed sample's: its records may change in what it does not tell
        limits = np.stack([self.limits(proposal) for proposal in [None, *library, None]])
        row = np.zeros(max((p.id for p in library), default=BACKGROUND) + 2, dtype=np.int64)
        row[[p.id + 1 for p in library]] = np.arange(1, len(library) + 1)

        def complete(codes: np.ndarray, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            position = self.draw_positions(codes, limits[owner, 0], limits[owner, 1], random)
            return position, self.lawful(codes, position)

        share = tuple(
            np.stack(
                [
                    self.marginals[name],
                    *(p.boxes[i].share for p in library),
                    self.marginals[name]
                    * (sample is not None and (changing_copies or not sample.present[i])),
                ]
            )
            for i, name in enumerate(self.domain.names)
        )
        source = candidates.main_source
        owner = np.where(
            source < BACKGROUND, len(library) + 1, row[np.maximum(source, BACKGROUND) - BACKGROUND]
        )
        return Variety(candidates.codes, owner, share, tables, self.domain, complete, self.members)

    def draw_positions(
        self, codes: np.ndarray, low: np.ndarray, high: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        """Return random positions, shape `(rows, numeric variables)`, inside limits of that shape."""
        position = np.empty((len(codes), len(self.curves)))
        for k, (column, curve) in enumerate(zip(self.domain.numeric, self.curves, strict=True)):
            position[:, k] = curve.draw(codes[:, column], random, low[:, k], high[:, k])
        return position

    def limits(self, proposal: Proposal | None) -> np.ndarray:
        """Return lower and upper limits by numeric variable, shape `(2, numeric variables)`."""
        out = np.array([[-np.inf], [np.inf]]).repeat(len(self.curves), axis=1)
        if proposal is not None:
            for k, column in enumerate(self.domain.numeric):
                interval = proposal.boxes[column].limits
                if interval is not None:
                    out[:, k] = interval.low, interval.high
        return out

    def lawful(self, codes: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return which records break no rule."""
        if not self.rules:
            return np.ones(len(codes), dtype=bool)
        return ~broken_mask(self.rules, self.frame(codes, position))

    def _library_part(
        self, library: Sequence[Proposal], mass: float, size: int, iteration: int
    ) -> Part:
        """Draw from all proposals at once; each keeps its mass among the rows that are lawful."""
        counts = np.array([proposal.count for proposal in library], dtype=float)
        if not len(counts) or mass <= 0:
            return self._nothing()
        masses = mass * counts / counts.sum()
        rows = np.maximum(_LEAST_DRAWS, np.round(size * masses)).astype(np.int64)
        owner = np.repeat(np.arange(len(library)), rows)
        random = generator(self.seed, "library", "iteration", iteration)
        smoothing = SMOOTHING if self.members is None else MEMBER_SMOOTHING
        codes = self._draw_boxes([p.boxes for p in library], owner, smoothing, random)
        limits = np.stack([self.limits(proposal) for proposal in library])
        low, high = limits[owner, 0], limits[owner, 1]
        position = self.draw_positions(codes, low, high, random)
        weight = self._dependence(codes)
        weight[weight > 0] *= self.lawful(codes[weight > 0], position[weight > 0])
        kept = weight > 0
        codes, position, owner, weight = codes[kept], position[kept], owner[kept], weight[kept]
        weight *= (masses / np.maximum(np.bincount(owner, weight, len(library)), 1e-300))[owner]
        return codes, position, weight, np.array([p.id for p in library])[owner]

    def _sample_part(self, mass: float, size: int, iteration: int) -> Part:
        """Take the seed sample's records, with what they lack drawn from the background."""
        sample = self.sample
        if sample is None or mass <= 0:
            return self._nothing()
        random = generator(self.seed, "sample", "iteration", iteration)
        rows, zone = round(size * mass), None
        if sample.zone is not None:
            zone = draw_in_zones(sample, self.tables, sample.zone, rows, random)
        drawn = sample.draws(rows) if zone is None else zone.record
        codes, known = sample.codes[drawn], sample.present.copy()
        if zone is not None:
            codes[:, sample.zone], known[sample.zone] = zone.zone, True
        if not known.all():
            names = self.domain.names
            given = {names[i]: codes[:, i] for i in np.flatnonzero(known)}
            codes = self.background.draw(len(drawn), random, given)
        low, high = sample.limits[drawn, 0], sample.limits[drawn, 1]
        position = self.draw_positions(codes, low, high, random)
        kept = self.lawful(codes, position)
        codes, position, drawn = codes[kept], position[kept], drawn[kept]
        if zone is None:
            own = sample.masses(drawn, mass)
        else:
            own = zone.share[kept] * (mass / max(float(zone.share[kept].sum()), 1e-300))
        return codes, position, own, sample.sources(drawn)

    def _draw_boxes(
        self,
        boxes: Sequence[Sequence[Box]],
        owner: np.ndarray,
        smoothing: float,
        random: np.random.Generator,
    ) -> np.ndarray:
        """Return codes drawn from the boxes, variable by variable; `owner` names each row's."""
        codes = np.empty((len(owner), len(self.domain.names)), dtype=np.int32)
        for i, name in enumerate(self.domain.names):
            share = np.stack([sides[i].share for sides in boxes])
            if self.members is None or name != self.members.size:  # a layout has its size
                share = (1 - smoothing) * share + smoothing * self.marginals[name]
            codes[:, i] = stratified_draw(share, owner, random)
        return codes if self.members is None else self.members.emptied(codes)

    def _dependence(self, codes: np.ndarray) -> np.ndarray:
        """Return how much more likely the tables make each row than independence would.

        Returns:
            Shape `(rows,)`: the product over the binding tables of (joint / product of marginals)
            to the power `DEPENDENCE`; 0 where a hard table has nobody.
        """
        weight = np.ones(len(codes))
        for table, factor in self._factors:
            cells = table.cell_index(codes, self.domain)
            for slot in cells.reshape(-1, len(codes)):  # one for a table that counts records
                weight *= factor[slot]
        return weight

    def _known_part(self, share: float, iteration: int) -> Part:
        """Return the known records, their open variables filled from the background."""
        found = [self._nothing()]
        opens, pattern = np.unique(self._known < 0, axis=0, return_inverse=True)
        for number, is_open in enumerate(opens):
            known = np.repeat(self._known[pattern == number], _KNOWN_DRAWS, axis=0)
            fixed = {n: known[:, i] for i, n in enumerate(self.domain.names) if not is_open[i]}
            path = ("known", iteration, number)
            mass = share * _KNOWN_MASS
            found.append(self._background_rows(len(known), mass, *path, fixed=fixed))
        codes, position, own, source = map(np.concatenate, zip(*found, strict=True))
        return codes, position, own, source

    def _nothing(self) -> Part:
        codes = np.empty((0, len(self.domain.names)), np.int32)
        return codes, np.empty((0, len(self.curves))), np.empty(0), np.empty(0, dtype=np.int64)

    def draw_background(
        self, rows: int, *path: str | int, fixed: dict[str, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return codes and positions of background records, lawful or not; `path` names the draw."""
        random = generator(self.seed, "background", *path)
        codes = self.background.draw(rows, random, fixed)
        position = self._anywhere(codes, random)
        if self.rules and isinstance(self.background, MemberBackground):
            self.background.repair(
                codes, position, fixed or {}, random, self._anywhere, self.lawful
            )
        return codes, position

    def _anywhere(self, codes: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return positions without limits, shape `(rows, numeric variables)`."""
        low, high = (np.full((len(codes), len(self.curves)), x) for x in (-np.inf, np.inf))
        return self.draw_positions(codes, low, high, random)

    def _background_rows(
        self,
        rows: int,
        mass: float,
        *path: str | int,
        fixed: dict[str, np.ndarray] | None = None,
    ) -> Part:
        if mass <= 0:
            return self._nothing()
        codes, position = self.draw_background(rows, *path, fixed=fixed)
        keep = self.lawful(codes, position)
        kept = int(keep.sum())
        source = np.full(kept, BACKGROUND, dtype=np.int64)
        return codes[keep], position[keep], np.full(kept, mass / max(kept, 1)), source


def _dependence_factor(table: Table) -> np.ndarray:
    """Return (joint / product of the table's marginals) to the power `DEPENDENCE`, by cell.

    What a soft table has at 0 may be a zero of its sample only; it is made rare, not impossible.
    """
    product = np.ones(())
    for axis in range(table.share.ndim):
        others = tuple(i for i in range(table.share.ndim) if i != axis)
        product = np.multiply.outer(product, table.share.sum(axis=others))
    share = 0.98 * table.share + 0.02 * product if table.is_soft else table.share
    ratio = np.divide(share, product, out=np.zeros_like(share), where=product > 0)
    return np.append(ratio.ravel() ** DEPENDENCE, 1.0)  # last, a slot without a member
