"""What customers did a year ago in the horizon that now lies ahead: what totals know of the season.

The newest closed horizon tells how far forecasts are off, but of another time of the year. How the two are weighed
belongs to `learning`.
"""

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl

from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import MAX_CUSTOMERS, customer_roles, customers_known
from insight_assets.features.labels import label_customers, label_view
from insight_assets.insights.lifetime_value.customers import FEATURES_READ
from insight_assets.ml.origins import Origin

YEAR_DAYS = 364
"""Whole weeks, so that the two horizons begin on the same day of the week."""

LEAST_HORIZONS = 2
"""Horizons of history that the shop needs to have had a year ago.

Of a shop that has just opened, expectations are off by its youth, not by the season: at 86 days of history four
simulated shops bought .71 to .87 of what BG/NBD expected, in a season in which older ones bought .88 to 1.04.
"""


def horizon_of_last_year(
    customer_days: pl.LazyFrame,
    identities: Callable[[date], pl.LazyFrame],
    *,
    as_of: date,
    horizon_days: int,
    orders: pl.LazyFrame | None = None,
    max_customers: int = MAX_CUSTOMERS,
) -> pl.DataFrame:
    """Give the buyers of a year ago as they were known then, with what they did in the horizon that followed.

    Args:
        customer_days: rows of the contract `customer_days`, actors as delivered; days after `as_of` are ignored.
        identities: gives the rows of the contract `identities` as of a day.
        as_of: as-of day T.
        horizon_days: length H of the horizon.
        orders: rows of the contract `orders`, actors as delivered, where an order that was given back whole is no
            purchase; None where it counts.
        max_customers: most customers used; above it a fixed part of them, drawn from the keys.

    Returns:
        The columns `FEATURES_READ`, `horizon_purchase_days` and `horizon_net`, one row a buyer, by key. Empty where
        the horizon had not closed by T, or the shop was too young a year ago.
    """
    origin, past = Origin(as_of - timedelta(days=YEAR_DAYS), horizon_days), customer_days
    past = past.filter(pl.col("event_day") <= as_of)
    first_day = past.select(pl.col("event_day").min()).collect().item()
    young = first_day is None or (origin.as_of - first_day).days + 1 < LEAST_HORIZONS * horizon_days
    if young or not origin.is_closed_by(as_of):
        return pl.DataFrame()
    view = label_view(past, identities, origin=origin.as_of, horizon_days=horizon_days, orders=orders)
    known = customers_known(view[0], origin.as_of, only_buyers=True)
    drawn = customer_roles(known, max_customers=max_customers).lazy()
    history, horizon = (rows.join(drawn, on="customer_key", how="semi") for rows in view)
    labels = label_customers(history, horizon, origin=origin.as_of, horizon_days=horizon_days)
    return (
        build_customer_features(history, as_of=origin.as_of)
        .select(FEATURES_READ)
        .join(
            labels.select("customer_key", horizon_purchase_days="purchase_days", horizon_net="net"), on="customer_key"
        )
        .sort("customer_key")
        .collect()
    )
