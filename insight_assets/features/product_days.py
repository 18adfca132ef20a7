"""What happened to one product on one day: looked at, put into carts, sold, returned, reviewed.

Counts and sums of one day only; rankings and trends over days belong to the capabilities that need
them.
"""

import polars as pl

from insight_assets.contracts.types import float_of
from insight_assets.features.money import in_base_currency
from insight_assets.features.vocabulary import by_persons

KEYS = ("product_id", "event_day")
COUNTED = {
    "views": "product_viewed",
    "clicks": "product_clicked",
    "adds": "product_added",
    "removes": "product_removed",
    "wishlists": "product_added_to_wishlist",
    "shares": "product_shared",
    "reviews": "product_reviewed",
}
"""Column to the kind of event that it counts."""


def build_product_days(events: pl.LazyFrame, order_lines: pl.LazyFrame) -> pl.LazyFrame:
    """Sum up what happened to every product on each day.

    Args:
        events: rows of the contract `events`, of any days; rows without a product and kinds that
            say nothing about one are ignored.
        order_lines: rows of the contract `order_lines` of the same days; codes that are not goods
            are ignored.

    Returns:
        One row a product and day with the columns of the contract `product_days`, sorted by key.
    """
    seen = _interest(by_persons(events))
    sold = _ledger(by_persons(order_lines))
    joined = seen.join(sold, on=KEYS, how="full", coalesce=True)
    numbers = [
        name
        for name, kind in joined.collect_schema().items()
        if kind.is_numeric() and name != "mean_price"
    ]
    return joined.with_columns(pl.col(numbers).fill_null(0)).sort(KEYS)


def _interest(events: pl.LazyFrame) -> pl.LazyFrame:
    kind = pl.col("event")
    return (
        events.filter(pl.col("product_id").is_not_null() & kind.is_in(list(COUNTED.values())))
        .group_by(KEYS)
        .agg(
            *((kind == event).sum().alias(name) for name, event in COUNTED.items()),
            pl.when(kind == "product_viewed")
            .then("actor_key")
            .drop_nulls()
            .n_unique()
            .alias("viewers"),
            pl.when(kind == "product_reviewed").then("rating").sum().alias("rating_sum"),
        )
    )


def _ledger(order_lines: pl.LazyFrame) -> pl.LazyFrame:
    sale = pl.col("kind") == "sale"
    # Of an exchange, what goes out is sold and what comes back is returned.
    sold = sale | ((pl.col("kind") == "exchange") & (pl.col("quantity") > 0))
    units = pl.when(sold).then("quantity").sum()
    return (
        in_base_currency(order_lines).filter(pl.col("is_product") & (pl.col("kind") != "adjustment"))
        .group_by(KEYS)
        .agg(
            pl.when(sale).then("order_id").drop_nulls().n_unique().alias("orders"),
            pl.when(sale).then("customer_key").drop_nulls().n_unique().alias("buyers"),
            units.alias("units"),
            *(pl.col(name).sum() for name in ("gross", "discount", "refunded", "net")),
            pl.when(~sold).then(pl.col("quantity").abs()).sum().alias("returned_units"),
            pl.when(units > 0)
            .then(float_of(pl.col("gross").sum()) / units)
            .alias("mean_price"),
        )
    )
