"""The bins that a job's statistics need: where its groups, quantiles and rates cut, and where means do."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.errors import Problem
from llmsynthor.files.bins import Interval, format_number, parse_bin
from llmsynthor.files.totals import is_total_word
from llmsynthor.files.unknown_names import suggestion
from llmsynthor.job.statistics import MEAN, SUM, listed, quantile_level
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from llmsynthor.job.statistics import StatisticSpec
    from llmsynthor.job.variables import IntegerVariable, NumberVariable, VariableSpec
    from llmsynthor.targets.domain import Variable
    from llmsynthor.targets.read_statistics import RawStatistics
    from llmsynthor.targets.statistic import Statistic

Bins = dict[str, dict[str, Interval]]
_PARTS = 12
"""Bins that a variable gets of which nothing but means or sums is known."""
_TAIL = (0.96, 0.99)
_APART, _APART_IN_TAIL = 0.05, 1.0
_FEW_BINS = 6


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
    cuts = [low + float(f"{width * p:.2g}") for p in place]
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
    least, most = variable.ends
    middle = (least + most) / 2
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
    for key, name, label in _chosen(spec):
        variable = variables.get(name)
        known = variable.values if variable and variable.type == "category" else None
        if known is not None and label not in known:
            message = f"`{clean(label)}` is no category of `{clean(name)}`"
            problems.append(Problem(message + suggestion(label, set(known)), at=(*at, key, name)))
    problems += [
        Problem(f"`given` names `{clean(name)}`, which is no column of {raw.file}", at=(*at, "given"))
        for name in spec.given
        if name in variables and name not in raw.scope
    ]  # fmt: skip
    if spec.given and set(raw.scope) <= set(spec.given):
        message = "`given` names all variables of the file; one must be left whose shares these are"
        problems.append(Problem(message, at=(*at, "given")))
    return problems


def _chosen(spec: StatisticSpec) -> Iterator[tuple[str, str, str]]:
    """Yield the labels that an entry itself names: its key, the variable and the label."""
    for key, chosen in (("of", spec.of), ("among", spec.among)):
        for name, labels in chosen.items() if isinstance(chosen, dict) else ():
            yield from ((key, name, label) for label in listed(labels))


def _bins_of_labels(
    raw: RawStatistics, variables: Mapping[str, VariableSpec], problems: list[Problem]
) -> Bins:
    """Return the bins that groups, `among` and the outcome of a rate are made of."""
    labels: list[tuple[str, str, int | None]] = []
    for i, name in enumerate(raw.scope):
        labels += [(name, key[i], row) for row, key in enumerate(raw.keys)]
    labels += [(name, label, None) for _, name, label in _chosen(raw.spec)]
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
                ends = "between {} and {}" if level is not None and not whole else "from {} to {}"
                ends = ends.format(format_number(spec.min), format_number(spec.max))
                message = (
                    f"`{column.name}` is {format_number(value)}, which is not {ends}, the limits of "
                    f"`{clean(str(raw.spec.of))}`"
                )
                problems.append(raw.problem(message, row))
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
                message = f"`{higher.name}` is {format_number(b)}, below `{lower.name}`, "
                problems.append(raw.problem(message + format_number(a), row))
