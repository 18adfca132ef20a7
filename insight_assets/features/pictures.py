"""Small pictures and tables of features for people; always of groups, never of one customer.

Takes finished features; what a feature is belongs to the modules that build them.
"""

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import altair as alt

WEEK = 7
LAST_WEEK = 26
"""Weeks of recency that are told apart; longer ago is one group."""


def recency_groups(customer_features: pl.LazyFrame, *, smallest_group: int) -> pl.DataFrame:
    """Count customers by the weeks since they last did something.

    Args:
        customer_features: rows of the contract `customer_features` of one as-of day.
        smallest_group: groups of fewer customers are left out.

    Returns:
        `weeks_ago` (Int32, 0 is the last seven days, `LAST_WEEK` is that long ago or longer) and
        `customers`, by week.
    """
    return (
        customer_features.filter(pl.col("days_since_last_event").is_not_null())
        .group_by(weeks_ago=(pl.col("days_since_last_event") // WEEK).clip(upper_bound=LAST_WEEK))
        .agg(pl.len().cast(pl.Int64).alias("customers"))
        .filter(pl.col("customers") >= smallest_group)
        .sort("weeks_ago")
        .collect()
    )


def recency_chart(groups: pl.DataFrame) -> "alt.TopLevelMixin":
    """Draw the number of customers by the weeks since they last did something."""
    import altair as alt

    return (
        alt.Chart(alt.Data(values=groups.to_dicts()), width=320, height=140)
        .mark_bar()
        .encode(
            x=alt.X("weeks_ago:O", title=f"weeks since last seen ({LAST_WEEK}: or longer)"),
            y=alt.Y("customers:Q", title="customers"),
        )
    )


def known_shares(frame: pl.DataFrame) -> pl.DataFrame:
    """Give, for each column that is ever null, the share of rows in which it is known."""
    shares = frame.select(pl.all().is_not_null().mean()).transpose(
        include_header=True, header_name="feature", column_names=["known"]
    )
    return shares.filter(pl.col("known") < 1).sort("known", "feature")
