"""Money that a source says of a whole order: spread over the lines, and held against what the lines add up to.

Pure functions over mapped order lines of one source and day. Which lines make one document is said by their column
`document`.
"""

from decimal import Decimal

import polars as pl

from insight_assets.validation.currencies import MONEY

ORDER_AMOUNTS = ("order_discount", "order_tax", "order_shipping", "delivered_revenue", "delivered_total")
"""What a source may say of a whole order, on each line or on one: whole amounts, those of the lines included."""

CENT = Decimal("0.01")
_BACK = ("refunded", "cancelled")
_SPREAD = {"order_discount": "discount", "order_tax": "tax", "order_shipping": "shipping"}
_INT = pl.Int128
_SCALE, _PER_CENT = 10_000, 100
# Equal lines are the same to anyone, so that their own order decides nothing.
_CONTENT = ("product_id", "quantity", "unit_price", "gross", "order_line_id")


def spread(amount: pl.Expr, weight: pl.Expr, *, over: str, ties: tuple[str, ...]) -> pl.Expr:
    """Spread an amount over the rows of each group by largest remainder, so that the shares add up to it exactly.

    Shares are whole cents where the amount and all weights are, else ten-thousandths.

    Args:
        amount: the group's amount, the same in each of its rows; of either sign.
        weight: what a row's share follows, 0 or more; rows share alike where all weights are 0.
        over: column that names the group.
        ties: columns that order rows of equal remainder.
    """
    whole, part = _units(amount), _units(weight)
    part = pl.when(part.sum().over(over) == 0).then(pl.lit(1, dtype=_INT)).otherwise(part)
    in_cents = (whole % _PER_CENT == 0) & ((_units(weight) % _PER_CENT == 0).all().over(over))
    unit = pl.when(in_cents).then(_PER_CENT).otherwise(1).cast(_INT)
    total, size = part.sum().over(over), whole.abs() // unit
    share, rest = size * part // total, size * part % total
    # Polars negates no 128 bits, but takes them from 0.
    place = pl.struct((0 - rest).alias("rest"), (0 - part).alias("part"), *ties).rank("ordinal").over(over)
    missing = size - share.sum().over(over)
    share = share + (place <= missing).cast(_INT)
    sign = pl.when(whole < 0).then(-1).otherwise(1).cast(_INT)
    return (share * unit * sign).cast(pl.Decimal(38, 4)) / _SCALE


def _units(money: pl.Expr) -> pl.Expr:
    return money.cast(MONEY).to_physical().cast(_INT)


def spread_order_amounts(lines: pl.DataFrame) -> pl.DataFrame:
    """Give each line its share of what the order's discount, tax and shipping hold beyond the lines' own.

    Args:
        lines: mapped order lines with `document`, the columns `ORDER_AMOUNTS`, and `not_paid`: what of the price of
            goods that are taken back was never paid.

    Returns:
        The lines; a line's share follows its goods after discount. Amounts that the lines name already are untouched,
        and so are those of an order that names less than its lines do: `contradicts_totals` finds it. Of lines that are
        taken back, the order's discount was never paid: their share lessens what is given back.
    """
    back = pl.col("refunded") + pl.col("cancelled")
    for told, own in _SPREAD.items():
        if lines[told].is_null().all():
            continue
        named = pl.col(own) + pl.col("not_paid") if own == "discount" else pl.col(own)
        left = pl.col(told).max().over("document") - named.sum().over("document")
        # Tax and shipping that are given back are below 0; a discount never is.
        wanted = pl.max_horizontal(left, pl.lit(0)) if own == "discount" else left
        goods = pl.col("gross") - pl.col("discount") + back
        share = spread(wanted.fill_null(0), pl.max_horizontal(goods, pl.lit(0)), over="document", ties=_CONTENT)
        if own == "discount":
            changed = {
                "discount": pl.when(back > 0).then("discount").otherwise(pl.col("discount") + share),
                "not_paid": pl.when(back > 0).then(pl.col("not_paid") + share).otherwise("not_paid"),
                **{name: pl.when(pl.col(name) > 0).then(pl.col(name) - share).otherwise(name) for name in _BACK},
            }
        else:
            changed = {own: pl.col(own) + share}
        lines = lines.with_columns(value.cast(MONEY, strict=False).alias(name) for name, value in changed.items())
    return lines


def contradicts_totals() -> pl.Expr:
    """Tell, for each line, whether its document's lines differ from the delivered totals by more than a cent.

    `delivered_revenue` is goods after discount, without tax and shipping; `delivered_total` what was paid or given back
    in all. Both are looked at without their sign. A document whose rows disagree on an amount contradicts itself.
    """

    def within(name: str, found: pl.Expr) -> pl.Expr:
        told = pl.col(name).max().over("document")
        return ((found.sum().over("document").abs() - told.abs()).abs() <= CENT).fill_null(value=True)

    net = pl.col("net")
    named = [
        within("order_discount", pl.col("discount") + pl.col("not_paid")),
        within("order_tax", pl.col("tax")),
        within("order_shipping", pl.col("shipping")),
        within("delivered_revenue", net),
        within("delivered_total", net + pl.col("tax") + pl.col("shipping")),
        *(pl.col(name).drop_nulls().n_unique().over("document") <= 1 for name in ORDER_AMOUNTS),
    ]
    return ~pl.all_horizontal(named)
