"""Mutations: records that get another value of one variable, to mend what rounding left wrong.

Of the candidates hardly two agree in all variables but one where variables are many, so that an
exchange of one for another mends one table and spoils the others. A record that changes in one
variable changes in the tables of that variable only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.fitting.whole.swaps import swap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmsynthor.fitting.whole.copies import Copies
    from llmsynthor.targets.domain import Domain, Members
    from llmsynthor.targets.table import Table

_WALKS = 6
"""Rounds of changes that lower the error, and between them of some that may raise it."""
_COLD_ROUNDS = 60
_SLACK = 0.3
"""Squared records; how much a change may raise the error, on average and at heat 1."""
_FULL = 0.5
"""Records too many; cells below are left alone at first."""
_MOST_ROWS = 2000
_MOST_CELLS = 1_000_000
"""Records, and records times values, looked at for one variable in one round."""
_MOST_CHANGES = 200
_WALK_CHANGES = 12
_LIKING = 0.05
"""What a value e times as likely, to its proposal, is worth in squared records."""
_LEAST_GAIN = 1e-9
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Variety:
    """In what candidates may change.

    Attributes:
        codes: Codes of the candidates, int32, shape `(candidates, variables)`.
        owner: Row of `share` that says which values each candidate may have, shape `(candidates,)`.
        share: Per variable the probability of each code, shape `(owners, size)`.
        tables: The tables that count the candidates, in the order of the controls.
        domain: Variables of the codes, with those of members slot by slot.
        complete: Draws positions for codes of given owners, and says which break no rule.
        members: What the members are, if candidates have any; how many there are never changes.
    """

    codes: np.ndarray
    owner: np.ndarray
    share: tuple[np.ndarray, ...]
    tables: Sequence[Table]
    domain: Domain
    complete: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
    members: Members | None = None

    def take(self, rows: np.ndarray) -> Variety:
        """Return the variety of some candidates only."""
        return replace(self, codes=self.codes[rows], owner=self.owner[rows])


@dataclass(frozen=True, eq=False)
class Mutants:
    """Records that are like no candidate.

    Attributes:
        codes: Int32, shape `(mutants, variables)`.
        position: Positions inside bins at which every rule holds, shape `(mutants, numeric)`.
        parent: Candidate that each was made of, shape `(mutants,)`.
    """

    codes: np.ndarray
    position: np.ndarray
    parent: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    @classmethod
    def together(cls, some: Sequence[Mutants]) -> Mutants:
        """Return all mutants of several turns."""
        if not some:
            none = np.empty((0, 0))
            return cls(none.astype(np.int32), none, np.empty(0, dtype=np.int64))
        return cls(
            np.concatenate([mutants.codes for mutants in some]),
            np.concatenate([mutants.position for mutants in some]),
            np.concatenate([mutants.parent for mutants in some]),
        )

    def of(self, rows: np.ndarray) -> Mutants:
        """Return the same with parents in an array of which theirs are the `rows`."""
        return Mutants(self.codes, self.position, rows[self.parent])


class Mutations:
    """One copy of each candidate that records have, while it is changed."""

    def __init__(self, copies: Copies, variety: Variety, random: np.random.Generator) -> None:
        """Prepare to change the copies, in what `variety` says; `random` breaks ties."""
        self._variety = variety
        self._copies = copies
        self._random = random
        self._liked: dict[int, np.ndarray] = {}

    def mend(
        self, check: Callable[[], None], wrong: Callable[[], np.ndarray], heat: float = 1.0
    ) -> None:
        """Change records as long as that lowers the weighted squared error.

        Where nothing lowers it any more, a few changes that cost a little follow, and what lowers
        it then: errors wander until they meet one of the other sign.

        Args:
            check: Called between rounds; may raise to stop.
            wrong: Says which cells are a whole record away from their target.
            heat: How much a change may cost then, as a multiple of the usual.
        """
        for walk in range(_WALKS):
            for _ in range(_COLD_ROUNDS):
                if not self._round(check, np.abs(self._copies.error) > _FULL, 0.0):
                    break
            if self._variety.members is not None and wrong().any():
                swap(self._copies, self._variety, self._random, check)
            if walk == _WALKS - 1 or not wrong().any():
                return
            self._round(check, wrong(), heat)

    def _round(self, check: Callable[[], None], cells: np.ndarray, heat: float) -> int:
        """Change records in each variable that has a table with one of `cells`; return how many."""
        changed = 0
        for variable in self._random.permutation(len(self._copies.places)):
            if any(cells[place.span].any() for place in self._copies.places[variable]):
                check()
                changed += self._change(int(variable), heat)
        return changed

    def _change(self, variable: int, heat: float) -> int:
        """Change records in one variable; return how many."""
        rows = self._rows(variable, 0.0 if heat else _FULL)
        gain = self._gains(rows, variable)
        slack = self._random.exponential(heat * _SLACK) if heat else 0.0
        gain -= slack * self._random.random(gain.shape)
        value = gain.argmin(axis=1)
        gain = gain[np.arange(len(rows)), value]
        best = np.argsort(gain, kind="stable")[: _WALK_CHANGES if heat else _MOST_CHANGES]
        best = best[gain[best] < 0]
        rows, value = rows[best], value[best]
        if not len(rows):
            return 0
        codes = self._copies.codes[rows]
        codes[:, variable] = value
        position, lawful = self._variety.complete(codes, self._copies.owner[rows])
        done = 0
        for i in np.flatnonzero(lawful):
            if self._copies.change(int(rows[i]), variable, int(value[i]), slack - _LEAST_GAIN):
                self._copies.position[rows[i]] = position[i]
                done += 1
        return done

    def _rows(self, variable: int, threshold: float) -> np.ndarray:
        """Return copies in cells of the variable's tables that hold too many, the worst first."""
        most = min(_MOST_ROWS, max(1, _MOST_CELLS // len(self._variety.share[variable][0])))
        worst = np.zeros(len(self._copies.codes))
        for place in self._copies.places[variable]:
            if not (self._copies.error[place.span] > threshold).any():
                continue
            for row in place.rows:
                np.maximum(worst, self._copies.error[self._copies.cells[row]], out=worst)
        rows = np.flatnonzero(worst > threshold)  # nobody's cell is never too full
        if len(rows) <= most:
            return rows
        urgent = worst[rows] + self._random.random(len(rows)) * _FULL
        return np.sort(rows[np.argpartition(-urgent, most)[:most]])

    def _gains(self, rows: np.ndarray, variable: int) -> np.ndarray:
        """Return by how much the weighted squared error rises for each value, `(rows, size)`."""
        now, owner = self._copies.codes[rows, variable], self._copies.owner[rows]
        share = self._variety.share[variable]
        if share.size * share.shape[1] <= _MOST_CELLS:
            rise = self._likings(variable)[owner, now]
        else:
            rise = _liking(share[owner], share[owner, now])
        self._copies.rises(rows, variable, rise)
        rise[np.arange(len(rows)), now] = np.inf
        return rise

    def _likings(self, variable: int) -> np.ndarray:
        """Return what `_liking` gives for each owner and value that a record may have had before."""
        if variable not in self._liked:
            share = self._variety.share[variable]
            self._liked[variable] = _liking(share[:, None, :], share)
        return self._liked[variable]

    def settle(self, counts: np.ndarray) -> Mutants:
        """Take the changed copies out of `counts` and return them."""
        copies = self._copies
        changed = copies.changed()
        counts[copies.held[changed]] -= 1
        return Mutants(copies.codes[changed], copies.position[changed], copies.held[changed])


def _liking(share: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Return what each value costs for being less likely than the present one, in squared records.

    Args:
        share: Probability of each value, shape `(..., size)`.
        now: Probability of the present one, shape `(...)`.
    """
    likely = np.log(np.maximum(share, _TINY) / np.maximum(now, _TINY)[..., None])
    return np.where(share > 0, -_LIKING * np.clip(likely, -4, 4), np.inf)
