"""What one customer looks like at the end of a day: windows, rhythm, breadth, rates and habits.

Adds up `customer_days` of the as-of day and before, and nothing else: no raw events, no other
customers, no model. Sums stay integers (money in ten-thousandths) until the last step, so that
neither the order of rows nor the way they are cut into days changes a bit of the result. A window
of n days is the as-of day and the n - 1 days before it.
"""

from datetime import date

import polars as pl

from insight_assets.contracts.types import float_of
from insight_assets.features.customer_days import merge_actors
from insight_assets.features.vocabulary import CHANNELS, DAY_PARTS

MONEY_SCALE = 10_000
"""Ten-thousandths in one unit of money: tables hold `Decimal(18, 4)`."""

ENTROPY_SCALE = 2**32
"""Fixed-point scale of the entropy's terms: whole numbers add up to the same sum in any order."""

LIFETIME = None
MONEY = ("gross", "discount", "refunded", "net")
LAST_SEEN = {
    "event": "events",
    "session": "sessions",
    "view": "product_views",
    "search": "searches",
    "add": "adds",
    "checkout": "checkouts",
    "order": "orders",
    "refund": "refunds",
    "review": "reviews",
    "ticket": "tickets",
}
"""Kind of last event to the daily count that tells of it."""

WINDOWED: dict[str, tuple[int | None, ...]] = {
    "active_days": (7, 30, 90, 365, LIFETIME),
    "events": (7, 30, 90, 365, LIFETIME),
    "sessions": (7, 30, 90, 365, LIFETIME),
    "product_views": (30, 90, 365),
    "searches": (30, 90),
    "adds": (30, 90),
    "checkouts": (30, 90),
    "orders": (7, 30, 90, 365, LIFETIME),
    "purchase_days": (365, LIFETIME),
    "units": (365, LIFETIME),
    "net": (7, 30, 90, 365, LIFETIME),
    "gross": (90, 365, LIFETIME),
    "discount": (365, LIFETIME),
    "refunded": (365, LIFETIME),
    "order_lines": (365,),
    "coupon_orders": (365,),
    "discounted_orders": (365,),
    "zero_result_searches": (90,),
    "payment_failures": (90,),
    "bounced_sessions": (90,),
    "cart_sessions": (90,),
    "abandoned_sessions": (90,),
    "session_seconds": (90,),
    "wishlists": (90,),
    "reviews": (365,),
    "rating_sum": (365,),
    "tickets": (90,),
    "refunds": (365,),
    "weekend_days": (365,),
    **{f"events_{part}": (365,) for part in DAY_PARTS},
    **{f"events_{channel}": (365,) for channel in CHANNELS},
    **{f"weekday_{weekday}": (365,) for weekday in range(1, 8)},
}
"""Daily sum to the windows, in days, over which it is added up."""

PUBLISHED = (
    "active_days",
    "events",
    "sessions",
    "product_views",
    "searches",
    "adds",
    "checkouts",
    "orders",
    "purchase_days",
    "wishlists",
    "reviews",
    "tickets",
    "refunds",
)
"""Sums that are columns themselves; the others only feed rates, shares and money."""

BEFORE = {"events": (60, 30), "orders": (180, 90), "gross": (180, 90)}
"""Daily sum to the window (oldest age, newest age) that a trend compares with."""


def build_customer_features(customer_days: pl.LazyFrame, *, as_of: date) -> pl.LazyFrame:
    """Describe every customer seen on or before a day.

    Args:
        customer_days: rows of the contract `customer_days`; days after `as_of` are ignored, order
            does not matter.
        as_of: as-of day.

    Returns:
        One row a customer with the columns of the contract `customer_features`, sorted by
        `customer_key`. Counts are 0 and ages, rates and means are null where nothing happened.
    """
    days = merge_actors(customer_days.filter(pl.col("event_day") <= as_of)).with_columns(
        age=(pl.lit(as_of) - pl.col("event_day")).dt.total_days().cast(pl.Int32)
    )
    return (
        _sums(days)
        .join(_purchase_rhythm(days), on="customer_key", how="left")
        .join(_breadth(days), on="customer_key", how="left")
        .join(_currencies(days), on="customer_key", how="left")
        .join(_campaigns(days), on="customer_key", how="left")
        .select(_columns(as_of))
        .sort("customer_key")
    )


def _sums(days: pl.LazyFrame) -> pl.LazyFrame:
    """Add every daily sum up over its windows, in whole numbers."""
    active = (pl.col("events") > 0) | (pl.col("orders") > 0)
    weekday = pl.col("event_day").dt.weekday()
    daily = days.with_columns(
        *(_units_of_money(column) for column in (*MONEY, "max_order_value")),
        active_days=active.cast(pl.Int64),
        purchase_days=(pl.col("orders") > 0).cast(pl.Int64),
        weekend_days=(active & (weekday >= 6)).cast(pl.Int64),
        **{
            f"weekday_{number}": (active & (weekday == number)).cast(pl.Int64)
            for number in range(1, 8)
        },
    )
    age = pl.col("age")
    windows = [
        _sum_where(name, None if window is LIFETIME else age < window).alias(
            _windowed(name, window)
        )
        for name, sizes in WINDOWED.items()
        for window in sizes
    ]
    before = [
        _sum_where(name, (age < oldest) & (age >= newest)).alias(f"{name}_before")
        for name, (oldest, newest) in BEFORE.items()
    ]
    ages = [
        pl.when(pl.col(column) > 0).then(age).min().alias(f"days_since_last_{kind}")
        for kind, column in LAST_SEEN.items()
    ]
    return daily.group_by("customer_key").agg(
        pl.col("event_day").min().alias("first_seen_day"),
        age.max().alias("tenure_days"),
        pl.col("max_order_value").max().alias("max_order_value_lifetime"),
        *windows,
        *before,
        *ages,
    )


def _purchase_rhythm(days: pl.LazyFrame) -> pl.LazyFrame:
    """Measure the gaps between successive purchase days, and what the first of them brought."""
    gap = pl.col("gap").cast(pl.Int64)
    return (
        days.filter(pl.col("orders") > 0)
        .select("customer_key", "event_day", "age", value=_goods_value())
        .sort("customer_key", "event_day")
        .with_columns(
            gap=pl.when(pl.col("customer_key") == pl.col("customer_key").shift(1)).then(
                pl.col("age").shift(1) - pl.col("age")
            )
        )
        .group_by("customer_key")
        .agg(
            gap.count().alias("gaps"),
            gap.sum().alias("gap_sum"),
            (gap * gap).sum().alias("gap_squares"),
            gap.max().alias("max_gap_days"),
            gap.min_by("age").alias("last_gap_days"),
            pl.col("age").max().alias("age_days"),
            pl.col("value").sum().alias("value_all"),
            pl.col("value").max_by("age").alias("value_first"),
        )
    )


def _breadth(days: pl.LazyFrame) -> pl.LazyFrame:
    """Count the distinct products, categories and brands of the last 90 days."""
    recent = days.filter(pl.col("age") < 90)
    counts = [
        _listed(recent, "bought_products").agg(
            pl.len().cast(pl.Int64).alias("product_days_90d"),
            pl.col("item").n_unique().alias("products_bought_90d"),
        ),
        _listed(recent, "bought_brands").agg(pl.col("item").n_unique().alias("brands_bought_90d")),
        _listed(recent, "viewed_categories").agg(
            pl.col("item").n_unique().alias("categories_viewed_90d")
        ),
    ]
    n = pl.col("n").cast(pl.Float64)
    categories = (
        _listed(recent, "bought_categories", "item")
        .agg(pl.len().cast(pl.Int64).alias("n"))
        .group_by("customer_key")
        .agg(
            pl.len().alias("categories_bought_90d"),
            pl.col("n").sum().alias("category_days_90d"),
            (n * n.log(2) * ENTROPY_SCALE).round().cast(pl.Int64).sum().alias("entropy_terms_90d"),
        )
    )
    joined = categories
    for part in counts:
        joined = joined.join(part, on="customer_key", how="full", coalesce=True)
    return joined


def _listed(days: pl.LazyFrame, column: str, *more: str) -> "pl.lazyframe.group_by.LazyGroupBy":
    items = days.filter(pl.col(column).list.len() > 0).select(
        "customer_key", pl.col(column).alias("item")
    )
    return items.explode("item").group_by("customer_key", *more)


def _currencies(days: pl.LazyFrame) -> pl.LazyFrame:
    return _listed(days, "currencies").agg(pl.col("item").n_unique().alias("currencies"))


def _campaigns(days: pl.LazyFrame) -> pl.LazyFrame:
    """Find the first and the last marketing source; one row a day leaves no ties."""
    return (
        days.filter(pl.col("first_campaign_source").is_not_null())
        .group_by("customer_key")
        .agg(
            pl.col("first_campaign_source").max_by("age"),
            pl.col("last_campaign_source").min_by("age"),
        )
    )


def _columns(as_of: date) -> list[pl.Expr]:
    """Write the contract's columns from the sums."""
    kept = [pl.col(_windowed(name, window)) for name in PUBLISHED for window in WINDOWED[name]]
    weekday = pl.max_horizontal(
        pl.col(f"weekday_{number}_365d") * 10 + (7 - number) for number in range(1, 8)
    )
    goods = pl.col("gross_365d") - pl.col("discount_365d")
    goods_lifetime = pl.col("gross_lifetime") - pl.col("discount_lifetime")
    deviation = (
        (pl.col("gaps") * pl.col("gap_squares") - pl.col("gap_sum") ** 2).cast(pl.Float64).sqrt()
    )
    entropy = (
        pl.col("category_days_90d").cast(pl.Float64).log(2)
        - pl.col("entropy_terms_90d") / ENTROPY_SCALE / pl.col("category_days_90d")
    ).clip(lower_bound=0)
    return [
        pl.col("customer_key"),
        pl.lit(as_of).alias("as_of"),
        pl.col("first_seen_day"),
        pl.col("tenure_days"),
        *(pl.col(f"days_since_last_{kind}") for kind in LAST_SEEN),
        *kept,
        pl.col("units_lifetime"),
        *(_money(_windowed("net", window)) for window in WINDOWED["net"]),
        _money("gross_lifetime"),
        _money("refunded_lifetime"),
        _ratio(goods, pl.col("orders_365d") * MONEY_SCALE).alias("mean_order_value_365d"),
        _money("max_order_value_lifetime"),
        _ratio(pl.col("units_365d"), pl.col("orders_365d")).alias("units_per_order_365d"),
        _ratio(pl.col("order_lines_365d"), pl.col("orders_365d")).alias("lines_per_order_365d"),
        _ratio(pl.col("gap_sum"), pl.col("gaps")).alias("mean_gap_days"),
        pl.when(pl.col("gaps") > 1).then(deviation / pl.col("gaps")).alias("std_gap_days"),
        pl.when(pl.col("gaps") > 1).then(deviation / pl.col("gap_sum")).alias("cv_gap"),
        pl.col("last_gap_days"),
        pl.col("max_gap_days"),
        _ratio(pl.col("days_since_last_order") * pl.col("gaps"), pl.col("gap_sum")).alias(
            "expected_gap_ratio"
        ),
        *(
            pl.col(name).fill_null(0)
            for name in (
                "products_bought_90d",
                "categories_bought_90d",
                "brands_bought_90d",
                "categories_viewed_90d",
            )
        ),
        entropy.alias("category_entropy_90d"),
        (1 - _ratio(pl.col("products_bought_90d"), pl.col("product_days_90d"))).alias(
            "repeat_product_share_90d"
        ),
        _ratio(pl.col("adds_90d"), pl.col("product_views_90d")).alias("adds_per_view_90d"),
        _ratio(pl.col("checkouts_90d"), pl.col("adds_90d")).alias("checkouts_per_add_90d"),
        _ratio(pl.col("orders_90d"), pl.col("checkouts_90d")).alias("orders_per_checkout_90d"),
        _ratio(pl.col("orders_90d"), pl.col("sessions_90d")).alias("orders_per_session_90d"),
        _ratio(pl.col("abandoned_sessions_90d"), pl.col("cart_sessions_90d")).alias(
            "cart_abandonment_90d"
        ),
        _ratio(
            pl.col("payment_failures_90d"), pl.col("payment_failures_90d") + pl.col("orders_90d")
        ).alias("payment_failure_share_90d"),
        _ratio(pl.col("zero_result_searches_90d"), pl.col("searches_90d")).alias(
            "zero_result_share_90d"
        ),
        _ratio(pl.col("bounced_sessions_90d"), pl.col("sessions_90d")).alias("bounce_share_90d"),
        _ratio(pl.col("events_90d"), pl.col("sessions_90d")).alias("events_per_session_90d"),
        _ratio(pl.col("session_seconds_90d"), pl.col("sessions_90d")).alias(
            "mean_session_seconds_90d"
        ),
        _ratio(pl.col("discount_365d"), pl.col("gross_365d")).alias("discount_share_365d"),
        _ratio(pl.col("refunded_365d"), goods).alias("refund_share_365d"),
        _ratio(pl.col("refunded_lifetime"), goods_lifetime).alias("refund_share_lifetime"),
        _ratio(pl.col("coupon_orders_365d"), pl.col("orders_365d")).alias(
            "coupon_order_share_365d"
        ),
        _ratio(pl.col("discounted_orders_365d"), pl.col("orders_365d")).alias(
            "discounted_order_share_365d"
        ),
        *(
            _ratio(pl.col(f"events_{part}_365d"), pl.col("events_365d")).alias(f"{part}_share_365d")
            for part in DAY_PARTS
        ),
        _ratio(pl.col("weekend_days_365d"), pl.col("active_days_365d")).alias("weekend_share_365d"),
        pl.when(pl.col("active_days_365d") > 0)
        .then(7 - weekday % 10)
        .alias("preferred_weekday_365d"),
        *(
            _ratio(pl.col(f"events_{channel}_365d"), pl.col("events_365d")).alias(
                f"{channel}_share_365d"
            )
            for channel in CHANNELS
        ),
        *(
            _ratio(
                pl.col(recent) - pl.col(f"{name}_before"), pl.col(recent) + pl.col(f"{name}_before")
            ).alias(trend)
            for name, recent, trend in (
                ("events", "events_30d", "events_trend_30d"),
                ("orders", "orders_90d", "orders_trend_90d"),
                ("gross", "gross_90d", "gross_trend_90d"),
            )
        ),
        _ratio(pl.col("rating_sum_365d"), pl.col("reviews_365d")).alias("mean_rating_365d"),
        pl.col("currencies").fill_null(0),
        pl.col("first_campaign_source"),
        pl.col("last_campaign_source"),
        pl.col("gaps").alias("x_repeat_purchases"),
        pl.col("gap_sum").alias("t_x_days"),
        pl.col("age_days"),
        _ratio(pl.col("value_all"), (pl.col("gaps") + 1) * MONEY_SCALE).alias(
            "mean_purchase_value"
        ),
        _ratio(pl.col("value_all") - pl.col("value_first"), pl.col("gaps") * MONEY_SCALE).alias(
            "mean_repeat_purchase_value"
        ),
    ]


def _windowed(name: str, window: int | None) -> str:
    return f"{name}_lifetime" if window is LIFETIME else f"{name}_{window}d"


def _sum_where(name: str, condition: pl.Expr | None) -> pl.Expr:
    value = pl.col(name).cast(pl.Int64)
    return (value if condition is None else pl.when(condition).then(value).otherwise(0)).sum()


def _money(column: str) -> pl.Expr:
    """Give whole ten-thousandths as the nearest float.

    Polars divides by a number as such in a frame of one row and multiplies by its inverse in a longer
    one, so that a customer's value would depend on how many others there are.
    """
    return float_of(pl.col(column).cast(pl.Decimal(38, 4)) / MONEY_SCALE).alias(column)


def _units_of_money(column: str) -> pl.Expr:
    return (pl.col(column) * MONEY_SCALE).cast(pl.Int64)


def _goods_value() -> pl.Expr:
    return ((pl.col("gross") - pl.col("discount")) * MONEY_SCALE).cast(pl.Int64)


def _ratio(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Divide, or give null where the whole is nothing."""
    return pl.when(whole > 0).then(part / whole)
