"""The books of an order over its life: what was sold and what was given back, on whatever days.

Pure functions over `orders` of any days. A refund may come before its sale, in another file or not at all, so that
nothing here is a reason to quarantine a row: it is told.
"""

import polars as pl

from insight_assets.validation.order_totals import CENT

ORDER = ("source", "order_id")


def balance_orders(orders: pl.LazyFrame) -> pl.LazyFrame:
    """Add up each order's documents, in base currency.

    Args:
        orders: rows of the contract `orders`, of any days and in any order.

    Returns:
        One row an order: `source`, `order_id`, `actor_key` and `sold_on` of its sale, `paid` (goods sold after
        discount), `given_back` (refunded or cancelled), and three judgements: `without_sale` (something was given back,
        and no sale is known), `above_paid` (more was given back than was paid, by more than a cent) and `void`
        (everything was given back).
    """
    sale = pl.col("kind") == "sale"
    paid, given_back = pl.col("paid"), pl.col("given_back")
    return (
        orders.group_by(ORDER)
        .agg(
            pl.col("actor_key").filter(sale).sort().first(),
            pl.col("event_day").filter(sale).min().alias("sold_on"),
            paid=(pl.col("gross_base") - pl.col("discount_base")).sum(),
            given_back=(pl.col("refunded_base") + pl.col("cancelled_base")).sum(),
        )
        .with_columns(without_sale=pl.col("sold_on").is_null() & (given_back > 0))
        .with_columns(
            above_paid=~pl.col("without_sale") & (given_back > paid + CENT),
            void=pl.col("sold_on").is_not_null() & (given_back > 0) & (given_back >= paid),
        )
    )
