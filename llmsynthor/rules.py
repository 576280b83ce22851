"""Validity rules: Polars SQL expressions that say which records cannot exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsynthor.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmsynthor.domain import Domain, Variable
    from llmsynthor.job import RuleSpec

_GRID_LIMIT = 200_000
_POINTS_PER_BIN = 16


@dataclass(frozen=True)
class Rule:
    """A rule as an expression that is true where a record *breaks* it.

    Attributes:
        name: As in the job.
        text: The job's words, for example `forbid: age < 15`.
        broken: Polars expression; null counts as not broken.
        scope: Variables that the rule speaks of, in domain order.
    """

    name: str
    text: str
    broken: pl.Expr
    scope: tuple[str, ...]


def compile_rules(specs: Sequence[RuleSpec], domain: Domain) -> tuple[Rule, ...]:
    """Return the job's rules, each tried on values of every variable.

    Raises:
        JobError: A rule is not SQL, or names an unknown variable or category.
    """
    rules, problems = [], []
    for position, spec in enumerate(specs):
        try:
            rules.append(_compile(spec, domain))
        except JobError as error:
            problems.append(f"rules.{position} `{spec.name}`: {error}")
    if problems:
        raise JobError("\n".join(problems))
    return tuple(rules)


def _compile(spec: RuleSpec, domain: Domain) -> Rule:
    keyword, text = (
        ("forbid", spec.forbid) if spec.forbid is not None else ("require", spec.require)
    )
    assert text is not None  # noqa: S101 - the model holds exactly one of the two
    try:
        expression = pl.sql_expr(text)
        roots = expression.meta.root_names()
    except Exception as error:  # noqa: BLE001 - polars raises several kinds for bad SQL
        raise JobError(f"not a SQL expression: {_first_line(error)}") from None
    unknown = sorted(set(roots) - set(domain.names))
    if unknown:
        raise JobError(
            f"`{unknown[0]}` is no variable (variables: {', '.join(domain.names)}); "
            "put text in single quotes, and names with a dash in double quotes"
        )
    if not roots:
        raise JobError("names no variable")
    broken = expression if keyword == "forbid" else ~expression
    scope = tuple(name for name in domain.names if name in set(roots))
    try:
        probe = _probe(domain, scope).select(broken.alias("broken"))
    except Exception as error:  # noqa: BLE001 - polars raises several kinds for bad types
        raise JobError(f"cannot be evaluated: {_first_line(error)}") from None
    if probe["broken"].dtype != pl.Boolean:
        raise JobError("is not a condition; write a comparison such as `age < 15`")
    return Rule(spec.name, f"{keyword}: {text}", broken, scope)


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _probe(domain: Domain, scope: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(
        [_values(domain[name], np.zeros(1, np.int64), np.zeros(1)) for name in scope]
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
    """Return the categories of `codes` as a polars Enum (gathered: polars casts no integers to it)."""
    categories = pl.Series(variable.name, variable.labels, dtype=pl.Enum(variable.labels))
    return categories.gather(codes)


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
    variables = [domain[name] for name in rule.scope]
    points = [_POINTS_PER_BIN if v.is_numeric else 1 for v in variables]
    shape = tuple(v.size for v in variables)
    if float(np.prod([float(s * p) for s, p in zip(shape, points, strict=True)])) > _GRID_LIMIT:
        return None
    axes = [np.arange(s * p) for s, p in zip(shape, points, strict=True)]
    grid = np.meshgrid(*axes, indexing="ij")
    columns = [
        _values(v, flat.ravel() // p, (flat.ravel() % p + 0.5) / p)
        for v, p, flat in zip(variables, points, grid, strict=True)
    ]
    allowed = ~broken_mask([rule], pl.DataFrame(columns))
    split = [n for s, p in zip(shape, points, strict=True) for n in (s, p)]
    return allowed.reshape(split).mean(axis=tuple(range(1, 2 * len(shape), 2)))
