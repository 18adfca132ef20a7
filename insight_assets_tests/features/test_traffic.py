"""What robots and the shop itself did or bought is in no feature."""

from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest

from insight_assets.features.customer_days import build_customer_days
from insight_assets.features.money import without_void_orders
from insight_assets.features.product_days import build_product_days
from insight_assets.features.sequences import build_event_sequences
from insight_assets.features.sessions import build_sessions
from insight_assets.insights.recommendation.interactions import interactions, purchases
from insight_assets_tests.features.shop import FIRST_DAY, ZONE, Shop, actor_days, document, event, table

PERSON = [
    event("product_viewed", "2025-03-01 10:00", 1, product_id="a1"),
    event("products_searched", "2025-03-01 10:05", 1, query="tea", results=3),
]
OTHER = [
    event(kind, f"2025-03-01 {time}", 1, product_id="a2", event_id=f"other-{kind}-{time}")
    for kind in ("product_viewed", "product_added", "product_reviewed")
    for time in ("09:50", "10:02", "10:20", "23:00")
]


def visits(shop: Shop) -> pl.LazyFrame:
    return build_sessions(shop.tables()["events"], first=FIRST_DAY, last=FIRST_DAY)


READERS = {
    "sessions": visits,
    "customer_days": lambda shop: build_customer_days(**shop.tables(), sessions=visits(shop), timezone=ZONE),
    "product_days": lambda shop: build_product_days(shop.tables()["events"], shop.tables()["order_lines"]),
    "event_sequences": lambda shop: build_event_sequences(shop.tables()["events"], as_of=FIRST_DAY),
    "interactions": lambda shop: interactions(table("order_lines", []), shop.tables()["events"], as_of=FIRST_DAY),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("traffic", ["bot", "internal"])
def test_flagged_events_change_no_feature(name, traffic):
    build = READERS[name]

    def built(events: list[dict]) -> str:
        frame = build(Shop(events, [], [])).collect()
        return "\n".join(sorted(frame.write_ndjson().splitlines()))

    alone = built(PERSON)
    assert built([*PERSON, *({**row, "traffic": traffic} for row in OTHER)]) == alone
    assert built([*PERSON, *({**row, "traffic": "person"} for row in OTHER)]) != alone


def sale(order_id: str, hour: int, **columns) -> tuple[dict, list[dict]]:
    return document("sale", order_id, f"2025-03-01 {hour}:00", 1, ("a1", 2, "10"), **columns)


ORDER_READERS = {
    "customer_days": actor_days,
    "product_days": READERS["product_days"],
    "interactions": lambda shop: interactions(table("order_lines", shop.order_lines), as_of=FIRST_DAY),
    "purchases": lambda shop: purchases(
        table("order_lines", shop.order_lines), after=FIRST_DAY - timedelta(days=1), until=FIRST_DAY
    ),
}


@pytest.mark.parametrize("name", ORDER_READERS)
@pytest.mark.parametrize("traffic", ["bot", "internal"])
def test_flagged_orders_change_no_feature(name, traffic):
    build = ORDER_READERS[name]
    own, lines = sale("o1", 10)

    def built(**columns) -> str:
        other, goods = document("sale", "o2", "2025-03-01 11:00", 1, ("b1", 1, "99"), **columns)
        frame = build(Shop([], [own, other], [*lines, *goods])).collect()
        return "\n".join(sorted(frame.write_ndjson().splitlines()))

    alone = "\n".join(sorted(build(Shop([], [own], lines)).collect().write_ndjson().splitlines()))
    assert built(traffic=traffic) == alone
    assert built() != alone


def test_money_of_a_day_is_that_of_persons():
    (own, lines), (other, more) = sale("o1", 10), sale("o2", 11, traffic="bot")
    day = actor_days(Shop([], [own, other], [*lines, *more])).collect().row(0, named=True)
    assert (day["orders"], day["gross"], day["net"]) == (1, Decimal(20), Decimal(20))


def test_a_robot_that_gives_its_order_back_takes_no_purchase_from_the_customer():
    (own, lines), (other, more) = sale("o1", 10), sale("o2", 11, traffic="bot")
    back, goods = document("refund", "o2", "2025-03-01 12:00", 1, ("a1", 2, "10"), traffic="bot")
    shop = Shop([], [own, other, back], [*lines, *more, *goods])
    left = without_void_orders(actor_days(shop), table("orders", shop.orders), as_of=FIRST_DAY).collect()
    assert left.select("orders", "net").rows() == [(1, Decimal(20))]
