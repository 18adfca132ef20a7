"""Pictures show groups of customers only."""

import numpy as np
import polars as pl

from insight_assets.charts import chart_markdown
from insight_assets.insights.lifetime_value.forecasts import Forecast
from insight_assets.insights.lifetime_value.grading import Grading, Outcomes
from insight_assets.insights.lifetime_value.model import train
from insight_assets.insights.lifetime_value.pictures import (
    calibration_chart,
    calibration_table,
    frequency_chart,
    frequency_table,
)
from insight_assets_tests.insights.lifetime_value.simulated_customers import simulate_customers


def grading(size: int) -> Grading:
    value = np.random.default_rng(1).gamma(1, 50, size)
    return Grading(
        scorecard=pl.DataFrame(),
        outcomes=Outcomes(orders=np.ones(size), value=value),
        forecasts={"history_rule": Forecast(np.ones(size), value * 0.9)},
    )


def test_frequency_classes_hold_k_customers_and_model_adds_up():
    customers = simulate_customers(500, seed=2).buyers()
    model = train(customers).purchase.model
    table = frequency_table(model, customers, smallest_group=10, seed=1)
    observed = table.filter(pl.col("source") == "observed")["customers"]
    expected = table.filter(pl.col("source") == "model")["customers"]
    assert observed.min() >= 10
    assert observed.sum() == 500
    assert abs(expected.sum() - 500) < 1e-6
    assert (observed - expected).abs().max() < 60
    assert chart_markdown(frequency_chart(table)).startswith("![chart](data:image/png")


def test_calibration_groups_hold_k_customers():
    table = calibration_table(grading(45), smallest_group=10)
    assert table["group"].max() == 4
    assert table["customers"].min() >= 10
    assert np.allclose(table["predicted"], 0.9 * table["actual"])
    assert calibration_table(grading(400), smallest_group=10)["group"].max() == 10
    assert chart_markdown(calibration_chart(table)).startswith("![chart](data:image/png")


def test_too_few_customers_are_not_drawn():
    customers = simulate_customers(9, seed=2).buyers()
    model = train(customers).purchase.model
    assert frequency_table(model, customers, smallest_group=10, seed=1).is_empty()
    assert calibration_table(grading(9), smallest_group=10).is_empty()
