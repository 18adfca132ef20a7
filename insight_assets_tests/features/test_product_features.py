"""Product features against literal days and catalogues, against sums by hand, and against the future."""

from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.features.product_days import build_product_days
from insight_assets.features.product_features import build_product_features
from insight_assets_tests.features.shop import FIRST_DAY, Shop, broken_rules, content, shops, table

AS_OF = date(2025, 6, 30)


def days(*rows: dict[str, Any]):
    return table("product_days", [{"event_day": AS_OF - timedelta(days=row.pop("ago")), **row} for row in rows])


def catalogue(*rows: dict[str, Any], as_of: date = AS_OF):
    return table("products", [{"as_of": as_of, "first_seen": as_of, "last_seen": as_of, **row} for row in rows])


def features(product_days, products) -> dict[str, dict[str, Any]]:
    built = build_product_features(product_days, products, as_of=AS_OF)
    assert broken_rules("product_features", built) == []
    frame = contract("product_features").conform(built).collect()
    return {row["product_id"]: row for row in frame.iter_rows(named=True)}


def sold(product: str, ago: int, units: int, price: str = "10") -> dict[str, Any]:
    gross = units * Decimal(price)
    return {
        "product_id": product,
        "ago": ago,
        "units": units,
        "orders": 1,
        "gross": gross,
        "net": gross,
        "mean_price": float(price),
    }


def test_windows_ages_and_rates() -> None:
    back = {"product_id": "a", "ago": 3, "returned_units": 1, "refunded": Decimal(10), "net": Decimal(-10)}
    views = [{"product_id": "a", "ago": ago, "views": 4, "adds": 2} for ago in (6, 7, 89, 90, 364, 365)]
    row = features(days(sold("a", 5, 3), sold("a", 40, 1), back, *views), catalogue())["a"]
    assert [row[f"views_{window}d"] for window in (7, 30, 90, 365)] == [4, 8, 12, 20]
    assert (row["days_since_last_view"], row["days_since_last_sale"]) == (6, 5)
    assert (row["units_30d"], row["units_90d"], row["net_30d"], row["gross_90d"]) == (3, 4, 20.0, 40.0)
    assert row["return_share_30d"] == row["refund_share_30d"] == pytest.approx(1 / 3)
    assert (row["adds_per_view_30d"], row["orders_per_view_90d"], row["mean_price_30d"]) == (0.5, 2 / 12, 10.0)
    assert row["units_trend_30d"] == (3 - 1) / (3 + 1)
    assert (row["age_days"], row["is_new"], row["price_position"]) == (None, False, None)


def test_a_product_stands_among_its_like() -> None:
    products = catalogue(
        {"product_id": "a", "category": "tea", "price": Decimal(10), "currency": "CNY"},
        {"product_id": "b", "category": "tea", "price": Decimal(20), "currency": "CNY"},
        {"product_id": "c", "category": "tea", "price": Decimal(40), "currency": "CNY"},
        {"product_id": "d", "category": "tea", "price": Decimal(5), "currency": "USD"},
        {
            "product_id": "e",
            "category": "pot",
            "price": Decimal(5),
            "currency": "CNY",
            "first_seen": AS_OF - timedelta(days=30),
        },
        {"product_id": "f", "price": Decimal(5), "currency": "CNY"},
    )
    found = features(days(sold("a", 1, 1), sold("c", 1, 3), {"product_id": "b", "ago": 2, "views": 5}), products)
    assert [found[name]["price_position"] for name in "abcdef"] == [0.0, 0.5, 1.0, None, None, None]
    assert [found[name]["price_to_median"] for name in "abc"] == [0.5, 1.0, 2.0]
    assert [found[name]["category_products"] for name in "aef"] == [4, 1, None]
    assert [found[name]["sales_rank_in_category_30d"] for name in "abc"] == [2, None, 1]
    assert [found[name]["units_share_of_category_30d"] for name in "abc"] == [0.25, 0.0, 0.75]
    assert found["b"]["views_share_of_category_30d"] == 1.0
    assert [found[name]["is_new"] for name in "ae"] == [True, False]


@settings(max_examples=5, deadline=None)
@given(shop=shops(on=(0, 6, 7, 29, 30, 89, 90, 200), rows=50), order=st.randoms(use_true_random=False))
def test_sums_equal_those_by_hand_and_neither_order_nor_future_changes_a_byte(shop: Shop, order: Random) -> None:
    as_of = FIRST_DAY + timedelta(days=90)
    product_days = (
        contract("product_days")
        .conform(build_product_days(table("events", shop.events), table("order_lines", shop.order_lines)))
        .collect()
    )
    known = [{"product_id": name, "category": name[0], "price": Decimal(1), "currency": "CNY"} for name in ("a1", "a2")]
    products = catalogue(*known, as_of=as_of)
    one = content("product_features", build_product_features(product_days.lazy(), products, as_of=as_of))
    past = product_days.filter(product_days["event_day"] <= as_of)
    for rows in (past, product_days[order.sample(range(product_days.height), product_days.height)]):
        assert content("product_features", build_product_features(rows.lazy(), products, as_of=as_of)) == one
    frame = contract("product_features").conform(build_product_features(past.lazy(), products, as_of=as_of)).collect()
    for row in frame.iter_rows(named=True):
        for window in (7, 30, 90, 365):
            near = [
                line
                for line in shop.order_lines
                if line["product_id"] == row["product_id"] and 0 <= (as_of - line["event_day"]).days < window
            ]
            assert row[f"units_{window}d"] == sum(line["quantity"] for line in near if line["kind"] == "sale")
            assert row[f"net_{window}d"] == float(sum((line["net"] for line in near), Decimal(0)))


def test_no_product() -> None:
    assert features(days(), catalogue()) == {}
