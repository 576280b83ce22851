"""Validity rules: Polars SQL expressions that say which records cannot exist."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.candidates.rules_check import (
    PROBE_ROWS,
    check_aggregate,
    check_categories,
    check_condition,
    check_names,
    parsed,
)
from llmsynthor.candidates.rules_members import Aggregate, Writer, identifier, take_apart
from llmsynthor.errors import JobError, Problem
from llmsynthor.text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmsynthor.job.model import RuleSpec
    from llmsynthor.targets.domain import Domain, Variable
    from llmsynthor.targets.levels import Members

_GRID_LIMIT = 200_000
_POINTS_PER_BIN = 16


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
    """Return the rules that can be used, and what is wrong with the others.

    Args:
        specs: The rules as the job has them.
        domain: The variables, those of members too.
        positions: Where in the job's list each of them stands; default: in this order, from 0.
        members: What the members of records are; the rules are then over wide columns.
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
    keyword, text = (
        ("forbid", spec.forbid) if spec.forbid is not None else ("require", spec.require)
    )
    assert text is not None  # noqa: S101 - the model holds exactly one of the two
    parts = take_apart(text)
    aggregates = [part for part in parts if isinstance(part, Aggregate)]
    if aggregates and members is None:
        raise JobError(
            f"`{aggregates[0].function}` is over the members of a record, and the job has no members; "
            "a rule must hold for each record by itself"
        )
    stubs = _stubs(aggregates, domain)
    outside, roots = _expression(text, parts, stubs)
    pieces = [[parsed("".join(piece)) for piece in a.pieces] for a in aggregates]
    inside = {name for found in pieces for _, names in found for name in names}
    mentioned = (roots - set(stubs)) | inside
    check_names(mentioned, domain)
    if not roots:
        raise JobError("names no variable")
    scope = tuple(name for name in domain.names if name in mentioned)
    check_categories(text, domain, scope)
    probe = _probe(domain, scope) if scope else pl.DataFrame({"row": [0] * PROBE_ROWS})
    for aggregate, found in zip(aggregates, pieces, strict=True):
        check_aggregate(aggregate, found, probe, members)
    probe = probe.with_columns(pl.Series(n, [v] * PROBE_ROWS) for n, v in stubs.items())
    check_condition(outside, probe)
    if members is None or not (aggregates or mentioned & set(members.own.names)):
        broken = outside if keyword == "forbid" else ~outside
        return Rule(spec.name, f"{keyword}: {text}", broken, scope)
    broken = _over_members(parts, roots, mentioned, members, negated=keyword == "require")
    wide = _wide_scope(broken, members)
    check_condition(broken, _probe(members.wide, wide))
    of_members = any(name not in members.record.positions for name in wide)
    return Rule(spec.name, f"{keyword}: {text}", broken, wide, of_members)


def _wide_scope(broken: pl.Expr, members: Members) -> tuple[str, ...]:
    read = set(broken.meta.root_names())
    return tuple(name for name in members.wide.names if name in read)


def _over_members(
    parts: Sequence[str | Aggregate],
    outside: set[str],
    mentioned: set[str],
    members: Members,
    *,
    negated: bool,
) -> pl.Expr:
    """Return where a record breaks the rule, over the columns of all its slots.

    Args:
        parts: The rule, taken apart.
        outside: Names that stand outside of aggregates.
        mentioned: All names.
        members: What the members are.
        negated: Whether the rule is required, and so broken where it does not hold.
    """
    writer = Writer(members, mentioned)
    if not outside & set(members.own.names):
        held = pl.sql_expr(writer.household(parts))
        return ~held if negated else held
    each = [writer.member(parts, slot, negated=negated) for slot in range(members.most)]
    return pl.any_horizontal(pl.sql_expr(text).fill_null(value=False) for text in each)


def _stubs(aggregates: Sequence[Aggregate], domain: Domain) -> dict[str, float | bool]:
    """Return for each aggregate a column that stands for it while the rule is checked."""
    stubs: dict[str, float | bool] = {}
    for aggregate in aggregates:
        number = len(stubs) + 1
        while f"aggregate {number}" in domain.positions or f"aggregate {number}" in stubs:
            number += 1
        value: float | bool = {"COUNT": 1, "ANY": True, "ALL": True}.get(aggregate.function, 1.0)
        stubs[f"aggregate {number}"] = value
    return stubs


def _expression(
    text: str, parts: Sequence[str | Aggregate], stubs: Mapping[str, float | bool]
) -> tuple[pl.Expr, set[str]]:
    """Return the rule with a column in place of each aggregate, and the columns that it names."""
    if not stubs:
        return parsed(text)
    names = iter(stubs)
    stood = [(part, next(names)) for part in parts if isinstance(part, Aggregate)]
    places = iter(stood)
    bare = "".join(p if isinstance(p, str) else identifier(next(places)[1]) for p in parts)
    try:
        return parsed(bare)
    except JobError as error:
        message = str(error)
        for part, name in stood:
            message = message.replace(identifier(name), part.text)
        raise JobError(message) from None


def _probe(domain: Domain, scope: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            _values(domain[name], np.zeros(PROBE_ROWS, np.int64), np.zeros(PROBE_ROWS))
            for name in scope
        ]
    )


def _values(variable: Variable, codes: np.ndarray, position: np.ndarray) -> pl.Series:
    """Return values for `codes`; a number lies at the share `position` of its bin."""
    if not variable.is_numeric:
        return category_series(variable, codes)
    edges = np.asarray(variable.edges)
    values = edges[codes] + position * (edges[codes + 1] - edges[codes])
    if variable.is_whole:
        return pl.Series(variable.name, np.floor(values).astype(np.int64))
    return pl.Series(variable.name, values)


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
    counts = (
        frame.select(
            rule.broken.fill_null(value=False).sum().alias(str(i)) for i, rule in enumerate(rules)
        )
        if rules
        else pl.DataFrame()
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
