"""What propensity models learn from: pairs of customers and targets at closed origins, and what was bought.

Most pairs end without a purchase. Those who teach keep every pair with one and a part of the others, drawn from the
keys; those who calibrate keep all, so that probabilities are those of the shop. Who teaches and who calibrates is
drawn as for every capability (`features.examples`).
"""

from collections.abc import Callable, Mapping
from datetime import date

import numpy as np
import polars as pl

from insight_assets.features.customer_features import build_customer_features
from insight_assets.features.examples import CALIBRATE, MAX_CUSTOMERS, customer_roles
from insight_assets.features.labels import label_view
from insight_assets.insights.propensity.nearness import NEAR, Nearness
from insight_assets.insights.propensity.pairs import FEATURES, all_pairs, describe_pairs, know
from insight_assets.insights.propensity.targets import KINDS, bought_within
from insight_assets.ml.origins import Origin, closed_origins
from insight_assets.ml.splits import mixed_keys
from insight_assets.purposes import as_people

LABEL = "bought"
LEARNT_PAIRS = 20_000
"""Pairs without a purchase that teach, over all origins of a kind; more make the models no better and slower."""

CALIBRATING_PAIRS = 60_000
PAIR_SALT = 11

Examples = Mapping[str, pl.DataFrame]
"""By kind, rows of origin, role, customer_key, target, bought, the features of `pairs.FEATURES` and those of `NEAR`."""


def build_pair_examples(
    customer_days: pl.LazyFrame,
    events: pl.LazyFrame,
    products: pl.LazyFrame,
    identities: Callable[[date], pl.LazyFrame],
    *,
    as_of: date,
    horizon_days: int,
    spacing_days: int,
    min_history_days: int,
    max_origins: int = 4,
    max_customers: int = MAX_CUSTOMERS,
    learnt_pairs: int = LEARNT_PAIRS,
    calibrating_pairs: int = CALIBRATING_PAIRS,
    orders: pl.LazyFrame | None = None,
    nearness: Nearness | None = None,
) -> Examples:
    """Put together what can be learnt from as of a day.

    Args:
        customer_days: rows of the contract `customer_days`, actors as delivered; days after `as_of` are ignored.
        events: rows of the contract `events`, actors as delivered; days after `as_of` are ignored.
        products: columns product_id, category and first_seen, as of the day.
        identities: gives the rows of the contract `identities` as of a day; each origin sees the people known then.
        as_of: as-of day T.
        horizon_days: length H of the label window.
        spacing_days: days between origins.
        min_history_days: days of data that an origin needs.
        max_origins: most origins used.
        max_customers: most customers used; above it a fixed part of them, drawn from the keys.
        learnt_pairs: see `LEARNT_PAIRS`.
        calibrating_pairs: most pairs that calibrate, of whole customers.
        orders: rows of the contract `orders`, actors as delivered, where features of customers do not count an order
            that was given back whole as a purchase; None where they do.
        nearness: what the behaviour encoder of the newest origin says, if anything; it had seen nothing after it.

    Returns:
        By kind, the rows by origin, customer and target; without rows while no origin has a closed horizon and enough
        history.
    """
    past = customer_days.filter(pl.col("event_day") <= as_of)
    events = events.filter(pl.col("event_day") <= as_of)
    first_day = past.select(pl.col("event_day").min()).collect().item()
    origins = [] if first_day is None else closed_origins(
        as_of, horizon_days=horizon_days, spacing_days=spacing_days, first_day=first_day,
        min_history_days=min_history_days, max_origins=max_origins,
    )  # fmt: skip
    if not origins:
        return dict.fromkeys(KINDS, empty_examples())
    newest = origins[0]
    people = as_people(past.filter(pl.col("event_day") <= newest.as_of), identities(newest.as_of))
    keys = people.select(pl.col("customer_key").unique()).collect().to_series().to_numpy()
    roles = customer_roles(keys, max_customers=max_customers)
    parts = [
        _examples_at(
            origin, past, events, products, identities, orders,
            roles if origin == newest else roles.filter(pl.col("role") != CALIBRATE),
            learnt_pairs=learnt_pairs // len(origins), calibrating_pairs=calibrating_pairs,
            nearness=nearness if origin == newest else None,
        )
        for origin in sorted(origins)
    ]  # fmt: skip
    return {kind: pl.concat([part[kind] for part in parts]) for kind in KINDS}


def empty_examples() -> pl.DataFrame:
    """Give examples without rows."""
    keys = {"origin": pl.Date, "role": pl.String, "customer_key": pl.Int64, "target": pl.String, LABEL: pl.Boolean}
    return pl.DataFrame(schema=keys | dict.fromkeys((*FEATURES, *NEAR), pl.Float64))


def _examples_at(
    origin: Origin,
    past: pl.LazyFrame,
    events: pl.LazyFrame,
    products: pl.LazyFrame,
    identities: Callable[[date], pl.LazyFrame],
    orders: pl.LazyFrame | None,
    roles: pl.DataFrame,
    *,
    learnt_pairs: int,
    calibrating_pairs: int,
    nearness: Nearness | None,
) -> dict[str, pl.DataFrame]:
    day, horizon_days = origin.as_of, origin.horizon_days
    # What is popular is told by everybody, those without a role included.
    history, horizon = label_view(past, identities, origin=day, horizon_days=horizon_days, orders=orders)
    known = know(
        history,
        as_people(events.filter(pl.col("event_day") <= day), identities(day)),
        build_customer_features(history, as_of=day),
        products.filter(pl.col("first_seen") <= day),
        as_of=day,
        horizon_days=horizon_days,
        nearness=nearness,
    )
    bought = bought_within(horizon, known.cuts, origin=day, horizon_days=horizon_days)
    found = {}
    for kind in KINDS:
        label = bought[kind].with_columns(pl.lit(value=True).alias(LABEL))
        pairs = (
            all_pairs(known, kind, roles["customer_key"])
            .join(roles, on="customer_key", maintain_order="left")
            .join(label, on=["customer_key", "target"], how="left", maintain_order="left")
            .with_columns(pl.col(LABEL).fill_null(value=False), origin=pl.lit(day))
        )
        calibrates = pairs["role"] == CALIBRATE
        kept = pl.concat(
            [
                _part_without_purchase(pairs.filter(~calibrates), learnt_pairs),
                _whole_customers(pairs.filter(calibrates), calibrating_pairs),
            ]
        ).sort("customer_key", "target")
        described = describe_pairs(known, kind, kept).with_columns(pl.col(FEATURES).cast(pl.Float64))
        found[kind] = described.select(empty_examples().columns)
    return found


def _part_without_purchase(pairs: pl.DataFrame, most: int) -> pl.DataFrame:
    """Keep every pair with a purchase and as many of the others as there is room for, drawn from their keys."""
    without = (~pairs[LABEL]).to_numpy()
    if without.sum() <= most:
        return pairs
    place = pairs.select(pl.int_range(pl.len()).over("customer_key")).to_series().to_numpy().astype(np.int64)
    keys = mixed_keys(pairs["customer_key"].to_numpy(), salt=PAIR_SALT).view(np.int64)
    drawn = mixed_keys(keys ^ place, salt=PAIR_SALT) / np.float64(2**64)
    return pairs.filter(pl.Series(~without | (drawn < most / without.sum())))


def _whole_customers(pairs: pl.DataFrame, most: int) -> pl.DataFrame:
    """Keep all pairs of as many customers as there is room for, drawn from their keys."""
    if pairs.height <= most:
        return pairs
    keys = pairs["customer_key"].unique().sort().to_numpy()
    room = max(1, most * len(keys) // pairs.height)
    drawn = np.argsort(mixed_keys(keys, salt=PAIR_SALT), kind="stable")[:room]
    return pairs.filter(pl.col("customer_key").is_in(keys[drawn].tolist()))
