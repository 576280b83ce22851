"""A job's statistics over its domain: the bins that they need, and their groups as codes."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.domain import Interval, Variable, cell_label, format_number, parse_bin
from llmsynthor.errors import Problem
from llmsynthor.jobstatistics import MEAN, RATE, SHARE, SUM, quantile_level
from llmsynthor.labels import clean
from llmsynthor.statistic import Group, Statistic
from llmsynthor.strangers import suggestion
from llmsynthor.totals import is_total_word

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from llmsynthor.domain import Domain
    from llmsynthor.jobvariables import IntegerVariable, NumberVariable, VariableSpec
    from llmsynthor.members import Members
    from llmsynthor.statisticfile import Column, RawStatistics

Bins = dict[str, dict[str, Interval]]
_PARTS = 12
"""Bins that a variable gets of which nothing but means or sums is known."""
_TAIL = (0.96, 0.99)
_APART, _APART_IN_TAIL = 0.05, 1.0
_FEW_BINS = 6
_ROOM = 1e-9


def statistic_bins(
    raws: Sequence[RawStatistics], variables: Mapping[str, VariableSpec]
) -> tuple[Bins, list[Problem]]:
    """Return the bins that statistics need, by variable and label, and what is wrong with them."""
    bins: Bins = {}
    problems: list[Problem] = []
    for raw in raws:
        found = [*_wrong_variables(raw, variables)]
        if not found:
            for name, own in _bins_of_labels(raw, variables, found).items():
                bins.setdefault(name, {}).update(own)
            if isinstance(raw.spec.of, str):
                own = _quantile_bins(raw, variables[raw.spec.of], found)
                bins.setdefault(raw.spec.of, {}).update(own)
        problems += found
    return bins, problems


def add_mean_bins(
    bins: Bins,
    raws: Sequence[RawStatistics],
    variables: Mapping[str, VariableSpec],
    population: float,
) -> None:
    """Cut a variable of which hardly more than means are known, so that its shape can follow them.

    Args:
        bins: By variable and label; takes up the cuts.
        raws: The statistics.
        variables: The job's variables.
        population: How many records sums are published for.
    """
    for name in {raw.spec.of for raw in raws if isinstance(raw.spec.of, str)}:
        spec = variables.get(name)
        means = _values(name, raws, MEAN) or [math.fsum(_values(name, raws, SUM)) / population]
        if spec is None or spec.type == "category" or not any(means):
            continue
        known = bins.get(name, {}).values()
        ends = {i.low for i in known} | {i.high for i in known}
        if len(ends) <= _FEW_BINS + 1:
            more = _exponential_bins(spec, float(np.mean(means)), ends)
            bins.setdefault(name, {}).update(more)


def _values(name: str, raws: Iterable[RawStatistics], measure: str) -> list[float]:
    return [
        value
        for raw in raws
        if raw.spec.of == name
        for column in raw.columns
        if column.name == measure
        for value in column.values
        if not math.isnan(value)
    ]


def _exponential_bins(
    spec: IntegerVariable | NumberVariable, mean: float, ends: Collection[float]
) -> dict[str, Interval]:
    """Return bins of equal shares of the maximum-entropy distribution with a mean (Jaynes 1957).

    That is the exponential distribution, cut at the variable's limits. None begins shortly behind
    one of the `ends` that there are: the bin from a quantile on must have records to spare.
    """
    step = 1.0 if spec.type == "integer" else 0.0
    low, width = float(spec.min), float(spec.max) + step - float(spec.min)
    rate = tilt_to(np.linspace(0.0, 1.0, 512), np.ones(512), (mean + step / 2 - low) / width)
    level = np.array([*(np.arange(1, _PARTS) / _PARTS), *_TAIL])
    rate = rate if abs(rate) > 1e-6 else 1e-6
    for end in ends:
        behind = level - math.expm1(rate * (end - low) / width) / math.expm1(rate)
        level = level[(behind <= 0) | (behind > np.minimum(_APART, _APART_IN_TAIL * (1 - level)))]
    place = np.log1p(level * math.expm1(rate)) / rate
    cuts = [float(f"{low + width * p:.2g}") for p in place]
    cuts = sorted({float(round(c)) if step else c for c in cuts})
    inside = [c for c in cuts if low < c < low + width]
    return {f"<{format_number(cut)}": Interval(low, cut) for cut in inside}


def tilt_to(values: np.ndarray, share: np.ndarray, mean: float) -> float:
    """Return the rate for which `share * exp(rate * values)` has a mean, as near as can be.

    Args:
        values: Between 0 and 1.
        share: Of each value, not below 0.
        mean: Between the least and the largest value.
    """
    low, high = -200.0, 200.0
    for _ in range(80):
        rate = (low + high) / 2
        weight = share * np.exp(rate * values - max(rate, 0.0))
        if float(weight @ values) < mean * float(weight.sum()):
            low = rate
        else:
            high = rate
    return (low + high) / 2


def start_of(
    variable: Variable, statistics: Sequence[Statistic], population: float | None
) -> np.ndarray | None:
    """Return a share of each bin of a variable that no table has, from what statistics say of it.

    The share is that of quantiles of everybody, or else the maximum-entropy one with the groups'
    mean; None where neither is known. A sum is one of `population` records.
    """
    own = [s for s in statistics if s.of == variable.name and s.role == "control"]
    edges = np.asarray(variable.edges)
    width = np.diff(edges)
    whole = [
        (float(value), statistic.level)
        for statistic in own
        if statistic.measure == "quantile"
        for group, value in zip(statistic.groups, statistic.figures, strict=True)
        if not group.masks
    ]
    if whole:
        at, level = zip(*sorted(whole), strict=True)
        cumulative = np.interp(edges, [edges[0], *at, edges[-1]], [0.0, *level, 1.0])
        return np.asarray(np.maximum(np.diff(cumulative), 1e-9))
    means = [float(s.figures.mean()) for s in own if s.measure == "mean"]
    sums = [float(s.figures.sum()) for s in own if s.measure == "sum"]
    if not means and population:
        means = [total / population for total in sums]
    if not means:
        return None
    middle = (edges[:-1] + edges[1:] - (variable.kind == "integer")) / 2
    place = (middle - edges[0]) / (edges[-1] - edges[0])
    mean = (float(np.mean(means)) - edges[0]) / (edges[-1] - edges[0])
    rate = tilt_to(place, width, float(np.clip(mean, place.min(), place.max())))
    share = width * np.exp(rate * place - max(rate, 0.0))
    return np.asarray(np.maximum(share / share.sum(), 1e-9))


def _wrong_variables(raw: RawStatistics, variables: Mapping[str, VariableSpec]) -> list[Problem]:
    """Return what an entry names that is no variable, or not of the kind that it should be."""
    spec, at = raw.spec, raw.at
    named = [("of", spec.of)] if isinstance(spec.of, str) else [("of", n) for n in spec.of or {}]
    named += [("among", name) for name in spec.among] + [("given", name) for name in spec.given]
    problems = [
        Problem(f"`{key}` names `{clean(name)}`, which is no variable{suggestion(name, variables)}", at=(*at, key))
        for key, name in named
        if name not in variables
    ]  # fmt: skip
    if isinstance(spec.of, str) and spec.of in variables and variables[spec.of].type == "category":
        message = (
            f"`of` is `{clean(spec.of)}`, a category variable, which has no mean; for a rate write "
            f"`of: {{{clean(spec.of)}: CATEGORY}}`"
        )
        problems.append(Problem(message, at=(*at, "of")))
    for key, chosen in (("of", spec.of), ("among", spec.among)):
        for name, labels in chosen.items() if isinstance(chosen, dict) else ():
            variable = variables.get(name)
            known = variable.values if variable and variable.type == "category" else None
            for label in [labels] if isinstance(labels, str) else labels:
                if known is not None and label not in known:
                    message = f"`{clean(label)}` is no category of `{clean(name)}`"
                    problems.append(
                        Problem(message + suggestion(label, set(known)), at=(*at, key, name))
                    )
    problems += [
        Problem(f"`given` names `{clean(name)}`, which is no column of {raw.file}", at=(*at, "given"))
        for name in spec.given
        if name in variables and name not in raw.scope
    ]  # fmt: skip
    if spec.given and set(raw.scope) <= set(spec.given):
        message = "`given` names all variables of the file; one must be left whose shares these are"
        problems.append(Problem(message, at=(*at, "given")))
    return problems


def _bins_of_labels(
    raw: RawStatistics, variables: Mapping[str, VariableSpec], problems: list[Problem]
) -> Bins:
    """Return the bins that groups, `among` and the outcome of a rate are made of."""
    spec = raw.spec
    rows = [
        (name, key[i], row) for i, name in enumerate(raw.scope) for row, key in enumerate(raw.keys)
    ]
    labels: list[tuple[str, str, int | None]] = [*rows]
    for chosen in (spec.of, spec.among):
        for name, given in chosen.items() if isinstance(chosen, dict) else ():
            labels += [
                (name, label, None) for label in ([given] if isinstance(given, str) else given)
            ]
    bins: Bins = {}
    for name, label, row in labels:
        variable = variables.get(name)
        if variable is None or variable.type == "category" or is_total_word(label, ()):
            continue
        if label in bins.setdefault(name, {}):
            continue
        try:
            bins[name][label] = parse_bin(label, variable.type, variable.min, variable.max)
        except ValueError as error:
            problems.append(raw.problem(f"{clean(name)}: {error}", row))
    return bins


def _quantile_bins(
    raw: RawStatistics, spec: VariableSpec, problems: list[Problem]
) -> dict[str, Interval]:
    """Return bins that end at each quantile; check that quantiles and means can be."""
    if spec.type == "category":
        return {}
    bins: dict[str, Interval] = {}
    whole = spec.type == "integer"
    for column in raw.columns:
        level = quantile_level(column.name)
        for row, value in enumerate(column.values):
            if math.isnan(value) or column.name == SUM:
                continue
            inside = spec.min <= value <= spec.max
            if level is not None and not whole:
                inside = spec.min < value < spec.max
            if not inside:
                what = "between" if level is not None and not whole else "from"
                to = "and" if what == "between" else "to"
                problems.append(
                    raw.problem(
                        f"`{column.name}` is {format_number(value)}, which is not {what} "
                        f"{format_number(spec.min)} {to} {format_number(spec.max)}, the limits of "
                        f"`{clean(str(raw.spec.of))}`",
                        row,
                    )
                )
            elif level is not None:
                cuts = [math.floor(value), math.floor(value) + 1] if whole else [value]
                low = float(spec.min)
                bins |= {
                    f"<{format_number(cut)}": Interval(low, float(cut)) for cut in cuts if cut > low
                    and cut < spec.max + whole
                }  # fmt: skip
    _check_order(raw, problems)
    return bins


def _check_order(raw: RawStatistics, problems: list[Problem]) -> None:
    """Add the rows of which a higher quantile is below a lower one."""
    levels = {c.name: level for c in raw.columns if (level := quantile_level(c.name)) is not None}
    ordered = sorted((c for c in raw.columns if c.name in levels), key=lambda c: levels[c.name])
    for lower, higher in pairwise(ordered):
        for row, (a, b) in enumerate(zip(lower.values, higher.values, strict=True)):
            if b < a:
                problems.append(
                    raw.problem(
                        f"`{higher.name}` is {format_number(b)}, below `{lower.name}`, "
                        f"{format_number(a)}",
                        row,
                    )
                )


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
        for label in [labels] if isinstance(labels, str) else labels:
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
            among = [
                f"{n}={labels if isinstance(labels, str) else ' or '.join(labels)}"
                for n, labels in self.spec.among.items()
            ]
            words = f"{words} among {', '.join(among)}" if words else ", ".join(among)
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
    return ", ".join(
        f"{name}={labels if isinstance(labels, str) else ' or '.join(labels)}"
        for name, labels in chosen.items()
    )
