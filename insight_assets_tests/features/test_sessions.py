"""Visits: the pause, midnight, and independence from order and from other days."""

from collections import defaultdict
from datetime import UTC, date, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from insight_assets.contracts.catalogue import contract
from insight_assets.features.sessions import build_sessions, split_share
from insight_assets.features.vocabulary import SHOP_EVENTS
from insight_assets_tests.features.shop import FIRST_DAY, Shop, at, broken_rules, content, event, shops, table

DAY = date(2025, 3, 2)


def sessions(rows: list[dict], day: date = DAY) -> pl.DataFrame:
    return (
        contract("sessions")
        .conform(build_sessions(table("events", rows), first=day, last=day))
        .collect()
    )


def test_a_pause_over_thirty_minutes_begins_a_new_visit() -> None:
    last = at("2025-03-02 10:30")
    rows = [
        event("product_viewed", "2025-03-02 10:00", device="mobile"),
        event("product_added", last, channel="app", device="desktop"),
        event("order_completed", last + timedelta(minutes=30, microseconds=1)),
    ]
    found = sessions(rows)
    assert found["events"].to_list() == [2, 1]
    first = found.row(0, named=True)
    start = at("2025-03-02 10:00")
    assert first["session_id"] == f"1-{int(start.timestamp()) * 1_000_000}"
    assert (first["started_at"], first["last_event_at"]) == (start, last)
    assert (first["views"], first["adds"], first["orders"], first["duration_seconds"]) == (
        1,
        1,
        0,
        1800,
    )
    assert (first["channel"], first["device"], first["continued"], first["bounced"]) == (
        "web",
        "mobile",
        False,
        False,
    )
    assert found["bounced"].to_list() == [False, False], "a single order is no bounce"


def test_visit_over_the_shops_midnight_keeps_identity_and_start() -> None:
    rows = [
        event("page_viewed", "2025-03-01 23:20", campaign_source="ads"),
        event("page_viewed", "2025-03-01 23:45"),
        event("product_viewed", "2025-03-02 00:10"),
        event("product_viewed", "2025-03-02 00:55"),
    ]
    before, after = sessions(rows, DAY - timedelta(days=1)), sessions(rows)
    assert after["continued"].to_list() == [True, False]
    assert after["session_id"][0] == before["session_id"][0]
    assert after["started_at"][0] == before["started_at"][0] == at("2025-03-01 23:20")
    assert after["first_event_at"][0] == at("2025-03-02 00:10")
    assert after["bounced"].to_list() == [False, True]


def test_the_share_of_visits_that_midnight_cut_is_told() -> None:
    rows = [
        event("product_viewed", "2025-03-01 23:50", 1),
        event("product_viewed", "2025-03-02 00:10", 1),
        event("product_viewed", "2025-03-02 09:00", 1),
        event("product_viewed", "2025-03-02 09:00", 2),
        event("product_viewed", "2025-03-02 15:00", 3),
    ]
    shares = {
        day: split_share(build_sessions(table("events", rows), first=day, last=day).collect())
        for day in (FIRST_DAY, FIRST_DAY + timedelta(days=1), FIRST_DAY + timedelta(days=2))
    }
    assert list(shares.values()) == [0.0, 0.25, 0.0]


def test_midnight_is_the_shops_not_that_of_utc() -> None:
    rows = [event("page_viewed", "2025-03-02 07:50"), event("page_viewed", "2025-03-02 08:10")]
    assert {row["event_time"].astimezone(UTC).date() for row in rows} == {date(2025, 3, 1), DAY}
    assert sessions(rows)["events"].to_list() == [2]


def test_who_makes_no_visit() -> None:
    rows = [event(kind, "2025-03-02 10:00") for kind in SHOP_EVENTS]
    rows.append(event("order_completed", "2025-03-02 10:00", customer=None))
    assert sessions(rows).is_empty()
    assert sessions([]).is_empty()


def test_visitor_and_customer_are_two_actors() -> None:
    rows = [
        event("page_viewed", "2025-03-02 10:00", customer=None, visitor_key=7),
        event("page_viewed", "2025-03-02 10:01", customer=5, visitor_key=7),
    ]
    found = sessions(rows).sort("actor_key")
    assert found["customer_key"].to_list() == [5, None]
    assert found["actor_key"].to_list() == [5, 7]


def test_equal_times_are_told_apart_by_event_id_and_source() -> None:
    moment = "2025-03-02 10:00"
    rows = [
        event("page_viewed", moment, event_id="b", source="a", device="desktop"),
        event("page_viewed", moment, event_id="a", source="b", device="tablet"),
        event("page_viewed", moment, event_id="a", source="a", device="mobile"),
    ]
    assert sessions(rows)["device"].to_list() == ["mobile"]
    assert sessions(rows[::-1])["device"].to_list() == ["mobile"]


TOLD = ("started_at", "first_event_at", "last_event_at", "events", "adds")


def naive(shop: Shop) -> dict[tuple[str, date], tuple]:
    """Cut all events of an actor at once, then split each visit by day."""
    by_actor = defaultdict(list)
    for row in shop.events:
        if row["actor_key"] is not None and row["event"] not in SHOP_EVENTS:
            by_actor[row["actor_key"]].append(row)
    found = {}
    for actor, rows in by_actor.items():
        rows.sort(key=lambda row: (row["event_time"], row["event_id"]))
        start = previous = None
        for row in rows:
            if previous is None or row["event_time"] - previous > timedelta(minutes=30):
                start = row["event_time"]
            previous = row["event_time"]
            key = (f"{actor}-{int(start.timestamp()) * 1_000_000}", row["event_day"])
            began, _, _, events, adds = found.get(key, (start, row["event_time"], None, 0, 0))
            first = found[key][1] if key in found else row["event_time"]
            found[key] = (
                began,
                first,
                row["event_time"],
                events + 1,
                adds + (row["event"] == "product_added"),
            )
    return found


@settings(max_examples=40, deadline=None)
@given(shop=shops(on=range(4), rows=60))
def test_days_cut_one_by_one_equal_a_cut_over_all_events(shop: Shop) -> None:
    events = shop.tables()["events"]
    # Newest day first: no day may need another day's visits.
    parts = [
        contract("sessions").conform(build_sessions(events, first=day, last=day))
        for day in reversed(shop.days())
    ]
    built = pl.concat([contract("sessions").empty().lazy(), *parts])
    rows = built.collect().iter_rows(named=True)
    told = {
        (row["session_id"], row["event_day"]): tuple(row[name] for name in TOLD) for row in rows
    }
    assert told == naive(shop)
    if shop.days():
        first, last = shop.days()[0], shop.days()[-1]
        at_once = build_sessions(events, first=first, last=last)
        assert content("sessions", at_once) == content("sessions", built)
    assert broken_rules("sessions", built) == []


@settings(max_examples=25, deadline=None)
@given(shop=shops(on=range(4), rows=60), order=st.randoms(use_true_random=False))
def test_row_order_and_other_days_change_nothing(shop: Shop, order: Random) -> None:
    shuffled = list(shop.events)
    order.shuffle(shuffled)
    for day in shop.days():
        neighbours = [row for row in shuffled if row["event_day"] in {day, day - timedelta(days=1)}]
        whole = build_sessions(table("events", shop.events), first=day, last=day)
        assert content(
            "sessions", build_sessions(table("events", neighbours), first=day, last=day)
        ) == content("sessions", whole)


@pytest.mark.parametrize("minutes", [30, 31])
def test_gap_at_midnight_is_judged_like_any_other(minutes: int) -> None:
    last = at("2025-03-01 23:50")
    rows = [event("page_viewed", last), event("page_viewed", last + timedelta(minutes=minutes))]
    assert sessions(rows)["continued"].to_list() == [minutes == 30]


def test_robot_without_a_pause_is_the_same_however_many_days_are_built_at_a_time() -> None:
    start = at("2025-03-01 12:00")
    rows = [event("page_viewed", start + timedelta(minutes=20 * n)) for n in range(72 * 3)]
    days = sorted({row["event_day"] for row in rows})
    alone = [sessions(rows, day) for day in days]
    at_once = contract("sessions").conform(
        build_sessions(table("events", rows), first=days[0], last=days[-1])
    )
    assert_frame_equal(at_once.collect(), pl.concat(alone))
    # Each day sees one day back: the third day's part starts with the second day.
    starts = [start, start, at("2025-03-02 00:00"), at("2025-03-03 00:00")]
    assert [frame["started_at"][0] for frame in alone] == starts


def test_output_is_sorted_by_key() -> None:
    rows = [
        event("page_viewed", f"2025-03-02 1{hour}:00", customer=key)
        for hour in range(5)
        for key in (3, 20, 100)
    ]
    found = sessions(rows)
    assert_frame_equal(found, found.sort("session_id"))
