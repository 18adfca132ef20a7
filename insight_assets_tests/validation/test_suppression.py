"""People who are left out: who is recognised, where in a delivered row, and that nothing of them stays."""

import json
from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insight_assets.contracts.sources import source_contracts
from insight_assets.validation.key_ring import SUPPRESSION, read_ring, rotate_key
from insight_assets.validation.mapping import map_rows
from insight_assets.validation.suppression import SuppressionList, list_beside, read_suppressed, suppress
from insight_assets_tests.deliveries import (
    ORDERS_HEADER,
    UCI_HEADER,
    call,
    lines,
    order,
    orders_row,
    product,
    uci_row,
)
from insight_assets_tests.shop_home import accounts
from insight_assets_tests.validation.judging import PSEUDONYM, SHOP, raw_rows

SOURCES = source_contracts()
DAY, TIME = "2025-01-01", "2025-01-01T10:00:00Z"
GONE = "gone.girl@example.com"


def listed(tmp_path, *identifiers: str) -> SuppressionList:
    for each in identifiers:
        suppress(tmp_path / "list", each, read_ring(tmp_path / "key"))
    return read_suppressed(tmp_path / "list")


def mapped(tmp_path, source: str, content: str, *identifiers: str):
    recognised = listed(tmp_path, *identifiers).recogniser(read_ring(tmp_path / "key"))
    raw = raw_rows(SOURCES[source], content)
    return map_rows(raw, SOURCES[source], pseudonym=PSEUDONYM, shop_timezone=SHOP, suppressed=recognised)


def test_the_list_holds_no_identifier_and_is_its_owners_alone(tmp_path):
    ring = read_ring(tmp_path / "key")
    assert suppress(tmp_path / "list", GONE, ring)
    assert not suppress(tmp_path / "list", f" {GONE.upper()} ", ring)
    assert (tmp_path / "list").stat().st_mode & 0o777 == 0o600
    assert b"gone" not in (tmp_path / "list").read_bytes()
    assert len(read_suppressed(tmp_path / "list").hashes) == 1


def test_the_digest_tells_lists_apart_whatever_their_order(tmp_path):
    assert SuppressionList().digest == ""
    one, two = listed(tmp_path, "a").digest, listed(tmp_path, "b").digest
    assert len({"", one, two}) == 3
    assert SuppressionList(frozenset(sorted(read_suppressed(tmp_path / "list").hashes, reverse=True))).digest == two


def test_nobody_is_recognised_by_an_empty_list_and_everybody_through_a_rotation(tmp_path):
    assert read_suppressed(tmp_path / "nothing").recogniser(read_ring(tmp_path / "key")) is None
    before = listed(tmp_path, "c1", "+86 138-1234-5678")
    rotate_key(tmp_path / "key", SUPPRESSION)
    recognised = listed(tmp_path, "c2").recogniser(read_ring(tmp_path / "key"))
    assert {made_by for made_by, _ in read_suppressed(tmp_path / "list").hashes} == {"suppression-1", "suppression-2"}
    assert before.hashes < read_suppressed(tmp_path / "list").hashes
    assert [each for each in ("c1", "c2", "c3", "C1", "8613812345678", "+8613812345678") if recognised(each)] == [
        "c1",
        "c2",
        "8613812345678",
        "+8613812345678",
    ]


@pytest.mark.parametrize("content", ["", "{", '["a"]', '[{"key": "suppression-1"}]'])
def test_a_damaged_list_is_refused(tmp_path, content):
    (tmp_path / "list").write_text(content)
    with pytest.raises(ValueError, match="or they come back"):
        read_suppressed(tmp_path / "list")


def test_rows_of_a_suppressed_person_are_in_no_table_and_not_quarantined(tmp_path):
    rows = [
        call("a", TIME, userId=GONE),
        call("b", TIME),
        call("c", TIME, "No Event", userId=GONE.upper()),
        call("d", "never", anonymousId="device-9"),
        order("e", TIME, product(), userId=GONE),
        call("f", TIME, "No Event"),
    ]
    content = lines(
        *map(json.dumps, rows), '{"messageId": "g", "userId": "' + GONE + '", broken', '{"messageId": "h", broken'
    )
    found = mapped(tmp_path, "segment", content, GONE, "device-9")
    assert (found.read, found.accepted, found.duplicate, found.quarantined, found.suppressed) == (8, 1, 0, 2, 5)
    assert found.tables["events"]["event_id"].to_list() == ["b"]
    assert found.rejected["rule"].sort().to_list() == ["event.enum", "malformed"]


def test_who_is_named_by_what_the_contract_makes_of_a_column_is_recognised(tmp_path):
    content = lines(
        UCI_HEADER,
        uci_row("1", "2011-01-04 10:00:00", CustomerID="17850.0"),
        uci_row("2", "2011-01-04 10:00:00", CustomerID="17851.0"),
    )
    assert mapped(tmp_path, "uci_online_retail", content, "17850").suppressed == 1


def test_undelivered_columns_and_broken_lines_are_looked_through(tmp_path):
    rows = [orders_row(f"o{n}", f"{DAY} 10:00") for n in range(3)]
    content = lines(
        ORDERS_HEADER + ",note", rows[0] + f",ask {GONE}!", rows[1] + ",fine", rows[2] + f",{GONE},too,many"
    )
    found = mapped(tmp_path, "generic_orders_csv", content, GONE)
    assert (found.read, found.accepted, found.suppressed) == (3, 1, 2)


@settings(max_examples=25)
@given(
    people=st.lists(st.sampled_from(["a", "b", "c", "d@x.org", None]), min_size=1, max_size=8),
    gone=st.sets(st.sampled_from(["a", "b", "d@x.org", "z"])),
)
def test_nobody_else_is_left_out(tmp_path_factory, people, gone):
    calls = [call(f"m{n}", TIME, userId=who) for n, who in enumerate(people)]
    found = mapped(tmp_path_factory.mktemp("list"), "segment", lines(*map(json.dumps, calls)), *gone)
    assert found.suppressed == sum(who in gone for who in people)
    assert found.read == found.accepted + found.duplicate + found.quarantined + found.suppressed
    assert found.tables["events"].height == len(people) - found.suppressed


def test_personal_values_in_lists_are_looked_for_too(tmp_path):
    segment = SOURCES["segment"]
    products = next(column for column in segment.delivered if column.name == "products")
    telling = replace(
        products, items=(products.items[0], replace(products.items[1], classification="personal"), *products.items[2:])
    )
    source = replace(segment, delivered=tuple(telling if each is products else each for each in segment.delivered))
    content = lines(json.dumps(order("m", TIME, product() | {"name": GONE})), json.dumps(order("n", TIME, product())))
    recognised = listed(tmp_path, GONE).recogniser(read_ring(tmp_path / "key"))
    found = map_rows(raw_rows(source, content), source, pseudonym=PSEUDONYM, shop_timezone=SHOP, suppressed=recognised)
    assert found.suppressed == 1


def test_a_suppressed_customer_leaves_the_tables_when_their_days_are_made_again(home):
    home.land_calls("a.ndjson", [call(f"{n}", f"{DAY}T10:{n:02}:00Z", userId=f"u{n % 3}") for n in range(30)])
    home.land_calls("bad.ndjson", [call("bad", TIME, "No Event", userId="u1")])
    home.build(DAY)
    key = home.root / "pseudonym.key"
    gone = home.table("events").filter(pl.col("event_id") == "1")["customer_key"][0]
    assert home.states("quarantine")[DAY].rows == 1
    suppress(list_beside(key), "u1", read_ring(key))
    counted = accounts(home.build(DAY))
    assert counted | {"suppressed": 11} == {
        "delivered": 31,
        "accepted": 20,
        "duplicate": 0,
        "quarantined": 0,
        "suppressed": 11,
    }
    assert home.table("quarantine").is_empty()
    for table in ("events", "identity_vault", "identity_links"):
        numbers = home.table(table).select(pl.col(pl.Int64))
        assert not any((column == gone).any() for column in numbers.iter_columns()), table
