"""The state of actors: the same from nothing and from any earlier state, and features from it as from all days."""

from datetime import date, timedelta
from decimal import Decimal
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.features.customer_days import merge_actors
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.customer_state import build_customer_state, sound_days, without_void_purchases
from insight_assets.features.money import without_void_orders
from insight_assets.purposes import as_people
from insight_assets_tests.features.shop import (
    FIRST_DAY,
    Shop,
    actor_days,
    broken_rules,
    content,
    document,
    event,
    shops,
    table,
)

CUTS = (0, 1, 2, 30, 370)
LAST = FIRST_DAY + timedelta(days=371)


def rolled(days: pl.LazyFrame, stops: list[date]) -> pl.LazyFrame:
    """Roll the state up from stop to stop; each step sees all days, as the asset does."""
    held, since = None, None
    for stop in stops:
        built = build_customer_state(days, as_of=stop, before=held, since=since)
        held, since = contract("customer_state").conform(built).collect().lazy(), stop
    assert held is not None
    return held


def people(rows: pl.LazyFrame, customer: int | None) -> pl.LazyFrame:
    """Let the visitor 77 be one of the customers, or nobody known."""
    known = [] if customer is None else [{"identifier_key": key, "customer_key": customer} for key in (77, 2, customer)]
    return as_people(rows, table("identities", known))


@settings(max_examples=5, deadline=None)
@given(
    shop=shops(on=CUTS, rows=50),
    stops=st.sets(st.sampled_from(CUTS), max_size=4),
    who=st.sampled_from([None, 1]),
    order=st.randoms(use_true_random=False),
)
def test_any_split_gives_the_same_state_and_the_same_features(shop: Shop, stops: set[int], who, order: Random) -> None:
    days = actor_days(shop).collect()
    shuffled = days[order.sample(range(days.height), days.height)].lazy()
    at_once = rolled(days.lazy(), [LAST])
    in_steps = rolled(shuffled, [*(FIRST_DAY + timedelta(days=stop) for stop in sorted(stops)), LAST])
    assert content("customer_state", in_steps) == content("customer_state", at_once)
    assert broken_rules("customer_state", at_once) == []
    seen = people(days.lazy(), who)
    recent = seen.filter(pl.col("event_day") > LAST - timedelta(days=365))
    from_days = content("customer_features", build_customer_features(seen, as_of=LAST))
    for state in (in_steps, at_once):
        built = build_customer_features(recent, as_of=LAST, state=people(state, who), rows_at_once=7)
        assert content("customer_features", built) == from_days


@settings(max_examples=4, deadline=None)
@given(shop=shops(on=(0, 1, 2), rows=60), back=st.sets(st.integers(0, 60), max_size=20))
def test_orders_given_back_whole_leave_the_state_as_they_leave_the_days(shop: Shop, back: set[int]) -> None:
    sales = {row["order_id"]: row for row in shop.orders if row["kind"] == "sale" and row["actor_key"] is not None}
    returns = [
        document(
            "refund", row["order_id"], row["event_time"] + timedelta(days=3), row["customer_key"],
            *((line["product_id"], line["quantity"], str(line["unit_price"] - line["discount"] / line["quantity"]))
              for line in shop.order_lines if line["order_id"] == row["order_id"]),
        )
        for number, row in enumerate(sales.values()) if number in back
    ]  # fmt: skip
    given_back = Shop(
        shop.events,
        [*shop.orders, *(head for head, _ in returns)],
        [*shop.order_lines, *(x for _, ls in returns for x in ls)],
    )
    as_of, orders = FIRST_DAY + timedelta(days=9), table("orders", given_back.orders)
    days = actor_days(given_back)
    left = people(without_void_orders(days, orders, as_of=as_of), 1)
    state = people(without_void_purchases(rolled(days, [as_of]), orders, as_of=as_of), 1)
    one, other = (build_customer_features(left, as_of=as_of, state=each) for each in (None, state))
    assert content("customer_features", one) == content("customer_features", other)


def test_a_state_is_sound_while_no_day_it_tells_of_changed_after_it_was_read() -> None:
    first, second, third = (FIRST_DAY + timedelta(days=ahead) for ahead in range(3))
    days = {first: 10.0, second: 20.0, third: 30.0}
    assert sound_days({first: 11.0, second: 19.0, third: 31.0}, days) == [first, third]
    assert sound_days({third: 31.0}, days | {first: 40.0}) == []
    assert sound_days({}, days) == sound_days({}, {}) == []


def test_a_cart_is_open_until_it_is_bought_by_whoever_the_person_is() -> None:
    def added(when: str, customer: int | None = 1, units: int = 1, **columns):
        return event("product_added", when, customer, product_id="a1", price=Decimal(8), quantity=units, **columns)

    def cart(*events, sales=()) -> tuple:
        shop = Shop(list(events), [head for head, _ in sales], [line for _, lines in sales for line in lines])
        built = build_customer_features(people(actor_days(shop), 1), as_of=date(2025, 3, 10))
        names = ("open_cart_units", "open_cart_value", "open_cart_age_days")
        return built.filter(pl.col("customer_key") == 1).select(names).collect().row(0)

    def bought(when: str):
        return document("sale", f"o{when}", when, 1, ("a1", 1, "8"))

    out = event("product_removed", "2025-03-09 11:00", 1, product_id="a1", price=Decimal(8), quantity=1)
    assert cart(added("2025-03-08 10:00", units=2)) == (2, 16.0, 2)
    assert cart(added("2025-03-08 10:00", units=2), out) == (1, 8.0, 2)
    assert cart(added("2025-03-09 10:00"), out) == (None, None, None)
    assert cart(added("2025-03-08 10:00"), sales=[bought("2025-03-08 10:05")]) == (None, None, None)
    assert cart(added("2025-03-08 10:00"), added("2025-03-08 11:00"), sales=[bought("2025-03-08 10:05")]) == (1, 8.0, 2)
    assert cart(added("2025-02-01 10:00"), event("page_viewed", "2025-03-09 10:00")) == (None, None, None), "too old"
    visitor = added("2025-03-08 10:00", None, visitor_key=77)
    assert cart(visitor, event("page_viewed", "2025-03-09 10:00")) == (1, 8.0, 2)
    assert cart(visitor, sales=[bought("2025-03-08 10:05")]) == (None, None, None)


def test_categories_of_two_actors_of_one_person_are_added_up() -> None:
    both = [
        document("sale", f"o{key}", "2025-03-08 10:00", key, ("a1", 2, "5"), ("b1", 1, price))
        for key, price in ((1, "3"), (2, "4"))
    ]
    days = actor_days(Shop([], [head for head, _ in both], [line for _, lines in both for line in lines]))
    (row,) = merge_actors(people(days, 1)).collect().rows(named=True)
    assert row["bought_categories"] == ["a", "b"]
    assert (row["bought_category_units"], row["bought_category_gross"]) == ([4, 2], [Decimal(20), Decimal(7)])
    assert (row["bought_brand_gross"], row["order_values"]) == ([Decimal(20), Decimal(7)], [Decimal(13), Decimal(14)])


@pytest.mark.parametrize("key", ["actor_key", "as_of"])
def test_the_state_has_no_row_of_nobody(key: str) -> None:
    assert rolled(table("customer_days", []), [LAST]).select(key).collect().is_empty()
