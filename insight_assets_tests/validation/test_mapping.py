"""From delivered rows to canonical rows: each kind of fault is quarantined by its name, and nothing else is."""

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal

import polars as pl
import pytest

from insight_assets.contracts.sources import TableMapping, source_contracts
from insight_assets.validation import mapping as mapping_module
from insight_assets.validation.pseudonyms import CUSTOMER
from insight_assets_tests.deliveries import (
    ORDERS_HEADER,
    REES46_HEADER,
    UCI_HEADER,
    call,
    lines,
    order,
    orders_row,
    product,
    uci_row,
)
from insight_assets_tests.validation.judging import PSEUDONYM, raw_rows, totals, validate, verdicts

SOURCES = source_contracts()
SEGMENT, UCI, REES46, ORDERS = (SOURCES[n] for n in ("segment", "uci_online_retail", "rees46", "generic_orders_csv"))
TIME = "2025-01-01T10:00:00Z"
DAY = date(2025, 1, 1)


def calls(*each: dict | str) -> str:
    return lines(*(one if isinstance(one, str) else json.dumps(one) for one in each))


def table(days: dict, name: str) -> pl.DataFrame:
    return pl.concat([day.tables[name] for day in days.values()])


def judged(one: dict | str) -> str | None:
    """Give the rules that a call breaks, in the company of good ones."""
    days = validate(SEGMENT, calls(call("before", TIME), one, call("after", TIME)))
    found = verdicts(days)
    assert totals(days)[1] >= 2
    assert not {line for _, line in found} - {2}
    return found.get(("file 0", 2))


BAD_CALLS = {
    "cut": ('{"messageId": "m", "event": "Pro', "malformed"),
    "no object": ("[1, 2]", "malformed"),
    "null": ("null", "malformed"),
    "two objects": ("{},{}", "malformed"),
    "nan": ('{"messageId": "m", "properties": {"price": NaN}}', "malformed"),
    "too large a number": ('{"messageId": "m", "properties": {"price": 1e400}}', "malformed"),
    "text for an object": (call("m", TIME) | {"context": "web"}, "malformed"),
    "object for a text": (call("m", TIME) | {"userId": {"id": 1}}, "malformed"),
    "object for a list": (order("m", TIME, product()) | {"properties": {"products": {"a": 1}}}, "malformed"),
    "texts for products": (order("m", TIME, product()) | {"properties": {"products": ["a"]}}, "malformed"),
    "thousands": (call("m", TIME, properties={"price": "1,299.00"}), "price.type"),
    "currency sign": (call("m", TIME, properties={"price": "￥12"}), "price.type"),
    "word": (call("m", TIME, properties={"price": "free"}), "price.type"),
    "full-width digits": (call("m", TIME, properties={"price": "１２"}), "price.type"),
    "true": (call("m", TIME, properties={"price": True}), "price.type"),
    "half a unit": (call("m", TIME, properties={"quantity": 1.5}), "quantity.type"),
    "infinite": (call("m", TIME, properties={"price": "inf"}), "price.type"),
    "not a number": (call("m", TIME, properties={"price": "NaN"}), "price.type"),
    "huge text": (call("m", TIME, properties={"price": "1e400"}), "price.type"),
    "too many digits": (call("m", TIME, properties={"price": "123456789012345"}), "price.type"),
    "negative": (call("m", TIME, properties={"price": -1}), "price.minimum"),
    "unknown event": (call("m", TIME, "Produkt Viewed"), "event.enum"),
    "no event": (call("m", TIME) | {"event": None}, "event.required"),
    "no identity": (call("m", TIME) | {"messageId": None}, "event_id.required"),
    "empty identity": (call("", TIME), "event_id.min_length"),
    "nobody": (call("m", TIME, userId=None, anonymousId=None), "actor_known"),
    "nobody but blanks": (call("m", TIME, userId=" ", anonymousId=""), "actor_known"),
    "no product": (call("m", TIME, properties={"product_id": None}), "product_is_named"),
    "unknown channel": (call("m", TIME, context={"channel": "fax"}), "channel.enum"),
    "no time": (call("m", TIME) | {"timestamp": None}, "event_time.required"),
    "unreadable time": (call("m", "next Tuesday", receivedAt=TIME), "event_time.required"),
    "an hour and a second ahead": (call("m", "2025-01-01T11:00:01Z", receivedAt=TIME), "clock_ahead"),
    "two days ahead": (call("m", "2025-01-03T10:00:00Z", receivedAt=TIME), "clock_ahead"),
    "made after it was sent": (call("m", TIME, originalTimestamp="2025-01-01T12:00:00Z", sentAt=TIME), "clock_ahead"),
    "eight days late": (call("m", TIME, receivedAt="2025-01-09T10:00:00Z"), "too_late"),
    "400 days late": (call("m", "2023-11-28T10:00:00Z", receivedAt=TIME), "too_late"),
    "far future": (call("m", "2031-01-01T00:00:00Z"), "event_time.out_of_range"),
    "before 1990": (call("m", "1989-12-30T00:00:00Z"), "event_time.out_of_range"),
    "epoch": (call("m", "1970-01-01T00:00:00Z"), "event_time.out_of_range"),
    "unreadable arrival": (call("m", TIME, receivedAt="soon"), "known_at.type"),
    "six stars": (call("m", TIME, "Product Reviewed", properties={"rating": 6}), "rating.maximum"),
    "search for nothing": (call("m", TIME, "Products Searched"), "search_has_text"),
    "order without money": (order("m", TIME, product()) | {"properties": {"order_id": "o1"}}, "order_has_value"),
    "order without identity": (order("m", TIME, product(), properties={"order_id": None}), "order_has_id order_id.required"),
    "order in dollars and cents": (order("m", TIME, product(), properties={"currency": "US$"}), "currency.pattern"),
    "returned sale": (order("m", TIME, product(quantity=-1), properties={"revenue": 1}), "gross.minimum sale_has_units discount_within_gross"),
    "discount above the goods": (order("m", TIME, product(discount=20), properties={"revenue": 1}), "discount_within_gross"),
    "a product of its own": (order("m", TIME, product(number=None)), "product_id.required"),
    "line too large for money": (order("m", TIME, product(quantity=10**9, price=10**10, discount=1), properties={"revenue": 1}), "gross.too_large gross.required net.required"),
    "units beyond reason": (order("m", TIME, product(quantity=10**10, price=0.01), properties={"revenue": 1}), "quantity.maximum"),
    "units beyond integers": (order("m", TIME, product(quantity=10**19, price=0.01), properties={"revenue": 1}), "item_quantity.type quantity.required gross.required net.required"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_CALLS)
def test_a_faulty_call_is_quarantined_by_name_and_alone(name):
    one, rules = BAD_CALLS[name]
    assert judged(one) == rules


GOOD_CALLS = {
    "usual": call("m", TIME),
    "emoji and right-to-left": call("m", TIME, properties={"product_id": "😀", "category": "\u202eabc", "brand": "عطر"}),
    "nul": call("m", TIME, properties={"category": "a\u0000b"}),
    "lone surrogate": '{"messageId": "m", "event": "Product Viewed", "userId": "u", "timestamp": "%s", "properties": {"product_id": "\\ud800"}}' % TIME,
    "unknown fields": call("m", TIME) | {"integrations": {"All": True}, "version": [1, {"a": None}]},
    "price as text": call("m", TIME, properties={"price": "9.50"}),
    "blank price": call("m", TIME, properties={"price": " "}),
    "minus zero": call("m", TIME, properties={"price": -0.0}),
    "largest price": call("m", TIME, properties={"price": "99999999999999.9999"}),
    "visitor": call("m", TIME, userId=None),
    "one day ahead": call("m", "2025-06-02T10:00:00Z"),
    "guest order": order("m", TIME, product(), userId=None, anonymousId=None),
    "an hour ahead": call("m", "2025-01-01T11:00:00Z", receivedAt=TIME),
    "a day late": call("m", TIME, receivedAt="2025-01-02T10:00:00Z"),
    "seven days late": call("m", TIME, receivedAt="2025-01-08T10:00:00Z"),
    "a device in 1970": call("m", TIME, originalTimestamp="1970-01-01T00:00:00Z", sentAt="1970-01-01T00:00:01Z"),
    "a device in 2038": call("m", TIME, originalTimestamp="2038-01-19T03:14:07Z", sentAt="2038-01-19T03:14:07Z"),
    "a device three hours ahead": call("m", TIME, originalTimestamp="2025-01-01T13:00:00Z", sentAt="2025-01-01T13:00:00Z"),
    "a device three hours behind": call("m", TIME, originalTimestamp="2025-01-01T07:00:00Z", sentAt="2025-01-01T07:00:00Z"),
    "received before it happened": call("m", TIME, receivedAt="2025-01-01T09:00:00Z"),
    "not received": call("m", TIME, receivedAt=None),
    "one level of nesting less": '{"messageId": "m", "event": "Signed Up", "userId": "u", "timestamp": "%s", "context": null}' % TIME,
    "scientific": '{"messageId": "m", "event": "Product Viewed", "userId": "u", "timestamp": "%s", "properties": {"product_id": 7, "price": 1.5E2}}' % TIME,
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD_CALLS)
def test_an_odd_but_faultless_call_is_accepted(name):
    assert judged(GOOD_CALLS[name]) is None


def test_a_row_that_no_mapping_takes_is_quarantined():
    header = REES46_HEADER
    row = "2025-01-01 00:00:00 UTC,{},p,c,,b,1.0,u,s"
    nothing = ",view,p,c,,b,1.0,u,s"
    days = validate(REES46, lines(header, row.format("view"), row.format("stare"), row.format(""), nothing))
    assert {line: rules for (_, line), rules in verdicts(days).items()} == {
        3: "event.enum", 4: "not_mapped", 5: "event_time.required",
    }  # fmt: skip


def test_one_faulty_line_rejects_its_whole_order_and_no_other():
    good, bad = (
        order("good", TIME, product("a"), product("b")),
        order("bad", TIME, product("a"), product("b", price=-1), properties={"revenue": 1}),
    )
    days = validate(SEGMENT, calls(good, bad))
    assert totals(days) == (2, 1, 0, 1)
    assert table(days, "order_lines")["order_line_id"].to_list() == ["good:1", "good:2"]
    assert table(days, "events")["event_id"].to_list() == ["good"]
    assert "price_not_negative" in verdicts(days)["file 0", 2].split()


def test_rules_broken_by_several_lines_are_named_once():
    bad = order("bad", TIME, *(product(str(n), quantity=-1) for n in range(50)), properties={"revenue": 1})
    assert verdicts(validate(SEGMENT, calls(call("m", TIME), bad))) == {("file 0", 2): "gross.minimum sale_has_units discount_within_gross"}


# Duplicates


def test_repeats_are_counted_and_dropped():
    one = call("m1", TIME)
    days = validate(SEGMENT, calls(one, one, call("m2", TIME)), calls(one))
    assert totals(days) == (4, 2, 2, 0)
    assert table(days, "events")["event_id"].sort().to_list() == ["m1", "m2"]


def test_a_repeated_order_drops_all_its_lines():
    one = order("m", TIME, product("a"), product("b"))
    days = validate(SEGMENT, calls(one, one))
    assert totals(days) == (2, 1, 1, 0)
    assert table(days, "order_lines").height == 2
    assert table(days, "orders")["net"].to_list() == [Decimal("19")]


def test_a_faulty_row_is_no_rival_of_a_good_one_with_its_identity():
    days = validate(SEGMENT, calls(call("m", TIME, properties={"price": -1}), call("m", "2025-01-01T10:00:01Z")))
    assert totals(days) == (2, 1, 0, 1)


def test_the_same_identity_on_two_days_is_two_rows():
    days = validate(SEGMENT, calls(call("m", TIME), call("m", "2025-01-03T10:00:00Z")))
    assert totals(days) == (2, 2, 0, 0)


def test_a_row_that_gives_one_identity_twice_is_quarantined_not_lost():
    by_product = dict(SEGMENT.mappings[1].expressions) | {"order_line_id": "order_id || ':' || item_product_id"}
    source = replace(SEGMENT, mappings=(SEGMENT.mappings[0], replace(SEGMENT.mappings[1], expressions=by_product)))
    twice = order("m1", TIME, product("a"), product("a"))
    days = validate(source, calls(twice, order("m2", TIME, product("b"))))
    assert totals(days) == (2, 1, 0, 1)
    assert verdicts(days) == {("file 0", 1): "primary_key"}


def test_a_table_that_is_mapped_twice_takes_rows_of_both():
    first, second = (
        replace(SEGMENT.mappings[0], where=f"event = '{name}'") for name in ("Product Viewed", "Signed Up")
    )
    source = replace(SEGMENT, mappings=(first, second))
    days = validate(source, calls(call("a", TIME), call("b", TIME, "Signed Up"), call("c", TIME, "Cart Viewed")))
    assert totals(days) == (3, 2, 0, 1)
    overlapping = replace(SEGMENT, mappings=(first, first))
    assert verdicts(validate(overlapping, calls(call("a", TIME)))) == {("file 0", 1): "primary_key"}


# Clocks and lateness


def test_clocks_that_are_off_and_rows_that_come_late_are_counted():
    device = {"originalTimestamp": "1970-01-01T00:00:00Z", "sentAt": "1970-01-01T00:00:10Z"}
    days = validate(SEGMENT, calls(call("a", TIME), call("b", TIME, **device), call("c", TIME, receivedAt="2025-01-03T10:00:00Z")))
    account = days[DAY].accounts[0]
    assert (account.accepted, account.late, account.skewed) == (3, 1, 1)
    assert account.late_share == pytest.approx(1 / 3)
    events = table(days, "events").sort("event_id")
    assert events["event_time"].dt.epoch("s").diff().to_list() == [None, -10, 10]
    assert events["clock_skew"].to_list() == [None, -1_735_725_590.0, None]


@pytest.mark.parametrize(("late_days", "broken"), [(None, {4}), (2, {3, 4}), (30, set())])
def test_a_source_may_say_how_late_is_too_late(late_days, broken):
    late = [call(f"m{n}", TIME, receivedAt=f"2025-01-{1 + n:02}T10:00:00Z") for n in (0, 2, 5, 9)]
    days = validate(replace(SEGMENT, late_days=late_days), calls(*late))
    assert {line for _, line in verdicts(days)} == broken
    assert set(verdicts(days).values()) <= {"too_late"}


def test_a_source_that_knows_its_rows_as_they_happen_is_never_late():
    days = validate(ORDERS, lines(ORDERS_HEADER, orders_row("o1", "2023-01-01 10:00"), orders_row("o2", "2025-01-01 10:00")))
    assert totals(days) == (2, 2, 0, 0)


def test_times_that_cannot_be_placed_are_quarantined_by_name_and_alone():
    source = replace(SEGMENT, timezone="none")
    naive, good = call("m", "2025-01-01 10:00:00", receivedAt=None), call("n", TIME)
    assert verdicts(validate(source, calls(good, naive, good))) == {("file 0", 2): "naive_timestamp"}
    source = replace(SEGMENT, timezone="America/New_York")
    gap, fold = call("m", "2025-03-09 02:30:00", receivedAt=None), call("n", "2024-11-03 01:30:00", receivedAt=None)
    days = validate(source, calls(fold, gap))
    assert verdicts(days) == {("file 0", 2): "nonexistent_time"}
    # Of an hour that came twice the earlier one: daylight time, four hours behind.
    assert table(days, "events")["event_time"].dt.hour().to_list() == [5]


# People who are to be forgotten


def test_what_speaks_of_a_forgotten_person_is_in_no_table_and_counted():
    one = calls(
        call("a", TIME, userId="gone"), call("b", TIME), call("c", TIME, userId="gone", properties={"price": "free"}),
        order("o", TIME, product(), userId="gone"),
    )  # fmt: skip
    mapped = mapping_module.map_rows(
        raw_rows(SEGMENT, one), SEGMENT, pseudonym=PSEUDONYM, shop_timezone="Asia/Shanghai",
        suppressed=lambda word: word == "gone",
    )  # fmt: skip
    assert (mapped.read, mapped.accepted, mapped.quarantined, mapped.suppressed) == (4, 1, 0, 3)
    assert mapped.tables["events"]["event_id"].to_list() == ["b"]
    assert mapped.tables["order_lines"].is_empty()


# Money


def test_money_of_orders_is_exact():
    sold = order("m1", TIME, product("a", 3, 0.1), product("b", 7, 19.99, discount=0.03))
    back = order("m2", TIME, product("b", 2, 19.99, discount=0.01), event="Order Refunded")
    days = validate(SEGMENT, calls(sold, back))
    wanted = ["kind", "gross", "discount", "refunded", "net", "units"]
    assert table(days, "orders").sort("kind").select(wanted).rows() == [
        ("refund", Decimal(0), Decimal(0), Decimal("39.97"), Decimal("-39.97"), 2),
        ("sale", Decimal("140.23"), Decimal("0.03"), Decimal(0), Decimal("140.20"), 10),
    ]
    for name in ("orders", "order_lines"):
        assert (
            table(days, name)
            .filter(pl.col("net") != pl.col("gross") - pl.col("discount") - pl.col("refunded"))
            .is_empty()
        )


def test_generic_orders_and_their_refunds():
    text = lines(
        ORDERS_HEADER,
        orders_row("o1", "2025-01-01 10:00", order_line_id="1", quantity="3", unit_price="0.10", discount="0.05"),
        orders_row("o1", "2025-01-01 10:00", order_line_id="2", product_id="p2", customer_id=""),
        orders_row(
            "o1",
            "2025-01-05 09:00",
            order_line_id="2",
            product_id="p2",
            status="Refunded",
            quantity="1",
            discount="2.5",
        ),
        orders_row("o1", "2025-01-05 09:00", order_line_id="1", status="cancelled", quantity="3", unit_price="0.10"),
        orders_row("o2", "2025-01-05 09:00", status="paid", channel="STORE", currency="eur"),
        orders_row("o3", "2025-01-05 09:00", quantity="-1"),
    )
    days = validate(ORDERS, text)
    assert totals(days) == (6, 5, 0, 1)
    found = table(days, "orders").sort("event_day", "order_id", "kind")
    assert found.select("order_id", "kind", "gross", "discount", "refunded", "cancelled", "net", "lines").rows() == [
        ("o1", "sale", Decimal("10.3"), Decimal("0.05"), Decimal(0), Decimal(0), Decimal("10.25"), 2),
        ("o1", "refund", Decimal(0), Decimal(0), Decimal("7.5"), Decimal("0.3"), Decimal("-7.8"), 2),
        ("o2", "sale", Decimal(10), Decimal(0), Decimal(0), Decimal(0), Decimal(10), 1),
    ]
    assert found["channel"].to_list() == ["other", "other", "store"]
    assert found["currency"].to_list() == ["EUR"] * 3
    events = table(days, "events").sort("event_day", "event")
    assert events["event"].to_list() == ["order_completed", "order_completed", "order_refunded"]


def test_equal_lines_without_a_number_count_once_and_empty_cells_are_no_number():
    row = orders_row("o1", "2025-01-01 10:00")
    quoted = ",".join(f'"{cell}"' for cell in orders_row("o2", "2025-01-01 10:00", product_id="p2").split(","))
    days = validate(ORDERS, lines(ORDERS_HEADER, row, row, quoted))
    assert totals(days) == (3, 2, 1, 0)
    assert table(days, "order_lines").sort("order_id")["order_line_id"].to_list() == [
        "o1:p1:1:10:sale",
        "o2:p2:1:10:sale",
    ]


def test_amounts_are_rounded_to_four_digits_and_sums_stay_true():
    days = validate(
        ORDERS, lines(ORDERS_HEADER, orders_row("o1", "2025-01-01 10:00", quantity="3", unit_price="33.333333"))
    )
    assert table(days, "orders").select("gross", "net").row(0) == (Decimal("99.9999"), Decimal("99.9999"))


def test_uci_kinds():
    text = lines(
        UCI_HEADER,
        uci_row("1", "2025-01-01 10:00:00"),
        uci_row("C2", "2025-01-01 10:00:00", Quantity="-2"),
        uci_row("3", "2025-01-01 10:00:00", StockCode="POST", UnitPrice="18"),
        uci_row("4", "2025-01-01 10:00:00", UnitPrice="0", CustomerID=""),
        uci_row("5", "2025-01-01 10:00:00", Quantity="-5", UnitPrice="0"),
        uci_row("A6", "2025-01-01 10:00:00", Quantity="1", UnitPrice="-11062.06"),
        uci_row("7", "2025-01-01 10:00:00", Quantity="6.5"),
        uci_row("C8", "2025-01-01 10:00:00", Quantity="-9223372036854775808", UnitPrice="0"),
    )
    days = validate(UCI, text, shop="Europe/London")
    found = table(days, "order_lines").sort("line")
    assert found.select("order_id", "kind", "is_product", "net").rows() == [
        ("1", "sale", True, Decimal("15.3")), ("C2", "cancellation", True, Decimal("-5.1")), ("3", "sale", False, Decimal(108)),
        ("4", "adjustment", True, Decimal(0)), ("5", "adjustment", True, Decimal(0)),
    ]  # fmt: skip
    assert {line: rules.split()[0] for (_, line), rules in verdicts(days).items()} == {
        7: "gross.minimum", 8: "quantity.type", 9: "quantity.minimum",
    }  # fmt: skip
    assert found["customer_key"].to_list()[0] == PSEUDONYM(CUSTOMER, "17850")


# Identities of people


def test_identities_put_together_from_a_person_s_are_hidden():
    row = "2025-01-01 00:00:00 UTC,{},p,c,,b,1.0,canary@example.com,{}"
    text = lines(
        REES46_HEADER,
        row.format("view", "s1"),
        row.format("view", "s1"),
        row.format("purchase", ""),
        row.format("purchase", "s2"),
    )
    days = validate(REES46, text)
    assert totals(days) == (4, 3, 1, 0)
    for name in ("events", "order_lines", "orders", "product_history"):
        for column in table(days, name).select(pl.col(pl.String)):
            assert not column.str.contains("canary", literal=True).any(), (name, column.name)
    orders = table(days, "orders")
    # An order keeps one identity in its lines, its document and the event that follows from it.
    assert set(orders["order_id"]) == set(table(days, "order_lines")["order_id"])
    assert set(orders["order_id"]) == set(table(days, "events")["order_id"].drop_nulls())
    assert orders["order_id"].n_unique() == 2


def test_identities_of_things_stay_readable():
    days = validate(SEGMENT, calls(order("m1", TIME, product("a"))))
    assert table(days, "events")["event_id"].to_list() == ["m1"]
    assert table(days, "order_lines").select("order_line_id", "order_id").rows() == [("m1:1", "o1")]


def test_who_acted():
    days = validate(
        SEGMENT, calls(call("1", TIME), call("2", TIME, userId=None), call("3", TIME, userId="u1 ", anonymousId=None))
    )
    found = table(days, "events").sort("event_id")
    assert found["customer_key"].is_null().to_list() == [False, True, False]
    assert found["actor_key"].to_list() == [found["customer_key"][0], found["visitor_key"][1], found["customer_key"][0]]


# Reading of contracts


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("TRY_CAST(price AS DECIMAL(18,4))", [("price", "DECIMAL(18,4)")]),
        ("try_cast( \"price\" as bigint )", [('"price"', "bigint")]),
        ("TRY_CAST(REPLACE(a, ',', '.') AS DOUBLE) * 2", [("REPLACE(a, ',', '.')", "DOUBLE")]),
        ("TRY_CAST(TRY_CAST(a AS DOUBLE) AS BIGINT)", [("TRY_CAST(a AS DOUBLE)", "BIGINT"), ("a", "DOUBLE")]),
        ("TRY_CAST(REPLACE(a, ')', ' AS x') AS DOUBLE)", [("REPLACE(a, ')', ' AS x')", "DOUBLE")]),
        ("CASE WHEN TRY_CAST(a AS BIGINT) > 0 THEN TRY_CAST(b AS BIGINT) END", [("a", "BIGINT"), ("b", "BIGINT")]),
        ("COALESCE(a, 'TRY_CAST')", []),
        ("'x'", []),
    ],
)  # fmt: skip
def test_casts_are_found_wherever_they_stand(sql, found):
    assert list(mapping_module._casts(sql)) == found


def test_a_cast_of_an_expression_is_judged_by_what_was_written():
    mapping = TableMapping("events", None, None, {"price": "TRY_CAST(REPLACE(price, ',', '.') AS DECIMAL(18,4))"})
    rule = mapping_module._type_rules(mapping)[0]
    frame = pl.DataFrame({"price": ["1,5", "1.5", "", None, "1,5 EUR"]})
    assert frame.select(rule.passes).to_series().to_list() == [True, True, True, True, False]


def test_rows_of_another_day_are_told_apart_from_rows_of_no_day():
    raw = raw_rows(SEGMENT, calls(call("a", TIME), call("b", "2031-01-01T00:00:00Z"), call("c", "?", receivedAt=TIME)))
    assert set(raw["event_day"]) == {DAY}
    days = validate(SEGMENT, calls(call("a", TIME), call("b", "2031-01-01T00:00:00Z"), call("c", "?", receivedAt=TIME)))
    assert {line: rules for (_, line), rules in verdicts(days).items()} == {
        2: "event_time.out_of_range",
        3: "event_time.required",
    }
