"""Customers planted in clusters that are known."""

from collections.abc import Sequence
from datetime import date

import numpy as np
import polars as pl

CENTRES = (
    # days since last, purchase days, mean value, age, lines, active days, discount, refund
    (10, 20, 80.0, 300, 6, 15, 0.05, 0.02),
    (150, 2, 40.0, 320, 2, 1, 0.02, 0.0),
    (20, 2, 400.0, 60, 12, 3, 0.6, 0.0),
)
MORE_CENTRES = (
    *CENTRES,
    (400, 9, 60.0, 800, 3, 0, 0.02, 0.6),
    (15, 5, 15.0, 30, 1, 25, 0.4, 0.0),
)
COLUMNS = (
    "days_since_last_order",
    "purchase_days_lifetime",
    "mean_purchase_value",
    "age_days",
    "lines_per_order_365d",
    "active_days_90d",
    "discount_share_365d",
    "refund_share_lifetime",
)


def planted_customers(
    size: int, *, seed: int, centres: Sequence[Sequence[float]] = CENTRES, spread: float = 0.15
) -> tuple[pl.DataFrame, np.ndarray]:
    """Return customers ascending by key and the planted cluster of each, both of length `size`.

    What a feature says of a kind of customer is spread as a Gaussian around its centre, in logarithms.
    """
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, len(centres), size)
    centre = np.array(centres)[truth]
    noise = generator.lognormal(0, spread, centre.shape)
    values = centre * noise
    frame = pl.DataFrame({name: values[:, i] for i, name in enumerate(COLUMNS)}).with_columns(
        pl.col("days_since_last_order", "purchase_days_lifetime", "age_days", "active_days_90d")
        .round()
        .cast(pl.Int32),
        pl.col("discount_share_365d", "refund_share_lifetime").clip(0, 1),
        pl.Series("customer_key", np.arange(size) * 7 + 3),
    )
    money = pl.col("purchase_days_lifetime") * pl.col("mean_purchase_value")
    pauses = (pl.col("purchase_days_lifetime") - 1).cast(pl.Int32)
    return frame.with_columns(
        money.alias("net_lifetime"),
        x_repeat_purchases=pauses,
        t_x_days=pauses * 20,
        last_gap_days=pl.when(pauses > 0).then(pl.lit(20, pl.Int32)),
        first_seen_day=pl.lit(date(2010, 1, 1)),
    ), truth
