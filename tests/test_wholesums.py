"""Whole sums: households exchanged two for two until tables of both levels are met."""

from __future__ import annotations

import numpy as np
import pytest

from llmsynthor.wholesums import WholeSums


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
