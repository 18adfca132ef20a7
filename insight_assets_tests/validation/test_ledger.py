"""Orders, the events they imply, and what was said of products, from a few literal rows."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.validation.ledger import build_orders, derive_order_events, describe_products, observe_products

DAY = date(2025, 1, 1)


def at(hour: int, day: int = 1) -> datetime:
    return datetime(2025, 1, day, hour, tzinfo=UTC)


def rows(table: str, *each: dict[str, Any]) -> pl.LazyFrame:
    """Make rows of a table; what is left out is null."""
    of = contract(table)
    return pl.DataFrame(
        [{column.name: row.get(column.name) for column in of.columns} for row in each], schema=of.polars_schema()
    ).lazy()


def line(number: str, kind: str = "sale", **changes: Any) -> dict[str, Any]:
    amount = Decimal(str(changes.pop("amount", 10)))
    sale = kind == "sale"
    money = (
        {"gross": amount, "refunded": Decimal(0), "net": amount}
        if sale
        else {"gross": Decimal(0), "refunded": amount, "net": -amount}
    ) | {"tax": Decimal(0), "shipping": Decimal(0), "cancelled": Decimal(0), "discount": Decimal(0)}
    money |= {f"{name}_base": value for name, value in money.items()} | {"base_currency": "EUR", "exchange_rate": Decimal(1)}
    return {
        "order_line_id": number, "source": "shop", "order_id": "o1", "kind": kind, "event_day": DAY, "event_time": at(10), "known_at": at(10),
        "actor_key": 1, "customer_key": 1, "product_id": "p1", "is_product": True, "quantity": 2 if sale else -2, "unit_price": amount,
        "currency": "EUR", "channel": "web", "file_hash": "f", "line": 1,
        "traffic": "person",
    } | money | changes  # fmt: skip


def orders(*lines: dict[str, Any]) -> list[dict[str, Any]]:
    made = contract("orders").conform(build_orders(rows("order_lines", *lines))).collect()
    return made.sort("order_id", "kind", "source").rows(named=True)


def test_lines_of_a_document_are_summed():
    (sale,) = orders(
        line("1", amount="0.1"), line("2", amount="0.2", product_id="p2", event_time=at(9), known_at=at(20))
    )
    assert (sale["gross"], sale["net"], sale["lines"], sale["products"], sale["units"]) == (
        Decimal("0.3"),
        Decimal("0.3"),
        2,
        2,
        4,
    )
    assert (sale["event_time"], sale["known_at"]) == (at(9), at(20))


def test_sales_refunds_and_cancellations_of_an_order_are_two_documents():
    refund, sale = orders(line("1"), line("2", "refund", amount=3), line("3", "cancellation", amount=4))
    assert (refund["kind"], refund["refunded"], refund["net"], refund["gross"], refund["units"]) == (
        "refund",
        7,
        -7,
        0,
        4,
    )
    assert (sale["kind"], sale["net"]) == ("sale", 10)


def test_adjustments_make_no_document_and_fees_no_goods():
    (sale,) = orders(
        line("1"), line("2", is_product=False, product_id="POST"), line("3", "adjustment", amount=0, order_id="o2")
    )
    assert (sale["products"], sale["units"], sale["net"], sale["lines"]) == (1, 2, 20, 2)
    assert orders(line("1", "adjustment", amount=0)) == []


def test_documents_are_kept_apart_by_source():
    assert [order["source"] for order in orders(line("1"), line("1", source="other"))] == ["other", "shop"]


def test_a_document_is_of_the_customer_its_first_line_names():
    (sale,) = orders(
        line("1", customer_key=None, actor_key=None, event_time=at(8)),
        line("2", customer_key=7, actor_key=7),
        line("3", customer_key=5, actor_key=5, event_time=at(11)),
    )
    assert (sale["customer_key"], sale["actor_key"]) == (7, 7)


def implied(lines: list[dict[str, Any]], *told: dict[str, Any]) -> list[dict[str, Any]]:
    made = contract("orders").conform(build_orders(rows("order_lines", *lines)))
    events = contract("events").conform(derive_order_events(made, rows("events", *told))).collect()
    return events.sort("event").rows(named=True)


def test_an_order_implies_its_event():
    completed, refunded = implied([line("1"), line("2", "refund", amount=3)])
    assert (completed["event"], completed["value"], completed["order_id"]) == ("order_completed", 10, "o1")
    assert (refunded["event"], refunded["value"]) == ("order_refunded", 3)
    assert completed["event_id"] != refunded["event_id"]
    assert completed["file_hash"] == "derived"


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ({"event": "order_completed"}, ["order_refunded"]),
        ({"event": "order_refunded"}, ["order_completed"]),
        ({"event": "order_cancelled"}, ["order_completed"]),
        ({"event": "order_shipped"}, ["order_completed", "order_refunded"]),
        ({"event": "order_completed", "order_id": "o2"}, ["order_completed", "order_refunded"]),
        ({"event": "order_completed", "source": "other"}, ["order_completed", "order_refunded"]),
    ],
)
def test_an_event_that_was_told_is_not_implied(told, left):
    usual = {"event_id": "e", "source": "shop", "event_day": DAY, "order_id": "o1"}
    assert [event["event"] for event in implied([line("1"), line("2", "refund")], usual | told)] == left


def view(number: str, hour: int = 10, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": number,
        "source": "shop",
        "event_day": DAY,
        "event_time": at(hour),
        "product_id": "p1",
    } | changes


def observed(events: list[dict[str, Any]], lines: list[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    return (
        observe_products(rows("events", *events), rows("order_lines", *lines))
        .collect()
        .sort("product_id")
        .rows(named=True)
    )


def test_the_last_word_on_a_product_counts_column_by_column():
    (seen,) = observed(
        [view("1", 9, price=Decimal(1), brand="b", currency="EUR"), view("2", 11, price=Decimal(0), category="tea")],
        [line("3", event_time=at(10), unit_price=Decimal(5), product_name="Tee")],
    )
    assert (seen["price"], seen["brand"], seen["category"], seen["product_name"], seen["observed_at"]) == (
        5,
        "b",
        "tea",
        "Tee",
        at(11),
    )


def test_fees_and_events_without_a_product_describe_nothing():
    assert observed([view("1", product_id=None)], [line("2", is_product=False)]) == []


@given(order=st.permutations(range(4)))
def test_two_words_at_the_same_moment_are_settled_by_what_they_say(order):
    words = [
        view("1", price=Decimal(5), currency="USD", brand="b"), view("2", price=Decimal(10), currency="CNY", brand="a"),
        view("3", price=Decimal(7), currency="CNY"), view("4", brand="b"),
    ]  # fmt: skip
    (seen,) = observed([words[place] | {"event_id": str(n)} for n, place in enumerate(order)])
    # Price and currency are those of one row.
    assert (seen["price"], seen["currency"], seen["brand"]) == (5, "USD", "b")


def test_products_are_described_as_of_a_day():
    history = rows(
        "product_history",
        {
            "product_id": "p1",
            "source": "shop",
            "event_day": DAY,
            "price": Decimal(1),
            "brand": "b",
            "observed_at": at(10),
        },
        {
            "product_id": "p1",
            "source": "shop",
            "event_day": date(2025, 1, 3),
            "price": Decimal(3),
            "observed_at": at(10, 3),
        },
        {"product_id": "p2", "source": "shop", "event_day": date(2025, 1, 3), "observed_at": at(10, 3)},
    )
    first = describe_products(history, as_of=date(2025, 1, 2)).collect().rows(named=True)
    assert [(p["product_id"], p["price"], p["brand"], p["first_seen"], p["last_seen"]) for p in first] == [
        ("p1", 1, "b", DAY, DAY)
    ]
    later = describe_products(history, as_of=date(2025, 1, 3)).sort("product_id").collect().rows(named=True)
    assert [(p["product_id"], p["price"], p["brand"]) for p in later] == [("p1", 3, "b"), ("p2", None, None)]
