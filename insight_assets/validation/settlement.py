"""Payments held against what was ordered, order by order, and the reasons why some differ.

Works on a shop's whole ledger up to a day, since an order may be paid after its day. Nothing is mended here: a shop's
payments and its order lines are both kept as delivered.
"""

from datetime import date

import polars as pl

AGREES = "agrees"
UNEXPLAINED = ("overpaid", "underpaid")
_ORDER = ["source", "order_id"]
_MONEY = pl.Decimal(38, 4)
_CENT = pl.lit("0.01").cast(_MONEY)


def settle_orders(order_lines: pl.LazyFrame, payments: pl.LazyFrame) -> pl.LazyFrame:
    """Hold the payments of each order against its lines.

    Args:
        order_lines: rows of `order_lines`; what was sold counts, whatever became of it later.
        payments: rows of `payments`.

    Returns:
        One row an order of the sources that deliver payments: source, order_id, currency, due (goods after discount,
        tax and shipping), paid, difference (paid - due) and reason, the first of these that holds: `no_goods` (paid,
        and nothing was sold), `no_payment`, `agrees` (within a cent), `rounding` (within a cent a line), `interest`
        (more, in instalments), `discount` (less by a whole percentage of the goods, which nobody told),
        `overpaid`, `underpaid`. The last two explain nothing.
    """
    payers = payments.select("source").unique()
    goods = pl.col("gross") - pl.col("discount")
    ordered = (
        order_lines.join(payers, on="source", how="semi")
        .filter(pl.col("kind") == "sale")
        .group_by(_ORDER)
        .agg(
            pl.col("currency").min(),
            goods=goods.sum().cast(_MONEY),
            due=(goods + pl.col("tax") + pl.col("shipping")).sum().cast(_MONEY),
            lines=pl.len().cast(pl.Int64),
        )
    )
    paid = payments.group_by(_ORDER).agg(
        pl.col("currency").min().alias("paid_in"),
        paid=pl.col("value").sum().cast(_MONEY),
        instalments=pl.col("installments").max(),
    )
    both = ordered.join(paid, on=_ORDER, how="full", coalesce=True).with_columns(
        currency=pl.coalesce("currency", "paid_in"),
        difference=(pl.col("paid").fill_null(0) - pl.col("due").fill_null(0)).cast(_MONEY),
    )
    return both.select(
        *_ORDER, "currency", pl.col("due").fill_null(0), pl.col("paid").fill_null(0), "difference", reason=_reason()
    )


def _reason() -> pl.Expr:
    difference, missing = pl.col("difference"), -pl.col("difference")
    percentage = missing.cast(pl.Float64) * 100 / pl.col("goods").cast(pl.Float64)
    told = (percentage.round() * pl.col("goods").cast(pl.Float64) / 100).round(2)
    is_percentage = (percentage.round() >= 1) & ((missing.cast(pl.Float64) - told).abs() < 0.01)
    return (
        pl.when(pl.col("due").is_null()).then(pl.lit("no_goods"))
        .when(pl.col("paid").is_null()).then(pl.lit("no_payment"))
        .when(difference.abs() <= _CENT).then(pl.lit(AGREES))
        .when(difference.abs() <= _CENT * pl.col("lines")).then(pl.lit("rounding"))
        .when((difference > 0) & (pl.col("instalments") > 1)).then(pl.lit("interest"))
        .when((missing > 0) & is_percentage).then(pl.lit("discount"))
        .when(difference > 0).then(pl.lit("overpaid"))
        .otherwise(pl.lit("underpaid"))
    )  # fmt: skip


def summarise_settlement(order_lines: pl.LazyFrame, payments: pl.LazyFrame, *, as_of: date) -> pl.LazyFrame:
    """Count a shop's orders by how their payments compare with their lines.

    Args:
        order_lines: rows of `order_lines`; later days are ignored.
        payments: rows of `payments`; later days are ignored.
        as_of: the as-of day.

    Returns:
        Rows of the contract `payment_settlement`.
    """
    known = pl.col("event_day") <= as_of
    return (
        settle_orders(order_lines.filter(known), payments.filter(known))
        .group_by("source", "currency", "reason")
        .agg(pl.len().cast(pl.Int64).alias("orders"), pl.col("due", "paid", "difference").sum())
        .with_columns(as_of=pl.lit(as_of))
    )
