"""Proposals with members: on the wire, in every layout, and in what the library holds."""

from __future__ import annotations

import itertools
import json

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.candidates.boxes import Box
from llmsynthor.candidates.layouts import LAYOUTS, layouts, proposal_of, weighed
from llmsynthor.candidates.library import library_share, proposal_line, read_library
from llmsynthor.candidates.proposals import MemberBlock, Proposal, parse_plan, read_proposal_line
from llmsynthor.candidates.reply_schema import LONGEST_SCHEMA, plan_schema
from llmsynthor.files.bins import Interval
from llmsynthor.targets.domain import Domain, Members, Variable
from llmsynthor.targets.table import Table, TableSet

RECORD = Domain(
    (
        Variable("size", "category", ("1", "2", "3", "4")),
        Variable("tenure", "category", ("owned", "rented")),
    )
)
OWN = Domain(
    (
        Variable("age", "integer", ("0-15", "16-99"), (0, 16, 100)),
        Variable("role", "category", ("head", "partner", "child")),
    )
)
MEMBERS = Members("person", "household", "size", np.arange(1, 5), RECORD, OWN)
DOMAIN = Domain((*RECORD.variables, *OWN.variables))


def table(name: str, scope: tuple[str, ...], figures, *, of_members: bool = False) -> Table:
    variables = [DOMAIN[n] for n in scope]
    return Table(
        name=name,
        file=f"{name}.csv",
        role="control",
        scope=scope,
        labels=tuple(v.labels for v in variables),
        groups=tuple(np.arange(v.size) for v in variables),
        figures=np.asarray(figures, dtype=float),
        measure="count",
        members=MEMBERS if of_members else None,
    )


TABLES = TableSet(
    DOMAIN,
    (
        table("size_tenure", ("size", "tenure"), [[20, 10], [30, 10], [10, 5], [10, 5]]),
        table("age", ("age",), [60, 155], of_members=True),
        table("tenure_role", ("tenure", "role"), [[70, 50, 40], [30, 15, 10]], of_members=True),
    ),
    MEMBERS,
)
MARGINALS = {name: TABLES.marginal(name) for name in DOMAIN.names}
HEAD = {"age": [30, 45], "role": "head"}
CHILD = {"age": {"0-15": 1}, "role": "child"}


def entry(size="3", members=None, **values):
    block = [{"repeat": 1, "values": HEAD}, {"repeat": [1, 2], "values": CHILD}]
    given = block if members is None else members
    return {
        "reason": "why",
        "count": 12,
        "values": {"size": size, "tenure": "owned"} | values,
        "members": given,
    }


def parse(*entries):
    return parse_plan(
        json.dumps({"proposals": list(entries)}),
        RECORD,
        MARGINALS,
        iteration=2,
        first_id=5,
        most_count=100,
        members=MEMBERS,
    )


def only(*args, **changes):
    plan = parse(entry(*args, **changes))
    assert plan.rejections == []
    return plan.proposals[0], plan.mended


def test_blocks_are_read_like_values():
    found, mended = only()
    assert mended == 0
    assert [box.share.tolist() for box in found.boxes] == [[0, 0, 1, 0], [1, 0]]
    assert [(b.low, b.high) for b in found.members] == [(1, 1), (1, 2)]
    assert found.members[0].boxes[0].limits == Interval(30, 46)
    assert found.members[1].boxes[1].share.tolist() == [0, 0, 1]
    assert found.members[1].values == CHILD


@pytest.mark.parametrize(
    ("given", "ends", "mended"),
    [(2, (2, 2), 0), ([1, 2], (1, 2), 0), ([2, 1], (1, 2), 1), (2.0, (2, 2), 0), ("2", (2, 2), 1)],
)
def test_a_repeat_has_many_spellings(given, ends, mended):
    members = [{"values": HEAD}, {"repeat": given, "values": CHILD}]
    found, slips = only(members=members)
    assert [(b.low, b.high) for b in found.members] == [(1, 1), ends]
    assert slips == mended


def test_a_number_of_members_may_be_written_as_a_number():
    found, mended = only(3)
    assert found.boxes[0].share.tolist() == [0, 0, 1, 0]
    assert mended == 1
    assert only([2, 3])[0].boxes[0].share.round(3).tolist() == [0, 0.727, 0.273, 0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"size": "1"}, "the `members` add up to 2 to 3, and `size` says 1"),
        ({"size": ["1", "4"]}, "the `members` add up to 2 to 3, and `size` says 1 or 4"),
        (
            {"members": [{"repeat": 5, "values": HEAD}]},
            "the `members` add up to 5, and `size` says 3",
        ),
        ({"members": []}, "the `members` add up to 0, and `size` says 3"),
        (
            {"members": "two"},
            "`members` must be a list of objects with `repeat` and `values`, one for each person or "
            "kind of person",
        ),
        (
            {"members": [{"repeat": 1}]},
            "`members` must be a list of objects with `repeat` and `values`, one for each person or "
            "kind of person",
        ),
        (
            {"members": [{"repeat": [1, 2, 3], "values": HEAD}]},
            "members.0: `repeat` must be a whole number or two, the least and the most",
        ),
        (
            {"members": [{"repeat": 1.5, "values": HEAD}]},
            "members.0: `repeat` must be a whole number or two, the least and the most",
        ),
        (
            {"members": [{"repeat": 3, "values": {"age": [5, 400], "role": "boss"}}]},
            "members.0: age: the range 5 to 400 reaches outside 0 to 99; "
            "members.0: role: `boss` is no category; use one of head, partner, child",
        ),
        ({"members": [{"repeat": 3, "values": {"age": [1, 5]}}]}, "members.0: no value for `role`"),
        (
            {"members": [{"repeat": 3, "values": HEAD | {"tenure": "owned"}}]},
            "members.0: `tenure` is no variable of a person; it belongs into the `values` of the "
            "household",
        ),
        (
            {"age": [1, 5]},
            "`age` is no variable of a household; it belongs into the `values` of each of its "
            "`members`",
        ),
    ],
)
def test_members_that_do_not_fit_are_refused(changes, problem):
    plan = parse(entry(**changes))
    assert [r.problem for r in plan.rejections] == [problem]
    assert plan.proposals == []


def test_the_schema_takes_what_can_be_read():
    schema = plan_schema(RECORD, MEMBERS)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({"proposals": [entry()]})
    assert validator.is_valid({"proposals": [entry(["1", "4"], [{"repeat": 1, "values": HEAD}])]})
    for wrong in (
        entry(members=[{"repeat": [1, 2, 3], "values": HEAD}]),
        entry(members=[{"repeat": 9, "values": HEAD}]),
        entry(members=[{"repeat": 1, "values": HEAD | {"tenure": "owned"}}]),
        entry(members=[{"repeat": 1, "values": CHILD | {"role": "boss"}}]),
        entry(age="0-15"),
        {k: v for k, v in entry().items() if k != "members"},
    ):
        assert not validator.is_valid({"proposals": [wrong]})


def test_the_schema_stays_short_with_many_categories():
    many = Variable("job", "category", tuple(f"job {n:03d}" for n in range(600)))
    own = Domain((*OWN.variables, many))
    members = Members("person", "household", "size", np.arange(1, 5), RECORD, own)
    schema = plan_schema(RECORD, members)
    assert len(json.dumps(schema)) < LONGEST_SCHEMA
    block = schema["properties"]["proposals"]["items"]["properties"]["members"]["items"]
    values = block["properties"]["values"]["properties"]
    assert values["job"]["anyOf"][0] == {"type": "string"}
    assert values["role"]["anyOf"][0] == {"type": "string", "enum": ["head", "partner", "child"]}


def proposal(size_share, repeats, number=3) -> Proposal:
    blocks = []
    for n, (low, high) in enumerate(repeats):
        shares = (np.array([n + 1.0, 2.0]) / (n + 3), np.eye(3)[n % 3])
        boxes = tuple(Box(share) for share in shares)
        blocks.append(MemberBlock(low, high, boxes, {"n": n}))
    size = np.asarray(size_share, dtype=float)
    boxes = (Box(size / size.sum()), Box(np.array([0.25, 0.75])))
    return Proposal(number, 1, "why", 100, boxes, {}, tuple(blocks))


shares = st.lists(st.integers(0, 3), min_size=4, max_size=4).filter(any)
ends = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).map(sorted), max_size=4)


@given(share=shares, repeats=ends)
def test_layouts_are_all_combinations_whose_total_is_allowed(share, repeats):
    made = proposal(share, repeats)
    total = dict(zip(MEMBERS.number.tolist(), made.boxes[0].share.tolist(), strict=True))
    every = list(itertools.product(*(range(low, high + 1) for low, high in repeats)))
    ways = {n: [e for e in every if sum(e) == n] for n in total}
    wanted = {e: total[n] / len(ways[n]) for n in total for e in ways[n] if total[n] > 0}
    found = weighed(made.boxes, made.members, MEMBERS)
    if len(wanted) <= LAYOUTS:
        assert {e: w for w, e in found} == pytest.approx(wanted)
    assert all(w == pytest.approx(wanted[e]) for w, e in found)
    assert [w for w, _ in found] == sorted((w for w, _ in found), reverse=True)
    laid = layouts(made, MEMBERS)
    assert [p.id for p in laid] == [3 * LAYOUTS + n for n in range(len(found))]
    assert sum(p.count for p in laid) == pytest.approx(100 if found else 0)
    for layout, (weight, repeat) in zip(laid, found, strict=True):
        assert layout.count == pytest.approx(100 * weight / sum(w for w, _ in found))
        check_layout(made, layout, repeat)


def check_layout(made, layout, repeat):
    assert len(layout.boxes) == len(MEMBERS.wide.names)
    assert layout.boxes[0].share.tolist() == (MEMBERS.number == sum(repeat)).astype(int).tolist()
    assert layout.boxes[1] is made.boxes[1]
    order = [b for b, n in zip(made.members, repeat, strict=True) for _ in range(n)]
    for slot in range(4):
        boxes = layout.boxes[MEMBERS.columns(slot)]
        if slot < len(order):
            assert boxes == order[slot].boxes
        else:
            assert [b.share.tolist() for b in boxes] == [[1, 0], [1, 0, 0]]


def test_of_very_many_layouts_the_likeliest_stay():
    twelve = Variable("size", "category", tuple(map(str, range(1, 13))))
    record = Domain((twelve, RECORD["tenure"]))
    members = Members("person", "household", "size", np.arange(1, 13), record, OWN)
    made = proposal([1] * 4, [(0, 12)] * 12)
    share = np.array([0.5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5])
    found = weighed((Box(share), made.boxes[1]), made.members, members)
    assert len(found) == LAYOUTS
    assert sum(sum(repeats) == 1 for _, repeats in found) == 12  # one person: 12 ways
    assert len({repeats for _, repeats in found}) == LAYOUTS
    assert {sum(repeats) for _, repeats in found} == {1, 12}


def test_without_members_a_proposal_is_its_own_layout():
    flat = Proposal(7, 1, "why", 3, (), {})
    assert layouts(flat, None) == (flat,)
    ids = np.array([-1, 0, 7], dtype=np.int32)
    assert proposal_of(ids, None).tolist() == [-1, 0, 7]


def test_ids_of_layouts_lead_back_to_proposals():
    ids = np.array([-2, -1, 0, LAYOUTS - 1, LAYOUTS, 5 * LAYOUTS + 3], dtype=np.int32)
    found = proposal_of(ids, MEMBERS)
    assert found.tolist() == [-2, -1, 0, 0, 1, 5]
    assert found.dtype == np.int32


@settings(max_examples=40)
@given(share=shares, repeats=ends)
def test_the_library_holds_what_a_loop_over_its_layouts_counts(share, repeats):
    library = [proposal(share, repeats), proposal([1, 2, 0, 0], [(1, 1), (0, 1)], 4)]
    laid = [layout for made in library for layout in layouts(made, MEMBERS)]
    ages, roles, sizes = np.zeros(2), np.zeros((2, 3)), np.zeros((4, 2))
    for layout in laid:
        size = int(layout.boxes[0].share @ MEMBERS.number)
        sizes += layout.count * np.outer(layout.boxes[0].share, layout.boxes[1].share)
        for slot in range(size):
            age, role = layout.boxes[MEMBERS.columns(slot)]
            ages += layout.count * age.share
            roles += layout.count * np.outer(layout.boxes[1].share, role.share)
    for wanted, counted in zip((sizes, ages, roles), TABLES.tables, strict=True):
        found = library_share(library, counted, TABLES)
        assert found == pytest.approx(wanted / wanted.sum())


def test_lines_of_proposals_hold_members_and_are_read_back():
    made, _ = only(["2", "3"])
    line = json.loads(json.dumps(proposal_line(made, 40).model_dump(exclude_unset=True)))
    assert line == {
        "id": 5,
        "iteration": 2,
        "reason": "why",
        "count": 12,
        "values": {"size": ["2", "3"], "tenure": "owned"},
        "members": [{"repeat": 1, "values": HEAD}, {"repeat": [1, 2], "values": CHILD}],
        "accepted": True,
        "problem": None,
        "records": 40,
    }
    lost = line | {"members": [{"repeat": 1, "values": {"age": "0-15"}}]}
    lines = [read_proposal_line(x) for x in (line, lost, line | {"accepted": False})]
    (read,) = read_library(lines, TABLES)
    assert proposal_line(read, 40) == lines[0]
    pairs = zip(layouts(made, MEMBERS), layouts(read, MEMBERS), strict=True)
    for one, other in pairs:
        assert (one.id, one.count) == (other.id, other.count)
        for a, b in zip(one.boxes, other.boxes, strict=True):
            assert a.share.tolist() == b.share.tolist()
            assert a.limits == b.limits


def test_lines_of_refused_proposals_hold_their_members():
    (refused,) = parse(entry("1")).rejections
    assert refused.members == entry()["members"]
    assert refused.problem == "the `members` add up to 2 to 3, and `size` says 1"
