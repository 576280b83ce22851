"""Validity rules: Polars SQL expressions that say which records cannot exist."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.errors import JobError, Problem
from llmsynthor.labels import clean
from llmsynthor.memberrules import TOKEN as _TOKEN
from llmsynthor.memberrules import written_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.domain import Domain, Variable
    from llmsynthor.job import RuleSpec
    from llmsynthor.members import Members

_GRID_LIMIT = 200_000
_POINTS_PER_BIN = 16
_PROBE_ROWS = 2
_COMPARISONS = {"=", "<>", "!=", "<", ">", "<=", ">="}


@dataclass(frozen=True)
class Rule:
    """A rule as an expression that is true where a record *breaks* it.

    Attributes:
        name: As in the job.
        text: The job's words, for example `forbid: age < 15`.
        broken: Polars expression; null counts as not broken.
        scope: Variables that the rule speaks of, in domain order; wide ones where there are members.
    """

    name: str
    text: str
    broken: pl.Expr
    scope: tuple[str, ...]


def compile_rules(
    specs: Sequence[RuleSpec], domain: Domain, members: Members | None = None
) -> tuple[Rule, ...]:
    """Return the job's rules, each tried on values of every variable.

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
        domain: The variables, those of members once.
        positions: Where in the job's list each of them stands; default: in this order, from 0.
        members: What the members of a record are, if it has any.
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
    wide = domain if members is None else members.wide
    texts = [text] if members is None else written_out(text, members)
    try:
        expressions = [pl.sql_expr(one) for one in texts]
        roots = {name for expression in expressions for name in expression.meta.root_names()}
    except Exception as error:  # noqa: BLE001 - polars raises several kinds for bad SQL
        raise JobError(f"not a SQL expression: {_first_line(error)}") from None
    unknown = sorted(roots - set(wide.names))
    if unknown:
        near = get_close_matches(unknown[0], domain.names, n=1, cutoff=0.6)
        raise JobError(
            f"`{unknown[0]}` is no variable{f'; did you mean `{near[0]}`?' if near else ''} "
            f"(variables: {', '.join(domain.names)}); "
            "put text in single quotes, and names with a dash in double quotes"
        )
    if not roots:
        raise JobError("names no variable")
    broken = _broken(expressions, keyword)
    scope = tuple(name for name in wide.names if name in roots)
    _check_categories(text, domain, _named(scope, domain, members))
    try:
        probe = _probe(wide, scope).select(broken.alias("broken"))
    except Exception as error:  # noqa: BLE001 - polars raises several kinds for bad types
        raise JobError(f"cannot be evaluated: {_first_line(error)}") from None
    if probe["broken"].dtype != pl.Boolean:
        raise JobError("is not a condition; write a comparison such as `age < 15`")
    if probe.height != _PROBE_ROWS:
        raise JobError("speaks of all records together; a rule must hold for each by itself")
    return Rule(spec.name, f"{keyword}: {text}", broken, scope)


def _broken(expressions: Sequence[pl.Expr], keyword: str) -> pl.Expr:
    """Return where a rule is broken; of several expressions, one for each member, by any."""
    each = [one if keyword == "forbid" else ~one for one in expressions]
    if len(each) == 1:
        return each[0]
    return pl.any_horizontal(one.fill_null(value=False) for one in each)


def _named(scope: Sequence[str], domain: Domain, members: Members | None) -> tuple[str, ...]:
    """Return the variables that wide ones stand for, in domain order."""
    if members is None:
        return tuple(scope)
    slots = range(members.most)
    return tuple(
        name for name in domain.names if any(members.column(name, slot) in scope for slot in slots)
    )


def _check_categories(text: str, domain: Domain, scope: Sequence[str]) -> None:
    """Refuse categories that are none: polars takes a comparison with one as never true."""
    tokens = _TOKEN.findall(text)
    for position, token in enumerate(tokens):
        if not token.startswith("'"):
            continue
        before = position - 1
        while before >= 0 and (tokens[before].startswith("'") or tokens[before] in {",", "("}):
            before -= 1
        word = tokens[before].upper() if before >= 0 else ""
        after = tokens[position + 1] if position + 1 < len(tokens) else ""
        if word == "IN":
            before -= 1 + (tokens[before - 1].upper() == "NOT")
            name = tokens[before]
        elif word in _COMPARISONS:
            name = tokens[before - 1]
        elif after in _COMPARISONS:
            name = tokens[position + 2] if position + 2 < len(tokens) else ""
        else:
            continue  # an argument of LIKE or of a function
        name = name.strip('"')
        named = [name] if name in scope else scope  # else compared with more than a variable
        variables = [domain[n] for n in named if not domain[n].is_numeric]
        category = token[1:-1].replace("''", "'")
        if variables and not any(category in variable.codes for variable in variables):
            known = [label for variable in variables for label in variable.shown]
            near = get_close_matches(category, known, n=1, cutoff=0.6)
            raise JobError(
                f"`{category}` is no category of `{'` or `'.join(v.name for v in variables)}`"
                + (f"; did you mean `{near[0]}`?" if near else f" (known: {', '.join(known[:12])})")
            )


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _probe(domain: Domain, scope: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            _values(domain[name], np.zeros(_PROBE_ROWS, np.int64), np.zeros(_PROBE_ROWS))
            for name in scope
        ]
    )


def _values(variable: Variable, codes: np.ndarray, position: np.ndarray) -> pl.Series:
    """Return values for `codes`; a number lies at the share `position` of its bin."""
    if not variable.is_numeric:
        return category_series(variable, codes)
    edges = np.asarray(variable.edges)
    values = edges[codes] + position * (edges[codes + 1] - edges[codes])
    if variable.kind == "integer":
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
        Shape = sizes of the rule's variables, or None when there are too many cells to try.
    """
    if not all(name in domain.positions for name in rule.scope):
        return None  # a rule across levels
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
    if variable.kind == "integer":
        for code, width in enumerate(np.diff(variable.edges)):
            if width <= most:
                steps[code] = (np.minimum(np.arange(most), width - 1) + 0.5) / width
                weight[code] = (np.arange(most) < width) / width
    return steps, weight
