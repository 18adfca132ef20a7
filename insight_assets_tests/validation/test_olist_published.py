"""Olist's published sample, reconciled row by row and cent by cent with what Python's csv module reads in the files."""

import csv
import gzip
import io
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal

import polars as pl
import pytest

from insight_assets.contracts.sources import source_contracts
from insight_assets.validation.mapping import MappedRows, map_rows
from insight_assets.validation.settlement import UNEXPLAINED, settle_orders
from insight_assets_tests.bundles import delivered, olist_files, packed
from insight_assets_tests.shop_home import ShopHome, accounts
from insight_assets_tests.validation.judging import PSEUDONYM, raw_rows

pytestmark = pytest.mark.real
OLIST = source_contracts()["olist"]
BRAZIL = "America/Sao_Paulo"
PUBLISHED = {"orders": 10_766, "items": 12_246, "payments": 11_264, "reviews": 2_993}
FILES = {
    "orders": "olist_orders_dataset", "items": "olist_order_items_dataset", "payments": "olist_order_payments_dataset",
    "reviews": "olist_order_reviews_dataset", "customers": "olist_customers_dataset",
    "products": "olist_products_dataset", "sellers": "olist_sellers_dataset",
    "translations": "product_category_name_translation",
    "places": "olist_geolocation_dataset_partial",
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """The sample as the csv module reads it, and what became of it here: all of its days mapped at once."""

    records: dict[str, list[dict[str, str]]]
    raw: pl.DataFrame
    mapped: MappedRows

    def table(self, name: str) -> pl.DataFrame:
        return self.mapped.tables[name]

    def sum(self, file: str, column: str) -> Decimal:
        return sum((Decimal(record[column]) for record in self.records[file]), Decimal(0))


@pytest.fixture(scope="module")
def sample(real_data, tmp_path_factory) -> Sample:
    files = olist_files(real_data)
    plain = {name: gzip.decompress(data) if name.endswith(".gz") else data for name, data in files.items()}
    text = {name.split(".")[0]: data.decode() for name, data in plain.items()}
    records = {member: list(csv.DictReader(io.StringIO(text[name], newline=""))) for member, name in FILES.items()}
    raw = raw_rows(OLIST, delivered(tmp_path_factory.mktemp("olist"), files), shop=BRAZIL)
    return Sample(records, raw, map_rows(raw, OLIST, pseudonym=PSEUDONYM, shop_timezone=BRAZIL))


def test_every_row_of_every_file_is_accepted_a_duplicate_or_quarantined(sample):
    mapped = sample.mapped
    assert mapped.read == sample.raw.height == mapped.accepted + mapped.duplicate + mapped.quarantined
    assert mapped.quarantined == 0
    delivered_rows = dict(sample.raw.group_by("member").len().iter_rows())
    assert {member: delivered_rows[member] for member in PUBLISHED} == PUBLISHED
    assert {member: delivered_rows[member] for member in FILES} == {
        member: len(records) for member, records in sample.records.items()
    }
    accepted = pl.concat([frame.select("line") for frame in mapped.tables.values()]).unique()
    lost = Counter(sample.raw.join(accepted, on="line", how="anti")["member"])
    # Places that are in the file twice, and at most the survey that two orders share.
    assert lost.pop("places") == 1_280
    assert lost in ({}, {"reviews": 1})
    assert lost.total() + 1_280 == mapped.duplicate


def test_prices_freight_and_payments_agree_to_the_cent(sample):
    sold = sample.table("order_lines").filter(kind="sale")
    assert sold.height == PUBLISHED["items"]
    assert sold["gross"].sum() == sample.sum("items", "price") == Decimal("1451169.04")
    assert sold["shipping"].sum() == sample.sum("items", "freight_value") == Decimal("245239.19")
    payments = sample.table("payments")
    assert payments.height == PUBLISHED["payments"]
    assert payments["value"].sum() == sample.sum("payments", "payment_value") == Decimal("1715842.47")
    events = sample.table("events")
    told = events.filter(pl.col("event") == "order_completed")["value"].sum()
    assert told == sold["gross"].sum()


def test_orders_and_people_are_those_of_the_files(sample):
    events = sample.table("events").filter(pl.col("event").is_in(["order_completed", "order_cancelled"]))
    assert events["order_id"].is_unique().all()
    assert set(events["order_id"]) == {record["order_id"] for record in sample.records["orders"]}
    people = {record["customer_unique_id"] for record in sample.records["customers"]}
    assert events["customer_key"].n_unique() == len(people) == 10_713
    with_items = {record["order_id"] for record in sample.records["items"]}
    assert events.filter(pl.col("event") == "order_cancelled").height == PUBLISHED["orders"] - len(with_items)


def test_ratings_and_texts_are_those_of_the_file(sample):
    reviews = sample.table("events").filter(pl.col("event") == "product_reviewed")
    stars = Counter(int(record["review_score"]) for record in sample.records["reviews"])
    # The survey that two orders share has five stars.
    stars[5] -= PUBLISHED["reviews"] - reviews.height
    assert Counter(reviews["rating"]) == stars
    with_breaks = sum("\n" in record["review_comment_message"] for record in sample.records["reviews"])
    assert reviews["review_text"].str.contains("\n", literal=True).sum() == with_breaks == 132


def test_categories_are_english_but_for_the_untranslated(sample):
    english = {r["product_category_name"]: r["product_category_name_english"] for r in sample.records["translations"]}
    own = {r["product_id"]: r["product_category_name"] for r in sample.records["products"]}
    wanted = Counter(english.get(own[r["product_id"]], own[r["product_id"]]) or None for r in sample.records["items"])
    found = Counter(sample.table("order_lines").filter(kind="sale")["category"])
    assert found == wanted
    assert found["portateis_cozinha_e_preparadores_de_alimentos"] == 3


def test_payments_agree_with_goods_and_freight_or_the_difference_has_a_reason(sample, record_property):
    settled = settle_orders(sample.table("order_lines").lazy(), sample.table("payments").lazy()).collect()
    due, paid = defaultdict(Decimal), defaultdict(Decimal)
    for record in sample.records["items"]:
        due[record["order_id"]] += Decimal(record["price"]) + Decimal(record["freight_value"])
    for record in sample.records["payments"]:
        paid[record["order_id"]] += Decimal(record["payment_value"])
    assert {order: (owed, got) for order, owed, got in settled.select("order_id", "due", "paid").iter_rows()} == {
        order: (due[order], paid[order]) for order in due.keys() | paid.keys()
    }
    reasons = settled.group_by("reason").agg(pl.len(), pl.col("difference").sum()).sort("len", descending=True)
    print(reasons)
    record_property("payments_by_reason", str(reasons.rows()))
    found = {reason: count for reason, count, _ in reasons.iter_rows()}
    assert not set(UNEXPLAINED) & set(found)
    assert found["agrees"] > 0.985 * settled.height
    assert found["no_goods"] == 89
    assert found["no_payment"] == 1
    assert found["discount"] == 4


@pytest.mark.slow
def test_its_first_months_through_dagster(home: ShopHome, sample: Sample, real_data):
    home.timezone = BRAZIL
    home.land("olist", "olist.zip", packed(olist_files(real_data)))
    found = accounts(home.build("2016-09-15", "2016-10-31", sources=["olist"]))
    assert found["delivered"] == home.table("raw_olist").height == found["accepted"] + found["duplicate"]
    first = {r["order_id"] for r in sample.records["orders"] if r["order_purchase_timestamp"] < "2016-11"}
    items = [record for record in sample.records["items"] if record["order_id"] in first]
    sold = home.table("order_lines").filter(kind="sale")
    assert (sold.height, sold["gross"].sum()) == (len(items), sum(Decimal(record["price"]) for record in items))
    paid = [Decimal(r["payment_value"]) for r in sample.records["payments"] if r["order_id"] in first]
    payments = home.table("payments")
    assert (payments.height, payments["value"].sum()) == (len(paid), sum(paid))
    # The bundle's dictionaries are filed where its orders begin.
    entries = home.table("reference_rows")
    assert entries.filter(kind="product").height == len(sample.records["products"])
    assert entries["event_day"].n_unique() == 1
