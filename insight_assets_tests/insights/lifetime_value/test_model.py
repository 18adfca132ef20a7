"""The trained model on disk and the history formula."""

import json

import numpy as np
import polars as pl
import pytest

from insight_assets.insights.lifetime_value.customers import buyers
from insight_assets.insights.lifetime_value.forecasts import forecast, history_forecast
from insight_assets.insights.lifetime_value.model import PARAMETERS_FILE, load, save, train
from insight_assets_tests.insights.lifetime_value.simulated_customers import simulate_customers


def features(rows: list[tuple]) -> pl.LazyFrame:
    return pl.LazyFrame(
        rows,
        schema={
            "customer_key": pl.Int64,
            "x_repeat_purchases": pl.Int32,
            "t_x_days": pl.Int32,
            "age_days": pl.Int32,
            "purchase_days_lifetime": pl.Int32,
            "net_lifetime": pl.Float64,
        },
        orient="row",
    )


def test_buyers_are_sorted_and_visitors_left_out():
    read = buyers(
        features([(9, 1, 10, 20, 2, 50.0), (5, None, None, None, 0, 0.0), (3, 0, 0, 7, 1, -4.0)])
    )
    assert read.keys.tolist() == [3, 9]
    assert read.mean_value.tolist() == [-4.0, 25.0]
    assert read.days_since_last.tolist() == [7, 10]


def test_history_formula_is_the_rate_of_the_life_so_far():
    customers = buyers(features([(1, 3, 150, 179, 4, 360.0)]))
    expected = history_forecast(customers, days=90, horizon_days=90)
    assert expected.orders[0] == pytest.approx(4 / 180 * 90)
    assert expected.value[0] == pytest.approx(360 / 180 * 90)


def test_history_formula_counts_a_young_life_as_one_horizon_and_a_loss_as_nothing():
    customers = buyers(features([(1, 0, 0, 0, 1, 40.0), (2, 0, 0, 0, 1, -40.0)]))
    expected = history_forecast(customers, days=180, horizon_days=90)
    assert expected.orders.tolist() == [2, 2]
    assert expected.value.tolist() == [80, 0]


def test_history_formula_is_linear_in_the_window():
    customers = simulate_customers(50, seed=2).buyers()
    one = history_forecast(customers, days=90, horizon_days=30)
    four = history_forecast(customers, days=360, horizon_days=30)
    assert four.value == pytest.approx(4 * one.value)


def test_saved_model_predicts_the_same_and_saves_the_same_bytes(tmp_path):
    customers = simulate_customers(300, seed=6).buyers()
    model = train(customers)
    save(model, tmp_path)
    again = load(tmp_path)
    first = (tmp_path / PARAMETERS_FILE).read_bytes()
    save(again, tmp_path)
    assert (tmp_path / PARAMETERS_FILE).read_bytes() == first
    before, after = (forecast(m, customers, days=90).value for m in (model, again))
    assert after == pytest.approx(before, rel=1e-7)


def test_saved_model_says_its_unit_and_counts(tmp_path):
    customers = simulate_customers(300, seed=6).buyers()
    save(train(customers), tmp_path)
    content = json.loads((tmp_path / PARAMETERS_FILE).read_text())
    assert content["purchase_model"]["unit_of_time"] == "days"
    assert content["purchase_model"]["customers"] == 300
    assert content["value_model"]["customers"] == int((customers.histories.repeats > 0).sum())


def test_training_does_not_depend_on_the_order_of_rows(tmp_path):
    table = simulate_customers(300, seed=6).features().collect()
    saved = []
    for number, frame in enumerate((table, table.sample(fraction=1.0, shuffle=True, seed=1))):
        place = tmp_path / str(number)
        place.mkdir()
        save(train(buyers(frame.lazy())), place)
        saved.append((place / PARAMETERS_FILE).read_bytes())
    assert saved[0] == saved[1]


def test_a_shop_without_buyers_still_has_a_model():
    model = train(buyers(features([])))
    assert model.purchase.customers == 0
    assert np.isfinite(model.value.model.population_mean)
