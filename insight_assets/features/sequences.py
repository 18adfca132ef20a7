"""The last events of every customer as lists, oldest first: the input of sequence models.

Orders and cuts; it neither samples, pads nor encodes products, which is the models' business.
"""

from datetime import date

import polars as pl

from insight_assets.features.money import money_of_event
from insight_assets.features.ordering import time_order
from insight_assets.features.vocabulary import by_persons, event_kinds

DEFAULT_LENGTH = 128
ROWS_PER_PASS = 8_000_000
"""Events ordered at a time: about 1.5 GB. More are taken in passes over disjoint customers."""


def build_event_sequences(
    events: pl.LazyFrame,
    *,
    as_of: date,
    length: int = DEFAULT_LENGTH,
    rows_per_pass: int = ROWS_PER_PASS,
) -> pl.LazyFrame:
    """List the last events of every customer as of a day.

    Args:
        events: rows of the contract `events`; days after `as_of` and rows without a customer are
            ignored, order does not matter.
        as_of: as-of day.
        length: most events kept of one customer, at least 1.
        rows_per_pass: events held in memory at a time; changes no value.

    Returns:
        One row a customer with the columns of the contract `event_sequences`, sorted by
        `customer_key`. Events are in the order of (`event_time`, `event_id`, `source`).

    Raises:
        ValueError: If `length` or `rows_per_pass` is below 1.
    """
    if length < 1 or rows_per_pass < 1:
        message = f"length and rows_per_pass must be at least 1, not {length} and {rows_per_pass}"
        raise ValueError(message)
    known = by_persons(events).filter((pl.col("event_day") <= as_of) & pl.col("customer_key").is_not_null())
    customers = _cuts(known, length)
    rows = customers["events"].clip(upper_bound=length).sum()
    passes = max(1, -(-rows // rows_per_pass))
    parts = [
        _sequences(known, customers.filter(pl.col("customer_key") % passes == number), length)
        for number in range(passes)
    ]
    return (
        pl.concat(parts)
        .lazy()
        .select("customer_key", pl.lit(as_of).alias("as_of"), pl.exclude("customer_key"))
        .sort("customer_key")
    )


BOUGHT = len(event_kinds())
"""Kind that stands for a product of an order in sequences that were joined by order lines."""


def with_bought_products(sequences: pl.DataFrame, order_lines: pl.LazyFrame, *, as_of: date) -> pl.DataFrame:
    """Put what customers bought among their events: one element for each product of an order.

    An order of several products says of none that it was bought, and a shop may deliver orders alone.

    Args:
        sequences: rows of the contract `event_sequences` as of a day.
        order_lines: rows of the contract `order_lines`; days after `as_of` are ignored, order does not matter.
        as_of: as-of day.

    Returns:
        One row a customer, sorted: `customer_key` and the lists `kinds`, `times`, `products`, `categories` and
        `values`, in the order of time. Of one second, what was bought comes last, in the order of products.
    """
    names = ("kinds", "times", "products", "categories", "values")
    events = sequences.lazy().select("customer_key", *names).explode(names, empty_as_null=False)
    bought = by_persons(order_lines).filter(
        (pl.col("kind") == "sale")
        & pl.col("is_product")
        & (pl.col("event_day") <= as_of)
        & pl.col("customer_key").is_not_null()
    )
    lines = bought.group_by("customer_key", times=pl.col("event_time").dt.epoch("s"), products="product_id").agg(
        kinds=pl.lit(BOUGHT, pl.Int16),
        categories=pl.col("category").max(),
        values=pl.col("gross_base").sum().cast(pl.Float32).fill_null(0),
    )
    unplaced = lines.select(pl.lit(None, pl.UInt32).alias("place"), "customer_key", *names)
    told = pl.concat([events.with_row_index("place"), unplaced])
    return (
        told.sort("customer_key", "times", "place", "products", nulls_last=True)
        .group_by("customer_key", maintain_order=True)
        .agg(names)
        .collect()
    )


def _cuts(events: pl.LazyFrame, length: int) -> pl.DataFrame:
    """Count each customer's events and find the time of the oldest that may be kept.

    So that the wide columns are read for the kept events alone, and for those of the same time.
    """
    return (
        events.group_by("customer_key")
        .agg(
            pl.len().cast(pl.Int64).alias("events"),
            pl.col("event_time").top_k(length).min().alias("since"),
        )
        .collect()
    )


def _sequences(events: pl.LazyFrame, customers: pl.DataFrame, length: int) -> pl.DataFrame:
    """Build the lists of customers whose last events fit into memory."""
    frame = (
        events.join(customers.lazy(), on="customer_key")
        .filter(pl.col("event_time") >= pl.col("since"))
        .select(
            "customer_key",
            "event_time",
            "event_id",
            "source",
            kind=pl.col("event").cast(pl.Enum(event_kinds())).to_physical().cast(pl.Int16),
            product="product_id",
            category="category",
            value=money_of_event().cast(pl.Float32).fill_null(0),
            events="events",
        )
        .collect()
    )
    ordered = frame.drop("event_id", "source")[time_order(frame, "customer_key")]
    return ordered.group_by("customer_key", maintain_order=True).agg(
        pl.col("kind").tail(length).alias("kinds"),
        pl.col("event_time").dt.epoch("s").tail(length).alias("times"),
        pl.col("product").tail(length).alias("products"),
        pl.col("category").tail(length).alias("categories"),
        pl.col("value").tail(length).alias("values"),
        pl.col("events").first(),
    )
