from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from scipy.stats import entropy as scipy_entropy

from llmsynthor.targets.measures import discrepancy, entropy, noise_floor_tvd, tvd

COUNTS = st.lists(st.integers(0, 500), min_size=6, max_size=6).filter(any)


def test_the_measures_of_a_table_reckoned_by_hand():
    found = discrepancy(np.array([0.5, 0.3, 0.2]), np.array([6, 2, 2]))
    assert found.tvd == pytest.approx(0.1)
    assert found.tae == pytest.approx(2)
    assert found.max_abs_share == pytest.approx(0.1)
    assert found.srmse == pytest.approx(np.sqrt(0.02 / 3) / (1 / 3))


@given(COUNTS, COUNTS)
def test_the_measures_follow_their_definitions(target, held):
    share, counts = np.array(target) / sum(target), np.array(held)
    found = discrepancy(share.reshape(2, 3), counts.reshape(2, 3))
    apart = [h / sum(held) - t for h, t in zip(held, share, strict=True)]
    assert found.tvd == pytest.approx(max(0, sum(a for a in apart if a > 0)), abs=1e-12)
    assert found.tae == pytest.approx(sum(held) * sum(map(abs, apart)), abs=1e-9)
    assert found.srmse == pytest.approx(6 * (sum(a * a for a in apart) / 6) ** 0.5, abs=1e-12)
    assert found.max_abs_share == max(map(abs, apart))
    assert found.tvd == tvd(counts / counts.sum(), share)


def test_no_records_at_all_are_half_of_the_target_away():
    found = discrepancy(np.array([0.5, 0.5]), np.zeros(2))
    assert (found.tvd, found.tae) == (0.5, 0.0)


@given(COUNTS)
def test_entropy_is_scipys(counts):
    share = np.array(counts) / sum(counts)
    assert entropy(share) == pytest.approx(scipy_entropy(share), abs=1e-12)


@pytest.mark.parametrize("records", [1, 10, 1000])
@pytest.mark.parametrize("share", [[0.5, 0.5], [0.7, 0.2, 0.1, 0.0], [0.97] + [0.003] * 10, [1.0]])
def test_the_noise_floor_is_what_true_samples_show(share, records):
    target = np.array(share)
    random = np.random.default_rng(1)
    samples = random.multinomial(records, target, size=40_000) / records
    shown = np.abs(samples - target).sum(axis=1) / 2
    assert noise_floor_tvd(target, records) == pytest.approx(
        shown.mean(), abs=5 * shown.std() / 200 + 1e-12
    )


@given(
    st.integers(1, 10**7),
    st.lists(st.sampled_from([0.0, 1e-9, 1e-3, 0.2, 1.0, 37.0]), min_size=2, max_size=6),
)
def test_the_noise_floor_is_the_mean_absolute_deviation_of_binomials(records, masses):
    target = np.array([*masses, 1.0])
    target /= target.sum()
    m = np.floor(records * target) + 1
    deviation = 2 * m * (1 - target) * binom.pmf(m, records, target)
    assert noise_floor_tvd(target, records) == pytest.approx(
        deviation.sum() / records / 2, rel=1e-5, abs=1e-12
    )
