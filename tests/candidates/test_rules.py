from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from llmsynthor.candidates.rules import (
    allowed_share,
    broken_mask,
    category_series,
    compile_rules,
    violations,
)
from llmsynthor.errors import JobError
from llmsynthor.job.model import RuleSpec
from llmsynthor.targets.domain import Domain, Variable

DOMAIN = Domain(
    (
        Variable("mode", "category", ("car", "bus", "it's")),
        Variable("age", "integer", ("0-9", "10-14", "15-89"), (0, 10, 15, 90)),
        Variable("km", "number", ("0-10", "10-50"), (0, 10, 50)),
        Variable("home-type", "category", ("flat", "house")),
    )
)
FRAME = pl.DataFrame(
    {
        "mode": category_series(DOMAIN["mode"], np.array([0, 0, 1, 2])),
        "age": [12, 40, 12, 40],
        "km": [1.0, 2.0, 30.0, 4.0],
        "home-type": category_series(DOMAIN["home-type"], np.array([0, 1, 0, 1])),
    }
)


def rules(**texts: str):
    return compile_rules(
        [RuleSpec(name=f"r{i}", **{k: v}) for i, (k, v) in enumerate(texts.items())], DOMAIN
    )


def test_forbid_breaks_where_it_holds_and_require_where_it_does_not():
    both = rules(forbid="age < 15 AND mode = 'car'", require="km < 20 OR mode <> 'bus'")
    assert broken_mask(both[:1], FRAME).tolist() == [True, False, False, False]
    assert broken_mask(both[1:], FRAME).tolist() == [False, False, True, False]
    assert violations(both, FRAME) == {"r0": 1, "r1": 1}
    assert both[0].scope == ("mode", "age")
    assert both[0].text == "forbid: age < 15 AND mode = 'car'"


def test_no_rules_break_nothing():
    assert not broken_mask((), FRAME).any()
    assert violations((), FRAME) == {}


def test_an_unknown_value_does_not_break_a_rule():
    unknown = FRAME.with_columns(pl.lit(None, dtype=pl.Int64).alias("age"))
    both = rules(forbid="age < 15", require="age > 15")
    assert not broken_mask(both, unknown).any()
    assert violations(both, unknown) == {"r0": 0, "r1": 0}


@pytest.mark.parametrize(
    "text",
    [
        "mode IN ('car', 'bus')",
        "mode NOT IN ('car')",
        "'car' = mode",
        "mode = 'it''s'",
        "\"home-type\" = 'flat'",
        "CAST(mode AS VARCHAR) LIKE 'ca%'",
        "km BETWEEN 2 AND 5",
        "CASE WHEN mode = 'car' THEN age < 15 ELSE false END",
    ],
)
def test_a_rule_may_be_written_in_many_ways(text):
    assert broken_mask(rules(forbid=text), FRAME).any()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "mood = 'car'",
            "`mood` is no variable; did you mean `mode`? (variables: mode, age, km, home-type); "
            "put text in single quotes, and names with a dash in double quotes",
        ),
        ("mode = 'cars'", "`cars` is no category of `mode`; did you mean `car`?"),
        ("mode <> 'x'", "`x` is no category of `mode` (known: car, bus, it's)"),
        ("'x' <> mode", "`x` is no category of `mode` (known: car, bus, it's)"),
        ("mode IN ('car', 'bsu')", "`bsu` is no category of `mode`; did you mean `bus`?"),
        ("mode NOT IN ('x')", "`x` is no category of `mode` (known: car, bus, it's)"),
        ("mode = 'flat'", "`flat` is no category of `mode` (known: car, bus, it's)"),
        (
            "\"home-type\" = 'flot' OR mode = 'car'",
            "`flot` is no category of `home-type`; did you mean `flat`?",
        ),
        ("age + 1", "is not a condition; write a comparison such as `age < 15`"),
        ("1 = 1", "names no variable"),
        (
            "age < 15 AND",
            "not a SQL expression: something is missing or too much at `AND` (character 10)",
        ),
        ("age = 'car'", "cannot be evaluated: cannot compare string with numeric type (i64)"),
        (
            "SUM(age) > 3",
            "`SUM` is over the members of a record, and the job has no members; a rule must hold for "
            "each record by itself",
        ),
        (
            "age > MEDIAN(age)",
            "`MEDIAN` speaks of all records together; a rule must hold for each by itself",
        ),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(text, problem):
    with pytest.raises(JobError) as caught:
        rules(forbid=text)
    assert str(caught.value) == f"rules.0 `r0`: {problem}"


def test_every_wrong_rule_is_named():
    with pytest.raises(JobError) as caught:
        rules(forbid="1 = 1", require="2 = 2")
    assert str(caught.value) == "rules.0 `r0`: names no variable\nrules.1 `r1`: names no variable"


def test_whole_numbers_of_a_small_bin_count_equally_where_a_rule_cuts_it():
    share = allowed_share(rules(forbid="age < 11")[0], DOMAIN)
    assert share == pytest.approx([0.0, 0.8, 1.0])
    share = allowed_share(rules(forbid="age = 14 OR age = 3")[0], DOMAIN)
    assert share == pytest.approx([0.9, 0.8, 1.0])


def test_wide_bins_and_categories_are_tried_together():
    share = allowed_share(rules(forbid="km > 20 AND mode = 'car'")[0], DOMAIN)
    assert share.shape == (3, 2)
    assert share == pytest.approx(np.array([[1, 0.25], [1, 1], [1, 1]]))


def test_a_rule_over_too_many_cells_has_no_shares():
    wide = Domain(
        tuple(
            Variable(n, "integer", tuple(map(str, range(90))), tuple(range(91))) for n in ("a", "b")
        )
    )
    (rule,) = compile_rules([RuleSpec(name="r", forbid="a < b")], wide)
    assert allowed_share(rule, wide) is None
