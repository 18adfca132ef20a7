"""What is worth keeping of an actor's whole past: lifetime sums, last days, purchases, and where it began.

A state as of a day is the state of any earlier day, or none, and the daily sums since: whatever the cut, the rows come
out the same, so that a new day costs as much after ten years as after one. Actors are kept as they were delivered;
people are put together by whoever reads the state as of a day. Windows belong to `customer_features`.
"""

from collections.abc import Mapping
from datetime import date

import polars as pl

from insight_assets.features.customer_days import NAMED
from insight_assets.features.money import MONEY, void_sales

SUMMED = (
    "events",
    "page_views",
    "product_views",
    "searches",
    "adds",
    "checkouts",
    "refunds",
    "order_lines",
    "units",
    "reviews",
    "rating_sum",
    "tickets",
    "payment_failures",
    "sessions",
    "cart_sessions",
    "abandoned_sessions",
    "coupon_orders",
    "discounted_orders",
    *MONEY,
)
"""Daily sums that are added up over the whole past."""

LAST_SEEN = {
    "event": "events",
    "session": "sessions",
    "page_view": "page_views",
    "list_view": "list_views",
    "click": "product_clicks",
    "view": "product_views",
    "search": "searches",
    "add": "adds",
    "remove": "removes",
    "cart_view": "cart_views",
    "checkout": "checkouts",
    "payment_entry": "payments_entered",
    "payment_failure": "payment_failures",
    "coupon": "coupons_applied",
    "promotion_click": "promotions_clicked",
    "wishlist": "wishlists",
    "share": "shares",
    "refund": "refunds",
    "review": "reviews",
    "ticket": "tickets",
    "signup": "signups",
}
"""Kind of last event to the daily count that tells of it; the last purchase is among the purchases."""

PURCHASES = ("purchase_days", "purchase_orders", "purchase_values", "purchase_seen")
"""Lists beside each other, one item a day with a purchase, oldest first."""

SETS = ("currencies", "payment_methods")
ENDS = {
    "first": (pl.Expr.min_by, "first_event_at", pl.Expr.first),
    "last": (pl.Expr.max_by, "last_event_at", pl.Expr.last),
}
GROUPS = dict(zip(("campaign", "device", "country"), NAMED, strict=True))
"""What the first and the last day name that names any, as the columns of a day have it."""


def build_customer_state(
    customer_days: pl.LazyFrame, *, as_of: date, before: pl.LazyFrame | None = None, since: date | None = None
) -> pl.LazyFrame:
    """Roll the past of every actor up.

    Args:
        customer_days: rows of the contract `customer_days`; days after `as_of`, and up to `since`, are ignored.
        as_of: as-of day.
        before: rows of the contract `customer_state` as of the day `since`; None to begin with nothing.
        since: day of `before`; None with it.

    Returns:
        One row an actor seen on or before the day, with the columns of the contract `customer_state`, by actor.
    """
    fresh = customer_days.filter(pl.col("event_day") <= as_of)
    if before is None or since is None:
        rows = state_of_days(fresh, "actor_key")
    else:
        new = state_of_days(fresh.filter(pl.col("event_day") > since), "actor_key").collect().lazy()
        held = before.select(new.collect_schema().names())
        seen_again = held.join(new.select("actor_key"), on="actor_key", how="semi")
        untouched = held.join(new.select("actor_key"), on="actor_key", how="anti")
        rows = pl.concat([untouched, merge_states(pl.concat([seen_again, new]), "actor_key")])
    return rows.with_columns(as_of=pl.lit(as_of)).sort("actor_key")


def sound_days(states: Mapping[date, float], days: Mapping[date, float]) -> list[date]:
    """List the as-of days whose state still tells of the customer days as they are.

    Args:
        states: as-of day to the Unix time at which the making of its state began to read.
        days: event day to the Unix time since which its customer days hold their content.
    """
    newest = sorted(days.items())
    sound, since, place = [], 0.0, 0
    for as_of, read_at in sorted(states.items()):
        while place < len(newest) and newest[place][0] <= as_of:
            since = max(since, newest[place][1])
            place += 1
        if since <= read_at:
            sound.append(as_of)
    return sound


def state_of_days(customer_days: pl.LazyFrame, key: str) -> pl.LazyFrame:
    """Roll days up.

    Args:
        customer_days: rows of the contract `customer_days`, at most one a key and day.
        key: `actor_key`, or `customer_key` of people whose rows were put together by `merge_actors`.

    Returns:
        One row a key: the columns of the contract `customer_state` but `as_of`.
    """
    day = pl.col("event_day")
    other = "customer_key" if key == "actor_key" else "actor_key"
    orders = pl.col("orders") > 0
    own = pl.col("events") > 0
    # A day whose first visit names nothing names nothing at its end either, so that one test serves both ends.
    named = {name: pl.col(f"first_{group[0]}").is_not_null() for name, group in GROUPS.items()}
    sums = customer_days.group_by(key).agg(
        pl.col(other).max(),
        day.min().alias("first_seen_day"),
        *(pl.col(name).cast(pl.Decimal(38, 4) if name in MONEY else pl.Int64).sum() for name in SUMMED),
        pl.col("max_order_value").max(),
        *(pl.when(pl.col(count) > 0).then(day).max().alias(f"last_{kind}_day") for kind, count in LAST_SEEN.items()),
        day.filter(own).sort().alias("event_days"),
    )
    parts = [
        customer_days.filter(orders)
        .group_by(key)
        .agg(
            day.sort().alias("purchase_days"),
            pl.col("orders").cast(pl.Int32).sort_by("event_day").alias("purchase_orders"),
            (pl.col("gross") - pl.col("discount"))
            .cast(pl.Decimal(18, 4))
            .sort_by("event_day")
            .alias("purchase_values"),
            own.sort_by("event_day").alias("purchase_seen"),
        ),
        customer_days.filter(pl.col("order_values").list.len() > 0)
        .group_by(key)
        .agg(pl.col("order_values").explode().sort()),
        *(
            customer_days.filter(pl.col(name).list.len() > 0).group_by(key).agg(pl.col(name).explode().unique().sort())
            for name in SETS
        ),
        *(
            customer_days.filter(named[name])
            .group_by(key)
            .agg(
                *(extreme(pl.col(f"{end}_{each}"), day) for each in group),
                extreme(pl.col(at), day).alias(f"{end}_{name}_at"),
                *((extreme(day, day).alias(f"{end}_{name}_day"),) if name == "campaign" else ()),
            )
            for end, (extreme, at, _) in ENDS.items()
            for name, group in GROUPS.items()
        ),
    ]
    joined = sums
    for part in parts:
        joined = joined.join(part, on=key, how="left")
    return joined.with_columns(
        *(pl.col(name).cast(pl.Decimal(18, 4)) for name in MONEY),
        *(pl.col(name).fill_null([]) for name in (*PURCHASES, *SETS, "order_values")),
    )


def merge_states(states: pl.LazyFrame, key: str) -> pl.LazyFrame:
    """Put states together: of one actor at different times, or of several actors of one person.

    Args:
        states: rows of the contract `customer_state` (`as_of` may be absent) of days that do not overlap for an actor.
        key: `actor_key` or `customer_key`. Purchases of several actors stay side by side, by day: a day may come twice.

    Returns:
        One row a key.
    """
    schema = states.collect_schema()
    beside = {"event_days": "event_days", **dict.fromkeys(PURCHASES, "purchase_days")}
    merged = []
    for name, kind in schema.items():
        value = pl.col(name)
        end, _, named = name.partition("_")
        group = next((group for group in GROUPS.items() if named in group[1] or named == f"{group[0]}_at"), None)
        if name == key or name == "as_of":
            continue
        if end in ENDS and group is not None:
            at = f"{end}_{group[0]}_at"
            kept = pl.col(at).is_not_null()
            order = [pl.col(each).filter(kept) for each in (at, *(f"{end}_{each}" for each in group[1]))]
            value = ENDS[end][2](value.filter(kept).sort_by(order))
        elif name in SETS:
            value = value.explode().drop_nulls().unique().sort()
        elif name == "order_values":
            value = value.explode().drop_nulls().sort()
        elif isinstance(kind, pl.List):
            value = value.explode().drop_nulls().sort_by(pl.col(beside[name]).explode().drop_nulls())
        elif name in SUMMED:
            value = value.cast(pl.Decimal(38, 4) if name in MONEY else pl.Int64).sum()
        elif name in {"first_seen_day", "first_campaign_day"}:
            value = value.min()
        else:
            value = value.max()
        merged.append((value if isinstance(kind, pl.List) else value.cast(kind)).alias(name))
    return states.group_by(key).agg(merged).select(name for name in schema.names() if name != "as_of")


def as_one_person(states: pl.LazyFrame) -> pl.LazyFrame:
    """Put the states of a person's actors together.

    Args:
        states: rows of the contract `customer_state`, `customer_key` being the person (see `purposes.as_people`).

    Returns:
        One row a person; a day with purchases of several actors comes once for each of them.
    """
    names = [name for name in states.collect_schema().names() if name not in {"as_of", "account_key"}]
    states = states.select(names)
    several = states.filter(pl.col("actor_key") != pl.col("customer_key")).select("customer_key").unique().collect()
    if several.is_empty():
        return states
    one = states.join(several.lazy(), on="customer_key", how="anti", maintain_order="none")
    more = states.join(several.lazy(), on="customer_key", how="semi", maintain_order="none")
    return pl.concat([one, merge_states(more, "customer_key").select(names)])


def without_void_purchases(states: pl.LazyFrame, orders: pl.LazyFrame, *, as_of: date) -> pl.LazyFrame:
    """Take orders that were given back whole by a day out of the purchases.

    `money.without_void_orders` does the same to days.

    Args:
        states: rows of the contract `customer_state` as of that day, whoever is behind its actors.
        orders: rows of the contract `orders`; days after `as_of` are ignored.
        as_of: the as-of day.
    """
    void = void_sales(orders, as_of=as_of).rename({"event_day": "purchase_days"}).collect().lazy()
    touched = void.select("actor_key").unique()
    counted = pl.col("purchase_orders").cast(pl.Int64) - pl.col("void").fill_null(0)
    lists = (
        states.join(touched, on="actor_key", how="semi")
        .select("actor_key", *PURCHASES)
        .filter(pl.col("purchase_days").list.len() > 0)
        .explode(*PURCHASES)
        .join(void, on=["actor_key", "purchase_days"], how="left")
        .with_columns(purchase_orders=counted.cast(pl.Int32))
        .filter(pl.col("purchase_orders") > 0)
        .group_by("actor_key")
        .agg(pl.col(name).sort_by("purchase_days") for name in PURCHASES)
    )
    rest = states.join(touched, on="actor_key", how="anti")
    less = states.join(touched, on="actor_key", how="semi").drop(PURCHASES).join(lists, on="actor_key", how="left")
    filled = less.with_columns(pl.col(name).fill_null([]) for name in PURCHASES)
    return pl.concat([rest, filled.select(states.collect_schema().names())])
