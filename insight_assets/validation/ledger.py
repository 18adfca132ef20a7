"""What follows from accepted rows of a day: order documents, the events orders imply, what was said of products.

Pure functions over canonical frames of one or several days; they never look at another day's rows to make a day's.
"""

from datetime import date

import polars as pl

_DAY_SOURCE = ["event_day", "source"]


def build_orders(order_lines: pl.LazyFrame) -> pl.LazyFrame:
    """Sum lines to one document per order, kind and day.

    Args:
        order_lines: canonical order lines.

    Returns:
        Rows of the contract `orders`; adjustments without money make no document.
    """
    goods = pl.col("is_product")
    return (
        order_lines.filter(pl.col("kind") != "adjustment")
        .with_columns(kind=pl.when(pl.col("kind") == "sale").then(pl.lit("sale")).otherwise(pl.lit("refund")))
        .group_by("order_id", "kind", *_DAY_SOURCE)
        .agg(
            pl.col("event_time").min(),
            pl.col("known_at").max(),
            *(
                pl.col(name).sort_by("event_time", name).drop_nulls().first()
                for name in ("actor_key", "customer_key", "currency", "channel", "country", "coupon")
            ),
            lines=pl.len().cast(pl.Int64),
            products=pl.col("product_id").filter(goods).n_unique().cast(pl.Int64),
            units=pl.col("quantity").filter(goods).abs().sum(),
            **{name: pl.col(name).sum() for name in ("gross", "discount", "refunded", "net")},
        )
    )


def derive_order_events(orders: pl.LazyFrame, events: pl.LazyFrame) -> pl.LazyFrame:
    """Make the events that order documents imply, for orders whose source delivered no such event.

    Args:
        orders: rows of `orders`.
        events: delivered rows of `events` of the same days.

    Returns:
        Rows with columns of the contract `events`: `order_completed` for a sale, `order_refunded` for a refund; the
        ledger is a person's whatever else the actor did that day.
    """
    told = events.filter(pl.col("event").is_in(["order_completed", "order_refunded", "order_cancelled"])).select(
        "source",
        "event_day",
        "order_id",
        kind=pl.when(pl.col("event") == "order_completed").then(pl.lit("sale")).otherwise(pl.lit("refund")),
    )
    sale = pl.col("kind") == "sale"
    return (
        orders.join(told.unique(), on=["source", "event_day", "order_id", "kind"], how="anti")
        .with_columns(
            event_id=pl.format("{}:{}:{}", "kind", "order_id", "event_day"),
            event=pl.when(sale).then(pl.lit("order_completed")).otherwise(pl.lit("order_refunded")),
            value=pl.when(sale).then(pl.col("gross") - pl.col("discount")).otherwise(pl.col("refunded")),
            traffic=pl.lit("person"),
            file_hash=pl.lit("derived"),
            line=pl.lit(1, dtype=pl.Int64),
        )
        .drop("kind", "lines", "products", "units", "gross", "refunded", "net")
    )


def observe_products(events: pl.LazyFrame, order_lines: pl.LazyFrame) -> pl.LazyFrame:
    """Collect what a day's rows say about each product.

    Args:
        events: canonical events.
        order_lines: canonical order lines.

    Returns:
        Rows of the contract `product_history`: the last value of each attribute seen that day.
    """
    seen = pl.concat(
        [
            events.filter(pl.col("product_id").is_not_null()).select(
                "product_id", *_DAY_SOURCE, "event_time", pl.lit(None, dtype=pl.String).alias("product_name"),
                "category", "brand", "price", "currency",
            ),
            order_lines.filter(pl.col("is_product")).select(
                "product_id", *_DAY_SOURCE, "event_time", "product_name",
                "category", "brand", price="unit_price", currency="currency",
            ),
        ]
    )
    attributes = ("product_name", "category", "brand", "currency")
    return (
        seen.group_by("product_id", *_DAY_SOURCE)
        .agg(
            *(pl.col(name).sort_by("event_time", name).drop_nulls().last() for name in attributes),
            price=pl.col("price").sort_by("event_time", "currency", "price").replace(0, None).drop_nulls().last(),
            observed_at=pl.col("event_time").max(),
        )
    )


def describe_products(history: pl.LazyFrame, *, as_of: date) -> pl.LazyFrame:
    """Give each product as last described on or before a day.

    Args:
        history: rows of `product_history`; later days are ignored.
        as_of: the as-of day.

    Returns:
        Rows of the contract `products`.
    """
    return (
        history.filter(pl.col("event_day") <= as_of)
        .group_by("product_id")
        .agg(
            *(
                pl.col(name).sort_by("observed_at", "source").drop_nulls().last()
                for name in ("product_name", "category", "brand", "price", "currency")
            ),
            first_seen=pl.col("event_day").min(),
            last_seen=pl.col("event_day").max(),
        )
        .with_columns(as_of=pl.lit(as_of))
    )
