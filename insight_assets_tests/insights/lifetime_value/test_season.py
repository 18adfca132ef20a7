"""Totals know the season ahead from the horizon of a year ago, and nothing of the days after the as-of day."""

import math
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.labels import label_customers
from insight_assets.insights.lifetime_value.customers import FEATURES_READ, buyers
from insight_assets.insights.lifetime_value.forecasts import TAUGHT, UNTAUGHT
from insight_assets.insights.lifetime_value.learning import MOST_SCALE
from insight_assets.insights.lifetime_value.model import forecast_method, load, save, train
from insight_assets.insights.lifetime_value.season import LEAST_HORIZONS, YEAR_DAYS, horizon_of_last_year
from insight_assets_tests.insights.churn import shop
from insight_assets_tests.insights.churn.conftest import examples_of

HORIZON = shop.HORIZON
AS_OF = date(2025, 5, 29)
THEN = AS_OF - timedelta(days=YEAR_DAYS)


@pytest.fixture(scope="module")
def orders() -> pl.DataFrame:
    return shop.simulate_orders(1_200, seed=9, last_day=AS_OF + timedelta(days=40))


def told(orders: pl.DataFrame, *, as_of: date = AS_OF, **options) -> pl.DataFrame:
    days = shop.customer_days_of(orders)
    return horizon_of_last_year(days, shop.nobody_linked, as_of=as_of, horizon_days=HORIZON, **options)


def test_it_is_what_features_and_labels_said_a_year_ago(orders):
    days = shop.customer_days_of(orders)
    features = build_customer_features(days, as_of=THEN).select(FEATURES_READ)
    labels = label_customers(days, days, origin=THEN, horizon_days=HORIZON)
    wanted = features.join(
        labels.select("customer_key", horizon_purchase_days="purchase_days", horizon_net="net"), on="customer_key"
    )
    found = told(orders)
    assert_frame_equal(found, wanted.sort("customer_key").collect())
    assert found.height > 100
    assert found["horizon_net"].sum() > 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_neither_order_of_rows_nor_what_comes_later_changes_it(orders, seed, later):
    poison = orders.sample(50, seed=seed).with_columns(
        event_day=pl.lit(AS_OF + timedelta(days=later)), value=pl.col("value") * 1e6
    )
    mixed = pl.concat([orders, poison]).sample(fraction=1.0, shuffle=True, seed=seed)
    assert_frame_equal(told(mixed), told(orders))


def test_a_shop_that_was_too_young_a_year_ago_knows_no_season(orders):
    oldest = shop.FIRST_DAY + timedelta(days=LEAST_HORIZONS * HORIZON - 1 + YEAR_DAYS)
    assert not told(orders, as_of=oldest).is_empty()
    assert told(orders, as_of=oldest - timedelta(days=1)).is_empty()
    assert told(orders.clear()).is_empty()


def test_a_horizon_that_had_not_closed_tells_nothing(orders):
    days = shop.customer_days_of(orders)
    assert horizon_of_last_year(
        days, shop.nobody_linked, as_of=AS_OF, horizon_days=YEAR_DAYS + 1
    ).is_empty()


def test_of_many_customers_a_fixed_part_is_drawn(orders):
    everybody, some = told(orders), told(orders, max_customers=60)
    assert some.height == 60
    assert_frame_equal(some, everybody.join(some, on="customer_key", how="semi"))


@pytest.mark.parametrize("season", [0.5, 1.6])
def test_totals_move_halfway_to_the_season_of_the_horizon_and_bounds_stay(orders, season, tmp_path):
    past = orders.filter(pl.col("event_day") <= AS_OF)
    customers = buyers(build_customer_features(shop.customer_days_of(past), as_of=AS_OF))
    examples, year = examples_of(past, as_of=AS_OF), told(past)

    def calibrations(last_year: pl.DataFrame):
        model = train(customers, examples, horizon_days=HORIZON, last_year=last_year, seed=3, max_epochs=2)
        save(model, tmp_path)
        assert load(tmp_path).calibrations == model.calibrations
        for method in model.methods:
            # The season is that of the horizon: what the months after it bring is not moved.
            half, horizon, year = (
                forecast_method(model, customers, method.name, days=days, horizon_days=HORIZON).value
                for days in (HORIZON // 2, HORIZON, 365)
            )
            plainly = replace(model, calibrations={})
            seen = [
                forecast_method(plainly, customers, method.name, days=days, horizon_days=HORIZON).value
                for days in (HORIZON // 2, HORIZON, 365)
            ]
            of = model.calibrations[method.name]
            assert half == pytest.approx(seen[0] * of.value_scale)
            assert horizon == pytest.approx(seen[1] * of.value_scale)
            assert year - horizon == pytest.approx((seen[2] - seen[1]) * of.value_scale / of.value_season)
        return model.calibrations

    without, plain = calibrations(pl.DataFrame()), calibrations(year)
    moved = calibrations(year.with_columns(pl.col("horizon_net") * season))
    assert set(plain) == {method.name for method in (*UNTAUGHT, *TAUGHT)}
    for name, of in moved.items():
        assert without[name].value_season == 1.0
        scale = np.clip(without[name].value_scale * of.value_season, 1 / MOST_SCALE, MOST_SCALE)
        assert of.value_scale == pytest.approx(scale, rel=1e-4)
        # The ratio of a year ago is shrunk a little by what chance makes of it.
        assert of.value_season / plain[name].value_season == pytest.approx(math.sqrt(season), rel=0.05)
        assert of.orders_scale == plain[name].orders_scale
        assert np.array_equal(of.value.low, without[name].value.low)
