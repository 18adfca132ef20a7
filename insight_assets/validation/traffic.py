"""Telling what robots and the shop itself did from what persons did, by the rules of the contract `traffic`.

Flags events and orders and drops none: whoever reads them decides.
"""

from collections.abc import Sequence

import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.contracts.traffic import ACTOR_DAY_COLUMNS, EVENT_COLUMNS, PERSON, TrafficRule
from insight_assets.validation.ledger import DERIVED

_DONE_TO_ORDERS = ("order_shipped", "order_delivered", "order_refunded", "order_cancelled")
_ORDER = ("event_day", "source", "order_id")

JUDGED_ONLY = ("user_agent", "ip")
"""Columns that rules look at and no table holds."""


def judge_events(events: pl.DataFrame, rules: Sequence[TrafficRule]) -> pl.Series:
    """Give the traffic of events by what each says of itself.

    Args:
        events: rows with any columns of `EVENT_COLUMNS`; those that are missing count as unknown.
        rules: rules over one event.

    Returns:
        `bot`, `internal` or `person`, one a row.
    """
    unknown = [(name, dtype) for name, dtype in EVENT_COLUMNS.items() if name not in events.columns]
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in unknown]
    return events.with_columns(missing).select(traffic=_verdict(rules)).to_series()


def judge_actor_days(events: pl.DataFrame, rules: Sequence[TrafficRule]) -> pl.DataFrame:
    """Flag the events of actors who did on a day what no person does.

    Args:
        events: rows of the contract `events` with `traffic`, of whole days.
        rules: rules over what one actor did on one day.

    Returns:
        The same rows in the same order; `traffic` is changed only where it was `person`.
    """
    key = ["event_day", "actor_key"]
    acted = events.filter(pl.col("actor_key").is_not_null()).select(
        *key, "event", "event_time", "product_id", "customer_key"
    )
    kind = pl.col("event")
    days = (
        acted.sort(*key, "event_time")
        .with_columns(pause=pl.col("event_time").diff().over(key).dt.total_microseconds() / 1e6)
        .group_by(key)
        .agg(
            events=pl.len().cast(pl.Int64),
            product_views=(kind == "product_viewed").sum().cast(pl.Int64),
            distinct_products=pl.col("product_id").drop_nulls().n_unique().cast(pl.Int64),
            orders=(kind == "order_completed").sum().cast(pl.Int64),
            median_seconds_between=pl.col("pause").median(),
            signed_in=pl.col("customer_key").is_not_null().any(),
        )
        .select(*key, *ACTOR_DAY_COLUMNS)
        .select(*key, verdict=_verdict(rules))
        .filter(pl.col("verdict") != PERSON)
    )
    if days.is_empty():
        return events
    flagged = events.join(days, on=key, how="left", maintain_order="left")
    traffic = pl.when(pl.col("traffic") == PERSON).then(pl.coalesce("verdict", "traffic")).otherwise("traffic")
    return flagged.with_columns(traffic=traffic).drop("verdict")


def judge_orders(order_lines: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Find the orders that no person placed.

    What the shop does to an order says nothing of who placed it: a refund that a program books is the customer's.

    Args:
        order_lines: rows of the contract `order_lines`, of whole days.
        events: judged rows of the contract `events` of the same days, with those that follow from orders.

    Returns:
        Columns of `_ORDER` and `traffic`, which is that of the event by which the order was placed, else of what else
        its actor did on the day; where several say different things, a person is believed.
    """
    # What follows from an order is a person's until a rule says otherwise, and no witness for it.
    told = events.lazy().filter((pl.col("file_hash") != DERIVED) | (pl.col("traffic") != PERSON))
    if told.filter(pl.col("traffic") != PERSON).limit(1).collect().is_empty():
        return contract("orders").empty().select(*_ORDER, "traffic")
    # In the alphabet, persons come after robots and the shop itself.
    believed = pl.col("traffic").max()
    placed = told.filter(pl.col("event") == "order_completed").group_by(_ORDER).agg(placed=believed)
    own = pl.col("actor_key").is_not_null() & ~pl.col("event").is_in(_DONE_TO_ORDERS)
    acted = told.filter(own).group_by("event_day", "actor_key").agg(traffic=believed)
    return (
        order_lines.lazy()
        .select(*_ORDER, "actor_key")
        .unique()
        .join(acted, on=["event_day", "actor_key"], how="left")
        .group_by(_ORDER)
        .agg(believed)
        .join(placed, on=_ORDER, how="left")
        .select(*_ORDER, traffic=pl.coalesce("placed", "traffic"))
        .filter(pl.col("traffic") != PERSON)
        .collect()
    )


def flag_orders(rows: pl.DataFrame, judged: pl.DataFrame) -> pl.DataFrame:
    """Give rows that tell of orders the traffic of their order.

    Args:
        rows: rows of `order_lines`, `orders`, or of the events that follow from them, all said to be a person's.
        judged: orders that no person placed, as `judge_orders` gives them.
    """
    if judged.is_empty():
        return rows
    flagged = rows.join(judged, on=_ORDER, how="left", suffix="_judged", maintain_order="left")
    return flagged.with_columns(traffic=pl.coalesce("traffic_judged", "traffic")).drop("traffic_judged")


def _verdict(rules: Sequence[TrafficRule]) -> pl.Expr:
    return pl.coalesce(*(pl.when(rule.holds).then(pl.lit(rule.verdict)) for rule in rules), pl.lit(PERSON))
