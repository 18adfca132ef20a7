"""A small shop with customers who buy at their own pace until they leave, as contract tables."""

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import polars as pl

from insight_assets.contracts.catalogue import contract

FIRST_DAY = date(2024, 1, 1)
LAST_DAY = date(2024, 6, 28)
HORIZON = 30
PRODUCTS = ("kettle", "lamp", "mug", "rug", "vase")


def simulate_orders(customers: int, *, seed: int = 0, last_day: date = LAST_DAY) -> pl.DataFrame:
    """One row an order: those who buy often and have not left yet come back."""
    generator = np.random.default_rng(seed)
    days = (last_day - FIRST_DAY).days + 1
    rows = []
    for customer in range(customers):
        key = int(generator.integers(1, 2**62))
        pace = generator.gamma(2.0, 0.03)
        start = int(generator.integers(0, days * 2 // 3))
        leaves = start + generator.exponential(70)
        at = float(start)
        while at < min(days, leaves):
            moment = datetime.combine(FIRST_DAY, time(8), UTC) + timedelta(days=int(at))
            rows.append(
                {
                    "customer_key": key,
                    "event_day": moment.date(),
                    "event_time": moment + timedelta(minutes=int(generator.integers(0, 600))),
                    "product_id": PRODUCTS[customer % len(PRODUCTS)],
                    "value": round(float(generator.lognormal(3, 0.5)), 2),
                }
            )
            at += 1 + generator.exponential(1 / pace)
    return pl.DataFrame(rows)


def events_of(orders: pl.DataFrame) -> pl.LazyFrame:
    """The orders as rows of the contract `events`."""
    known = orders.with_row_index("number").select(
        event_id=pl.format("e{}", "number"),
        source=pl.lit("test"),
        event=pl.lit("order_completed"),
        event_day="event_day",
        event_time="event_time",
        known_at="event_time",
        actor_key="customer_key",
        customer_key="customer_key",
        channel=pl.lit("web"),
        traffic=pl.lit("person"),
        product_id="product_id",
        value=pl.col("value").cast(pl.Decimal(18, 4)),
        order_id=pl.format("o{}", "number"),
        currency=pl.lit("EUR"),
        file_hash=pl.lit("0" * 32),
        line=pl.col("number").cast(pl.Int64) + 1,
    )
    return _filled(known, "events").lazy()


def customer_days_of(orders: pl.DataFrame) -> pl.LazyFrame:
    """The orders as rows of the contract `customer_days`."""
    value = pl.col("value").cast(pl.Decimal(18, 4))
    known = orders.group_by("customer_key", "event_day").agg(
        pl.col("customer_key").first().alias("actor_key"),
        *(pl.len().alias(name) for name in ("events", "orders", "order_lines", "units")),
        *(pl.len().alias(name) for name in ("events_morning", "events_web")),
        sessions=pl.lit(1),
        gross=value.sum(),
        net=value.sum(),
        max_order_value=value.max(),
        first_event_at=pl.col("event_time").min(),
        last_event_at=pl.col("event_time").max(),
        last_order_at=pl.col("event_time").max(),
        bought_products=pl.col("product_id").unique().sort(),
        currencies=pl.lit(["EUR"]),
    )
    return _filled(known, "customer_days").sort("customer_key", "event_day").lazy()


def nobody_linked(day: date) -> pl.LazyFrame:
    """The identities of a shop that knows of no links."""
    return contract("identities").empty().lazy()


def _filled(known: pl.DataFrame, table: str) -> pl.DataFrame:
    """Columns of a contract; those not known are null, or nothing where that is not allowed."""
    nothing = {pl.List: [], pl.Decimal: Decimal(0)}
    columns = []
    for column in contract(table).columns:
        if column.name in known.columns:
            columns.append(pl.col(column.name).cast(column.dtype))
            continue
        value = nothing.get(column.dtype.base_type(), 0) if column.required else None
        columns.append(pl.lit(value, dtype=column.dtype).alias(column.name))
    return known.select(columns)
