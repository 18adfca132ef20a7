"""Shapes of files that are no plain rows: JSON documents, nested Parquet, values written once a group, counted time."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from insight_assets.contracts.sources import CarryDown, DeliveredColumn, source_contracts
from insight_assets.ingestion.readers import Delivery, decode_rows, read_rows
from insight_assets.ingestion.times import parse_time

SEGMENT, ORDERS = (source_contracts()[name] for name in ("segment", "generic_orders_csv"))
MOMENT = datetime(2025, 3, 30, 1, 0, 7, 250_001, UTC)


def read(text: str | bytes, source=SEGMENT) -> pl.DataFrame:
    return read_rows(Delivery("file", "hash", text.encode() if isinstance(text, str) else text), source)


def calls(rows: pl.DataFrame) -> list[str | None]:
    return decode_rows(rows, SEGMENT)["message_id"].to_list()


CALLS = [{"messageId": "a", "properties": {"products": [{"name": "te\u00e4"}]}}, {"messageId": "b"}, {"messageId": "c"}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(CALLS),
        json.dumps(CALLS, indent=2),
        "\n" + json.dumps(CALLS, indent="\t", ensure_ascii=False).replace("\n", "\r\n") + "\n\n",
        "[" + ",\n".join(map(json.dumps, CALLS)) + "]",
        "\n".join(json.dumps(call, indent=2) for call in CALLS),
        "\n".join(map(json.dumps, CALLS)),
        "\ufeff" + json.dumps(CALLS),
    ],
)
def test_objects_are_found_however_they_are_written(text):
    rows = read(text)
    assert calls(rows) == ["a", "b", "c"]
    assert decode_rows(rows, SEGMENT)["malformed"].any() is False
    assert rows["line"].is_unique().all()
    assert [json.loads(payload) for payload in rows["payload"]] == CALLS


def test_a_file_may_hold_one_object_over_several_lines():
    assert calls(read(json.dumps(CALLS[0], indent=1))) == ["a"]


def test_numbers_stay_as_they_were_written():
    assert read('[{"total": 1.10},\n {"total": 12345678901234567890.00}]')["payload"].to_list() == [
        '{"total": 1.10}',
        '{"total": 12345678901234567890.00}',
    ]


@pytest.mark.parametrize("indent", [None, 2])
def test_a_broken_object_of_an_array_is_a_row_of_its_own(indent):
    good = [json.dumps(call, indent=indent).replace("\n", "\n  ") for call in CALLS]
    good[1] = good[1].replace('"b"', '"b')
    rows = read("[\n  " + ",\n  ".join(good) + "\n]")
    assert calls(rows) == ["a", None, "c"]
    assert decode_rows(rows, SEGMENT)["malformed"].to_list() == [False, True, False]


def test_a_cut_array_keeps_what_came_before():
    text = json.dumps(CALLS, indent=2)
    assert calls(read(text[:-20])) == ["a", "b", None]


@pytest.mark.parametrize("first", ['{"messageId": "a"', "[1, 2]", "[", "{"])
def test_a_broken_first_line_does_not_hide_the_lines_below(first):
    rows = read("\n".join([first, *map(json.dumps, CALLS[1:])]))
    assert calls(rows)[-2:] == ["b", "c"]
    assert decode_rows(rows, SEGMENT)["malformed"].to_list() in ([True, False, False], [False, False])


def test_a_list_of_keys_and_values_is_read_from_parquet_as_from_json():
    path = "params[key=session].value.int_value"
    source = replace(SEGMENT, delivered=(DeliveredColumn("session", path, False, "internal", "Session"),))
    page = {"key": "page", "value": {"int_value": None}}
    rows = [{"params": [page, {"key": "session", "value": {"int_value": number}}]} for number in (7, 8)]
    file = io.BytesIO()
    pl.DataFrame(rows).write_parquet(file)
    for text in (file.getvalue(), "\n".join(map(json.dumps, rows))):
        assert decode_rows(read(text, source), source)["session"].to_list() == ["7", "8"]


def test_what_a_file_writes_once_a_group_is_carried_to_its_other_rows():
    source = replace(ORDERS, carry_down=CarryDown("order_id", ("customer_id", "currency", "ordered_at")))
    header = "order_id,ordered_at,customer_id,product_id,quantity,unit_price,currency,discount\n"
    first = "o1,2025-01-01,c1,p1,1,2,EUR,5\no1,,,p2,1,2,,\no2,2025-01-02,,p3,1,2,USD,\n"
    rows = read(header + first + "o1, ,,p4,1,2,,\n,,,p5,1,2,,\no2,,c2,p6,1,2,,\n", source)
    assert rows.select("order_id", "ordered_at", "customer_id", "currency", "discount").rows() == [
        ("o1", "2025-01-01", "c1", "EUR", "5"),
        ("o1", "2025-01-01", "c1", "EUR", None),
        ("o2", "2025-01-02", "c2", "USD", None),
        ("o1", "2025-01-01", "c1", "EUR", None),
        (None, None, None, None, None),
        ("o2", "2025-01-02", "c2", "USD", None),
    ]


def times(time_format: str, *texts: str | None) -> list[datetime | None]:
    source = replace(SEGMENT, time_format=time_format, timezone="Asia/Shanghai")
    frame = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return frame.select(parse_time(pl.col("text"), source, shop_timezone="Europe/Berlin")).to_series().to_list()


@pytest.mark.parametrize(
    ("time_format", "text", "microsecond"),
    [
        ("epoch_s", "1743296407", 0),
        ("epoch_s", " 1743296407.250001 ", 250_001),
        ("epoch_s", "1743296407.2500019999", 250_001),
        ("epoch_ms", "1743296407250", 250_000),
        ("epoch_ms", "1743296407250.001", 250_001),
        ("epoch_us", "1743296407250001", 250_001),
    ],
)
def test_counted_time_is_utc_whatever_the_zone(time_format, text, microsecond):
    assert times(time_format, text) == [MOMENT.replace(microsecond=microsecond)]


@pytest.mark.parametrize("time_format", ["epoch_s", "epoch_ms", "epoch_us"])
def test_what_is_no_count_is_no_time(time_format):
    assert times(time_format, "", "x", "2025-01-01", "1.5e9", "NaN", "1 2", "9" * 40, None) == [None] * 8


@given(st.integers(0, 4_102_444_800_000_000))
def test_a_count_of_microseconds_loses_nothing(count):
    assert times("epoch_us", str(count)) == [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=count)]


def test_an_hour_may_stand_without_its_minute():
    assert times("%Y-%m-%d %H", "2014-12-06 02", "2014-12-06") == [datetime(2014, 12, 5, 18, tzinfo=UTC), None]
