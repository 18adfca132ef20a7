"""What customers did after an origin, once the horizon has closed.

The only features module that looks past its as-of day, and only at the days of the horizon. What a
task makes of the labels belongs to the task.
"""

from collections.abc import Callable, Collection
from datetime import date

import polars as pl

from insight_assets.contracts.types import float_of
from insight_assets.features.customer_days import merge_actors
from insight_assets.features.money import without_void_orders
from insight_assets.ml.origins import Origin
from insight_assets.purposes import as_people, as_people_before


class HorizonOpenError(ValueError):
    """A label was asked for before its horizon had closed.

    Attributes:
        closes: Last day of the horizon: labels exist once it is published.
        missing: Days of the horizon that are not published, in order.
    """

    def __init__(self, *, origin: date, closes: date, missing: tuple[date, ...]) -> None:
        self.closes = closes
        self.missing = missing
        super().__init__(
            f"the horizon of origin {origin} closes with {closes}; {len(missing)} of its days are "
            f"not published, the first is {missing[0]}"
        )


def horizon_of(origin: date, horizon_days: int) -> tuple[date, ...]:
    """Give the days (origin, origin + horizon_days], in order."""
    return Origin(origin, horizon_days).window


def label_view(
    customer_days: pl.LazyFrame,
    identities: Callable[[date], pl.LazyFrame],
    *,
    origin: date,
    horizon_days: int,
    orders: pl.LazyFrame | None = None,
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Tell past and horizon of the people who were known at an origin.

    Whom a label is about is what was known at the origin: features join no browsing that a later login explained, which
    would tell of the return that is to be foretold. What they did is what is known when the horizon closes: a purchase
    as a guest, or with a second account, is a return of the same person.

    Args:
        customer_days: rows of the contract `customer_days`, actors as delivered.
        identities: gives the rows of the contract `identities` as of a day.
        origin: as-of day O.
        horizon_days: length H of the horizon.
        orders: rows of the contract `orders`, actors as delivered, where an order that was given back whole is no
            purchase; None where it counts. The past knows what was given back by the origin, the horizon what was by
            its end.

    Returns:
        The rows with the people of the origin, and those with what they turned out to have done.
    """
    closes = Origin(origin, horizon_days).closes
    before, now = identities(origin), identities(closes)
    known, told = (
        customer_days if orders is None else without_void_orders(customer_days, orders, as_of=day)
        for day in (origin, closes)
    )
    return as_people(known, before), as_people_before(as_people(told, now), before=before, now=now)


def label_customers(
    history: pl.LazyFrame,
    horizon: pl.LazyFrame,
    *,
    origin: date,
    horizon_days: int,
    published: Collection[date] | None = None,
    everybody: bool = False,
) -> pl.LazyFrame:
    """Label every customer who had bought by the origin with what they did in the horizon.

    Args:
        history: rows of the contract `customer_days` of the people known at the origin; days after `origin` are
            ignored.
        horizon: rows of the contract `customer_days` told of the same people with what is known at the end of the
            horizon (see `label_view`); days outside (origin, origin + horizon_days] are ignored.
        origin: as-of day O.
        horizon_days: length H of the horizon, at least 1.
        published: days of `customer_days` that are published; None when the caller knows that the
            horizon is closed.
        everybody: Whether customers who were known by the origin and had not bought yet are labelled too.

    Returns:
        One row a customer with the columns of the contract `customer_labels`, sorted by
        `customer_key`.

    Raises:
        HorizonOpenError: If a day of the horizon is not in `published`.
        ValueError: If `horizon_days` is below 1.
    """
    labelled = Origin(origin, horizon_days)
    if published is not None and (missing := labelled.unseen(published)):
        raise HorizonOpenError(origin=origin, closes=labelled.closes, missing=missing)
    past = history.filter(pl.col("event_day") <= origin)
    labelled_ones = (past if everybody else past.filter(pl.col("orders") > 0)).select("customer_key").unique()
    later = (
        merge_actors(horizon.filter(pl.col("event_day").is_between(origin, labelled.closes, closed="right")))
        .group_by("customer_key")
        .agg(
            pl.col("orders").cast(pl.Int64).sum().alias("purchases"),
            (pl.col("orders") > 0).sum().alias("purchase_days"),
            pl.col("gross").sum(),
            pl.col("net").sum(),
            return_days=(pl.col("event_day").filter(pl.col("orders") > 0).min() - pl.lit(origin)).dt.total_days(),
        )
    )
    return (
        labelled_ones.join(later, on="customer_key", how="left")
        .select(
            "customer_key",
            pl.lit(origin).alias("as_of"),
            pl.lit(horizon_days, pl.Int32).alias("horizon_days"),
            pl.col("purchases").fill_null(0).cast(pl.Int32),
            pl.col("purchase_days").fill_null(0).cast(pl.Int32),
            float_of(pl.col("gross")).fill_null(0.0),
            float_of(pl.col("net")).fill_null(0.0),
            (pl.col("purchases").fill_null(0) > 0).alias("returned"),
            (pl.col("purchases").fill_null(0) == 0).alias("churned"),
            pl.col("return_days").cast(pl.Int32),
        )
        .sort("customer_key")
    )
