"""Real files, through Dagster, against the figures that their publishers and others report."""

import gzip
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from insight_assets.contracts.sources import source_contracts
from insight_assets.ingestion.landing import land_files
from insight_assets.validation.publishing import ValidatedDay, validate_day
from insight_assets_tests.shop_home import accounts, failures
from insight_assets_tests.validation.judging import PSEUDONYM, raw_rows

pytestmark = pytest.mark.real
LINES, INVOICES, CUSTOMERS, GOODS, DELIVERED = 397_884, 18_532, 4_338, Decimal("8911407.904"), 541_909


UCI, LONDON = source_contracts()["uci_online_retail"], "Europe/London"


def known_sales(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines with a customer, not cancelled, quantity and price above 0."""
    return lines.filter((pl.col("kind") == "sale") & pl.col("customer_key").is_not_null())


def test_five_days_of_uci_are_accounted_for_to_the_penny(home, real_data, all_of_uci):
    home.timezone = LONDON
    files = sorted((real_data / "uci_online_retail" / "by_day").glob("2010-12-0[1-6].csv.gz"))
    land_files(files, home.folder("uci_online_retail"))
    found = accounts(home.build("2010-12-01", "2010-12-06", sources=["uci_online_retail"]))
    text = pl.concat([pl.read_csv(path, infer_schema=False) for path in files])
    assert found["delivered"] == text.height
    assert found["delivered"] == found["accepted"] + found["quarantined"]
    wanted = text.filter(pl.col("CustomerID").is_not_null() & ~pl.col("InvoiceNo").str.starts_with("C")).with_columns(
        pl.col("Quantity").cast(pl.Int64), pl.col("UnitPrice").cast(pl.Decimal(18, 4))
    )
    wanted = wanted.filter((pl.col("Quantity") > 0) & (pl.col("UnitPrice") > 0))
    sales = known_sales(home.table("order_lines"))
    assert sales.height == wanted.height
    assert sales["gross"].sum() == (wanted["Quantity"] * wanted["UnitPrice"]).sum()
    assert sales["order_id"].n_unique() == wanted["InvoiceNo"].n_unique()
    assert sales["customer_key"].n_unique() == wanted["CustomerID"].n_unique()
    # A Saturday: nothing was delivered, and the day is there all the same.
    assert home.states("events")["2010-12-04"].rows == 0
    # What is said of all days at once, below, is said of days that Dagster makes one by one; keys, places and the base
    # currency are those of a home.
    for name in ("order_lines", "orders"):
        at_once = all_of_uci.tables[name].filter(pl.col("event_day") <= date(2010, 12, 6))
        own = re.compile("_key$|^order_line_id$|base|^exchange_rate$|^file_hash$|^line$")
        columns = [each for each in at_once.columns if not own.search(each)]
        made, whole = (frame.select(columns).sort(columns) for frame in (home.table(name), at_once))
        assert made.height > 0
        assert made.equals(whole)


@pytest.fixture(scope="module")
def all_of_uci(real_data) -> ValidatedDay:
    """The rows of all 374 days, validated at once: a call costs as much as thousands of rows."""
    files = sorted((real_data / "uci_online_retail" / "by_day").glob("*.csv.gz"))
    header, *rows = (line for n, path in enumerate(files) for line in _lines_of(path)[min(n, 1) :])
    raw = raw_rows(UCI, b"\n".join([header, *rows, b""]), shop=LONDON)
    return validate_day(
        raw["event_day"].min(), {UCI.name: raw}, {UCI.name: UCI}, pseudonym=PSEUDONYM, shop_timezone=LONDON, budgets={}
    )


def _lines_of(path: Path) -> list[bytes]:
    return gzip.decompress(path.read_bytes()).splitlines()


def test_all_of_uci_is_accounted_for_to_the_penny(all_of_uci):
    (found,) = all_of_uci.accounts
    assert found.read == DELIVERED
    assert found.read == found.accepted + found.duplicate + found.quarantined
    assert found.quarantined == 2
    assert_to_the_penny(all_of_uci.tables)


@pytest.mark.exhaustive
def test_all_days_of_uci_one_by_one_are_accounted_for_to_the_penny(home, real_data):
    home.timezone = LONDON
    land_files(sorted((real_data / "uci_online_retail" / "by_day").glob("*.csv.gz")), home.folder("uci_online_retail"))
    found = accounts(home.build("2010-12-01", "2011-12-09", sources=["uci_online_retail"]))
    assert found["delivered"] == DELIVERED
    assert found["delivered"] == found["accepted"] + found["duplicate"] + found["quarantined"]
    assert found["quarantined"] == 2
    assert_to_the_penny({name: home.table(name) for name in ("quarantine", "order_lines", "orders")})


def assert_to_the_penny(tables: Mapping[str, pl.DataFrame]) -> None:
    # Two lines write bad debt off with a negative price, which no rule of the ledger lets through.
    quarantine = tables["quarantine"]
    assert quarantine.height == 2
    assert set(quarantine["rule"]) == {"gross.minimum"}
    lines = tables["order_lines"]
    sales = known_sales(lines)
    assert (sales.height, sales["order_id"].n_unique(), sales["customer_key"].n_unique()) == (
        LINES,
        INVOICES,
        CUSTOMERS,
    )
    assert sales["gross"].sum() == GOODS
    assert not sales.filter(pl.col("net") != pl.col("gross") - pl.col("discount") - pl.col("refunded") - pl.col("cancelled")).height
    orders = tables["orders"]
    assert orders["net"].sum() == lines.filter(pl.col("kind") != "adjustment")["net"].sum()
    assert set(orders["event_day"]) <= {
        date(2010, 12, 1) + n * (date(2010, 12, 2) - date(2010, 12, 1)) for n in range(374)
    }


@pytest.mark.slow
def test_uci_as_one_parquet_file_says_the_same(home, real_data):
    home.timezone = "Europe/London"
    land_files([real_data / "uci_online_retail" / "online_retail.parquet"], home.folder("uci_online_retail"))
    found = accounts(home.build("2010-12-01", "2010-12-10", sources=["uci_online_retail"]))
    first = sorted((real_data / "uci_online_retail" / "by_day").glob("2010-12-0[1-9].csv.gz"))
    first += [real_data / "uci_online_retail" / "by_day" / "2010-12-10.csv.gz"]
    assert found["delivered"] == sum(pl.read_csv(path, infer_schema=False).height for path in first)


def test_the_rees46_sample(home, real_data):
    folder = real_data / "rees46_sample"
    land_files([folder / "2019-Oct_head17434.csv.gz", folder / "2019-Nov_head682_noheader.csv"], home.folder("rees46"))
    result = home.build("2019-10-01", sources=["rees46"])
    found = accounts(result)
    assert found["delivered"] == found["accepted"] + found["duplicate"] + found["quarantined"]
    text = pl.read_csv(folder / "2019-Oct_head17434.csv.gz", infer_schema=False)
    assert found["delivered"] == text.height
    assert found["duplicate"] == text.height - text.unique().height == 5
    # The sample was cut in the middle of its last line, within a user number.
    assert home.table("quarantine").select("line", "rule").rows() == [(text.height + 1, "malformed")]
    text = text.head(-1)
    events = home.table("events")
    assert events.filter(pl.col("file_hash") != "derived")["event"].value_counts().sort("event").rows() == (
        text.unique().filter(pl.col("event_type") != "purchase")["event_type"].replace({"view": "product_viewed", "cart": "product_added", "remove_from_cart": "product_removed"}).alias("event").value_counts().sort("event").rows()
    )  # fmt: skip
    refused = {file.name: file.reason for file in home.inventory.files() if file.status == "refused"}
    assert list(refused) == ["2019-Nov_head682_noheader.csv"]
    assert "is the header missing?" in refused["2019-Nov_head682_noheader.csv"]
    assert not failures(result)


def test_a_fifth_of_a_real_day_spoilt_is_refused(home, real_data, tmp_path):
    home.timezone = "Europe/London"
    path: Path = real_data / "uci_online_retail" / "by_day" / "2010-12-01.csv.gz"
    text = pl.read_csv(path, infer_schema=False).with_row_index("n")
    spoilt = text.with_columns(
        UnitPrice=pl.when(pl.col("n") % 5 == 0).then(pl.lit("1,299.00")).otherwise(pl.col("UnitPrice"))
    ).drop("n")
    home.land("uci_online_retail", "spoilt.csv", spoilt.write_csv())
    result = home.build("2010-12-01", sources=["uci_online_retail"], check=False)
    share = (text.height + 4) // 5
    assert f"{share} of {text.height} rows quarantined" in failures(result)[0]
    assert set(home.table("quarantine")["rule"]) == {"unit_price.type"}
    assert not home.lake.exists("orders")
