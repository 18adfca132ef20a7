"""The scorecard of lifetime value and what it lets be published."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.lifetime_value.forecasts import BG_NBD, HISTORY, PARETO_NBD, UNTAUGHT
from insight_assets.insights.lifetime_value.grading import (
    grade,
    publication,
    spearman,
)
from insight_assets.insights.lifetime_value.model import train
from insight_assets.ml.publication import UNGRADED
from insight_assets.ml.referee import SCORECARD_SCHEMA, scorecard_markdown
from insight_assets_tests.insights.lifetime_value.simulated_customers import simulate_customers

ORIGIN = date(2026, 3, 1)
VERSION = "0123456789ab"
NAMES = [method.name for method in UNTAUGHT]


def graded(customers, labels: pl.LazyFrame):
    return grade(
        train(customers.buyers()),
        customers.buyers(),
        labels,
        origin=ORIGIN,
        horizon_days=90,
        seed=3,
        model_version=VERSION,
        resamples=100,
    )


@pytest.fixture(scope="module")
def customers():
    return simulate_customers(3000, seed=13)


@pytest.fixture(scope="module")
def grading(customers):
    return graded(customers, customers.labels())


def test_the_right_model_beats_the_history_formula_on_its_own_world(grading):
    card = grading.scorecard
    assert publication(card, available=NAMES).method == BG_NBD.name
    assert publication(card, available=NAMES).grade == "A"
    assert publication(card, available=NAMES).origin == ORIGIN

    def value(method: str, metric: str) -> float:
        row = card.filter((pl.col("method") == method) & (pl.col("metric") == metric))
        return row["value"].item()

    for metric in ("mae", "mae_orders"):
        assert value(BG_NBD.name, metric) < value(HISTORY.name, metric)
    assert value(BG_NBD.name, "sum_ratio") == pytest.approx(1, abs=0.12)
    assert value(BG_NBD.name, "interval_coverage_value") >= 0.88


def test_scorecard_keeps_its_contract_and_one_verdict(grading):
    validate_frame(contract("lifetime_value_scorecard"), grading.scorecard)
    assert grading.scorecard.schema == SCORECARD_SCHEMA
    verdicts = grading.scorecard.select("method", "is_champion", "grade").unique()
    assert verdicts["method"].sort().to_list() == sorted(NAMES)
    gains = grading.scorecard.filter(pl.col("gain").is_not_null())
    assert gains.select("method", "metric").rows() == [
        (BG_NBD.name, "normalised_gini"), (PARETO_NBD.name, "normalised_gini"),
    ]  # fmt: skip
    rule = grading.scorecard.filter(pl.col("method") == HISTORY.name)
    assert rule["model_version"].null_count() == rule.height
    assert "mae_orders" in scorecard_markdown(grading.scorecard)


def test_order_of_labels_does_not_matter(customers, grading):
    shuffled = customers.labels().collect().sample(fraction=1.0, shuffle=True, seed=4).lazy()
    assert graded(customers, shuffled).scorecard.equals(grading.scorecard)


def test_only_labelled_customers_are_graded(customers):
    card = graded(customers, customers.labels().filter(pl.col("customer_key") <= 700)).scorecard
    assert card["customers"].unique().to_list() == [700]


def test_open_horizon_grades_nothing_and_publishes_the_rule_ungraded(customers):
    card = graded(customers, customers.labels().clear()).scorecard
    assert card.is_empty()
    assert card.schema == SCORECARD_SCHEMA
    said = publication(card, available=NAMES)
    assert (said.method, said.grade, said.origin) == (HISTORY.name, UNGRADED, None)


def test_a_champion_that_could_not_be_trained_as_of_the_day_is_not_published(grading):
    said = publication(grading.scorecard, available=[HISTORY.name])
    assert (said.method, said.grade, said.origin) == (HISTORY.name, UNGRADED, None)


def test_a_model_that_is_not_surely_better_is_not_published():
    few = simulate_customers(25, seed=2)
    card = graded(few, few.labels().with_columns(net=pl.lit(1.0), purchase_days=pl.lit(1))).scorecard
    assert publication(card, available=NAMES).method == HISTORY.name


def test_spearman():
    truth = np.array([0.0, 0.0, 5.0, 9.0])
    assert spearman(truth, np.array([1.0, 1.0, 2.0, 3.0])) == pytest.approx(1)
    assert spearman(truth, -truth) == pytest.approx(-1)
    assert np.isnan(spearman(truth, np.ones(4)))
