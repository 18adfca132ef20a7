"""What models learn from: customers at closed origins, with what happened to them next.

Puts features, sequences and labels of several origins together and says which customers are learnt
from and which are kept apart, for every capability alike. Nothing after the as-of day is read. No
model belongs here.
"""

from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
import polars as pl

from insight_assets.contracts.catalogue import contract
from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.labels import label_customers, label_view
from insight_assets.features.money import without_void_orders
from insight_assets.features.sequences import build_event_sequences
from insight_assets.ml.origins import Origin, closed_origins
from insight_assets.ml.splits import customer_groups, mixed_keys
from insight_assets.purposes import as_people

FIT, STOP, CALIBRATE = "fit", "stop", "calibrate"

GROUPS = 10
STOP_GROUPS = 1
CALIBRATE_GROUPS = 3
"""Tenths of the customers that say when to stop, and that calibrate."""

ROLE_SALT = 1
SAMPLE_SALT = 2

MAX_CUSTOMERS = 50_000
"""More customers make the models no better (learning curves of such tables are flat by then)."""

SEQUENCES = ("kinds", "times", "products", "categories", "values")
NOT_FEATURES = frozenset(
    {
        "as_of",
        "origin",
        "customer_key",
        "role",
        "horizon_days",
        "churned",
        "return_days",
        "horizon_purchase_days",
        "horizon_net",
        "events",
        "bought_7d",
        "bought_30d",
        *SEQUENCES,
    }
)
"""Columns of the examples that no model may see as a feature: keys, roles and what happened next."""


def build_examples(
    customer_days: pl.LazyFrame,
    events: pl.LazyFrame,
    identities: Callable[[date], pl.LazyFrame],
    *,
    as_of: date,
    horizon_days: int,
    spacing_days: int,
    min_history_days: int,
    max_origins: int = 4,
    max_customers: int = MAX_CUSTOMERS,
    sequence_length: int = 64,
    orders: pl.LazyFrame | None = None,
) -> pl.DataFrame:
    """Put together what can be learnt from as of a day.

    A customer has one role at all origins, drawn from the key: label windows of neighbouring
    origins overlap, so that a customer who is learnt from at one origin would give the answer away
    at another. Customers who calibrate stand only at the newest closed origin, the one most like
    the days to come; the others, who are learnt from, stand at all of them.

    Args:
        customer_days: Rows of the contract `customer_days`, actors as delivered; days after `as_of` are ignored.
        events: Rows of the contract `events`, actors as delivered; days after `as_of` are ignored.
        identities: Gives the rows of the contract `identities` as of a day. Each origin sees the people known then: a
            login that came later would tell which customers came back.
        as_of: As-of day T.
        horizon_days: Length H of the label window.
        spacing_days: Days between origins.
        min_history_days: Days of data that an origin needs.
        max_origins: Most origins used.
        max_customers: Most customers used; above it a fixed part of them, drawn from the keys.
        sequence_length: Most events kept of a customer.
        orders: Rows of the contract `orders`, actors as delivered, where an order that was given back whole is no
            purchase; None where it counts.

    Returns:
        Rows of the contract `churn_examples`, by origin and customer; none while no origin has a
        closed horizon and enough history.
    """
    past = customer_days.filter(pl.col("event_day") <= as_of)
    first_day = past.select(pl.col("event_day").min()).collect().item()
    origins = (
        closed_origins(
            as_of,
            horizon_days=horizon_days,
            spacing_days=spacing_days,
            first_day=first_day,
            min_history_days=min_history_days,
            max_origins=max_origins,
        )
        if first_day is not None
        else []
    )
    if not origins:
        return pl.DataFrame()
    newest = origins[0].as_of
    bought = past if orders is None else without_void_orders(past, orders, as_of=newest)
    buyers = customers_known(as_people(bought, identities(newest)), newest, only_buyers=True)
    roles = customer_roles(buyers, max_customers=max_customers).lazy()
    events = events.filter(pl.col("event_day") <= newest)
    at_origins = [
        _examples_at(origin, past, events, identities, roles, sequence_length, orders)
        for origin in sorted(origins)
    ]
    return (
        pl.concat(at_origins)
        .filter((pl.col("role") != CALIBRATE) | (pl.col("origin") == newest))
        .with_columns(as_of=pl.lit(as_of))
        .select(column.name for column in contract("churn_examples").columns)
        .sort("origin", "customer_key")
    )


def customer_roles(customers: Sequence[int] | np.ndarray, *, max_customers: int) -> pl.DataFrame:
    """Give customers their roles, drawn from their keys alone.

    Args:
        customers: Distinct customer keys.
        max_customers: Most customers that get a role.

    Returns:
        Columns `customer_key` and `role`, sorted by key.
    """
    keys = np.sort(np.asarray(customers, dtype=np.int64))
    if len(keys) > max_customers:
        order = np.argsort(mixed_keys(keys, salt=SAMPLE_SALT), kind="stable")
        keys = np.sort(keys[order[:max_customers]])
    group = customer_groups(keys, GROUPS, salt=ROLE_SALT)
    role = np.select(
        [group < CALIBRATE_GROUPS, group < CALIBRATE_GROUPS + STOP_GROUPS], [CALIBRATE, STOP], FIT
    )
    return pl.DataFrame(
        {"customer_key": keys, "role": role}, schema={"customer_key": pl.Int64, "role": pl.String}
    )


def feature_names(examples: pl.DataFrame) -> list[str]:
    """Name the columns that models may see: everything known at the origin that is no identity.

    Args:
        examples: Rows of the contract `churn_examples`.

    Returns:
        Column names in alphabetical order, so that models do not depend on the order of columns.
        Days are left out: their ages are features already; so are lists, which no matrix holds.
    """
    return sorted(
        name
        for name, dtype in examples.schema.items()
        if name not in NOT_FEATURES and dtype != pl.Date and not dtype.is_nested()
    )


def customers_known(past: pl.LazyFrame, origin: date, *, only_buyers: bool) -> np.ndarray:
    """Give the keys of the customers who were known by an origin.

    Args:
        past: Rows of the contract `customer_days` of the people known at the origin; later days are ignored.
        origin: The origin.
        only_buyers: Whether those who had not bought yet are left out.
    """
    known = past.filter(pl.col("event_day") <= origin)
    known = known.filter(pl.col("orders") > 0) if only_buyers else known
    return known.select(pl.col("customer_key").unique()).collect().to_series().to_numpy()


def past_and_horizon(
    origin: Origin,
    past: pl.LazyFrame,
    identities: Callable[[date], pl.LazyFrame],
    *,
    roles: pl.LazyFrame,
    orders: pl.LazyFrame | None,
) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Tell past and horizon of the people with a role, as far as each was known then (see `label_view`).

    Args:
        origin: The origin.
        past: Rows of the contract `customer_days`, actors as delivered.
        identities: Gives the rows of the contract `identities` as of a day.
        roles: Columns `customer_key` and `role`.
        orders: As for `build_examples`.
    """
    seen, later = label_view(
        past, identities, origin=origin.as_of, horizon_days=origin.horizon_days, orders=orders
    )
    with_role = [rows.join(roles, on="customer_key", how="semi") for rows in (seen, later)]
    return with_role[0], with_role[1]


def _examples_at(
    origin: Origin,
    past: pl.LazyFrame,
    events: pl.LazyFrame,
    identities: Callable[[date], pl.LazyFrame],
    roles: pl.LazyFrame,
    sequence_length: int,
    orders: pl.LazyFrame | None,
) -> pl.DataFrame:
    as_of, horizon_days = origin.as_of, origin.horizon_days
    history, horizon = past_and_horizon(origin, past, identities, roles=roles, orders=orders)
    seen = as_people(events, identities(as_of)).join(roles, on="customer_key", how="semi")
    labels = label_customers(history, horizon, origin=as_of, horizon_days=horizon_days)
    return (
        labels.select(
            "customer_key", "horizon_days", "churned", "return_days", horizon_purchase_days="purchase_days",
            horizon_net="net",
        )
        .join(roles, on="customer_key")
        .join(build_customer_features(history, as_of=as_of).drop("as_of"), on="customer_key")
        .join(
            build_event_sequences(seen, as_of=as_of, length=sequence_length).drop("as_of"),
            on="customer_key",
            how="left",
        )
        .with_columns(*(pl.col(name).fill_null([]) for name in SEQUENCES), origin=pl.lit(as_of))
        .collect()
    )

