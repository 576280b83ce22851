"""Rules across levels, each against a plain loop over households."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.candidates.rules import allowed_share, broken_mask, compile_rules, violations
from llmsynthor.errors import JobError
from llmsynthor.job.model import RuleSpec
from llmsynthor.targets.domain import Domain, Members, Variable

SIZES = ("0", "1", "2", "3")
ROLES = ("head", "partner", "child")
RECORD = Domain(
    (
        Variable("size", "category", SIZES),
        Variable("cars", "integer", ("0", "1", "2-5"), (0, 1, 2, 6)),
    )
)
OWN = Domain(
    (
        Variable("age", "integer", ("0-15", "16-99"), (0, 16, 100)),
        Variable("role", "category", ROLES),
        Variable("home-work", "category", ("yes", "no")),
    )
)
MEMBERS = Members("person", "household", "size", np.arange(4), RECORD, OWN)
DOMAIN = Domain((*RECORD.variables, *OWN.variables))

person = st.fixed_dictionaries(
    {"age": st.integers(0, 99), "role": st.sampled_from(ROLES), "home-work": st.sampled_from("yn")}
)
household = st.tuples(st.integers(0, 5), st.lists(person, max_size=3))


@lru_cache
def rule(members: Members | None = MEMBERS, **text: str):
    (found,) = compile_rules([RuleSpec(name="r", **text)], DOMAIN if members else RECORD, members)
    return found


def wide(households) -> pl.DataFrame:
    columns = {
        "size": pl.Series([str(len(m)) for _, m in households], dtype=pl.Enum(SIZES)),
        "cars": pl.Series([cars for cars, _ in households], dtype=pl.Int64),
    }
    for slot in range(3):
        there = [m[slot] if slot < len(m) else None for _, m in households]
        ages = [p and p["age"] for p in there]
        work = [p and {"y": "yes", "n": "no"}[p["home-work"]] for p in there]
        columns[f"age.{slot + 1}"] = pl.Series(ages, dtype=pl.Int64)
        roles = pl.Series([p and p["role"] for p in there], dtype=pl.Enum(ROLES))
        columns[f"role.{slot + 1}"] = roles
        columns[f"home-work.{slot + 1}"] = pl.Series(work, dtype=pl.Enum(("yes", "no")))
    return pl.DataFrame(columns)


def ages(members, role=None):
    return [p["age"] for p in members if role in (None, p["role"])]


def none(function, values):
    return function(values) if values else None


def above(a, b):
    return None if a is None or b is None else a > b


FORMS = {
    "cars > 2": lambda c, m: c > 2,
    "age < 16 AND role = 'head'": lambda c, m: [a < 16 for a in ages(m, "head")],
    "age < 16 AND role = 'head' OR cars = 5": lambda c, m: [
        c == 5 or (p["age"] < 16 and p["role"] == "head") for p in m
    ],
    "\"home-work\" = 'yes' AND `age` < 16": lambda c, m: [
        p["home-work"] == "y" and p["age"] < 16 for p in m
    ],
    "age IS NULL OR age > 90": lambda c, m: [a > 90 for a in ages(m)],
    "count(role = 'head') <> 1": lambda c, m: len(ages(m, "head")) != 1,
    "COUNT(*) > cars": lambda c, m: len(m) > c,
    "COUNT(* WHERE role = 'child') > cars": lambda c, m: len(ages(m, "child")) > c,
    "COUNT(age > 50 WHERE role = 'child') > 1": lambda c, m: (
        sum(a > 50 for a in ages(m, "child")) > 1
    ),
    "COUNT(age > 50 OR cars = 0) = 2": lambda c, m: sum(a > 50 or c == 0 for a in ages(m)) == 2,
    "Any (age > 90)": lambda c, m: any(a > 90 for a in ages(m)),
    "ANY(age > 60 WHERE role IN ('child', 'partner'))": lambda c, m: any(
        a > 60 for a in ages(m, "child") + ages(m, "partner")
    ),
    "ALL(age < 40)": lambda c, m: all(a < 40 for a in ages(m)),
    "NOT ALL(age < 40 WHERE role = 'child') AND cars < 4": lambda c, m: (
        not all(a < 40 for a in ages(m, "child")) and c < 4
    ),
    "MIN(age) > 50": lambda c, m: above(none(min, ages(m)), 50),
    "MAX(age WHERE role = 'child') > MIN(age WHERE role = 'head') - 14": lambda c, m: above(
        none(max, ages(m, "child")),
        None if not ages(m, "head") else min(ages(m, "head")) - 14,
    ),
    "SUM(age) > 100": lambda c, m: above(none(sum, ages(m)), 100),
    "SUM(2 * (age + cars) WHERE role <> 'child') > 100": lambda c, m: above(
        none(sum, [2 * (a + c) for a in ages(m, "head") + ages(m, "partner")]), 100
    ),
    "AVG(age WHERE role = 'child') > 40.5": lambda c, m: above(
        none(np.mean, ages(m, "child")), 40.5
    ),
    "role = 'child' AND age > MIN(age WHERE role = 'head') - 14": lambda c, m: [
        bool(ages(m, "head")) and a > min(ages(m, "head")) - 14 for a in ages(m, "child")
    ],
    "age > AVG(age) + 20 AND COUNT(*) = 3": lambda c, m: [
        len(m) == 3 and a > np.mean(ages(m)) + 20 for a in ages(m)
    ],
    "COUNT(DISTINCT role) = 2": lambda c, m: len({p["role"] for p in m}) == 2,
    "COUNT(DISTINCT age / 50 - age / 50 % 1 WHERE role <> 'head') > cars": lambda c, m: (
        len({a // 50 for a in ages(m, "partner") + ages(m, "child")}) > c
    ),
    "age > 50 AND COUNT(distinct role) < COUNT(*)": lambda c, m: [
        a > 50 and len({p["role"] for p in m}) < len(m) for a in ages(m)
    ],
    "ANY(role LIKE '%e%' AND LEFT(role, 1) = 'h')": lambda c, m: bool(ages(m, "head")),
    "MAX(LENGTH(role) WHERE UPPER(role) <> 'PARTNER') > 4": lambda c, m: above(
        none(max, [len(p["role"]) for p in m if p["role"] != "partner"]), 4
    ),
    "CASE WHEN cars = 0 THEN ANY(age > 80) ELSE age > 95 END": lambda c, m: [
        any(b > 80 for b in ages(m)) if c == 0 else a > 95 for a in ages(m)
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("text", FORMS)
@settings(max_examples=30)
@given(households=st.lists(household, min_size=1, max_size=12))
def test_a_rule_breaks_where_a_loop_over_households_says(text, households):
    frame = wide(households)
    found = [FORMS[text](cars, members) for cars, members in households]
    forbidden = [any(f) if isinstance(f, list) else bool(f) for f in found]
    lacking = [not all(f) if isinstance(f, list) else f is not None and not bool(f) for f in found]
    assert broken_mask([rule(forbid=text)], frame).tolist() == forbidden
    if text in NEGATED:
        assert broken_mask([rule(require=text)], frame).tolist() == lacking
    assert violations([rule(forbid=text)], frame) == {"r": sum(forbidden)}


NEGATED = [
    text for text in FORMS if not text.startswith(("age < 16 AND role = 'head'", "role", "age IS"))
]
"""Of the others the loop goes through the members that the condition names only."""


def test_scope_has_the_columns_that_are_read():
    assert rule(forbid="cars > 3").scope == ("cars",)
    assert rule(forbid="COUNT(*) > 2").scope == ("size",)
    assert rule(forbid="age < 5 AND cars = 1").scope == ("cars", "age.1", "age.2", "age.3")
    found = rule(require="COUNT(role = 'head') = 1")
    assert found.scope == ("role.1", "role.2", "role.3")
    assert found.text == "require: COUNT(role = 'head') = 1"
    assert found.of_members
    assert not rule(forbid="COUNT(*) > 2").of_members


def test_text_and_comments_are_left_alone():
    frame = wide([(2, [{"age": 30, "role": "head", "home-work": "y"}])])
    text = "role <> 'head' /* age */ OR COUNT(age < 0) > 0 -- ANY(age > 0)"
    assert not broken_mask([rule(forbid=text)], frame).any()
    assert broken_mask([rule(forbid="CAST(role AS VARCHAR) LIKE '%ead'")], frame).all()
    literal = "CAST(role AS VARCHAR) = 'MIN(age)'"
    with pytest.raises(JobError) as caught:
        rule(forbid=literal)
    assert str(caught.value).startswith("rules.0 `r`: `MIN(age)` is no category of `role`")


def test_shares_of_cells_are_known_for_rules_of_the_record_only():
    assert allowed_share(rule(forbid="age < 5"), DOMAIN) is None
    assert allowed_share(rule(forbid="cars = 0"), DOMAIN).tolist() == [0, 1, 1]
    assert allowed_share(rule(forbid="COUNT(*) = 0"), DOMAIN).tolist() == [0, 1, 1, 1]


VARIABLES = "(variables: size, cars, age, role, home-work)"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "COUNT(rôle = 'head') = 1",
            f"`rôle` is no variable; did you mean `role`? {VARIABLES}; "
            "put text in single quotes, and names with a dash in double quotes",
        ),
        (
            '"age.1" < 5',
            f"`age.1` is no variable; did you mean `age`? {VARIABLES}; "
            "put text in single quotes, and names with a dash in double quotes",
        ),
        ("ANY(role = 'haed')", "`haed` is no category of `role`; did you mean `head`?"),
        (
            "COUNT(age < 5 WHERE role = 'x') = 1",
            "`x` is no category of `role` (known: head, partner, child)",
        ),
        (
            "COUNT(age > AVG(age)) = 1",
            "`COUNT(age > AVG(age))` holds the aggregate `AVG`; an aggregate cannot hold another",
        ),
        (
            "MAX(cars) > 3",
            "`MAX(cars)` names no variable of a person (age, role, home-work), so there is nothing "
            "to go through",
        ),
        ("MAX(age)", "is not a condition; write a comparison such as `age < 15`"),
        ("age + 1", "is not a condition; write a comparison such as `age < 15`"),
        ("COUNT(age) = 1", "`COUNT(age)` needs a condition such as `age < 15`"),
        ("SUM(age WHERE age) = 1", "`SUM(age WHERE age)` needs a condition such as `age < 15`"),
        ("MIN(role) = 'head'", "`MIN(role)` needs a number"),
        (
            "COUNT() = 1",
            "`COUNT()` lacks an expression; write for example `COUNT(age < 18)`, `COUNT(*)` or "
            "`MAX(age WHERE sex = 'female')`",
        ),
        ("SUM(*) = 1", "`SUM(*)`: only COUNT takes `*`"),
        ("SUM(DISTINCT age) = 1", "`SUM(DISTINCT age)`: only COUNT takes `DISTINCT`"),
        ("COUNT(DISTINCT *) = 1", "`COUNT(DISTINCT *)`: only COUNT takes `*`"),
        ("COUNT(DISTINCT age, role) = 1", "`COUNT(DISTINCT age, role)` takes one expression"),
        ("MAX(age, cars) = 1", "`MAX(age, cars)` takes one expression"),
        (
            "COUNT(age < 3 WHERE) = 1",
            "`COUNT(age < 3 WHERE)` lacks an expression; write for example `COUNT(age < 18)`, "
            "`COUNT(*)` or `MAX(age WHERE sex = 'female')`",
        ),
        (
            "MAX(age WHERE CASE WHEN role = 'haed' THEN TRUE END) = 1",
            "`haed` is no category of `role`; did you mean `head`?",
        ),
        (
            "COUNT(age < 5 = 1",
            "not a SQL expression: the bracket after `COUNT` is not closed",
        ),
        (
            "COUNT(age < ) = 1",
            "not a SQL expression: something is missing or too much at `)` (character 13)",
        ),
        (
            "COUNT(age < 3) = ",
            "not a SQL expression: something is missing or too much at `=` (character 16)",
        ),
        (
            "MEDIAN(age) < 3",
            "`MEDIAN` speaks of all records together; a rule must hold for each by itself",
        ),
        (
            "age < AVG(MEDIAN(age))",
            "`MEDIAN` is no aggregate of members; use COUNT, ANY, ALL, MIN, MAX, SUM, AVG",
        ),
        ("1 = 1", "names no variable"),
        ("ANY(age = 'x')", "cannot be evaluated: cannot compare string with numeric type (i64)"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(text, problem):
    with pytest.raises(JobError) as caught:
        rule(forbid=text)
    assert str(caught.value) == f"rules.0 `r`: {problem}"


def test_aggregates_need_members():
    with pytest.raises(JobError) as caught:
        rule(None, forbid="cars > AVG(cars)")
    assert str(caught.value) == (
        "rules.0 `r`: `AVG` is over the members of a record, and the job has no members; "
        "a rule must hold for each record by itself"
    )
