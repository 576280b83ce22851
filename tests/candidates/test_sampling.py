from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from engine_world import category_domain, read_tables, tables_of_population, tally
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsynthor.candidates.background import Background, stratified_draw
from llmsynthor.candidates.boxes import read_box
from llmsynthor.candidates.drawn import distinct, row_keys
from llmsynthor.candidates.library import library_share, library_tvd, proposal_line, read_library
from llmsynthor.candidates.proposals import Proposal, read_proposal_line
from llmsynthor.candidates.rules import broken_mask, compile_rules
from llmsynthor.candidates.sampler import Sampler
from llmsynthor.fitting.values.curve import BinCurve
from llmsynthor.job.model import RuleSpec
from llmsynthor.llm.prompts.groups import read_groups
from llmsynthor.store.materialize import Materializer, deal, encode_frame, provenance_frame
from llmsynthor.targets.domain import BACKGROUND, Variable
from llmsynthor.targets.measures import tvd

FILES = (
    "sex,age,count\nfemale,0-17,20\nfemale,18-64,50\nfemale,65+,30\n"
    "male,0-17,22\nmale,18-64,60\nmale,65+,18\n",
    "age,km,count\n0-17,<5,40\n0-17,5+,2\n18-64,<5,30\n18-64,5+,80\n65+,<5,40\n65+,5+,8\n",
)


def sampler(folder, *rules: tuple[str, str], files=FILES, seed=1) -> Sampler:
    tables = read_tables(folder, *files)
    specs = [RuleSpec(name=name, forbid=text) for name, text in rules]
    return Sampler(tables, compile_rules(specs, tables.domain), seed)


def proposal(made: Sampler, number: int = 0, count: int = 10, **values) -> Proposal:
    values = {"sex": ["female", "male"], "age": [0, 89], "km": [0, 50]} | values
    boxes = tuple(
        read_box(v, values[v.name], made.marginals[v.name])[0] for v in made.domain.variables
    )
    return Proposal(number, 1, "why", count, boxes, values)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_background_meets_tables_that_form_a_forest(seed):
    random = np.random.default_rng(seed)
    domain = category_domain(3, 4, 2, 3, 2)
    people = np.stack([random.integers(0, s, 500) for s in domain.sizes], axis=1)
    people[:, 1] = np.where(random.random(500) < 0.6, people[:, 0], people[:, 1])
    scopes = [("v0", "v1"), ("v2", "v1"), ("v3",)]  # and no table at all of v4
    tables = tables_of_population(people, domain, scopes)
    codes = Background(tables).draw(20_000, random)
    for table in tables.control:
        assert tvd(table.share, tally(codes, domain, table.scope) / 20_000) < 0.002
    even = tally(codes, domain, ("v4",)) / 20_000
    assert even == pytest.approx([0.5, 0.5], abs=1e-3)
    # what no table joins is independent
    apart = tally(codes, domain, ("v0", "v3")) / 20_000
    assert tvd(apart, np.outer(apart.sum(1), apart.sum(0))) < 0.02


def test_fixed_variables_keep_their_codes_and_the_rest_follows_them(tmp_path):
    made = sampler(tmp_path)
    fixed = {"km": np.ones(9000, dtype=np.int32)}
    codes = made.background.draw(9000, np.random.default_rng(0), fixed)
    assert (codes[:, 2] == 1).all()
    assert np.bincount(codes[:, 1], minlength=3) / 9000 == pytest.approx(
        [2 / 90, 80 / 90, 8 / 90], abs=1e-3
    )


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(any), st.integers(1, 300))
def test_a_stratified_draw_is_within_one_of_its_shares(weights, records):
    share = np.array([weights, [0, 1, 1, 0]], dtype=float)
    share /= share.sum(axis=1, keepdims=True)
    row = np.arange(records) % 2
    drawn = stratified_draw(share, row, np.random.default_rng(records))
    for r in (0, 1):
        counts = np.bincount(drawn[row == r], minlength=4)
        assert (np.abs(counts - share[r] * counts.sum()) < 1 + 1e-6).all()
        assert not counts[share[r] == 0].any()


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=4),
    st.integers(-5, 10**6),
    st.integers(0, 1000),
    st.sampled_from(["integer", "number"]),
)
def test_values_stay_in_their_bins_and_limits(widths, low, seed, kind):
    random = np.random.default_rng(seed)
    edges = tuple(float(e) for e in low + np.concatenate([[0], np.cumsum(widths)]))
    variable = Variable("x", kind, tuple(map(str, widths)), edges, decimals=3)
    curve = BinCurve(variable, random.dirichlet(np.full(len(widths), 0.5)))
    codes = random.integers(0, len(widths), 300)
    none = np.full(300, np.inf)
    values = curve.values(codes, curve.draw(codes, random, -none, none))
    assert variable.encode_values(values).tolist() == codes.tolist()
    assert values.dtype == (np.int64 if kind == "integer" else np.float64)
    # limits inside the bin that a value is drawn in
    least = random.integers(low, edges[-1], 300).astype(float)
    codes = variable.encode_values(least)
    above = np.minimum(least + random.integers(1, 9, 300), edges[-1])
    values = curve.values(codes, curve.draw(codes, random, least, above))
    assert (values >= least).all()
    assert (values < above).all()
    assert variable.encode_values(values).tolist() == codes.tolist()


def test_values_at_the_ends_of_a_bin_stay_in_it():
    variable = Variable("x", "number", ("a", "b"), (0.001, 0.005, 0.29), decimals=2)
    curve = BinCurve(variable, np.array([0.5, 0.5]))
    codes = np.array([0, 0, 1, 1])
    values = curve.values(codes, np.array([0.0, 1 - 1e-16, 0.0, 1.0]))
    assert variable.encode_values(values).tolist() == [0, 0, 1, 1]


def test_a_density_rises_towards_a_fuller_neighbour():
    variable = Variable("x", "number", ("a", "b", "c"), (0, 10, 20, 30), decimals=2)
    curve = BinCurve(variable, np.array([0.1, 0.6, 0.3]))
    codes, none = np.zeros(20_000, dtype=int), np.full(20_000, np.inf)
    values = curve.values(codes, curve.draw(codes, np.random.default_rng(0), -none, none))
    assert (values >= 5).mean() > 0.6


def test_every_wanted_cell_has_candidates_and_the_prior_is_a_distribution(tmp_path):
    made = sampler(tmp_path)
    narrow = proposal(made, sex="male", age=[18, 64], km=[5, 50])
    candidates, empty = made.candidates([narrow], 0.02, 2000, 1)
    assert empty == []
    assert candidates.prior.sum() == pytest.approx(1)
    assert (candidates.prior > 0).all()
    assert len(np.unique(candidates.codes, axis=0)) == len(candidates)
    for table in made.tables.control:
        held = np.bincount(table.cell_index(candidates.codes, made.domain), minlength=table.cells)
        assert (held[table.flat_share > 0] > 0).all()
    assert set(candidates.source.tolist()) == {BACKGROUND, 0}
    assert candidates.source_end[-1] == pytest.approx(1)
    share = candidates.background_share()
    assert ((share >= 0) & (share <= 1 + 1e-9)).all()
    assert (share * candidates.prior).sum() == pytest.approx(candidates.share_background)


def test_the_same_seed_draws_the_same_candidates(tmp_path):
    made = [sampler(tmp_path, seed=seed) for seed in (1, 1, 2)]
    one, two, other = (s.candidates([proposal(s)], 0.1, 500, 3)[0] for s in made)
    for name in ("codes", "prior", "source", "position"):
        assert getattr(one, name).tolist() == getattr(two, name).tolist()
    assert one.position.tolist() != other.position.tolist()


def test_without_a_library_all_is_background(tmp_path):
    candidates, _ = sampler(tmp_path).candidates([], 0.02, 500, 1)
    assert candidates.share_background == pytest.approx(1)


RULE = ("children stay near", "age < 16 AND km > 4")


def test_every_candidate_keeps_the_rules(tmp_path):
    made = sampler(tmp_path, RULE)
    candidates, empty = made.candidates([proposal(made)], 0.1, 2000, 1)
    assert empty == []
    assert not broken_mask(made.rules, made.frame(candidates.codes, candidates.position)).any()


def test_a_cell_that_a_rule_forbids_is_reported_with_the_rule(tmp_path):
    made = sampler(tmp_path, ("no far children", "age < 18 AND km >= 5"), ("other", "km > 49.99"))
    candidates, empty = made.candidates([], 1.0, 2000, 1)
    assert [(cell.table.cell_name(cell.cell)) for cell in empty] == ["age=0-17, km=5+"]
    assert "no far children" in empty[0].broken
    assert len(candidates)


def test_a_proposal_that_can_keep_no_rule_is_named(tmp_path):
    made = sampler(tmp_path, RULE)
    assert made.unlawful(proposal(made, age=[0, 10], km=[6, 20])) == (
        "every such record breaks the rule `children stay near` (forbid: age < 16 AND km > 4)"
    )
    assert made.unlawful(proposal(made)) is None


def test_row_keys_tell_rows_apart_in_order_even_in_a_huge_domain():
    random = np.random.default_rng(0)
    sizes = [50] * 30
    rows = random.integers(0, 50, (400, 30)).astype(np.int32)
    rows[200:] = rows[:200]
    rows[300:, -1] = (rows[300:, -1] + 1) % 50
    rows[350:, 0] = (rows[350:, 0] + 1) % 50
    keys = row_keys(rows, sizes)
    for i, j in itertools.combinations(range(400), 2):
        assert (keys[i] == keys[j]) == (rows[i] == rows[j]).all()
    assert [tuple(r) for r in rows[np.argsort(keys, kind="stable")]] == sorted(map(tuple, rows))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=20).filter(any), st.integers(1, 7))
def test_dealing_hands_out_every_record_once_and_evenly(counts, groups):
    dealt = [deal(np.array(counts), group, groups) for group in range(groups)]
    assert np.bincount(np.concatenate(dealt), minlength=len(counts)).tolist() == counts
    sizes = [len(group) for group in dealt]
    assert max(sizes) - min(sizes) <= 1
    for group in dealt:  # every file is a systematic sample of all
        held = np.bincount(group, minlength=len(counts))
        assert (np.abs(held - np.array(counts) / groups) < 1 + 1e-9).all()


def test_records_keep_bins_rules_and_the_limits_of_their_proposal(tmp_path):
    made = sampler(tmp_path, RULE)
    teens = proposal(made, 4, age=[13, 21], km=[3, 4])
    candidates, _ = made.candidates([teens], 0.3, 1000, 1)
    rows = np.repeat(np.arange(len(candidates)), 40)
    frame, source = Materializer(made, candidates, {4: teens}).records(
        rows, np.random.default_rng(0)
    )
    assert frame.columns == ["sex", "age", "km"]
    assert not broken_mask(made.rules, frame).any()
    assert sorted(map(tuple, encode_frame(frame, made))) == sorted(
        map(tuple, candidates.codes[rows])
    )
    assert set(source.tolist()) <= {BACKGROUND, 4}
    own = frame.filter(pl.Series(source == 4))
    inside = own.filter(pl.col("age").is_between(0, 64) & (pl.col("km") < 5))
    lawful = inside.filter(pl.col("age") < 65)
    assert lawful.height > 0
    assert lawful["age"].is_between(13, 21).all()
    assert lawful["km"].is_between(3, 4).all()


def test_provenance_is_null_for_the_background():
    frame = provenance_frame(2, np.array([BACKGROUND, 0, 7], dtype=np.int32))
    assert frame.to_dict(as_series=False) == {"iteration": [2, 2, 2], "proposal": [None, 0, 7]}


def test_the_library_is_the_mixture_of_its_proposals(tmp_path):
    made = sampler(tmp_path)
    library = [
        proposal(made, 0, 30, sex="male", age=[18, 64]),
        proposal(made, 1, 10, sex={"female": 1}, age="65+"),
    ]
    share = library_share(library, made.tables.control[0], made.tables)
    assert share == pytest.approx(np.array([[0, 0, 0.25], [0, 0.75, 0]]))
    assert library_tvd([], made.tables) == 1
    second = library_share(library, made.tables.control[1], made.tables)
    want = np.mean(
        [tvd(made.tables.control[0].share, share), tvd(made.tables.control[1].share, second)]
    )
    assert library_tvd(library, made.tables) == pytest.approx(want)


def test_a_library_is_read_as_it_was_written_and_leaves_out_what_no_longer_fits(tmp_path):
    made = sampler(tmp_path)
    line = proposal_line(proposal(made, 3), 12)
    changes = [{}, {"accepted": False}, {"values": {"sex": "male"}}, {"values": line.values | {"sex": "gone"}}]  # fmt: skip
    lines = [read_proposal_line(line.model_dump() | change) for change in changes]
    (read,) = read_library(lines, made.tables)
    assert (read.id, read.count, read.values) == (3, 10, line.values)


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        (
            '{"groups": [["km", "sex"], ["sex", "km"], ["age"], ["age", "x", "km"]]}',
            [["sex", "km"], ["age", "km"]],
        ),
        ('```json\n[["sex", "age"]]\n```', [["sex", "age"]]),
        ("no idea", []),
        ('{"groups": 3}', []),
        ('{"groups": [3, [4, ["sex"]], "age"]}', []),
    ],
)
def test_groups_are_read_with_known_variables_only(tmp_path, text, groups):
    assert read_groups(text, sampler(tmp_path).domain)[0] == groups


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_distinct_keys_are_those_of_numpy(keys):
    array = np.array(keys, dtype=np.int64)
    first, inverse = distinct(array)
    _, their_first, their_inverse = np.unique(array, return_index=True, return_inverse=True)
    assert first.tolist() == their_first.tolist()
    assert inverse.tolist() == their_inverse.tolist()
