"""Robots and internal traffic: found by rule, flagged and kept, and never a person."""

import json
from datetime import date

import polars as pl
import pytest

from insight_assets.contracts.sources import source_contracts
from insight_assets.contracts.traffic import traffic_rules
from insight_assets.simulator.plan import SimulationPlan, Trouble
from insight_assets.simulator.simulation import simulate_days
from insight_assets.validation.currencies import Exchange
from insight_assets.validation.publishing import ValidatedDay, validate_day
from insight_assets.validation.traffic import judge_actor_days
from insight_assets_tests.deliveries import ORDERS_HEADER, call, lines, order, orders_row, product
from insight_assets_tests.features.shop import event, table
from insight_assets_tests.validation.judging import PSEUDONYM, SHOP, raw_rows, validate

SEGMENT = source_contracts()["segment"]
TIME = "2025-01-01T10:00:00Z"
DAY = date(2025, 1, 1)


def judged(*each: dict) -> dict[str, str]:
    days = validate(SEGMENT, lines(*(json.dumps(one) for one in each)))
    return dict(pl.concat([day.tables["events"] for day in days.values()]).select("event_id", "traffic").iter_rows())


@pytest.mark.parametrize(
    ("context", "traffic"),
    [
        ({}, "person"),
        ({"userAgent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}, "bot"),
        ({"userAgent": "Mozilla/5.0 (X11) HeadlessChrome/120.0"}, "bot"),
        ({"userAgent": "curl/8.5.0"}, "bot"),
        ({"userAgent": "Mozilla/5.0 (Linux; CUBOT X30) AppleWebKit/537.36 Mobile"}, "person"),
        ({"userAgent": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Safari/604.1"}, "person"),
        ({"ip": "127.0.0.1"}, "internal"),
        ({"ip": "::1", "userAgent": "curl/8.5.0"}, "internal"),
        ({"ip": "172.16.0.1"}, "person"),
    ],
)
def test_one_event_is_judged_by_its_browser_and_address(context, traffic):
    assert judged(call("m", TIME, context={"channel": "web"} | context)) == {"m": traffic}


def test_neither_browser_nor_address_is_stored():
    context = {"channel": "web", "userAgent": "canary-browser", "ip": "203.0.113.77"}
    days = validate(SEGMENT, lines(json.dumps(call("m", TIME, context=context))))
    for frame in days[DAY].tables.values():
        assert "canary" not in frame.write_json()
        assert "203.0.113.77" not in frame.write_json()


def steps(visitor: str, count: int, seconds: float) -> list[dict]:
    """Give the product views of one visitor, one every so many seconds."""
    step = f"{int(seconds * 1000)}ms"
    times = pl.datetime_range(pl.datetime(2025, 1, 1, 1), pl.datetime(2025, 1, 1, 20), step, eager=True)
    who = {"userId": None, "anonymousId": visitor}
    return [
        call(f"{visitor}{n}", f"{at.isoformat()}Z", **who, properties={"product_id": f"p{n % 37}"})
        for n, at in enumerate(times[:count])
    ]


def test_who_views_hundreds_of_products_at_one_pace_is_no_person():
    found = judged(*steps("fast", 120, 2), *steps("slow", 120, 30), *steps("few", 60, 1))
    assert {name.rstrip("0123456789"): traffic for name, traffic in found.items()} == {
        "fast": "bot", "slow": "person", "few": "person",
    }  # fmt: skip


def test_who_buys_is_a_person_however_fast():
    sale = order("order", "2025-01-01T02:00:00Z", product(), userId=None, anonymousId="fast")
    assert set(judged(*steps("fast", 120, 2), sale).values()) == {"person"}


def test_what_an_event_says_of_itself_is_not_overruled():
    internal = [one | {"context": {"channel": "web", "ip": "127.0.0.1"}} for one in steps("probe", 120, 1)]
    assert set(judged(*internal).values()) == {"internal"}


def test_flagged_events_are_counted_and_published():
    days = validate(SEGMENT, lines(*(json.dumps(one) for one in [*steps("fast", 110, 2), call("m", TIME)])))
    account = days[DAY].accounts[0]
    assert days[DAY].traffic == {"bot": 110}
    assert (account.read, account.accepted) == (111, 111)
    assert days[DAY].tables["events"].height == 111


def test_the_order_of_rows_is_no_matter():
    times = [f"2025-03-01 10:{n // 60:02}:{n % 60:02}" for n in range(150)]
    rows = [event("product_viewed", at, None, visitor_key=5, traffic="person") for at in times]
    frame = table("events", rows).collect()
    rules = traffic_rules().actor_days
    for seed in range(3):
        shuffled = frame.sample(fraction=1, shuffle=True, seed=seed)
        found = judge_actor_days(shuffled, rules)
        assert found["event_id"].equals(shuffled["event_id"])
        assert set(found["traffic"]) == {"bot"}


def flagged_of(plan: SimulationPlan) -> tuple[set[str], set[str], int]:
    """Give the events flagged as robots', those that the simulator planted, and the number of all."""
    flagged, planted, rows = set(), set(), 0
    for day in simulate_days(plan):
        planted |= set(day.planted().filter(pl.col("kind") == "bot")["message_id"])
        text = "\n".join("\n".join(texts) for texts in day.texts())
        for validated in validate(SEGMENT, text, shop=plan.timezone).values():
            events = validated.tables["events"]
            rows += events.height
            flagged |= set(events.filter(pl.col("traffic") == "bot")["event_id"])
    return flagged, planted, rows


def test_planted_robots_are_found_and_nobody_else():
    plan = SimulationPlan(customers=200, days=10, products=300, seed=3, trouble=Trouble(bots=8))
    flagged, planted, _ = flagged_of(plan)
    hits = len(flagged & planted)
    assert hits / len(planted) >= 0.99
    assert hits / len(flagged) >= 0.99


def test_a_shop_without_robots_raises_no_alarm():
    flagged, planted, rows = flagged_of(SimulationPlan(customers=400, days=10, products=150, seed=11))
    assert rows > 2_000
    assert not planted
    assert not flagged


BOT = {"channel": "web", "userAgent": "curl/8.5.0"}
LOCAL = {"channel": "web", "ip": "127.0.0.1"}


def bought(number: int, day: str = "01", event: str = "Order Completed", **changes) -> dict:
    """Give a call about the order `o<number>` of the customer `u<number>`."""
    return order(
        f"{event}{number}", f"2025-01-{day}T03:00:00Z", product(price=10), event=event, userId=f"u{number}",
        anonymousId=None, properties={"order_id": f"o{number}"}, **changes,
    )  # fmt: skip


def placed_by(days: dict, name: str) -> dict[tuple[str, str], str]:
    rows = pl.concat([day.tables[name] for day in days.values()])
    return {(order_id, kind): traffic for order_id, kind, traffic in rows.select("order_id", "kind", "traffic").rows()}


@pytest.mark.parametrize("name", ["order_lines", "orders"])
def test_an_order_is_of_who_sent_the_event_that_tells_of_it(name):
    calls = [bought(1), bought(2, context=BOT), bought(3, context=LOCAL)]
    days = validate(SEGMENT, lines(*map(json.dumps, calls)))
    assert placed_by(days, name) == {("o1", "sale"): "person", ("o2", "sale"): "bot", ("o3", "sale"): "internal"}


@pytest.mark.parametrize(
    ("sale", "refund", "standing"),
    [({}, {"context": BOT}, "person"), ({"context": BOT}, {}, "bot"), ({"context": LOCAL}, {"context": BOT}, "internal")],
)
def test_what_is_given_back_is_of_who_bought_whatever_program_books_it(sale, refund, standing):
    calls = [bought(1, **sale), bought(1, event="Order Refunded", **refund)]
    days = validate(SEGMENT, lines(*map(json.dumps, calls)))
    assert placed_by(days, "orders") == {("o1", "sale"): standing, ("o1", "refund"): standing}
    assert placed_by(days, "order_lines") == {("o1", "sale"): standing, ("o1", "refund"): standing}


def test_a_refund_that_a_program_books_on_a_later_day_is_the_customers():
    calls = [bought(1), bought(1, "02", event="Order Refunded", context=LOCAL)]
    days = validate(SEGMENT, lines(*map(json.dumps, calls)))
    assert set(placed_by(days, "orders").values()) == {"person"}


def two_sources(*calls: dict, orders: list[str]) -> ValidatedDay:
    """Validate a day of Segment's calls and of orders that only the shop's ledger tells of."""
    generic = source_contracts()["generic_orders_csv"]
    raw = {
        "segment": raw_rows(SEGMENT, lines(*map(json.dumps, calls))),
        "generic_orders_csv": raw_rows(generic, lines(ORDERS_HEADER, *orders)),
    }
    return validate_day(
        DAY, raw, {"segment": SEGMENT, "generic_orders_csv": generic}, pseudonym=PSEUDONYM, shop_timezone=SHOP,
        budgets={}, exchange=Exchange("EUR"),
    )  # fmt: skip


def test_an_order_without_an_event_is_of_what_else_its_actor_did_that_day():
    buyers = ("probe", "mixed", "quiet", "fast")
    sold = [orders_row(f"o{who}", "2025-01-01T10:00:00", customer_id=who) for who in buyers]
    day = two_sources(
        call("1", TIME, userId="probe", context=LOCAL),
        call("2", TIME, userId="mixed", context=LOCAL),
        call("3", TIME, userId="mixed"),
        *(one | {"userId": "fast"} for one in steps("fast", 120, 2)),
        orders=sold,
    )
    # Who buys is a person however fast, whichever source tells of it.
    expected = {"oprobe": "internal", "omixed": "person", "oquiet": "person", "ofast": "person"}
    for name in ("order_lines", "orders"):
        assert dict(day.tables[name].select("order_id", "traffic").iter_rows()) == expected
    derived = day.tables["events"].filter(pl.col("file_hash") == "derived")
    assert dict(derived.select("order_id", "traffic").iter_rows()) == expected
    assert day.traffic == {"internal": 3}


def test_every_order_is_of_one_traffic_whatever_the_order_of_rows():
    calls = [bought(n, context=context) for n, context in enumerate([BOT, LOCAL, {"channel": "web"}] * 4)]
    calls += [bought(n, event="Order Refunded") for n in range(12)]
    text = lines(*map(json.dumps, calls))
    found = [placed_by(validate(SEGMENT, text, order=order), "order_lines") for order in (range(24), range(23, -1, -1))]
    assert found[0] == found[1]
    assert sorted(found[0].values()) == ["bot"] * 8 + ["internal"] * 8 + ["person"] * 8
