"""What is legal in a job, but seldom meant: the warnings of `validate` and `run`."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from llmsynthor.errors import Problem
from llmsynthor.feasibility.lawful import tabulate
from llmsynthor.fitting.controls import gives
from llmsynthor.results.report.scores import scenario_notes
from llmsynthor.targets.agreement import sizes_in_parts
from llmsynthor.text import and_more, clean, count_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from llmsynthor.candidates.rules import Rule
    from llmsynthor.job.model import Job
    from llmsynthor.targets.table import Table, TableSet

_MOST_OF_A_KIND = 5
_MOST_IMPLIED = 3


def odd_things(
    job: Job,
    tables: TableSet,
    rules: Sequence[Rule],
    *,
    sampled: Collection[str] = (),
    all_of_them: bool = True,
) -> list[Problem]:
    """Return what is odd in a job that can run, at most a few of each kind.

    `sampled` are the variables that its seed sample has; with `all_of_them` it is told too of what
    is common and costs nothing.
    """
    found: list[Problem] = []
    for kind in (
        _filled(tables),
        _in_no_table(job, tables, sampled),
        _never(tables),
        _in_one_table_only(tables),
        _implied(tables, job.records) if all_of_them else iter(()),
        iter(sizes_in_parts(tables)),
        _idle_rules(tables, rules),
    ):
        some = list(kind)
        found += some[:_MOST_OF_A_KIND]
        if len(some) > _MOST_OF_A_KIND:
            found.append(Problem(f"and {len(some) - _MOST_OF_A_KIND} more like the last one"))
    found += [Problem(note, at=("scenario",)) for note in scenario_notes(job, tables)]
    if not tables.validate and tables.uncovered_pairs():
        message = (
            "no table has `role: validate`: nothing will tell how good the combinations are that "
            "no table shows"
        )
        found.append(Problem(message, at=("tables",)))
    return found


def _filled(tables: TableSet) -> Iterator[Problem]:
    """Say how many cells the publisher does not give, and what stands in for them."""
    for table in tables.tables:
        if table.filled:
            which = f"{table.filled} of {count_of(table.cells, 'cell')}"
            verb = "is" if table.filled == 1 else "are"
            soft = "; what they leave open may give way" if table.moe is not None else ""
            message = f"{which} {verb} not known; filled to fit {table.filled_from}{soft}"
            yield Problem(message, table.file)


def _place(tables: TableSet, name: str) -> tuple[str, ...]:
    """Return the key of the job that describes a variable."""
    own = tables.members.own.positions if tables.members is not None else ()
    return ("members", "variables", name) if name in own else ("variables", name)


def _in_no_table(job: Job, tables: TableSet, sampled: Collection[str]) -> Iterator[Problem]:
    for variable in tables.domain.variables:
        if any(variable.name in table.scope for table in (*tables.control, *tables.released)):
            continue
        if any(variable.name in s.variables for s in tables.statistics if s.role == "control"):
            continue
        name = clean(variable.name)
        spread = (
            f"evenly from {variable.low:g} to {variable.high:g}"
            if variable.is_numeric
            else "evenly over its categories"
        )
        if variable.name not in sampled:
            shaped = f"the model's proposals shape it, and without them it is spread {spread}"
        elif job.provider.model == "none":
            shaped = "the seed sample shapes it, and it has the shares of that"
        else:
            shaped = "the seed sample and the model's proposals shape it"
        message = f"`{name}` is in no control table: only {shaped}"
        yield Problem(message, at=_place(tables, variable.name))


def _margin(table: Table, name: str) -> np.ndarray:
    """Return a table's figures by the categories of one variable, shape `(categories,)`.

    Each category of a group has the whole group's figure.
    """
    axis = table.scope.index(name)
    kept: np.ndarray = table.figures.sum(
        axis=tuple(i for i in range(table.figures.ndim) if i != axis)
    )
    return np.asarray(kept[table.groups[axis]])


def _is_zones(tables: TableSet, name: str) -> bool:
    return tables.zones is not None and tables.zones.variable == name


def _never(tables: TableSet) -> Iterator[Problem]:
    for variable in tables.domain.variables:
        own = [table for table in tables.control if variable.name in table.scope]
        if variable.is_numeric or not own or _is_zones(tables, variable.name):
            continue  # a zone may well be empty
        total = np.sum([_margin(table, variable.name) for table in own], axis=0)
        for code, label in enumerate(variable.labels):
            if total[code] == 0:
                files = ", ".join(clean(table.file) for table in own[:3])
                message = (
                    f"no record will have {clean(variable.name)}={clean(label)}: it is 0 or not "
                    f"listed in {'every control table' if len(own) > 1 else 'the control table'} "
                    f"of `{clean(variable.name)}` ({files}{', ...' if len(own) > 3 else ''})"
                )
                yield Problem(message, at=(*_place(tables, variable.name), "values", code))


def _in_one_table_only(tables: TableSet) -> Iterator[Problem]:
    """Name categories that one table has and another has not; hard tables cannot differ so."""
    for variable in tables.domain.variables:
        if variable.is_numeric or _is_zones(tables, variable.name):
            continue
        own = [
            table
            for table in tables.tables
            if variable.name in table.scope and not table.coarsens(variable)
        ]
        for first, second in combinations(own, 2):
            a, b = _margin(first, variable.name), _margin(second, variable.name)
            for code in ((a > 0) != (b > 0)).nonzero()[0]:
                having, lacking = (first, second) if a[code] > 0 else (second, first)
                message = (
                    f"{clean(variable.name)}={clean(variable.labels[code])} is 0 or not listed "
                    f"here, and has {max(a[code], b[code]):.6g} in {clean(having.file)}"
                )
                yield Problem(message, lacking.file)


def _implied(tables: TableSet, records: int) -> Iterator[Problem]:
    """Name tables that others imply, in one line: they are common, and cost nothing."""
    kept: list[Table] = []
    implied: list[tuple[Table, Table]] = []
    for table in sorted(tables.hard, key=lambda t: (-t.cells, t.name)):
        fine = next((o for o in kept if gives(o, table, records)), None)
        if fine is None:
            kept.append(table)
        elif (
            not _is_zones(tables, table.scope[0]) or len(table.scope) > 1
        ):  # zones' totals are usual
            implied.append((table, fine))
    pairs = [f"{clean(table.file)} (by {clean(fine.file)})" for table, fine in implied]
    if len(implied) == 1:
        table, fine = implied[0]
        message = f"this table adds nothing: {clean(fine.file)} gives its figures too"
        yield Problem(message, table.file)
    elif implied:
        shown = and_more(pairs, _MOST_IMPLIED)
        message = f"{len(pairs)} tables add nothing, others give their figures too: {shown}"
        yield Problem(message, at=("tables",))


def _idle_rules(tables: TableSet, rules: Sequence[Rule]) -> Iterator[Problem]:
    lawful = tabulate(rules, tables.wide)
    for position, allowed in sorted(lawful.allowed.items()):
        if allowed.all():
            rule = rules[position]
            message = (
                f"rules.{position} `{clean(rule.name)}`: no combination of values breaks it "
                f"({clean(rule.text)})"
            )
            yield Problem(message, at=("rules", position))
