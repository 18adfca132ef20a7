"""Prediction intervals: coverage, bounds, and independence of the order of customers."""

import numpy as np
import pytest

from insight_assets.insights.lifetime_value import intervals
from insight_assets.insights.lifetime_value.bg_nbd import expected_purchases
from insight_assets.insights.lifetime_value.customers import Buyers
from insight_assets.insights.lifetime_value.intervals import (
    coverage,
    predict_intervals,
    simulate_futures,
)
from insight_assets.insights.lifetime_value.model import LifetimeValueModel, train
from insight_assets_tests.insights.lifetime_value.simulated_customers import simulate_customers


def predict(model: LifetimeValueModel, customers: Buyers, **arguments):
    return predict_intervals(
        model.purchase,
        model.value,
        customers.histories,
        customers.purchase_days,
        customers.mean_value,
        **{"windows": [90.0], "seed": 5, **arguments},
    )


@pytest.fixture(scope="module")
def seen():
    return simulate_customers(4000, seed=21, ahead=90)


@pytest.fixture(scope="module")
def model(seen):
    return train(seen.buyers())


def test_intervals_cover_what_happens_and_no_more(seen, model):
    window = predict(model, seen.buyers(), draws=400)[0]
    assert coverage(seen.future_value, window.value) >= 0.88
    assert coverage(seen.future_orders, window.orders) >= 0.88
    # Mass at zero makes any interval of rare buyers cover more than asked for; the upper tail of
    # those who may buy shows that the intervals are not merely wide.
    may_buy = window.value.high > 0
    above = np.mean(seen.future_value[may_buy] > window.value.high[may_buy])
    assert 0.03 <= above <= 0.07


def test_parameter_uncertainty_widens_the_intervals_of_a_small_shop():
    few = simulate_customers(40, seed=8)
    wide = train(few.buyers())
    certain = LifetimeValueModel(
        purchase=type(wide.purchase)(**{**vars(wide.purchase), "covariance": np.zeros((4, 4))}),
        value=type(wide.value)(**{**vars(wide.value), "covariance": np.zeros((3, 3))}),
    )
    with_it = predict(wide, few.buyers(), draws=2000)[0]
    without = predict(certain, few.buyers(), draws=2000)[0]
    assert with_it.value.high.mean() > without.value.high.mean() * 1.02


def test_simulated_means_are_the_expected_ones(seen, model):
    customers = seen.buyers()
    part = slice(0, 200)
    histories = type(customers.histories)(
        customers.histories.repeats[part], customers.histories.last[part], customers.histories.age[part]
    )
    futures = simulate_futures(
        model.purchase,
        model.value,
        histories,
        customers.purchase_days[part],
        customers.mean_value[part],
        windows=[90, 365],
        draws=1500,
        generator=np.random.default_rng(3),
    )
    for number, days in enumerate((90, 365)):
        expected = expected_purchases(model.purchase.model, histories, ahead=days).mean()
        assert futures.orders[number].mean() == pytest.approx(expected, rel=0.02)
    assert (futures.orders[1] >= futures.orders[0]).all()
    assert (futures.value[1] >= futures.value[0]).all()
    assert ((futures.value[0] > 0) == (futures.orders[0] > 0)).all()


def test_order_of_customers_does_not_matter(model, seen):
    customers = seen.buyers()
    order = np.random.default_rng(1).permutation(customers.keys.size)
    shuffled = Buyers(
        keys=customers.keys[order],
        histories=type(customers.histories)(
            *(getattr(customers.histories, name)[order] for name in ("repeats", "last", "age"))
        ),
        purchase_days=customers.purchase_days[order],
        net_value=customers.net_value[order],
    )
    straight = predict(model, customers, draws=60)[0]
    mixed = predict(model, shuffled, draws=60)[0]
    assert np.array_equal(straight.value.high[order], mixed.value.high)
    assert np.array_equal(straight.orders.low[order], mixed.orders.low)


def test_working_in_pieces_keeps_intervals_alike(model, seen, monkeypatch):
    whole = predict(model, seen.buyers(), draws=200)[0]
    monkeypatch.setattr(intervals, "_CELLS_IN_MEMORY", 200 * 300)
    pieces = predict(model, seen.buyers(), draws=200)[0]
    assert pieces.value.high.mean() == pytest.approx(whole.value.high.mean(), rel=0.03)
    assert coverage(seen.future_value, pieces.value) == pytest.approx(
        coverage(seen.future_value, whole.value), abs=0.01
    )


def test_longer_windows_reach_higher_and_ends_are_in_order(model, seen):
    short, long = predict(model, seen.buyers(), windows=[90, 365], draws=60)
    assert (long.orders.high >= short.orders.high).all()
    assert (long.value.high >= short.value.high).all()
    for window in (short, long):
        assert (window.orders.low <= window.orders.high).all()
        assert (window.value.low <= window.value.high).all()
        assert (window.value.low >= 0).all()


def test_nobody_has_no_intervals(model):
    nobody = simulate_customers(0, seed=1).buyers()
    assert predict(model, nobody)[0].value.low.size == 0


@pytest.mark.parametrize("windows", [[], [0], [90, 90], [365, 90]])
def test_windows_must_ascend(model, seen, windows):
    with pytest.raises(ValueError, match="ascending"):
        predict(model, seen.buyers(), windows=windows)
