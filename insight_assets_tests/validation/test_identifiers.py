"""Identifiers: one way of writing each, pseudonyms in place of all, and the pairs that were seen together."""

from datetime import UTC, datetime

import polars as pl
import pytest

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.sources import source_contracts
from insight_assets.validation.identifiers import DEVICE, EMAIL, IDENTIFIERS, KEYS, PHONE, replace_all_identifiers
from insight_assets.validation.pseudonyms import CUSTOMER, VISITOR
from insight_assets_tests.deliveries import call, order, product
from insight_assets_tests.validation.judging import PSEUDONYM, validate

SEGMENT = source_contracts()["segment"]
DAY = "2025-03-01"


def lines(*calls: dict) -> str:
    return "".join(pl.Series([each]).struct.json_encode()[0] + "\n" for each in calls)


def links(*calls: dict) -> list[tuple]:
    (day,) = validate(SEGMENT, lines(*calls), shop="UTC").values()
    table = day.tables["identity_links"]
    assert table.columns == contract("identity_links").polars_schema().names()
    return sorted(table.select("kind", "identifier_key", "linked_key", "rows").rows())


def person(email: str | None = None, phone: str | None = None, device: str | None = None) -> dict:
    return {"channel": "web", "traits": {"email": email, "phone": phone}, "device": {"id": device}}


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        (EMAIL, [" Ann@Example.COM ", "ann@example.com"]),
        (PHONE, ["+86 138-1234-5678", "0086 13812345678", "8613812345678"]),
        (DEVICE, ["6D92078A-8246-4BA4", " 6d92078a-8246-4ba4"]),
    ],
)
def test_ways_of_writing_one_identifier_have_one_pseudonym(kind, texts):
    (of,) = (each for each in IDENTIFIERS if each.kind == kind)
    keys = replace_all_identifiers(pl.DataFrame({of.mapped: texts}), PSEUDONYM)[of.key]
    assert keys.null_count() == 0
    assert keys.n_unique() == 1
    assert [name for name in keys.to_frame().columns if name not in KEYS] == []


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("email", "none"), ("email", ""), ("email", "a b@example.com"), ("phone", "n/a"), ("phone", "110"),
        ("phone", "1" * 16), ("device_id", "00000000-0000-0000"), ("device_id", " "), ("customer_id", " "),
    ],
)  # fmt: skip
def test_text_that_identifies_nobody_has_no_pseudonym(column, text):
    replaced = replace_all_identifiers(pl.DataFrame({column: [text]}), PSEUDONYM)
    assert replaced.row(0) == (None,) * len(KEYS)


def test_a_signed_in_row_ties_all_to_the_customer_and_the_device_to_the_visitor():
    found = links(call("m1", f"{DAY}T10:00:00Z", context=person("ann@example.com", "+8613812345678", "d1")))
    customer, visitor = PSEUDONYM(CUSTOMER, "u1"), PSEUDONYM(VISITOR, "v1")
    email, phone = PSEUDONYM(EMAIL, "ann@example.com"), PSEUDONYM(PHONE, "8613812345678")
    device = PSEUDONYM(DEVICE, "d1")
    assert found == sorted(
        [
            ("login", visitor, customer, 1), ("email_of_customer", email, customer, 1),
            ("phone_of_customer", phone, customer, 1), ("device_of_customer", device, customer, 1),
            ("device_of_visitor", device, visitor, 1),
        ]
    )  # fmt: skip


def test_an_anonymous_row_ties_what_it_names_to_the_visitor():
    found = links(call("m1", f"{DAY}T10:00:00Z", userId=None, context=person("ann@example.com")))
    assert found == [("email_of_visitor", PSEUDONYM(EMAIL, "ann@example.com"), PSEUDONYM(VISITOR, "v1"), 1)]


def test_pairs_are_counted_per_day_and_an_order_with_lines_is_one_row():
    bought = order("m3", f"{DAY}T12:00:00Z", product(), product("p2"))
    calls = lines(call("m1", f"{DAY}T10:00:00Z"), call("m2", f"{DAY}T11:00:00Z"), bought)
    (day,) = validate(SEGMENT, calls, shop="UTC").values()
    table = day.tables["identity_links"]
    assert table.select("kind", "rows", "first_at").rows() == [("login", 3, datetime(2025, 3, 1, 10, tzinfo=UTC))]


def test_rejected_and_repeated_rows_tie_nothing():
    rejected = call("m1", f"{DAY}T10:00:00Z", event="Product Viewed", properties={"product_id": None})
    good = call("m2", f"{DAY}T10:00:00Z", userId=None)
    assert links(rejected, good, good) == []


def test_a_robot_that_signs_in_ties_nothing():
    robot = person("ann@example.com") | {"userAgent": "Mozilla/5.0 (X11) HeadlessChrome/120.0"}
    assert links(call("m1", f"{DAY}T10:00:00Z", context=robot)) == []


def test_no_raw_identifier_is_in_any_table_but_quarantine():
    said = call("m1", f"{DAY}T10:00:00Z", context=person("ann@example.com", "+8613812345678", "device-77"))
    (day,) = validate(SEGMENT, lines(said), shop="UTC").values()
    told = "".join(frame.write_json() for name, frame in day.tables.items() if name != "quarantine")
    assert "example.com" not in told
    assert "13812345678" not in told
    assert "device-77" not in told
