"""Contracts of bundles: what a member says, and that every refusal names file, line and choice."""

from pathlib import Path

import pytest

from insight_assets.contracts.catalogue import shipped_folder
from insight_assets.contracts.sources import NOT_FOUND, Lookup, load_source
from insight_assets.contracts.types import ContractError

OLIST_FILE = shipped_folder() / "sources" / "olist.odcs.yaml"
TEXT = OLIST_FILE.read_text(encoding="utf-8")

PRICES = "{from: items, on: order_id, sum: [price], required: false}"
ANSWERED = "- {property: time, value: answered_at}"
BUNDLE = "{property: format, value: bundle}"
CATEGORY = 'classification: public, description: "Category in Portuguese"}\n      - {name: category_english'

REFUSALS = {
    "format of single files": (BUNDLE, "{property: format, value: csv}", ["delivered_<member> belong together"]),
    "time of the whole": (BUNDLE, BUNDLE + "\n  - {property: time_column, value: purchased_at}",
                          ["say when their rows happened, by time"]),
    "neither files nor reads": ('      - {property: files, value: "*orders_dataset*.csv*"}\n', "",
                                ["'orders' needs files", "or reads"]),
    "second reading of nobody": ("{property: reads, value: items}", "{property: reads, value: item}",
                                 ["'item'", "did you mean 'items'?"]),
    "rows left out of a file": (ANSWERED, ANSWERED + "\n      - {property: where, value: review_score IS NULL}",
                                ["every row of a file counts once"]),
    "unknown setting": ("{property: optional, value: true}", "{property: missing, value: true}",
                        ["'missing'", "optional"]),
    "lookup into nothing": (PRICES, "{from: things, on: order_id, sum: [price]}", ["'things'", "items"]),
    "lookup into a second reading": (PRICES, "{from: cancellations, on: order_id, sum: [price]}", ["'cancellations'"]),
    "lookup by what one of them lacks": (PRICES, "{from: items, on: customer_id}", ["'customer_id'", "order_id"]),
    "taking what is not there": (PRICES, "{from: items, on: order_id, sum: [prices]}",
                                 ["'prices'", "did you mean 'price'?"]),
    "taking what a row has": (PRICES, "{from: items, on: order_id, take: [order_id]}", ["'order_id' is taken"]),
    "unknown key of a lookup": (PRICES, "{from: items, on: order_id, add: [price]}", ["a lookup has the keys", "sum"]),
    "time of an unknown column": (ANSWERED, "- {property: time, value: answered}",
                                  ["'answered'", "did you mean 'answered_at'?"]),
    "test of the rows that is none": ('{property: where, value: "handed_over_at IS NOT NULL"}',
                                      "{property: where, value: handed_over_at}", ["where of member 'shipments'"]),
    "other class in another member": (CATEGORY, CATEGORY.replace("public", "internal"),
                                      ["'category' is classified differently"]),
    "mapping of no member": ("{property: from, value: sellers}", "{property: from, value: seller}",
                             ["'seller'", "did you mean 'sellers'?"]),
    "mapping of what its member lacks": ('"seller_city"', '"place_city"', ["unknown column in SQL 'place_city'"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_a_contradiction_is_refused_in_words(case: str, tmp_path: Path) -> None:
    old, new, told = REFUSALS[case]
    assert TEXT.count(old) == 1, case
    path = tmp_path / OLIST_FILE.name
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(ContractError) as refused:
        load_source(path)
    assert refused.value.path == path
    assert refused.value.line is not None
    for words in told:
        assert words in str(refused.value)


def test_a_single_file_has_no_members_to_map_from(tmp_path: Path) -> None:
    shipped = (shipped_folder() / "sources" / "rees46.odcs.yaml").read_text(encoding="utf-8")
    path = tmp_path / "rees46.odcs.yaml"
    told = shipped.replace("{property: where,", "{property: from, value: orders}, {property: where,")
    path.write_text(told, encoding="utf-8")
    with pytest.raises(ContractError, match="unknown member in from 'orders'"):
        load_source(path)


def test_the_members_of_a_bundle_hold_what_the_file_says() -> None:
    olist = load_source(OLIST_FILE, linted=True)
    members = {member.name: member for member in olist.members}
    assert (olist.format, olist.time_column) == ("bundle", "member_time")
    assert members["orders"].lookups == (
        Lookup("customers", "customer_id", ("customer_unique_id",), (), required=True),
        Lookup("items", "order_id", (), ("price",), required=False),
    )
    assert [name for name, member in members.items() if member.time is None] == [
        "customers", "products", "sellers", "translations", "places",
    ]  # fmt: skip
    assert [name for name, member in members.items() if member.optional] == ["places"]
    shipments = members["shipments"]
    assert (shipments.reads, shipments.columns, shipments.files) == (
        "orders", members["orders"].columns, members["orders"].files,
    )  # fmt: skip
    names = [column.name for column in olist.delivered]
    assert names[:3] == ["member", "member_time", NOT_FOUND]
    assert len(names) == len(set(names))


def test_a_member_is_read_like_a_source_of_its_own() -> None:
    olist = load_source(OLIST_FILE)
    reviews = next(member for member in olist.members if member.name == "reviews")
    reading = olist.of_member(reviews)
    assert (reading.format, reading.delimiter, reading.encoding, reading.members) == ("csv", ",", olist.encoding, ())
    assert [column.path for column in reading.delivered][:3] == ["review_id", "order_id", "review_score"]


def test_a_mapping_takes_the_rows_of_its_member_only() -> None:
    olist = load_source(OLIST_FILE)
    tests = {mapping.where for mapping in olist.mappings}
    assert "member = 'payments'" in tests
    assert "member = 'orders' AND (price IS NULL OR (order_status = 'canceled' AND approved_at IS NULL))" in tests
