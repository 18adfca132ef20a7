"""Written times: every usual way to write one, and what none of them may do."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion.landing import locate_rows
from insight_assets.ingestion.readers import Delivery, read_rows
from insight_assets.ingestion.times import event_day, parse_time, read_moments, time_fault
from insight_assets_tests.deliveries import call, lines

SEGMENT = source_contracts()["segment"]


def parse(
    *texts: str | None, zone: str = "UTC", time_format: str = "iso", shop: str = "Asia/Shanghai"
) -> list[datetime | None]:
    source = replace(SEGMENT, timezone=zone, time_format=time_format)
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return frame.select(parse_time(pl.col("text"), source, shop_timezone=shop)).to_series().to_list()


def day(moment: datetime, shop: str) -> date:
    return pl.select(event_day(pl.lit(moment), shop)).item()


TEN = datetime(2025, 1, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2025-01-01T10:00:00Z",
        "2025-01-01t10:00:00z",
        "2025-01-01 10:00:00Z",
        "2025-01-01 10:00:00 UTC",
        "2025-01-01 10:00:00 GMT",
        "2025-01-01T10:00:00.000Z",
        "2025-01-01T10:00:00.000000000Z",
        "2025-01-01T18:00:00+08:00",
        "2025-01-01T18:00:00+0800",
        "2025-01-01T18:00:00+08",
        "2025-01-01 10:00:00+00",
        "2025-01-01 10:00:00.000000+00",
        "2025-01-01T10:00Z",
        "2025-01-01T18:00+08:00",
        "2025-01-01 18:00 +0800",
        "2025-01-01T02:30:00-07:30",
        "2025-01-01T10:00:00-00:00",
        "2025-01-01T10:00:00",
        "2025-01-01 10:00",
        " 2025-01-01T10:00 ",
    ],
)
def test_ways_to_write_ten_o_clock(text):
    assert parse(text) == [TEN]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        " ",
        "yesterday",
        "1735725600",
        "2025-02-30",
        "2025-01-01 24:00:00",
        "2025-13-01",
        "2025-01-01T10:00:00+99:99",
        "01/02/2025",
        "2025-01-01 10:00:00 AM",
        "99999-01-01",
        "2025-01-01T10:00:00ZZ",
        "2025-01-01 10:00:00\x00",
        "١٠",
        "2025-01-01T10",
    ],
)
def test_what_is_no_time(text):
    assert parse(text) == [None]


def test_a_day_alone_is_its_midnight():
    assert parse("2025-01-01", zone="Asia/Shanghai") == [datetime(2024, 12, 31, 16, tzinfo=UTC)]


def test_zones_of_the_source_and_of_the_shop():
    text = "2025-07-01 12:00:00"
    assert parse(text, zone="UTC", shop="Asia/Shanghai") == [datetime(2025, 7, 1, 12, tzinfo=UTC)]
    assert parse(text, zone="shop", shop="Asia/Shanghai") == [datetime(2025, 7, 1, 4, tzinfo=UTC)]
    assert parse(text, zone="Europe/London", shop="Asia/Shanghai") == [datetime(2025, 7, 1, 11, tzinfo=UTC)]
    assert parse("2025-07-01 12:00:00Z", zone="Europe/London") == [datetime(2025, 7, 1, 12, tzinfo=UTC)]


def test_a_format_of_its_own():
    assert parse("31/12/2024 23:30", time_format="%d/%m/%Y %H:%M", zone="Europe/Berlin") == [
        datetime(2024, 12, 31, 22, 30, tzinfo=UTC)
    ]
    assert parse("31/12/2024 23:30 h", "12/31/2024 23:30", time_format="%d/%m/%Y %H:%M") == [None, None]


@pytest.mark.parametrize(
    ("zone", "gap", "before", "after"),
    [
        ("America/New_York", "2024-03-10 02:30:00", "2024-03-10 01:59:59", "2024-03-10 03:00:00"),
        ("Europe/Berlin", "2025-03-30 02:00:00", "2025-03-30 01:59:59", "2025-03-30 03:00:00"),
        ("Australia/Lord_Howe", "2024-10-06 02:15:00", "2024-10-06 01:59:59", "2024-10-06 02:30:00"),
    ],
)
def test_an_hour_that_never_was_is_not_read(zone, gap, before, after):
    found = parse(gap, before, after, zone=zone)
    assert found[0] is None
    assert found[2] - found[1] == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("zone", "fold", "offset"),
    [
        ("America/New_York", "2024-11-03 01:30:00", timedelta(hours=-4)),
        ("Europe/Berlin", "2025-10-26 02:30:00", timedelta(hours=2)),
        ("Australia/Lord_Howe", "2024-04-07 01:45:00", timedelta(hours=11)),
    ],
)
def test_of_an_hour_that_came_twice_the_first_is_taken(zone, fold, offset):
    assert parse(fold, zone=zone) == [(datetime.fromisoformat(fold) - offset).replace(tzinfo=UTC)]


@pytest.mark.parametrize(
    ("shop", "first", "last", "hours"),
    [
        ("America/New_York", "2024-03-10T05:00:00Z", "2024-03-11T03:59:59Z", 23),
        ("America/New_York", "2024-11-03T04:00:00Z", "2024-11-04T04:59:59Z", 25),
        ("Australia/Lord_Howe", "2024-04-06T13:00:00Z", "2024-04-07T13:29:59Z", 24.5),
        ("Asia/Shanghai", "2024-03-09T16:00:00Z", "2024-03-10T15:59:59Z", 24),
    ],
)
def test_a_day_is_as_long_as_the_shop_s_clock_says(shop, first, last, hours):
    begins, ends = parse(first, last)
    assert ends - begins + timedelta(seconds=1) == timedelta(hours=hours)
    assert day(begins, shop) == day(ends, shop) == day(begins - timedelta(seconds=1), shop) + timedelta(days=1)
    assert day(ends + timedelta(seconds=1), shop) == day(ends, shop) + timedelta(days=1)


MOMENTS = st.datetimes(datetime(1990, 1, 2), datetime(2100, 1, 1))
ZONES = st.sampled_from(
    ["UTC", "America/New_York", "Asia/Shanghai", "Australia/Lord_Howe", "Asia/Kathmandu", "Europe/London"]
)


@given(moment=MOMENTS, zone=ZONES, separator=st.sampled_from("T "))
def test_what_python_writes_with_its_offset_is_read_back(moment, zone, separator):
    aware = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    assert parse(aware.isoformat(separator)) == [aware]


@given(moment=MOMENTS, zone=ZONES)
def test_local_times_mean_what_the_zone_says(moment, zone):
    local = moment.replace(tzinfo=ZoneInfo(zone), fold=0)
    read = parse(str(moment), zone=zone)[0]
    exists = local.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == moment
    assert read == (local.astimezone(UTC) if exists else None)
    if exists:
        assert day(read, zone) == moment.date()


@given(
    texts=st.lists(
        st.none()
        | st.text(max_size=25)
        | st.sampled_from(["2025-01-01T10:00:00Z", "2025-01-01", "0000-00-00 00:00:00"]),
        max_size=6,
    )
)
def test_no_text_changes_how_another_is_read(texts):
    source = replace(SEGMENT, timezone="shop")
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    expression = parse_time(pl.col("text"), source, shop_timezone="America/New_York").dt.epoch("us")
    together = frame.select(expression)
    apart = [frame[place : place + 1].select(expression) for place in range(len(texts))]
    assert together.equals(pl.concat([together.clear(), *apart]))


def test_a_zone_called_none_reads_only_times_with_an_offset_each_row_by_itself():
    found = parse("2025-01-01T10:00:00Z", "2025-01-01T10:00:00", "2025-01-01T18:00:00+08:00", "2025-01-01", zone="none")
    assert found == [TEN, None, TEN, None]


def test_a_format_that_holds_an_offset_is_read_by_it():
    shape = {"time_format": "%d/%m/%Y %H:%M %z", "zone": "none"}
    assert parse("01/01/2025 18:00 +0800", "01/01/2025 10:00", **shape) == [TEN, None]


@pytest.mark.parametrize(
    ("zone", "text", "rule"),
    [
        ("none", "2025-01-01 10:00:00", "naive_timestamp"),
        ("none", "yesterday", "event_time.required"),
        ("none", None, "event_time.required"),
        ("America/New_York", "2024-03-10 02:30:00", "nonexistent_time"),
        ("shop", "2024-10-06 02:15:00", "nonexistent_time"),
        ("Europe/Berlin", "2025-03-30 25:00:00", "event_time.required"),
        ("Europe/Berlin", "", "event_time.required"),
    ],
)
def test_why_a_time_cannot_be_read_has_a_name(zone, text, rule):
    source = replace(SEGMENT, timezone=zone)
    frame = pl.DataFrame({"happened_at": [text]}, schema={"happened_at": pl.String})
    assert frame.select(time_fault(source, shop_timezone="Australia/Lord_Howe")).item() == rule


def moments(created: str | None, sent: str | None, received: str | None, corrected: str | None = None) -> tuple:
    """Read one row of a device that wrote `created` and `sent` and a server that wrote the others."""
    texts = {"created_at": created, "sent_at": sent, "received_at": received, "happened_at": corrected}
    read = read_moments(SEGMENT, shop_timezone="UTC")
    frame = pl.DataFrame({name: [text] for name, text in texts.items()}, schema=dict.fromkeys(texts, pl.String))
    return frame.select(time=read.event_time, known=read.known_at, skew=read.clock_skew).row(0)


@pytest.mark.parametrize(
    ("error", "year"),
    [(timedelta(0), 2025), (timedelta(hours=3), 2025), (timedelta(hours=-3), 2025), (None, 1970), (None, 2038)],
)
def test_what_a_device_did_is_dated_by_the_server_s_clock(error, year):
    error = datetime(year, 1, 1, tzinfo=UTC) - datetime(2025, 1, 1, tzinfo=UTC) if error is None else error
    created, sent = TEN + error, TEN + timedelta(minutes=5) + error
    received = TEN + timedelta(minutes=5, seconds=2)
    time, known, skew = moments(*(each.isoformat() for each in (created, sent, received)))
    assert time == TEN + timedelta(seconds=2)
    assert known == received
    assert skew == (error - timedelta(seconds=2)).total_seconds()


@pytest.mark.parametrize("missing", ["created", "sent", "received"])
def test_where_a_clock_is_missing_the_corrected_time_counts(missing):
    texts = dict.fromkeys(("created", "sent", "received"), "2025-01-01T12:00:00Z") | {missing: "?"}
    time, _, skew = moments(**texts, corrected=TEN.isoformat())
    assert time == TEN
    assert (skew is None) == (missing != "created")


@given(
    waited=st.timedeltas(timedelta(0), timedelta(days=5)),
    error=st.timedeltas(timedelta(days=-20_000), timedelta(days=5_000)),
    journey=st.timedeltas(timedelta(0), timedelta(minutes=1)),
)
def test_no_error_of_a_device_s_clock_moves_an_event(waited, error, journey):
    happened, received = TEN, TEN + waited + journey
    time, _, skew = moments(*(each.isoformat() for each in (happened + error, happened + waited + error, received)))
    assert time - happened == journey
    assert skew == pytest.approx((error - journey).total_seconds(), abs=1e-3)


@pytest.mark.parametrize(
    ("shop", "day_of_change", "hours"),
    [
        ("America/New_York", date(2024, 3, 10), 23),
        ("America/New_York", date(2024, 11, 3), 25),
        ("Europe/Berlin", date(2025, 3, 30), 23),
        ("Europe/Berlin", date(2025, 10, 26), 25),
        ("Australia/Lord_Howe", date(2024, 10, 6), 23.5),
        ("Australia/Lord_Howe", date(2024, 4, 7), 24.5),
        ("Asia/Shanghai", date(2024, 3, 10), 24),
    ],
)
def test_every_event_is_in_exactly_one_day_however_long_the_day(shop, day_of_change, hours):
    midnight = datetime(day_of_change.year, day_of_change.month, day_of_change.day, tzinfo=ZoneInfo(shop))
    first = midnight.astimezone(UTC) - timedelta(hours=24)
    happened = [first + timedelta(minutes=30 * step) for step in range(2 * 80)]
    text = lines(*(json.dumps(call(f"m{n}", each.isoformat())) for n, each in enumerate(happened)))
    rows = read_rows(Delivery("f", "0", text.encode()), SEGMENT)
    placed = locate_rows(rows, SEGMENT, shop_timezone=shop, landed_on=date(2026, 1, 1))
    assert placed.height == len(happened)
    assert placed["event_day"].to_list() == [each.astimezone(ZoneInfo(shop)).date() for each in happened]
    assert placed.filter(pl.col("event_day") == day_of_change).height == 2 * hours
