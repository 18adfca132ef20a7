"""Money as features see it: in the base currency, and how often a customer bought when orders were given back.

Everything to the right of the validated tables reads the ledger through here, so that no sum mixes currencies.
"""

from datetime import date

import polars as pl

from insight_assets.features.vocabulary import by_persons
from insight_assets.validation.order_books import balance_orders

MONEY = ("gross", "discount", "refunded", "net", "tax", "shipping")
MONEY_SCALE = 10_000
"""Money is added up in whole ten-thousandths."""


def whole_units(money: pl.Expr) -> pl.Expr:
    """Give money as whole ten-thousandths."""
    return (money.cast(pl.Decimal(38, 4)) * MONEY_SCALE).cast(pl.Int64)


def money_of(units: pl.Expr) -> pl.Expr:
    """Give whole ten-thousandths as the nearest float, up to 900 billion of the currency.

    Polars divides by a number as such in a frame of one row and multiplies by its inverse in a longer one, so that a
    customer's value would depend on how many others there are; by a column it divides. Decimals, exact as well, take six
    times as long.
    """
    return units / (units * 0 + MONEY_SCALE)


def in_base_currency(ledger: pl.LazyFrame) -> pl.LazyFrame:
    """Give rows of `orders` or `order_lines` with their money in the base currency, under the plain names.

    What was cancelled counts as given back: `refunded` holds both, so that net is gross less discount less refunded.
    """
    return ledger.with_columns(
        *(pl.col(f"{name}_base").alias(name) for name in MONEY if name != "refunded"),
        refunded=pl.col("refunded_base") + pl.col("cancelled_base"),
    )


def money_of_event() -> pl.Expr:
    """Give the money that an event is about, else the price it shows, in the base currency.

    What tells no currency is in the shop's own. Money without a rate in force is not known, for counting it at 1.0 could
    be wrong by a factor of a hundred.
    """
    rate = pl.when(pl.col("currency").is_null()).then(1.0).otherwise(pl.col("exchange_rate").cast(pl.Float64))
    return pl.coalesce("value", "price").cast(pl.Float64) * rate


def without_void_orders(customer_days: pl.LazyFrame, orders: pl.LazyFrame, *, as_of: date) -> pl.LazyFrame:
    """Take orders that were given back whole by a day out of the number of purchases; of net money they leave none.

    Args:
        customer_days: rows of that contract, whoever is behind its actors.
        orders: rows of that contract; days after `as_of` are ignored, so that a refund counts from its own day on.
        as_of: the as-of day.

    Returns:
        The customer days with fewer `orders` on the days of such sales.
    """
    void = void_sales(orders, as_of=as_of)
    counted = pl.col("orders")
    left = pl.max_horizontal(counted.cast(pl.Int64) - pl.col("void").fill_null(0), pl.lit(0, dtype=pl.Int64))
    kind = customer_days.collect_schema()["orders"]
    joined = customer_days.join(void, on=["actor_key", "event_day"], how="left")
    return joined.with_columns(left.cast(kind).alias("orders")).drop("void")


def void_sales(orders: pl.LazyFrame, *, as_of: date) -> pl.LazyFrame:
    """Count the orders that were given back whole by a day, by actor and day of the sale: column void.

    Args:
        orders: rows of the contract `orders`; days after `as_of` are ignored.
        as_of: the as-of day.
    """
    return (
        balance_orders(by_persons(orders).filter(pl.col("event_day") <= as_of))
        .filter(pl.col("void"))
        .group_by(pl.col("actor_key"), pl.col("sold_on").alias("event_day"))
        .agg(void=pl.len().cast(pl.Int64))
    )
