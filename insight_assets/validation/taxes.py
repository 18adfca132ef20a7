"""Prices that include tax: what of a delivered amount is goods and what is tax.

Pure expressions over mapped order lines; which sources price so is said in their contracts.
"""

import polars as pl

from insight_assets.validation.currencies import MONEY

_EXACT = pl.Decimal(38, 8)
_INT = pl.Int128
_SCALE = 10_000


def take_tax_out(lines: pl.DataFrame) -> pl.DataFrame:
    """Make amounts that include tax into amounts without, the tax beside them; no ten-thousandth is lost.

    Args:
        lines: mapped order lines whose `gross`, `discount`, `refunded` and `cancelled` include tax. The tax of a line
            is `tax` where that was delivered (null elsewhere), or follows from `tax_rate`, or is 0.

    Returns:
        The lines, with `gross - discount - refunded - cancelled + tax` as it was.
    """
    rate = pl.col("tax_rate").fill_null(0)
    paid, given_back = pl.col("gross") - pl.col("discount"), pl.col("refunded") + pl.col("cancelled")
    lines = lines.with_columns(tax=pl.coalesce("tax", _share(paid - given_back, rate, 1 + rate)))
    goods = paid - given_back - pl.col("tax")
    # A sale's tax is in its price, a refund's in what is given back.
    sold = pl.when(paid == 0).then(pl.col("gross")).otherwise(_share(pl.col("gross"), goods, paid))
    sale = given_back == 0
    back = pl.when(sale).then(given_back).otherwise(-goods)
    return lines.with_columns(
        gross=pl.when(sale).then(sold).otherwise("gross").cast(MONEY, strict=False),
        discount=pl.when(sale & (paid != 0)).then(sold - goods).otherwise("discount").cast(MONEY, strict=False),
        refunded=pl.when(pl.col("refunded") > 0).then(back).otherwise("refunded").cast(MONEY, strict=False),
        cancelled=pl.when((pl.col("cancelled") > 0) & (pl.col("refunded") == 0))
        .then(back)
        .otherwise("cancelled")
        .cast(MONEY, strict=False),
    )


def _share(amount: pl.Expr, part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Give `amount * part / whole`, rounded half to even to four places."""
    top = amount.cast(MONEY).to_physical().cast(_INT) * part.cast(_EXACT).to_physical().cast(_INT)
    bottom = whole.cast(_EXACT).to_physical().cast(_INT)
    up = pl.when(top < 0).then(-1).otherwise(1).cast(_INT)
    size, rest = top.abs() // bottom, top.abs() % bottom
    odd = (2 * rest > bottom) | ((2 * rest == bottom) & (size % 2 == 1))
    return ((size + odd.cast(_INT)) * up).cast(pl.Decimal(38, 4)) / _SCALE
