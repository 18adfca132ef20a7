"""Event sequences: order, cut and blindness to the future."""

from datetime import date, timedelta
from decimal import Decimal
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.features.sequences import BOUGHT, build_event_sequences, with_bought_products
from insight_assets.features.vocabulary import event_kinds
from insight_assets_tests.features.shop import (
    FIRST_DAY,
    Shop,
    at,
    broken_rules,
    content,
    event,
    shops,
    table,
)

DAY = date(2025, 3, 2)


def test_last_events_in_order_with_their_money() -> None:
    rows = [
        event("order_completed", "2025-03-02 10:00", value=Decimal("12.5"), price=Decimal(3)),
        event(
            "product_viewed", "2025-03-01 10:00", product_id="a1", category="a", price=Decimal(3)
        ),
        event("page_viewed", "2025-03-01 09:00"),
        event("page_viewed", "2025-03-01 08:00"),
        event("page_viewed", "2025-03-03 00:00"),
        event("page_viewed", "2025-03-02 10:00", customer=None, visitor_key=7),
    ]
    built = build_event_sequences(table("events", rows), as_of=DAY, length=3)
    found = contract("event_sequences").conform(built).collect().rows(named=True)
    kinds = [event_kinds().index(k) for k in ("page_viewed", "product_viewed", "order_completed")]
    times = [at(t) for t in ("2025-03-01 09:00", "2025-03-01 10:00", "2025-03-02 10:00")]
    assert found == [
        {
            "customer_key": 1,
            "as_of": DAY,
            "kinds": kinds,
            "times": [int(time.timestamp()) for time in times],
            "products": [None, "a1", None],
            "categories": [None, "a", None],
            "values": [0.0, 3.0, 12.5],
            "events": 4,
        }
    ]


def test_money_of_several_currencies_is_in_the_base_currency_or_unknown() -> None:
    rows = [
        event("product_viewed", f"2025-03-0{day} 10:00", price=Decimal(10), currency=currency, exchange_rate=rate)
        for day, (currency, rate) in enumerate([(None, None), ("USD", Decimal("7.25")), ("CHF", None)], start=1)
    ]
    built = build_event_sequences(table("events", rows), as_of=date(2025, 3, 9)).collect()
    assert built["values"].to_list() == [[10.0, 72.5, 0.0]]


def test_equal_times_are_ordered_by_event_id_then_source() -> None:
    ids = [("b", "y"), ("a", "y"), ("b", "x")]
    rows = [
        event(
            "page_viewed", "2025-03-02 10:00", event_id=name, source=source, category=name + source
        )
        for name, source in ids
    ]
    # The same second, but earlier within it.
    early = at("2025-03-02 10:00").replace(microsecond=1)
    rows.append(event("page_viewed", early, event_id="0", category="last"))
    frame = build_event_sequences(table("events", rows), as_of=DAY).collect()
    assert frame["categories"].to_list() == [["ay", "bx", "by", "last"]]


def test_nobody() -> None:
    frame = contract("event_sequences").conform(
        build_event_sequences(table("events", []), as_of=DAY)
    )
    assert frame.collect().is_empty()


@pytest.mark.parametrize("wrong", [{"length": 0}, {"rows_per_pass": 0}])
def test_impossible_arguments_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        build_event_sequences(table("events", []), as_of=DAY, **wrong)


@settings(max_examples=25, deadline=None)
@given(
    shop=shops(on=range(4), rows=60),
    length=st.sampled_from([1, 3, 128]),
    rows_per_pass=st.sampled_from([1, 7, 1000]),
    order=st.randoms(use_true_random=False),
)
def test_equal_to_a_plain_sort_whatever_the_order_and_the_passes(
    shop: Shop, length: int, rows_per_pass: int, order: Random
) -> None:
    as_of = FIRST_DAY + timedelta(days=2)
    rows = order.sample(shop.events, len(shop.events))
    built = build_event_sequences(
        table("events", rows), as_of=as_of, length=length, rows_per_pass=rows_per_pass
    )
    expected: dict[int, list[dict]] = {}
    for row in sorted(rows, key=lambda row: (row["event_time"], row["event_id"])):
        if row["customer_key"] is not None and row["event_day"] <= as_of:
            expected.setdefault(row["customer_key"], []).append(row)
    told = contract("event_sequences").conform(built).collect()
    assert told["customer_key"].to_list() == sorted(expected)
    for row in told.iter_rows(named=True):
        kept = expected[row["customer_key"]][-length:]
        assert row["kinds"] == [event_kinds().index(one["event"]) for one in kept]
        assert row["products"] == [one.get("product_id") for one in kept]
        assert row["times"] == [int(one["event_time"].timestamp()) for one in kept]
        assert row["events"] == len(expected[row["customer_key"]])
    assert broken_rules("event_sequences", built) == []


@settings(max_examples=20, deadline=None)
@given(shop=shops(on=range(4), rows=60), cut=st.integers(0, 3))
def test_events_after_the_as_of_day_change_no_byte(shop: Shop, cut: int) -> None:
    as_of = FIRST_DAY + timedelta(days=cut)
    later = event("product_added", f"{as_of + timedelta(days=1)} 00:00", product_id="z9")
    poisoned = table("events", [*shop.events, later])
    known = table("events", shop.until(as_of).events)
    assert content("event_sequences", build_event_sequences(poisoned, as_of=as_of)) == content(
        "event_sequences", build_event_sequences(known, as_of=as_of)
    )


def test_negative_keys_are_customers_too() -> None:
    rows = [event("page_viewed", "2025-03-02 10:00", customer=key) for key in (-3, -2, 5)]
    frame = build_event_sequences(table("events", rows), as_of=DAY, rows_per_pass=1).collect()
    assert frame["customer_key"].to_list() == [-3, -2, 5]
    assert frame.select(pl.col("events").sum()).item() == 3


def bought(customer: int | None, product: str, time: str, **others: object) -> dict[str, object]:
    told = {
        "customer_key": customer, "product_id": product, "event_time": at(time), "event_day": at(time).date(),
        "kind": "sale", "is_product": True, "traffic": "person", "category": "a", "gross_base": Decimal("4.5"),
    }  # fmt: skip
    return told | others


def order_lines(rows: list[dict[str, object]]) -> pl.LazyFrame:
    columns = contract("order_lines").polars_schema()
    return pl.DataFrame(rows, schema={name: columns[name] for name in bought(1, "x", "2025-03-01 00:00")}).lazy()


def test_what_was_bought_stands_among_events_one_by_one() -> None:
    events = [
        event("product_viewed", "2025-03-01 10:00", product_id="a1", category="a", price=Decimal(3)),
        event("order_completed", "2025-03-02 09:00", value=Decimal(9)),
        event("page_viewed", "2025-03-02 11:00"),
    ]
    sequences = contract("event_sequences").conform(build_event_sequences(table("events", events), as_of=DAY)).collect()
    lines = order_lines(
        [
            bought(1, "b2", "2025-03-02 09:00"),
            bought(1, "a1", "2025-03-02 09:00"),
            bought(1, "a1", "2025-03-02 09:00"),
            bought(1, "later", "2025-03-03 09:00"),
            bought(1, "fee", "2025-03-02 09:00", is_product=False),
            bought(1, "back", "2025-03-02 09:00", kind="adjustment"),
            bought(1, "robot", "2025-03-02 09:00", traffic="robot"),
            bought(None, "guest", "2025-03-02 09:00"),
            bought(2, "c3", "2025-02-02 09:00", category=None),
        ]
    )
    found = with_bought_products(sequences, lines, as_of=DAY)
    viewed, ordered, page = (event_kinds().index(k) for k in ("product_viewed", "order_completed", "page_viewed"))
    one, other = found.rows(named=True)
    assert one["kinds"] == [viewed, ordered, BOUGHT, BOUGHT, page]
    assert one["products"] == ["a1", None, "a1", "b2", None]
    assert one["values"] == [3.0, 9.0, 9.0, 4.5, 0.0]
    assert (other["customer_key"], other["kinds"], other["categories"]) == (2, [BOUGHT], [None])
    mixed = with_bought_products(sequences, lines.reverse(), as_of=DAY)
    assert mixed.equals(found)
