"""The last events of every customer as lists, oldest first: the input of sequence models.

Orders and cuts; it neither samples, pads nor encodes products, which is the models' business.
"""

from datetime import date

import polars as pl

from insight_assets.features.ordering import time_order
from insight_assets.features.vocabulary import event_kinds

DEFAULT_LENGTH = 128
ROWS_PER_PASS = 4_000_000
"""Events sorted at a time: about 1 GB. More are taken in passes over disjoint customers."""

_CARRIED = ("kind", "seconds", "product_id", "category", "value")


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
    known = events.filter((pl.col("event_day") <= as_of) & pl.col("customer_key").is_not_null())
    rows = known.select(pl.len()).collect().item()
    passes = max(1, -(-rows // rows_per_pass))
    parts = [
        _sequences(
            known if passes == 1 else known.filter(pl.col("customer_key") % passes == number),
            length,
        )
        for number in range(passes)
    ]
    return (
        pl.concat(parts)
        .lazy()
        .select("customer_key", pl.lit(as_of).alias("as_of"), pl.exclude("customer_key"))
        .sort("customer_key")
    )


def _sequences(events: pl.LazyFrame, length: int) -> pl.DataFrame:
    """Build the lists of the customers in a frame that fits into memory."""
    frame = events.select(
        "customer_key",
        "event_id",
        "source",
        "event_time",
        pl.col("event_time").dt.epoch("s").alias("seconds"),
        pl.col("event").cast(pl.Enum(event_kinds())).to_physical().cast(pl.Int16).alias("kind"),
        "product_id",
        "category",
        pl.coalesce("value", "price").cast(pl.Float32).fill_null(0).alias("value"),
    ).collect()
    order = time_order(frame, "customer_key")
    frame = (
        frame.select("customer_key", *_CARRIED)[order]
        .with_columns(
            pl.len().over("customer_key").alias("events"), pl.int_range(pl.len()).alias("at")
        )
        .filter(pl.col("at") >= pl.col("at").min().over("customer_key") + pl.col("events") - length)
    )
    return frame.group_by("customer_key", maintain_order=True).agg(
        pl.col("kind").alias("kinds"),
        pl.col("seconds").alias("times"),
        pl.col("product_id").alias("products"),
        pl.col("category").alias("categories"),
        pl.col("value").alias("values"),
        pl.col("events").first().cast(pl.Int64),
    )
