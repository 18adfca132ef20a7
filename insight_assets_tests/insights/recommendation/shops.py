"""Small ledgers and events for the tests of the recommendation capability."""

from collections.abc import Iterable
from datetime import date, timedelta

import numpy as np
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.insights.behaviour.product_vectors import ProductVectors
from insight_assets.insights.recommendation.methods import Vectors

DAY = date(2025, 3, 1)
VERSION = "0123456789ab"

LINE = {
    "customer_key": pl.Int64,
    "product_id": pl.String,
    "event_day": pl.Date,
    "kind": pl.String,
    "is_product": pl.Boolean,
    "traffic": pl.String,
}
EVENT = {
    "customer_key": pl.Int64,
    "product_id": pl.String,
    "event_day": pl.Date,
    "event": pl.String,
    "traffic": pl.String,
}


def day(ago: int) -> date:
    """The day `ago` days before `DAY`; negative numbers lie after it."""
    return DAY - timedelta(days=ago)


def sales(rows: Iterable[tuple[int | None, str, int]]) -> pl.LazyFrame:
    """Ledger lines of sales from (customer, product, days ago)."""
    return pl.LazyFrame(
        [(customer, product, day(ago), "sale", True, "person") for customer, product, ago in rows],
        schema=LINE,
        orient="row",
    )


def looks(rows: Iterable[tuple[int | None, str | None, int, str]]) -> pl.LazyFrame:
    """Events from (customer, product, days ago, kind)."""
    return pl.LazyFrame(
        [(customer, product, day(ago), event, "person") for customer, product, ago, event in rows],
        schema=EVENT,
        orient="row",
    )


def paired_shop(customers: int = 300, days: int = 120, seed: int = 7) -> pl.LazyFrame:
    """A shop with a planted association: who buys `a<i>` buys `b<i>` some days later.

    Ten pairs; every customer buys the first halves of three pairs, and the second half of each
    with probability 0.8, so a method that learns pairs foresees the second halves.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for customer in range(customers):
        for pair in generator.choice(10, size=3, replace=False):
            first = int(generator.integers(20, days))
            rows.append((customer, f"a{pair}", first))
            if generator.random() < 0.8:
                rows.append((customer, f"b{pair}", int(first - generator.integers(1, 40))))
        rows.append((customer, f"c{generator.integers(30)}", int(generator.integers(-30, days))))
    return sales(rows)


def described(lines: pl.LazyFrame, *, new: Iterable[tuple[str, str, str, str]] = ()) -> pl.DataFrame:
    """What the shop says of products: categories by their first letter, brands by their last, prices by their length.

    Args:
        lines: ledger lines whose products are told of.
        new: further products that nobody bought: id, category, brand and price.
    """
    schema = {"product_id": pl.String, "category": pl.String, "brand": pl.String, "price": pl.String}
    sold = (
        lines.filter(pl.col("event_day") <= DAY)
        .select("product_id")
        .unique()
        .sort("product_id")
        .select(
            "product_id",
            category=pl.format("kind {}", pl.col("product_id").str.slice(0, 1)),
            brand=pl.format("brand {}", pl.col("product_id").str.slice(-1)),
            price=pl.format("{}.5", pl.col("product_id").str.len_chars()),
        )
        .collect()
    )
    return pl.concat([sold, pl.DataFrame(list(new), schema=schema, orient="row")]).with_columns(
        pl.col("price").cast(pl.Decimal(18, 4)),
        product_name=pl.col("product_id").str.to_uppercase(),
        currency=pl.lit("EUR"),
        first_seen=pl.lit(day(100)),
        last_seen=pl.lit(DAY),
    )


def vectors_of(contacts: pl.DataFrame, *, width: int = 6) -> Vectors:
    """Vectors such as the behaviour encoder gives them: of products and of customers that had to do with the same.

    Args:
        contacts: Table as `interactions` gives it.
        width: Length of the vectors.
    """
    customers, products = (contacts[name].unique().sort() for name in ("customer_key", "product_id"))
    rows = np.searchsorted(customers.to_numpy(), contacts["customer_key"].to_numpy())
    columns = np.searchsorted(products.to_numpy().astype(str), contacts["product_id"].to_numpy().astype(str))
    together = np.zeros((len(customers), len(products)))
    together[rows, columns] = 1.0
    of_products = np.linalg.svd(together, full_matrices=False)[2][:width].T
    of_customers = together @ of_products
    of_products /= np.maximum(np.linalg.norm(of_products, axis=1, keepdims=True), 1e-9)
    told = pl.DataFrame({"customer_key": customers, "vector": of_customers.tolist()}).lazy()
    return Vectors(
        products=ProductVectors(
            products=tuple(products),
            vectors=of_products.astype(np.float32),
            question=np.full(of_products.shape[1], 0.1, dtype=np.float32),
            version=VERSION,
        ),
        customers=contract("behaviour_vectors").conform(told.select(
            "customer_key",
            pl.lit(DAY).alias("as_of"),
            pl.col("vector").cast(pl.List(pl.Float32)),
            pl.lit(0, pl.Int64).alias("last_event_at"),
            pl.lit(1, pl.Int32).alias("events_read"),
            pl.lit(VERSION).alias("model_version"),
        )).collect(),
    )
