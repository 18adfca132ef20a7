"""Daily sums per product against literal rows and the ledger."""

from datetime import date
from decimal import Decimal
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.features.product_days import build_product_days
from insight_assets_tests.features.shop import (
    Shop,
    broken_rules,
    content,
    document,
    event,
    shops,
    table,
)


def test_one_product_on_one_day() -> None:
    noon = "2025-03-02 12:00"
    sale, lines = document("sale", "o1", noon, 1, ("a1", 2, "10"), ("a1", 1, "13"), discount="1")
    _, other = document("sale", "o2", noon, None, ("a1", 1, "11"))
    _, back = document("refund", "o0", noon, 2, ("a1", 3, "10"))
    fee = {**lines[0], "order_line_id": "fee", "product_id": "POST", "is_product": False}
    lost = {**lines[0], "order_line_id": "lost", "product_id": "b1", "kind": "adjustment"}
    events = [
        event("product_viewed", noon, 1, product_id="a1"),
        event("product_viewed", noon, 1, product_id="a1"),
        event("product_viewed", noon, None, visitor_key=9, product_id="a1"),
        event("product_added", noon, 1, product_id="a1"),
        event("product_reviewed", noon, 1, product_id="a1", rating=4),
        event("product_viewed", noon, 1, product_id="c1"),
        event("page_viewed", noon, 1, product_id="d1"),
        event("products_searched", noon, 1),
    ]
    built = build_product_days(
        table("events", events), table("order_lines", [*lines, *other, *back, fee, lost])
    )
    rows = contract("product_days").conform(built).collect().rows(named=True)
    assert [row["product_id"] for row in rows] == ["a1", "c1"]
    expected = {
        "event_day": date(2025, 3, 2),
        "views": 3,
        "viewers": 2,
        "adds": 1,
        "clicks": 0,
        "orders": 2,
        "buyers": 1,
        "units": 4,
        "gross": Decimal(44),
        "discount": Decimal(2),
        "refunded": Decimal(30),
        "net": Decimal(12),
        "returned_units": 3,
        "mean_price": 11.0,
        "reviews": 1,
        "rating_sum": 4,
    }
    assert {name: rows[0][name] for name in expected} == expected
    assert (rows[1]["views"], rows[1]["gross"], rows[1]["mean_price"]) == (1, Decimal(0), None)
    assert broken_rules("product_days", built) == []
    assert sale["gross"] == Decimal(33)


@settings(max_examples=20, deadline=None)
@given(shop=shops(on=range(3), rows=50), order=st.randoms(use_true_random=False))
def test_equal_to_the_ledger_whatever_the_order(shop: Shop, order: Random) -> None:
    tables = shop.tables()
    built = build_product_days(tables["events"], tables["order_lines"])
    shuffled = build_product_days(
        table("events", order.sample(shop.events, len(shop.events))),
        table("order_lines", order.sample(shop.order_lines, len(shop.order_lines))),
    )
    assert content("product_days", built) == content("product_days", shuffled)
    assert broken_rules("product_days", built) == []
    frame = contract("product_days").conform(built).collect()
    assert frame["net"].sum() == sum((row["net"] for row in shop.order_lines), Decimal(0))
    viewed = sum(row["event"] == "product_viewed" for row in shop.events)
    assert frame["views"].sum() == viewed
