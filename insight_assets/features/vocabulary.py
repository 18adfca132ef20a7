"""Words that several features share: kinds of event, channels and parts of the day.

Kinds and channels come from the contract of events, so that a kind added there is known here;
which events speak of customers at all is said here too. Nothing is counted here.
"""

import functools

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.traffic import PERSON

CHANNELS = ("web", "app", "mini_program", "store", "phone", "email", "other")
DAY_PARTS = ("night", "morning", "afternoon", "evening")
"""Quarters of the shop's day, from midnight, six hours each."""

SHOP_EVENTS = (
    "order_shipped",
    "order_delivered",
    "order_refunded",
    "order_cancelled",
    "support_ticket_closed",
)
"""Events that the shop causes. They make no visit and no activity of the customer."""


@functools.cache
def event_kinds() -> tuple[str, ...]:
    """Give the kinds of event in the contract's order; a kind's code is its place here, from 0."""
    allowed = contract("events").column("event").allowed or ()
    return tuple(str(kind) for kind in allowed)


def by_persons(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Leave out what robots and the shop itself did and bought.

    Args:
        rows: rows of the contract `events`, `orders` or `order_lines`.

    Returns:
        The rows whose `traffic` is `person`; every feature that reads events or orders begins with this.
    """
    return rows.filter(pl.col("traffic") == PERSON)
