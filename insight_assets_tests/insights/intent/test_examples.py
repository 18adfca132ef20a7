from datetime import date, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from insight_assets.contracts.catalogue import contract
from insight_assets.features.examples import NOT_FEATURES, feature_names
from insight_assets.insights.intent.examples import (
    HORIZONS,
    LABEL,
    LABEL_GUARDS,
    LABELS_OBEY,
    SOMEONE_TO_LEARN_FROM,
    build_intent_examples,
    judge_labels,
)
from insight_assets.ml.guards import BASE_RATE, WINDOWS_OBSERVED
from insight_assets_tests.insights.churn import shop

AS_OF = date(2024, 5, 29)
ALL_DAYS = {shop.FIRST_DAY + timedelta(days=ahead) for ahead in range(400)}


def visits_of(customer: int, *days: date) -> pl.DataFrame:
    """Days on which a customer came and bought nothing."""
    one = shop.customer_days_of(shop.simulate_orders(1)).collect().head(1)
    nothing = {name: pl.lit(0).cast(one.schema[name]) for name in ("orders", "order_lines", "units", "gross", "net")}
    return pl.concat(
        one.with_columns(
            actor_key=pl.lit(customer, pl.Int64), customer_key=pl.lit(customer, pl.Int64), event_day=pl.lit(day),
            last_order_at=pl.lit(None, one.schema["last_order_at"]),
            max_order_value=pl.lit(None, one.schema["max_order_value"]),
            bought_products=pl.lit([], one.schema["bought_products"]), **nothing,
        )
        for day in days
    )  # fmt: skip


def examples_of(days: pl.LazyFrame, as_of: date = AS_OF) -> pl.DataFrame:
    built = build_intent_examples(days, shop.nobody_linked, as_of=as_of, min_history_days=14)
    return built if built.is_empty() else contract("intent_examples").conform(built.lazy()).collect()


@pytest.fixture(scope="module")
def orders() -> pl.DataFrame:
    return shop.simulate_orders(120, seed=2)


@pytest.fixture(scope="module")
def examples(orders) -> pl.DataFrame:
    return examples_of(shop.customer_days_of(orders))


def test_origins_lie_a_horizon_back_and_only_closed_ones_are_labelled(examples):
    ago = [(AS_OF - origin).days for origin in examples["origin"].unique().sort(descending=True)]
    assert ago == [7, 14, 30, 60, 90]
    for origin, short, long in examples.select("origin", *(LABEL.format(days) for days in HORIZONS)).rows():
        assert short is not None
        assert (long is not None) == (origin <= AS_OF - timedelta(days=30))


def test_labels_say_whether_a_purchase_followed(examples, orders):
    bought = orders.select("customer_key", "event_day")
    for days in HORIZONS:
        label = LABEL.format(days)
        some = examples.drop_nulls(label).sample(200, seed=1)
        for key, origin, told in some.select("customer_key", "origin", label).rows():
            own = bought.filter(customer_key=key)["event_day"]
            assert told == ((own > origin) & (own <= origin + timedelta(days=days))).any()


def test_who_has_not_bought_yet_is_foretold_too(orders):
    days = shop.customer_days_of(orders).collect()
    looker = visits_of(77, AS_OF - timedelta(days=40), AS_OF - timedelta(days=3))
    found = examples_of(pl.concat([days, looker]).lazy()).filter(customer_key=77)
    assert found["origin"].to_list() == [AS_OF - timedelta(days=ago) for ago in (30, 14, 7)]
    assert found["orders_lifetime"].to_list() == [0, 0, 0]
    assert found["bought_7d"].to_list() == [False] * 3
    assert found["role"].n_unique() == 1


def test_days_after_the_as_of_day_and_row_order_change_nothing(orders, examples):
    known = orders.filter(pl.col("event_day") <= AS_OF)
    days = shop.customer_days_of(known).collect().sample(fraction=1, shuffle=True, seed=3)
    assert_frame_equal(examples_of(days.lazy()), examples)


def test_a_young_shop_has_nothing_to_learn_from():
    days = shop.customer_days_of(shop.simulate_orders(20))
    assert examples_of(days, as_of=shop.FIRST_DAY + timedelta(days=18)).is_empty()
    young = examples_of(shop.customer_days_of(shop.simulate_orders(100)), as_of=shop.FIRST_DAY + timedelta(days=25))
    assert young["bought_30d"].null_count() == young.height > 0


def test_no_label_is_a_feature(examples):
    names = feature_names(examples)
    assert not set(names) & NOT_FEATURES
    assert {"orders_7d", "events_1d", "open_cart_units"} <= set(names)


def failed(examples: pl.DataFrame, **options) -> list[str]:
    verdicts = judge_labels(examples, **({"as_of": AS_OF, "published": ALL_DAYS, "known": 5} | options))
    assert {verdict.guard for verdict in verdicts} == set(LABEL_GUARDS)
    return [verdict.guard for verdict in verdicts if not verdict.passed]


def test_guards_find_open_windows_and_labels_that_cannot_be(examples):
    assert failed(examples) == []
    assert failed(examples, published=ALL_DAYS - {AS_OF}) == [WINDOWS_OBSERVED]
    assert failed(examples.with_columns(bought_30d=pl.lit(value=True))) == [LABELS_OBEY, BASE_RATE]
    assert failed(examples.with_columns(bought_7d=pl.lit(None, pl.Boolean))) == [LABELS_OBEY]
    assert failed(pl.DataFrame()) == [SOMEONE_TO_LEARN_FROM]
    assert failed(pl.DataFrame(), known=0) == []
