from __future__ import annotations

import itertools

import numpy as np
import pytest
from engine_world import JOB, check_agreement, load, read_tables
from hypothesis import given
from hypothesis import strategies as st

from llmsynthor.errors import TableError
from llmsynthor.files.bins import Interval, parse_bin
from llmsynthor.targets.build import load_tables
from llmsynthor.targets.domain import Domain, Variable
from llmsynthor.targets.table import Table, TableSet


def refusal(folder, *files) -> str:
    with pytest.raises(TableError) as caught:
        check_agreement(read_tables(folder, *files))
    return str(caught.value)


@pytest.mark.parametrize(
    ("label", "kind", "low", "high"),
    [
        ("20-24", "integer", 20, 25),
        (" 20 \u2013 24 ", "integer", 20, 25),
        ("20 to 24", "integer", 20, 25),
        ("[20, 25)", "integer", 20, 25),
        ("(20, 25]", "integer", 21, 26),
        ("65+", "integer", 65, 90),
        (">=65", "integer", 65, 90),
        (">65", "integer", 66, 90),
        ("<5", "integer", 0, 5),
        ("<=5", "integer", 0, 6),
        ("7", "integer", 7, 8),
        ("2.5-5", "number", 2.5, 5),
        ("65+", "number", 65, 89),
        ("<5", "number", 0, 5),
    ],
)
def test_a_published_bin_is_read_as_it_is_meant(label, kind, low, high):
    assert parse_bin(label, kind, 0, 89) == Interval(low, high)


def test_a_category_table_keeps_the_order_of_the_job(tmp_path):
    tables = read_tables(tmp_path, "sex,count\nmale,3\nfemale,4\n")
    assert tables.domain["sex"].labels == ("female", "male")
    assert tables.tables[0].figures.tolist() == [4, 3]
    assert (tables.tables[0].name, tables.tables[0].measure) == ("t0", "count")


def test_two_tables_that_cut_a_variable_differently_share_the_refinement(tmp_path):
    tables = read_tables(
        tmp_path, "age,count\n<5,1\n5-64,2\n65+,3\n", "sex,age,count\nmale,0-19,2\nfemale,20+,4\n"
    )
    age = tables.domain["age"]
    assert (age.edges, age.labels) == ((0, 5, 20, 65, 90), ("<5", "5-19", "20-64", "65+"))
    first, second = tables.tables
    assert first.groups[0].tolist() == [0, 1, 1, 2]
    assert second.groups[1].tolist() == [0, 0, 1, 1]
    assert second.cell_name(3) == "sex=male, age=20+"


def test_number_bins_give_their_upper_end_to_the_next_bin(tmp_path):
    tables = read_tables(tmp_path, "km,count\n<2.5,5\n2.5-5,2\n5+,1\n")
    km = tables.domain["km"]
    assert km.edges == (0, 2.5, 5, 50)
    assert km.encode_values(np.array([0, 2.5, 5, 50, 50.1, -1])).tolist() == [0, 1, 2, 2, -1, -1]


def test_cells_and_bins_that_are_not_listed_have_nobody(tmp_path):
    table = read_tables(tmp_path, "sex,age,count\nfemale,10-19,1\nmale,30-39,2\n").tables[0]
    assert table.labels[1] == ("0-9", "10-19", "20-29", "30-39", "40-89")
    assert table.figures.tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 2, 0]]


def test_columns_and_values_are_mapped(tmp_path):
    mapping = {"columns": {"SEX": "sex", "N": "count"}, "values": {"sex": {"1": "female", "2": "male"}}}  # fmt: skip
    table = read_tables(tmp_path, ("SEX,N\n1,3\n2,4\n", mapping)).tables[0]
    assert (table.scope, table.figures.tolist()) == (("sex",), [3, 4])


def test_a_validate_table_is_not_met_but_cuts_the_domain(tmp_path):
    tables = read_tables(
        tmp_path, "sex,count\nfemale,1\nmale,1\n", ("age,count\n<5,1\n5+,9\n", {"role": "validate"})
    )
    assert [t.name for t in tables.control] == ["t0"]
    assert [t.name for t in tables.validate] == ["t1"]
    assert tables.marginal("age").tolist() == pytest.approx([5 / 90, 85 / 90])  # not the table's
    assert ("sex", "age") in tables.uncovered_pairs()


def test_shares_are_taken_as_they_are(tmp_path):
    table = read_tables(tmp_path, "sex,share\nfemale,0.333\nmale,0.667\n").tables[0]
    assert (table.measure, table.rounding) == ("share", 0.0005)
    assert table.share.tolist() == pytest.approx([0.333, 0.667])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sex,count\nfemal,1\n",
            "t0.csv:2: `femal` is no category of `sex`; did you mean `female`?",
        ),
        ("sex,count\nX,1\n", "t0.csv:2: `X` is no category of `sex` (known: female, male)"),
        ("", "t0.csv: the file is empty"),
        ("sex,count\n", "t0.csv: there are no rows below the header"),
        ("sex,count\nmale,\n", "t0.csv:2: `count` is missing; write 0 where nobody is"),
        ("sex,count\nmale,-1\n", "t0.csv:2: `count` is -1; it must be 0 or more"),
        ("sex,count\nmale,nan\n", "t0.csv:2: `count` is nan; it must be 0 or more"),
        ("sex,count\nmale,abc\n", "t0.csv:2: `count` is `abc`, which is not a number"),
        (
            "sex,count\nmale,1_000\n",
            't0.csv:2: `count` is `1_000`, with thousands separators; say so in the table\'s entry: `thousands: "_"`',
        ),
        (
            'sex,count\nmale,"1,000"\n',
            't0.csv:2: `count` is `1,000`, with thousands separators; say so in the table\'s entry: `thousands: ","`',
        ),
        ("sex,count\nmale,0\n", "t0.csv: every `count` is 0, so the table says nothing"),
        (
            "sex,count\nmale,1\nfemale,2\nmale,3\n",
            "t0.csv:4: sex=male is given twice, first on line 2",
        ),
        (
            "age,count\n0-9,1\n5-12,3\n",
            "t0.csv:3: age: the bin `5-12` overlaps `0-9` on line 2; leave subtotals out",
        ),
        (
            "age,count\n5-100,3\n",
            "t0.csv:2: age: `5-100` reaches beyond the variable's limits, `min` 0 and `max` 89",
        ),
        (
            "age,count\n9-5,3\n",
            "t0.csv:2: age: `9-5` is an empty bin: its low end is above its high end",
        ),
        (
            "age,count\nold,3\n",
            "t0.csv:2: age: `old` is not a bin; write for example `20-24`, `[20, 25)`, `65+` or `<5`",
        ),
        (
            "sex,count,share\nmale,1,1\n",
            "t0.csv:1: the file has both `count` and `share`; one column must hold the figures "
            "(columns: sex, count, share)",
        ),
        (
            "sex,n\nmale,1\n",
            "t0.csv:1: the file has neither `count` nor `share`; one column must hold the figures "
            "(columns: sex, n)",
        ),
        (
            "sx,count\nmale,1\n",
            "t0.csv:1: column `sx` is no variable of the job; did you mean `sex`?",
        ),
        ("count\n1\n", "t0.csv:1: there is no column with a variable, only figures"),
        (
            "sex,share\nfemale,.3\nmale,.5\n",
            "t0.csv: the shares add up to 0.8, not to 1 (rounding explains up to 0.1)",
        ),
        (
            "sex,share\nfemale,30\nmale,70\n",
            "t0.csv: the shares add up to 100, not to 1; they look like percentages",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path, text, message):
    assert refusal(tmp_path, text) == message


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"columns": {"SX": "sex"}},
            "t0.csv:1: `columns` names `SX`, which the file does not have (it has sex, count)",
        ),
        (
            {"values": {"km": {"a": "b"}}},
            "t0.csv: `values` maps `km`, which is no column of the file",
        ),
    ],
)
def test_a_mapping_of_nothing_is_refused(tmp_path, more, message):
    assert refusal(tmp_path, ("sex,count\nmale,1\n", more)) == message


def test_the_problems_of_all_files_are_named_at_once(tmp_path):
    assert refusal(tmp_path, "sex,count\nmale,many\n", "age,count\n") == (
        "t0.csv:2: `count` is `many`, which is not a number\nt1.csv: there are no rows below the header"
    )


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TableError) as caught:
        load_tables(load(tmp_path, JOB))
    assert str(caught.value) == f"t.csv: no such file (looked for {tmp_path}/t.csv)"


def test_two_tables_of_one_name_are_refused(tmp_path):
    text = "sex,count\nmale,1\n"
    assert refusal(tmp_path, text, (text, {"name": "t0"})) == (
        "two tables are named `t0`; give one of them a `name`"
    )


def test_totals_that_differ_are_refused_with_both_numbers(tmp_path):
    assert refusal(
        tmp_path, "sex,count\nfemale,1\nmale,2\n", "sex,age,count\nfemale,<5,3\nmale,5+,2\n"
    ) == ("t1.csv: the counts add up to 5, those of t0.csv to 3")


def test_margins_that_differ_are_refused_with_the_cell_and_both_numbers(tmp_path):
    assert refusal(
        tmp_path, "sex,count\nfemale,1\nmale,2\n", "age,sex,count\n<5,female,2\n5+,male,1\n"
    ) == ("t1.csv: sex=female has 2, and 1 in t0.csv\nt1.csv: sex=male has 1, and 2 in t0.csv")


def test_a_share_is_compared_with_the_share_of_a_count(tmp_path):
    assert refusal(
        tmp_path, "sex,share\nfemale,0.35\nmale,0.65\n", "sex,count\nfemale,1\nmale,3\n"
    ) == (
        "t1.csv: sex=female has 0.25, and 0.35 in t0.csv\n"
        "t1.csv: sex=male has 0.75, and 0.65 in t0.csv"
    )


def test_margins_are_compared_on_bins_that_both_tables_can_be_summed_to(tmp_path):
    assert refusal(
        tmp_path, "age,count\n<5,1\n5-64,2\n65+,3\n", "age,count\n0-9,2\n10-64,2\n65+,2\n"
    ) == ("t1.csv: age=<5 to 10-64 has 4, and 3 in t0.csv\nt1.csv: age=65+ has 2, and 3 in t0.csv")


def test_validate_tables_may_disagree(tmp_path):
    text = "sex,count\nfemale,1\nmale,2\n"
    check_agreement(
        read_tables(tmp_path, text, ("sex,count\nfemale,9\nmale,1\n", {"role": "validate"}))
    )


@given(st.lists(st.integers(0, 1000), min_size=90, max_size=90).filter(any), st.integers(1, 89))
def test_rounded_shares_pass(counts, cut):
    """Even where one cell of the margin holds nearly all cells of the finer table."""
    exact = np.array(counts, dtype=float)
    domain = Domain(
        (Variable("age", "integer", tuple(map(str, range(90))), tuple(map(float, range(91)))),)
    )
    fine = np.round(exact / exact.sum(), 3)
    if not 0.98 <= fine.sum() <= 1.02:
        return  # refused when the file is read
    group = (np.arange(90) >= cut).astype(np.int32)
    coarse = np.bincount(group, exact, 2)
    check_agreement(
        TableSet(
            domain,
            (
                _table("a.csv", fine, (np.arange(90),), "share", 0.0005),
                _table("b.csv", coarse, (group,), "count", 0.0),
            ),
        )
    )


def _table(file, figures, groups, measure, rounding) -> Table:
    labels = tuple(tuple(map(str, range(size))) for size in figures.shape)
    scope = ("age", "sex")[: figures.ndim]
    return Table(file, file, "control", scope, labels, groups, figures, measure, rounding)


@st.composite
def _cut_joint(draw):
    joint = np.array(draw(st.lists(st.integers(0, 30), min_size=24, max_size=24))).reshape(8, 3)
    cuts = [sorted(draw(st.sets(st.integers(1, 7), max_size=4))) for _ in range(3)]
    return joint, cuts


@pytest.mark.slow
@given(_cut_joint().filter(lambda drawn: drawn[0].sum() > 0))
def test_margins_of_one_joint_agree_at_any_bins_and_lead_back_to_it(tmp_path_factory, drawn):
    joint, cuts = drawn
    files = []
    for cut, with_sex in zip(cuts, (True, False, True), strict=True):
        edges = [0, *cut, 8]
        rows = []
        for low, high in itertools.pairwise(edges):
            for k, sex in enumerate(("female", "male", "other")):
                rows.append((f"{low}-{high - 1}", sex, int(joint[low:high, k].sum())))
        if with_sex:
            files.append("age,sex,count\n" + "".join(f"{a},{s},{n}\n" for a, s, n in rows))
        else:
            ages = dict.fromkeys(a for a, _, _ in rows)
            files.append(
                "age,count\n"
                + "".join(f"{a},{sum(n for b, _, n in rows if a == b)}\n" for a in ages)
            )
    tables = read_tables(
        tmp_path_factory.mktemp("joint"),
        *files,
        age={"type": "integer", "min": 0, "max": 7},
        sex={"type": "category", "values": ["female", "male", "other"]},
    )
    check_agreement(tables)
    # people of the joint, coded by the domain, fill each table's cells as published
    age, sex = np.divmod(np.repeat(np.arange(24), joint.ravel()), 3)
    codes = np.zeros((len(age), len(tables.domain.names)), dtype=np.int32)
    codes[:, tables.domain.positions["age"]] = tables.domain["age"].encode_values(age)
    codes[:, tables.domain.positions["sex"]] = sex
    for table in tables.tables:
        held = np.bincount(table.cell_index(codes, tables.domain), minlength=table.cells)
        assert held.tolist() == table.figures.ravel().tolist()
