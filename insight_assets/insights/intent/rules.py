"""The naive rules that every method must beat: who came lately and bought before, and what was done so far in a visit.

Each rule puts rows into a few cells; the rate of a cell is counted by `ml.rate_tables`. The cells are what a shop
would write on a sheet of paper.
"""

import polars as pl

from insight_assets.ml.binary_models import Rule

LATE_DAYS = (1, 7, 30)
"""Days since the last thing done that part the cells of customers."""


def customer_cells(features: pl.DataFrame) -> pl.Series:
    """Put customers into cells by when they were last seen and how often they bought in 90 days.

    Args:
        features: Rows of the contract `customer_features`, n of them.

    Returns:
        n names of cells.
    """
    days, orders = pl.col("days_since_last_event"), pl.col("orders_90d")
    seen = pl.coalesce(
        *(pl.when(days <= most).then(pl.lit(f"{most}")) for most in LATE_DAYS), pl.lit("longer ago")
    )
    bought = (
        pl.when(orders >= 2).then(pl.lit("2 orders and more"))
        .when(orders == 1).then(pl.lit("1 order"))
        .when(pl.col("orders_lifetime") > 0).then(pl.lit("an older order"))
        .otherwise(pl.lit("no order"))
    )  # fmt: skip
    return features.select(pl.format("{}, {}", seen, bought).alias("cell")).to_series()


def visit_cells(features: pl.DataFrame) -> pl.Series:
    """Put visits into cells by how many events were seen and the furthest kind of event among them.

    Args:
        features: Rows of the contract `session_intent_examples`, n of them.

    Returns:
        n names of cells.
    """
    return features.select(pl.format("{}, {}", "events_seen", "furthest_step").alias("cell")).to_series()


OF_CUSTOMERS = Rule(customer_cells, "days_since_last_event")
OF_VISITS = Rule(visit_cells, "furthest_step")
