"""What is learnt from closed horizons: learned methods, totals, bounds, files, and scores by them."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.labels import label_customers
from insight_assets.insights.lifetime_value.calibrated_intervals import (
    CONFORMAL,
    POSTERIOR,
    WIDER,
    interval_method,
    published_intervals,
)
from insight_assets.insights.lifetime_value.customers import buyers
from insight_assets.insights.lifetime_value.forecasts import BG_NBD, BOOSTED, HISTORY, TAUGHT, UNTAUGHT, ZILN, forecast
from insight_assets.insights.lifetime_value.grading import grade
from insight_assets.insights.lifetime_value.learning import LEARNT_FILE, _scale, learn
from insight_assets.insights.lifetime_value.model import (
    LifetimeValueModel,
    forecast_by_method,
    forecast_method,
    load,
    save,
    train,
)
from insight_assets.insights.lifetime_value.model_card import model_card
from insight_assets.insights.lifetime_value.scoring import score
from insight_assets.ml.model_card import card_text
from insight_assets.ml.publication import Publication
from insight_assets_tests.insights.churn import shop
from insight_assets_tests.insights.churn.conftest import ORIGIN, examples_of
from insight_assets_tests.model_cards import MAKING, demand_sound, section, tables

HORIZON = shop.HORIZON
CUSTOMERS = 500


@pytest.fixture(scope="module")
def orders():
    return shop.simulate_orders(CUSTOMERS, seed=5)


@pytest.fixture(scope="module")
def examples(orders):
    return examples_of(orders)


@pytest.fixture(scope="module")
def customers(orders):
    return buyers(build_customer_features(shop.customer_days_of(orders), as_of=ORIGIN))


@pytest.fixture(scope="module")
def model(customers, examples):
    return train(customers, examples, horizon_days=HORIZON, seed=3, max_epochs=4)


def expected(model, customers, days: int = HORIZON):
    return forecast_by_method(model, customers, days=days, horizon_days=HORIZON)


def card_of(model, rows: pl.DataFrame, *, days: int = HORIZON, smallest_group: int = 10, seed: int = 3) -> str:
    making = replace(MAKING, asset="lifetime_value_models", seed=seed)
    return card_text(model_card(model, rows, horizon_days=days, smallest_group=smallest_group), making)


def test_the_card_tells_examples_settings_and_what_calibrates(model, examples):
    told = card_of(model, examples)
    demand_sound(told, examples["customer_key"], asset="lifetime_value_models", told={"seed": "3"})
    fitted, groups = tables(section(told, "Taught by"))
    assert fitted[0]["customers"] == str(model.purchase.customers)
    brought_value = (pl.col("horizon_net") > 0).sum()
    counted = examples.group_by("origin", "role").agg(pl.len(), brought_value).sort("origin", "role")
    for row, (origin, role, customers, brought) in zip(groups, counted.rows(), strict=True):
        assert (row["origin"], row["role"]) == (str(origin), role)
        assert row["customers"] == (str(customers) if customers >= 10 else "fewer than 10")
        if customers >= 10 and min(brought, customers - brought) >= 10:
            assert float(row["brought value"]) == pytest.approx(brought / customers, abs=1e-4)
    settings = {row["method"]: row["settings"] for row in tables(section(told, "Methods"))[0]}
    assert list(settings) == [method.name for method in model.methods]
    assert f"alpha {model.purchase.model.alpha:.4g}" in settings["bg_nbd_gamma_gamma"]
    assert f"width {model.learnt.settings.width}" in settings["ziln"]
    assert f"max_iter {model.learnt.orders.max_iter}" in settings["boosting"]
    for row in tables(section(told, "Calibration"))[0]:
        assert row["value times"] == f"{model.calibrations[row['method']].value_scale:.4f}"
        assert row["purchase days times"] == f"{model.calibrations[row['method']].orders_scale:.4f}"


def test_other_rows_seeds_and_horizons_are_other_cards(model, examples):
    told = card_of(model, examples)
    assert told == card_of(model, examples.sample(fraction=1, shuffle=True, seed=1))
    others = [
        card_of(model, examples, days=60), card_of(model, examples.head(300)), card_of(model, examples, seed=4),
        card_of(model, examples, smallest_group=10_000),
    ]  # fmt: skip
    assert len({told, *others}) == 5


def test_all_methods_foretell_and_learned_ones_foretell_something_else(model, customers):
    found = expected(model, customers)
    assert list(found) == [method.name for method in (*UNTAUGHT, *TAUGHT)]
    for of in found.values():
        for values in (of.orders, of.value):
            assert values.shape == customers.keys.shape
            assert np.isfinite(values).all()
            assert (values >= 0).all()
    for method in TAUGHT:
        told = np.corrcoef(found[method.name].value, found[BG_NBD.name].value)[0, 1]
        assert 0.5 < told < 0.9999


def test_totals_are_those_of_the_newest_closed_horizon(model, examples):
    newest = examples.filter(pl.col("origin") == examples["origin"].max()).sort("customer_key")
    then = buyers(newest.lazy())
    for method in (HISTORY, BOOSTED, ZILN):
        plain = forecast_method(model, then, method.name, days=HORIZON, horizon_days=HORIZON)
        assert plain.value.sum() == pytest.approx(newest["horizon_net"].sum(), rel=0.15)


def test_a_total_made_by_one_customer_moves_the_scale_little():
    many, one = np.full(400, 2.0), np.zeros(400)
    one[0] = 800.0
    assert _scale(np.ones(400), many) == pytest.approx(2.0, rel=0.02)
    assert _scale(np.ones(400), one) < 1.1
    assert _scale(np.ones(4), np.zeros(4)) == 1.0


def test_other_windows_grow_as_the_purchase_model_says(model, customers):
    horizon, year = (forecast_method(model, customers, ZILN.name, days=d, horizon_days=HORIZON) for d in (HORIZON, 365))
    plain = [forecast(model, customers, days=days).orders for days in (HORIZON, 365)]
    assert year.value / horizon.value == pytest.approx(plain[1] / plain[0])
    assert year.orders / horizon.orders == pytest.approx(plain[1] / plain[0])


def test_saved_methods_predict_the_same_and_order_of_rows_changes_no_byte(model, customers, examples, tmp_path):
    places = [tmp_path / name for name in ("one", "other")]
    mixed = examples.sample(fraction=1.0, shuffle=True, seed=2)
    again = train(customers, mixed, horizon_days=HORIZON, seed=3, max_epochs=4)
    for place, of in zip(places, (model, again), strict=True):
        place.mkdir()
        save(of, place)
    files = [{path.name: path.read_bytes() for path in place.iterdir()} for place in places]
    assert files[0] == files[1]
    before, after = expected(model, customers), expected(load(places[0]), customers)
    for name, of in before.items():
        assert after[name].value == pytest.approx(of.value, rel=1e-6)
    assert (places[0] / LEARNT_FILE).is_file()


def test_too_few_closed_horizons_leave_the_probabilistic_models(examples, tmp_path):
    options = {"horizon_days": HORIZON, "last_year": pl.DataFrame(), "work_directory": tmp_path, "seed": 1}
    assert learn(pl.DataFrame(), **options) == (None, {})
    assert learn(examples.clear(), **options) == (None, {})
    learnt, calibrations = learn(examples.head(120), **options)
    assert learnt is None
    assert set(calibrations) == {method.name for method in UNTAUGHT}


def test_bounds_hold_what_customers_kept_apart_did(model, examples):
    newest = examples.filter(pl.col("origin") == examples["origin"].max(), pl.col("role") == "calibrate")
    then = buyers(newest.lazy())
    long_seen = LifetimeValueModel(**{**vars(model), "seen_days": 1_000})
    for method in model.methods:
        found = published_intervals(long_seen, then, method.name, windows=[HORIZON], horizon_days=HORIZON, seed=1)
        assert found.method == CONFORMAL
        value = found.windows[0].value
        truth = newest.sort("customer_key")["horizon_net"].to_numpy()
        assert 0.86 <= ((truth >= value.low) & (truth <= value.high)).mean() <= 0.97


def test_bounds_widen_and_never_narrow_until_a_year_was_seen(model, customers):
    untaught = LifetimeValueModel(model.purchase, model.value, model.rival, seen_days=model.seen_days)
    assert interval_method(untaught, BG_NBD.name, horizon_days=HORIZON) == POSTERIOR
    assert interval_method(model, ZILN.name, horizon_days=HORIZON) == WIDER
    wide, simulated = (
        published_intervals(of, customers, BG_NBD.name, windows=[HORIZON, 365], horizon_days=HORIZON, seed=1).windows
        for of in (model, untaught)
    )
    for ours, theirs in zip(wide, simulated, strict=True):
        for name in ("orders", "value"):
            one, other = getattr(ours, name), getattr(theirs, name)
            assert (one.low <= other.low).all()
            assert (one.high >= other.high).all()
            assert (one.low <= one.high).all()


@pytest.mark.parametrize("method", [BOOSTED, ZILN])
def test_scores_of_learned_methods_keep_their_contract(model, customers, method):
    scores = score(
        model, customers, Publication(method.name, "A", ORIGIN), as_of=ORIGIN, horizon_days=HORIZON,
        model_version="0123456789ab", seed=1,
    )  # fmt: skip
    table = contract("lifetime_value_scores")
    validate_frame(table, table.conform(scores.lazy()).collect())
    assert scores["interval_method"].unique().to_list() == [WIDER]
    assert scores["driver_1"].null_count() < scores.height / 2


def test_the_scorecard_lists_every_method_with_every_metric(model, orders, customers):
    days = shop.customer_days_of(orders)
    labels = label_customers(days, days, origin=ORIGIN, horizon_days=HORIZON)
    card = grade(
        model, customers, labels, origin=ORIGIN, horizon_days=HORIZON, seed=1, model_version="0" * 12, resamples=50
    ).scorecard
    metrics = card.group_by("method").agg(pl.col("metric").sort())
    assert set(metrics["method"]) == {method.name for method in model.methods}
    assert metrics["metric"].n_unique() == 1
    assert "interval_coverage_value" in metrics["metric"][0]
