"""What is known of customers and targets is counted up to the day, whatever comes later and in any order."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from insight_assets.insights.propensity.nearness import NEAR, Nearness
from insight_assets.insights.propensity.pairs import FEATURES, Known, all_pairs, describe_pairs
from insight_assets.insights.propensity.targets import (
    CATEGORY,
    FEWEST_BUYERS,
    KINDS,
    MOST,
    PRICE_BAND,
    PRODUCT,
    targets_sold,
)
from insight_assets.ml.calibration import logit
from insight_assets_tests.insights.propensity import shop
from insight_assets_tests.insights.propensity.conftest import (
    HORIZON,
    ORIGIN,
    known_of,
    products_encoded,
    vectors_of,
)


def described(known: Known, kind: str) -> pl.DataFrame:
    return describe_pairs(known, kind, all_pairs(known, kind))


def test_every_known_customer_is_paired_with_every_target(trained):
    known = trained.known
    for kind in KINDS:
        targets = known.targets[kind]
        assert 0 < targets.height <= MOST[kind]
        assert described(known, kind).height == known.customers.height * targets.height
    assert set(known.targets[CATEGORY]["target"]) == set(shop.CATEGORIES)
    assert set(known.targets[PRICE_BAND]["target"]) <= {"1", "2", "3", "4", "5"}


def test_the_targets_of_a_day_can_be_told_again_later(trained):
    days = shop.customer_days_of(trained.lines)
    assert days.filter(pl.col("event_day") > ORIGIN).collect().height > 0
    cuts, targets = targets_sold(days.collect().sample(fraction=1, shuffle=True, seed=3).lazy(), as_of=ORIGIN)
    assert_frame_equal(cuts, trained.known.cuts, check_row_order=False)
    assert {kind: each.to_list() for kind, each in targets.items()} == {
        kind: each["target"].to_list() for kind, each in trained.known.targets.items()
    }


def test_counts_are_those_of_the_records(trained):
    past = trained.lines.filter(pl.col("event_day") <= ORIGIN)
    frame = described(trained.known, PRODUCT).sample(40, seed=1)
    for row in frame.iter_rows(named=True):
        own = past.filter(pl.col("customer_key") == row["customer_key"])
        mine = own.filter(pl.col("product_id") == row["target"])
        bought = [(ORIGIN - day).days for day in mine.filter("bought")["event_day"].unique()]
        looked = [(ORIGIN - day).days for day in mine.filter(~pl.col("bought"))["event_day"].unique()]
        days = own.filter("bought")["event_day"].n_unique()
        assert row["own_days_365d"] == len(bought)
        assert row["own_days_90d"] == sum(age < 90 for age in bought)
        assert row["own_days_30d"] == sum(age < 30 for age in bought)
        assert row["days_since_own"] == min(bought, default=None)
        assert row["own_share_365d"] == (pytest.approx(len(bought) / days) if days else None)
        assert row["looked_days_30d"] == sum(age < 30 for age in looked)
        same = own.filter(pl.col("category") == row["target"].split("-")[0], "bought")
        assert row["group_days_365d"] == same["event_day"].n_unique()


def test_popularity_is_the_share_of_customers_who_bought(trained):
    first = ORIGIN - timedelta(days=HORIZON - 1)
    lately = trained.lines.filter("bought", pl.col("event_day").is_between(first, ORIGIN))
    buyers = dict(lately.group_by("product_id").agg(pl.col("customer_key").n_unique()).iter_rows())
    targets, customers = trained.known.targets[PRODUCT], trained.known.customers.height
    for target, rate in targets.select("target", "target_rate").iter_rows():
        assert rate == pytest.approx(buyers.get(target, 0) / customers)
    assert targets["target_rate_365d"].min() >= FEWEST_BUYERS / customers
    assert targets["target_rate_365d"].is_sorted(descending=True)


def test_habit_grows_with_own_purchases_and_stays_a_probability(trained):
    frame = described(trained.known, CATEGORY)
    assert frame["habit_rate"].is_between(0, 1, closed="left").all()
    means = frame.group_by(pl.col("own_days_365d").clip(0, 3)).agg(pl.col("habit_rate").mean()).sort("own_days_365d")
    assert means["habit_rate"].is_sorted()


def later_lines(trained) -> pl.DataFrame:
    """Everything that anybody could do after the day: known and new customers, known and new products."""
    after = trained.lines.filter(pl.col("event_day") <= ORIGIN).sample(300, seed=2)
    new = after.with_columns(pl.col("customer_key") // 3, product_id=pl.lit("new-1"), category=pl.lit("new"))
    return pl.concat([after, new]).with_columns(
        event_day=pl.lit(ORIGIN) + pl.duration(days=1 + pl.int_range(pl.len()) % 40), price=pl.col("price") * 10
    )


def test_nothing_that_comes_later_changes_a_value(trained):
    past = trained.lines.filter(pl.col("event_day") <= ORIGIN)
    added = known_of(pl.concat([past, later_lines(trained)]))
    for kind in KINDS:
        assert_frame_equal(described(known_of(past), kind), described(added, kind))


def test_the_order_of_rows_changes_nothing(trained):
    shuffled = known_of(trained.lines.sample(fraction=1, shuffle=True, seed=4))
    for kind in KINDS:
        assert_frame_equal(described(trained.known, kind), described(shuffled, kind))


def test_pairs_of_some_customers_are_those_of_all(trained):
    some = trained.known.customers["customer_key"][10:20]
    whole = described(trained.known, PRODUCT).filter(pl.col("customer_key").is_in(some.implode()))
    assert_frame_equal(describe_pairs(trained.known, PRODUCT, all_pairs(trained.known, PRODUCT, some)), whole)


def test_a_shop_that_sold_nothing_has_customers_and_no_targets():
    looks = shop.simulate_lines(30, days=60).filter(~pl.col("bought"))
    known = known_of(looks, as_of=shop.day(60))
    assert known.customers.height > 0
    for kind in KINDS:
        assert described(known, kind).is_empty()
        assert set(FEATURES) < set(described(known, kind).columns)


def test_nearness_is_the_cosine_of_customer_and_products(trained):
    known, of = trained.known, products_encoded()
    vectors = vectors_of(trained.lines).rows_by_key("customer_key", named=True, unique=True)
    place = {product: number for number, product in enumerate(of.products)}
    for kind in (PRODUCT, CATEGORY):
        products_of = known.products_of(kind)
        for row in described(known, kind).sample(60, seed=2).iter_rows(named=True):
            told = vectors[row["customer_key"]]
            unit = np.array(told["vector"]) / np.linalg.norm(told["vector"])
            cosines = [unit[place[product]] for product in products_of[row["target"]]]
            assert row["near_mean"] == pytest.approx(np.mean(cosines), abs=2e-6)
            assert row["near_best"] == pytest.approx(max(cosines), abs=2e-6)
            assert row["order_log_odds"] == pytest.approx(logit(told["order_chance"]), abs=2e-6)
    bands = described(known, PRICE_BAND)
    assert bands.select("near_mean", "near_best").null_count().row(0) == (bands.height, bands.height)
    assert bands["order_log_odds"].null_count() == 0


def test_nothing_is_near_where_the_encoder_knows_nobody_or_no_product(trained):
    of, told = products_encoded(), vectors_of(trained.lines)
    assert Nearness.of(of, told.with_columns(model_version=pl.lit("v2")), horizon_days=HORIZON) is None
    assert Nearness.of(of, told, horizon_days=HORIZON + 1) is None
    one = told["customer_key"].min()
    near = Nearness.of(of, told.filter(customer_key=one), horizon_days=HORIZON)
    pairs = pl.DataFrame({"customer_key": [one, one, -5], "target": ["kitchen-0", "new", "kitchen-0"]})
    found = near.describe(pairs, {"kitchen-0": ["kitchen-0"], "new": ["new"]})
    assert found.columns == list(NEAR)
    assert found["near_best"].is_null().to_list() == [False, True, True]
    assert found["order_log_odds"].is_null().to_list() == [False, False, True]
    assert near.describe(pairs.clear(), {}).is_empty()
