from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.features.examples import (
    NOT_FEATURES,
    build_examples,
    customer_roles,
    feature_names,
)
from insight_assets_tests.insights.churn import shop
from insight_assets_tests.insights.churn.conftest import ORIGIN, examples_of


def test_rows_follow_the_contract(trained):
    table = contract("churn_examples")
    validate_frame(table, table.conform(trained.examples.lazy()).collect())


def test_origins_are_closed_and_a_horizon_back(trained):
    origins = trained.examples["origin"].unique().sort(descending=True).to_list()
    newest = ORIGIN - timedelta(days=shop.HORIZON)
    assert origins == [newest - timedelta(days=14 * back) for back in range(4)]


def test_labels_say_whether_a_purchase_followed(trained):
    bought = trained.orders.select("customer_key", "event_day")
    for key, origin, churned in trained.examples.select("customer_key", "origin", "churned").rows():
        own = bought.filter(customer_key=key)["event_day"]
        followed = ((own > origin) & (own <= origin + timedelta(days=shop.HORIZON))).any()
        assert churned == (not followed)


def test_nobody_is_learnt_from_and_kept_apart(trained):
    roles = trained.examples.group_by("customer_key").agg(pl.col("role").n_unique())
    assert roles["role"].max() == 1
    calibrate = trained.examples.filter(role="calibrate")
    assert calibrate["origin"].unique().to_list() == [ORIGIN - timedelta(days=shop.HORIZON)]
    share = (
        trained.examples.filter(pl.col("origin") == calibrate["origin"][0]).group_by("role").len()
    )
    counts = dict(share.iter_rows())
    assert counts["calibrate"] / sum(counts.values()) == pytest.approx(0.3, abs=0.08)
    assert counts["stop"] / sum(counts.values()) == pytest.approx(0.1, abs=0.06)


@given(later=st.integers(1, 40), seed=st.integers(0, 5))
@settings(max_examples=4)
def test_days_after_the_as_of_day_change_nothing(later, seed):
    orders = shop.simulate_orders(60)
    known = orders.filter(pl.col("event_day") <= ORIGIN)
    added = orders.sample(30, seed=seed).with_columns(
        event_day=ORIGIN + timedelta(days=later),
        event_time=pl.col("event_time").dt.offset_by("1y"),
    )
    assert_frame_equal(examples_of(known), examples_of(pl.concat([known, added])))


def test_row_order_does_not_matter():
    orders = shop.simulate_orders(60)
    days, events = shop.customer_days_of(orders).collect(), shop.events_of(orders).collect()
    options = {"as_of": ORIGIN, "horizon_days": 30, "spacing_days": 14, "min_history_days": 14}
    assert_frame_equal(
        build_examples(days.lazy(), events.lazy(), shop.nobody_linked, **options),
        build_examples(
            days.sample(fraction=1, shuffle=True, seed=1).lazy(),
            events.sample(fraction=1, shuffle=True, seed=2).lazy(),
            shop.nobody_linked,
            **options,
        ),
    )


@pytest.mark.parametrize("as_of", [shop.FIRST_DAY + timedelta(days=20), date(2023, 1, 1)])
def test_without_a_closed_origin_there_is_nothing_to_learn(as_of):
    assert examples_of(shop.simulate_orders(20), as_of=as_of).is_empty()


def test_one_closed_origin_is_split_by_customers():
    as_of = shop.FIRST_DAY + timedelta(days=45)
    examples = examples_of(shop.simulate_orders(150), as_of=as_of)
    assert examples["origin"].n_unique() == 1
    assert set(examples["role"]) == {"fit", "stop", "calibrate"}


def test_of_many_customers_a_fixed_part_is_taken():
    keys = np.arange(1_000)
    few, more = (customer_roles(keys, max_customers=most) for most in (100, 200))
    assert (few.height, more.height) == (100, 200)
    assert few.join(more, on=["customer_key", "role"]).height == 100
    assert_frame_equal(few, customer_roles(keys[::-1], max_customers=100))


def test_no_identity_day_or_label_is_a_feature(trained):
    names = feature_names(trained.examples)
    assert not set(names) & NOT_FEATURES
    assert "first_seen_day" not in names
    known = [c.name for c in contract("churn_examples").columns if c.dtype != pl.Date and not c.dtype.is_nested()]
    assert names == sorted(name for name in known if name not in NOT_FEATURES)
