"""The catalogue and the choice of products."""

import numpy as np
import pytest

from insight_assets.simulator.catalogue import (
    CATEGORIES,
    CATEGORY_POSITIONS,
    STYLES,
    build_catalogue,
    fill_shelf,
    week_prices,
)
from insight_assets.simulator.plan import SimulationPlan


@pytest.fixture(scope="module")
def plan():
    return SimulationPlan(customers=10, days=30, products=200, seed=5)


@pytest.fixture(scope="module")
def catalogue(plan):
    return build_catalogue(plan)


def test_every_category_is_one_run(catalogue):
    assert len(catalogue) == 200
    assert (np.diff(catalogue.category) >= 0).all()
    assert set(catalogue.category) == set(range(len(CATEGORIES)))
    assert np.add.reduceat(catalogue.popularity, catalogue.starts[:-1]) == pytest.approx(1.0)


def test_smallest_catalogue_is_possible():
    smallest = build_catalogue(SimulationPlan(customers=1, days=1, products=60))
    assert len(smallest) == 60


def test_neighbours(catalogue):
    own = np.arange(len(catalogue))[:, None]
    category = catalogue.category
    assert (category[catalogue.substitutes] == category[own]).all()
    assert (catalogue.substitutes != own).all()
    partner = np.array([CATEGORY_POSITIONS[each.goes_with] for each in CATEGORIES])
    assert (category[catalogue.complements] == partner[category][:, None]).all()


def test_names_are_in_both_languages(catalogue):
    english, chinese = catalogue.names(0), catalogue.names(1)
    assert all(name.isascii() for name in english)
    assert all(any("\u4e00" <= letter <= "\u9fff" for letter in name) for name in chinese)
    assert len(set(english)) == len(english)


def test_a_tenth_of_the_products_is_cheaper_in_a_week(plan, catalogue):
    shares = []
    for week in range(20):
        prices = week_prices(plan, catalogue, week=week)
        assert (prices <= catalogue.price + 5).all()
        assert (prices > 0).all()
        shares.append((prices < 0.95 * catalogue.price).mean())
    assert np.mean(shares) == pytest.approx(0.10, abs=0.02)


def test_choices_follow_the_weights(catalogue):
    shelf = fill_shelf(catalogue, catalogue.price)
    random = np.random.default_rng(0)
    tight, natural, snacks = 2, 2, CATEGORY_POSITIONS["snacks"]
    group = np.full(200_000, tight * len(STYLES) + natural)
    chosen = shelf.choose(group, np.full(200_000, snacks), random=random)
    assert (catalogue.category[chosen] == snacks).all()
    shares = np.bincount(chosen, minlength=len(catalogue)) / len(chosen)
    expected = np.where(catalogue.category == snacks, shelf.weights[group[0]], 0.0)
    assert np.abs(shares - expected).max() < 0.005


def test_tight_purses_choose_cheaper_products_and_styles_differ(catalogue):
    shelf = fill_shelf(catalogue, catalogue.price)
    first = catalogue.starts[:-1]

    def mean_price(purse):
        groups = shelf.weights[purse * len(STYLES) : (purse + 1) * len(STYLES)]
        return np.add.reduceat(groups * catalogue.price, first, axis=1).mean(axis=0)

    assert (mean_price(0) > mean_price(2)).all()
    liked = (shelf.weights[0] * (catalogue.style == 0)).sum() / len(CATEGORIES)
    assert liked > (shelf.weights[1] * (catalogue.style == 0)).sum() / len(CATEGORIES) + 0.2


def test_a_cheaper_product_is_chosen_more_often(catalogue):
    usual = fill_shelf(catalogue, catalogue.price)
    prices = catalogue.price.copy()
    prices[7] = prices[7] * 8 // 10
    cheaper = fill_shelf(catalogue, prices)
    assert (cheaper.weights[:, 7] > usual.weights[:, 7]).all()
