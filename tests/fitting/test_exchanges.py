"""Whole sums: households exchanged two for two until tables of both levels are met."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsynthor.fitting.whole import hash_search as hashsearch
from llmsynthor.fitting.whole.exchanges import WholeSums


def world(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return cells, blocks and which cells are strict: two zones, sizes 1 to 3, ages of persons."""
    random = np.random.default_rng(seed)
    zone = random.integers(0, 2, 600)
    size = random.integers(1, 4, 600)
    age = random.integers(0, 4, (3, 600))
    own = np.where(np.arange(3)[:, None] < size, 6 + zone * 4 + age, 14)
    return np.vstack([zone * 3 + size - 1, own]), zone, np.append(np.ones(14, dtype=bool), False)


@pytest.mark.parametrize("seed", range(5))
def test_what_can_be_met_by_whole_households_is_met(seed):
    cells, zone, strict = world(seed)
    random = np.random.default_rng(seed + 100)
    wanted = random.integers(0, 4, 600)
    counts = wanted.copy()
    for out, into in random.permutation(np.flatnonzero(wanted > 0))[:6].reshape(3, 2):
        counts[out] -= 1
        counts[into] += 1
    held = sum(np.bincount(row, counts - wanted, 15) for row in cells).astype(float)
    held[-1] = 0.0
    found = WholeSums(cells, strict, zone, [0], np.random.default_rng(seed)).find(
        held, counts, np.full(600, 6)
    )
    assert found is not None
    assert found[0].sum() == counts.sum()
    assert found[0].min() >= 0
    again = sum(np.bincount(row, found[0] - wanted, 15) for row in cells)
    assert (again[strict] == 0).all()
    assert (found[1][strict] == 0).all()


def test_nothing_is_changed_where_nothing_helps():
    cells, zone, strict = world(1)
    error = np.zeros(15)
    error[[6, 7]] = 40.0, -40.0  # twenty times what two households can mend
    counts = np.full(600, 2)
    assert WholeSums(cells, strict, zone, [0], np.random.default_rng(1)).find(
        error, counts, counts + 1
    ) is None  # fmt: skip


whole = st.integers(-(2**63), 2**63 - 1)


@given(st.lists(whole, max_size=30), st.lists(whole, max_size=30), st.lists(whole, max_size=5))
def test_equal_hashes_are_found_and_no_others(one, two, both):
    first, second = (np.array(some + both, dtype=np.int64) for some in (one, two))
    match = hashsearch.match(first, second)
    assert (match is not None) == bool(set(first.tolist()) & set(second.tolist()))
    assert match is None or first[match[0]] == second[match[1]]


def test_two_households_for_two_take_no_copy_that_is_not_there():
    times = 0
    for seed in range(20):
        cells, _, strict = world(seed)
        random = np.random.default_rng(seed)
        counts, most = random.integers(0, 2, 600), np.ones(600, dtype=np.int64)
        numbers = random.integers(-(2**58), 2**58, 15) * strict
        hashes = numbers[cells].sum(axis=0)
        outs = random.choice(np.flatnonzero(counts), 2, replace=False)
        into = random.choice(np.flatnonzero(counts == 0), 2, replace=False)
        error = sum(
            np.bincount(row[outs], minlength=15) - np.bincount(row[into], minlength=15)
            for row in cells
        ).astype(float)
        error[-1] = 0.0
        goal = hashes[outs].sum() - hashes[into].sum()
        search = hashsearch.HashSearch(
            cells, hashes, goal, error, np.flatnonzero(strict), np.arange(15) < 6,
            np.arange(600), counts, most, random,
        )  # fmt: skip
        found = search.in_two()
        if found is None:
            continue
        times += 1
        assert len({*found[0]}) == len({*found[1]}) == 2
        assert all(counts[found[0]] == 1)
        assert all(counts[found[1]] == 0)
        assert hashes[found[0]].sum() - hashes[found[1]].sum() == goal
    assert times > 10
