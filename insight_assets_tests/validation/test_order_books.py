"""The books of orders over their life: refunds in parts, whole, too large, too early; how often a customer bought."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.money import without_void_orders
from insight_assets.validation.assets import NO_MORE_THAN_PAID
from insight_assets.validation.order_books import balance_orders
from insight_assets_tests.deliveries import order, product
from insight_assets_tests.features.shop import Shop, customer_days, document, table

LATE = date(2025, 3, 31)


def books(*documents: tuple) -> list[tuple]:
    orders = table("orders", [head for head, _ in documents])
    found = balance_orders(orders).sort("order_id").collect()
    return found.select("order_id", "paid", "given_back", "without_sale", "above_paid", "void").rows()


def sale(number: str, day: int = 1, price: str = "10", customer: int = 1) -> tuple:
    return document("sale", number, f"2025-03-{day:02} 10:00", customer, ("tea", 1, price))


def refund(number: str, day: int, amount: str, customer: int = 1) -> tuple:
    return document("refund", number, f"2025-03-{day:02} 10:00", customer, ("tea", 1, amount))


def test_refunds_in_parts_are_added_up_over_days():
    (whole,) = books(sale("o1"), refund("o1", 3, "4"), refund("o1", 9, "6"))
    assert whole == ("o1", 10, 10, False, False, True)
    (part,) = books(sale("o1"), refund("o1", 3, "4"))
    assert part == ("o1", 10, 4, False, False, False)


def test_more_than_was_paid_is_told_but_for_a_cent():
    assert [row[4] for row in books(sale("o1"), refund("o1", 3, "10.01"))] == [False]
    assert [row[4] for row in books(sale("o1"), refund("o1", 3, "10.02"))] == [True]


def test_a_refund_without_an_order_is_told_apart():
    assert books(refund("o1", 3, "5")) == [("o1", 0, 5, True, False, False)]


@settings(max_examples=20)
@given(place=st.permutations(range(4)))
def test_the_order_of_documents_does_not_matter(place):
    documents = [sale("o1"), refund("o1", 3, "4"), refund("o1", 2, "6"), sale("o2", 5)]
    assert books(*(documents[number] for number in place)) == books(*documents)


@pytest.mark.parametrize(("counted", "orders"), [(True, 2), (False, 1)])
def test_an_order_given_back_whole_leaves_money_nothing_and_frequency_by_the_policy(counted, orders):
    documents = [sale("o1", 1), sale("o2", 5, "30"), refund("o1", 9, "10")]
    heads = table("orders", [head for head, _ in documents])
    days = customer_days(Shop([], [head for head, _ in documents], [line for _, lines in documents for line in lines]))
    kept = days if counted else without_void_orders(days, heads, as_of=LATE)
    (after,) = build_customer_features(kept, as_of=LATE).collect().rows(named=True)
    assert (after["orders_lifetime"], after["net_lifetime"]) == (orders, 30)
    # What is lost by the refund was not lost before it.
    early = date(2025, 3, 8)
    before = days if counted else without_void_orders(days, heads, as_of=early)
    (known,) = build_customer_features(before, as_of=early).collect().rows(named=True)
    assert (known["orders_lifetime"], known["net_lifetime"]) == (2, 40)


def test_a_refund_above_the_payment_warns_and_publishes(home):
    home.land_calls("a.ndjson", [order("m1", "2025-01-04T02:00:00Z", product(price=10))])
    home.build("2025-01-04")
    back = order("m2", "2025-01-06T02:00:00Z", product(price=11), event="Order Refunded")
    stray = order("m3", "2025-01-06T02:00:00Z", product(price=2), event="Order Refunded", properties={"order_id": "o7"})
    home.land_calls("b.ndjson", [back, stray])
    result = home.build("2025-01-06")
    (check,) = [each for each in result.get_asset_check_evaluations() if each.check_name == NO_MORE_THAN_PAID]
    assert not check.passed
    told = {name: check.metadata[name].value for name in ("orders", "above_paid", "without_sale", "void")}
    assert told == {"orders": 2, "above_paid": 1, "without_sale": 1, "void": 1}
    # The refund is booked on its own day; the day of the sale stays as it was.
    assert home.table("orders", "2025-01-06")["net"].sum() == -13
    assert home.table("orders", "2025-01-04")["net"].sum() == 10
