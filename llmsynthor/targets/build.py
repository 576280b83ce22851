"""All tables of a job over the domain that they share: its bins, zones and members, and each table's cells."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.errors import Problem, TableError
from llmsynthor.files.bins import Interval, format_number, parse_bin, refine
from llmsynthor.files.inputs import Inputs
from llmsynthor.files.unknown_names import no_label_hint
from llmsynthor.job.partial import ANYTHING
from llmsynthor.targets.bins import add_mean_bins, statistic_bins
from llmsynthor.targets.domain import Domain, Members, Variable
from llmsynthor.targets.read_statistics import build_statistics, read_statistics
from llmsynthor.targets.read_table import RawTable, read_raw_table
from llmsynthor.targets.suppressed import fill_unknown
from llmsynthor.targets.table import Table, TableSet
from llmsynthor.targets.zones import check_zones, read_crosswalk
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Mapping, Sequence

    from llmsynthor.job.load import LoadedJob
    from llmsynthor.job.model import Job
    from llmsynthor.job.variables import VariableSpec
    from llmsynthor.targets.read_statistics import RawStatistics
    from llmsynthor.targets.zones import Zones


def load_tables(loaded: LoadedJob) -> TableSet:
    """Read every table of the job and build the domain that they share.

    Raises:
        TableError: With every problem of every file.
    """
    tables, problems = gather_tables(loaded)
    if problems:
        raise TableError.of(problems)
    return tables


def gather_tables(
    loaded: LoadedJob, unsure: Container[str] = (), inputs: Inputs | None = None
) -> tuple[TableSet, list[Problem]]:
    """Read what can be read of the job's tables.

    Args:
        loaded: The job.
        unsure: Names that may be variables, though the job describes them wrongly.
        inputs: Its files; default: those in its folder.

    Returns:
        The tables without those that have problems, over their domain; and every problem.
    """
    variables = dict(loaded.job.all_variables)
    inputs = Inputs(loaded.folder) if inputs is None else inputs
    zones, problems = _zones(loaded.job, inputs)
    if loaded.job.zones is not None:
        variables.pop(loaded.job.zones.variable, None)
        unsure = ANYTHING if zones is None else unsure
    places = zones.names() if zones else ()
    legal = {*variables, *places}
    kept: list[RawTable] = []
    bins: dict[str, dict[str, Interval]] = {}
    for spec in loaded.job.tables:
        try:
            raw = read_raw_table(spec, inputs, variables, unsure, places)
            own = _published_bins(raw, variables)
            if zones is not None:
                _check_geographies(raw, zones)
        except TableError as error:
            problems += error.problems
            continue
        if set(raw.scope) <= legal:
            kept.append(raw)
            for name, intervals in own.items():
                bins.setdefault(name, {}).update(intervals)
    raws, statistic_problems = _read_statistics(loaded.job, inputs, variables, unsure)
    problems += statistic_problems
    more, statistic_problems = statistic_bins(raws, variables)
    problems += statistic_problems
    if statistic_problems:
        raws, more = [], {}
    for name, intervals in more.items():
        bins.setdefault(name, {}).update(intervals)
    counted = (raw.rows.values for raw in kept if raw.measure == "count")
    add_mean_bins(bins, raws, variables, sum(next(counted, [loaded.job.records])))
    _cut_sizes(loaded.job, bins)
    variables_built = [_variable(n, spec, bins.get(n, {})) for n, spec in variables.items()]
    if zones is not None:
        names = list(loaded.job.variables)
        place = names.index(zones.variable) if zones.variable in names else 0
        variables_built.insert(place, _zone_variable(zones, loaded))
    domain = Domain(tuple(variables_built))
    members = _members(loaded.job, domain)
    built, unfilled = fill_unknown(
        kept,
        [_build(raw, domain, loaded.job.released, members, zones) for raw in kept],
        domain,
        may_differ=loaded.job.reconcile != "error",
    )
    statistics, wrong = build_statistics(raws, domain, members)
    tables = TableSet(domain, tuple(built), members, zones, statistics, tuple(raws))
    return with_sizes(tables), problems + wrong + unfilled + _same_names(loaded)


def _read_statistics(
    job: Job, inputs: Inputs, variables: Mapping[str, VariableSpec], unsure: Container[str]
) -> tuple[list[RawStatistics], list[Problem]]:
    """Return the statistics that could be read, and what is wrong with the others."""
    found: list[RawStatistics] = []
    problems: list[Problem] = []
    for number, spec in enumerate(job.statistics):
        try:
            raw = read_statistics(spec, ("statistics", number), inputs, variables, unsure)
        except TableError as error:
            problems += error.problems
            continue
        if set(raw.scope) <= set(variables):
            found.append(raw)
    return found, problems


def _zones(job: Job, inputs: Inputs) -> tuple[Zones | None, list[Problem]]:
    """Return the zones of a job that has some and whose crosswalk is right; and what is wrong."""
    spec = job.zones
    if spec is None:
        return None, []
    try:
        return read_crosswalk(spec, inputs, job.variables), []
    except TableError as error:
        return None, list(error.problems)


def _zone_variable(zones: Zones, loaded: LoadedJob) -> Variable:
    given = loaded.job.variables.get(zones.variable)
    description = given.description if given is not None else ""
    ordered = given is not None and given.type == "category" and given.ordered
    return Variable(
        zones.variable, "category", zones.labels, ordered=ordered, description=description
    )


def _check_geographies(raw: RawTable, zones: Zones) -> None:
    """Refuse a table with two geographies, and one that has not just those of the crosswalk."""
    found = [name for name in raw.scope if name in zones.names()]
    if len(found) > 1:
        message = (
            f"both `{clean(found[0])}` and `{clean(found[1])}` are columns; a table has one "
            f"geography, for the crosswalk {clean(zones.file)} gives the coarser ones"
        )
        raise TableError.of([Problem(message, raw.spec.file, 1)])
    for name in found:
        keys = [key[raw.scope.index(name)] for key in raw.rows.keys]
        check_zones(raw.spec.file, name, zones, keys, raw.rows.lines)


def _cut_sizes(job: Job, bins: dict[str, dict[str, Interval]]) -> None:
    """Cut the bins of an integer number of members to single numbers."""
    spec = job.variables.get(job.members.size) if job.members else None
    if job.members is None or spec is None or spec.type != "integer":
        return
    own = bins.setdefault(job.members.size, {})
    own |= {str(n): Interval(n, n + 1.0) for n in range(spec.min, spec.max + 1)}


def _members(job: Job, domain: Domain) -> Members | None:
    spec = job.members
    if spec is None or spec.size not in job.variables:
        return None
    record = Domain(tuple(v for v in domain.variables if v.name not in spec.variables))
    size = record[spec.size]
    numbers = [int(edge) for edge in size.edges[:-1]] or [
        int(label) for label in size.labels if label.isascii() and label.isdigit()
    ]
    if len(numbers) < size.size:  # the job is refused for it
        return None
    own = Domain(tuple(v for v in domain.variables if v.name in spec.variables))
    return Members(spec.name, spec.of, spec.size, np.array(numbers), record, own)


def with_sizes(tables: TableSet) -> TableSet:
    """Tell the tables that count members how many of them there are for each record.

    The counts of two tables say it, or else the sizes of the records.
    """
    members = tables.members
    if members is None:
        return tables
    counted = [table for table in tables.tables if table.measure == "count"]
    records = next((table.total for table in counted if table.members is None), None)
    own = next((table.total for table in counted if table.members is not None), None)
    each = float(tables.marginal(members.size) @ members.number)
    if records and own:
        each = own / records
    return replace(
        tables,
        tables=tuple(
            table if table.members is None else replace(table, per_record=each)
            for table in tables.tables
        ),
    )


def _same_names(loaded: LoadedJob) -> list[Problem]:
    names = [spec.known_as for spec in loaded.job.tables]
    return [
        Problem(
            f"two tables are named `{clean(name)}`; give one of them a `name`",
            at=("tables", len(names) - 1 - names[::-1].index(name)),
        )
        for name in sorted({n for n in names if names.count(n) > 1})
    ]


def _published_bins(
    raw: RawTable, specs: Mapping[str, VariableSpec]
) -> dict[str, dict[str, Interval]]:
    """Return the intervals of a table's bins by variable and label."""
    bins: dict[str, dict[str, Interval]] = {}
    problems: list[Problem] = []
    for position, name in enumerate(raw.scope):
        spec = specs.get(name)
        if spec is None or spec.type == "category":
            continue
        first: dict[str, int] = {}
        for line, key in zip(raw.rows.lines, raw.rows.keys, strict=True):
            first.setdefault(key[position], line)
        own = bins[name] = {}
        for label, line in first.items():
            try:
                own[label] = parse_bin(label, spec.type, spec.min, spec.max)
            except ValueError as error:
                hint = no_label_hint(label, ())
                problems.append(Problem(f"{clean(name)}: {error}", raw.spec.file, line, hint=hint))
        problems += _overlaps(raw.spec.file, name, own, first)
    if problems:
        raise TableError.of(sorted(problems, key=lambda problem: problem.line or 0))
    return bins


def _overlaps(
    file: str, name: str, own: Mapping[str, Interval], lines: Mapping[str, int]
) -> list[Problem]:
    ordered = sorted(own.items(), key=lambda item: (item[1].low, item[1].high))
    found = []
    for (a, first), (b, second) in pairwise(ordered):
        if second.low < first.high:
            earlier, later = sorted((a, b), key=lambda label: lines[label])
            message = (
                f"{clean(name)}: the bin `{clean(later)}` overlaps `{clean(earlier)}` on line "
                f"{lines[earlier]}; leave subtotals out"
            )
            found.append(Problem(message, file, lines[later]))
    return found


def _variable(name: str, spec: VariableSpec, bins: Mapping[str, Interval]) -> Variable:
    if spec.type == "category":
        return Variable(
            name, "category", tuple(spec.values), ordered=spec.ordered, description=spec.description
        )
    edges, labels = refine(spec.type, spec.min, spec.max, bins)
    decimals = spec.decimals if spec.type == "number" else 0
    return Variable(name, spec.type, labels, edges, True, spec.description, spec.unit, decimals)


def _build(
    raw: RawTable,
    domain: Domain,
    released: Sequence[str],
    members: Members | None,
    zones: Zones | None = None,
) -> Table:
    places = zones.names() if zones is not None else ()
    axes = [
        (zones.places(name), zones.group(name))
        if zones is not None and name in places
        else _axis(domain[name], [key[i] for key in raw.rows.keys], raw.spec.groups.get(name))
        for i, name in enumerate(raw.scope)
    ]
    labels = tuple(own for own, _ in axes)
    cells = raw.cells(labels)

    def spread(values: Sequence[float]) -> np.ndarray:
        array = np.zeros([len(own) for own in labels])
        array[cells] = values
        return array

    return Table(
        name=raw.spec.known_as,
        file=raw.spec.file,
        role="released" if raw.spec.known_as in released else raw.spec.role,
        scope=tuple(
            zones.variable if zones is not None and name in places else name for name in raw.scope
        ),
        labels=labels,
        groups=tuple(group for _, group in axes),
        figures=spread(raw.rows.values),
        measure=raw.measure,
        rounding=raw.rounding,
        moe=None if raw.rows.moes is None else spread(raw.rows.moes),
        tolerance=raw.spec.tolerance,
        weight=raw.spec.weight,
        members=_counted(raw, members),
    )


def _counted(raw: RawTable, members: Members | None) -> Members | None:
    """Return the members that a table counts, or None where it counts records."""
    own = members is not None and any(name in members.own.positions for name in raw.scope)
    return members if raw.spec.counts == "members" or (own and not raw.spec.counts) else None


def _axis(
    variable: Variable, published: Iterable[str], groups: Mapping[str, Collection[str]] | None
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the table's labels, and domain code -> position among them.

    Args:
        variable: A variable of the table's scope.
        published: The labels that the file has.
        groups: Where the table counts groups of categories: label -> its categories, each
            category of the variable in exactly one of them.
    """
    if groups is not None:
        return _grouped_axis(variable, groups)
    if not variable.is_numeric:
        return variable.labels, np.arange(variable.size, dtype=np.int32)
    low, high = variable.low, variable.high
    own = {label: parse_bin(label, variable.kind, low, high) for label in dict.fromkeys(published)}
    # a gap between published bins is a bin with nobody in it
    start, intervals = variable.edges[0], []
    for label, interval in sorted(own.items(), key=lambda item: item[1].low):
        if interval.low > start:
            intervals.append((_gap_label(variable, start, interval.low), start))
        intervals.append((label, interval.low))
        start = interval.high
    if start < variable.edges[-1]:
        intervals.append((_gap_label(variable, start, variable.edges[-1]), start))
    lows = np.array([low for _, low in intervals])
    group = np.searchsorted(lows, np.asarray(variable.edges[:-1]), side="right") - 1
    return tuple(label for label, _ in intervals), group.astype(np.int32)


def _grouped_axis(
    variable: Variable, groups: Mapping[str, Collection[str]]
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return an axis of groups, in the order of their first categories.

    The order makes groups of one category each the identity, as code that compares sizes expects.
    """
    codes = {label: [variable.codes[c] for c in inside] for label, inside in groups.items()}
    labels = tuple(sorted(codes, key=lambda label: min(codes[label])))
    group = np.empty(variable.size, dtype=np.int32)
    for position, label in enumerate(labels):
        group[codes[label]] = position
    return labels, group


def _gap_label(variable: Variable, low: float, high: float) -> str:
    return f"{format_number(low)}-{format_number(variable.last(high))}"
