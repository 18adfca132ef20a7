"""The oracle of products says what orders hold, and nothing that knows less says it better."""

import numpy as np
import pytest

from insight_assets.simulator.events import Kind
from insight_assets.simulator.plan import SimulationPlan
from insight_assets.simulator.sessions import BASKETS_A_VISIT, ORDER
from insight_assets.simulator.simulation import open_shop, simulate_sessions
from insight_assets.simulator.wanted_products import (
    NOTHING,
    about_chances,
    certain,
    fresh_chances,
    inferred,
    mean_weights,
    next_order_chances,
    past_of,
    still_in_mind,
)

PLAN = SimulationPlan(customers=6_000, days=100, products=60, seed=9)
DAY = 39


@pytest.fixture(scope="module")
def shop():
    return open_shop(PLAN)


@pytest.fixture(scope="module")
def asked(shop):
    """Who had signed up by the day and ordered after it, and whether the first of these orders holds each product."""
    held = np.zeros((PLAN.customers, PLAN.products), dtype=bool)
    ordered = shop.customers.acquired > DAY
    signed_up = ~ordered
    for day, sessions in enumerate(simulate_sessions(shop)):
        events = sessions.events
        orders = events.take(events["kind"] == Kind.ORDER_COMPLETED)
        if day <= DAY:
            continue
        # Of two orders on one day the earlier visit comes first.
        who, first = np.unique(orders["customer"], return_index=True)
        customer = dict(zip(orders["session"][first], who, strict=True))
        for basket, product in zip(orders.lines["basket"], orders.lines["product"], strict=True):
            visit, which = divmod(int(basket), BASKETS_A_VISIT)
            if which == ORDER and visit in customer and not ordered[customer[visit]]:
                held[customer[visit], product] = True
        ordered[who] = True
    return np.flatnonzero(ordered & signed_up), held


@pytest.fixture(scope="module")
def past(shop):
    return past_of(shop, day=DAY)


@pytest.fixture(scope="module")
def oracle(shop, past):
    """Chances of each product in the next order, of what it is about, and of choices with nothing in mind."""
    fresh = fresh_chances(shop, mean_weights(shop, day=DAY, horizon=PLAN.days - 1 - DAY))
    about = about_chances(shop, fresh, certain(past.memory, PLAN.products))
    return next_order_chances(shop, fresh, about), about, fresh


@pytest.fixture(scope="module")
def told_by_past(shop, past):
    """The same chances, and those of the product in mind, by what customers did alone."""
    fresh, memory = inferred(shop, past, mean_weights(shop, day=DAY, horizon=PLAN.days - 1 - DAY))
    return next_order_chances(shop, fresh, about_chances(shop, fresh, memory)), fresh, memory


def loss(chance, held):
    chance = np.clip(chance, 1e-9, 1 - 1e-9)
    return -np.where(held, np.log(chance), np.log1p(-chance)).sum(axis=1).mean()


def test_chances_are_those_of_orders(asked, oracle):
    rows, held = asked
    chance, came = oracle[0][rows], held[rows]
    assert len(rows) > 1_500
    assert ((chance >= 0) & (chance <= 1)).all()
    assert chance.sum(axis=1).mean() == pytest.approx(came.sum(axis=1).mean(), rel=0.03)
    # Products, and pairs of customer and product from the least likely to the likeliest.
    spread = 4 * np.sqrt((chance * (1 - chance)).sum(axis=0))
    assert (np.abs(chance.sum(axis=0) - came.sum(axis=0)) < spread + 1).all()
    for tenth in np.array_split(np.argsort(chance, axis=None), 10):
        expected = chance.ravel()[tenth]
        spread = 4 * np.sqrt((expected * (1 - expected)).sum())
        assert expected.sum() == pytest.approx(came.ravel()[tenth].sum(), abs=spread)


def test_nothing_that_differs_foretells_better(shop, asked, oracle):
    rows, held = asked
    chance, about, fresh = oracle
    best = loss(chance[rows], held[rows])
    everybody = np.broadcast_to(chance[rows].mean(axis=0), (len(rows), PLAN.products))
    others = {
        "everybody alike": everybody,
        "somebody else's": chance[np.roll(rows, 1)],
        "nothing in mind": next_order_chances(shop, fresh, fresh)[rows],
        "what it is about alone": about[rows],
        "sharper": chance[rows] ** 1.1,
        "blunter": chance[rows] ** 0.9,
        "half of everybody": 0.5 * (chance[rows] + everybody),
    }
    for name, other in others.items():
        assert loss(other, held[rows]) > best, name


def test_what_is_in_mind_comes_back_as_often_as_said(shop, asked, oracle, past):
    rows, held = asked
    chance, _, fresh = oracle
    memory = past.memory
    rows = rows[memory[rows] != NOTHING]
    kept = still_in_mind(shop.customers)[rows]
    without = next_order_chances(shop, fresh, fresh)[rows, memory[rows]]
    came = held[rows, memory[rows]]
    assert kept.mean() > 0.03
    assert chance[rows, memory[rows]].sum() == pytest.approx(came.sum(), abs=4 * np.sqrt(came.sum()))
    assert without.sum() < came.sum() - 4 * np.sqrt(came.sum())


def test_the_past_tells_less_than_taste_and_more_than_what_others_did(asked, oracle, told_by_past):
    rows, held = asked
    chance, fresh, memory = told_by_past
    chances = chance[rows]
    np.testing.assert_allclose(fresh.sum(axis=1), 1.0, rtol=1e-9)
    assert (memory.sum(axis=1) < 1 + 1e-9).all()
    assert chances.sum() == pytest.approx(held[rows].sum(), rel=0.03)
    everybody = np.broadcast_to(chances.mean(axis=0), chances.shape)
    losses = [loss(of, held[rows]) for of in (oracle[0][rows], chances, everybody)]
    assert losses == sorted(losses)
    # Nothing near it does better either.
    for other in (chances**1.1, chances**0.9, 0.8 * chances + 0.2 * everybody):
        assert loss(other, held[rows]) > losses[1]


def test_the_product_in_mind_is_found_as_often_as_said(past, told_by_past):
    memory = told_by_past[2]
    known = np.flatnonzero(past.memory != NOTHING)
    right = memory[known, past.memory[known]]
    # As sure on the mean as it is right.
    assert (memory**2).sum() == pytest.approx(right.sum(), rel=0.05)
    assert memory.sum() == pytest.approx(len(known), rel=0.05)
    assert right.mean() > 0.5


def test_the_past_is_that_of_customers_up_to_the_day(shop, past):
    earlier = past_of(shop, day=5)
    assert (shop.customers.acquired[np.unique(earlier.customer)] <= 5 + 10).all()
    assert len(earlier.product) < len(past.product)
    assert set(earlier.visit) <= set(past.visit)
    assert past.bought.mean() == pytest.approx(0.15, abs=0.1)


def test_mean_weights_are_shares_of_each_category(shop):
    weights = mean_weights(shop, day=5, horizon=20)
    np.testing.assert_allclose(np.add.reduceat(weights, shop.catalogue.starts[:-1], axis=1), 1.0)
