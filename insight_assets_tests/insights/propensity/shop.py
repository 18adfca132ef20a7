"""A small shop whose customers keep to a category, a price and a few products, as contract tables."""

from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl

from insight_assets_tests.insights.churn.shop import _filled, nobody_linked

__all__ = ["nobody_linked"]

FIRST_DAY = date(2025, 1, 1)
CATEGORIES = ("kitchen", "light", "paper")
EACH = 4
"""Products of a category, the first the cheapest."""


def product(category: str, number: int) -> str:
    return f"{category}-{number}"


def simulate_lines(customers: int, *, days: int, seed: int = 0) -> pl.DataFrame:
    """One row a product bought or looked at: habits of three products, mostly of one category and price."""
    drawn = np.random.default_rng(seed)
    rows = []
    for _ in range(customers):
        key = int(drawn.integers(1, 2**62))
        favourite, level = int(drawn.integers(0, len(CATEGORIES))), int(drawn.integers(0, EACH - 1))
        habit = [(favourite, level), (favourite, level + 1), (int(drawn.integers(0, len(CATEGORIES))), level)]
        at = float(drawn.integers(0, days // 2))
        pace = drawn.gamma(2.0, 12.0)
        while at < days:
            category, number = habit[int(drawn.integers(0, 3))]
            if int(at) > 0 and drawn.random() < 0.5:
                rows.append((key, int(at) - 1, CATEGORIES[category], number, False))
            rows.append((key, int(at), CATEGORIES[category], number, True))
            at += 1 + drawn.exponential(pace)
    frame = pl.DataFrame(
        rows, schema=["customer_key", "day", "category", "number", "bought"], orient="row",
        schema_overrides={"customer_key": pl.Int64},
    ).unique(maintain_order=True)  # fmt: skip
    return frame.with_columns(
        event_day=pl.lit(FIRST_DAY) + pl.duration(days="day"),
        product_id=pl.format("{}-{}", "category", "number"),
        price=2.0 + 3 * pl.col("number"),
    )


def customer_days_of(lines: pl.DataFrame) -> pl.LazyFrame:
    """What was bought as rows of the contract `customer_days`."""
    bought, day = lines.filter("bought"), ["customer_key", "event_day"]
    value = pl.col("price").cast(pl.Decimal(18, 4))
    moment = pl.col("event_day").dt.combine(time(9)).dt.replace_time_zone("UTC")
    of_category = (
        bought.group_by(*day, "category")
        .agg(units=pl.len(), gross=value.sum())
        .group_by(day)
        .agg(
            bought_categories=pl.col("category").sort(),
            bought_category_units=pl.col("units").sort_by("category"),
            bought_category_gross=pl.col("gross").sort_by("category"),
        )
    )
    looked = lines.filter(~pl.col("bought")).group_by(day).agg(
        views=pl.len(), viewed_categories=pl.col("category").unique().sort()
    )  # fmt: skip
    known = (
        bought.group_by(day)
        .agg(
            order_lines=pl.len(), units=pl.len(), gross=value.sum(),
            bought_products=pl.col("product_id").unique().sort(),
        )
        .join(of_category, on=day)
        .with_columns(orders=pl.lit(1), last_order_at=moment)
        .join(looked, on=day, how="full", coalesce=True)
        .with_columns(
            pl.col("orders", "order_lines", "units", "views", "gross").fill_null(0),
            pl.col(pl.List).fill_null([]),
            actor_key="customer_key",
            first_event_at=moment,
            last_event_at=moment,
        )
        .with_columns(
            events=pl.col("orders") + pl.col("views"), events_morning=pl.col("orders") + pl.col("views"),
            events_web=pl.col("orders") + pl.col("views"), product_views="views", net="gross", max_order_value="gross",
            sessions=pl.lit(1), currencies=pl.lit(["EUR"]),
        )
    )  # fmt: skip
    return _filled(known, "customer_days").sort("customer_key", "event_day").lazy()


def events_of(lines: pl.DataFrame) -> pl.LazyFrame:
    """What was looked at as rows of the contract `events`."""
    moment = pl.col("event_day").dt.combine(time(9)).dt.replace_time_zone("UTC")
    known = lines.filter(~pl.col("bought")).with_row_index("at").select(
        event_id=pl.format("e{}", "at"), source=pl.lit("test"), event=pl.lit("product_viewed"), event_day="event_day",
        event_time=moment, known_at=moment, actor_key="customer_key", customer_key="customer_key",
        channel=pl.lit("web"), traffic=pl.lit("person"), product_id="product_id", file_hash=pl.lit("0" * 32),
        line=pl.col("at").cast(pl.Int64) + 1,
    )  # fmt: skip
    return _filled(known, "events").lazy()


def products_on(as_of: date) -> pl.LazyFrame:
    """The catalogue as rows of the contract `products`."""
    rows = [
        {"product_id": product(category, number), "category": category, "product_name": f"{category} no. {number}"}
        for category in CATEGORIES
        for number in range(EACH)
    ]
    known = pl.DataFrame(rows).with_columns(
        as_of=pl.lit(as_of), first_seen=pl.lit(FIRST_DAY), last_seen=pl.lit(as_of), currency=pl.lit("EUR")
    )
    return _filled(known, "products").lazy()


def day(number: int) -> date:
    """The day of that number, the first being 0."""
    return (datetime.combine(FIRST_DAY, time(), UTC) + timedelta(days=number)).date()
