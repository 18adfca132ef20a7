from datetime import date, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.pandera_schemas import validate_frame
from insight_assets.insights.intent.visit_words import WORDS_ZH
from insight_assets.insights.intent.visits import (
    BEFORE_DAYS,
    LEARNT_DAYS,
    NOT_FEATURES,
    SEEN,
    build_visit_examples,
    visit_feature_names,
)
from insight_assets_tests.features.shop import ZONE, at, event, table

AS_OF = date(2025, 3, 20)
START = at("2025-03-18 10:00")
KINDS = (
    "page_viewed", "product_viewed", "product_added", "product_removed", "products_searched", "cart_viewed",
    "checkout_started", "payment_info_entered", "order_completed", "order_shipped",
)  # fmt: skip


def seen(rows: list[dict], as_of: date = AS_OF) -> pl.DataFrame:
    return build_visit_examples(table("events", rows), as_of=as_of, timezone=ZONE)


def visit(*kinds: str, start=START, customer: int | None = 1, browser: int = 100, **columns) -> list[dict]:
    """Events one minute apart."""
    return [
        event(kind, start + timedelta(minutes=number), customer, visitor_key=browser, **columns)
        for number, kind in enumerate(kinds)
    ]


def one(rows: pl.DataFrame, events_seen: int, session: str | None = None) -> dict:
    found = rows.filter(pl.col("events_seen") == events_seen)
    return (found if session is None else found.filter(pl.col("session_id") == session)).row(0, named=True)


def test_a_visit_is_told_after_its_first_events_and_only_while_it_goes_on():
    goods = {"product_id": "p1", "price": 5, "quantity": 2, "currency": None}
    rows = visit("product_viewed", "product_added", "cart_viewed", "checkout_started", "order_completed", **goods)
    found = seen(rows)
    assert found["events_seen"].to_list() == [1, 3]
    assert found["bought_later"].to_list() == [True, True]
    after = one(found, 3)
    assert (after["views"], after["adds"], after["carts"], after["checkouts"]) == (1, 1, 1, 0)
    assert (after["furthest_step"], after["last_event"], after["seconds"]) == ("cart", "cart_viewed", 120)
    assert (after["cart_value"], after["products"], after["hour"], after["weekday"]) == (10.0, 1, 10, 2)


def test_a_visit_that_ordered_already_is_left_out_and_a_second_order_counts():
    rows = visit("product_viewed", "order_completed", "page_viewed", "page_viewed")
    assert seen(rows)["events_seen"].to_list() == [1]
    again = visit("page_viewed", "page_viewed", "page_viewed", "order_completed", "page_viewed", "order_completed")
    assert seen(again).select("events_seen", "bought_later").rows() == [(1, True), (3, True)]


def test_what_becomes_of_the_as_of_days_visits_is_not_told():
    rows = visit("product_viewed", "order_completed", start=at("2025-03-20 10:00"))
    found = seen(rows)
    assert found["bought_later"].to_list() == [None]
    assert found["role"].to_list() == [None]
    assert seen(rows, as_of=date(2025, 3, 21))["bought_later"].to_list() == [True]


def test_signing_in_ends_no_visit_and_is_not_known_before():
    rows = [
        *visit("page_viewed", "product_viewed", customer=None),
        *visit("product_added", "order_completed", start=START + timedelta(minutes=2), customer=7),
    ]
    found = seen(rows)
    assert found["session_id"].n_unique() == 1
    assert found["actor_key"].unique().to_list() == [100]
    assert found.select("events_seen", "signed_in", "customer_key", "bought_later").rows() == [
        (1, False, None, True), (3, True, 7, True),
    ]  # fmt: skip


def test_earlier_visits_count_once_they_are_surely_over():
    earlier = visit("product_added", "page_viewed", start=START - timedelta(days=2))
    bought = visit("page_viewed", "order_completed", start=START - timedelta(days=4), browser=200)
    running = visit("product_added", "page_viewed", start=START - timedelta(minutes=20), browser=200)
    old = visit("page_viewed", "order_completed", start=START - timedelta(days=BEFORE_DAYS + 1))
    now = visit("page_viewed", "page_viewed")
    session = f"1-{int(START.timestamp()) * 1_000_000}"
    row = one(seen([*earlier, *bought, *running, *old, *now]), 1, session)
    assert (row["visits_before"], row["orders_before"], row["adds_before"], row["events_before"]) == (2, 1, 1, 4)
    assert (row["left_a_cart"], row["days_since_visit"]) == (True, pytest.approx(2, abs=0.01))
    assert row["days_since_order"] == pytest.approx(4, abs=0.01)
    alone = one(seen(now), 1)
    assert (alone["visits_before"], alone["days_since_visit"], alone["left_a_cart"]) == (0, None, False)


def test_only_the_days_learnt_from_have_rows():
    first = at("2025-03-20 10:00") - timedelta(days=LEARNT_DAYS)
    rows = [row for days in (0, 1) for row in visit("page_viewed", "page_viewed", start=first - timedelta(days=days))]
    assert seen(rows)["session_day"].to_list() == [first.date()]


def random_events(random: Random, *, since, count: int) -> list[dict]:
    """Events of two customers and a stranger on three browsers, some minutes apart."""
    rows, moment = [], since
    for _ in range(count):
        moment += timedelta(seconds=random.choice((5, 40, 200, 900, 2_000)))
        customer = random.choice((1, 2, None))
        columns = {
            "product_id": random.choice(("p", "q")), "category": "c", "price": random.randint(1, 9), "quantity": 1,
            "visitor_key": random.choice((100, 200, 300)), "channel": random.choice(("web", "app")),
        }  # fmt: skip
        rows.append(event(random.choice(KINDS), moment, customer, **columns))
    return rows


@given(seed=st.integers(0, 10_000))
@settings(max_examples=12)
def test_what_comes_after_the_events_seen_changes_no_feature(seed):
    random = Random(seed)
    rows = random_events(random, since=START, count=40)
    found = seen(rows)
    names = ["session_id", "actor_key", "customer_key", *visit_feature_names(found)]
    for number in random.sample(range(found.height), min(4, found.height)):
        row = found.row(number, named=True)
        since = row["started_at"] + timedelta(seconds=row["seconds"])
        known = [each for each in rows if each["event_time"] <= since]
        browser = next(each["visitor_key"] for each in known if each["event_time"] == row["started_at"])
        later = [
            event("page_viewed", since + timedelta(seconds=1), random.choice((1, 2, None)), visitor_key=browser),
            *random_events(random, since=since + timedelta(seconds=1), count=20),
        ]
        other = seen([*known, *later])
        kept = (pl.col("session_id") == row["session_id"]) & (pl.col("events_seen") == row["events_seen"])
        assert_frame_equal(other.filter(kept).select(names), found.filter(kept).select(names))


def test_rows_follow_the_contract_in_any_order():
    rows = random_events(Random(3), since=START, count=300)
    found = seen(rows)
    assert set(found["events_seen"]) >= {1, 3}
    assert set(found["events_seen"]) <= set(SEEN)
    validate_frame(contract("session_intent_examples"), found)
    shuffled = Random(4).sample(range(len(rows)), len(rows))
    numbered = table("events", rows).collect()
    again = build_visit_examples(numbered[shuffled].lazy(), as_of=AS_OF, timezone=ZONE)
    assert_frame_equal(again, found)


def test_every_feature_has_a_chinese_name():
    of = contract("session_intent_examples")
    assert set(WORDS_ZH) == {column.name for column in of.columns} - NOT_FEATURES
    assert seen([]).is_empty()
