"""Which entry of a proposal made each member of a record, as `explain` says it."""

from __future__ import annotations

import polars as pl
import pytest
from household_job import proposal, write_job

from llmsynthor.candidates.proposals import read_proposal_line
from llmsynthor.candidates.sampler import Sampler
from llmsynthor.job.load import load_job
from llmsynthor.results.explain import members_beside
from llmsynthor.targets.build import load_tables

HEAD = {"age": [30, 60], "sex": "female", "role": "head"}
PARTNER = {"age": [28, 50], "sex": "male", "role": "partner"}
CHILD = {"age": [2, 14], "sex": "*", "role": "child"}


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    tables = load_tables(load_job(write_job(tmp_path_factory.mktemp("job")), []))
    return Sampler(tables, (), 1)


def line(size, *blocks):
    entries = [{"repeat": repeat, "values": values} for repeat, values in blocks]
    made = proposal(1, members=entries)
    made["values"] = made["values"] | {"size": size}
    more = {"id": 3, "iteration": 1, "accepted": True, "problem": None, "records": 1}
    return read_proposal_line(made | more)


def people(*rows):
    columns = {"household_id": [7] * len(rows), "person_number": list(range(1, len(rows) + 1))}
    for place, name in enumerate(("age", "sex", "role")):
        columns[name] = [row[place] for row in rows]
    return pl.DataFrame(columns)


FAMILY = people((40, "female", "head"), (38, "male", "partner"), (9, "male", "child"))


def entries(sampler, own, made):
    return [m["entry"] for m in members_beside(sampler, sampler.members, own, made)]


def test_entries_fill_the_slots_in_their_order(sampler):
    made = line("3", (1, HEAD), (1, PARTNER), (1, CHILD))
    assert entries(sampler, FAMILY, made) == [0, 1, 2]
    found = members_beside(sampler, sampler.members, FAMILY, made)[2]
    assert found["number"] == 3
    assert found["values"] == {"age": 9, "sex": "male", "role": "child"}
    assert found["said"] == CHILD
    assert found["inside"] == {"age": True, "sex": True, "role": True}
    assert found["share"]["role"] == 1.0
    assert found["share"]["sex"] == pytest.approx(180 / 370)
    assert found["table_share"]["role"] == pytest.approx(85 / 370)


def test_of_several_ways_the_one_that_fits_the_values_is_taken(sampler):
    made = line(["2", "3"], (1, HEAD), ([0, 1], PARTNER), ([0, 2], CHILD))
    assert entries(sampler, FAMILY, made) == [0, 1, 2]
    alone = people((40, "female", "head"), (9, "male", "child"), (5, "female", "child"))
    assert entries(sampler, alone, made) == [0, 2, 2]


def test_no_entry_is_named_where_none_can_have_made_the_members(sampler):
    assert entries(sampler, FAMILY, None) == [None] * 3
    assert entries(sampler, FAMILY, line("2", (1, HEAD), (1, PARTNER))) == [None] * 3
    unread = line("3", (3, HEAD | {"role": "boss"}))
    assert entries(sampler, FAMILY, unread) == [None] * 3
