"""Bundles: what rows of related files look up, when they happened, and what makes a bundle complete."""

from collections.abc import Mapping

import polars as pl
import pytest

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion.bundles import LINES_OF_A_MEMBER
from insight_assets.ingestion.readers import Delivery, FileRefused, read_rows, text_columns
from insight_assets_tests.bundles import LITTLE_OLIST

OLIST = source_contracts()["olist"]
ITEMS, ORDERS = "olist_order_items_dataset.csv", "olist_orders_dataset.csv"
CUSTOMERS, PRODUCTS = "olist_customers_dataset.csv", "olist_products_dataset.csv"


def rows(**changes: str) -> pl.DataFrame:
    """Read the little bundle, with the text of members changed."""
    return read_rows(delivery(LITTLE_OLIST | changes), OLIST)


def delivery(files: Mapping[str, str]) -> Delivery:
    return Delivery("b.zip", "hash", b"", tuple(Delivery(name, name, text.encode()) for name, text in files.items()))


def of(member: str, found: pl.DataFrame, *columns: str) -> list[tuple]:
    return found.filter(pl.col("member") == member).select(columns).rows()


def with_line(name: str, line: str) -> dict[str, str]:
    return {name: LITTLE_OLIST[name] + line + "\n"}


def test_every_row_of_every_file_is_there_with_a_line_of_its_own():
    found = rows()
    assert found.columns == ["line", *text_columns(OLIST)]
    counts = dict(found.group_by("member").len().iter_rows())
    assert counts == {
        "orders": 7, "items": 7, "payments": 8, "reviews": 5, "customers": 6, "products": 3, "sellers": 2,
        "translations": 1, "shipments": 3, "arrivals": 2, "cancellations": 1,
    }  # fmt: skip
    assert found["line"].is_unique().all()
    # The review of three lines stands on lines 2 to 4 of the fourth file.
    lines = [line - 4 * LINES_OF_A_MEMBER for (line,) in of("reviews", found, "line")]
    assert lines == [2, 5, 6, 7, 8]


def test_a_row_takes_what_its_related_rows_say():
    found = of("items", rows(), "order_id", "customer_unique_id", "member_time", "category", "category_english")
    assert found[:2] == [
        ("two-goods", "ana", "2017-03-01 10:00:00", "beleza_saude", "health_beauty"),
        ("two-goods", "ana", "2017-03-01 10:00:00", "moveis_antigos", None),
    ]
    assert found[3] == ("unpaid", "bruno", "2017-03-02 08:00:00", None, None)
    assert found[5] == ("on-its-way", "bruno", "2017-03-02 11:00:00", None, None)


def test_a_value_is_taken_where_all_related_rows_agree_and_amounts_are_added_up():
    found = rows()
    products = dict(of("reviews", found, "order_id", "product_id"))
    assert products == {
        "two-goods": None, "voucher": "soap", "on-its-way": "newcomer", "no-goods": None, "nowhere": "soap",
    }  # fmt: skip
    prices = dict(of("orders", found, "order_id", "price"))
    assert (prices["two-goods"], prices["voucher"], prices["no-goods"]) == ("30.5000", "30.0000", None)


def test_an_amount_that_cannot_be_read_stands_in_for_the_sum():
    found = rows(**with_line(ITEMS, "two-goods,3,soap,s1,,1.299 R$,1.00"))
    assert dict(of("orders", found, "order_id", "price"))["two-goods"] == "1.299 R$"


def test_a_row_that_does_not_find_what_it_must_says_so():
    found = rows()
    missed = found.filter(pl.col("not_found").is_not_null()).select("member", "order_id", "not_found").rows()
    assert missed == [
        ("orders", "unknown-customer", "customers.not_found"),
        ("items", "nowhere", "orders.not_found customers.not_found"),
        ("payments", "nowhere", "orders.not_found customers.not_found"),
        ("reviews", "nowhere", "orders.not_found customers.not_found"),
    ]


def test_related_rows_that_contradict_each_other_decide_nothing():
    found = rows(**with_line(CUSTOMERS, "c1,zoe,01001,sao paulo,SP"))
    told = dict(of("orders", found, "order_id", "not_found"))
    assert told["two-goods"] == "customers.ambiguous"
    assert told["voucher"] is None
    agreeing = rows(**with_line(CUSTOMERS, "c1,ana,01001,sao paulo,SP"))
    assert dict(of("orders", agreeing, "order_id", "not_found"))["two-goods"] is None


def test_dictionaries_begin_when_the_other_rows_do():
    found = rows()
    for member in ("customers", "products", "sellers", "translations"):
        assert set(of(member, found, "member_time")) == {("2017-03-01 10:00:00",)}
    strayed = rows(**with_line(ORDERS, "x,c1,delivered,1970-01-01 00:00:00,,,,"))
    assert set(of("sellers", strayed, "member_time")) == {("2017-03-01 10:00:00",)}


def test_a_file_is_read_again_for_rows_that_tell_of_several_moments():
    found = rows()
    assert of("arrivals", found, "order_id", "member_time", "customer_unique_id") == [
        ("two-goods", "2017-03-06 18:30:00", "ana"),
        ("voucher", "2017-03-07 12:00:00", "ana"),
    ]
    assert of("cancellations", found, "order_id", "member_time", "price") == [
        ("given-back", "2017-03-03 11:00:00", "10.00")
    ]


def test_a_broken_line_is_kept_once_and_looked_up_by_nobody():
    found = rows(**with_line(ORDERS, "half,c1,delivered"))
    broken = found.filter(pl.col("broken").is_not_null())
    assert broken.select("member", "broken", "not_found", "member_time").rows() == [
        ("orders", "half,c1,delivered", None, None)
    ]


def test_the_order_of_rows_in_a_file_changes_no_row():
    def turned(name: str) -> str:
        header, *lines = LITTLE_OLIST[name].splitlines(keepends=True)
        return header + "".join(reversed(lines))

    plain = rows().drop("line")
    found = rows(**{name: turned(name) for name in (ORDERS, ITEMS, CUSTOMERS, PRODUCTS)}).drop("line")
    assert found.sort(found.columns).equals(plain.sort(plain.columns))


def test_a_bundle_without_one_of_its_files_is_refused_whole():
    files = {name: text for name, text in LITTLE_OLIST.items() if name != CUSTOMERS}
    with pytest.raises(FileRefused, match=r"without customers \(\*customers_dataset") as refused:
        read_rows(delivery(files), OLIST)
    assert refused.value.rule == "incomplete"


@pytest.mark.parametrize(
    ("name", "told"),
    [("notes.txt", "belongs to no member"), ("old_olist_orders_dataset.csv", "is one of several for orders")],
)
def test_a_file_that_nobody_knows_is_refused_with_its_bundle(name, told):
    with pytest.raises(FileRefused, match=told) as refused:
        rows(**{name: LITTLE_OLIST[ORDERS]})
    assert refused.value.rule == "unknown_file"


def test_a_member_that_lost_a_column_is_refused_with_its_bundle():
    with pytest.raises(FileRefused, match="order_status is missing") as refused:
        rows(**{ORDERS: LITTLE_OLIST[ORDERS].replace("order_status", "state", 1)})
    assert refused.value.rule == "missing_column"


def test_single_files_are_no_bundle_and_a_bundle_is_no_single_file():
    with pytest.raises(FileRefused, match="one archive of its related files"):
        read_rows(Delivery("orders.csv", "hash", LITTLE_OLIST[ORDERS].encode()), OLIST)
    with pytest.raises(FileRefused, match="single files"):
        read_rows(delivery(LITTLE_OLIST), source_contracts()["rees46"])
