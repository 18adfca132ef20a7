"""Visits: events of one actor without a long pause.

Cuts events into visits and sums each one up per day. Identity (which visitor is which customer) is
decided before, in validation; what visits say about a customer is added up in `customer_days`.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import polars as pl

from insight_assets.features.ordering import time_order
from insight_assets.features.vocabulary import SHOP_EVENTS, by_persons

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
    "event_day",
    "event_time",
    "event_id",
    "source",
    "event",
    "channel",
    "device",
    "country",
    "campaign_source",
    "campaign_medium",
    "campaign_name",
)
"""Columns of an event that a visit is made of."""

CAMPAIGN = ("campaign_source", "campaign_medium", "campaign_name")


def build_sessions(
    events: pl.LazyFrame, *, first: date, last: date, gap: timedelta = GAP
) -> pl.LazyFrame:
    """Cut the events of days into visits, those that run on from the day before included.

    A visit that runs over midnight keeps its identity and its start. That start is looked up in the
    events of the day before and nowhere else, so that the rows of a day never depend on the order
    in which days are built, nor on how many are built at a time; a visit without a pause for a
    whole day (a robot) therefore starts, at the earliest, with the day before.

    Args:
        events: rows of the contract `events` that hold these days and the one before; other days
            are ignored, order does not matter. Events without an actor and events that the shop
            causes make no visit.
        first: first event day.
        last: last event day.
        gap: longest pause within a visit.

    Returns:
        One row a visit and day, with the columns of the contract `sessions`, sorted by `event_day`
        and `session_id`.
    """
    parts = _parts(_acted(events, first, last, gap), gap)
    until = parts.group_by("actor_key", pl.col("event_day") + pl.duration(days=1)).agg(
        pl.col("first_event_at").max().alias("ran_since"),
        pl.col("last_event_at").max().alias("ran_until"),
    )
    runs_on = (pl.col("first_event_at") - pl.col("ran_until") <= gap).fill_null(value=False)
    duration = pl.col("last_event_at") - pl.col("first_event_at")
    return (
        parts.filter(pl.col("event_day") >= first)
        .join(until, on=["actor_key", "event_day"], how="left")
        .with_columns(continued=runs_on)
        .with_columns(
            started_at=pl.when("continued").then("ran_since").otherwise("first_event_at"),
            duration_seconds=duration.dt.total_seconds(),
            bounced=(pl.col("events") == 1) & (pl.col("orders") == 0) & ~pl.col("continued"),
        )
        .with_columns(
            session_id=pl.format("{}-{}", "actor_key", pl.col("started_at").dt.epoch("us"))
        )
        .drop("visit", "ran_since", "ran_until")
        .sort("event_day", "session_id")
    )


def cut_into_visits(events: pl.LazyFrame, columns: Sequence[str], *, gap: timedelta = GAP) -> pl.DataFrame:
    """Put events in order and say which visit each belongs to, whether midnight or a sign-in fell into it or not.

    Unlike the rows of `sessions`, which are of one actor and day, a visit goes on when the browser's user signs in: it
    is told by the browser (`visitor_key`), and by the actor where no browser is named.

    Args:
        events: rows of the contract `events`. Events without an actor and events that the shop causes are left out; a
            browser's first visit may have begun before the first day of the rows.
        columns: columns to keep beside `actor_key`, `event_day`, `event_time` and `event`.
        gap: longest pause within a visit.

    Returns:
        The events by browser and time, with `visit` (number of the visit, from 1) and `place` (of the event in its
        visit, from 1).
    """
    needed = ("actor_key", "event_day", "event_time", "event_id", "source", "event")
    kept = (*needed, *(name for name in columns if name not in needed))
    browser = pl.coalesce("visitor_key", "actor_key").alias("browser_key")
    acted = _by_actors(events).select(*kept, browser).collect()
    numbered = _numbered(acted[time_order(acted, "browser_key")], "browser_key", gap)
    return numbered.drop("browser_key", *(name for name in ("event_id", "source") if name not in columns)).with_columns(
        place=pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("visit")
    )


def split_share(sessions: pl.DataFrame) -> float:
    """Give the share of a day's visits that midnight cut: they began on the day before.

    Args:
        sessions: rows of the contract `sessions` of one day.
    """
    return sessions["continued"].mean() or 0.0


def _acted(events: pl.LazyFrame, first: date, last: date, gap: timedelta) -> pl.DataFrame:
    """Read what actors did on the days, and the day before if they may still have been in a visit.

    Nobody was seen the day before after the first event of the first day, so that whoever comes
    later than a pause after it begins a new visit.
    """
    acted = _by_actors(events).select(READ)
    rows = acted.filter(pl.col("event_day").is_between(first, last)).collect()
    opening = rows.lazy().filter(pl.col("event_day") == first)
    early = opening.filter(pl.col("event_time") <= pl.col("event_time").min() + gap)
    before = acted.filter(pl.col("event_day") == first - timedelta(days=1)).join(
        early.select("actor_key").unique(), on="actor_key", how="semi"
    )
    return pl.concat([rows, before.collect()])


def _by_actors(events: pl.LazyFrame) -> pl.LazyFrame:
    """Leave out what robots and the shop did, and what nobody is known to have done."""
    return by_persons(events).filter(pl.col("actor_key").is_not_null() & ~pl.col("event").is_in(SHOP_EVENTS))


def _numbered(ordered: pl.DataFrame, key: str, gap: timedelta) -> pl.DataFrame:
    """Number the visits: a new one begins with another key or after a pause."""
    other = pl.col(key) != pl.col(key).shift(1)
    paused = pl.col("event_time").diff() > gap
    return ordered.with_columns(visit=(other | paused).fill_null(value=True).cum_sum())


def _parts(acted: pl.DataFrame, gap: timedelta) -> pl.LazyFrame:
    """Cut each actor's day into visits and sum each one up."""
    day = pl.col("event_day").to_physical().cast(pl.Int64)
    actor = pl.col("actor_key").rank("dense").cast(pl.Int64)
    keyed = acted.with_columns(actor_day=actor * (day.max() - day.min() + 1) + day - day.min())
    ordered = keyed.drop("event_id", "source")[time_order(keyed, "actor_day")]
    kind = pl.col("event")
    # Source, medium and name are those of one event, the first that names a source.
    campaigns = (
        pl.when(pl.col("campaign_source").is_not_null()).then(pl.col(name).fill_null("")).drop_nulls().first().alias(name)
        for name in CAMPAIGN
    )
    return (
        _numbered(ordered, "actor_day", gap)
        .lazy()
        .group_by("visit", maintain_order=True)
        .agg(
            pl.col("actor_key", "event_day").first(),
            pl.col("customer_key").drop_nulls().last(),
            pl.col("event_time").first().alias("first_event_at"),
            pl.col("event_time").last().alias("last_event_at"),
            pl.len().alias("events"),
            *((kind == event).sum().alias(name) for name, event in COUNTED.items()),
            pl.col("channel").first(),
            *(pl.col(name).drop_nulls().first() for name in ("device", "country")),
            *campaigns,
        )
        .with_columns(pl.when(pl.col(name) != "").then(name).alias(name) for name in CAMPAIGN)
    )
