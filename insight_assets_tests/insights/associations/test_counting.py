"""Counts of frequent sets, compared with counting set by set and with what is known of a real shop."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from insight_assets.insights.associations import counting
from insight_assets.insights.associations.counting import counts_by_size, distinct_customers, frequent_sets
from insight_assets_tests.benchmarks.bench_associations import read_groceries

BASKETS = st.lists(st.sets(st.integers(0, 7), max_size=8), min_size=1, max_size=40)


def matrix(baskets, products=8) -> sparse.csr_matrix:
    dense = np.zeros((len(baskets), products), dtype=np.int32)
    for row, basket in enumerate(baskets):
        dense[row, sorted(basket)] = 1
    return sparse.csr_matrix(dense)


def one_by_one(baskets, size, least):
    counts = {
        chosen: sum(set(chosen) <= basket for basket in baskets) for chosen in itertools.combinations(range(8), size)
    }
    return {chosen: count for chosen, count in counts.items() if count >= least}


def listed(sets, counts):
    return {tuple(row): count for row, count in zip(sets.tolist(), counts.tolist(), strict=True)}


@settings(max_examples=30)
@given(BASKETS, st.integers(1, 5))
def test_frequent_sets_are_those_of_counting_one_by_one(baskets, least):
    found = frequent_sets(matrix(baskets), min_baskets=least)
    assert found.counts.tolist() == [sum(product in basket for basket in baskets) for product in range(8)]
    assert listed(found.pairs, found.pair_counts) == one_by_one(baskets, 2, least)
    assert listed(found.triples, found.triple_counts) == one_by_one(baskets, 3, least)


@settings(max_examples=30)
@given(BASKETS)
def test_steps_and_chunks_change_nothing(baskets):
    contents = matrix(baskets)
    whole = frequent_sets(contents, min_baskets=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting, "BASKETS_AT_ONCE", 3)
        patch.setattr(counting, "CELLS_AT_ONCE", 5)
        parts = frequent_sets(contents, min_baskets=1)
    assert listed(parts.triples, parts.triple_counts) == listed(whole.triples, whole.triple_counts)


@settings(max_examples=30)
@given(BASKETS)
def test_counts_by_size_add_up_but_for_baskets_of_one(baskets):
    contents = matrix(baskets)
    found = frequent_sets(contents, min_baskets=1)
    sized = counts_by_size(contents, found)
    several = [basket for basket in baskets if len(basket) > 1]
    assert sized.baskets.sum() == len(several)
    assert sized.pair_counts.sum(axis=1).tolist() == found.pair_counts.tolist()
    assert sized.counts.sum(axis=1).tolist() == [sum(product in basket for basket in several) for product in range(8)]
    assert (sized.sizes * sized.baskets).sum() == pytest.approx(sum(map(len, several)))
    assert (np.diff(sized.sizes) > 0).all()


@settings(max_examples=30)
@given(BASKETS, st.lists(st.integers(0, 5), min_size=40, max_size=40))
def test_customers_are_counted_once(baskets, owners):
    customers = np.sort(owners[: len(baskets)])
    sets = np.array(list(itertools.combinations(range(8), 2)))
    expected = [
        len({int(owner) for owner, basket in zip(customers, baskets, strict=True) if set(chosen) <= basket})
        for chosen in sets.tolist()
    ]
    assert distinct_customers(matrix(baskets), customers, sets).tolist() == expected


def test_only_the_most_frequent_products_are_counted_in_a_large_catalogue():
    contents = matrix([{0, 1, 2}, {0, 1, 2}, {1, 2, 3}, {2, 3}])
    found = frequent_sets(contents, min_baskets=1, most_products=2)
    assert found.counted.tolist() == [1, 2]
    assert listed(found.pairs, found.pair_counts) == {(1, 2): 3}


def test_no_basket_holds_no_set():
    found = frequent_sets(sparse.csr_matrix((0, 0), dtype=np.int32), min_baskets=1)
    assert (len(found.pairs), len(found.triples)) == (0, 0)
    with pytest.raises(ValueError, match="at least 1"):
        frequent_sets(matrix([{1}]), min_baskets=0)


@pytest.mark.real
def test_the_sets_of_a_grocery_are_those_of_another_implementation(real_data):
    # Counted by mlxtend's fpgrowth, which bench_associations compares set by set.
    contents = read_groceries(real_data / "groceries_baskets" / "groceries.csv")
    assert contents.shape == (9835, 169)
    known = {0.001: (2981, 6831), 0.002: (1674, 1991), 0.005: (605, 264), 0.01: (213, 32)}
    for support, sizes in known.items():
        found = frequent_sets(contents, min_baskets=int(np.ceil(support * 9835)))
        assert (len(found.pairs), len(found.triples)) == sizes
    # Whole milk and other vegetables, the two most frequent products, stand in 736 baskets.
    most = np.argsort(-found.counts)[:2]
    assert found.counts[most].tolist() == [2513, 1903]
    assert listed(found.pairs, found.pair_counts)[tuple(sorted(most.tolist()))] == 736
