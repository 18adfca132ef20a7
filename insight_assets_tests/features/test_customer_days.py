"""Daily sums per customer against literal days, and their independence from order and split."""

from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.features.customer_days import COUNTED, build_customer_days, merge_actors
from insight_assets.features.vocabulary import CHANNELS, SHOP_EVENTS, event_kinds
from insight_assets.purposes import as_people
from insight_assets_tests.features.shop import (
    ZONE,
    Shop,
    actor_days,
    at,
    broken_rules,
    content,
    customer_days,
    document,
    event,
    shops,
    table,
    visits,
)


def test_vocabulary_follows_the_contract() -> None:
    assert set(COUNTED.values()) | set(SHOP_EVENTS) <= set(event_kinds())
    assert contract("events").column("channel").allowed == CHANNELS
    assert event_kinds().index("page_viewed") == 0


def test_one_busy_day() -> None:
    sale, sale_lines = document(
        "sale",
        "o1",
        "2025-03-02 12:10",
        1,
        ("a1", 2, "10"),
        ("b1", 1, "5"),
        coupon="X",
        discount="1",
    )
    small, small_lines = document("sale", "o2", "2025-03-02 18:00", 1, ("a1", 1, "3"))
    back, back_lines = document("refund", "o0", "2025-03-02 20:00", 1, ("c1", 1, "7.5"))
    shop = Shop(
        events=[
            event(
                "products_searched",
                "2025-03-02 05:59",
                query="tea",
                results=0,
                campaign_source="ads",
            ),
            event("products_searched", "2025-03-02 06:00", query="tea", results=3),
            event(
                "product_viewed", "2025-03-02 06:01", product_id="c1", category="c", channel="app"
            ),
            event(
                "product_viewed", "2025-03-02 06:02", product_id="a1", category="a", channel="app"
            ),
            event("product_added", "2025-03-02 06:03", product_id="a1", campaign_source="mail"),
            event("product_reviewed", "2025-03-02 19:00", product_id="a1", rating=4),
            event(
                "order_completed",
                "2025-03-02 12:10",
                order_id="o1",
                value=Decimal(23),
                currency="CNY",
            ),
            event("order_delivered", "2025-03-02 23:30", order_id="o0"),
            event("page_viewed", "2025-03-02 10:00", customer=None, visitor_key=9),
        ],
        orders=[sale, small, back],
        order_lines=sale_lines + small_lines + back_lines,
    )
    frame = customer_days(shop).collect()
    assert frame.height == 1, "a visitor has no customer day"
    row = frame.row(0, named=True)
    expected = {
        "customer_key": 1, "event_day": date(2025, 3, 2), "events": 7, "shop_events": 1,
        "searches": 2, "zero_result_searches": 1,
        "product_views": 2, "adds": 1, "reviews": 1, "rating_sum": 4, "tickets": 0,
        "sessions": 3, "session_seconds": 240, "bounced_sessions": 1,
        "cart_sessions": 1, "abandoned_sessions": 1,
        "orders": 2, "order_lines": 3, "units": 4,
        "gross": Decimal(28), "discount": Decimal(2), "refunded": Decimal("7.5"),
        "net": Decimal("18.5"), "max_order_value": Decimal(23),
        "refunds": 1, "coupon_orders": 1, "discounted_orders": 1,
        "currencies": ["CNY"],
        "events_night": 1, "events_morning": 4, "events_afternoon": 1, "events_evening": 1,
        "events_web": 5, "events_app": 2, "events_store": 0,
        "first_event_at": at("2025-03-02 05:59"), "last_event_at": at("2025-03-02 23:30"),
        "last_view_at": at("2025-03-02 06:02"), "last_search_at": at("2025-03-02 06:00"),
        "last_add_at": at("2025-03-02 06:03"),
        "last_order_at": at("2025-03-02 18:00"),
        "last_refund_at": at("2025-03-02 20:00"), "last_ticket_at": None,
        "bought_products": ["a1", "b1"], "bought_categories": ["a", "b"],
        "bought_brands": ["aa", "bb"],
        "viewed_categories": ["a", "c"],
        "first_campaign_source": "ads", "last_campaign_source": "ads",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert broken_rules("customer_days", frame.lazy()) == []


def test_ledger_without_events_makes_a_day() -> None:
    sale, lines = document("sale", "o1", "2025-03-02 12:10", 4, ("a1", 2, "10"))
    guest, guest_lines = document("sale", "o2", "2025-03-02 12:10", None, ("a1", 2, "10"))
    fee = {**lines[0], "order_line_id": "fee", "product_id": "POST", "is_product": False}
    frame = customer_days(Shop([], [sale, guest], [*lines, *guest_lines, fee]))
    row = frame.collect().row(0, named=True)
    assert frame.collect().height == 1
    assert (row["events"], row["orders"], row["first_event_at"], row["bought_products"]) == (
        0,
        1,
        at("2025-03-02 12:10"),
        ["a1"],
    )
    assert broken_rules("customer_days", frame) == []


def test_day_parts_follow_the_shops_clock_through_a_clock_change() -> None:
    # Berlin skips 2:00 to 3:00 on 2025-03-30: 1:59 and 3:00 are a minute apart, both at night.
    day = event("page_viewed", "2025-03-30 00:00")
    times = [
        datetime(2025, 3, 30, *clock, tzinfo=UTC) for clock in ((0, 59), (1, 0), (3, 59), (4, 0))
    ]
    frame = build_customer_days(
        table("events", [{**day, "event_time": moment} for moment in times]),
        *(table(name, []) for name in ("orders", "order_lines", "sessions")),
        timezone="Europe/Berlin",
    ).collect()
    assert frame.select("events_night", "events_morning").row(0) == (3, 1)


@settings(max_examples=20, deadline=None)
@given(shop=shops(on=range(3), rows=50), order=st.randoms(use_true_random=False))
def test_row_order_and_split_by_day_change_nothing(shop: Shop, order: Random) -> None:
    shuffled = Shop(
        *(order.sample(rows, len(rows)) for rows in (shop.events, shop.orders, shop.order_lines, shop.payments))
    )
    together = actor_days(shuffled)
    inputs = {**shop.tables(), "sessions": visits(shop)}
    day_by_day = [
        build_customer_days(
            **{name: rows.filter(pl.col("event_day") == day) for name, rows in inputs.items()},
            timezone=ZONE,
        )
        for day in shop.days()
    ]
    of = contract("customer_days")
    split = pl.concat([of.empty().lazy(), *(of.conform(part) for part in day_by_day)])
    assert content("customer_days", together) == content("customer_days", split)
    assert broken_rules("customer_days", together) == []


@settings(max_examples=20, deadline=None)
@given(shop=shops(on=range(6), rows=50))
def test_sums_over_days_equal_the_ledger_and_the_events(shop: Shop) -> None:
    frame = customer_days(shop).collect()
    known = [row for row in shop.orders if row["customer_key"] is not None]
    assert frame["orders"].sum() == sum(row["kind"] == "sale" for row in known)
    assert frame["net"].sum() == sum((row["net"] for row in known), Decimal(0))
    own = [
        row
        for row in shop.events
        if row["customer_key"] is not None and row["event"] not in SHOP_EVENTS
    ]
    assert frame["events"].sum() == len(own)
    assert frame["product_views"].sum() == sum(row["event"] == "product_viewed" for row in own)


def known_as(shop: Shop, *actors: int, person: int = 1) -> pl.LazyFrame:
    """Give the days of the shop's people once some actors are known to be one person."""
    who = [{"identifier_key": actor, "identifier_type": "visitor", "customer_key": person} for actor in actors]
    return as_people(actor_days(shop), table("identities", who)).drop("account_key")


def told(days: pl.LazyFrame) -> str:
    return content("customer_days", merge_actors(days).with_columns(actor_key=pl.col("customer_key")))


def test_browsing_before_signing_in_adds_to_the_day_of_the_customer() -> None:
    sale, lines = document("sale", "o1", "2025-03-02 12:10", 1, ("a1", 2, "10"))
    before = {"visitor_key": 77, "product_id": "b1", "category": "b"}
    events = [
        event("product_viewed", "2025-03-02 11:00", None, campaign_source="ads", **before),
        event("product_viewed", "2025-03-02 12:00", product_id="a1", category="a", campaign_source="mail"),
    ]
    days = known_as(Shop(events, [sale], lines), 77)
    (day,) = merge_actors(days).collect().rows(named=True)
    assert (day["customer_key"], day["product_views"], day["orders"], day["sessions"]) == (1, 2, 1, 2)
    assert (day["viewed_categories"], day["bought_products"]) == (["a", "b"], ["a1"])
    assert (day["net"], day["max_order_value"]) == (Decimal(20), Decimal(20))
    assert (day["first_campaign_source"], day["last_campaign_source"]) == ("ads", "mail")
    assert day["first_event_at"] == at("2025-03-02 11:00").astimezone(UTC)


@settings(max_examples=15, deadline=None)
@given(shop=shops(on=[0, 1]), order=st.randoms(use_true_random=False))
def test_merged_actors_depend_on_no_order_and_keep_every_sum(shop: Shop, order: Random) -> None:
    tables = (shop.events, shop.orders, shop.order_lines, shop.payments)
    shuffled = Shop(*(order.sample(rows, len(rows)) for rows in tables))
    assert told(known_as(shop, 77, 2)) == told(known_as(shuffled, 77, 2))
    sums = ["events", "orders", "sessions", "net", "refunded", "lines"]
    sums = [name for name in sums if name in contract("customer_days").polars_schema()]
    every = known_as(shop, 77, 2).select(pl.col(sums).sum()).collect()
    assert merge_actors(known_as(shop, 77, 2)).select(pl.col(sums).sum()).collect().rows() == every.rows()
