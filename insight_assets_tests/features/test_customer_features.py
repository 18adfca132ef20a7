"""Customer features against literal days, against a plain recompute, and against the future."""

import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from statistics import fmean, pstdev
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.catalogue import contract
from insight_assets.features.customer_days import build_customer_days
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.sessions import build_sessions
from insight_assets.features.vocabulary import DAY_PARTS, event_kinds
from insight_assets_tests.features.plain_recompute import plain_features
from insight_assets_tests.features.shop import (
    FIRST_DAY,
    ORDER_OF_PAYMENT,
    ZONE,
    Shop,
    broken_rules,
    content,
    customer_days,
    document,
    event,
    shops,
    table,
)

AS_OF = date(2025, 6, 30)
EDGES = tuple(365 - age for age in (0, 1, 2, 3, 6, 7, 13, 14, 29, 30, 59, 60, 89, 90, 179, 180, 364, 365))
"""Days just inside and outside each window of day 365."""


def features(rows: list[dict[str, Any]], as_of: date = AS_OF) -> dict[int, dict[str, Any]]:
    days = [
        {"event_day": AS_OF - timedelta(days=row.pop("ago")), "actor_key": row["customer_key"], **_priced(row), **row}
        for row in rows
    ]
    built = build_customer_features(table("customer_days", days), as_of=as_of)
    frame = contract("customer_features").conform(built).collect()
    return {row["customer_key"]: row for row in frame.iter_rows(named=True)}


def _priced(row: dict[str, Any]) -> dict[str, Any]:
    """Let every category and brand bought be one unit of 1."""
    lists = {
        "bought_category_units": ("bought_categories", 1),
        "bought_category_gross": ("bought_categories", Decimal(1)),
        "bought_brand_gross": ("bought_brands", Decimal(1)),
    }
    return {name: [one] * len(row.get(items, [])) for name, (items, one) in lists.items()}


def purchase(ago: int, value: str, customer: int = 1, **columns: Any) -> dict[str, Any]:
    money = dict.fromkeys(("gross", "net", "max_order_value"), Decimal(value))
    row = {"customer_key": customer, "ago": ago, "orders": 1, "currencies": ["CNY"]}
    row["order_values"] = [Decimal(value)]
    return row | money | columns


def test_windows_hold_the_as_of_day_and_the_days_before() -> None:
    edges = (0, 6, 7, 29, 30, 89, 90, 364, 365)
    row = features([purchase(ago, "1.50") for ago in edges])[1]
    orders = [row[f"orders_{window}"] for window in ("7d", "30d", "90d", "365d", "lifetime")]
    assert orders == [2, 4, 6, 8, 9]
    net = [row[f"net_{window}"] for window in ("7d", "30d", "90d", "lifetime")]
    assert net == [3.0, 6.0, 9.0, 13.5]
    assert row["active_days_365d"] == 8
    assert row["tenure_days"] == row["age_days"] == row["t_x_days"] == 365
    assert row["first_seen_day"] == AS_OF - timedelta(days=365)


def test_rhythm_of_purchases() -> None:
    row = features([purchase(100, "10"), purchase(90, "20"), purchase(60, "60"), purchase(40, "30")])[1]
    gaps = [10, 30, 20]
    assert (row["x_repeat_purchases"], row["t_x_days"], row["age_days"]) == (3, 60, 100)
    assert row["mean_gap_days"] == fmean(gaps)
    assert row["std_gap_days"] == pytest.approx(pstdev(gaps))
    assert row["cv_gap"] == pytest.approx(pstdev(gaps) / fmean(gaps))
    assert (row["last_gap_days"], row["max_gap_days"]) == (20, 30)
    assert (row["days_since_last_order"], row["expected_gap_ratio"]) == (40, 2.0)
    assert row["mean_purchase_value"] == 30.0
    assert row["mean_repeat_purchase_value"] == pytest.approx(110 / 3)


@pytest.mark.parametrize(
    ("agos", "known"),
    [
        ((), set()),
        ((5,), {"x_repeat_purchases", "mean_purchase_value"}),
        ((9, 5), {"x_repeat_purchases", "mean_purchase_value", "mean_gap_days"}),
        ((9, 5, 1), {"x_repeat_purchases", "mean_purchase_value", "mean_gap_days", "std_gap_days"}),
    ],
)
def test_rhythm_is_null_until_there_is_one(agos: tuple[int, ...], known: set[str]) -> None:
    rows = [purchase(ago, "4") for ago in agos] or [{"customer_key": 1, "ago": 3, "events": 1}]
    row = features(rows)[1]
    names = ("x_repeat_purchases", "mean_purchase_value", "mean_gap_days", "std_gap_days")
    assert {name for name in names if row[name] is not None} == known
    assert (row["mean_repeat_purchase_value"] is None) == (row["mean_gap_days"] is None)


def test_breadth_counts_each_product_once() -> None:
    row = features(
        [
            purchase(1, "1", bought_products=["a", "b"], bought_categories=["x", "y"]),
            purchase(2, "1", bought_products=["a"], bought_categories=["x"], bought_brands=["m"]),
            purchase(95, "1", bought_products=["old"], bought_categories=["z"]),
        ]
    )[1]
    breadth = [row[f"{name}_bought_90d"] for name in ("products", "categories", "brands")]
    assert breadth == [2, 2, 1]
    assert row["repeat_product_share_90d"] == pytest.approx(1 / 3)
    entropy = -(2 / 3) * math.log2(2 / 3) - (1 / 3) * math.log2(1 / 3)
    assert row["category_entropy_90d"] == pytest.approx(entropy)


def test_habits_and_ties() -> None:
    assert AS_OF.isoweekday() == 1
    monday = {"events": 3, "events_night": 1, "events_evening": 2, "events_app": 3}
    sunday = {"events": 1, "events_evening": 1, "events_web": 1}
    row = features([{"customer_key": 1, "ago": 0, **monday}, {"customer_key": 1, "ago": 1, **sunday}])[1]
    assert row["weekend_share_365d"] == 0.5
    assert row["preferred_weekday_365d"] == 1, "the earlier weekday on a tie"
    assert [row[f"{part}_share_365d"] for part in DAY_PARTS] == [0.25, 0.0, 0.0, 0.75]
    assert (row["app_share_365d"], row["web_share_365d"]) == (0.75, 0.25)


def test_first_and_last_marketing_source() -> None:
    row = features(
        [
            {"customer_key": 1, "ago": 9, "events": 1},
            {
                "customer_key": 1,
                "ago": 8,
                "events": 1,
                "first_campaign_source": "ads",
                "last_campaign_source": "mail",
            },
            {
                "customer_key": 1,
                "ago": 5,
                "events": 1,
                "first_campaign_source": "x",
                "last_campaign_source": "y",
            },
            {"customer_key": 1, "ago": 0, "events": 1},
        ]
    )[1]
    assert (row["first_campaign_source"], row["last_campaign_source"]) == ("ads", "y")


def test_money_given_back_lowers_net_and_makes_no_purchase() -> None:
    refund = {"ago": 1, "customer_key": 1, "refunds": 1, "refunded": Decimal(8), "net": Decimal(-8)}
    row = features([purchase(3, "8"), refund])[1]
    assert (row["net_lifetime"], row["orders_lifetime"], row["x_repeat_purchases"]) == (0.0, 1, 0)
    assert row["refund_share_lifetime"] == 1.0
    assert (row["refunds_365d"], row["days_since_last_refund"]) == (1, 1)
    assert row["active_days_7d"] == 1, "a refund is not an active day"


def test_days_after_the_as_of_day_are_not_seen() -> None:
    rows = [purchase(5, "1"), purchase(-1, "1000"), purchase(-1, "1", customer=2)]
    assert list(features(rows)) == [1]
    assert features([purchase(5, "1"), purchase(-1, "1000")])[1] == features([purchase(5, "1")])[1]


def test_nobody() -> None:
    assert features([]) == {}


def same(got: Any, want: Any) -> bool:
    if isinstance(got, float) and isinstance(want, float):
        return math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-9)
    return type(got) is type(want) and got == want


@settings(max_examples=12, deadline=None)
@given(shop=shops(on=EDGES, rows=50), late=st.sampled_from([0, 1, 30, 40]))
def test_features_equal_a_plain_recompute(shop: Shop, late: int) -> None:
    as_of = FIRST_DAY + timedelta(days=365 + late)
    built = build_customer_features(customer_days(shop), as_of=as_of)
    rows = contract("customer_features").conform(built).collect().rows(named=True)
    expected = plain_features(shop, as_of)
    assert [row["customer_key"] for row in rows] == sorted(expected)
    for row in rows:
        want = expected[row["customer_key"]]
        assert [(name, row[name], value) for name, value in want.items() if not same(row[name], value)] == []
    assert broken_rules("customer_features", built) == []


@settings(max_examples=6, deadline=None)
@given(shop=shops(on=EDGES, rows=60), order=st.randoms(use_true_random=False))
def test_order_of_rows_changes_no_byte(shop: Shop, order: Random) -> None:
    as_of = FIRST_DAY + timedelta(days=365)
    days = customer_days(shop).collect()
    shuffled = days[order.sample(range(days.height), days.height)]
    one, other = (
        content("customer_features", build_customer_features(frame.lazy(), as_of=as_of)) for frame in (days, shuffled)
    )
    assert one == other


@settings(max_examples=8, deadline=None)
@given(shop=shops(on=(0, 1, 2, 30), rows=60), cut=st.sampled_from([0, 1, 29, 30]))
def test_events_after_the_as_of_day_change_no_byte(shop: Shop, cut: int) -> None:
    as_of = FIRST_DAY + timedelta(days=cut)
    morrow = f"{as_of + timedelta(days=1)} 00:00"
    absurd, lines = document("sale", "absurd", morrow, 1, ("z9", 999, "99999"))
    named = {"campaign_source": "absurd", "device": "absurd", "country": "absurd", "category": "absurd"}
    paid = {name: absurd[name] for name in ORDER_OF_PAYMENT} | {"method": "absurd"}
    poisoned = Shop(
        [*shop.events, event("product_added", morrow, 1, product_id="z9", price=Decimal(99999), quantity=999, **named)],
        [*shop.orders, absurd],
        [*shop.order_lines, *lines],
        [*shop.payments, paid],
    )
    one, other = (
        content("customer_features", build_customer_features(customer_days(rows), as_of=as_of))
        for rows in (poisoned, shop.until(as_of))
    )
    assert one == other


def test_every_column_says_its_unit_and_window() -> None:
    columns = contract("customer_features").columns[2:]
    assert len(columns) >= 60
    assert [column.name for column in columns if not (column.unit and column.window)] == []
    for column in columns:
        days = re.search(r"_(\d+)d(?:_|$)", column.name)
        if days:
            assert column.window == ("as-of day" if days[1] == "1" else f"last {days[1]} days"), column.name


def test_prices_are_banded_within_their_category() -> None:
    prices = [(customer, "tea", str(customer)) for customer in range(1, 11)]
    rows = [
        purchase(1, price, customer, bought_categories=[category], bought_category_units=[2], bought_brands=[],
                 bought_category_gross=[2 * Decimal(price)])
        for customer, category, price in [*prices, (11, "pot", "99")]
    ]  # fmt: skip
    found = features(rows)
    assert [found[customer]["price_band_365d"] for customer in range(1, 11)] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert found[11]["price_band_365d"] is None, "one price is no band"


def test_windows_count_days_of_the_shop_when_clocks_change() -> None:
    """On 2025-03-30 the clocks of Berlin skip an hour: that day has 23, and is a day like any other."""
    zone, as_of = ZoneInfo("Europe/Berlin"), date(2025, 4, 1)
    moments = [datetime(2025, 3, day, hour, 59, tzinfo=zone) for day in (28, 29, 30, 31) for hour in (0, 23)]
    rows = [
        event("page_viewed", moment.astimezone(UTC)) | {"event_day": moment.date(), "visitor_key": 1}
        for moment in moments
    ]
    tables = {name: table(name, []) for name in ("orders", "order_lines", "sessions")}
    days = build_customer_days(table("events", rows), **tables, timezone=zone.key)
    (row,) = build_customer_features(days, as_of=as_of).collect().rows(named=True)
    assert [row[f"events_{window}d"] for window in (1, 3, 7, 14)] == [0, 4, 8, 8]
    assert (row["active_days_3d"], row["tenure_days"], row["days_since_last_event"]) == (2, 4, 1)
    assert (row["night_share_365d"], row["evening_share_365d"]) == (0.5, 0.5)


UNLIKELY = {
    "mini_program_share_365d": "the drawn shop has no mini program",
    "phone_share_365d": "the drawn shop has no telephone",
    "email_share_365d": "the drawn shop sells nothing by mail",
    "other_share_365d": "the drawn shop knows its channels",
    "as_of": "names the partition",
    "currencies": "the drawn shop has one currency, and whoever has no document has none",
}
"""Columns that need not vary, with why."""


def test_no_column_is_a_placeholder() -> None:
    """Every column takes two values or more over a shop in which everything happens."""
    draw, start = Random(4), datetime(2025, 1, 1, 16, tzinfo=UTC)  # midnight in the shop
    kinds = [kind for kind in event_kinds() if kind not in {"order_completed", "order_refunded", "order_cancelled"}]
    events, orders, lines, payments = [], [], [], []
    for _ in range(2000):
        moment = start + timedelta(days=min(draw.randrange(190), 179), minutes=draw.randrange(24 * 60))
        customer, product = draw.randrange(1, 90), draw.choice(("a1", "a2", "b1", "c1"))
        if draw.random() < 0.25:
            kind = "sale" if draw.random() < 0.8 else "refund"
            head, goods = document(
                kind, f"o{len(orders)}", moment, customer,
                (product, draw.randrange(1, 4), str(draw.randrange(2, 20))), *draw.choice(([], [("d1", 1, "0.5")])),
                discount=draw.choice(("0", "0.3")), coupon=draw.choice((None, "SAVE")),
                tax=Decimal(draw.randrange(3)), shipping=Decimal(draw.randrange(2)),
                country=draw.choice((None, "CN", "SE")),
            )  # fmt: skip
            orders.append(head)
            lines += goods
            if draw.random() < 0.7:
                method = draw.choice(("credit_card", "wallet", "cash"))
                payments.append({name: head[name] for name in ORDER_OF_PAYMENT} | {"method": method, "sequence": 1})
            continue
        columns = {
            "channel": draw.choice(("web", "app", "store")), "device": draw.choice((None, "mobile", "desktop")),
            "country": draw.choice((None, "CN", "SG")), "campaign_source": draw.choice((None, None, "google", "mail")),
            "campaign_medium": draw.choice((None, "cpc", "social")), "campaign_name": draw.choice((None, "spring")),
            "product_id": product, "category": product[0], "price": Decimal(draw.randrange(2, 20)),
            "quantity": draw.randrange(1, 3), "rating": draw.randrange(1, 6), "results": draw.randrange(2),
        }  # fmt: skip
        events += [
            event(
                draw.choice(kinds),
                moment + timedelta(seconds=later),
                customer,
                event_id=f"{len(events):05}-{later}",
                **columns,
            )
            for later in draw.choice(((0,), (0, 90), (0, 30, 700)))
        ]
    shop = Shop(events, orders, lines, payments)
    visits = build_sessions(table("events", events), first=min(shop.days()), last=AS_OF)
    days = build_customer_days(**shop.tables(), sessions=visits, timezone=ZONE)
    frame = contract("customer_features").conform(build_customer_features(days, as_of=AS_OF)).collect()
    assert broken_rules("customer_features", frame.lazy()) == []
    same = {name for name in frame.columns if frame[name].n_unique() < 2}
    assert same - UNLIKELY.keys() == set()
    assert (
        sorted(
            name for name, kind in frame.schema.items() if kind != pl.List and frame[name].null_count() == frame.height
        )
        == []
    )
