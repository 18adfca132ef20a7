"""Published lifetime value scores: contract, deciles, drivers, both methods."""

from datetime import date

import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.lifetime_value.customers import Buyers, buyers
from insight_assets.insights.lifetime_value.forecasts import BG_NBD, HISTORY, forecast, history_forecast
from insight_assets.insights.lifetime_value.model import train
from insight_assets.insights.lifetime_value.scoring import score
from insight_assets.ml.publication import UNGRADED, Publication
from insight_assets_tests.insights.lifetime_value.simulated_customers import simulate_customers

AS_OF = date(2026, 3, 1)
MODEL = Publication(BG_NBD.name, "A", date(2025, 12, 1))
RULE = Publication(HISTORY.name, UNGRADED, None)


def scored(customers: Buyers, publish: Publication) -> pl.DataFrame:
    return score(
        train(customers),
        customers,
        publish,
        as_of=AS_OF,
        horizon_days=90,
        model_version="0123456789ab",
        seed=9,
    )


@pytest.fixture(scope="module")
def customers():
    return simulate_customers(600, seed=17).buyers()


@pytest.fixture(scope="module")
def by_model(customers):
    return scored(customers, MODEL)


@pytest.mark.parametrize("publish", [MODEL, RULE])
def test_scores_keep_their_contract(customers, publish):
    table = contract("lifetime_value_scores")
    frame = table.conform(scored(customers, publish).lazy()).collect()
    validate_frame(table, frame)
    assert frame.height == 600
    assert frame["method"].unique().to_list() == [publish.method]
    assert frame["grade"].unique().to_list() == [publish.grade]


def test_expectations_are_those_of_the_published_method(customers, by_model):
    model = train(customers)
    exact = forecast(model, customers, days=365).value
    assert by_model["expected_value_365d"].to_numpy() == pytest.approx(exact, abs=1e-3)
    by_rule = scored(customers, RULE)
    exact = history_forecast(customers, days=365, horizon_days=90).value
    assert by_rule["expected_value_365d"].to_numpy() == pytest.approx(exact, abs=1e-3)
    assert by_model["rule_value_365d"].to_numpy() == pytest.approx(exact, abs=1e-3)
    for told in (f"{what}_{window}" for what in ("orders", "value") for window in ("90d", "365d", "horizon")):
        assert by_rule[f"expected_{told}"].equals(by_rule[f"rule_{told}"].rename(f"expected_{told}"))
        assert by_model[f"rule_{told}"].equals(by_rule[f"rule_{told}"])
    assert by_rule["probability_alive"].equals(by_model["probability_alive"])
    assert by_rule["expected_value_90d_high"].equals(by_model["expected_value_90d_high"])


def test_deciles_hold_a_tenth_each_and_follow_the_value(by_model):
    sizes = by_model["value_decile"].value_counts()["count"]
    assert by_model["value_decile"].n_unique() == 10
    assert sizes.min() >= 55
    ordered = by_model.sort("expected_value_365d")["value_decile"]
    assert ordered.is_sorted()


def test_equal_customers_share_scores(customers):
    twice = simulate_customers(40, seed=3).features().collect()
    doubled = pl.concat([twice, twice.with_columns(pl.col("customer_key") + 1000)])
    frame = scored(buyers(doubled.lazy()), MODEL).drop("customer_key")
    assert frame.head(40).equals(frame.tail(40))


def test_row_order_changes_nothing():
    table = simulate_customers(80, seed=3).features().collect()
    mixed = table.sample(fraction=1.0, shuffle=True, seed=5)
    one_way, other_way = (scored(buyers(t.lazy()), MODEL) for t in (table, mixed))
    assert one_way.equals(other_way)


def test_drivers_name_what_sets_a_customer_apart():
    usual = [(key, 3, 150, 180, 4, 200.0) for key in range(1, 30)]
    odd = [
        (100, 30, 178, 180, 31, 1550.0),
        (101, 3, 20, 180, 4, 200.0),
        (102, 3, 150, 180, 4, 4000.0),
        (103, 0, 0, 180, 1, -10.0),
    ]
    frame = pl.LazyFrame(
        usual + odd,
        schema=[
            "customer_key",
            "x_repeat_purchases",
            "t_x_days",
            "age_days",
            "purchase_days_lifetime",
            "net_lifetime",
        ],
        orient="row",
    )
    told = scored(buyers(frame), MODEL).sort("customer_key")
    usual_drivers = told.head(29)["driver_1"]
    assert usual_drivers.null_count() == 29
    drivers = {
        key: [row for row in rest if row]
        for key, *rest in told.tail(4)
        .select("customer_key", "driver_1", "driver_2", "driver_3")
        .iter_rows()
    }
    assert drivers[100][0] == "30 repeat purchases (raises)"
    assert drivers[101][0] == "last purchase 160 days ago (lowers)"
    assert drivers[102][0] == "net value of a purchase 1000.0 (raises)"
    assert "no repeat purchase (lowers)" in drivers[103]


def test_recency_does_not_drive_the_history_rule(customers):
    told = scored(customers, RULE).select("driver_1", "driver_2", "driver_3").unpivot()["value"]
    assert not told.drop_nulls().str.starts_with("last purchase").any()
    assert told.drop_nulls().str.contains(r" \((raises|lowers)\)$").all()


def test_nobody_is_scored_in_a_shop_without_buyers(customers):
    nobody = simulate_customers(0, seed=1).buyers()
    frame = contract("lifetime_value_scores").conform(scored(nobody, RULE).lazy()).collect()
    assert frame.is_empty()


def test_unknown_method_is_an_error(customers):
    with pytest.raises(KeyError, match="oracle"):
        scored(customers, Publication("oracle", "A", AS_OF))
