"""Planted trouble: what the files hold is what the list says."""

import json
from datetime import date, timedelta

import polars as pl
import pytest

from insight_assets.simulator.landing import write_landing
from insight_assets.simulator.plan import SimulationPlan, Trouble

START = date(2025, 1, 1)
SPOILT_DAY = START + timedelta(days=3)


@pytest.fixture(scope="module")
def plan():
    return SimulationPlan(
        customers=800,
        days=8,
        products=100,
        seed=4,
        trouble=Trouble(
            duplicates=0.03,
            late=0.02,
            late_days=3,
            bad_rows=0.02,
            bots=3,
            spoilt_day=SPOILT_DAY,
            spoilt_share=0.3,
        ),
    )


@pytest.fixture(scope="module")
def landed(plan, tmp_path_factory):
    return write_landing(plan, tmp_path_factory.mktemp("trouble"), compression=None)


@pytest.fixture(scope="module")
def lines(plan, landed):
    """All delivered lines with file day and line number; None where the JSON is broken."""
    held = {}
    for index, file in enumerate(landed.files):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                held[plan.day(index), number] = json.loads(line)
            except json.JSONDecodeError:
                held[plan.day(index), number] = None
    return held


def listed(landed, *kinds):
    rows = landed.planted.filter(pl.col("kind").is_in(kinds))
    return list(rows.select("file_day", "line", "message_id", "event_day").iter_rows())


def local_day(row):
    moment = pl.Series([row["timestamp"]]).str.to_datetime("%Y-%m-%dT%H:%M:%S%.3fZ")
    return moment.dt.offset_by("8h").dt.date()[0]


def test_every_kind_is_planted(landed):
    assert set(landed.planted["kind"]) == {
        "duplicate",
        "late",
        "bot",
        "unknown_event",
        "unparseable_time",
        "missing_product_id",
        "negative_price",
        "broken_json",
    }


def test_duplicates_repeat_a_message(landed, lines):
    messages = [row["messageId"] for row in lines.values() if row]
    extra = len(messages) - len(set(messages))
    duplicates = listed(landed, "duplicate")
    assert extra == len(duplicates)
    first = {}
    for place, row in lines.items():
        if row:
            first.setdefault(row["messageId"], (place, row))
    other_file = 0
    for file_day, line, message, event_day in duplicates:
        copy = lines[file_day, line]
        place, original = first[message]
        assert copy["messageId"] == message
        assert place < (file_day, line)
        assert copy["timestamp"] == original["timestamp"]
        assert copy["receivedAt"] > original["receivedAt"]
        assert copy["properties"] == original["properties"]
        assert place[0] == event_day
        other_file += file_day != event_day
    assert 0 < other_file < len(duplicates)


def test_late_events_are_late(landed, lines):
    late = listed(landed, "late")
    for file_day, line, message, event_day in late:
        row = lines[file_day, line]
        assert row["messageId"] == message
        assert 1 <= (file_day - event_day).days <= 3
        assert local_day(row) == event_day
    marked = {(file_day, line) for file_day, line, _, _ in late + listed(landed, "duplicate")}
    readable = [
        (place, row)
        for place, row in lines.items()
        if row and place not in marked and row["timestamp"].endswith("Z")
    ]
    assert all(local_day(row) == place[0] for place, row in readable[::50])


def test_spoilt_rows_are_spoilt_as_listed(landed, lines):
    for file_day, line, _, _ in listed(landed, "broken_json"):
        assert lines[file_day, line] is None
    assert sum(row is None for row in lines.values()) == len(listed(landed, "broken_json"))
    broken = {
        "unknown_event": lambda row: row["event"] == "Produkt Viewed",
        "unparseable_time": lambda row: not row["timestamp"].endswith("Z"),
        "missing_product_id": lambda row: (
            row["event"] in {"Product Viewed", "Product Clicked", "Product Added"}
            and "product_id" not in row["properties"]
        ),
        "negative_price": lambda row: row["properties"].get("price", 0) < 0,
    }
    for kind, holds in broken.items():
        expected = {(file_day, line) for file_day, line, _, _ in listed(landed, kind)}
        found = {place for place, row in lines.items() if row and holds(row)}
        assert found == expected, kind
        for file_day, line, message, _ in listed(landed, kind):
            assert lines[file_day, line]["messageId"] == message


def test_shares_are_as_asked(landed, plan):
    planted = landed.planted
    bad = planted.filter(~pl.col("kind").is_in(["duplicate", "late", "bot"]))
    spoilt = bad.filter(pl.col("file_day") == SPOILT_DAY)
    on_day = sum(1 for _ in landed.files[3].open(encoding="utf-8"))
    assert len(spoilt) / on_day == pytest.approx(0.3, abs=0.04)
    usual = landed.rows - on_day
    assert (len(bad) - len(spoilt)) / usual == pytest.approx(0.02, abs=0.006)
    assert len(listed(landed, "duplicate")) / landed.rows == pytest.approx(0.03, abs=0.01)
    assert len(listed(landed, "late")) / landed.rows == pytest.approx(0.02, abs=0.008)


def test_bots_view_hundreds_of_products(landed, lines):
    bots = landed.planted.filter(pl.col("kind") == "bot")
    counts = bots["detail"].value_counts()["count"]
    assert len(counts) == 3
    assert counts.min() >= 200
    for file_day, line, actor in bots.select("file_day", "line", "detail").iter_rows():
        row = lines[file_day, line]
        assert (row["anonymousId"], row["event"]) == (actor, "Product Viewed")


def test_nothing_is_lost_by_trouble(landed, plan, tmp_path):
    calm = SimulationPlan(
        customers=plan.customers, days=plan.days, products=plan.products, seed=plan.seed
    )
    rows = write_landing(calm, tmp_path).rows
    extra = landed.planted.filter(pl.col("kind").is_in(["duplicate", "bot"])).height
    assert landed.rows == rows + extra


def test_parquet_lists_no_broken_json(plan, tmp_path):
    held = write_landing(plan, tmp_path, file_format="parquet")
    assert "broken_json" not in set(held.planted["kind"])
    assert {"negative_price", "duplicate"} <= set(held.planted["kind"])
