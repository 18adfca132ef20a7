"""Tests of association against exact values, and against chance."""

import numpy as np
import pytest
from scipy.stats import fisher_exact

from insight_assets.insights.associations.counting import counts_by_size, frequent_sets
from insight_assets.insights.associations.shuffling import same_sizes
from insight_assets.insights.associations.significance import adjusted, chance_p, chance_p_by_size, lift_interval
from insight_assets_tests.insights.associations.test_counting import matrix


@pytest.mark.parametrize(
    ("both", "one", "other", "baskets"), [(4, 10, 12, 50), (1, 1, 1, 9), (7, 7, 30, 31), (0, 3, 4, 20)]
)
def test_the_p_value_is_fishers(both, one, other, baskets):
    table = [[both, one - both], [other - both, baskets - one - other + both]]
    expected = fisher_exact(table, alternative="greater").pvalue
    assert chance_p(np.array([both]), np.array([one]), np.array([other]), baskets) == pytest.approx([expected])


def test_q_values_by_hand():
    # Of ten tests three are known: 10/1 * .001, 10/2 * .02, 10/3 * .02 (which the smaller ones may not exceed).
    assert adjusted(np.array([0.02, 0.001, 0.02]), tests=10) == pytest.approx([0.2 / 3, 0.01, 0.2 / 3])
    assert adjusted(np.array([0.5]), tests=10).tolist() == [1.0]
    with pytest.raises(ValueError, match="more than the family"):
        adjusted(np.array([0.1, 0.2]), tests=1)


def test_the_interval_of_a_lift_holds_the_truth_in_95_of_100_cases():
    generator = np.random.default_rng(8)
    baskets, cells = 4000, (0.02, 0.08, 0.05, 0.85)
    drawn = generator.multinomial(baskets, cells, size=4000)
    both, one, other = drawn[:, 0], drawn[:, 0] + drawn[:, 1], drawn[:, 0] + drawn[:, 2]
    lift, low, high = lift_interval(both, one, other, baskets)
    truth = 0.02 / (0.1 * 0.07)
    assert np.mean((low <= truth) & (truth <= high)) == pytest.approx(0.95, abs=0.012)
    assert lift.mean() == pytest.approx(truth, rel=0.02)


def test_baskets_of_their_own_size_expect_no_association():
    """What large baskets hold together is no finding; chance by size expects as many as there are."""
    generator = np.random.default_rng(2)
    sizes = np.repeat([2, 3, 12], [900, 600, 300])
    baskets = [set(generator.choice(30, size=size, replace=False).tolist()) for size in sizes]
    contents = same_sizes(matrix(baskets, products=30), generator)
    found = frequent_sets(contents, min_baskets=5, largest=2)
    sized = counts_by_size(contents, found)
    a, b = found.pairs.T
    expected, p_values = chance_p_by_size(
        found.pair_counts, sized.counts[a], sized.counts[b], sized.baskets, sized.sizes
    )
    assert found.pair_counts.sum() / expected.sum() == pytest.approx(1.0, abs=0.02)
    # Fisher's test over all baskets calls nearly every pair a finding, the one by size none.
    fisher = chance_p(found.pair_counts, found.counts[a], found.counts[b], found.baskets)
    assert (adjusted(fisher, tests=435) <= 0.05).mean() > 0.9
    assert not (adjusted(p_values, tests=435) <= 0.05).any()
    # Half of them should be smaller than one half; the bound makes them a little larger, never smaller.
    assert (p_values <= 0.05).mean() <= 0.05


def test_an_association_within_one_size_is_as_sure_as_by_fisher():
    expected, p_value = chance_p_by_size(
        np.array([40]), np.array([[60]]), np.array([[80]]), np.array([1000]), np.array([10.0])
    )
    assert expected == pytest.approx([60 * 80 / 1000 * 0.9], rel=0.01)
    fisher = chance_p(np.array([40]), np.array([60]), np.array([80]), 1000)
    assert p_value[0] < 1e-20
    assert fisher[0] < 1e-20
    few, p_few = chance_p_by_size(np.array([4]), np.array([[60]]), np.array([[80]]), np.array([1000]), np.array([10.0]))
    assert few > 4
    assert p_few.tolist() == [1.0]
