"""Validity rules: conditions in SQL that say which records cannot exist."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.candidates.rule_terms import (
    Aggregate,
    Wide,
    check_categories,
    columns,
    walk,
    with_texts,
    write,
)
from llmsynthor.errors import JobError, Problem
from llmsynthor.text import clean, one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.job.model import RuleSpec
    from llmsynthor.targets.domain import Domain, Members, Variable

_GRID_LIMIT = 200_000
_POINTS_PER_BIN = 16
_POLARS_RAISES = (Exception, pl.exceptions.PanicException)
"""What polars raises for what it cannot do, of several kinds; one is no `Exception`."""
_NEARLY_ONE = np.nextafter(1.0, 0.0)


@dataclass(frozen=True)
class Rule:
    """A rule as an expression that is true where a record *breaks* it.

    Attributes:
        name: As in the job.
        text: The job's words, for example `forbid: age < 15`.
        broken: Polars expression; null counts as not broken.
        scope: Variables that the rule speaks of, in domain order; in a job with members the
            columns of records with all their slots.
        of_members: Whether it reads a member's column.
    """

    name: str
    text: str
    broken: pl.Expr
    scope: tuple[str, ...]
    of_members: bool = False


def compile_rules(
    specs: Sequence[RuleSpec], domain: Domain, members: Members | None = None
) -> tuple[Rule, ...]:
    """Return the job's rules, each tried on values of every variable.

    Args:
        specs: The rules as the job has them.
        domain: The variables, those of members too.
        members: What the members of records are; the rules are then over wide columns.

    Raises:
        JobError: A rule is not SQL, or names an unknown variable or category.
    """
    rules, problems = gather_rules(specs, domain, members=members)
    if problems:
        raise JobError.of(problems)
    return rules


def gather_rules(
    specs: Sequence[RuleSpec],
    domain: Domain,
    positions: Sequence[int] | None = None,
    members: Members | None = None,
) -> tuple[tuple[Rule, ...], list[Problem]]:
    """Return the rules that can be used, and what is wrong with the others; see `compile_rules`.

    `positions` says where in the job's list each stands; default: in this order, from 0.
    """
    rules, problems = [], []
    for position, spec in zip(positions or range(len(specs)), specs, strict=True):
        try:
            rules.append(_compile(spec, domain, members))
        except JobError as error:
            message = f"rules.{position} `{clean(spec.name)}`: {error}"
            problems.append(Problem(message, at=("rules", position)))
    return tuple(rules), problems


def _compile(spec: RuleSpec, domain: Domain, members: Members | None) -> Rule:
    # sqlglot takes a quarter of a second to load, and many jobs have no rules
    from llmsynthor.candidates.rule_text import parse

    keyword, text = (
        ("forbid", spec.forbid) if spec.forbid is not None else ("require", spec.require)
    )
    assert text is not None  # noqa: S101 - the model holds exactly one of the two
    tree = parse(text, domain.positions)
    first = next((node for node in walk(tree) if isinstance(node, Aggregate)), None)
    if first is not None and members is None:
        raise JobError(
            f"`{first.name}` is over the members of a record, and the job has no members; "
            "a rule must hold for each record by itself"
        )
    mentioned = columns(tree)
    _check_names(mentioned, domain)
    if not mentioned and first is None:
        raise JobError("names no variable")
    scope = tuple(name for name in domain.names if name in mentioned)
    check_categories(tree, domain)
    tree = with_texts(tree, domain)
    probe = _probe(domain, scope)
    for node in walk(tree):
        if isinstance(node, Aggregate) and members is not None:
            _check_aggregate(node, probe, members)
    outside = _condition(write(tree), probe)
    if members is None or (first is None and not set(mentioned) & set(members.own.names)):
        broken = outside if keyword == "forbid" else ~outside
        return Rule(spec.name, f"{keyword}: {text}", broken, scope)
    broken = pl.any_horizontal(
        _expression(sql).fill_null(value=False)
        for sql in Wide(members).broken(tree, negated=keyword == "require")
    )
    wide = tuple(n for n in members.wide.names if n in set(broken.meta.root_names()))
    _tried(broken, _probe(members.wide, wide))
    of_members = any(name not in members.record.positions for name in wide)
    return Rule(spec.name, f"{keyword}: {text}", broken, wide, of_members)


def _check_names(mentioned: Sequence[str], domain: Domain) -> None:
    """Refuse names that are no variable."""
    unknown = sorted(set(mentioned) - set(domain.names))
    if unknown:
        near = get_close_matches(unknown[0], domain.names, n=1, cutoff=0.6)
        raise JobError(
            f"`{clean(unknown[0])}` is no variable"
            f"{f'; did you mean `{near[0]}`?' if near else ''} "
            f"(variables: {', '.join(domain.names)}); "
            "put text in single quotes, and names with a dash in double quotes"
        )


def _check_aggregate(aggregate: Aggregate, probe: pl.DataFrame, members: Members) -> None:
    """Refuse an aggregate of what no member has, or of the wrong kind of expression."""
    parts = aggregate.parts
    if not parts:  # COUNT(*)
        return
    shown = clean(aggregate.text)
    if not {name for part in parts for name in columns(part)} & set(members.own.names):
        raise JobError(
            f"`{shown}` names no variable of {one(members.name)} "
            f"({', '.join(members.own.names)}), so there is nothing to go through"
        )
    kinds = [_tried(_expression(write(part)), probe) for part in parts]
    if any(kind != pl.Boolean for kind in (kinds if aggregate.of_conditions else kinds[1:])):
        raise JobError(f"`{shown}` needs a condition such as `age < 15`")
    if not (aggregate.of_conditions or aggregate.distinct or kinds[0].is_numeric()):
        raise JobError(f"`{shown}` needs a number")


def _condition(sql: str, probe: pl.DataFrame) -> pl.Expr:
    """Return an expression that is true or false for each row of `probe`."""
    found = _expression(sql)
    if _tried(found, probe) != pl.Boolean:
        raise JobError("is not a condition; write a comparison such as `age < 15`")
    return found


def _expression(sql: str) -> pl.Expr:
    """Return what polars makes of SQL that was written from a rule's tree, never of a rule's text."""
    try:
        return pl.sql_expr(sql)
    except _POLARS_RAISES as error:
        raise _impossible(error) from None


def _tried(expression: pl.Expr, probe: pl.DataFrame) -> pl.DataType:
    try:
        return probe.select(expression.alias("broken"))["broken"].dtype
    except _POLARS_RAISES as error:
        raise _impossible(error) from None


def _impossible(error: BaseException) -> JobError:
    lines = [line for line in str(error).splitlines() if line.strip()]
    if lines and "unable to parse" in lines[0]:  # it is well written, so that this is about depth
        return JobError("is nested too deeply; write it as several rules")
    return JobError(f"cannot be evaluated: {lines[0][:200] if lines else type(error).__name__}")


def _probe(domain: Domain, scope: Sequence[str]) -> pl.DataFrame:
    """Return values to try a rule on: every category, and the ends of every bin."""
    rows = np.arange(max([2, *(2 * domain[name].size for name in scope)]))
    return pl.DataFrame(
        [
            _values(domain[n], rows // 2 % domain[n].size, np.where(rows % 2, _NEARLY_ONE, 0.0))
            for n in scope
        ]
        or {"row": rows}
    )


def _values(variable: Variable, codes: np.ndarray, position: np.ndarray) -> pl.Series:
    """Return values for `codes`; a number lies at the share `position` of its bin."""
    if not variable.is_numeric:
        return category_series(variable, codes)
    edges = np.asarray(variable.edges)
    return number_series(variable, edges[codes] + position * (edges[codes + 1] - edges[codes]))


def number_series(variable: Variable, values: np.ndarray) -> pl.Series:
    """Return values of a numeric variable as records have them."""
    return pl.Series(
        variable.name, np.floor(values).astype(np.int64) if variable.is_whole else values
    )


def category_series(variable: Variable, codes: np.ndarray) -> pl.Series:
    """Return the categories of `codes` as a polars Enum (looked up: polars casts no integers to it)."""
    return _categories(variable.name, variable.labels)[codes]


@lru_cache(maxsize=256)
def _categories(name: str, labels: tuple[str, ...]) -> pl.Series:
    return pl.Series(name, labels, dtype=pl.Enum(labels))


def broken_mask(rules: Sequence[Rule], frame: pl.DataFrame) -> np.ndarray:
    """Return which rows of `frame` break any rule, shape `(rows,)`, bool."""
    mask = np.zeros(frame.height, dtype=bool)
    if rules:
        found = frame.select(
            pl.any_horizontal(rule.broken.fill_null(value=False) for rule in rules).alias("broken")
        )
        mask |= found["broken"].to_numpy()
    return mask


def violations(rules: Sequence[Rule], frame: pl.DataFrame) -> dict[str, int]:
    """Return how many rows of `frame` break each rule."""
    counts = frame.select(
        rule.broken.fill_null(value=False).sum().alias(str(i)) for i, rule in enumerate(rules)
    )
    return {rule.name: int(counts[str(i)][0]) for i, rule in enumerate(rules)}


def allowed_share(rule: Rule, domain: Domain) -> np.ndarray | None:
    """Return which share of each cell of the rule's scope the rule allows.

    Whole numbers are tried one by one where a bin has at most sixteen, other bins at sixteen
    evenly spaced points.

    Returns:
        Shape = sizes of the rule's variables, or None when there are too many cells to try, or
        the rule speaks of members.
    """
    if rule.of_members:
        return None
    variables = [domain[name] for name in rule.scope]
    points = [_POINTS_PER_BIN if v.is_numeric else 1 for v in variables]
    shape = tuple(v.size for v in variables)
    if float(np.prod([float(s * p) for s, p in zip(shape, points, strict=True)])) > _GRID_LIMIT:
        return None
    axes = [np.arange(s * p) for s, p in zip(shape, points, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    places = [_points(v, p) for v, p in zip(variables, points, strict=True)]
    columns = [
        _values(v, flat.ravel() // p, place.ravel()[flat.ravel()])
        for v, p, flat, (place, _) in zip(variables, points, grid, places, strict=True)
    ]
    allowed = (~broken_mask([rule], pl.DataFrame(columns))).astype(float)
    allowed = allowed.reshape([n for s, p in zip(shape, points, strict=True) for n in (s, p)])
    for axis, (_, weight) in enumerate(places):
        wide = weight.reshape([*weight.shape, *[1] * (allowed.ndim - axis - 2)])
        allowed = (allowed * wide).sum(axis=axis + 1)
    return allowed


def _points(variable: Variable, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions inside each bin and their weights, both of shape `(size, most)`."""
    steps = np.tile((np.arange(most) + 0.5) / most, (variable.size, 1))
    weight = np.full(steps.shape, 1.0 / most)
    if variable.is_whole:
        for code, width in enumerate(np.diff(variable.edges)):
            if width <= most:
                steps[code] = (np.minimum(np.arange(most), width - 1) + 0.5) / width
                weight[code] = (np.arange(most) < width) / width
    return steps, weight
