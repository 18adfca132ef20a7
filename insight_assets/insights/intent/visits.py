"""Visits as they looked after their first events, with what was known of the actor, and whether an order followed.

A row knows the first k events of a visit and the actor's earlier visits, and nothing later. Only visits that went on
after the k-th event have a row: of a visit that ended there is nothing left to foretell. A visit that holds an order
among its first events has none either. What is learnt of the rows is in `visit_models`.
"""

from datetime import date, timedelta

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.features.examples import MAX_CUSTOMERS, customer_roles
from insight_assets.features.money import money_of_event
from insight_assets.features.sessions import GAP, cut_into_visits

SEEN = (1, 3, 5, 10)
"""Numbers of events after which a visit is judged."""

ORDER = "order_completed"
LEARNT_DAYS = 28
"""Days before the as-of day whose visits are learnt from and graded on."""

GRADED_DAYS = 7
"""The newest of them: they grade what was learnt from the others."""

BEFORE_DAYS = 30
"""Days before a visit in which the actor's earlier visits count."""

DAYS_READ = LEARNT_DAYS + BEFORE_DAYS + 1
"""Days of events that are read, the as-of day not counted; the first only tells which visits ran on from it."""

COUNTED = {
    "views": "product_viewed",
    "clicks": "product_clicked",
    "lists": "product_list_viewed",
    "pages": "page_viewed",
    "searches": "products_searched",
    "adds": "product_added",
    "removes": "product_removed",
    "wishes": "product_added_to_wishlist",
    "carts": "cart_viewed",
    "checkouts": "checkout_started",
    "payments": "payment_info_entered",
    "failures": "payment_failed",
    "coupons": "coupon_applied",
}
"""Column to the kind of event that it counts among the first events."""

READ = (
    "customer_key", "channel", "device", "country", "campaign_source", "product_id", "category", "price", "value",
    "quantity", "currency", "exchange_rate", "results",
)  # fmt: skip

NOT_FEATURES = frozenset(
    {
        "as_of", "session_id", "session_day", "started_at", "ended_day", "actor_key", "customer_key", "role",
        "bought_later",
    }
)  # fmt: skip
"""Columns of the examples that no model may see as a feature."""


def build_visit_examples(
    events: pl.LazyFrame, *, as_of: date, timezone: str, max_actors: int = MAX_CUSTOMERS
) -> pl.DataFrame:
    """Tell visits as they looked after their first events.

    Args:
        events: Rows of the contract `events`, actors as delivered; days after `as_of` and more than `DAYS_READ` days
            before it are ignored, order does not matter.
        as_of: As-of day.
        timezone: The shop's time zone.
        max_actors: Most actors that are learnt from; above it a fixed part of them, drawn from the keys.

    Returns:
        Rows of the contract `session_intent_examples`, sorted by its key: the visits of the `LEARNT_DAYS` days before
        the as-of day with what became of them, and those of the as-of day, of which that is not told.
    """
    of = contract("session_intent_examples")
    first = as_of - timedelta(days=DAYS_READ)
    kept = events.filter(pl.col("event_day").is_between(first, as_of))
    acts = cut_into_visits(kept, READ).with_columns(
        money=money_of_event().round(4), shown=pl.when(pl.col("price").is_not_null()).then(money_of_event()).round(4)
    )
    if acts.is_empty():
        return of.empty()
    visits = _with_past(_summed_up(acts))
    wanted = visits.filter(pl.col("session_day") >= as_of - timedelta(days=LEARNT_DAYS))
    roles = customer_roles(wanted["actor_key"].unique().to_numpy(), max_customers=max_actors).with_columns(
        role=pl.when(pl.col("role") == "calibrate").then(pl.lit("calibrate")).otherwise(pl.lit("fit"))
    )
    of_wanted = acts.join(wanted.select("visit"), on="visit", how="semi", maintain_order="left")
    parts = [
        _after(of_wanted, wanted.filter(pl.col("events") > seen), seen=seen, timezone=timezone) for seen in SEEN
    ]
    known = pl.col("session_day") < as_of
    rows = (
        pl.concat(parts)
        .join(roles.rename({"customer_key": "actor_key"}), on="actor_key", how="left")
        .with_columns(
            as_of=pl.lit(as_of),
            bought_later=pl.when(known).then("bought_later"),
            role=pl.when(known).then("role"),
        )
    )
    return of.conform(rows.lazy()).collect().sort(of.primary_key)


def visit_feature_names(examples: pl.DataFrame) -> list[str]:
    """Name the columns that models may see, in alphabetical order."""
    return sorted(set(examples.columns) - NOT_FEATURES)


def _summed_up(acts: pl.DataFrame) -> pl.DataFrame:
    """Each visit as a whole, as later visits know it; by actor and time."""
    kind = pl.col("event")
    return acts.group_by("visit", maintain_order=True).agg(
        pl.col("actor_key").first(),
        pl.col("event_day").first().alias("session_day"),
        pl.col("event_day").last().alias("ended_day"),
        pl.col("event_time").first().alias("started_at"),
        pl.col("event_time").last().alias("ended_at"),
        pl.len().alias("events"),
        (kind == ORDER).sum().alias("orders"),
        (kind == "product_added").sum().alias("visit_adds"),
        pl.col("place").filter(kind == ORDER).min().alias("first_order_place"),
        pl.col("place").filter(kind == ORDER).max().alias("last_order_place"),
    )


def _with_past(visits: pl.DataFrame) -> pl.DataFrame:
    """Add what was known of each visit's actor before it began, from visits of the `BEFORE_DAYS` days before.

    A visit on another device may still run when this one begins. Only those count that had been over for longer than a
    pause by then: nothing that anybody did later can change them.
    """
    added = {
        "visits": pl.col("visit").is_not_null(), "orders": pl.col("orders"), "adds": pl.col("visit_adds"),
        "events": pl.col("events"),
    }  # fmt: skip
    over = (
        visits.sort("actor_key", "ended_at", "visit")
        .select(
            "actor_key",
            *(value.cast(pl.Int64).cum_sum().over("actor_key").alias(f"{name}_upto") for name, value in added.items()),
            last_order_at=pl.when(pl.col("orders") > 0).then("ended_at").forward_fill().over("actor_key"),
            last_visit_at="ended_at",
            cart_left=(pl.col("visit_adds") > 0) & (pl.col("orders") == 0),
            over_at=pl.col("ended_at") + GAP,
        )
        .sort("over_at", maintain_order=True)
    )
    older = over.select("actor_key", "over_at", *(pl.col(f"{name}_upto").alias(f"{name}_older") for name in added))
    start = visits.with_columns(since=pl.col("started_at") - timedelta(days=BEFORE_DAYS))
    how = {"right_on": "over_at", "by": "actor_key", "allow_exact_matches": False, "check_sortedness": False}
    told = (
        start.sort("started_at").join_asof(over, left_on="started_at", **how)
        .sort("since").join_asof(older, left_on="since", **how)
        .with_columns(
            (pl.col(f"{name}_upto").fill_null(0) - pl.col(f"{name}_older").fill_null(0)).alias(f"{name}_before")
            for name in added
        )
    )  # fmt: skip
    recent = pl.col("visits_before") > 0

    def days_since(at: str) -> pl.Expr:
        return ((pl.col("started_at") - pl.col(at)).dt.total_seconds() / 86_400).round(3)

    return told.with_columns(
        days_since_visit=pl.when(recent).then(days_since("last_visit_at")),
        days_since_order=pl.when(pl.col("orders_before") > 0).then(days_since("last_order_at")),
        left_a_cart=(recent & pl.col("cart_left")).fill_null(value=False),
    ).sort("visit")


def _after(acts: pl.DataFrame, visits: pl.DataFrame, *, seen: int, timezone: str) -> pl.DataFrame:
    """Tell visits of more than `seen` events as they looked after so many."""
    open_ones = visits.filter((pl.col("first_order_place") > seen) | pl.col("first_order_place").is_null())
    kind, at = pl.col("event"), pl.col("event_time")
    local = at.first().dt.convert_time_zone(timezone)
    cart = (
        pl.when(kind == "product_added").then(1).when(kind == "product_removed").then(-1)
        * pl.col("shown").fill_null(0.0) * pl.col("quantity").fill_null(1)
    )  # fmt: skip
    so_far = (
        acts.filter(pl.col("place") <= seen)
        .join(open_ones.select("visit"), on="visit", how="semi", maintain_order="left")
        .group_by("visit", maintain_order=True)
        .agg(
            pl.col("customer_key").drop_nulls().last(),
            *((kind == event).sum().cast(pl.Int32).alias(name) for name, event in COUNTED.items()),
            pl.col("product_id").drop_nulls().n_unique().cast(pl.Int32).alias("products"),
            pl.col("category").drop_nulls().n_unique().cast(pl.Int32).alias("categories"),
            pl.col("shown").mean().round(4).alias("mean_price"),
            pl.col("shown").max().alias("max_price"),
            cart.sum().round(4).alias("cart_value"),
            (pl.col("results") == 0).sum().cast(pl.Int32).alias("empty_searches"),
            (at.last() - at.first()).dt.total_seconds().alias("seconds"),
            at.diff().dt.total_seconds().last().alias("last_pause_seconds"),
            kind.first().alias("first_event"),
            kind.last().alias("last_event"),
            *(pl.col(name).drop_nulls().first() for name in ("channel", "device", "country", "campaign_source")),
            local.dt.hour().alias("hour"),
            local.dt.weekday().alias("weekday"),
        )
    )
    furthest = (
        pl.when(pl.col("payments") + pl.col("failures") > 0).then(pl.lit("payment"))
        .when(pl.col("checkouts") > 0).then(pl.lit("checkout"))
        .when(pl.col("adds") > 0).then(pl.lit("cart"))
        .when(pl.col("views") > 0).then(pl.lit("product"))
        .otherwise(pl.lit("browsing"))
    )  # fmt: skip
    past = (
        "visits_before", "orders_before", "adds_before", "events_before", "days_since_visit", "days_since_order",
        "left_a_cart",
    )  # fmt: skip
    told = open_ones.select(
        "visit", "actor_key", "session_day", "ended_day", "started_at", *past,
        bought_later=pl.col("last_order_place").fill_null(0) > seen,
        session_id=pl.format("{}-{}", "actor_key", pl.col("started_at").dt.epoch("us")),
    )  # fmt: skip
    return (
        told.join(so_far, on="visit", maintain_order="left")
        .with_columns(
            furthest_step=furthest, signed_in=pl.col("customer_key").is_not_null(),
            events_seen=pl.lit(seen, dtype=pl.Int32),
        )
        .drop("visit")
    )  # fmt: skip
