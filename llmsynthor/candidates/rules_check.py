"""What is wrong with a rule's text, in words: names, categories, kinds of expressions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import polars as pl

from llmsynthor.candidates.rules_members import OF_CONDITIONS, Aggregate
from llmsynthor.errors import JobError
from llmsynthor.text import clean, did_you_mean, one

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from llmsynthor.targets.domain import Domain
    from llmsynthor.targets.levels import Members

PROBE_ROWS = 2
"""Rows that a rule is tried on: more than one, to see that it answers for each."""
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\w+|<=|>=|<>|!=|[^\w\s]")
_COMPARISONS = {"=", "<>", "!=", "<", ">", "<=", ">="}


def parsed(text: str) -> tuple[pl.Expr, set[str]]:
    """Return an expression and the columns that it names.

    Raises:
        JobError: The text is no SQL expression.
    """
    try:
        expression = pl.sql_expr(text)
        return expression, set(expression.meta.root_names())
    except Exception as error:  # noqa: BLE001 - polars raises several kinds for bad SQL
        raise JobError(f"not a SQL expression: {_first_line(error)}") from None


def check_names(mentioned: Collection[str], domain: Domain) -> None:
    """Refuse names that are no variable."""
    unknown = sorted(set(mentioned) - set(domain.names))
    if unknown:
        raise JobError(
            f"`{unknown[0]}` is no variable{did_you_mean(unknown[0], domain.names)} "
            f"(variables: {', '.join(domain.names)}); "
            "put text in single quotes, and names with a dash in double quotes"
        )


def check_condition(condition: pl.Expr, probe: pl.DataFrame) -> None:
    """Refuse what is not true or false for each row."""
    found = _tried(condition, probe)
    if found.dtype != pl.Boolean:
        raise JobError("is not a condition; write a comparison such as `age < 15`")
    if found.len() != PROBE_ROWS:
        raise JobError("speaks of all records together; a rule must hold for each by itself")


def _tried(expression: pl.Expr, probe: pl.DataFrame) -> pl.Series:
    try:
        return probe.select(expression.alias("broken"))["broken"]
    except Exception as error:  # noqa: BLE001 - polars raises several kinds for bad types
        raise JobError(f"cannot be evaluated: {_first_line(error)}") from None


def check_aggregate(
    aggregate: Aggregate,
    found: Sequence[tuple[pl.Expr, set[str]]],
    probe: pl.DataFrame,
    members: Members | None,
) -> None:
    """Refuse an aggregate of what no member has, or of the wrong kind of expression."""
    if members is None or not found:  # COUNT(*)
        return
    shown = clean(aggregate.text)
    if not {name for _, names in found for name in names} & set(members.own.names):
        raise JobError(
            f"`{shown}` names no variable of {one(members.name)} "
            f"({', '.join(members.own.names)}), so there is nothing to go through"
        )
    kinds = [_tried(expression, probe).dtype for expression, _ in found]
    conditions = kinds if aggregate.function in OF_CONDITIONS else kinds[1:]
    if any(kind != pl.Boolean for kind in conditions):
        raise JobError(f"`{shown}` needs a condition such as `age < 15`")
    if aggregate.function not in OF_CONDITIONS and not kinds[0].is_numeric():
        raise JobError(f"`{shown}` needs a number")


def check_categories(text: str, domain: Domain, scope: Sequence[str]) -> None:
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
            raise JobError(
                f"`{category}` is no category of `{'` or `'.join(v.name for v in variables)}`"
                + did_you_mean(category, known, f" (known: {', '.join(known[:12])})")
            )


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
