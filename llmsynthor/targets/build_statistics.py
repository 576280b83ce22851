"""A job's statistics over its domain: their groups and categories as codes, and what does not add up."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.files.bins import cell_label, parse_bin
from llmsynthor.files.totals import is_total_word
from llmsynthor.job.statistics import MEAN, RATE, SHARE, SUM, listed, quantile_level
from llmsynthor.targets.statistic import Group, Statistic
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.errors import Problem
    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.levels import Members
    from llmsynthor.targets.read_statistics import Column, RawStatistics

_ROOM = 1e-9


def build_statistics(
    raws: Sequence[RawStatistics], domain: Domain, members: Members | None
) -> tuple[tuple[Statistic, ...], list[Problem]]:
    """Return the statistics over a domain whose bins end where theirs do; and what is wrong."""
    found: list[Statistic] = []
    problems: list[Problem] = []
    for raw in raws:
        own = _Builder(raw, domain, members)
        if raw.spec.given:
            found += own.shares(problems)
        else:
            found += [own.of_column(column) for column in raw.columns if own.given(column)]
    return tuple(found), problems


class _Builder:
    """Builds the statistics of one entry."""

    def __init__(self, raw: RawStatistics, domain: Domain, members: Members | None) -> None:
        self.raw = raw
        self.spec = raw.spec
        self.domain = domain
        named = {*raw.scope, *self.spec.among}
        named |= {self.spec.of} if isinstance(self.spec.of, str) else set(self.spec.of or {})
        own = members is not None and any(n in members.own.positions for n in named)
        counts = self.spec.counts
        of_members = own if counts is None else counts == "members"
        self.members = members if of_members else None
        self.among = {n: self._mask(n, labels) for n, labels in self.spec.among.items()}

    def _mask(self, name: str, labels: str | Sequence[str]) -> np.ndarray:
        """Return which codes of a variable have one of some labels, bool, shape `(size,)`."""
        variable = self.domain[name]
        mask = np.zeros(variable.size, dtype=bool)
        for label in listed(labels):
            if not variable.is_numeric:
                inside = self.raw.groups.get(name, {}).get(label, [label])
                mask[[variable.codes[c] for c in inside]] = True
                continue
            interval = parse_bin(label, variable.kind, variable.low, variable.high)
            edges = np.asarray(variable.edges)
            mask |= (edges[:-1] >= interval.low) & (edges[1:] <= interval.high)
        return mask

    def _group(self, names: Sequence[str], key: Sequence[str]) -> Group:
        shown, masks = [], dict(self.among)
        for name, label in zip(names, key, strict=True):
            if is_total_word(label, ()) and label not in self.domain[name].labels:
                continue
            shown.append((name, label))
            own = self._mask(name, label)
            masks[name] = own & masks[name] if name in masks else own
        words = cell_label([n for n, _ in shown], [label for _, label in shown])
        if self.among:
            among = _words(self.spec.among)
            words = f"{words} among {among}" if words else among
        return Group(words, masks)

    @staticmethod
    def given(column: Column) -> bool:
        """Return whether a column has any figure."""
        return not all(math.isnan(value) for value in column.values)

    def of_column(self, column: Column) -> Statistic:
        """Return the statistic of a column of means, sums, quantiles or rates."""
        rows = [row for row, value in enumerate(column.values) if not math.isnan(value)]
        level = quantile_level(column.name)
        of = self.spec.of
        outcome = (
            {} if isinstance(of, str) else {n: self._mask(n, c) for n, c in (of or {}).items()}
        )
        return self._statistic(
            {MEAN: "mean", SUM: "sum", RATE: "rate"}.get(column.name, "quantile"),
            of if isinstance(of, str) else _words(of or {}),
            [self._group(self.raw.scope, self.raw.keys[row]) for row in rows],
            [column.values[row] for row in rows],
            column.rounding,
            level or 0.0,
            outcome,
            self.raw.scope,
        )

    def shares(self, problems: list[Problem]) -> list[Statistic]:
        """Return a rate for each combination of categories that shares within groups are of."""
        raw, given = self.raw, self.spec.given
        column = next(c for c in raw.columns if c.name == SHARE)
        places = [raw.scope.index(name) for name in given]
        others = [i for i, name in enumerate(raw.scope) if name not in given]
        by_outcome: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
        totals: dict[tuple[str, ...], list[int]] = {}
        for row, key in enumerate(raw.keys):
            if math.isnan(column.values[row]):
                continue
            group = tuple(key[i] for i in places)
            by_outcome.setdefault(tuple(key[i] for i in others), {})[group] = row
            totals.setdefault(group, []).append(row)
        self._check_sums(column, totals, len(by_outcome), others, problems)
        found = []
        names = [raw.scope[i] for i in others]
        for outcome, rows in by_outcome.items():
            chosen = dict(zip(names, outcome, strict=True))
            found.append(
                self._statistic(
                    "rate",
                    _words(chosen),
                    [self._group(given, group) for group in rows],
                    [column.values[row] for row in rows.values()],
                    column.rounding,
                    0.0,
                    {n: self._mask(n, label) for n, label in chosen.items()},
                    given,
                )
            )
        return found

    def _check_sums(
        self,
        column: Column,
        totals: Mapping[tuple[str, ...], Sequence[int]],
        outcomes: int,
        others: Sequence[int],
        problems: list[Problem],
    ) -> None:
        """Add the groups whose shares add up to more than 1, or to less though all are given."""
        names = [self.raw.scope[i] for i in others]
        labels = {
            name: {key[i] for key in self.raw.keys} for name, i in zip(names, others, strict=True)
        }
        whole = all(
            np.logical_or.reduce([self._mask(n, x) for x in labels[n]]).all() for n in names
        )
        for group, rows in totals.items():
            total = math.fsum(column.values[row] for row in rows)
            room = len(rows) * column.rounding + _ROOM
            complete = whole and len(rows) == outcomes
            if total > 1 + room or (complete and total < 1 - room):
                cell = clean(cell_label(self.spec.given, group))
                message = f"the shares of {cell} add up to {total:.6g}, not to 1"
                problems.append(self.raw.problem(message, rows[0]))

    def _statistic(
        self,
        measure: str,
        of: str,
        groups: Sequence[Group],
        figures: Sequence[float],
        rounding: float,
        level: float,
        outcome: Mapping[str, np.ndarray],
        scope: Sequence[str],
    ) -> Statistic:
        return Statistic(
            name=self.spec.known_as,
            file=self.raw.file,
            role=self.spec.role,
            measure=measure,  # type: ignore[arg-type]
            of=of,
            groups=tuple(groups),
            figures=np.array(figures),
            rounding=np.full(len(figures), rounding),
            tolerance=self.spec.tolerance,
            level=level,
            outcome=outcome,
            members=self.members,
            scope=tuple(scope),
        )


def _words(chosen: Mapping[str, str | Sequence[str]]) -> str:
    return ", ".join(f"{name}={' or '.join(listed(labels))}" for name, labels in chosen.items())
