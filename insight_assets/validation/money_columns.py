"""Columns of money in unknown files: written in minor units, rates in place of amounts, of a line or of a whole order.

Looks at names and values of single columns; which column is the price is found in `proposals`.
"""

import re

import polars as pl

from insight_assets.validation.unknown_files import UnknownColumn

_MINOR_NAME = re.compile(
    r"(?<![a-z])(?:in[_ ]?)?(?:cents?|minor(?:[_ ]?units?)?|pence|pennies|rappen|fen|øre|öre)(?![a-z])"
    r"|[(（](?:单位[:：]?)?分[)）]$"
)
# Interfaces of payment write these in minor units; elsewhere they may be whole.
_AMOUNT_NAME = re.compile(r"(?:^|[_ .])(?:unit[_ ]?)?amount$")
_LARGE, _VERY_LARGE = 500, 1_000
_MOST = 0.5
# Prices as shops like them, read as cents.
_ENDINGS = (99.0, 98.0, 95.0, 90.0, 49.0)
_NO_MINOR_UNITS = {"JPY", "KRW", "VND", "CLP", "ISK", "HUF", "IDR", "PYG", "UGX", "XAF", "XOF", "RWF"}
_RATES = (0, 5, 5.5, 6, 7, 7.5, 8, 8.1, 9, 10, 12, 13, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 27)
_FEW_RATES, _ENOUGH_ROWS = 4, 8
_WHOLE = re.compile(r"(?:^|[_ ])(?:order|total|grand|cart|bestell|gesamt)|total|taxes$|^订单|合计|总", re.IGNORECASE)
_OF_LINE = re.compile(r"(?:^|[_ .])(?:line|item|unit|position|artikel)|lineitem|商品|单品", re.IGNORECASE)
LINE, ORDER = "line", "order"


def without_unit(name: str) -> str:
    """Take from a column's name what it says of minor units, e.g. `price` of `price_in_cents`."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
    return re.sub(_MINOR_NAME, "", spaced.lower()).strip(" _-()") or name


def minor_units(column: UnknownColumn, currency: UnknownColumn | None = None) -> tuple[bool, str]:
    """Tell whether a column of money counts cents.

    Args:
        column: the column.
        currency: the column of the currency, where there is one.

    Returns:
        Whether its values are to be divided by 100, and what makes one think so; the reason alone, without the
        division, where the values look odd and the name says nothing. Nothing where neither does.
    """
    last = column.path.rpartition(".")[2]
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", last).lower()
    if column.kind != "integer" or (currency is not None and _counts_whole(currency)):
        return False, ""
    value = column.texts.drop_nulls().cast(pl.Float64, strict=False).drop_nulls().abs()
    value = value.filter(value > 0)
    if value.is_empty():
        return False, ""
    large = value.median() >= _LARGE
    if _MINOR_NAME.search(spaced):
        return True, "its name says so and no value has decimals"
    if _AMOUNT_NAME.search(spaced) and large:
        return True, f"it is called {last}, no value has decimals, and half of them are {_LARGE} or more"
    odd = value.median() >= _VERY_LARGE and (value % 100).is_in(_ENDINGS).mean() >= _MOST
    return False, "no value has decimals and most end like cents" if odd else ""


def _counts_whole(currency: UnknownColumn) -> bool:
    codes = currency.texts.drop_nulls().str.to_uppercase()
    return codes.len() > 0 and bool(codes.is_in(_NO_MINOR_UNITS).any())


def is_rate(column: UnknownColumn) -> bool:
    """Tell whether a column of tax holds the rate, in per cent or as a share, and no amount."""
    value = column.texts.drop_nulls().str.strip_suffix("%").cast(pl.Float64, strict=False).drop_nulls()
    kinds = value.unique()
    known = [round(float(share), 4) for rate in _RATES for share in (rate, rate / 100)]
    is_known = kinds.round(4).is_in(known).all()
    return len(value) >= _ENOUGH_ROWS and len(kinds) <= _FEW_RATES and bool(is_known) and value.max() > 0


def differs_within(column: UnknownColumn, order: UnknownColumn | None) -> bool:
    """Tell whether rows of one order hold different values."""
    if order is None or column.within is not None or order.within is not None:
        return False
    rows = pl.DataFrame({"order": order.texts, "value": column.texts}).drop_nulls()
    return bool((rows.group_by("order").agg(pl.col("value").n_unique())["value"] > 1).any())


def level(column: UnknownColumn, order: UnknownColumn | None, *, usual: str) -> tuple[str, bool]:
    """Tell whether an amount is that of a line or of a whole order.

    Args:
        column: the amount.
        order: the column of the order; None where there is none.
        usual: what to take it for where nothing tells.

    Returns:
        `LINE` or `ORDER`, and whether the values or the name told.
    """
    name = column.path.rpartition(".")[2]
    if column.within is not None or _OF_LINE.search(name):
        return LINE, True
    if _WHOLE.search(name):
        return ORDER, True
    if order is None or order.within is not None:
        return usual, False
    rows = pl.DataFrame({"order": order.texts, "amount": column.texts})
    # Exports that write an order's values in its first line only.
    blank = rows["amount"].is_null()
    if order.texts.null_count() and (blank == rows["order"].is_null()).all():
        return ORDER, True
    told = rows.drop_nulls("order").group_by("order").agg(
        pl.len(), kinds=pl.col("amount").drop_nulls().n_unique(), told=pl.col("amount").count(),
        first=pl.col("amount").cast(pl.Float64, strict=False).max(),
    )  # fmt: skip
    several = told.filter((pl.col("len") > 1) & (pl.col("first").fill_null(0) != 0))
    if several.is_empty():
        return usual, False
    if (several["kinds"] > 1).any():
        return LINE, True
    return (ORDER, True) if several.height > 1 else (usual, False)
