"""Telling what robots and the shop itself did from what persons did, by the rules of the contract `traffic`.

Flags events and drops none: whoever reads them decides. Money is not judged here; an order counts whoever placed it.
"""

from collections.abc import Sequence

import polars as pl

from insight_assets.contracts.traffic import ACTOR_DAY_COLUMNS, EVENT_COLUMNS, PERSON, TrafficRule

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


def _verdict(rules: Sequence[TrafficRule]) -> pl.Expr:
    return pl.coalesce(*(pl.when(rule.holds).then(pl.lit(rule.verdict)) for rule in rules), pl.lit(PERSON))
