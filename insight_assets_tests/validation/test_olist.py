"""Olist's eight related files, in a little bundle of our own. The published sample is in `test_olist_published`."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from decimal import Decimal

import dagster as dg
import polars as pl
import pytest
from hypothesis import given, settings, strategies

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion.readers import Delivery
from insight_assets.validation.mapping import MappedRows, map_rows
from insight_assets.validation.settlement import settle_orders
from insight_assets_tests.bundles import LITTLE_OLIST, delivered, packed
from insight_assets_tests.shop_home import DEFS, ShopHome
from insight_assets_tests.validation.judging import PSEUDONYM, raw_rows, totals, validate, verdicts

OLIST = source_contracts()["olist"]
BRAZIL = "America/Sao_Paulo"


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    return validate(OLIST, delivered(tmp_path_factory.mktemp("little"), LITTLE_OLIST), shop=BRAZIL)


def table(days, name: str) -> pl.DataFrame:
    return pl.concat([day.tables[name] for day in days.values()])


def test_every_row_of_the_little_bundle_is_accounted_for(little):
    read, accepted, duplicate, quarantined = totals(little)
    assert (read, quarantined) == (45, 4)
    assert read == accepted + duplicate + quarantined
    assert sorted(verdicts(little).values()) == [
        "customers.not_found",
        *["orders.not_found customers.not_found"] * 3,
    ]


def test_orders_become_sales_or_were_cancelled_before_they_did(little):
    events = table(little, "events").filter(pl.col("event").is_in(["order_completed", "order_cancelled"]))
    found = {order: (event, value) for order, event, value in events.select("order_id", "event", "value").iter_rows()}
    assert found == {
        "two-goods": ("order_completed", Decimal("30.5")),
        "voucher": ("order_completed", Decimal(30)),
        "given-back": ("order_completed", Decimal(10)),
        "on-its-way": ("order_completed", Decimal(100)),
        "unpaid": ("order_cancelled", None),
        "no-goods": ("order_cancelled", None),
    }


def test_an_order_is_shipped_and_arrives_on_days_of_their_own(little):
    events = table(little, "events").filter(pl.col("order_id") == "two-goods")
    days = {event: str(day) for event, day in events.select("event", "event_day").iter_rows()}
    assert days == {
        "order_completed": "2017-03-01", "order_shipped": "2017-03-02", "order_delivered": "2017-03-06",
        "product_reviewed": "2017-03-08",
    }  # fmt: skip


def test_times_are_brazilian_and_the_customer_is_the_person(little):
    lines = table(little, "order_lines").filter(pl.col("order_id").is_in(["two-goods", "voucher"]))
    assert lines["customer_key"].n_unique() == 1
    late = lines.filter(pl.col("order_id") == "voucher").select(
        pl.col("event_time").dt.to_string("%Y-%m-%d %H:%M"), pl.col("event_day").cast(pl.String)
    )
    assert late.rows() == [("2017-03-02 02:30", "2017-03-01")]


def test_categories_are_translated_where_they_can_be(little):
    lines = table(little, "order_lines")
    found = dict(lines.select("product_id", "category").iter_rows())
    assert found == {"soap": "health_beauty", "desk": "moveis_antigos", "lamp": None, "newcomer": None}
    entries = table(little, "reference_rows")
    assert entries.filter(kind="product").select("entry_id", "category").sort("entry_id").rows() == [
        ("desk", "moveis_antigos"), ("lamp", None), ("soap", "health_beauty"),
    ]  # fmt: skip
    assert entries.filter(kind="seller").select("entry_id", "city", "region").sort("entry_id").rows() == [
        ("s1", "campinas", "SP"), ("s2", "curitiba", "PR"),
    ]  # fmt: skip


def test_customer_numbers_are_in_the_dictionary_as_pseudonyms_only(little):
    customers = table(little, "reference_rows").filter(kind="customer")
    assert (customers.height, customers["customer_key"].n_unique()) == (6, 4)
    assert not {f"c{n}" for n in range(1, 7)} & set(customers["entry_id"])
    assert customers["city"].null_count() == 6


def test_a_review_keeps_its_lines_and_names_the_only_product_of_its_order(little):
    reviews = table(little, "events").filter(pl.col("event") == "product_reviewed").sort("event_id", "order_id")
    first = reviews.row(0, named=True)
    assert (first["review_id"], first["rating"], first["order_id"], first["product_id"]) == ("r1", 5, "two-goods", None)
    assert first["review_text"] == 'Chegou antes do prazo.\n\nRecomendo, nota "dez" de novo'
    about = set(reviews.filter(review_id="r2").select("order_id", "product_id").iter_rows())
    assert about <= {("voucher", "soap"), ("on-its-way", "newcomer")}
    assert about


def test_one_survey_for_two_orders_is_accounted_for_twice(little):
    _, accepted, duplicate, _ = totals(little)
    reviews = table(little, "events").filter(review_id="r2")
    # Kept as a synthetic duplicate, or counted as a duplicate: never lost.
    assert reviews.height + duplicate == 2
    assert accepted + duplicate == 41


def test_payments_are_in_a_table_of_their_own(little):
    found = table(little, "payments").filter(order_id="voucher").sort("sequence")
    assert found.select("payment_id", "method", "installments", "value", "currency").rows() == [
        ("voucher:1", "voucher", 1, Decimal(15), "BRL"),
        ("voucher:2", "credit_card", 1, Decimal(20), "BRL"),
    ]
    assert set(table(little, "payments")["method"]) == {"voucher", "credit_card", "bank_slip", "debit_card"}


def test_money_of_the_little_bundle(little):
    lines = table(little, "order_lines")
    sold = lines.filter(kind="sale")
    assert (sold["gross"].sum(), sold["shipping"].sum()) == (Decimal("170.50"), Decimal("18.00"))
    taken_back = lines.filter(kind="cancellation").sort("order_id")
    assert taken_back.select("order_id", "gross", "cancelled", "shipping", "net").rows() == [
        ("given-back", Decimal(0), Decimal(10), Decimal("-2.5"), Decimal(-10)),
        ("unpaid", Decimal(0), Decimal(0), Decimal(0), Decimal(0)),
    ]


def test_payments_of_the_little_bundle_agree_or_are_explained(little):
    settled = settle_orders(table(little, "order_lines").lazy(), table(little, "payments").lazy()).collect()
    assert dict(settled.select("order_id", "reason").iter_rows()) == {
        "two-goods": "agrees", "voucher": "agrees", "given-back": "agrees", "on-its-way": "interest",
        "unpaid": "no_goods", "no-goods": "no_goods",
    }  # fmt: skip


NAMES = sorted(LITTLE_OLIST)
SPOILING = {
    "gone": lambda _: [],
    "twice": lambda line: [line, line],
    "cut": lambda line: [line[: len(line) // 2] + "\n"],
    "empty cells": lambda line: ["," * line.count(",") + "\n"],
    "other numbers": lambda line: [re.sub("[0-9]", "9", line)],
    "no numbers": lambda line: [re.sub("[0-9]", "x", line)],
    "a quote too many": lambda line: [line.replace(",", ',"', 1)],
}
one_change = strategies.tuples(
    strategies.sampled_from(NAMES), strategies.integers(1, 8), strategies.sampled_from(list(SPOILING))
)
spoilt = strategies.lists(one_change, min_size=1, max_size=6)


def mapped_at_once(files: Mapping[str, str]) -> MappedRows:
    """Map the rows of all days together, which is faster than day by day."""
    parts = tuple(Delivery(name, name, text.encode()) for name, text in files.items())
    content = hashlib.sha256("".join(files.values()).encode()).hexdigest()
    raw = raw_rows(OLIST, Delivery("bundle.zip", content, b"", parts), shop=BRAZIL)
    return map_rows(raw, OLIST, pseudonym=PSEUDONYM, shop_timezone=BRAZIL)


def content(frame: pl.DataFrame) -> list[tuple]:
    """Give the rows of a table, leaving out where they stood."""
    return sorted(frame.drop("file_hash", "line").rows(), key=repr)


@settings(max_examples=15)
@given(spoilt)
def test_however_lines_are_spoilt_each_row_is_counted_once(changes):
    files = {name: text.splitlines(keepends=True) for name, text in LITTLE_OLIST.items()}
    for name, place, how in changes:
        if place < len(files[name]):
            files[name][place : place + 1] = SPOILING[how](files[name][place])
    found = mapped_at_once({name: "".join(lines) for name, lines in files.items()})
    assert found.read == found.accepted + found.duplicate + found.quarantined
    where = [frame.select("line") for frame in found.tables.values()]
    assert pl.concat(where).unique().height == found.accepted
    assert found.rejected["line"].is_unique().all()
    assert not set(found.rejected["line"]) & set(pl.concat(where)["line"])


@settings(max_examples=6)
@given(strategies.randoms(use_true_random=False))
def test_the_order_of_lines_decides_nothing(random):
    # The review of three lines has to stay whole.
    reviews = "olist_order_reviews_dataset.csv"
    files = {name: text for name, text in LITTLE_OLIST.items() if name != reviews}
    for name, text in files.items():
        header, *lines = text.splitlines(keepends=True)
        random.shuffle(lines)
        files[name] = header + "".join(lines)
    plain, found = mapped_at_once(LITTLE_OLIST), mapped_at_once(files | {reviews: LITTLE_OLIST[reviews]})
    for name, frame in plain.tables.items():
        assert content(found.tables[name]) == content(frame), name


def test_a_mended_bundle_takes_the_place_of_the_spoilt_one(home, tmp_path, kept_environment):
    os.environ["INSIGHT_REJECT_BUDGETS"] = json.dumps({"olist": 0.5})
    home.timezone = BRAZIL
    home.land("olist", "olist.zip", packed(LITTLE_OLIST))
    home.build("2017-03-01", "2017-03-03", sources=["olist"])
    assert home.table("quarantine").height == 3
    customers, orders = "olist_customers_dataset.csv", "olist_orders_dataset.csv"
    mended = LITTLE_OLIST | {
        customers: LITTLE_OLIST[customers] + "c9,eva,50000,recife,PE\nc10,eva,50000,recife,PE\n",
        orders: LITTLE_OLIST[orders] + "nowhere,c10,delivered,2017-03-02 13:00:00,2017-03-02 13:05:00,,,2017-03-24\n",
    }
    home.land("olist", "olist.zip", packed(mended))
    home.build("2017-03-01", "2017-03-03", sources=["olist"])
    assert home.table("quarantine").is_empty()
    assert home.table("payments")["value"].sum() == Decimal("418.50")
    with dg.DagsterInstance.ephemeral() as instance:
        fresh = ShopHome(tmp_path / "fresh", instance, timezone=BRAZIL)
        fresh.land("olist", "olist.zip", packed(mended))
        # Pseudonyms are compared too.
        shutil.copy(home.root / "pseudonym.key", fresh.root)
        fresh.build("2017-03-01", "2017-03-03", sources=["olist"])
        for name in ("order_lines", "payments", "reference_rows"):
            assert home.content(name).equals(fresh.content(name)), name


def test_payments_are_settled_as_of_a_day_and_what_is_unexplained_is_a_warning(home, kept_environment):
    os.environ["INSIGHT_REJECT_BUDGETS"] = json.dumps({"olist": 0.5})
    home.timezone = BRAZIL
    payments = "olist_order_payments_dataset.csv"
    less = LITTLE_OLIST | {payments: LITTLE_OLIST[payments].replace(",36.00", ",33.33")}
    home.land("olist", "olist.zip", packed(less))
    home.build("2017-03-01", "2017-03-02", sources=["olist"])
    job = dg.Definitions.merge(DEFS, dg.Definitions(resources=home.resources())).resolve_implicit_global_asset_job_def()
    for day in ("2017-03-01", "2017-03-02"):
        result = job.execute_in_process(
            instance=home.instance, asset_selection=[dg.AssetKey("payment_settlement")], partition_key=day
        )
        [check] = result.get_asset_check_evaluations()
        assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
        assert check.metadata["unexplained"].value == 1
    found = home.table("payment_settlement").select(pl.col("as_of").cast(pl.String), "reason", "orders", "difference")
    assert set(found.rows()) == {
        ("2017-03-01", "agrees", 1, Decimal(0)),
        ("2017-03-01", "underpaid", 1, Decimal("-2.67")),
        ("2017-03-02", "agrees", 2, Decimal(0)),
        ("2017-03-02", "underpaid", 1, Decimal("-2.67")),
        ("2017-03-02", "interest", 1, Decimal(3)),
        ("2017-03-02", "no_goods", 2, Decimal(143)),
    }
