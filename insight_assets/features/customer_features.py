"""What one customer looks like at the end of a day: windows, rhythm, breadth, rates, habits, taste, carts and places.

Adds up the state of the past and the `customer_days` of the last year: no raw events and no model. Sums stay integers
(money in ten-thousandths) until the last step, so that neither the order of rows nor the way they are cut into days
changes a bit of the result. A window of n days is the as-of day and the n - 1 days before it. Only price bands look at
other customers: at what everybody paid.
"""

import itertools
from collections.abc import Iterator, Sequence
from datetime import date

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.types import float_of
from insight_assets.features import taste
from insight_assets.features.acquisition import channel_group
from insight_assets.features.customer_days import BESIDE, merge_actors
from insight_assets.features.customer_state import GROUPS, LAST_SEEN, PURCHASES, as_one_person, state_of_days
from insight_assets.features.money import MONEY, MONEY_SCALE, money_of, whole_units
from insight_assets.features.vocabulary import CHANNELS, DAY_PARTS
from insight_assets.features.windows import WINDOWS, ratio, sum_windows, windowed

"""Ten-thousandths in one unit of money: tables hold `Decimal(18, 4)`."""

ENTROPY_SCALE = 2**32
"""Fixed-point scale of the entropy's terms: whole numbers add up to the same sum in any order."""

ROWS_AT_ONCE = 1_000_000
"""Customer days and states read at a time; more of them are taken in slices of customers, so that memory stays flat."""

CUSTOMERS_AT_ONCE = 100_000
"""Customers described at a time: hundreds of sums a customer take more than the days that they are made of."""

CART_DAYS = 30
"""Days after which what still lies in a cart is no longer an open cart."""

YEAR = (365,)
RATED = (30, 90, 365)

COUNTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(
        ("active_days", "events", "sessions", "product_views", "searches", "adds", "checkouts", "orders", "refunds"),
        WINDOWS,
    ),
    "purchase_days": (90, 365),
    "units": RATED,
    "page_views": (30, 90),
    "list_views": (30, 90),
    "product_clicks": (30, 90),
    "removes": (30, 90),
    "cart_views": (30, 90),
    "payments_entered": (90,),
    "payment_failures": (30, 90, 365),
    "coupons_applied": (90, 365),
    "coupons_denied": (90, 365),
    "promotions_viewed": (90,),
    "promotions_clicked": (90,),
    "wishlists": (30, 90, 365),
    "shares": (90, 365),
    "reviews": (90, 365),
    "tickets": (7, 30, 90, 365),
    "cart_sessions": RATED,
    "abandoned_sessions": RATED,
}
"""Daily sum to the windows over which it is published."""

LIFETIME_COUNTS = (
    "events",
    "sessions",
    "product_views",
    "searches",
    "adds",
    "checkouts",
    "refunds",
    "units",
    "payment_failures",
    "reviews",
    "tickets",
    "cart_sessions",
    "abandoned_sessions",
)
"""Sums of the state that are published; active days, purchases and purchase days are counted from its lists."""

PARTS: dict[str, tuple[int, ...]] = {
    "sales": (90, 365),
    "order_lines": YEAR,
    "coupon_orders": YEAR,
    "discounted_orders": YEAR,
    "zero_result_searches": (90,),
    "bounced_sessions": (90,),
    "session_seconds": (90,),
    "rating_sum": YEAR,
    "weekend_days": YEAR,
    **{f"events_{part}": YEAR for part in DAY_PARTS},
    **{f"events_{channel}": YEAR for channel in CHANNELS},
    **{f"weekday_{weekday}": YEAR for weekday in range(1, 8)},
}
"""Daily sums that only feed rates and shares."""

SUMS = {**COUNTS, **dict.fromkeys(MONEY, WINDOWS), **PARTS}

LISTS = ("order_values", "viewed_categories", "bought_products", *BESIDE, *itertools.chain(*BESIDE.values()))
CARTS = ("last_cart_at", "last_add_at", "last_order_at", "cart_units_left", "cart_value_left")
READ = ("actor_key", "customer_key", "event_day", *SUMS, *LISTS, *CARTS)
"""Columns of a day that its last year is told from, where a day has them: some of the sums are found on the way."""

NAMES = {"cart_sessions": "carts", "abandoned_sessions": "abandoned_carts"}
"""Daily sum to how its windows are called, where that differs."""


def build_customer_features(
    customer_days: pl.LazyFrame,
    *,
    as_of: date,
    state: pl.LazyFrame | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> pl.LazyFrame:
    """Describe every customer seen on or before a day; the arguments are those of `describe_in_slices`.

    Returns:
        One row a customer with the columns of the contract `customer_features`, sorted by
        `customer_key`. Counts are 0 and ages, rates and means are null where nothing happened.
    """
    # Each slice is in the order of the keys, and so are the slices: no copy is made to sort them all.
    slices = describe_in_slices(customer_days, as_of=as_of, state=state, rows_at_once=rows_at_once)
    return pl.concat(slices).lazy()


def describe_in_slices(
    customer_days: pl.LazyFrame,
    *,
    as_of: date,
    state: pl.LazyFrame | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
    customers_at_once: int = CUSTOMERS_AT_ONCE,
) -> Iterator[pl.DataFrame]:
    """Describe every customer seen on or before a day, some at a time: a million do not fit beside what they are made of.

    Args:
        customer_days: rows of the contract `customer_days`, `customer_key` being the person; days after `as_of` are
            ignored, order does not matter. Where there is a state, the last 365 days are enough.
        as_of: as-of day.
        state: rows of the contract `customer_state` as of the same day, `customer_key` being the person; None to add
            the whole past up. The result is the same.
        rows_at_once: customer days and states read at a time.
        customers_at_once: customers described at a time.

    Yields:
        The rows of `build_customer_features`, in their order; at least one frame.
    """
    past = customer_days.filter(pl.col("event_day") <= as_of)
    # What a purchase costs is cut by the purchases of all customers, before these are taken in slices.
    cuts = taste.price_cuts(_aged(_recent(past, as_of), as_of))
    rows = (past if state is None else _recent(past, as_of)).select(pl.len()).collect().item()
    if state is not None:
        rows += state.select(pl.len()).collect().item()
    for slice_of_people in _slices(past if state is None else state, 1 + rows // rows_at_once):
        days, held = (None if each is None else each.filter(slice_of_people) for each in (past, state))
        people = state_of_days(merge_actors(days), "customer_key") if held is None else as_one_person(held)
        # A dozen sums follow, and each would read a year of files again.
        recent = _recent(days, as_of).select(name for name in days.collect_schema() if name in READ).collect().lazy()
        known = people.collect()
        if not known["customer_key"].is_sorted():
            known = known.sort("customer_key")
        for first in range(0, max(known.height, 1), customers_at_once):
            some = known[first : first + customers_at_once]
            within = pl.col("customer_key").is_between(some["customer_key"].min(), some["customer_key"].max())
            yield _describe(recent.filter(within), some, as_of, cuts)


def _slices(rows: pl.LazyFrame, count: int) -> list[pl.Expr]:
    """Cut customers into ranges of keys with about as many rows each, in ascending order.

    Edges are floats, which do not tell neighbouring keys apart: where exactly a slice ends does not matter.
    """
    key = pl.col("customer_key")
    if count == 1:
        return [pl.lit(value=True)]
    quantiles = rows.select(key.quantile(n / count, "lower").alias(f"{n}") for n in range(1, count)).collect().row(0)
    edges = sorted({min(int(each), 2**63 - 1) for each in quantiles if each is not None})
    above = [pl.lit(value=True), *(key > edge for edge in edges)]
    below = [*(key <= edge for edge in edges), pl.lit(value=True)]
    return [low & high for low, high in zip(above, below, strict=True)]


def _recent(days: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    return days.filter(pl.col("event_day") > pl.lit(as_of) - pl.duration(days=WINDOWS[-1]))


def _aged(days: pl.LazyFrame, as_of: date, day: str = "event_day") -> pl.LazyFrame:
    return days.with_columns(age=(pl.lit(as_of) - pl.col(day)).dt.total_days().cast(pl.Int32))


def _describe(days: pl.LazyFrame, known: pl.DataFrame, as_of: date, cuts: pl.DataFrame) -> pl.DataFrame:
    """Describe some customers.

    Args:
        days: their rows of the last year, actors side by side.
        known: their states, one row each, in the order of the keys.
        as_of: as-of day.
        cuts: bands of prices, as `taste.price_cuts` gives them.
    """
    days = days.collect().lazy()
    merged = _aged(merge_actors(days), as_of)
    sums = sum_windows(_numbers(merged), known["customer_key"], key="customer_key", wanted=SUMS)
    purchases = _purchases(known.lazy(), as_of)
    parts: Sequence[pl.LazyFrame] = (
        _rhythm(purchases),
        _seen_days(known.lazy(), purchases),
        _breadth(merged),
        _order_values(merged),
        _carts(_aged(days, as_of)),
        taste.favourites(merged, items="bought_categories", spent="bought_category_gross", name="category"),
        taste.favourites(merged, items="bought_brands", spent="bought_brand_gross", name="brand"),
        taste.viewed(merged, window=90).select(
            "customer_key",
            categories_viewed_90d="categories",
            top_viewed_category_90d="category",
            top_viewed_category_90d_share="share",
        ),
        taste.price_band(merged, cuts),
    )
    # Parts are put beside the sums by place: joining hundreds of columns anew for each part took a quarter of the time.
    keys = known.lazy().select("customer_key")
    beside = [
        keys.join(part, on="customer_key", how="left", maintain_order="left").drop("customer_key") for part in parts
    ]
    wide = pl.concat([known.drop(PURCHASES), pl.DataFrame(sums), *pl.collect_all(beside)], how="horizontal").lazy()
    # The contract has counts of half the size: of a million customers, a gigabyte.
    return contract("customer_features").conform(wide.select(_columns(as_of))).collect()


def _numbers(days: pl.LazyFrame) -> pl.LazyFrame:
    """Give each customer day's numbers, all of them whole."""
    active = (pl.col("events") > 0) | (pl.col("orders") > 0)
    weekday = pl.col("event_day").dt.weekday()
    return days.with_columns(
        *(whole_units(pl.col(column)).alias(column) for column in MONEY),
        # Every order that was placed, also one that was given back whole and may not count as a purchase: what orders held
        # on the average is said of those whose goods are added up.
        sales=pl.col("order_values").list.len().cast(pl.Int64),
        active_days=active,
        purchase_days=pl.col("orders") > 0,
        weekend_days=active & (weekday >= 6),
        **{f"weekday_{number}": active & (weekday == number) for number in range(1, 8)},
    )


def _purchases(people: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
    """List the purchase days of all customers, with what was bought in ten-thousandths."""
    rows = people.filter(pl.col("purchase_days").list.len() > 0).select("customer_key", *PURCHASES).explode(PURCHASES)
    days = rows.group_by("customer_key", "purchase_days").agg(
        pl.col("purchase_orders").cast(pl.Int64).sum().alias("orders"),
        whole_units(pl.col("purchase_values")).sum().alias("value"),
        pl.col("purchase_seen").any().alias("seen"),
    )
    return _aged(days, as_of, "purchase_days").collect().lazy()


def _rhythm(purchases: pl.LazyFrame) -> pl.LazyFrame:
    """Measure the gaps between successive purchase days, and what the first and last of them brought."""
    gap = pl.col("gap").cast(pl.Int64)
    return (
        purchases.sort("customer_key", "age", descending=[False, True])
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
            pl.col("age").min().alias("days_since_last_order"),
            pl.col("purchase_days").min().alias("first_order_day"),
            pl.col("purchase_days").max().alias("last_order_day"),
            pl.col("value").sum().alias("value_all"),
            pl.col("value").max_by("age").alias("value_first"),
            pl.col("value").min_by("age").alias("value_last"),
            pl.col("orders").sum().alias("orders_lifetime"),
            pl.len().alias("purchase_days_lifetime"),
        )
    )


def _seen_days(people: pl.LazyFrame, purchases: pl.LazyFrame) -> pl.LazyFrame:
    """Count the days on which a customer did something or bought."""
    own = people.select("customer_key", "event_days")
    unseen = (
        purchases.filter(~pl.col("seen"))
        .select("customer_key", "purchase_days")
        .join(own, on="customer_key")
        .filter(~pl.col("event_days").list.contains(pl.col("purchase_days")))
        .group_by("customer_key")
        .agg(unseen=pl.len().cast(pl.Int64))
    )
    days = pl.col("event_days").list.n_unique().cast(pl.Int64) + pl.col("unseen").fill_null(0)
    return own.join(unseen, on="customer_key", how="left").select("customer_key", active_days_lifetime=days)


def _breadth(days: pl.LazyFrame) -> pl.LazyFrame:
    """Count the distinct products, categories and brands bought in the last 90 days."""
    recent = days.filter(pl.col("age") < 90)
    counts = [
        _listed(recent, "bought_products").agg(
            pl.len().cast(pl.Int64).alias("product_days_90d"),
            pl.col("item").n_unique().alias("products_bought_90d"),
        ),
        _listed(recent, "bought_brands").agg(pl.col("item").n_unique().alias("brands_bought_90d")),
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
    items = days.filter(pl.col(column).list.len() > 0).select("customer_key", pl.col(column).alias("item"))
    return items.explode("item").group_by("customer_key", *more)


def _order_values(days: pl.LazyFrame) -> pl.LazyFrame:
    """List the values of a year's purchases, smallest first."""
    return _listed(days, "order_values").agg(pl.col("item").sort().alias("order_values_365d"))


def _carts(days: pl.LazyFrame) -> pl.LazyFrame:
    """Find what lies in a customer's cart: put in since the last purchase and not taken out again.

    Actors stay apart here, for what one of them bought leaves what another put in later where it is.
    """
    recent = days.filter(pl.col("age") < CART_DAYS)
    bought = recent.group_by("customer_key").agg(bought_at=pl.col("last_order_at").max())
    since = pl.col("bought_at").is_null()
    return (
        recent.filter(pl.col("last_cart_at").is_not_null())
        .select("customer_key", "age", "last_cart_at", "last_add_at", "cart_units_left", "cart_value_left")
        .join(bought, on="customer_key")
        .filter(since | (pl.col("last_cart_at") > pl.col("bought_at")))
        .group_by("customer_key")
        .agg(
            pl.col("cart_units_left").sum(),
            whole_units(pl.col("cart_value_left")).sum().alias("cart_value_left"),
            pl.when(since | (pl.col("last_add_at") > pl.col("bought_at")))
            .then("last_add_at")
            .max()
            .alias("last_add_at"),
            pl.when(pl.col("last_add_at").is_not_null() & (since | (pl.col("last_add_at") > pl.col("bought_at"))))
            .then("age")
            .min()
            .alias("cart_age"),
        )
        .filter((pl.col("cart_units_left") > 0) & pl.col("cart_age").is_not_null())
        .select(
            "customer_key",
            open_cart_units="cart_units_left",
            open_cart_value=pl.col("cart_value_left").clip(lower_bound=0),
            open_cart_age_days="cart_age",
        )
    )


def _columns(as_of: date) -> list[pl.Expr]:
    """Write the contract's columns from the sums."""
    return [
        pl.col("customer_key"),
        pl.lit(as_of).alias("as_of"),
        pl.col("first_seen_day"),
        _days_until(as_of, "first_seen_day").alias("tenure_days"),
        *_touches(as_of),
        *_ages(as_of),
        *_counts(),
        *_money_columns(),
        *_rhythm_columns(),
        *_breadth_columns(),
        *_rates(),
        *_habits(),
        *_models_inputs(),
    ]


def _days_until(as_of: date, day: str) -> pl.Expr:
    return (pl.lit(as_of) - pl.col(day)).dt.total_days().cast(pl.Int32)


def _touches(as_of: date) -> list[pl.Expr]:
    named = [f"{end}_{name}" for end in ("first", "last") for group in GROUPS.values() for name in group]
    return [
        *(pl.col(name) for name in named),
        *(
            channel_group(f"{end}_campaign_source", f"{end}_campaign_medium").alias(f"{end}_channel_group")
            for end in ("first", "last")
        ),
        *(_days_until(as_of, f"{end}_campaign_day").alias(f"days_since_{end}_touch") for end in ("first", "last")),
    ]


def _ages(as_of: date) -> list[pl.Expr]:
    return [
        *(_days_until(as_of, f"last_{kind}_day").alias(f"days_since_last_{kind}") for kind in LAST_SEEN),
        pl.col("days_since_last_order"),
        pl.col("first_order_day"),
        pl.col("last_order_day"),
    ]


def _counts() -> list[pl.Expr]:
    windows = [
        pl.col(windowed(name, window)).alias(windowed(NAMES.get(name, name), window))
        for name, sizes in COUNTS.items()
        for window in sizes
    ]
    lifetime = [pl.col(name).alias(windowed(NAMES.get(name, name), None)) for name in LIFETIME_COUNTS]
    counted = [
        pl.col(name).fill_null(0) for name in ("active_days_lifetime", "orders_lifetime", "purchase_days_lifetime")
    ]
    return [*windows, *lifetime, *counted]


def _money_columns() -> list[pl.Expr]:
    goods = {window: _goods(window) for window in (90, 365)}
    lifetime = whole_units(pl.col("gross")) - whole_units(pl.col("discount"))
    sales = pl.col("order_values").list.len().cast(pl.Int64)
    return [
        *(money_of(pl.col(windowed(name, window))).alias(windowed(name, window)) for name in MONEY for window in WINDOWS),
        *(money_of(whole_units(pl.col(name))).alias(windowed(name, None)) for name in MONEY),
        *(
            ratio(value, pl.col(f"sales_{window}d") * MONEY_SCALE).alias(f"mean_order_value_{window}d")
            for window, value in goods.items()
        ),
        ratio(lifetime, sales * MONEY_SCALE).alias("mean_order_value_lifetime"),
        _median("order_values_365d").alias("median_order_value_365d"),
        _median("order_values").alias("median_order_value_lifetime"),
        money_of(whole_units(pl.col("order_values_365d").list.max())).alias("max_order_value_365d"),
        money_of(whole_units(pl.col("max_order_value"))).alias("max_order_value_lifetime"),
        money_of(pl.col("value_last")).alias("last_purchase_value"),
        ratio(pl.col("units_365d"), pl.col("sales_365d")).alias("units_per_order_365d"),
        ratio(pl.col("units"), sales).alias("units_per_order_lifetime"),
        ratio(pl.col("order_lines_365d"), pl.col("sales_365d")).alias("lines_per_order_365d"),
        *(
            ratio(whole_units(pl.col(name)), sales * MONEY_SCALE).alias(f"{name}_per_order_lifetime")
            for name in ("discount", "tax", "shipping")
        ),
        ratio(pl.col("discount_365d"), pl.col("gross_365d")).alias("discount_share_365d"),
        ratio(pl.col("refunded_365d"), goods[365]).alias("refund_share_365d"),
        ratio(whole_units(pl.col("refunded")), lifetime).alias("refund_share_lifetime"),
        ratio(pl.col("coupon_orders_365d"), pl.col("sales_365d")).alias("coupon_order_share_365d"),
        ratio(pl.col("discounted_orders_365d"), pl.col("sales_365d")).alias("discounted_order_share_365d"),
        pl.col("currencies").list.len().alias("currencies"),
        pl.col("payment_methods"),
        pl.col("payment_methods").list.len().alias("payment_methods_used"),
    ]


def _goods(window: int) -> pl.Expr:
    return pl.col(windowed("gross", window)) - pl.col(windowed("discount", window))


def _rhythm_columns() -> list[pl.Expr]:
    deviation = (pl.col("gaps") * pl.col("gap_squares") - pl.col("gap_sum") ** 2).cast(pl.Float64).sqrt()
    return [
        ratio(pl.col("gap_sum"), pl.col("gaps")).alias("mean_gap_days"),
        pl.when(pl.col("gaps") > 1).then(deviation / pl.col("gaps")).alias("std_gap_days"),
        pl.when(pl.col("gaps") > 1).then(deviation / pl.col("gap_sum")).alias("cv_gap"),
        pl.col("last_gap_days"),
        pl.col("max_gap_days"),
        ratio(pl.col("days_since_last_order") * pl.col("gaps"), pl.col("gap_sum")).alias("expected_gap_ratio"),
    ]


def _breadth_columns() -> list[pl.Expr]:
    entropy = (
        pl.col("category_days_90d").cast(pl.Float64).log(2)
        - pl.col("entropy_terms_90d") / ENTROPY_SCALE / pl.col("category_days_90d")
    ).clip(lower_bound=0)
    counted = ("products_bought_90d", "categories_bought_90d", "brands_bought_90d", "categories_viewed_90d")
    ranks = range(1, taste.TOP + 1)
    return [
        *(pl.col(name).fill_null(0) for name in counted),
        entropy.alias("category_entropy_90d"),
        (1 - ratio(pl.col("products_bought_90d"), pl.col("product_days_90d"))).alias("repeat_product_share_90d"),
        *(
            pl.col(f"top_{name}_{rank}{what}").alias(f"top_{name}_{rank}_365d{what}")
            for name in ("category", "brand")
            for rank in ranks
            for what in ("", "_share", "_recency")
        ),
        pl.col("top_viewed_category_90d"),
        pl.col("top_viewed_category_90d_share"),
        pl.col("price_band").alias("price_band_365d"),
    ]


def _rates() -> list[pl.Expr]:
    rates = {
        "adds_per_view": ("adds", "product_views"),
        "checkouts_per_add": ("checkouts", "adds"),
        "orders_per_checkout": ("orders", "checkouts"),
        "orders_per_session": ("orders", "sessions"),
        "orders_per_view": ("orders", "product_views"),
        "cart_abandonment": ("abandoned_sessions", "cart_sessions"),
    }
    return [
        *(
            ratio(pl.col(f"{part}_{window}d"), pl.col(f"{whole}_{window}d")).alias(f"{name}_{window}d")
            for name, (part, whole) in rates.items()
            for window in RATED
        ),
        *(
            ratio(
                pl.col(f"payment_failures_{window}d"),
                pl.col(f"payment_failures_{window}d") + pl.col(f"orders_{window}d"),
            ).alias(f"payment_failure_share_{window}d")
            for window in RATED
        ),
        ratio(pl.col("payment_failures"), pl.col("payment_failures") + pl.col("orders_lifetime").fill_null(0)).alias(
            "payment_failure_share_lifetime"
        ),
        ratio(pl.col("zero_result_searches_90d"), pl.col("searches_90d")).alias("zero_result_share_90d"),
        ratio(pl.col("bounced_sessions_90d"), pl.col("sessions_90d")).alias("bounce_share_90d"),
        ratio(pl.col("events_90d"), pl.col("sessions_90d")).alias("events_per_session_90d"),
        ratio(pl.col("session_seconds_90d"), pl.col("sessions_90d")).alias("mean_session_seconds_90d"),
        pl.col("open_cart_units"),
        money_of(pl.col("open_cart_value")).alias("open_cart_value"),
        pl.col("open_cart_age_days"),
        ratio(pl.col("rating_sum_365d"), pl.col("reviews_365d")).alias("mean_rating_365d"),
        ratio(pl.col("rating_sum"), pl.col("reviews")).alias("mean_rating_lifetime"),
    ]


def _habits() -> list[pl.Expr]:
    def most(names: Sequence[str]) -> pl.Expr:
        """Give the place, from 1, of the largest of some sums, the first of equal ones."""
        packed = [pl.col(name) * 10 + (len(names) - place) for place, name in enumerate(names, 1)]
        return len(names) - pl.max_horizontal(packed) % 10

    parts = [f"events_{part}_365d" for part in DAY_PARTS]
    trends = (("events", 30, 60), ("orders", 90, 180), ("gross", 90, 180))
    return [
        *(
            ratio(pl.col(f"events_{part}_365d"), pl.col("events_365d")).alias(f"{part}_share_365d")
            for part in DAY_PARTS
        ),
        pl.when(pl.col("events_365d") > 0)
        .then(most(parts).replace_strict(dict(enumerate(DAY_PARTS, 1)), return_dtype=pl.String))
        .alias("preferred_day_part_365d"),
        ratio(pl.col("weekend_days_365d"), pl.col("active_days_365d")).alias("weekend_share_365d"),
        pl.when(pl.col("active_days_365d") > 0)
        .then(most([f"weekday_{number}_365d" for number in range(1, 8)]))
        .alias("preferred_weekday_365d"),
        *(
            ratio(pl.col(f"events_{channel}_365d"), pl.col("events_365d")).alias(f"{channel}_share_365d")
            for channel in CHANNELS
        ),
        *(
            ratio(2 * pl.col(windowed(name, near)) - pl.col(windowed(name, far)), pl.col(windowed(name, far))).alias(
                f"{name}_trend_{near}d"
            )
            for name, near, far in trends
        ),
    ]


def _models_inputs() -> list[pl.Expr]:
    return [
        pl.col("gaps").alias("x_repeat_purchases"),
        pl.col("gap_sum").alias("t_x_days"),
        pl.col("age_days"),
        ratio(pl.col("value_all"), (pl.col("gaps") + 1) * MONEY_SCALE).alias("mean_purchase_value"),
        ratio(pl.col("value_all") - pl.col("value_first"), pl.col("gaps") * MONEY_SCALE).alias(
            "mean_repeat_purchase_value"
        ),
    ]


def _median(values: str) -> pl.Expr:
    """Give the median of a sorted list of money."""
    ordered, last = pl.col(values), pl.col(values).list.len().cast(pl.Int64) - 1
    middle = [
        ordered.list.get(place, null_on_oob=True).cast(pl.Decimal(38, 5)) for place in (last // 2, (last + 1) // 2)
    ]
    return pl.when(last >= 0).then(float_of((middle[0] + middle[1]) / 2))
