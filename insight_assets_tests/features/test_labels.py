"""Labels: who has one, what it says, and that an open horizon has none."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.features.labels import HorizonOpenError, horizon_of, label_customers, label_view
from insight_assets_tests.features.shop import (
    FIRST_DAY,
    Shop,
    broken_rules,
    content,
    customer_days,
    document,
    shops,
    table,
)

ORIGIN = date(2025, 3, 31)
H = 30


def day(ahead: int, customer: int = 1, orders: int = 1, net: str = "5") -> dict:
    return {
        "customer_key": customer,
        "event_day": ORIGIN + timedelta(days=ahead),
        "orders": orders,
        "gross": Decimal(net) if orders else Decimal(0),
        "net": Decimal(net),
    }


def labels(*rows: dict) -> dict[int, dict]:
    days = table("customer_days", list(rows))
    built = label_customers(days, days, origin=ORIGIN, horizon_days=H)
    assert broken_rules("customer_labels", built) == []
    frame = contract("customer_labels").conform(built).collect()
    return {row["customer_key"]: row for row in frame.iter_rows(named=True)}


def test_horizon_is_the_days_after_the_origin() -> None:
    found = labels(
        day(-5, 1), day(1, 1), day(H, 1, orders=2), day(H + 1, 1),
        day(0, 2), day(H + 1, 2),
        day(-1, 3), day(H, 3),
    )  # fmt: skip
    assert found[1]["purchases"] == 3
    assert (found[1]["purchase_days"], found[1]["net"], found[1]["gross"]) == (2, 10.0, 10.0)
    assert [found[key]["churned"] for key in (1, 2, 3)] == [False, True, False]
    assert [found[key]["returned"] for key in (1, 2, 3)] == [True, False, True]
    assert found[2]["as_of"] == ORIGIN
    assert found[2]["horizon_days"] == H


def test_only_buyers_of_the_past_are_labelled() -> None:
    assert set(labels(day(-5, 1), day(-5, 2, orders=0, net="0"), day(3, 3))) == {1}


def test_money_given_back_is_no_purchase() -> None:
    found = labels(day(-5, 1), day(4, 1, orders=0, net="-5"))
    assert (found[1]["churned"], found[1]["net"]) == (True, -5.0)


def test_open_horizon_has_no_label() -> None:
    days = table("customer_days", [day(-5)])
    published = set(horizon_of(ORIGIN, H))
    last = ORIGIN + timedelta(days=H)
    arguments = {"origin": ORIGIN, "horizon_days": H}
    assert label_customers(days, days, **arguments, published=published).collect().height == 1
    with pytest.raises(HorizonOpenError, match=f"closes with {last}; 1 of its days"):
        label_customers(days, days, **arguments, published=published - {last})
    with pytest.raises(HorizonOpenError) as refused:
        label_customers(days, days, **arguments, published=set())
    assert (refused.value.closes, len(refused.value.missing)) == (last, H)


def test_horizon_of_no_days_is_refused() -> None:
    days = table("customer_days", [])
    with pytest.raises(ValueError, match="at least 1 day"):
        label_customers(days, days, origin=ORIGIN, horizon_days=0)


@settings(max_examples=20, deadline=None)
@given(horizon_days=st.integers(1, 20), origin=st.integers(0, 20), every=st.integers(1, 3))
def test_customer_who_buys_in_every_horizon_is_never_churned(
    horizon_days: int, origin: int, every: int
) -> None:
    step = min(every, horizon_days)
    bought = [
        document(
            "sale", f"o{ahead}", f"{FIRST_DAY + timedelta(days=ahead)} 12:00", 1, ("a1", 1, "2")
        )
        for ahead in range(0, 42, step)
    ]
    days = customer_days(Shop([], [b[0] for b in bought], [line for b in bought for line in b[1]]))
    built = label_customers(
        days, days, origin=FIRST_DAY + timedelta(days=origin), horizon_days=horizon_days
    )
    assert built.select("churned").collect()["churned"].to_list() == [False]


@settings(max_examples=15, deadline=None)
@given(shop=shops(on=(0, 1, 5, 6, 10, 11), rows=60), cut=st.sampled_from([0, 1, 5]))
def test_days_outside_change_no_byte(shop: Shop, cut: int) -> None:
    origin = FIRST_DAY + timedelta(days=cut)
    days = customer_days(shop)
    arguments = {"origin": origin, "horizon_days": 5}
    split = label_customers(
        days.filter(pl.col("event_day") <= origin),
        days.filter(pl.col("event_day").is_between(origin + timedelta(1), origin + timedelta(5))),
        **arguments,
    )
    whole = label_customers(days.reverse(), days, **arguments)
    assert content("customer_labels", split) == content("customer_labels", whole)
    buyers = days.filter((pl.col("event_day") <= origin) & (pl.col("orders") > 0))
    expected = sorted(buyers.collect()["customer_key"].unique().to_list())
    assert split.collect()["customer_key"].to_list() == expected


def who(**of: dict[int, int]) -> Callable[[date], pl.LazyFrame]:
    """Give identities at the origin and at the end of the horizon from actor to person."""
    days = {ORIGIN: of["before"], ORIGIN + timedelta(days=H): of["now"]}

    def identities(day: date) -> pl.LazyFrame:
        kinds = {actor: "customer" if actor < 50 else "visitor" for actor in days[day]}
        return table("identities", [
            {"identifier_key": actor, "identifier_type": kinds[actor], "customer_key": person}
            for actor, person in days[day].items()
        ])  # fmt: skip

    return identities


def seen_labels(rows: list[dict], identities: Callable[[date], pl.LazyFrame]) -> dict[int, int]:
    days = table("customer_days", rows)
    past, horizon = label_view(days, identities, origin=ORIGIN, horizon_days=H)
    built = label_customers(past, horizon, origin=ORIGIN, horizon_days=H).collect()
    return dict(built.select("customer_key", "purchases").rows())


def guest(ahead: int, visitor: int, orders: int = 1) -> dict:
    return day(ahead, orders=orders) | {"customer_key": None, "actor_key": visitor}


def signed_in(ahead: int, customer: int) -> dict:
    return day(ahead, customer) | {"actor_key": customer}


def test_a_purchase_as_a_guest_is_a_return_once_it_is_known_whose_it_was() -> None:
    rows = [signed_in(-5, 1), guest(3, 77)]
    unknown = who(before={1: 1}, now={1: 1})
    assert seen_labels(rows, unknown) == {1: 0}
    assert seen_labels(rows, who(before={1: 1}, now={1: 1, 77: 1})) == {1: 1}


def test_what_becomes_known_after_the_origin_adds_nobody_to_its_past() -> None:
    rows = [guest(-5, 77), signed_in(3, 1)]
    later = who(before={}, now={1: 1, 77: 1})
    assert seen_labels(rows, later) == {}
    past, _ = label_view(table("customer_days", rows), later, origin=ORIGIN, horizon_days=H)
    assert past.filter(pl.col("event_day") <= ORIGIN).collect().is_empty()


def test_two_customers_who_turn_out_to_be_one_both_came_back() -> None:
    rows = [signed_in(-5, 1), signed_in(-4, 2), signed_in(3, 2)]
    assert seen_labels(rows, who(before={1: 1, 2: 2}, now={1: 1, 2: 1})) == {1: 1, 2: 1}
