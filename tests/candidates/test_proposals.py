from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsynthor.candidates.boxes import takes_in
from llmsynthor.candidates.proposals import parse_plan
from llmsynthor.candidates.reply_schema import LONGEST_SCHEMA, MOST_LABELS, plan_schema
from llmsynthor.files.bins import Interval
from llmsynthor.job.load import load_job
from llmsynthor.targets.build import load_tables
from llmsynthor.targets.domain import Domain, Variable

CONFIGS = Path(__file__).parents[2] / "configs"
DOMAIN = Domain(
    (
        Variable("mode", "category", ("Car driver", "Bus", "Walk", "Horse")),
        Variable("age", "integer", ("0-19", "20-64", "65+"), (0, 20, 65, 90)),
        Variable("km", "number", ("0-10", "10-50"), (0.0, 10.0, 50.0), decimals=2),
    )
)
MARGINALS = {
    "mode": np.array([0.5, 0.3, 0.2, 0.0]),
    "age": np.array([0.2, 0.6, 0.2]),
    "km": np.array([0.75, 0.25]),
}
GOOD = {"mode": "Bus", "age": [20, 64], "km": [0, 50]}


def entry(count=10, **values):
    return {"reason": "why", "count": count, "values": GOOD | values}


def parse(text, first_id=5):
    if not isinstance(text, str):
        text = json.dumps(text)
    return parse_plan(text, DOMAIN, MARGINALS, iteration=2, first_id=first_id, most_count=100)


def only(**values):
    plan = parse({"proposals": [entry(**values)]})
    assert (plan.rejections, plan.problem) == ([], None)
    return dict(zip(DOMAIN.names, plan.proposals[0].boxes, strict=True)), plan.mended


@pytest.mark.parametrize(
    ("variable", "value", "share", "limits"),
    [
        ("mode", "Bus", [0, 1, 0, 0], None),
        ("mode", ["Bus", "Walk"], [0, 0.6, 0.4, 0], None),
        ("mode", {"Bus": 3, "Walk": 1, "Horse": 0}, [0, 0.75, 0.25, 0], None),
        ("mode", {"Bus": 1e308, "Walk": 1e308}, [0, 0.5, 0.5, 0], None),
        ("age", [20, 64], [0, 1, 0], Interval(20, 65)),
        ("age", [10, 64], [0.1 / 0.7, 0.6 / 0.7, 0], Interval(10, 65)),
        ("age", [9.5, 19.5], [1, 0, 0], Interval(10, 20)),
        ("age", 30, [0, 1, 0], Interval(30, 31)),
        ("age", [89], [0, 0, 1], Interval(89, 90)),
        ("mode", "*", [0.5, 0.3, 0.2, 0], None),
        ("mode", ["*", "Bus"], [0.5, 0.3, 0.2, 0], None),
        ("mode", {"*": 1, "Bus": 1}, [0.25, 0.65, 0.1, 0], None),
        ("age", "*", [0.2, 0.6, 0.2], None),
        ("age", {"*": 1, "65+": 1}, [0.1, 0.3, 0.6], None),
        ("km", ["*"], [0.75, 0.25], None),
        ("age", "65+", [0, 0, 1], None),
        ("age", ["0-19", "65+"], [0.5, 0, 0.5], None),
        ("age", {"0-19": 0.3, "20-64": 0.7}, [0.3, 0.7, 0], None),
        ("age", {"10-19": 1, "70-89": 1}, [0.5, 0, 0.5], None),
        ("km", [5, 50], [0.6, 0.4], Interval(5, 50)),
        ("km", 8.5, [1, 0], Interval(8.5, 8.51)),
        ("km", 50, [0, 1], Interval(10, 50)),
    ],
)
def test_every_form_of_a_value_becomes_a_share_of_the_categories(variable, value, share, limits):
    boxes, mended = only(**{variable: value})
    assert boxes[variable].share == pytest.approx(share)
    assert boxes[variable].limits == limits
    assert mended == 0


@pytest.mark.parametrize(
    "wrap",
    [
        lambda plan: plan,
        lambda plan: f"```json\n{plan}\n```",
        lambda plan: f"Of course! Here is the plan:\n{plan}\nI hope that it helps.",
        lambda plan: plan.replace("}}]}", "},}, ]}"),
        lambda plan: plan[:-2],
        lambda plan: "```json\n" + plan[:-1],
        lambda plan: json.dumps(json.loads(plan)["proposals"]),
        lambda plan: json.dumps(json.loads(plan)["proposals"][0]),
    ],
    ids=["plain", "fence", "text around", "trailing commas", "cut", "cut fence", "list", "one"],
)
def test_a_reply_is_repaired_into_its_proposals(wrap):
    plan = parse(wrap(json.dumps({"proposals": [entry()]})))
    assert (plan.problem, plan.rejections) == (None, [])
    (proposal,) = plan.proposals
    assert (proposal.id, proposal.iteration, proposal.count) == (5, 2, 10)
    assert (proposal.reason, proposal.values) == ("why", GOOD)


def test_half_a_reply_keeps_its_whole_proposals():
    text = json.dumps({"proposals": [entry(), entry(), entry()]})
    plan = parse(text[: text.rfind('"values"')])
    assert [p.id for p in plan.proposals] == [5, 6]
    assert [r.problem for r in plan.rejections] == [
        "a proposal needs `reason`, `count` and an object `values`"
    ]


@pytest.mark.parametrize("text", ["", "I cannot do that.", "{}", "[]", '{"proposals": []}', "null"])
def test_a_reply_without_proposals_says_so(text):
    assert parse(text).problem == "the reply holds no JSON object with a list `proposals`"


@pytest.mark.parametrize(
    ("proposal", "problem"),
    [
        (entry(mode="Busses"), "mode: `Busses` is no category; did you mean `Bus`?"),
        (
            entry(mode="Rocket"),
            "mode: `Rocket` is no category; use one of Car driver, Bus, Walk, Horse",
        ),
        (
            entry(mode=3),
            "mode: '3' must be a text in quotes, one of Car driver, Bus, Walk, Horse",
        ),
        (entry(mode=[]), "mode: the list is empty"),
        (entry(mode={"Bus": 0}), "mode: every weight is 0"),
        (entry(mode={}), "mode: every weight is 0"),
        (entry(mode={"Bus": -1}), "mode: the weight of `Bus` must be a number of 0 or more"),
        (entry(mode={"Bus": True}), "mode: the weight of `Bus` must be a number of 0 or more"),
        (entry(mode="Horse"), "mode: the tables have nobody with Horse"),
        (entry(age=[60, 95]), "age: the range 60 to 95 reaches outside 0 to 89"),
        (entry(age=[30.2, 30.8]), "age: the range 30.2 to 30.8 holds no whole number"),
        (entry(km=[1, 2, 3]), "km: '1' must be a text in quotes, one of 0-10, 10-50"),
        (
            entry(age="old"),
            "age: `old` is not a bin; write for example `20-24`, `[20, 25)`, `65+` or `<5`",
        ),
        (entry(color="red"), "`color` is no variable"),
        (entry(count=0), "`count` must be a whole number above 0"),
        (entry(count=-3), "`count` must be a whole number above 0"),
        (entry(count="many"), "`count` must be a whole number above 0"),
        (entry(count="\u00b2"), "`count` must be a whole number above 0"),
        (entry(count=True), "`count` must be a whole number above 0"),
        (
            {"reason": "why", "count": 1, "values": {"mode": "Bus"}},
            "no value for `age`, `km`",
        ),
        (
            entry(count=0, mode="Rocket", age=[0, 99]),
            "`count` must be a whole number above 0; "
            "mode: `Rocket` is no category; use one of Car driver, Bus, Walk, Horse; "
            "age: the range 0 to 99 reaches outside 0 to 89",
        ),
        ("text", "a proposal needs `reason`, `count` and an object `values`"),
        ({"count": 1}, "a proposal needs `reason`, `count` and an object `values`"),
    ],
)
def test_a_proposal_that_cannot_be_used_is_rejected_in_words(proposal, problem):
    plan = parse({"proposals": [proposal, entry()]})
    (rejection,) = plan.rejections
    assert (rejection.id, rejection.iteration, rejection.problem) == (5, 2, problem)
    said = proposal if isinstance(proposal, dict) else {"values": proposal}
    assert (rejection.count, rejection.values) == (said.get("count"), said.get("values"))
    assert [p.id for p in plan.proposals] == [6]


@pytest.mark.parametrize(
    ("proposal", "mended", "count"),
    [
        (entry(age=[64, 20]), 1, 10),
        (entry(mode="car_DRIVER"), 1, 10),
        (entry(mode=["Car\u2013driver", "bus"]), 2, 10),
        (entry(count=5000), 1, 100),
        (entry(count="12"), 1, 12),
        (entry(count=0.2), 0, 1),
    ],
)
def test_small_slips_are_mended_and_counted(proposal, mended, count):
    plan = parse({"proposals": [proposal]})
    assert (plan.mended, plan.proposals[0].count) == (mended, count)


def test_a_long_reason_is_cut():
    plan = parse({"proposals": [entry() | {"reason": "x" * 1000}, entry() | {"reason": 7}]})
    assert [len(p.reason) for p in plan.proposals] == [400, 0]


@pytest.mark.parametrize("name", ["trips", "population", "ecommerce"])
def test_the_schema_takes_the_recorded_proposals_and_so_does_the_parser(name):
    tables = load_tables(load_job(CONFIGS / f"{name}.yaml"))
    marginals = {n: tables.marginal(n) for n in tables.domain.names}
    validator = jsonschema.Draft202012Validator(plan_schema(tables.domain))
    proposals = 0
    for line in (CONFIGS / name / "replies.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record["purpose"] != "plan":
            continue
        text = record["reply"]["text"]
        plan = parse_plan(text, tables.domain, marginals, iteration=1, first_id=0, most_count=10**6)
        assert plan.problem is None
        proposals += len(plan.proposals)
        for proposal in plan.proposals:
            # the parser also takes bins by their labels; the schema asks for weights
            values = {
                name: dict.fromkeys([value] if isinstance(value, str) else value, 1)
                if tables.domain[name].is_numeric
                and not isinstance(value, dict)
                and not isinstance(value[0], (int, float))
                else value
                for name, value in proposal.values.items()
            }
            raw = {"reason": proposal.reason, "count": proposal.count, "values": values}
            assert list(validator.iter_errors({"proposals": [raw]})) == []
            for box in proposal.boxes:
                assert box.share.sum() == pytest.approx(1)
    assert proposals > 30


@pytest.mark.parametrize(
    "wrong",
    [
        entry(mode="Rocket"),
        entry(age=[0, 99]),
        entry(age=[1]),
        entry(count=0),
        entry(color="red"),
        {"reason": "", "count": 1, "values": {}},
    ],
)
def test_the_schema_refuses_what_the_parser_would(wrong):
    assert not jsonschema.Draft202012Validator(plan_schema(DOMAIN)).is_valid({"proposals": [wrong]})


@pytest.mark.parametrize(
    "right", [entry(mode="*", age="*", km="*"), entry(mode=["Bus"], age={"0-19": 1})]
)
def test_the_schema_takes_variables_left_open(right):
    assert jsonschema.Draft202012Validator(plan_schema(DOMAIN)).is_valid({"proposals": [right]})


def test_a_category_that_is_a_star_goes_before_any_value():
    domain = Domain((Variable("grade", "category", ("*", "**")),))
    shares = {"grade": np.array([0.4, 0.6])}
    text = json.dumps({"proposals": [{"reason": "", "count": 1, "values": {"grade": "*"}}]})
    (found,) = parse_plan(text, domain, shares, iteration=1, first_id=0, most_count=9).proposals
    assert list(found.boxes[0].share) == [1, 0]
    assert not found.boxes[0].is_open
    assert not takes_in(domain["grade"], "*", "**", shares["grade"])


@pytest.mark.parametrize("said", ["*", ["*"], {"*": 1}])
def test_a_variable_left_open_takes_in_every_value(said):
    for name, value in (("mode", "Walk"), ("age", 89), ("km", 49.99)):
        assert takes_in(DOMAIN[name], said, value, MARGINALS[name])


def listed(domain):
    """Return the variables whose categories or bins the schema lists."""
    values = plan_schema(domain)["properties"]["proposals"]["items"]["properties"]["values"]
    forms = {name: schema["anyOf"][-1] for name, schema in values["properties"].items()}
    return {name for name, weights in forms.items() if "properties" in weights}


def category(name, size, label="{}"):
    return Variable(name, "category", tuple(label.format(i) for i in range(size)))


def test_the_largest_lists_leave_a_schema_that_would_be_too_large():
    small = [category("a", 100), category("b", 200), category("c", 200)]
    assert listed(Domain(tuple(small))) == {"a", "b", "c"}
    assert listed(Domain((*small, category("d", 2)))) == {"a", "b", "d"}  # 502: the later of two
    assert listed(Domain((category("zone", 781), *small))) == {"a", "b", "c"}
    assert listed(Domain((category("zone", MOST_LABELS + 1),))) == set()
    wordy = category("wordy", 200, "{} " + "x" * 1000)
    assert listed(Domain((wordy, category("e", 199)))) == {"e"}  # too long, not too many
    schema = plan_schema(Domain((category("zone", 781), *small)))
    assert len(json.dumps(schema)) < LONGEST_SCHEMA
    values = {"zone": "780", "a": "99", "b": ["0", "1"], "c": {"0": 1}}
    proposal = {"reason": "", "count": 1, "values": values}
    assert jsonschema.Draft202012Validator(schema).is_valid({"proposals": [proposal]})


def test_a_spelling_that_two_categories_are_near_to_is_not_mended():
    domain = Domain((Variable("mode", "category", ("Car-driver", "car driver", "Bus")),))
    text = json.dumps({"proposals": [{"reason": "", "count": 1, "values": {"mode": "CAR DRIVER"}}]})
    shares = {"mode": np.ones(3) / 3}
    plan = parse_plan(text, domain, shares, iteration=1, first_id=0, most_count=9)
    assert (plan.proposals, plan.mended) == ([], 0)
    assert plan.rejections[0].problem.startswith("mode: `CAR DRIVER` is no category")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**307, 10**309)
    | st.floats()
    | st.sampled_from(
        ["Bus", "bus", "*", "20-64", "9-5", "[1, 2)", "9" * 400 + "+", "<\u0663", "\u00b2"]
    )
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["Bus", "Walk", "65+", "*"]) | st.text(max_size=4), inner)
    ),
    max_leaves=8,
)


def usable(plan):
    for proposal in plan.proposals:
        assert 1 <= proposal.count <= 100
        for box, variable in zip(proposal.boxes, DOMAIN.variables, strict=True):
            assert box.share.sum() == pytest.approx(1)
            assert (box.share >= 0).all()
            if box.limits is not None:
                assert variable.low <= box.limits.low < box.limits.high <= variable.edges[-1]


@given(st.text())
def test_hostile_text_never_raises(text):
    usable(parse(text))
    usable(parse('{"proposals": [' + text))
    usable(parse("```" + text + "```" + text))


@given(JSON, JSON, JSON, JSON)
def test_hostile_json_never_raises(whole, mode, number, count):
    usable(parse(whole))
    usable(
        parse({"proposals": [entry(mode=mode), entry(count=count), entry(age=number, km=number)]})
    )
    usable(parse({"proposals": whole}))


@pytest.mark.parametrize("text", ["9" * 5000, '{"proposals": [' * 3000, "[" * 100_000])
def test_endless_numbers_and_nesting_never_raise(text):
    assert parse(text).proposals == []
