"""What one product looks like at the end of a day: interest, sales, returns, rates, trends, price among its like.

Adds up the `product_days` of the last year and sets each product beside the others of its category. What customers are
like, and what is to be done about a price, belongs elsewhere.
"""

from datetime import date

import polars as pl

from insight_assets.features.money import MONEY_SCALE, money_of, whole_units
from insight_assets.features.windows import ratio, sum_windows, windowed

DAYS = 365
NEW_DAYS = 30
WINDOWS = (7, 30, 90, 365)
RATED = (30, 90, 365)

COUNTS = (
    "views",
    "clicks",
    "adds",
    "removes",
    "wishlists",
    "shares",
    "orders",
    "units",
    "returned_units",
    "reviews",
)
MONEY = ("gross", "discount", "refunded", "net")

RATES = {
    "adds_per_view": ("adds", "views"),
    "orders_per_add": ("orders", "adds"),
    "orders_per_view": ("orders", "views"),
    "return_share": ("returned_units", "units"),
    "refund_share": ("refunded", "sold"),
    "discount_share": ("discount", "gross"),
    "mean_rating": ("rating_sum", "reviews"),
}
"""Rate to the sums it divides, over each of `RATED`."""

BEFORE = {30: (60, ("views", "units")), 90: (180, ("units", "gross"))}
"""Window of a trend to the one that holds it and the days before, and what has the trend."""


def build_product_features(product_days: pl.LazyFrame, products: pl.LazyFrame, *, as_of: date) -> pl.LazyFrame:
    """Describe every product known on or before a day.

    Args:
        product_days: rows of the contract `product_days`; days after `as_of`, and those a year or more before it, are
            ignored, order does not matter.
        products: rows of the contract `products` as of that day.
        as_of: as-of day.

    Returns:
        One row a product with the columns of the contract `product_features`, sorted by `product_id`.
    """
    age = (pl.lit(as_of) - pl.col("event_day")).dt.total_days().cast(pl.Int32)
    days = (
        product_days.with_columns(age=age)
        .filter(pl.col("age").is_between(0, DAYS - 1))
        .with_columns(whole_units(pl.col(name)) for name in MONEY)
    )
    last = days.group_by("product_id").agg(
        pl.when(pl.col("views") > 0).then("age").min().alias("days_since_last_view"),
        pl.when(pl.col("units") > 0).then("age").min().alias("days_since_last_sale"),
    )
    described = products.drop("as_of").filter(pl.col("first_seen") <= as_of)
    known = described.join(last, on="product_id", how="full", coalesce=True).sort("product_id").collect()
    sums = sum_windows(days, known["product_id"], key="product_id", wanted=_wanted())
    wide = known.with_columns(pl.Series(name, values, dtype=pl.Int64) for name, values in sums.items()).lazy()
    return wide.with_columns(_in_category()).select(_columns(as_of)).sort("product_id")


def _wanted() -> dict[str, tuple[int, ...]]:
    longer = tuple(far for far, _ in BEFORE.values())
    return {**dict.fromkeys((*COUNTS, *MONEY), tuple(sorted({*WINDOWS, *longer}))), "rating_sum": RATED}


def _in_category() -> list[pl.Expr]:
    """Set a product beside those of its category, and in price beside those whose price has the same currency."""
    group = ["category", "currency"]
    price, named = pl.col("price"), pl.col("category").is_not_null()
    priced = named & price.is_not_null()
    cents = whole_units(price)
    peers = price.count().over(group)
    rank = price.rank("average").over(group)
    return [
        pl.when(named).then(pl.len().over("category")).alias("category_products"),
        pl.when(priced & (peers > 1)).then((rank - 1) / (peers - 1)).alias("price_position"),
        ratio(cents, cents.quantile(0.5, "lower").over(group), when=priced & (peers > 1)).alias("price_to_median"),
        *(
            ratio(pl.col(f"{name}_30d"), pl.col(f"{name}_30d").sum().over("category"), when=named).alias(
                f"{name}_share_of_category_30d"
            )
            for name in ("views", "units")
        ),
        pl.when(named & (pl.col("units_30d") > 0))
        .then(pl.col("units_30d").rank("min", descending=True).over("category"))
        .alias("sales_rank_in_category_30d"),
    ]


def _columns(as_of: date) -> list[pl.Expr]:
    seen = (pl.lit(as_of) - pl.col("first_seen")).dt.total_days().cast(pl.Int32)
    sums = {"sold": lambda window: pl.col(f"gross_{window}d") - pl.col(f"discount_{window}d")}

    def total(name: str, window: int) -> pl.Expr:
        return sums[name](window) if name in sums else pl.col(windowed(name, window))

    return [
        pl.col("product_id"),
        pl.lit(as_of).alias("as_of"),
        *(pl.col(name) for name in ("category", "brand", "price", "currency", "first_seen")),
        seen.alias("age_days"),
        (seen < NEW_DAYS).fill_null(value=False).alias("is_new"),
        pl.col("days_since_last_view"),
        pl.col("days_since_last_sale"),
        *(pl.col(windowed(name, window)) for name in COUNTS for window in WINDOWS),
        *(
            money_of(pl.col(windowed(name, window))).alias(windowed(name, window))
            for name in MONEY
            for window in WINDOWS
        ),
        *(
            ratio(total(part, window), total(whole, window)).alias(windowed(name, window))
            for name, (part, whole) in RATES.items()
            for window in RATED
        ),
        *(
            ratio(total("gross", window), total("units", window) * MONEY_SCALE).alias(windowed("mean_price", window))
            for window in RATED
        ),
        *(
            ratio(2 * total(name, near) - total(name, far), total(name, far)).alias(f"{name}_trend_{near}d")
            for near, (far, names) in BEFORE.items()
            for name in names
        ),
        *(
            pl.col(name)
            for name in (
                "category_products",
                "price_position",
                "price_to_median",
                "views_share_of_category_30d",
                "units_share_of_category_30d",
                "sales_rank_in_category_30d",
            )
        ),
    ]
