"""Visits: events of one actor without a long pause.

Cuts events into visits and sums each one up per day. Identity (which visitor is which customer) is
decided before, in validation; what visits say about a customer is added up in `customer_days`.
"""

from datetime import date, timedelta

import polars as pl

from insight_assets.features.ordering import time_order
from insight_assets.features.vocabulary import SHOP_EVENTS

GAP = timedelta(minutes=30)
"""Longest pause within a visit."""

COUNTED = {
    "views": "product_viewed",
    "searches": "products_searched",
    "adds": "product_added",
    "removes": "product_removed",
    "checkouts": "checkout_started",
    "orders": "order_completed",
}
"""Column to the kind of event that it counts."""

READ = (
    "actor_key",
    "customer_key",
    "event_time",
    "event_id",
    "source",
    "event",
    "channel",
    "device",
    "campaign_source",
)
"""Columns of an event that a visit is made of."""


def build_sessions(events: pl.LazyFrame, *, day: date, gap: timedelta = GAP) -> pl.LazyFrame:
    """Cut the events of one day into visits, those that run on from the day before included.

    A visit that runs over midnight keeps its identity and its start. That start is looked up in the
    events of the day before and nowhere else, so that the rows of a day never depend on the order
    in which days are built; a visit without a pause for a whole day (a robot) therefore starts, at
    the earliest, with the day before.

    Args:
        events: rows of the contract `events` that hold `day` and the day before; other days are
            ignored, order does not matter. Events without an actor and events that the shop causes
            make no visit.
        day: event day D.
        gap: longest pause within a visit.

    Returns:
        One row a visit with an event on `day`, with the columns of the contract `sessions`, sorted
        by `session_id`.
    """
    acted = events.filter(pl.col("actor_key").is_not_null() & ~pl.col("event").is_in(SHOP_EVENTS))
    today = _cut(acted.filter(pl.col("event_day") == day).select(READ).collect(), gap)
    kind = pl.col("event")
    fragments = (
        today.lazy()
        .group_by("visit", maintain_order=True)
        .agg(
            pl.col("actor_key").first(),
            pl.col("customer_key").drop_nulls().last(),
            pl.col("event_time").first().alias("first_event_at"),
            pl.col("event_time").last().alias("last_event_at"),
            pl.len().alias("events"),
            *((kind == event).sum().alias(name) for name, event in COUNTED.items()),
            pl.col("channel").first(),
            *(pl.col(name).drop_nulls().first() for name in ("device", "campaign_source")),
        )
    )
    running = _running(acted.filter(pl.col("event_day") == day - timedelta(days=1)), today, gap)
    runs_on = (pl.col("first_event_at") - pl.col("ran_until") <= gap).fill_null(value=False)
    return (
        fragments.join(running, on="actor_key", how="left")
        .with_columns(continued=runs_on)
        .with_columns(
            started_at=pl.when("continued").then("ran_since").otherwise("first_event_at"),
            duration_seconds=(
                pl.col("last_event_at") - pl.col("first_event_at")
            ).dt.total_seconds(),
            bounced=(pl.col("events") == 1) & (pl.col("orders") == 0) & ~pl.col("continued"),
        )
        .select(
            pl.format("{}-{}", "actor_key", pl.col("started_at").dt.epoch("us")).alias(
                "session_id"
            ),
            pl.lit(day).alias("event_day"),
            pl.exclude("visit", "ran_since", "ran_until"),
        )
        .sort("session_id")
    )


def _cut(events: pl.DataFrame, gap: timedelta) -> pl.DataFrame:
    """Order events by actor and time and number their visits."""
    ordered = events.drop("event_id", "source")[time_order(events, "actor_key")]
    return ordered.with_columns(visit=_begins(gap).cum_sum())


def _begins(gap: timedelta) -> pl.Expr:
    """Tell, of events ordered by actor and time, which begin a visit."""
    other = pl.col("actor_key") != pl.col("actor_key").shift(1)
    paused = pl.col("event_time").diff() > gap
    return (other | paused).fill_null(value=True)


def _running(yesterday: pl.LazyFrame, today: pl.DataFrame, gap: timedelta) -> pl.LazyFrame:
    """Find yesterday's last visit of all actors who came early enough today to be still in it.

    Nobody was seen yesterday after the first event of today, so that whoever comes later than a
    pause after it cannot be.
    """
    early = today.lazy().filter(pl.col("event_time") <= pl.col("event_time").min() + gap)
    return (
        yesterday.join(early.select("actor_key").unique(), on="actor_key", how="semi")
        .select("actor_key", "event_time")
        .sort("actor_key", "event_time")
        .with_columns(begins=_begins(gap))
        .group_by("actor_key")
        .agg(
            pl.when("begins").then("event_time").max().alias("ran_since"),
            pl.col("event_time").max().alias("ran_until"),
        )
    )
