"""Candidates: records that the prior (the library mixed with background) says can exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.background import Background, stratified_draw
from llmsynthor.binvalues import BinCurve
from llmsynthor.domain import BACKGROUND
from llmsynthor.rules import Rule, broken_mask, category_series
from llmsynthor.seeds import generator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.domain import Domain
    from llmsynthor.plan import Proposal
    from llmsynthor.tables import Table, TableSet

SMOOTHING = 0.04
"""Share of each proposal's distribution of each variable that is the variable's marginal instead:
it gives coverage at no cost in held-out error (20 % and more hurt)."""

_LEAST_DRAWS = 40
_COVER = 4
_COVER_DRAWS = 24
_COVER_TRIES = 20


@dataclass(frozen=True, eq=False)
class Candidates:
    """Distinct records that calibration may use.

    Attributes:
        codes: Int32, shape `(candidates, variables)`, no row twice, sorted.
        prior: Prior probability of each, shape `(candidates,)`, sum 1.
        start: Where each candidate's sources begin, shape `(candidates + 1,)`.
        source: Proposal ids (`BACKGROUND` for none), grouped by candidate.
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


@dataclass(frozen=True, eq=False)
class EmptyCell:
    """A cell that wants records and that no candidate can fill."""

    table: Table
    cell: int
    broken: tuple[str, ...]


class Sampler:
    """Draws candidates for one job: knows domain, tables, rules and the root seed."""

    def __init__(self, tables: TableSet, rules: Sequence[Rule], seed: int) -> None:
        self.tables = tables
        self.domain: Domain = tables.domain
        self.rules = tuple(rules)
        self.seed = seed
        self.background = Background(tables)
        self.marginals = self.background.marginals
        self.curves = [
            BinCurve(v, self.marginals[v.name]) for v in self.domain.variables if v.is_numeric
        ]
        self._numeric = [i for i, v in enumerate(self.domain.variables) if v.is_numeric]

    def unlawful(self, proposal: Proposal) -> str | None:
        """Return why no record of the proposal would keep the rules, or None."""
        codes, position = self._draw_proposal(proposal, 400, "lawful", smoothing=0.0)
        frame = self.frame(codes, position)
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
            background_share: Share of the prior that is background; 1 where there is no library.
            size: About how many to draw.
            iteration: Names the random numbers.

        Returns:
            The candidates, and the cells with a target that none of them is in.
        """
        share = background_share if library else 1.0
        parts = [self._proposal_part(p, size, m, iteration) for p, m in _masses(library, 1 - share)]
        parts.append(self._background_part(size, share, iteration))
        parts = [part for part in parts if len(part[0])]
        cover, empty = self._cover(parts, max(share, 0.01), iteration)
        return _merge([*parts, *cover], self.domain.sizes, len(self.curves)), empty

    def frame(self, codes: np.ndarray, position: np.ndarray) -> pl.DataFrame:
        """Return records as polars columns in domain order.

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
        return pl.DataFrame(columns)

    def draw_positions(
        self, codes: np.ndarray, low: np.ndarray, high: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        """Return random positions, shape `(rows, numeric variables)`, inside limits of that shape."""
        position = np.empty((len(codes), len(self.curves)))
        for k, (column, curve) in enumerate(zip(self._numeric, self.curves, strict=True)):
            position[:, k] = curve.draw(codes[:, column], random, low[:, k], high[:, k])
        return position

    def limits(self, proposal: Proposal | None) -> np.ndarray:
        """Return lower and upper limits by numeric variable, shape `(2, numeric variables)`."""
        out = np.array([[-np.inf], [np.inf]]).repeat(len(self.curves), axis=1)
        if proposal is not None:
            for k, column in enumerate(self._numeric):
                interval = proposal.boxes[column].limits
                if interval is not None:
                    out[:, k] = interval.low, interval.high
        return out

    def lawful(self, codes: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return which records break no rule."""
        if not self.rules:
            return np.ones(len(codes), dtype=bool)
        return ~broken_mask(self.rules, self.frame(codes, position))

    def _draw_proposal(
        self, proposal: Proposal, rows: int, *path: str | int, smoothing: float = SMOOTHING
    ) -> tuple[np.ndarray, np.ndarray]:
        random = generator(self.seed, "proposal", proposal.id, *path)
        codes = np.empty((rows, len(self.domain.names)), dtype=np.int32)
        zeros = np.zeros(rows, dtype=np.int64)
        for i, (name, box) in enumerate(zip(self.domain.names, proposal.boxes, strict=True)):
            share = (1 - smoothing) * box.share + smoothing * self.marginals[name]
            codes[:, i] = stratified_draw(share[None, :], zeros, random)
        limits = self.limits(proposal)
        low, high = (np.broadcast_to(row, (rows, len(self.curves))) for row in limits)
        return codes, self.draw_positions(codes, low, high, random)

    def _proposal_part(self, proposal: Proposal, size: int, mass: float, iteration: int) -> _Part:
        rows = max(_LEAST_DRAWS, round(size * mass))
        codes, position = self._draw_proposal(proposal, rows, "iteration", iteration)
        return self._part(codes, position, mass, proposal.id)

    def _background_part(self, size: int, mass: float, iteration: int) -> _Part:
        if mass <= 0:
            return self._nothing()
        rows = max(1000, round(size * mass))
        codes, position = self._draw_background(rows, "iteration", iteration)
        return self._part(codes, position, mass, BACKGROUND)

    def _nothing(self) -> _Part:
        codes = np.empty((0, len(self.domain.names)), np.int32)
        return codes, np.empty((0, len(self.curves))), np.empty(0), BACKGROUND

    def _draw_background(
        self, rows: int, *path: str | int, fixed: dict[str, np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        random = generator(self.seed, "background", *path)
        codes = self.background.draw(rows, random, fixed)
        low, high = (np.full((rows, len(self.curves)), x) for x in (-np.inf, np.inf))
        return codes, self.draw_positions(codes, low, high, random)

    def _part(self, codes: np.ndarray, position: np.ndarray, mass: float, source: int) -> _Part:
        keep = self.lawful(codes, position) if len(codes) else np.empty(0, dtype=bool)
        kept = int(keep.sum())
        return codes[keep], position[keep], np.full(kept, mass / max(kept, 1)), source

    def _cover(
        self, parts: Sequence[_Part], share: float, iteration: int
    ) -> tuple[list[_Part], list[EmptyCell]]:
        """Return more background for every control cell that hardly any candidate is in."""
        cover: list[_Part] = []
        empty: list[EmptyCell] = []
        for number, table in enumerate(self.tables.control):
            there = np.zeros(table.cells, dtype=np.int64)
            for codes, *_ in [*parts, *cover]:
                there += np.bincount(table.cell_index(codes, self.domain), minlength=table.cells)
            for cell in np.flatnonzero((there < _COVER) & (table.flat_share > 0)):
                part, broken = self._cover_cell(table, int(cell), share, iteration, number)
                if len(part[0]):
                    cover.append(part)
                elif not there[cell]:
                    empty.append(EmptyCell(table, int(cell), broken))
        return cover, empty

    def _cover_cell(
        self, table: Table, cell: int, share: float, iteration: int, number: int
    ) -> tuple[_Part, tuple[str, ...]]:
        mass = share * float(table.flat_share[cell])
        place = np.unravel_index(cell, table.share.shape)
        broken: set[str] = set()
        for attempt in range(_COVER_TRIES):
            random = generator(self.seed, "cover", iteration, number, cell, attempt)
            fixed = {
                name: self._codes_in(name, group == p, random)
                for name, group, p in zip(table.scope, table.groups, place, strict=True)
            }
            path = ("cover", iteration, number, cell, attempt)
            codes, position = self._draw_background(_COVER_DRAWS, *path, fixed=fixed)
            part = self._part(codes, position, mass, BACKGROUND)
            if len(part[0]):
                return part, ()
            frame = self.frame(codes, position)
            broken |= {rule.name for rule in self.rules if broken_mask([rule], frame).any()}
        return self._nothing(), tuple(sorted(broken))

    def _codes_in(self, name: str, inside: np.ndarray, random: np.random.Generator) -> np.ndarray:
        share = self.marginals[name] * inside
        share = share if share.sum() > 0 else inside.astype(float)
        return random.choice(len(share), size=_COVER_DRAWS, p=share / share.sum())


_Part = tuple[np.ndarray, np.ndarray, np.ndarray, int]
"""Codes, positions, prior probability of each row, source."""


def _masses(library: Sequence[Proposal], mass: float) -> list[tuple[Proposal, float]]:
    total = sum(proposal.count for proposal in library)
    return [(p, mass * p.count / total) for p in library] if total else []


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


def _merge(parts: Sequence[_Part], sizes: Sequence[int], numeric: int) -> Candidates:
    codes = np.concatenate([part[0] for part in parts])
    position = np.concatenate([part[1].reshape(len(part[0]), numeric) for part in parts])
    mass = np.concatenate([part[2] for part in parts])
    source = np.concatenate([np.full(len(part[0]), part[3], dtype=np.int64) for part in parts])
    mass = mass / mass.sum()
    _, first, inverse = np.unique(row_keys(codes, sizes), return_index=True, return_inverse=True)
    pair, where = np.unique(inverse * (source.max() + 2) + source + 1, return_inverse=True)
    pair_mass = np.bincount(where, weights=mass)
    owner = pair // (source.max() + 2)
    return Candidates(
        codes=codes[first],
        prior=np.bincount(inverse, weights=mass),
        start=np.searchsorted(owner, np.arange(len(first) + 1)),
        source=(pair % (source.max() + 2) - 1).astype(np.int32),
        source_end=np.cumsum(pair_mass),
        position=position[first],
        share_background=float(mass[source == BACKGROUND].sum()),
    )
