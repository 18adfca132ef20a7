"""How likely each customer's next order is by the behaviour encoder, and which of the customer's events say so.

The chances are the encoder's own and calibrated by nobody; what is published of them is decided by the capabilities
that grade them. Torch is imported inside functions.
"""

from collections.abc import Mapping
from datetime import date

import numpy as np
import polars as pl

from insight_assets.features.sequences import BOUGHT
from insight_assets.features.vocabulary import event_kinds
from insight_assets.insights.behaviour.teaching import Behaviour, end_of_day

HORIZONS = (7, 30)
"""Days in which an order is foretold, beside the horizon of the shop."""

ORDER_CHANCE = "order_chance"
"""Column of the chance of an order within the shop's horizon."""

STORIES: Mapping[str, tuple[str, ...]] = {
    "visits": (
        "page_viewed", "page_engaged", "products_searched", "product_list_viewed", "product_clicked", "product_viewed",
        "product_shared", "promotion_viewed", "promotion_clicked", "signed_up", "consent_updated",
    ),
    "carts": (
        "product_added", "product_removed", "product_added_to_wishlist", "cart_viewed", "checkout_started",
        "payment_info_entered", "payment_failed", "coupon_applied", "coupon_denied",
    ),
    "purchases": ("order_completed",),
    "service": (
        "order_shipped", "order_delivered", "order_cancelled", "order_refunded", "product_reviewed",
        "support_ticket_opened", "support_ticket_closed",
    ),
}  # fmt: skip
"""Kinds of event that speak together; products of orders are purchases."""

EFFECTS = tuple(f"effect_of_{name}" for name in (*STORIES, "pauses", "silence"))
"""Columns of what moves the log-odds of `ORDER_CHANCE`: events by story, the pauses between them, and the days since
the last one."""

_DIGITS = 6


def foretell_orders(
    behaviour: Behaviour, sequences: pl.DataFrame, hidden: np.ndarray, *, as_of: date, timezone: str, horizon_days: int
) -> pl.DataFrame:
    """Say how likely each customer's next order is, and why.

    Args:
        behaviour: A taught encoder.
        sequences: Rows of `with_bought_products` as of the day.
        hidden: Their vectors, as `read_behaviour` gives them.
        as_of: Day after whose end the horizons begin.
        timezone: The shop's.
        horizon_days: The shop's horizon.

    Returns:
        `order_chance_7d`, `order_chance_30d`, `order_chance` and the columns `EFFECTS`, in the order of the rows.
    """
    from insight_assets.ml.behaviour.attribution import order_effects
    from insight_assets.ml.behaviour.pretraining import chances_after, silence_of

    tokens, until = behaviour.vocabulary.tokens(sequences), end_of_day(as_of, timezone)
    horizons = {f"{ORDER_CHANCE}_{days}d": days for days in HORIZONS} | {ORDER_CHANCE: horizon_days}
    chances = chances_after(
        behaviour.network, hidden, silence_of(tokens, until), horizons=sorted(set(horizons.values()))
    )
    effects = order_effects(behaviour.network, tokens, until=until, within=horizon_days, groups=_groups())
    return pl.DataFrame(
        {name: chances[days].astype(np.float64).round(_DIGITS) for name, days in horizons.items()}
        | {name: effects[:, place].astype(np.float64).round(_DIGITS) for place, name in enumerate(EFFECTS)}
    )


def known_chances(vectors: pl.LazyFrame, *, horizon_days: int) -> pl.LazyFrame:
    """Pick out what the encoder says of orders within a horizon.

    Args:
        vectors: Rows of the contract `behaviour_vectors` as of one day; may be empty.
        horizon_days: Days that are asked for; rows of another horizon are left out.

    Returns:
        `customer_key`, `order_chance` and the columns `EFFECTS`.
    """
    return vectors.filter(pl.col("horizon_days") == horizon_days).select("customer_key", ORDER_CHANCE, *EFFECTS)


def with_order_chances(features: pl.LazyFrame, vectors: pl.LazyFrame, *, horizon_days: int) -> pl.DataFrame:
    """Put what the encoder says of orders beside customers' features.

    Args:
        features: Rows of the contract `customer_features`, n customers as of one day.
        vectors: See `known_chances`, as of that day.
        horizon_days: See `known_chances`.

    Returns:
        The features with `order_chance` and the columns `EFFECTS`, null for customers of whom nothing is said.
    """
    told = known_chances(vectors, horizon_days=horizon_days)
    return features.join(told, on="customer_key", how="left", maintain_order="left").collect()


def _groups() -> np.ndarray:
    """Place among the stories of each code of `kind`; that of nothing known, which no event has, is the first."""
    stories = list(STORIES)
    of_kind = {kind: stories.index(name) for name, kinds in STORIES.items() for kind in kinds}
    groups = np.zeros(BOUGHT + 2, dtype=np.int64)
    groups[1:] = [*(of_kind[kind] for kind in event_kinds()), stories.index("purchases")]
    return groups
