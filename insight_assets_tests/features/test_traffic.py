"""What robots and the shop itself did is in no feature."""

import polars as pl
import pytest

from insight_assets.features.customer_days import build_customer_days
from insight_assets.features.product_days import build_product_days
from insight_assets.features.sequences import build_event_sequences
from insight_assets.features.sessions import build_sessions
from insight_assets.insights.recommendation.interactions import interactions
from insight_assets_tests.features.shop import FIRST_DAY, ZONE, Shop, event, table

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
