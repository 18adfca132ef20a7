"""Whatever stands beside a row, in whatever order and in whichever file, what becomes of the row is the same."""

import functools
import json
import random
from datetime import date

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.sources import source_contracts
from insight_assets.validation.mapping import map_rows
from insight_assets.validation.publishing import TABLES
from insight_assets_tests.deliveries import ORDERS_HEADER, call, lines, order, orders_row, product
from insight_assets_tests.validation.judging import PSEUDONYM, content, raw_rows, totals, validate, verdicts

SEGMENT, ORDERS = (source_contracts()[name] for name in ("segment", "generic_orders_csv"))
TIME = "2025-01-0{}T1{}:{:02}:00Z"
PUBLISHED = [name for name in TABLES if name != "quarantine"]

TIMES = st.builds(TIME.format, st.integers(1, 3), st.integers(0, 9), st.integers(0, 59))
NUMBERS = st.one_of(
    st.floats(0, 1e6).map(lambda value: round(value, 2)), st.integers(-2, 10**20), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["1,299.00", "￥12", "", " ", "NaN", "inf", "-0", "1e400", "0x10", None, True]),
)  # fmt: skip
IDENTITIES = st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h", "", None])
EVENTS = st.sampled_from(["Product Viewed", "Product Added", "Signed Up", "Cart Viewed", "Produkt Viewed", None])
VIEWS = st.builds(
    lambda message, time, event, number, person: json.dumps(
        call("m", time, event, userId=person, properties={"price": number}) | {"messageId": message}
    ),
    IDENTITIES, st.one_of(TIMES, st.sampled_from(["never", "1970-01-01T00:00:00Z", "2031-01-01T00:00:00Z", None])), EVENTS, NUMBERS,
    st.sampled_from(["u1", "u2", None, "😀"]),
)  # fmt: skip
PRODUCTS = st.builds(
    product, st.sampled_from(["p1", "p2", "p3"]), st.integers(-1, 5), st.sampled_from([0, 0.1, 19.99, 5, 1e14])
)
SALES = st.builds(
    lambda message, time, products, event: json.dumps(order(message, time, *products, event=event)),
    IDENTITIES.filter(bool), TIMES, st.lists(PRODUCTS, max_size=3), st.sampled_from(["Order Completed", "Order Refunded", "Order Cancelled"]),
)  # fmt: skip
NOISE = st.sampled_from(
    [
        "{",
        "null",
        "[]",
        "{},{}",
        '{"messageId": "a"',
        '"event": "b"}',
        "\ufeff{}",
        '{"event": "\x00"}',
        "😀",
        '{"a": NaN}',
        "x" * 300,
        "",
    ]
)
DELIVERED = st.lists(VIEWS | SALES | NOISE, min_size=1, max_size=25)
# Rows that no two of which have the same identity, so that what becomes of each is its own affair.
GOOD = json.dumps(call("anchor", "2025-01-01T00:00:00Z"))


def filled(rows: list[str]) -> int:
    return sum(bool(row.strip()) for row in rows)


@settings(max_examples=30)
@given(rows=DELIVERED)
def test_every_delivered_row_is_accounted_for(rows):
    days = validate(SEGMENT, lines(GOOD, *rows))
    read, accepted, duplicate, quarantined = totals(days)
    assert read == 1 + filled(rows)
    assert read == accepted + duplicate + quarantined
    assert quarantined == len(verdicts(days))
    assert all(account.conserved for day in days.values() for account in day.accounts)
    for day, validated in days.items():
        for name in TABLES:
            assert set(validated.tables[name]["event_day"]) <= {day}


@settings(max_examples=25)
@given(
    rows=DELIVERED,
    poison=st.lists(
        NOISE | VIEWS.map(lambda row: row.replace('"messageId"', '"messageIdentity"')), min_size=1, max_size=8
    ),
)
def test_bad_rows_change_no_verdict_on_another(rows, poison):
    clean = validate(SEGMENT, lines(GOOD, *rows))
    spoilt = validate(SEGMENT, lines(GOOD, *rows, *poison))
    assert {key: rules for key, rules in verdicts(spoilt).items() if key[1] <= 1 + len(rows)} == verdicts(clean)
    for name in PUBLISHED:
        assert content(spoilt, name) == content(clean, name)
    assert totals(spoilt)[1:3] == totals(clean)[1:3]


@settings(max_examples=25)
@given(rows=DELIVERED, seed=st.integers(0, 2**32), cuts=st.integers(1, 4))
def test_order_and_split_into_files_change_nothing(rows, seed, cuts):
    shuffled = random.Random(seed)
    whole = validate(SEGMENT, lines(GOOD, *rows))
    turned = [*rows]
    shuffled.shuffle(turned)
    # Every file needs a row whose time can be read, or it is refused as a whole.
    parts = [lines(GOOD, *turned[place::cuts]) for place in range(cuts)]
    shuffled.shuffle(parts)
    split = validate(SEGMENT, *parts, order=shuffled.sample(range(1_000), 1_000))
    for name in PUBLISHED:
        assert content(split, name) == content(whole, name), name
    assert totals(split)[1] == totals(whole)[1]
    # Only the anchor is delivered more than once, and only files of one content are one delivery.
    anchors = len({hash(part) for part in parts}) - 1
    assert totals(split)[0] - totals(whole)[0] == anchors or len(set(parts)) < len(parts)


def test_two_orders_of_the_same_files_give_the_same_tables_positions_included():
    first, second = (
        lines(GOOD, json.dumps(call("m", "2025-01-01T01:00:00Z"))),
        lines(json.dumps(call("m", "2025-01-01T01:00:00Z")), GOOD),
    )
    one, other = validate(SEGMENT, first, second), validate(SEGMENT, second, first, order=range(9, 0, -1))
    for name in PUBLISHED:
        key = "event_id" if name == "events" else None
        left, right = (days[date(2025, 1, 1)].tables[name] for days in (one, other))
        assert (left.sort(key) if key else left).equals(right.sort(key) if key else right)


CELLS = st.sampled_from(
    [
        "",
        "1",
        "-1",
        "10",
        "1,5",
        '"',
        'a"b',
        "x",
        "EUR",
        "refunded",
        "2025-01-01 10:00",
        "￥1",
        "\x00",
        "😀",
        "1e400",
        "NaN",
    ]
)
ROWS = st.one_of(
    st.builds(
        orders_row,
        st.sampled_from(["o1", "o2", "o3"]),
        st.sampled_from(["2025-01-01 10:00", "2025-01-02", "?"]),
        quantity=CELLS.filter(lambda c: "," not in c and '"' not in c),
    ),
    st.lists(CELLS, min_size=1, max_size=18).map(",".join),
    st.sampled_from(["", '"open', 'a,"b', '",', ","]),
)
ANCHOR = orders_row("anchor", "2025-01-01 00:00", product_id="anchor")


@settings(max_examples=30)
@given(rows=st.lists(ROWS, max_size=15))
def test_every_line_of_csv_is_accounted_for(rows):
    days = validate(ORDERS, lines(ORDERS_HEADER, ANCHOR, *rows, ANCHOR.replace("anchor", "end")))
    read, accepted, duplicate, quarantined = totals(days)
    assert read == accepted + duplicate + quarantined
    assert read <= 2 + filled(rows)
    orders = {row[0] for row in content(days, "orders")}
    assert {"anchor", "end"} <= orders


@settings(max_examples=25)
@given(rows=st.lists(ROWS.filter(lambda row: '"' not in row), max_size=12), poison=st.lists(ROWS, max_size=6))
def test_bad_lines_of_csv_change_no_verdict_on_another(rows, poison):
    clean = validate(ORDERS, lines(ORDERS_HEADER, ANCHOR, *rows))
    # A quote that is left open ends at the first line that is a row of its own.
    spoilt = validate(
        ORDERS,
        lines(ORDERS_HEADER, ANCHOR, *rows, *(row for row in poison if row.count(",") != ANCHOR.count(",")), ANCHOR),
    )
    for name in PUBLISHED:
        assert set(content(clean, name)) <= set(content(spoilt, name))
    assert verdicts(clean).items() <= verdicts(spoilt).items()


POISON = st.sampled_from(
    [
        "NaN", "Infinity", "-Infinity", "1e308", "-0", "1000000000000000000", '""', '"\\u0000"', '"😀"', '"\u202eabc"', '"\\ud800"',
        '"1,299.00"', '"￥12"', '"open', "null", "[]", "{}", '"１２"', "true", '"\t"',
    ]
)  # fmt: skip
PLACES = st.sampled_from(
    ["price", "quantity", "product_id", "category", "messageId", "timestamp", "receivedAt", "sentAt", "userId", "event"]
)
NOON = "2025-01-02T12:00:00Z"
# Values are put into the text of a row, as a broken exporter would.
POISONED = st.builds(
    lambda place, value, number: json.dumps(
        call(f"p{number}", NOON, originalTimestamp=NOON, sentAt=NOON, userId="u9")
        | {"properties": {"product_id": "p1", "price": 9.5, "quantity": 1, "category": "tea"}}
    ).replace(f'"{place}": ', f'"{place}": {value}, "was {place}": ', 1),
    PLACES, POISON, st.integers(0, 5),
)  # fmt: skip
CUT = st.builds(lambda row, place: row[: place % (len(row) + 1)], POISONED, st.integers(0, 400))
CLEAN = [call(f"good-{n}", f"2025-01-02T{n:02}:00:00Z", userId=f"u{n % 3}") for n in range(6)]


@functools.cache
def clean_events(gone: str) -> pl.DataFrame:
    """Give the events of the clean rows alone, without those of a person."""
    alone = validate(SEGMENT, lines(*(json.dumps(one) for one in CLEAN if one["userId"] != gone)))
    return pl.concat([day.tables["events"] for day in alone.values()]).drop("file_hash", "line").sort("event_id")


@settings(max_examples=40)
@given(
    poison=st.lists(POISONED | CUT | NOISE, max_size=20),
    places=st.randoms(use_true_random=False),
    gone=st.sampled_from(["", "u0", "u9"]),
)
def test_whatever_is_delivered_every_row_is_accounted_for_and_good_rows_stay_as_they_are(poison, places, gone):
    good = [json.dumps(one) for one in CLEAN]
    mixed = [*good, *poison]
    places.shuffle(mixed)
    raw = raw_rows(SEGMENT, lines(GOOD, *mixed))
    suppressed = (lambda word: word == gone) if gone else None
    mapped = [
        map_rows(rows, SEGMENT, pseudonym=PSEUDONYM, shop_timezone="Asia/Shanghai", suppressed=suppressed)
        for rows in raw.partition_by("event_day")
    ]
    assert sum(each.read for each in mapped) == 1 + filled(mixed)
    for each in mapped:
        assert each.read == each.accepted + each.duplicate + each.quarantined + each.suppressed
        assert each.quarantined == each.rejected.height
    assert (sum(each.suppressed for each in mapped) >= 2) == (gone == "u0") or gone == "u9"
    events = pl.concat([each.tables["events"] for each in mapped])
    kept = events.filter(pl.col("event_id").str.starts_with("good-")).drop("file_hash", "line").sort("event_id")
    assert kept.equals(clean_events(gone))


PRICES = st.one_of(
    st.decimals(-10, 10**6, places=2).map(str),
    st.sampled_from(["1,299.00", "￥12", "1.299,00", "12 CNY", "", " ", "１２", "1e3", "0x1F", "--1"])
)  # fmt: skip


@settings(max_examples=30)
@given(prices=st.lists(PRICES, min_size=1, max_size=15))
def test_a_price_that_was_written_is_read_or_quarantined_and_never_lost(prices):
    rows = [json.dumps(call(f"m{n}", NOON, properties={"price": price})) for n, price in enumerate(prices)]
    days = validate(SEGMENT, lines(*rows))
    events = pl.concat([day.tables["events"] for day in days.values()])
    nulls = set(events.filter(pl.col("price").is_null())["event_id"])
    assert nulls == {f"m{n}" for n, price in enumerate(prices) if not price.strip()}
    assert set(verdicts(days).values()) <= {"price.type", "price.minimum"}
    assert len(verdicts(days)) + events.height == len(prices)


def work_of(rows: list[str], monkeypatch) -> tuple[int, int]:
    """Count the cells that sorting, joining and exploding were given during validation, and the rows accepted."""
    cells = 0
    for name in ("join", "sort", "explode", "group_by"):
        plain = getattr(pl.DataFrame, name)

        def counting(frame, *given, plain=plain, **named):
            nonlocal cells
            made = plain(frame, *given, **named)
            cells += frame.height * frame.width + (made.height * made.width if isinstance(made, pl.DataFrame) else 0)
            return made

        monkeypatch.setattr(pl.DataFrame, name, counting)
    accepted = totals(validate(SEGMENT, lines(*rows)))[1]
    monkeypatch.undo()
    return cells, accepted


def test_a_customer_with_two_fifths_of_all_rows_costs_no_more_than_any_other(monkeypatch):
    def shop(count: int, share: float) -> list[str]:
        times = [f"2025-01-01T{n // 60 % 15:02}:{n % 60:02}:00Z" for n in range(count)]
        people = ["one" if n < share * count else f"u{n}" for n in range(count)]
        return [json.dumps(call(f"m{n}", at, userId=people[n])) for n, at in enumerate(times)]

    even, accepted = work_of(shop(1_000, 0), monkeypatch)
    heavy, same = work_of(shop(1_000, 0.4), monkeypatch)
    assert accepted == same == 1_000
    assert heavy <= 1.1 * even


def test_an_order_of_many_items_costs_in_line_with_its_items(monkeypatch):
    def shop(items: int) -> list[str]:
        # Delivered twice, so that its lines are compared too.
        return [json.dumps(order("o", "2025-01-01T10:00:00Z", *(product(f"p{n}") for n in range(items))))] * 2

    few, many = (work_of(shop(items), monkeypatch) for items in (500, 5_000))
    assert few[1] == many[1] == 1
    assert many[0] <= 11 * few[0]
