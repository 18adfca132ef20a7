"""Measures of lists beside being right, by hand."""

import numpy as np
import pytest

from insight_assets.insights.recommendation.listing import diversity, exposure_gini, novelty, popularity
from insight_assets.insights.recommendation.ranking import NOBODY, Lists

LISTS = Lists(items=np.array([[0, 1, 2], [0, 3, NOBODY], [NOBODY] * 3]), scores=np.zeros((3, 3)))


def test_novelty_is_the_information_that_a_product_was_bought():
    # Of 100 customers all bought product 0, ten product 1, one product 2 and nobody product 3.
    found = novelty(LISTS, np.array([100, 10, 1, 0]), customers=100)
    assert found == pytest.approx([(0 + 0.5 + 1) / 3, (0 + 1) / 2, 0])


def test_popularity_is_the_rank_among_products_on_offer():
    available = np.array([True, True, True, True, False])
    # Products 2 and 3 share ranks 0 and 1.
    found = popularity(LISTS, np.array([9, 5, 1, 1, 99]), available)
    assert found == pytest.approx([(1 + 2 / 3 + 1 / 6) / 3, (1 + 1 / 6) / 2, 0])


def test_diversity_is_the_share_of_pairs_of_different_categories():
    # 0 and 1 are alike; what has no category differs from everything.
    assert diversity(LISTS, np.array([4, 4, 5, -1])) == pytest.approx([2 / 3, 1, 0])
    assert diversity(LISTS, np.array([-1, -1, -1, -1])).tolist() == [1, 1, 0]
    assert diversity(LISTS, np.array([4, 4, 4, 4])).tolist() == [0, 0, 0]


def test_the_gini_of_exposure_goes_from_equal_places_to_one_for_all():
    available = np.ones(4, dtype=bool)
    equal = Lists(items=np.array([[0, 1], [2, 3]]), scores=np.zeros((2, 2)))
    assert exposure_gini(equal, available) == 0.0
    alone = Lists(items=np.array([[0], [0]]), scores=np.zeros((2, 1)))
    assert exposure_gini(alone, available) == pytest.approx(3 / 4)
    # By the mean difference of all pairs: places 2, 1, 1, 1 of products 0 to 3.
    places = np.array([2, 1, 1, 1])
    lists = Lists(items=np.array([[0, 1, 2], [0, 3, NOBODY]]), scores=np.zeros((2, 3)))
    differences = np.abs(places[:, None] - places[None, :]).mean() / (2 * places.mean())
    assert exposure_gini(lists, available) == pytest.approx(differences)
    assert exposure_gini(Lists(np.full((1, 2), NOBODY), np.zeros((1, 2))), available) == 0.0
