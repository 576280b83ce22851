"""What reconciling promises, for any tables: they agree, by the smallest change, and hardly move."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from engine_world import category_domain, table_of
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import sparse

from llmsynthor.fitting.controls import implies
from llmsynthor.job.tables import ScaleTo
from llmsynthor.targets.agreement import disagreements
from llmsynthor.targets.margins import margin_of
from llmsynthor.targets.reconcile.least_squares import Equations, nearest
from llmsynthor.targets.reconcile.reconcile import reconcile
from llmsynthor.targets.table import TableSet

if TYPE_CHECKING:
    from llmsynthor.targets.table import Table

DOMAIN = category_domain(3, 4, 2)
SCOPES = [("v0",), ("v1",), ("v0", "v1"), ("v1", "v0"), ("v1", "v2"), ("v2", "v0"), ("v0", "v1", "v2")]  # fmt: skip
POLICIES = ["error", "least_squares", "scale_to"]


@st.composite
def _joints(draw, least=0, most=60):
    cells = st.integers(least, most)
    return np.array(draw(st.lists(cells, min_size=24, max_size=24)), dtype=float).reshape(3, 4, 2)


@st.composite
def _cuts(draw):
    """Draw scopes, and for each variable the groups that its categories are counted in."""
    found = []
    for scope in draw(st.lists(st.sampled_from(SCOPES), min_size=2, max_size=4, unique=True)):
        groups = []
        for name in scope:
            size = DOMAIN[name].size
            drawn = draw(st.lists(st.integers(0, size - 1), min_size=size, max_size=size))
            own = np.unique(drawn, return_inverse=True)[1] if draw(st.booleans()) else None
            groups.append(np.arange(size) if own is None else own)
        found.append((scope, groups))
    return found


def cut(joint: np.ndarray, scope: tuple[str, ...], groups: list[np.ndarray]) -> Table:
    names = list(DOMAIN.names)
    axes = [names.index(name) for name in scope]
    margin = joint.sum(axis=tuple(i for i in range(3) if i not in axes))
    margin = np.moveaxis(margin, np.argsort(np.argsort(axes)), range(len(axes)))
    for axis, group in enumerate(groups):
        moved = np.moveaxis(margin, axis, 0)
        out = np.zeros((int(group.max()) + 1, *moved.shape[1:]))
        np.add.at(out, group, moved)
        margin = np.moveaxis(out, 0, axis)
    return table_of(DOMAIN, scope, margin, [g.astype(np.int32) for g in groups])


def policy_of(policy: str, tables: TableSet):
    return ScaleTo(scale_to=tables.tables[0].name) if policy == "scale_to" else policy


def largest_gap(tables: TableSet, *pair: Table) -> float:
    margin = margin_of(DOMAIN, *pair)
    first, second = (margin.summed(table.share, table) for table in pair)
    return float(np.abs(first - second).max())


@given(_joints().filter(lambda j: j.sum() > 0), _cuts(), st.sampled_from(POLICIES))
def test_tables_that_agree_are_left_as_they_are(joint, cuts, policy):
    tables = TableSet(DOMAIN, tuple(cut(joint, *own) for own in cuts))
    found = reconcile(tables, policy_of(policy, tables), round(joint.sum()))
    assert (found.tables.tables, found.changes, found.notes) == (tables.tables, (), ())


@pytest.mark.slow
@given(
    st.lists(_joints(), min_size=4, max_size=4),
    _cuts(),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
def test_the_nearest_tables_agree_and_have_nobody_below_0(joints, cuts, as_shares):
    own = [
        replace(table, figures=table.share, measure="share") if is_share else table
        for table, is_share in zip(
            (cut(j + 0.5, *c) for j, c in zip(joints, cuts, strict=False)), as_shares, strict=False
        )
    ]
    tables = TableSet(DOMAIN, tuple(own))
    found = reconcile(tables, "least_squares", 1000).tables
    for i, first in enumerate(found.tables):
        assert first.figures.min() >= 0
        for second in found.tables[:i]:
            assert largest_gap(found, first, second) < 1e-8
    assert disagreements(found) == []


@given(st.lists(_joints(), min_size=4, max_size=4), _cuts())
@pytest.mark.slow
def test_all_others_get_the_margins_of_the_named_table(joints, cuts):
    own = [cut(j + (i == 0), *c) for i, (j, c) in enumerate(zip(joints, cuts, strict=False))]
    if not all(table.figures.any() for table in own):
        return
    tables = TableSet(DOMAIN, tuple(own))
    found = reconcile(tables, ScaleTo(scale_to=own[0].name), 1000).tables
    assert found.tables[0] is own[0]
    for table in found.tables[1:]:
        assert table.total == pytest.approx(own[0].total)
        assert largest_gap(found, own[0], table) < 1e-8


@given(_joints(0, 4000), _cuts(), st.sampled_from(POLICIES), st.sampled_from([5, 1000]))
def test_rounding_is_reconciled_within_the_rounding(joint, cuts, policy, unit):
    """Each count is rounded by itself; to thousands without a word, as nobody rounds so by chance."""
    exact = (joint + 17.0) * (1000 if unit == 1000 else 1)
    own = []
    for scope, groups in cuts:
        table = cut(exact + np.arange(24.0).reshape(exact.shape), scope, groups)
        rounded = replace(table, figures=unit * np.round(table.figures / unit))
        own.append(replace(rounded, rounding=2.5) if unit == 5 else rounded)
    tables = TableSet(DOMAIN, tuple(own))
    found = reconcile(tables, policy_of(policy, tables), round(own[0].total))
    assert disagreements(found.tables) == []
    for before, after in zip(own, found.tables.tables, strict=True):
        if policy != "least_squares":
            assert (after.figures == before.figures).all()
        assert np.abs(after.figures - before.figures).max() <= unit / 2 * (1 + 1e-9)


@given(st.lists(_joints(1), min_size=2, max_size=2), st.integers(1, 40))
def test_soft_tables_give_way_to_those_that_must_be_met(joints, moe):
    hard = cut(joints[0], ("v0", "v1"), [np.arange(3), np.arange(4)])
    soft = cut(joints[1], ("v1", "v2"), [np.arange(4), np.arange(2)])
    soft = replace(soft, moe=np.full(soft.figures.shape, float(moe)))
    found = reconcile(TableSet(DOMAIN, (soft, hard)), "least_squares", 1000).tables
    assert found.tables[1] is hard
    assert largest_gap(found, *found.tables) < 1e-8


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 5))
@example(6058, 4, 3)  # looks far less far before it gets on
def test_nothing_that_meets_the_equations_is_nearer(seed, figures, equations):
    random = np.random.default_rng(seed)
    matrix = sparse.csr_array(random.integers(-1, 2, (equations, figures)).astype(float))
    low, high = random.uniform(0, 1, figures), random.uniform(2, 5, figures)
    high[random.random(figures) < 0.3] = np.inf
    fixed = random.random(figures) < 0.2
    high[fixed] = low[fixed]
    there = np.clip(random.uniform(0, 5, figures), low, high)
    wished, variance = random.uniform(-2, 6, figures), random.uniform(0.1, 9, figures)
    found = nearest(wished, variance, (low, high), Equations(matrix, matrix @ there, 10.0))
    assert found is not None
    assert np.abs(matrix @ (found - there)).max() < 1e-8
    assert ((low <= found) & (found <= high)).all()
    # the gradient at the nearest point leads to no other point that meets the equations
    assert ((found - wished) / variance) @ (there - found) >= -1e-6


def test_what_cannot_be_met_within_the_bounds_is_said():
    both = Equations(sparse.csr_array(np.array([[1.0, 1.0], [1.0, -1.0]])), np.array([4.0, 3.0]), 4)
    bounds = np.zeros(2), np.array([3.0, 3.0])
    assert nearest(np.ones(2), np.ones(2), bounds, both) is None
    wide = np.zeros(2), np.array([3.5, 3.0])
    assert nearest(np.ones(2), np.ones(2), wide, both) == pytest.approx([3.5, 0.5])


def test_the_finest_margin_of_two_tables_is_named_by_its_groups():
    first = table_of(DOMAIN, ("v1",), np.ones(3), [np.array([0, 0, 1, 2])])
    second = table_of(DOMAIN, ("v1",), np.ones(2), [np.array([0, 0, 0, 1])])
    margin = margin_of(DOMAIN, first, second)
    assert margin.groups[0].tolist() == [0, 0, 0, 1]
    assert margin.summed(first.figures, first).tolist() == [2, 1]
    assert margin.cells(first).tolist() == [0, 0, 1]
    assert implies(first, second)


def test_a_soft_table_that_cannot_agree_with_all_others_is_named():
    """Of hard tables v0 equals v1, v1 equals v2, and v0 never equals v2: no joint table has that."""
    domain = category_domain(2, 2, 2)
    same, other = np.array([[5.0, 0.0], [0.0, 5.0]]), np.array([[0.0, 5.0], [5.0, 0.0]])
    pairs = [table_of(domain, ("v0", "v1"), same), table_of(domain, ("v1", "v2"), same)]
    pairs.append(table_of(domain, ("v0", "v2"), other))
    joint = replace(table_of(domain, ("v0", "v1", "v2"), np.ones((2, 2, 2))), weight=1.0)
    found = reconcile(TableSet(domain, (*pairs, joint)), "least_squares", 10)
    assert [str(note) for note in found.notes] == [
        "v0_v1_v2.csv: no figures of this table agree with all the others at once: it gives way in "
        "the run"
    ]
    assert found.tables.tables[:3] == tuple(pairs)
